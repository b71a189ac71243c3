"""A simulated arm behind the topics of franka_ros2 and CRISP: nodes outside, some dynamics within.

Runs on the fake rclpy and on a real one.

The arm has the real kinematics, a constant inertia per joint and no gravity (the Franka compensates
its own). The controllers are CRISP's law. Wrench and torques carry libfranka's signs. A test
pushes, presses the user stop, silences topics or makes services refuse.
"""

from __future__ import annotations

import importlib
import threading
import time
from typing import Any

import numpy as np

from robot_servers.backends.ros2 import convert
from robot_servers.backends.ros2.names import ARM_IDS, Ros2Names
from robot_servers.control import se3
from robot_servers.models.base import MODELS

STEP_S = 0.002
PUBLISH_EVERY = 2
"""Steps; franka_ros2 publishes at 1 kHz, here 250 Hz will do."""

INERTIA_KG_M2 = np.array([0.4, 0.4, 0.4, 0.4, 0.15, 0.15, 0.12])
FRICTION_NM_S_PER_RAD = 0.7
"""Viscous, at every joint: the least of the Panda's (robot_servers/models/panda/constants.py)."""

FINGER_SPEED_M_PER_S = 0.1
IDLE, MOVE, REFLEX, USER_STOPPED = 1, 2, 4, 5
ACTIVE, INACTIVE = 3, 2


def ros(module: str, name: str) -> Any:
    return getattr(importlib.import_module(module), name)


class ArmWorld:
    """Start with `with ArmWorld(...) as world:`, where an rclpy is importable."""

    def __init__(self, robot: str = "fr3", *, names: Ros2Names | None = None) -> None:
        self.model = MODELS.get(robot)
        self.names = names or Ros2Names()
        arm_id = ARM_IDS.get(robot, robot)
        self.joint_names = [f"{arm_id}_{j}" for j in self.model.description.joint_names]
        self.q = np.array(self.model.description.q_home_rad)
        self.dq = np.zeros(7)
        self.tau = np.zeros(7)
        self.active: str | None = None
        self.controllers = {self.names.cartesian_controller, self.names.joint_controller}
        self.others: set[str] = set()
        """Further controllers that hold the joints."""
        self.parameters = {f"task.k_pos_{axis}": 400.0 for axis in "xyz"}
        self.pushed = np.zeros(6)
        """Environment on robot at the TCP, base axes."""
        self.T_tcp_k = se3.pose(np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]]), [0.0, 0.0, 0.05])
        """Somebody has moved the stiffness frame away from the TCP."""
        self.collision_n = np.inf
        self.mode_override: int | None = None
        self.errors: set[str] = set()
        self.hardware = ACTIVE
        self.silent = False
        self.refuse_switch = self.refuse_parameters = self.refuse_recovery = False
        self.crisp_tcp_offset_m = 0.0
        self.load: Any = None
        self.switches: list[tuple[list[str], list[str]]] = []
        self.poses_published = self.joints_published = 0
        self.posture = self.q.copy()
        self.object_width_m = 0.0
        self.width = 0.08
        self._lock = threading.RLock()
        self._gripper_goal: tuple[float, float] | None = None
        self._target_pose = self.model.T_base_tcp(self.q)
        self._target_joint = self.q.copy()

    def __enter__(self) -> ArmWorld:
        rclpy = importlib.import_module("rclpy")
        self._context = ros("rclpy.context", "Context")()
        rclpy.init(context=self._context)
        self._executor = ros("rclpy.executors", "MultiThreadedExecutor")(context=self._context)
        self.nodes = {}
        for name in (
            "controller_manager",
            "broadcaster",
            *sorted(self.controllers),
            "arm",
            "hand",
            "stop",
        ):
            self.nodes[name] = ros("rclpy.node", "Node")(
                name, context=self._context, start_parameter_services=False
            )
            self._executor.add_node(self.nodes[name])
        self._make_manager()
        self._make_controllers()
        self._make_arm()
        self._make_hand()
        self._stopping = threading.Event()
        self._threads = [
            threading.Thread(target=self._spin, daemon=True),
            threading.Thread(target=self._run, daemon=True),
        ]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._threads[1].join()
        self._executor.shutdown()
        importlib.import_module("rclpy").shutdown(context=self._context)
        self._threads[0].join(timeout=2.0)
        for node in self.nodes.values():
            node.destroy_node()

    def _spin(self) -> None:
        try:
            self._executor.spin()
        except ros("rclpy.executors", "ExternalShutdownException"):
            pass

    @property
    def T_base_tcp(self) -> np.ndarray:
        return self.model.T_base_tcp(self.q)

    # ros2_control's manager

    def _make_manager(self) -> None:
        node, srv = self.nodes["controller_manager"], "controller_manager_msgs.srv"
        prefix = self.names.controller_manager
        for service, serve in (
            ("SwitchController", self._switch),
            ("ListControllers", self._list),
            ("ListHardwareComponents", self._components),
            ("SetHardwareComponentState", self._set_component),
        ):
            name = "".join(f"_{c.lower()}" if c.isupper() else c for c in service)[1:]
            node.create_service(ros(srv, service), f"{prefix}/{name}", serve)

    def _switch(self, request: Any, response: Any) -> Any:
        start, stop = list(request.activate_controllers), list(request.deactivate_controllers)
        time.sleep(0.01)  # the real one takes a control cycle and some
        with self._lock:
            self.switches.append((start, stop))
            held = ({self.active} if self.active else set()) | self.others
            strict = request.strictness == 2
            unknown = set(start) - self.controllers
            clash = bool(start) and bool(held - set(stop) - set(start))
            sleeping = bool(start) and (self.hardware != ACTIVE or self._robot_mode() >= REFLEX)
            response.ok = not (self.refuse_switch or (strict and (unknown or clash)) or sleeping)
            if response.ok:
                self.others -= set(stop)
                if self.active in stop:
                    self.active = None
                if start and self.active != start[0]:
                    self.active = start[0]
                    self._target_pose, self._target_joint = self.T_base_tcp, self.q.copy()
                    self.posture = self.q.copy()
        return response

    def _list(self, _: Any, response: Any) -> Any:
        make = ros("controller_manager_msgs.msg", "ControllerState")
        listed = []
        for name in sorted(self.controllers | self.others):
            active = name == self.active or name in self.others
            state = make(name=name, state="active" if active else "inactive")
            if active:
                state.claimed_interfaces = [f"{joint}/effort" for joint in self.joint_names]
            listed.append(state)
        response.controller = listed
        return response

    def _components(self, _: Any, response: Any) -> Any:
        component = ros("controller_manager_msgs.msg", "HardwareComponentState")(name="FrankaArm")
        component.state.id = self.hardware
        component.state.label = "active" if self.hardware == ACTIVE else "inactive"
        response.component = [component]
        return response

    def _set_component(self, request: Any, response: Any) -> Any:
        self.hardware = request.target_state.id
        response.ok = True
        return response

    # CRISP's controllers

    def _make_controllers(self) -> None:
        qos = ros("rclpy.qos", "QoSProfile")(depth=1)
        pose, joints = ros("geometry_msgs.msg", "PoseStamped"), ros("sensor_msgs.msg", "JointState")
        cartesian = self.nodes[self.names.cartesian_controller]
        joint = self.nodes[self.names.joint_controller]
        cartesian.create_subscription(pose, self.names.target_pose, self._on_pose, qos)
        cartesian.create_subscription(joints, self.names.posture, self._on_posture, qos)
        joint.create_subscription(joints, self.names.target_joint, self._on_joint, qos)
        cartesian.create_service(
            ros("rcl_interfaces.srv", "SetParametersAtomically"),
            f"{self.names.cartesian_controller}/set_parameters_atomically",
            self._set_parameters,
        )

    def _on_pose(self, message: Any) -> None:
        assert message.header.frame_id == "base"
        with self._lock:
            self.poses_published += 1
            self._target_pose = convert.pose_from_msg(message.pose)

    def _on_posture(self, message: Any) -> None:
        with self._lock:
            self.posture = np.array(message.position)

    def _on_joint(self, message: Any) -> None:
        with self._lock:
            self.joints_published += 1
            self._target_joint = np.array(message.position)

    def _set_parameters(self, request: Any, response: Any) -> Any:
        with self._lock:
            response.result.successful = not self.refuse_parameters
            response.result.reason = "out of bounds" if self.refuse_parameters else ""
            if not self.refuse_parameters:
                assert all(p.value.type == 3 for p in request.parameters)
                self.parameters |= {p.name: p.value.double_value for p in request.parameters}
        return response

    # franka_ros2

    def _make_arm(self) -> None:
        policy = ros("rclpy.qos", "ReliabilityPolicy")
        make_qos = ros("rclpy.qos", "QoSProfile")
        best_effort = make_qos(depth=1, reliability=policy.BEST_EFFORT)
        node, names = self.nodes["broadcaster"], self.names
        self._state_type = ros("franka_msgs.msg", "FrankaRobotState")
        self._pose_type = ros("geometry_msgs.msg", "PoseStamped")
        self._joints_type = ros("sensor_msgs.msg", "JointState")
        self._state_out = node.create_publisher(self._state_type, names.robot_state, best_effort)
        self._pose_out = node.create_publisher(
            self._pose_type, names.current_pose, make_qos(depth=1)
        )
        self._joints_out = node.create_publisher(
            self._joints_type, names.joint_states, make_qos(depth=1)
        )
        arm = self.nodes["arm"]
        arm.create_service(ros("franka_msgs.srv", "SetLoad"), names.set_load, self._on_load)
        arm.create_service(
            ros("franka_msgs.srv", "SetForceTorqueCollisionBehavior"),
            names.set_collision,
            self._on_collision,
        )
        ros("rclpy.action", "ActionServer")(
            arm, ros("franka_msgs.action", "ErrorRecovery"), names.error_recovery, self._on_recovery
        )

    def _on_load(self, request: Any, response: Any) -> Any:
        response.success = self.active is None
        response.error = "" if response.success else "command not possible in the current mode"
        if response.success:
            self.load = request
        return response

    def _on_collision(self, request: Any, response: Any) -> Any:
        self.collision_n = request.upper_force_thresholds_nominal[0]
        response.success = True
        return response

    def _on_recovery(self, handle: Any) -> Any:
        with self._lock:
            if self.refuse_recovery or self._robot_mode() == USER_STOPPED:
                handle.abort()
            else:
                self.mode_override, self.errors = None, set()
                handle.succeed()
        return ros("franka_msgs.action", "ErrorRecovery").Result()

    def reflex(self, *errors: str) -> None:
        """As libfranka: control ends, the hardware component goes down."""
        with self._lock:
            self.mode_override, self.errors = REFLEX, set(errors)
            self.active, self.hardware = None, INACTIVE

    def press_user_stop(self, pressed: bool) -> None:
        with self._lock:
            self.mode_override = USER_STOPPED if pressed else None
            if pressed:
                self.active, self.hardware = None, INACTIVE

    def _robot_mode(self) -> int:
        if self.mode_override is not None:
            return self.mode_override
        return MOVE if self.active else IDLE

    # the hand

    def _make_hand(self) -> None:
        node = self.nodes["hand"]
        qos = ros("rclpy.qos", "QoSProfile")(depth=1)
        self._fingers_out = node.create_publisher(
            self._joints_type, "franka_gripper/joint_states", qos
        )
        make = ros("rclpy.action", "ActionServer")
        for name in ("Move", "Grasp"):
            action = ros("franka_msgs.action", name)
            make(
                node,
                action,
                f"franka_gripper/{name.lower()}",
                lambda handle, a=action: self._on_grip(handle, a),
            )
        self.nodes["stop"].create_service(
            ros("std_srvs.srv", "Trigger"), "franka_gripper/stop", self._on_grip_stop
        )  # a node of its own: an action under way blocks its node's callbacks

    def _on_grip(self, handle: Any, action: Any) -> Any:
        goal = handle.request
        mine = (goal.width, goal.speed)
        with self._lock:
            self._gripper_goal = mine
        while self._gripper_goal is mine and abs(self.width - self._finger_end(goal.width)) > 1e-6:
            time.sleep(0.005)
        result = action.Result()
        result.success = self._gripper_goal is mine
        if result.success:
            handle.succeed()
        else:
            result.error = "libfranka gripper: command aborted!"
            handle.abort()
        return result

    def _on_grip_stop(self, _: Any, response: Any) -> Any:
        with self._lock:
            self._gripper_goal = None
        response.success = True
        return response

    def _finger_end(self, width: float) -> float:
        return max(width, self.object_width_m) if width < self.width else width

    # dynamics

    def _run(self) -> None:
        step, due = 0, time.monotonic()
        while not self._stopping.is_set():
            with self._lock:
                self._advance()
            if step % PUBLISH_EVERY == 0 and not self.silent:
                self._publish()
            if step % (16 * PUBLISH_EVERY) == 0:
                self._publish_fingers()
            step, due = step + 1, due + STEP_S
            ahead = due - time.monotonic()
            if ahead > 0:
                time.sleep(ahead)
            elif ahead < -0.05:
                due = time.monotonic()

    def _advance(self) -> None:
        J = self.model.jacobian(self.q)
        if np.abs(self.pushed[:3]).max() > self.collision_n and self.mode_override is None:
            self.reflex("cartesian_reflex")
        if self.active == self.names.cartesian_controller:
            self.tau = self._cartesian_torque(J)
        elif self.active == self.names.joint_controller:
            k = np.array(self.model.joint_stiffness_nm_per_rad)
            self.tau = k * (self._target_joint - self.q) - 2 * np.sqrt(k * INERTIA_KG_M2) * self.dq
        else:
            self.tau = np.zeros(7)
            self.dq = np.zeros(7)  # the arm's own controller holds it stiffly
            return self._advance_fingers()
        torque = self.tau + J.T @ self.pushed - FRICTION_NM_S_PER_RAD * self.dq
        self.dq = self.dq + torque / INERTIA_KG_M2 * STEP_S
        self.q = self.q + self.dq * STEP_S
        return self._advance_fingers()

    def _cartesian_torque(self, J: np.ndarray) -> np.ndarray:
        """CRISP's law with use_local_jacobian off, clip per base axis, kinematic projector."""
        get = self.parameters.get
        axes = [f"{kind}_{axis}" for kind in ("pos", "rot") for axis in "xyz"]
        k = np.array([get(f"task.k_{axis}", 30.0) for axis in axes])
        d = np.array([get(f"task.d_{axis}", 10.0) for axis in axes])
        clip = np.array(
            [get(f"task.error_clip.{a}", 0.1) for a in ("x", "y", "z", "rx", "ry", "rz")]
        )
        error = np.clip(se3.pose_error(self._target_pose, self.T_base_tcp), -clip, clip)
        weights = np.array([get(f"nullspace.weights.{n}.value", 1.0) for n in self.joint_names])
        secondary = weights * (
            get("nullspace.stiffness", 1.0) * (self.posture - self.q)
            - get("nullspace.damping", 1.0) * self.dq
        )
        projector = np.eye(7) - np.linalg.pinv(J) @ J
        return J.T @ (k * error - d * (J @ self.dq)) + np.clip(projector @ secondary, -5, 5)

    def _advance_fingers(self) -> None:
        if self._gripper_goal is not None:
            goal, speed = self._gripper_goal
            end, reach = self._finger_end(goal), min(speed, FINGER_SPEED_M_PER_S) * STEP_S
            self.width += float(np.clip(end - self.width, -reach, reach))

    def _publish(self) -> None:
        stamp = self.nodes["broadcaster"].get_clock().now().to_msg()
        state = self._state_type()
        joints = [float(x) for x in self.q], [float(x) for x in self.dq]
        state.header.stamp = stamp
        state.measured_joint_state.name = list(self.joint_names)
        state.measured_joint_state.position, state.measured_joint_state.velocity = joints
        state.desired_joint_state.effort = [float(x) for x in self.tau]
        T = self.T_base_tcp
        convert.fill_pose(state.o_t_ee.pose, T)
        convert.fill_pose(state.ee_t_k.pose, self.T_tcp_k)
        T_k = T @ self.T_tcp_k
        lever = np.cross(T[:3, 3] - T_k[:3, 3], self.pushed[:3])
        force, torque = self.pushed[:3], self.pushed[3:] + lever
        wrench = state.k_f_ext_hat_k.wrench
        libfranka = [-float(x) for part in (force, torque) for x in T_k[:3, :3].T @ part]
        wrench.force.x, wrench.force.y, wrench.force.z = libfranka[:3]
        wrench.torque.x, wrench.torque.y, wrench.torque.z = libfranka[3:]
        state.robot_mode = self._robot_mode()
        state.control_command_success_rate = 1.0
        for name in self.errors:
            setattr(state.current_errors, name, True)
        self._state_out.publish(state)
        pose = self._pose_type()
        pose.header.stamp = stamp
        T[0, 3] += self.crisp_tcp_offset_m
        convert.fill_pose(pose.pose, T)
        self._pose_out.publish(pose)
        message = self._joints_type()
        message.header.stamp = stamp
        message.name = ["finger", *self.joint_names]
        message.position = [0.04, *joints[0]]
        message.velocity = [float("nan"), *joints[1]]
        self._joints_out.publish(message)

    def _publish_fingers(self) -> None:
        message = self._joints_type()
        message.name = ["finger_joint1", "finger_joint2"]
        message.position = [self.width / 2, self.width / 2]
        self._fingers_out.publish(message)
