"""One ROS 2 node with its own context and executor thread. rclpy is imported here and only here."""

from __future__ import annotations

import importlib
import os
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from serl.errors import UserError

SERVICE_TIMEOUT_S = 3.0
"""A service of the same host that has not answered by then will not."""


def load(module: str, name: str) -> Any:
    """A class of a ROS package, such as ('geometry_msgs.msg', 'PoseStamped')."""
    try:
        return getattr(importlib.import_module(module), name)
    except ImportError as error:
        raise UserError(_how_to_source(module, error)) from error
    except AttributeError as error:
        raise UserError(
            f"{module} has no {name}: this ROS workspace has another version than the backend was "
            "written for (franka_ros2 2.5, CRISP 2.3). See docs/franka.md."
        ) from error


def _how_to_source(module: str, error: ImportError) -> str:
    python = f"Python {sys.version_info.major}.{sys.version_info.minor} ({sys.executable})"
    package = module.partition(".")[0]
    if package == "rclpy":
        return (
            f"rclpy is not importable by this {python}: {error}. Source /opt/ros/humble/setup.bash "
            "(or jazzy) and run the server with that system's python3: docs/franka.md, ROS 2."
        )
    return (
        f"{package} is not importable by this {python}: {error}. Source the workspace it was built "
        "in (source ~/ros2_ws/install/setup.bash): docs/franka.md, ROS 2."
    )


class RosSession:
    """A node that spins in a thread of its own; publishers and calls may be used from any thread.

    Args:
        name: the node's name; a process id is added, so that two never collide.
        namespace: in which relative names are resolved.
    """

    def __init__(self, name: str, namespace: str = "") -> None:
        self._name, self._namespace = name, namespace
        self._shutdown: Any = None
        self._context: Any = None
        self._executor: Any = None
        self._thread: threading.Thread | None = None
        self.node: Any = None
        self.error: BaseException | None = None
        """Why the executor's thread ended, if it did by itself."""

    def open(self) -> None:
        """Import rclpy, make the node, start the thread. Raises UserError in one line."""
        init, self._shutdown = load("rclpy", "init"), load("rclpy", "shutdown")
        make_context = load("rclpy.context", "Context")
        make_node = load("rclpy.node", "Node")
        make_executor = load("rclpy.executors", "SingleThreadedExecutor")
        self._context = make_context()
        init(context=self._context)
        self.node = make_node(
            f"{self._name}_{os.getpid()}", namespace=self._namespace, context=self._context
        )
        self._executor = make_executor(context=self._context)
        self._executor.add_node(self.node)
        self._thread = threading.Thread(target=self._spin, name=self._name, daemon=True)
        self._thread.start()

    def _spin(self) -> None:
        stopped = load("rclpy.executors", "ExternalShutdownException")
        try:
            self._executor.spin()
        except stopped:
            pass
        except BaseException as error:
            self.error = error
            raise

    def close(self) -> None:
        """Stop the thread and destroy the node. A session is opened once."""
        if self._thread is None:
            return
        self._executor.shutdown()
        self._shutdown(context=self._context)
        self._thread.join(timeout=2.0)
        self._thread = None
        self.node.destroy_node()

    def now_ns(self) -> int:
        """ROS time."""
        return self.node.get_clock().now().nanoseconds

    def stamp(self) -> Any:
        """ROS time as a message's header wants it."""
        return self.node.get_clock().now().to_msg()

    def qos(self, *, reliable: bool) -> Any:
        """The newest message only. A best-effort reader hears every publisher; franka_ros2's
        broadcaster publishes best effort since 2.4, CRISP reads reliably."""
        policy = load("rclpy.qos", "ReliabilityPolicy")
        return load("rclpy.qos", "QoSProfile")(
            depth=1, reliability=policy.RELIABLE if reliable else policy.BEST_EFFORT
        )

    def publisher(self, message: tuple[str, str], topic: str) -> Any:
        return self.node.create_publisher(load(*message), topic, self.qos(reliable=True))

    def subscribe(
        self,
        message: tuple[str, str],
        topic: str,
        heard: Callable[[Any], None],
        *,
        raw: bool = False,
    ) -> Any:
        """Call `heard` from the session's thread; `raw` hands over undecoded bytes."""
        return self.node.create_subscription(
            load(*message), topic, heard, self.qos(reliable=False), raw=raw
        )

    def client(self, service: tuple[str, str], name: str) -> Any:
        return self.node.create_client(load(*service), name)

    def action(self, action: tuple[str, str], name: str) -> Any:
        return load("rclpy.action", "ActionClient")(self.node, load(*action), name)

    def call(self, client: Any, request: Any, timeout_s: float = SERVICE_TIMEOUT_S) -> Any:
        """Call a service and wait for its answer. Not from the session's own thread."""
        name = client.srv_name
        if not client.wait_for_service(timeout_sec=timeout_s):
            raise UserError(
                f"no ROS service {name} within {timeout_s:g} s. Is the launch file running, in "
                "this ROS_DOMAIN_ID?"
            )
        return self.wait(client.call_async(request), f"ROS service {name}", timeout_s)

    def wait(self, future: Any, what: str, timeout_s: float) -> Any:
        """A future's result. Raises UserError when it is late or failed."""
        done = threading.Event()
        future.add_done_callback(lambda _: done.set())
        if not done.wait(timeout_s):
            raise UserError(f"{what} did not answer within {timeout_s:g} s. See its node's log.")
        if future.exception() is not None:
            raise UserError(f"{what} failed: {future.exception()}")
        return future.result()


def poll(condition: Callable[[], bool], timeout_s: float, every_s: float = 0.01) -> bool:
    """Wait until `condition` holds; False when it does not within `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(every_s)
    return True
