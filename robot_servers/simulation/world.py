"""A compiled cell and its control state: what the tick works on, and how it is read and reset.

Bodies of a task are free bodies by name; their poses are given in the base of the first arm.
"""

# pyright: reportAttributeAccessIssue=false
# (mujoco ships no types for what its extension modules export)

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from robot_servers.control import se3
from robot_servers.control.impedance import pack_gains
from robot_servers.control.reference import pack_limits
from robot_servers.control.se3 import Array
from robot_servers.models.base import MODELS
from robot_servers.simulation import tick
from robot_servers.simulation.burden import Burden
from robot_servers.simulation.cell import build_cell, compile_cell
from robot_servers.simulation.parts import (
    ArmParts,
    find_parts,
    free_bodies,
    make_arms,
    make_physics,
)
from robot_servers.simulation.sensing import Sensing
from robot_servers.types import (
    WRENCH_HOLD_S,
    CartesianTarget,
    Gains,
    GripperTarget,
    JointTarget,
    Mode,
    MotionLimits,
    Payload,
    SceneObject,
    WrenchTarget,
)
from serl.errors import UserError, unknown_name

JOINT_ACCELERATION_RAD_PER_S2 = 5.0
"""Acceleration limit of a joint move."""

GRIPPER_FORCE_N = 40.0
"""Gripper force when a command gives none."""


class World:
    """One compiled cell. Rebuilt when a scene is loaded.

    Args:
        arms: model name by arm name.
        base_poses: T_world_base (4, 4) by arm name; missing is the identity.
        physics_dt_s: physics step [s].
        fragment: a task's MJCF.
        compiled: whether addresses (compiled loop) or objects (Python loop) go to the tick.
        burden: load and friction that the controller does not know.
    """

    def __init__(
        self,
        arms: Mapping[str, str],
        base_poses: Mapping[str, Array],
        physics_dt_s: float,
        fragment: str,
        compiled: bool,
        burden: Burden,
    ) -> None:
        import mujoco

        self.names = tuple(arms)
        cell = build_cell(arms, base_poses, physics_dt_s, fragment, burden)
        self.model: Any = compile_cell(cell)
        self.data: Any = mujoco.MjData(self.model)
        self.parts = [
            find_parts(self.model, name, MODELS.get(model), base_poses.get(name), burden.payload_kg)
            for name, model in arms.items()
        ]
        self.arms = make_arms(self.model, self.names, self.parts)
        self.physics = make_physics(self.model, self.data, compiled)
        self.sensing = Sensing(self.model, self.data, self.physics, self.arms, self.parts)
        self.objects = free_bodies(self.model)
        self.ticks = 0
        self._masses = self.model.body_mass.copy()
        self._inertias = self.model.body_inertia.copy()
        self._frictions = self.model.geom_friction.copy()

    def reset(self, objects: Sequence[SceneObject], q_rad: Mapping[str, Array]) -> None:
        """Arms at `q_rad` (home where missing) and at rest, grippers open, objects placed."""
        import mujoco

        self._set_properties(objects)
        mujoco.mj_resetData(self.model, self.data)
        self.ticks = 0
        for a, (name, part) in enumerate(zip(self.names, self.parts, strict=True)):
            d = part.model.description
            q = np.asarray(q_rad.get(name, d.q_home_rad), dtype=np.float64)
            _check_posture(q, part, name)
            first = self.arms.first_q[a]
            self.data.qpos[first : first + d.joint_count] = q
            self._reset_gripper(a)
        for item in objects:
            self._place(item)
        mujoco.mj_forward(self.model, self.data)
        mujoco.mj_rnePostConstraint(self.model, self.data)
        self.arms.tau[:] = 0.0
        self.arms.mode[:] = Mode.HOLD
        self.arms.brake_s[:] = 0.0
        self.arms.push[:] = 0.0
        for a in range(len(self.parts)):
            tick.hold_reference(self.physics, self.arms, a)

    def aim(self, a: int, target: CartesianTarget | JointTarget | WrenchTarget) -> None:
        """Make `target`, already checked, what arm `a` does from now."""
        arms = self.arms
        arms.brake_s[a] = 0.0
        if isinstance(target, CartesianTarget):
            arms.mode[a] = Mode.IMPEDANCE
            arms.T_base_target[a] = target.T_base_tcp
        elif isinstance(target, WrenchTarget):
            arms.mode[a] = Mode.WRENCH
            arms.push[a] = (*target.wrench, float(target.frame == "tcp"), WRENCH_HOLD_S)
        else:
            self._start_move(a, target)

    def _start_move(self, a: int, target: JointTarget) -> None:
        """A joint move from where the arm is; one to the same goal that is under way goes on."""
        arms, d, q_goal = self.arms, self.parts[a].model.description, target.q_rad
        n = d.joint_count
        if arms.mode[a] == Mode.JOINT and np.array_equal(arms.q_goal[a, :n], q_goal):
            return
        q = self.sensing.joints(a)[0]
        way = np.maximum(np.abs(q_goal - q), 1e-6)
        arms.mode[a] = Mode.JOINT
        arms.q_start[a, :n] = q
        arms.q_goal[a, :n] = q_goal
        speed = target.speed_share * np.asarray(d.dq_max_rad_per_s)
        acceleration = target.acceleration_share * JOINT_ACCELERATION_RAD_PER_S2
        arms.move[a] = (0, 0, np.min(speed / way), np.min(acceleration / way))

    def hold(self, a: int) -> None:
        """Brake, then hold where that ends. A hold under way goes on: it does not creep."""
        if self.arms.mode[a] != Mode.HOLD:
            self._stop(a, Mode.HOLD)

    def halt(self, a: int) -> None:
        """Brake, then follow nothing."""
        if self.arms.mode[a] != Mode.IDLE:
            self._stop(a, Mode.IDLE)

    def _stop(self, a: int, mode: Mode) -> None:
        self.arms.mode[a] = mode
        self.arms.brake_s[a] = tick.BRAKE_S
        tick.hold_reference(self.physics, self.arms, a)

    def grip(self, a: int, target: GripperTarget) -> None:
        """Make `target`, already checked, what arm `a`'s gripper moves to from now."""
        gripper = self.parts[a].model.description.gripper
        assert gripper is not None
        force = GRIPPER_FORCE_N if target.force_n is None else target.force_n
        speed = gripper.speed_max_m_per_s if target.speed_m_per_s is None else target.speed_m_per_s
        self.arms.gripper[a, 1:] = (target.width_m, speed, force)

    def set_gains(self, a: int, gains: Gains) -> None:
        self.arms.gains[a] = pack_gains(gains)

    def set_limits(self, a: int, limits: MotionLimits) -> None:
        self.arms.limits[a] = pack_limits(limits)

    def set_wrench_box(self, a: int, box: Array) -> None:
        """`pack_wrench_box`."""
        self.arms.push_box[a] = box

    def set_tcp(self, a: int, T_flange_tcp: Array) -> None:
        """Where the TCP is on the flange from now on; an arm that moves comes to a hold."""
        import mujoco

        part = self.parts[a]
        if np.array_equal(part.T_flange_tcp, T_flange_tcp):
            return
        part.T_flange_tcp = T_flange_tcp
        T = part.T_body_flange @ T_flange_tcp
        self.model.site_pos[part.site], (x, y, z, w) = se3.pose_to_quat(T)
        self.model.site_quat[part.site] = (w, x, y, z)
        self.model.site_sameframe[part.site] = mujoco.mjtSameFrame.mjSAMEFRAME_NONE
        mujoco.mj_kinematics(self.model, self.data)
        self._stop(a, Mode.HOLD)

    def set_payload(self, a: int, payload: Payload) -> None:
        """What gravity compensation carries besides the arm itself."""
        T_flange_tcp = self.parts[a].T_flange_tcp
        centre = se3.inverse(T_flange_tcp) @ np.append(payload.com_flange_m, 1.0)
        weight = payload.mass_kg * np.linalg.norm(self.model.opt.gravity)
        self.arms.payload[a] = (weight, *centre[:3])

    def object_pose(self, name: str) -> Array:
        """T_base_object (4, 4)."""
        return self.sensing.object_pose(self.objects[name])

    def object_twist(self, name: str) -> Array:
        """Linear [m/s] and angular [rad/s] velocity (6,) of the body's origin, in base."""
        return self.sensing.object_twist(self.objects[name])

    def check_finite(self) -> None:
        """Raise when the simulation has diverged: MuJoCo itself would start over in silence."""
        import mujoco

        warnings = mujoco.mjtWarning
        for kind in (warnings.mjWARN_BADQPOS, warnings.mjWARN_BADQVEL, warnings.mjWARN_BADQACC):
            if self.data.warning[kind].number > 0:
                raise UserError(
                    f"the simulation diverged at {self.ticks * self.physics.dt_s:.3f} s; "
                    "lower stiffness and damping, or the physics step, and reset."
                )

    def push(self, a: int, wrench_base: Array) -> None:
        """A constant wrench (6,) on arm `a`'s TCP, in base, until changed; counted as external."""
        part = self.parts[a]
        body = part.wrench_bodies[0]
        wrench = part.T_world_base[:3, :3] @ np.reshape(wrench_base, (2, 3)).T  # (3, 2)
        arm = self.data.site_xpos[part.site] - self.data.xipos[body]
        torque = wrench[:, 1] + se3.skew(arm) @ wrench[:, 0]
        self.data.xfrc_applied[body] = np.concatenate([wrench[:, 0], torque])

    def _reset_gripper(self, a: int) -> None:
        gripper, at = self.parts[a].model.description.gripper, self.arms.fingers[a, 0]
        if gripper is None or at < 0:
            return
        width = gripper.width_max_m
        self.data.qpos[at : at + 2] = width / 2
        self.arms.gripper[a] = (width, width, gripper.speed_max_m_per_s, GRIPPER_FORCE_N)

    def _set_properties(self, objects: Sequence[SceneObject]) -> None:
        """Mass and friction of this episode; the model's own where none is given."""
        import mujoco

        masses, inertias = self._masses.copy(), self._inertias.copy()
        self.model.geom_friction[:] = self._frictions
        for item in objects:
            if item.name not in self.objects:
                raise unknown_name("object in the scene", item.name, self.objects)
            body = self.objects[item.name]
            if item.mass_kg is not None:
                _check_positive(item.name, "mass", item.mass_kg, "kg")
                inertias[body] *= item.mass_kg / masses[body]
                masses[body] = item.mass_kg
            if item.friction is not None:
                _check_positive(item.name, "friction", item.friction, "")
                self.model.geom_friction[self.model.geom_bodyid == body, 0] = item.friction
        if not (np.array_equal(masses, self.model.body_mass)):
            self.model.body_mass[:] = masses
            self.model.body_inertia[:] = inertias
            mujoco.mj_setConst(self.model, self.data)

    def _place(self, item: SceneObject) -> None:
        T_base_object = np.asarray(item.T_base_object, dtype=np.float64)
        if not se3.is_pose(T_base_object):
            raise UserError(f"object {item.name!r}: T_base_object is no finite rigid pose (4, 4).")
        p, (x, y, z, w) = se3.pose_to_quat(self.parts[0].T_world_base @ T_base_object)
        joint = self.model.body_jntadr[self.objects[item.name]]
        at = self.model.jnt_qposadr[joint]
        self.data.qpos[at : at + 7] = (*p, w, x, y, z)


def _check_positive(name: str, what: str, value: float, unit: str) -> None:
    if not (np.isfinite(value) and value > 0):
        raise UserError(
            f"object {name!r}: {what} {value} {unit}".rstrip() + "; give a number above 0."
        )


def _check_posture(q: Array, part: ArmParts, name: str) -> None:
    """Refuse a start posture outside the joint limits."""
    d = part.model.description
    if q.shape != (d.joint_count,):
        raise UserError(
            f"arm {name!r}: {q.size} joint positions given, {d.name} has {d.joint_count}."
        )
    for joint, value, low, high in zip(d.joint_names, q, d.q_min_rad, d.q_max_rad, strict=True):
        if not low <= value <= high:
            raise UserError(
                f"arm {name!r}: {joint} at {value:.4g} rad is outside [{low}, {high}]; "
                "start within the limits."
            )
