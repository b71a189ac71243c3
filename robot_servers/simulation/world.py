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
from robot_servers.simulation.cell import build_cell, compile_cell
from robot_servers.simulation.parts import (
    ArmParts,
    find_parts,
    free_bodies,
    make_arms,
    make_physics,
)
from robot_servers.types import (
    CartesianTarget,
    Gains,
    GripperTarget,
    JointTarget,
    Mode,
    MotionLimits,
    RobotState,
    SceneObject,
)
from serl.errors import UserError, unknown_name

JOINT_SPEED_SHARE = 0.5
"""A joint move uses this share of the arm's joint speed limits."""

JOINT_ACCELERATION_RAD_PER_S2 = 5.0
"""Acceleration limit of a joint move."""

GRIPPER_FORCE_N = 40.0
"""Gripper force when a command gives none."""

MOVING_M_PER_S = 0.002
"""A gripper slower than this is at rest."""


class World:
    """One compiled cell. Rebuilt when a scene is loaded.

    Args:
        arms: model name by arm name.
        base_poses: T_world_base (4, 4) by arm name; missing is the identity.
        physics_dt_s: physics step [s].
        fragment: a task's MJCF.
        compiled: whether addresses (compiled loop) or objects (Python loop) go to the tick.
    """

    def __init__(
        self,
        arms: Mapping[str, str],
        base_poses: Mapping[str, Array],
        physics_dt_s: float,
        fragment: str,
        compiled: bool,
    ) -> None:
        import mujoco

        self.names = tuple(arms)
        self.model: Any = compile_cell(build_cell(arms, base_poses, physics_dt_s, fragment))
        self.data: Any = mujoco.MjData(self.model)
        self.parts = [
            find_parts(self.model, name, MODELS.get(model), base_poses.get(name))
            for name, model in arms.items()
        ]
        self.arms = make_arms(self.model, self.names, self.parts)
        self.physics = make_physics(self.model, self.data, compiled)
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
        for a in range(len(self.parts)):
            self._hold(a)

    def aim(self, a: int, target: CartesianTarget | JointTarget) -> None:
        """Make `target`, already checked, what arm `a` moves to from now."""
        arms = self.arms
        if isinstance(target, CartesianTarget):
            arms.mode[a] = Mode.IMPEDANCE
            arms.T_base_target[a] = target.T_base_tcp
            return
        d = self.parts[a].model.description
        n = d.joint_count
        q = self._joints(a)[0]
        way = np.maximum(np.abs(target.q_rad - q), 1e-6)
        arms.mode[a] = Mode.JOINT
        arms.q_start[a, :n] = q
        arms.q_goal[a, :n] = target.q_rad
        speed = JOINT_SPEED_SHARE * np.asarray(d.dq_max_rad_per_s)
        arms.move[a] = (0, 0, np.min(speed / way), np.min(JOINT_ACCELERATION_RAD_PER_S2 / way))

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

    def state(
        self, a: int, stamp_mono_ns: int, T_base_target: Array | None, clamped: bool
    ) -> RobotState:
        """A sample of arm `a`; `T_base_target` is the newest accepted one, or None."""
        arms = self.arms
        q, dq = self._joints(a)
        in_effect = T_base_target is None or arms.mode[a] == Mode.JOINT
        width, target, moving = self._gripper(a)
        return RobotState(
            stamp_mono_ns=stamp_mono_ns,
            q_rad=q,
            dq_rad_per_s=dq,
            tau_nm=arms.tau[a, : len(q)].copy(),
            T_base_tcp=self._tcp_pose(a),
            twist_base_tcp=self._twist(a),
            wrench_base_ext=self._wrench(a),
            T_base_ref=arms.T_base_ref[a].copy(),
            T_base_target=np.array(arms.T_base_target[a] if in_effect else T_base_target),
            gripper_width_m=width,
            gripper_target_m=target,
            gripper_moving=moving,
            mode=Mode(int(arms.mode[a])),
            clamped=clamped,
        )

    def object_pose(self, name: str) -> Array:
        """T_base_object (4, 4)."""
        body = self.objects[name]
        T = se3.pose(self.data.xmat[body].reshape(3, 3), self.data.xpos[body])
        return se3.inverse(self.parts[0].T_world_base) @ T

    def object_twist(self, name: str) -> Array:
        """Linear [m/s] and angular [rad/s] velocity (6,) of the body's origin, in base."""
        import mujoco

        twist = _velocity(self.model, self.data, mujoco.mjtObj.mjOBJ_XBODY, self.objects[name])
        return _rotate(self.parts[0].T_world_base, twist)

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

    def _joints(self, a: int) -> tuple[Array, Array]:
        n, q, dof = self.arms.joints[a], self.arms.first_q[a], self.arms.first_dof[a]
        return self.data.qpos[q : q + n].copy(), self.data.qvel[dof : dof + n].copy()

    def _tcp_pose(self, a: int) -> Array:
        """T_base_tcp (4, 4); NumPy's way, as `tick.tcp_pose` is slow when not compiled."""
        part = self.parts[a]
        T = np.eye(4)
        T[:3, :3] = part.base_turn @ self.physics.site_xmat[part.site]
        T[:3, 3] = part.base_turn @ (self.physics.site_xpos[part.site] - part.T_world_base[:3, 3])
        return T

    def _hold(self, a: int) -> None:
        tick.hold_reference(self.physics, self.arms, a)

    def _reset_gripper(self, a: int) -> None:
        gripper, at = self.parts[a].model.description.gripper, self.arms.fingers[a, 0]
        if gripper is None or at < 0:
            return
        width = gripper.width_max_m
        self.data.qpos[at : at + 2] = width / 2
        self.arms.gripper[a] = (width, width, gripper.speed_max_m_per_s, GRIPPER_FORCE_N)

    def _gripper(self, a: int) -> tuple[float, float, bool]:
        """Opening [m], commanded opening [m], and whether it is moving or still has a way to go."""
        q_at, dof_at, _ = self.arms.fingers[a]
        if q_at < 0:
            return 0.0, 0.0, False
        reference, target, _, force = self.arms.gripper[a]
        width = float(self.data.qpos[q_at : q_at + 2].sum())
        speed = abs(float(self.data.qvel[dof_at : dof_at + 2].sum()))
        lead = 2 * force / tick.GRIPPER_STIFFNESS_N_PER_M
        under_way = abs(target - reference) > 1e-6 and abs(reference - width) < 0.95 * lead
        return width, float(target), bool(speed > MOVING_M_PER_S or under_way)

    def _twist(self, a: int) -> Array:
        import mujoco

        part = self.parts[a]
        twist = _velocity(self.model, self.data, mujoco.mjtObj.mjOBJ_SITE, part.site)
        return _rotate(part.T_world_base, twist)

    def _wrench(self, a: int) -> Array:
        """External wrench on hand and fingers, moved to the TCP.

        Contacts and pushes count; the force between fingers and hand, gravity and inertia do not.
        A grasped part's weight counts, the squeeze cancels. cfrc_ext is (torque, force) about the
        centre of mass of the whole tree.
        """
        part = self.parts[a]
        torque, force = self.data.cfrc_ext[part.wrench_bodies].sum(axis=0).reshape(2, 3)
        offset = self.data.subtree_com[part.root_body] - self.data.site_xpos[part.site]
        return _rotate(
            part.T_world_base, np.concatenate([force, torque + se3.skew(offset) @ force])
        )

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


def _velocity(model: Any, data: Any, kind: Any, index: int) -> Array:
    """Twist (linear, angular) of an object at its own origin, world axes."""
    import mujoco

    twist = np.zeros(6)
    mujoco.mj_objectVelocity(model, data, kind, index, twist, 0)
    return np.concatenate([twist[3:], twist[:3]])


def _rotate(T_world_base: Array, pair: Array) -> Array:
    """Two world vectors (6,) seen along the base's axes."""
    return (pair.reshape(2, 3) @ T_world_base[:3, :3]).ravel()
