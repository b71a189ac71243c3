"""An arm behind ROS 2: franka_ros2's hardware under CRISP's controllers, as an `ArmDriver`.

The law runs in CRISP at 1 kHz inside ros2_control; from here go a target pose or joint target per
tick, and gains as parameters. If this process dies, CRISP goes on holding its last target, which
is within the error clip of where the arm was. Wrench mode is not offered for the same reason:
CRISP's target_wrench, and ros2_control's forward effort controllers, go on pushing.

Nothing here waits in the loop: switching controllers takes tens of milliseconds, and until it is
confirmed no target is sent. Only `connect`, `recover`, `set_payload` and `set_collision` wait.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from robot_servers.backends.driver import Sample
from robot_servers.backends.ros2 import convert
from robot_servers.backends.ros2.controllers import Controllers
from robot_servers.backends.ros2.names import ARM_IDS, Ros2Names
from robot_servers.backends.ros2.session import RosSession, load, poll
from robot_servers.backends.ros2.states import FrankaStates, JointStates, Measured, Newest, States
from robot_servers.control import se3
from robot_servers.models.base import MODELS
from robot_servers.types import (
    Array,
    CollisionThresholds,
    Fault,
    FaultKind,
    Gains,
    Payload,
)
from serl.errors import UserError

FIRST_STATE_S = 5.0
FIRST_READER_S = 3.0
RECOVERY_S = 10.0
CLEARED_S = 2.0
"""The arm's mode must be clear this long after a recovery that succeeded."""

LOST_AFTER_S = 0.5
"""A controller that was confirmed active must show in the arm's mode within this time."""

MAX_ROTATIONAL_STIFFNESS = 100.0
"""CRISP 2.3 clamps stiffer springs in silence, at the bound of variable_max_stiffness [N m/rad]."""

TCP_AGREES_M = 0.005
TCP_AGREES_RAD = 0.02
"""Between Desk's end effector and the frame CRISP controls (URDF)."""


class Ros2Driver:
    """One arm.

    Args:
        robot: our model: 'fr3' or 'panda'.
        namespace: where the launch file put its nodes.
        state: 'franka' reads franka_ros2's robot state; 'joint_states' any ros2_control arm,
            without payload, collision thresholds and faults; its wrench reads zero, which
            'wrench_measured' in `unsupported` says.
        names: topics, services and controllers.
        loop_hz: rate of targets.
        stale_after_s: a state older than this is no state, but a fault. CRISP holds meanwhile.
    """

    def __init__(
        self,
        robot: str = "fr3",
        *,
        namespace: str = "",
        state: str = "franka",
        names: Ros2Names | None = None,
        loop_hz: float = 200.0,
        stale_after_s: float = 0.2,
    ) -> None:
        if state not in ("franka", "joint_states"):
            raise UserError(f"state is 'franka' or 'joint_states', not {state!r}.")
        self._model = MODELS.get(robot)
        self.description = self._model.description
        self.loop_hz = loop_hz
        self._stale_after_s = stale_after_s
        franka = state == "franka"
        missing = () if franka else ("payload", "collision", "wrench_measured")
        self.unsupported = frozenset({"wrench", *missing})
        self._franka = franka
        self._names = names or Ros2Names()
        self._namespace = namespace
        arm_id = ARM_IDS.get(robot, robot)
        self._joint_names = [f"{arm_id}_{joint}" for joint in self.description.joint_names]
        self._q_home = np.array(self.description.q_home_rad)
        self._session: RosSession | None = None

    def connect(self) -> None:
        """Node, first state, controllers, and whether CRISP listens to us alone."""
        if self._session is not None:
            return
        session = RosSession("serl_robot_server", self._namespace)
        session.open()
        self._session = session
        try:
            self._connect(session)
        except BaseException:
            self.close()
            raise

    def _connect(self, session: RosSession) -> None:
        names = self._names
        make = FrankaStates if self._franka else JointStates
        self._states: States = make(session, names, self._joint_names)
        self._pose_heard = Newest(names.current_pose)
        session.subscribe(
            ("geometry_msgs.msg", "PoseStamped"), names.current_pose, self._pose_heard.put
        )
        for box in (*self._states.topics, self._pose_heard):
            if not box.heard.wait(FIRST_STATE_S):
                raise UserError(
                    f"nothing on topic {box.topic} within {FIRST_STATE_S:g} s. Is "
                    "ros2_launch/franka_crisp.launch.xml running, in this ROS_DOMAIN_ID?"
                )
        self._controllers = Controllers(session, names)
        self._controllers.connect()
        self._target_pose = session.publisher(
            ("geometry_msgs.msg", "PoseStamped"), names.target_pose
        )
        joint_state = ("sensor_msgs.msg", "JointState")
        self._target_joint = session.publisher(joint_state, names.target_joint)
        self._posture = session.publisher(joint_state, names.posture)
        self._make_pose = load("geometry_msgs.msg", "PoseStamped")
        self._make_joints = load("sensor_msgs.msg", "JointState")
        if self._franka:
            self._recovery = session.action(
                ("franka_msgs.action", "ErrorRecovery"), names.error_recovery
            )
            self._set_load = session.client(("franka_msgs.srv", "SetLoad"), names.set_load)
            self._set_collision = session.client(
                ("franka_msgs.srv", "SetForceTorqueCollisionBehavior"), names.set_collision
            )
        self._check_readers(session)
        self._posture_told = False
        self._gains: Gains | None = None
        first = self._first()
        self._check_tcp(first.T_base_tcp)
        T_base_flange = self._model.T_base_flange(first.q_rad)
        self._T_flange_tcp = se3.inverse(T_base_flange) @ first.T_base_tcp

    def _first(self) -> Measured:
        """The first measurement, or what is wrong with it."""
        try:
            return self._states.newest(FIRST_STATE_S)
        except (ValueError, TimeoutError) as error:
            raise UserError(
                f"the arm's state makes no sense: {error}. Is --robot the arm that the launch file "
                "was started for (robot_type:=fr3, or fer for a Panda)?"
            ) from error

    def _check_readers(self, session: RosSession) -> None:
        """CRISP hears us, and us alone: with two publishers on a topic it ignores both."""
        for publisher, topic in (
            (self._target_pose, self._names.target_pose),
            (self._target_joint, self._names.target_joint),
        ):
            if not poll(lambda p=publisher: p.get_subscription_count() > 0, FIRST_READER_S):
                raise UserError(
                    f"nobody reads topic {topic}. Start CRISP's controllers with "
                    "ros2_launch/franka_crisp.launch.xml, which names their topics."
                )
            others = session.node.count_publishers(topic) - 1
            if others > 0:
                raise UserError(
                    f"{others} other node(s) publish on {topic}; CRISP then ignores everyone. Stop "
                    f"them: ros2 topic info {topic} --verbose"
                )

    def _check_tcp(self, T_base_tcp: Array) -> None:
        """The arm's idea of its TCP is the frame that CRISP controls."""
        message, _ = self._pose_heard.get(FIRST_STATE_S)
        apart = _apart(T_base_tcp, convert.pose_from_msg(message.pose))
        if apart:
            raise UserError(
                f"the arm's TCP and CRISP's end_effector_frame are {apart}. Set the end effector "
                "in Desk and end_effector_frame in crisp.yaml to the same point."
            )

    def check_flange_tcp(self, T_flange_tcp: Array) -> None:
        """robot.toml's TCP is the arm's: it cannot be set from here, and the guard counts on it."""
        apart = _apart(T_flange_tcp, self._T_flange_tcp)
        if apart:
            x, y, z = self._T_flange_tcp[:3, 3]
            raise UserError(
                f"robot.toml's TCP and the arm's are {apart}. The arm has tcp_pos_m = [{x:.4f}, "
                f"{y:.4f}, {z:.4f}]; set it in Desk and in the URDF, then in robot.toml."
            )

    def close(self) -> None:
        """Let go: CRISP holds its last target."""
        if self._session is not None:
            self._session.close()
            self._session = None

    def read(self) -> Sample:
        """The newest state; raises TimeoutError after `stale_after_s` of silence."""
        session = self._open()
        if session.error is not None:
            raise ConnectionError(f"the ROS node's thread ended: {session.error}")
        m = self._states.newest(self._stale_after_s)
        J = self._model.jacobian(m.q_rad, self._T_flange_tcp)
        return Sample(
            stamp_mono_ns=m.stamp_mono_ns,
            q_rad=m.q_rad,
            dq_rad_per_s=m.dq_rad_per_s,
            tau_nm=m.tau_nm,
            T_base_tcp=m.T_base_tcp,
            twist_base_tcp=J @ m.dq_rad_per_s,
            wrench_base_ext=m.wrench_base_ext,
            jacobian=J,
            fault=m.fault or self._trouble(m),
        )

    def _trouble(self, m: Measured) -> Fault | None:
        """What ros2_control refused, or did behind our back."""
        reason = self._controllers.trouble
        since_ns = self._controllers.held_since_mono_ns if m.idle else None
        if not reason and since_ns is not None and m.stamp_mono_ns - since_ns > LOST_AFTER_S * 1e9:
            reason = (
                "the arm is idle although our controller was started: another program has changed "
                "controllers, or franka_ros2 has stopped. See the launch file's terminal, then "
                "recover."
            )
        if not reason:
            return None
        return Fault(kind=FaultKind.OTHER, reason=reason, stamp_mono_ns=m.stamp_mono_ns)

    def impedance(self, T_base_ref: Array, gains: Gains) -> None:
        """Gains as CRISP's parameters, in one set; then the reference."""
        check_stiffness(gains)
        if gains != self._gains:
            self._gains = gains
            self._controllers.parameters(convert.crisp_parameters(gains, self._joint_names))
        self.follow(T_base_ref)

    def follow(self, T_base_ref: Array) -> None:
        """Publish the reference once the Cartesian controller holds the arm."""
        if not self._controllers.holds(self._names.cartesian_controller):
            self._posture_told = False
            return
        if not self._posture_told:
            self._posture.publish(self._joints_message(self._q_home))
            self._posture_told = True
        message = self._make_pose()
        message.header.stamp = self._open().stamp()
        message.header.frame_id = "base"
        convert.fill_pose(message.pose, T_base_ref)
        self._target_pose.publish(message)

    def joints(self, q_ref_rad: Array) -> None:
        """Publish the joint reference once the joint controller holds the arm."""
        self._posture_told = False
        if self._controllers.holds(self._names.joint_controller):
            self._target_joint.publish(self._joints_message(q_ref_rad))

    def _joints_message(self, q_rad: Array) -> Any:
        message = self._make_joints()
        message.header.stamp = self._open().stamp()
        message.name = list(self._joint_names)
        message.position = [float(q) for q in q_rad]
        return message

    def torque(self, tau_nm: Array) -> None:
        raise UserError(
            "the ros2 backend has no torque mode: what it would publish outlives its publisher. "
            "Use the franky backend for wrench mode."
        )

    def halt(self) -> None:
        """Deactivate every controller; the arm's own controller holds. From any thread."""
        if self._session is not None:
            self._controllers.release()

    def recover(self) -> None:
        """franka_ros2's error recovery, its hardware component, and our view of the controllers."""
        session = self._open()
        if self._franka:
            self._recover_arm(session)
        self._controllers.wake_hardware()
        self._controllers.refresh()
        self._gains = None
        self._posture_told = False

    def _recover_arm(self, session: RosSession) -> None:
        before = self._states.newest(self._stale_after_s).fault
        if before is not None and before.kind is FaultKind.USER_STOP:
            raise UserError(before.reason)
        if not self._recovery.wait_for_server(timeout_sec=CLEARED_S):
            raise UserError(
                f"no ROS action {self._names.error_recovery}: is franka_ros2's hardware loaded? "
                "Restart the launch file."
            )
        goal = load("franka_msgs.action", "ErrorRecovery").Goal()
        what = f"ROS action {self._names.error_recovery}"
        handle = session.wait(self._recovery.send_goal_async(goal), what, RECOVERY_S)
        if not handle.accepted:
            raise UserError(f"{what} refused; see franka_ros2's log.")
        result = session.wait(handle.get_result_async(), what, RECOVERY_S)
        succeeded = load("action_msgs.msg", "GoalStatus").STATUS_SUCCEEDED
        if result.status != succeeded:
            raise UserError(
                "the arm refused its error recovery. Free it, check the user stop and Desk, then "
                "recover again."
            )
        asked_ns = time.monotonic_ns()

        def clear() -> bool:
            newest = self._states.newest(CLEARED_S)
            return newest.stamp_mono_ns > asked_ns and newest.fault is None

        if not poll(clear, CLEARED_S):
            fault = self._states.newest(CLEARED_S).fault
            raise UserError(
                fault.reason if fault else f"{what} succeeded, but no newer state came."
            )

    def set_payload(self, payload: Payload) -> None:
        """franka_ros2's set_load."""
        request = load("franka_msgs.srv", "SetLoad").Request()
        convert.fill_load(request, payload)
        self._accepted(self._set_load, request)

    def set_collision(self, thresholds: CollisionThresholds) -> None:
        """franka_ros2's set_force_torque_collision_behavior."""
        request = load("franka_msgs.srv", "SetForceTorqueCollisionBehavior").Request()
        convert.fill_collision(request, thresholds)
        self._accepted(self._set_collision, request)

    def _accepted(self, client: Any, request: Any) -> None:
        """libfranka accepts settings only while nothing controls the arm: release, set, go on."""
        session = self._open()
        self._controllers.release()
        if not poll(lambda: self._controllers.free, CLEARED_S):
            raise UserError(
                f"the arm was not released for {client.srv_name}: "
                f"{self._controllers.trouble or 'no answer from the controller manager'}"
            )
        answer = session.call(client, request)
        if not answer.success:
            raise UserError(f"the arm refused {client.srv_name}: {answer.error}")

    def facts(self) -> Mapping[str, str]:
        if self._session is None:
            return {}
        return {
            "ROS": f"{os.environ.get('ROS_DISTRO', 'unknown')}, "
            f"domain {os.environ.get('ROS_DOMAIN_ID', '0')}, "
            f"{os.environ.get('RMW_IMPLEMENTATION', 'default middleware')}",
            "TCP": "flange to TCP ({:.4f}, {:.4f}, {:.4f}) m".format(*self._T_flange_tcp[:3, 3]),
            "controllers": f"{self._names.cartesian_controller}, {self._names.joint_controller}",
            **self._states.facts(),
        }

    def _open(self) -> RosSession:
        if self._session is None:
            raise ConnectionError("the ROS node is closed")
        return self._session


def _apart(T_a: Array, T_b: Array) -> str:
    """How far two poses are from each other, when that is too far for one point."""
    error = se3.pose_error(T_a, T_b)
    apart_m, apart_rad = np.linalg.norm(error[:3]), np.linalg.norm(error[3:])
    if apart_m <= TCP_AGREES_M and apart_rad <= TCP_AGREES_RAD:
        return ""
    return f"{1e3 * apart_m:.0f} mm and {apart_rad:.2f} rad apart (5 mm, 0.02 rad allowed)"


def check_stiffness(gains: Gains) -> None:
    """Raises UserError for a rotational spring that CRISP would clamp."""
    if gains.rotational_stiffness_nm_per_rad > MAX_ROTATIONAL_STIFFNESS:
        raise UserError(
            f"rotational_stiffness_nm_per_rad {gains.rotational_stiffness_nm_per_rad:g}; CRISP "
            f"goes to {MAX_ROTATIONAL_STIFFNESS:g} N m/rad. Lower it."
        )
