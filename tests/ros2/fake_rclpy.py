"""As much of rclpy as the ros2 backend and the simulated arm use, in one process.

Not a ROS: no discovery delay, no network. What it keeps is what code gets wrong without ROS at
hand: messages with the real field names that refuse other fields and types, QoS that does not
match delivers nothing, depth-1 queues drop old messages, callbacks run in the thread that spins the
executor, services and actions answer through futures, names are resolved in namespaces.

`installed()` puts it where `import rclpy` finds it. Real rclpy, where there is one, wins.
"""

from __future__ import annotations

import copy
import importlib.util
import sys
import threading
import time
import types
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from ros2 import fake_messages


class Future:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._done = False
        self._result: Any = None
        self._error: BaseException | None = None
        self._callbacks: list[Callable[[Future], None]] = []

    def done(self) -> bool:
        return self._done

    def result(self) -> Any:
        if self._error is not None:
            raise self._error
        return self._result

    def exception(self) -> BaseException | None:
        return self._error

    def set_result(self, result: Any) -> None:
        self._finish(result, None)

    def set_exception(self, error: BaseException) -> None:
        self._finish(None, error)

    def _finish(self, result: Any, error: BaseException | None) -> None:
        with self._lock:
            self._result, self._error, self._done = result, error, True
            callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback(self)

    def add_done_callback(self, callback: Callable[[Future], None]) -> None:
        with self._lock:
            if not self._done:
                self._callbacks.append(callback)
                return
        callback(self)


class Graph:
    """Who publishes, hears and serves what. One for all contexts, as one ROS domain is."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.subscriptions: dict[str, list[Subscription]] = {}
        self.publishers: dict[str, list[Publisher]] = {}
        self.services: dict[str, Service] = {}
        self.actions: dict[str, ActionServer] = {}


GRAPH = Graph()


class Context:
    def __init__(self) -> None:
        self._ok = False
        self.executors: list[SingleThreadedExecutor] = []

    def ok(self) -> bool:
        return self._ok


DEFAULT_CONTEXT = Context()


def init(*, args: Any = None, context: Context | None = None) -> None:
    (context or DEFAULT_CONTEXT)._ok = True


def shutdown(*, context: Context | None = None) -> None:
    context = context or DEFAULT_CONTEXT
    context._ok = False
    for executor in context.executors:
        executor.shutdown()


def ok(*, context: Context | None = None) -> bool:
    return (context or DEFAULT_CONTEXT).ok()


class ReliabilityPolicy:
    RELIABLE = "reliable"
    BEST_EFFORT = "best_effort"


class QoSProfile:
    def __init__(self, *, depth: int, reliability: str = ReliabilityPolicy.RELIABLE) -> None:
        self.depth, self.reliability = depth, reliability


class Clock:
    """ROS time: the system clock, moved by `Clock.shift_ns` for tests."""

    shift_ns = 0

    def now(self) -> Time:
        return Time(time.time_ns() + Clock.shift_ns)


class Time:
    def __init__(self, nanoseconds: int) -> None:
        self.nanoseconds = nanoseconds

    def to_msg(self) -> Any:
        sec, nanosec = divmod(self.nanoseconds, 1_000_000_000)
        return fake_messages.TIME(sec=sec, nanosec=nanosec)


class Serialized:
    """Undecoded bytes, as `raw=True` hands over."""

    def __init__(self, message: Any) -> None:
        self.message = message


def deserialize_message(raw: Serialized, message_type: type) -> Any:
    assert type(raw.message) is message_type
    return raw.message  # made by `publish` for this one message


class Publisher:
    def __init__(self, node: Node, message_type: type, topic: str, qos: QoSProfile) -> None:
        self.node, self.msg_type, self.topic, self.qos = node, message_type, topic, qos

    def publish(self, message: Any) -> None:
        assert type(message) is self.msg_type, f"{self.topic} carries {self.msg_type.__name__}"
        with GRAPH.lock:
            readers = list(GRAPH.subscriptions.get(self.topic, []))
        sent = None
        for reader in readers:
            if reader.matches(self):
                sent = Serialized(copy.deepcopy(message)) if sent is None else sent
                reader.offer(sent)

    def get_subscription_count(self) -> int:
        with GRAPH.lock:
            return sum(r.matches(self) for r in GRAPH.subscriptions.get(self.topic, []))


class Subscription:
    def __init__(
        self,
        node: Node,
        message_type: type,
        topic: str,
        callback: Callable[[Any], None],
        qos: QoSProfile,
        raw: bool,
    ) -> None:
        self.node, self.msg_type, self.topic = node, message_type, topic
        self.callback, self.qos, self.raw = callback, qos, raw
        self._queue: deque[Serialized] = deque(maxlen=qos.depth)

    def matches(self, publisher: Publisher) -> bool:
        promised = publisher.qos.reliability == ReliabilityPolicy.RELIABLE
        asked = self.qos.reliability == ReliabilityPolicy.RELIABLE
        return publisher.msg_type is self.msg_type and (promised or not asked)

    def offer(self, sent: Serialized) -> None:
        self._queue.append(sent)
        self.node.post(self.take)

    def take(self) -> None:
        try:
            sent = self._queue.popleft()
        except IndexError:
            return  # dropped for a newer one
        self.callback(sent if self.raw else copy.deepcopy(sent.message))


class Service:
    def __init__(self, node: Node, service_type: Any, callback: Callable[[Any, Any], Any]) -> None:
        self.node, self.srv_type, self.callback = node, service_type, callback

    def serve(self, request: Any, reply: Callable[[Any], None]) -> None:
        reply(self.callback(request, self.srv_type.Response()))


class Client:
    def __init__(self, node: Node, service_type: Any, name: str) -> None:
        self.node, self.srv_type, self.srv_name = node, service_type, name

    def service_is_ready(self) -> bool:
        return self.srv_name in GRAPH.services

    def wait_for_service(self, timeout_sec: float | None = None) -> bool:
        return _wait(self.service_is_ready, timeout_sec)

    def call_async(self, request: Any) -> Future:
        assert type(request) is self.srv_type.Request
        future = Future()
        service = GRAPH.services.get(self.srv_name)
        if service is not None:  # otherwise no answer ever, as in ROS
            asked = copy.deepcopy(request)

            def reply(response: Any) -> None:
                assert type(response) is self.srv_type.Response
                self.node.post(lambda: future.set_result(response))

            service.node.post(lambda: service.serve(asked, reply))
        return future


class GoalHandle:
    """The client's."""

    def __init__(self, accepted: bool) -> None:
        self.accepted = accepted
        self.outcome = Future()

    def get_result_async(self) -> Future:
        return self.outcome


class ServerGoalHandle:
    def __init__(self, goal: Any) -> None:
        self.request = goal
        self.status = 0

    def succeed(self) -> None:
        self.status = fake_messages.GOAL_STATUS.STATUS_SUCCEEDED

    def abort(self) -> None:
        self.status = fake_messages.GOAL_STATUS.STATUS_ABORTED


class ActionClient:
    def __init__(self, node: Node, action_type: Any, name: str) -> None:
        self._node, self._type, self._name = node, action_type, node.resolve(name)

    def wait_for_server(self, timeout_sec: float | None = None) -> bool:
        return _wait(lambda: self._name in GRAPH.actions, timeout_sec)

    def send_goal_async(self, goal: Any) -> Future:
        assert type(goal) is self._type.Goal
        future = Future()
        server = GRAPH.actions.get(self._name)
        if server is not None:
            handle = GoalHandle(accepted=True)
            self._node.post(lambda: future.set_result(handle))
            threading.Thread(
                target=server.run, args=(copy.deepcopy(goal), handle, self._node), daemon=True
            ).start()
        return future


class ActionServer:
    def __init__(
        self, node: Node, action_type: Any, name: str, execute_callback: Callable[[Any], Any]
    ) -> None:
        self._type, self._execute = action_type, execute_callback
        with GRAPH.lock:
            GRAPH.actions[node.resolve(name)] = self
        node.owned_actions.append(node.resolve(name))

    def run(self, goal: Any, handle: GoalHandle, client: Node) -> None:
        server_handle = ServerGoalHandle(goal)
        result = self._execute(server_handle)
        assert type(result) is self._type.Result
        answer = types.SimpleNamespace(status=server_handle.status, result=result)
        client.post(lambda: handle.outcome.set_result(answer))


class Node:
    def __init__(
        self,
        node_name: str,
        *,
        context: Context | None = None,
        namespace: str | None = None,
        start_parameter_services: bool = True,
    ) -> None:
        assert node_name.replace("_", "").isalnum(), f"{node_name} is no node name"
        self.context = context or DEFAULT_CONTEXT
        assert self.context.ok(), "rclpy.init has not been called on this context"
        self._name = node_name
        self._namespace = "/" + (namespace or "").strip("/")
        self.executor: SingleThreadedExecutor | None = None
        self._posted: deque[Callable[[], None]] = deque()
        self._subscriptions: list[Subscription] = []
        self._publishers: list[Publisher] = []
        self._services: list[str] = []
        self.owned_actions: list[str] = []

    def resolve(self, name: str) -> str:
        if name.startswith("/"):
            return name
        base = "" if self._namespace == "/" else self._namespace
        if name.startswith("~/"):
            return f"{base}/{self._name}/{name[2:]}"
        return f"{base}/{name}"

    def get_name(self) -> str:
        return self._name

    def get_clock(self) -> Clock:
        return Clock()

    def post(self, work: Callable[[], None]) -> None:
        self._posted.append(work)
        if self.executor is not None:
            self.executor.wake()

    def create_publisher(self, msg_type: type, topic: str, qos: QoSProfile) -> Publisher:
        publisher = Publisher(self, msg_type, self.resolve(topic), qos)
        with GRAPH.lock:
            GRAPH.publishers.setdefault(publisher.topic, []).append(publisher)
        self._publishers.append(publisher)
        return publisher

    def create_subscription(
        self,
        msg_type: type,
        topic: str,
        callback: Callable[[Any], None],
        qos: QoSProfile,
        *,
        raw: bool = False,
    ) -> Subscription:
        subscription = Subscription(self, msg_type, self.resolve(topic), callback, qos, raw)
        with GRAPH.lock:
            GRAPH.subscriptions.setdefault(subscription.topic, []).append(subscription)
        self._subscriptions.append(subscription)
        return subscription

    def create_service(self, srv_type: Any, name: str, callback: Callable) -> Service:
        service = Service(self, srv_type, callback)
        with GRAPH.lock:
            GRAPH.services[self.resolve(name)] = service
        self._services.append(self.resolve(name))
        return service

    def create_client(self, srv_type: Any, name: str) -> Client:
        return Client(self, srv_type, self.resolve(name))

    def count_publishers(self, topic: str) -> int:
        with GRAPH.lock:
            return len(GRAPH.publishers.get(self.resolve(topic), []))

    def destroy_node(self) -> None:
        with GRAPH.lock:
            for subscription in self._subscriptions:
                GRAPH.subscriptions[subscription.topic].remove(subscription)
            for publisher in self._publishers:
                GRAPH.publishers[publisher.topic].remove(publisher)
            for name in self._services:
                GRAPH.services.pop(name, None)
            for name in self.owned_actions:
                GRAPH.actions.pop(name, None)
        self._subscriptions, self._publishers, self._services = [], [], []

    def run_posted(self) -> None:
        while self._posted:
            self._posted.popleft()()


class ExternalShutdownException(Exception):
    pass


class SingleThreadedExecutor:
    def __init__(self, *, context: Context | None = None) -> None:
        self._nodes: list[Node] = []
        self._work = threading.Condition()
        self._awake = self._ended = False
        (context or DEFAULT_CONTEXT).executors.append(self)

    def add_node(self, node: Node) -> None:
        node.executor = self
        self._nodes.append(node)
        self.wake()

    def wake(self) -> None:
        with self._work:
            self._awake = True
            self._work.notify_all()

    def spin(self) -> None:
        while not self._ended:
            with self._work:
                self._work.wait_for(lambda: self._awake or self._ended)
                self._awake = False
            for node in self._nodes:
                node.run_posted()

    def shutdown(self, timeout_sec: float | None = None) -> bool:
        with self._work:
            self._ended = True
            self._work.notify_all()
        return True


class MultiThreadedExecutor(SingleThreadedExecutor):
    """Here as the other one; actions run in threads of their own anyway."""


def _wait(condition: Callable[[], bool], timeout_sec: float | None) -> bool:
    deadline = time.monotonic() + (timeout_sec if timeout_sec is not None else 1e9)
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True


def modules() -> dict[str, types.ModuleType]:
    """Everything that `import` must find, by name."""
    rclpy = {
        "rclpy": {"init": init, "shutdown": shutdown, "ok": ok},
        "rclpy.context": {"Context": Context},
        "rclpy.node": {"Node": Node},
        "rclpy.executors": {
            "SingleThreadedExecutor": SingleThreadedExecutor,
            "MultiThreadedExecutor": MultiThreadedExecutor,
            "ExternalShutdownException": ExternalShutdownException,
        },
        "rclpy.qos": {"QoSProfile": QoSProfile, "ReliabilityPolicy": ReliabilityPolicy},
        "rclpy.action": {"ActionClient": ActionClient, "ActionServer": ActionServer},
        "rclpy.serialization": {"deserialize_message": deserialize_message},
    }
    found = {}
    for name, contents in {**rclpy, **fake_messages.PACKAGES}.items():
        module = types.ModuleType(name)
        module.__path__ = []
        vars(module).update(contents)
        found[name] = module
    for name in list(found):
        found.setdefault(name.partition(".")[0], types.ModuleType(name.partition(".")[0]))
    return found


def real_rclpy() -> bool:
    """This Python has a ROS sourced."""
    return "rclpy" not in FAKED and importlib.util.find_spec("rclpy") is not None


FAKED: dict[str, types.ModuleType] = {}


@contextmanager
def installed() -> Iterator[None]:
    """`import rclpy` and the message packages find the fakes; nothing where ROS is real."""
    if real_rclpy() or FAKED:
        yield
        return
    FAKED.update(modules())
    before = {name: sys.modules.get(name) for name in FAKED}
    sys.modules.update(FAKED)
    try:
        yield
    finally:
        FAKED.clear()
        for name, module in before.items():
            if module is None:
                sys.modules.pop(name, None)
            else:
                sys.modules[name] = module
