"""The newest measurement that came over ROS, from one of two sources.

`FrankaStates` reads franka_ros2's FrankaRobotState: joints, pose, wrench, mode and errors of one
instant under one stamp. `JointStates` reads joint states and CRISP's pose, which any ros2_control
arm has, the mock component too; it knows no wrench and no faults.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from robot_servers.backends.franka_wrench import wrench_on_robot
from robot_servers.backends.ros2 import convert
from robot_servers.backends.ros2.faults import IDLE, fault_of
from robot_servers.backends.ros2.names import Ros2Names
from robot_servers.backends.ros2.session import RosSession, load
from robot_servers.types import Array, Fault


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One instant of the arm; frames and signs as in `driver.Sample`."""

    stamp_mono_ns: int
    q_rad: Array
    dq_rad_per_s: Array
    tau_nm: Array
    T_base_tcp: Array
    wrench_base_ext: Array
    fault: Fault | None = None
    idle: bool = False
    """The arm says that nothing controls it."""


class Newest:
    """A mailbox for the newest message of one topic, and when it came."""

    def __init__(self, topic: str) -> None:
        self.topic = topic
        self.heard = threading.Event()
        self._lock = threading.Lock()
        self._held: tuple[Any, int] | None = None

    def put(self, message: Any) -> None:
        with self._lock:
            self._held = (message, time.monotonic_ns())
        self.heard.set()

    def get(self, stale_after_s: float) -> tuple[Any, int]:
        """The newest message and when it came [ns]. Raises TimeoutError when it is too old."""
        with self._lock:
            held = self._held
        if held is None:
            raise TimeoutError(f"{self.topic}: nothing heard yet")
        age_s = (time.monotonic_ns() - held[1]) / 1e9
        if age_s > stale_after_s:
            raise TimeoutError(
                f"{self.topic}: silent for {age_s:.2f} s (limit {stale_after_s:g} s). Check the "
                "launch file's terminal and the arm's network cable."
            )
        return held


class States(Protocol):
    """A source of measurements."""

    @property
    def topics(self) -> Sequence[Newest]: ...

    def newest(self, stale_after_s: float) -> Measured:
        """Raises TimeoutError when a topic has gone silent, ValueError when it makes no sense."""
        ...

    def facts(self) -> dict[str, str]: ...


class FrankaStates:
    """franka_ros2's broadcaster. Messages come at 1 kHz and are decoded only when asked for."""

    def __init__(self, session: RosSession, names: Ros2Names, joint_names: Sequence[str]) -> None:
        self._joint_names = joint_names
        self._type = load("franka_msgs.msg", "FrankaRobotState")
        self._decode: Callable[[Any, Any], Any] = load("rclpy.serialization", "deserialize_message")
        self._box = Newest(names.robot_state)
        self.topics: Sequence[Newest] = (self._box,)
        session.subscribe(
            ("franka_msgs.msg", "FrankaRobotState"), names.robot_state, self._box.put, raw=True
        )
        self._stamp = Stamper(session)
        self._facts: dict[str, str] = {}
        self._last: tuple[int, Measured] | None = None

    def newest(self, stale_after_s: float) -> Measured:
        raw, came_ns = self._box.get(stale_after_s)
        if self._last is None or self._last[0] != came_ns:
            self._last = (came_ns, self._decoded(raw, came_ns))
        return self._last[1]

    def _decoded(self, raw: Any, came_ns: int) -> Measured:
        state = self._decode(raw, self._type)
        q, dq, _ = convert.joints_from_msg(state.measured_joint_state, self._joint_names)
        tau = np.array(state.desired_joint_state.effort, dtype=np.float64)
        if tau.shape != q.shape:
            raise ValueError(f"desired_joint_state has {len(tau)} efforts for {len(q)} joints")
        stamp = self._stamp(state.header.stamp, came_ns)
        self._facts = {
            "robot mode": str(state.robot_mode),
            "control_command_success_rate": f"{state.control_command_success_rate:.3f}",
        }
        T_base_tcp = convert.pose_from_msg(state.o_t_ee.pose)
        return Measured(
            stamp_mono_ns=stamp,
            q_rad=q,
            dq_rad_per_s=dq,
            tau_nm=tau,
            T_base_tcp=T_base_tcp,
            wrench_base_ext=wrench_on_robot(
                convert.wrench_from_msg(state.k_f_ext_hat_k.wrench),
                T_base_tcp,
                convert.pose_from_msg(state.ee_t_k.pose),
            ),
            fault=fault_of(state, stamp),
            idle=state.robot_mode == IDLE,
        )

    def facts(self) -> dict[str, str]:
        return dict(self._facts)


class JointStates:
    """joint_state_broadcaster and CRISP's PoseBroadcaster; the wrench reads zero."""

    def __init__(self, session: RosSession, names: Ros2Names, joint_names: Sequence[str]) -> None:
        self._joint_names = joint_names
        self._stamp = Stamper(session)
        self._last: tuple[int, Measured] | None = None
        self._joints, self._pose = Newest(names.joint_states), Newest(names.current_pose)
        self.topics: Sequence[Newest] = (self._joints, self._pose)
        session.subscribe(("sensor_msgs.msg", "JointState"), names.joint_states, self._joints.put)
        session.subscribe(("geometry_msgs.msg", "PoseStamped"), names.current_pose, self._pose.put)

    def newest(self, stale_after_s: float) -> Measured:
        joints, came_ns = self._joints.get(stale_after_s)
        pose, _ = self._pose.get(stale_after_s)
        if self._last is None or self._last[0] != came_ns:
            self._last = (came_ns, self._combined(joints, pose, came_ns))
        return self._last[1]

    def _combined(self, joints: Any, pose: Any, came_ns: int) -> Measured:
        q, dq, tau = convert.joints_from_msg(joints, self._joint_names)
        return Measured(
            stamp_mono_ns=self._stamp(joints.header.stamp, came_ns),
            q_rad=q,
            dq_rad_per_s=dq,
            tau_nm=tau,
            T_base_tcp=convert.pose_from_msg(pose.pose),
            wrench_base_ext=np.zeros(6),
        )

    def facts(self) -> dict[str, str]:
        return {"wrench": "not measured (state = joint_states)"}


class Stamper:
    """Headers' stamps on the monotonic clock: once per message, growing, not after its arrival.

    The two clocks are read one after the other; a thread that is put aside in between would be
    wrong by that, so that the closest of a few pairs counts.
    """

    PAIRS = 3

    def __init__(self, session: RosSession) -> None:
        self._session = session
        self._last_ns = 0

    def __call__(self, header_stamp: Any, came_mono_ns: int) -> int:
        pairs = []
        for _ in range(self.PAIRS):
            before = time.monotonic_ns()
            ros = self._session.now_ns()
            pairs.append((time.monotonic_ns() - before, before, ros))
        _, mono_ns, ros_ns = min(pairs)
        stamp = convert.mono_stamp_ns(convert.to_ns(header_stamp), ros_ns, mono_ns)
        stamp = came_mono_ns if stamp == mono_ns else min(stamp, came_mono_ns)
        self._last_ns = max(stamp, self._last_ns + 1)
        return self._last_ns
