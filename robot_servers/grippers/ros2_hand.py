"""The Franka Hand behind franka_ros2's gripper node: actions `move` and `grasp`, finger states.

Written for franka_gripper of franka_ros2 2.5.0. The node's actions run one at a time: a new target
first stops the action under way (the node's `stop` service), then is sent; the newest target wins.
Everything is answered in the session's thread, nobody waits.
"""

from __future__ import annotations

import threading
import time
from typing import Any

from robot_servers.grippers.base import GRIPPERS, GripperState
from robot_servers.types import GripperDescription, GripperTarget
from serl.errors import UserError

FIRST_STATE_S = 5.0
STALE_AFTER_S = 1.0
"""The gripper node publishes at 30 Hz."""

MOVING_M_PER_S = 0.002
"""Slower than this the fingers rest."""

REST_S = 0.15
"""For this long, so that the start of a motion is not taken for its end."""

GRASP_EPSILON_M = 0.08
"""A grasp succeeds at any width: what the fingers met is the task's business."""

CLOSED_M = 0.001
"""A target this narrow means to close on whatever is there: a grasp even where no force is given.
Other targets without a force are moves; a grasp may close further than its width."""

DEFAULT_FORCE_N = 40.0


@GRIPPERS.register("ros2_hand")
class Ros2Hand:
    """One Franka Hand.

    Args:
        address: name of the gripper's node.
        namespace: in which it is.
    """

    description = GripperDescription(
        name="ros2_hand", width_max_m=0.08, force_max_n=70.0, speed_max_m_per_s=0.1
    )
    """Franka Hand product manual: 70 N continuous, 50 mm/s per finger."""

    def __init__(self, *, address: str = "franka_gripper", namespace: str = "") -> None:
        self._address, self._namespace = address, namespace
        self._lock = threading.Lock()
        self._session: Any = None
        self._reset()

    def _reset(self) -> None:
        self._heard = threading.Event()
        self._width_m = self._target_m = 0.0
        self._came_ns = self._moved_ns = self._asked_ns = 0
        self._next: GripperTarget | None = None
        self._goal: Any = None
        self._busy = False
        self._effort = False
        self._error = ""

    def connect(self) -> None:
        """Node, first finger state, action servers."""
        from robot_servers.backends.ros2.session import RosSession, load

        if self._session is not None:
            return
        self._reset()
        session = RosSession("serl_gripper", self._namespace)
        session.open()
        self._load, self._session = load, session
        try:
            topic = f"{self._address}/joint_states"
            session.subscribe(("sensor_msgs.msg", "JointState"), topic, self._on_fingers)
            self._move = session.action(("franka_msgs.action", "Move"), f"{self._address}/move")
            self._grasp = session.action(("franka_msgs.action", "Grasp"), f"{self._address}/grasp")
            self._stop = session.client(("std_srvs.srv", "Trigger"), f"{self._address}/stop")
            if not self._heard.wait(FIRST_STATE_S):
                raise UserError(
                    f"nothing on topic {topic} within {FIRST_STATE_S:g} s. Start the launch file "
                    "with gripper:=true, or the server with --gripper none."
                )
            for action in (self._move, self._grasp):
                if not action.wait_for_server(timeout_sec=FIRST_STATE_S):
                    raise UserError(
                        f"{self._address} offers no move and grasp actions: fake hardware has "
                        "none. Start the server with --gripper none."
                    )
        except BaseException:
            self.close()
            raise
        with self._lock:
            self._target_m = self._width_m

    def close(self) -> None:
        """Let go; the hand keeps its last grip."""
        if self._session is not None:
            self._session.close()
            self._session = None

    def command(self, target: GripperTarget) -> None:
        """Go there; an equal target while it is under way changes nothing."""
        with self._lock:
            under_way = self._busy or self._next is not None
            if under_way and abs(target.width_m - self._target_m) < 1e-6:
                return
            self._target_m, self._next = target.width_m, target
            self._asked_ns = time.monotonic_ns()
            busy = self._busy
        if busy:
            trigger = self._load("std_srvs.srv", "Trigger").Request()
            self._stop.call_async(trigger)
        else:
            self._send_next()

    def state(self) -> GripperState:
        """The newest sample."""
        with self._lock:
            now = time.monotonic_ns()
            recent = now - max(self._moved_ns, self._asked_ns) < REST_S * 1e9
            error = self._error
            if self._session is not None and now - self._came_ns > STALE_AFTER_S * 1e9:
                error = f"{self._address}/joint_states has gone silent; check the gripper node."
            moving = self._busy or (recent and abs(self._width_m - self._target_m) > 1e-3)
            return GripperState(
                stamp_mono_ns=self._came_ns or now,
                width_m=self._width_m,
                target_m=self._target_m,
                moving=moving,
                holding=self._effort and not moving and self._width_m > self._target_m + 2e-3,
                error=error,
            )

    def _on_fingers(self, message: Any) -> None:
        """Each finger's way from the middle [m]; the opening is their sum."""
        width = float(sum(message.position[:2]))
        with self._lock:
            now = time.monotonic_ns()
            elapsed_s = (now - self._came_ns) * 1e-9
            if self._came_ns and abs(width - self._width_m) > MOVING_M_PER_S * elapsed_s:
                self._moved_ns = now
            self._width_m, self._came_ns = width, now
        self._heard.set()

    def _send_next(self) -> None:
        with self._lock:
            target, self._next = self._next, None
            if target is None:
                return
            self._busy, self._error = True, ""
            opening = target.width_m >= self._width_m
            grasps = not opening and (target.force_n is not None or target.width_m <= CLOSED_M)
            self._effort = grasps
        goal = self._closing(target) if grasps else self._opening(target)
        client = self._grasp if grasps else self._move
        client.send_goal_async(goal).add_done_callback(self._accepted)

    def _opening(self, target: GripperTarget) -> Any:
        goal = self._load("franka_msgs.action", "Move").Goal()
        goal.width, goal.speed = float(target.width_m), self._speed(target)
        return goal

    def _closing(self, target: GripperTarget) -> Any:
        goal = self._load("franka_msgs.action", "Grasp").Goal()
        goal.width, goal.speed = float(target.width_m), self._speed(target)
        goal.force = float(DEFAULT_FORCE_N if target.force_n is None else target.force_n)
        goal.epsilon.inner = goal.epsilon.outer = GRASP_EPSILON_M
        return goal

    def _speed(self, target: GripperTarget) -> float:
        return float(target.speed_m_per_s or self.description.speed_max_m_per_s)

    def _accepted(self, future: Any) -> None:
        error = future.exception()
        handle = None if error else future.result()
        if handle is None or not handle.accepted:
            self._finished(f"the gripper refused its goal ({error or 'not accepted'}).")
            return
        handle.get_result_async().add_done_callback(self._ended)

    def _ended(self, future: Any) -> None:
        error = future.exception()
        if error is not None:
            self._finished(f"the gripper's action failed: {error}")
            return
        result = future.result().result
        self._finished("" if result.success else f"gripper: {result.error or 'did not succeed'}")

    def _finished(self, error: str) -> None:
        with self._lock:
            self._busy = False
            superseded = self._next is not None
            self._error = "" if superseded else error
        if superseded:
            self._send_next()
