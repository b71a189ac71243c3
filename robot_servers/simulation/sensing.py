"""What a simulated arm measures: one RobotState from MuJoCo's data and the control state."""

# pyright: reportAttributeAccessIssue=false
# (mujoco ships no types for what its extension modules export)

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from robot_servers.control import se3
from robot_servers.control.se3 import Array
from robot_servers.simulation import tick
from robot_servers.simulation.parts import ArmParts
from robot_servers.simulation.tick import Arms, Physics
from robot_servers.types import Fault, Mode, RobotState

MOVING_M_PER_S = 0.002
"""A gripper slower than this is at rest."""


@dataclass(frozen=True)
class Sensing:
    """Reads the arms of one compiled cell."""

    model: Any
    data: Any
    physics: Physics
    arms: Arms
    parts: Sequence[ArmParts]

    def state(
        self,
        a: int,
        stamp_mono_ns: int,
        T_base_target: Array | None,
        clamped: bool,
        fault: Fault | None,
    ) -> RobotState:
        """A sample of arm `a`; `T_base_target` is the newest accepted one, or None."""
        arms = self.arms
        q, dq = self.joints(a)
        in_effect = T_base_target is None or arms.mode[a] == Mode.JOINT
        width, target, moving = self._gripper(a)
        return RobotState(
            stamp_mono_ns=stamp_mono_ns,
            q_rad=q,
            dq_rad_per_s=dq,
            tau_nm=arms.tau[a, : len(q)].copy(),
            T_base_tcp=self._tcp_pose(a),
            twist_base_tcp=self._twist(a),
            wrench_base_ext=self.wrench(a),
            T_base_ref=arms.T_base_ref[a].copy(),
            T_base_target=np.array(arms.T_base_target[a] if in_effect else T_base_target),
            gripper_width_m=width,
            gripper_target_m=target,
            gripper_moving=moving,
            mode=Mode(int(arms.mode[a])) if fault is None else Mode.FAULT,
            clamped=clamped,
            fault=fault,
        )

    def joints(self, a: int) -> tuple[Array, Array]:
        """Positions and velocities, (n,) each."""
        n, q, dof = self.arms.joints[a], self.arms.first_q[a], self.arms.first_dof[a]
        return self.data.qpos[q : q + n].copy(), self.data.qvel[dof : dof + n].copy()

    def wrench(self, a: int) -> Array:
        """External wrench on hand and fingers, moved to the TCP, in base (6,).

        Contacts and pushes count; the force between fingers and hand, gravity and inertia do not.
        A grasped part's weight counts, the squeeze cancels, and so does the difference between what
        the arm carries and what its gravity compensation is told. cfrc_ext is (torque, force) about
        the centre of mass of the whole tree.
        """
        part = self.parts[a]
        torque, force = self.data.cfrc_ext[part.wrench_bodies].sum(axis=0).reshape(2, 3)
        offset = self.data.subtree_com[part.root_body] - self.data.site_xpos[part.site]
        wrench = np.concatenate([force, torque + se3.skew(offset) @ force])
        if part.burden_n > 0.0 or self.arms.payload[a, 0] > 0.0:
            wrench += self._untold_weight(a)
        return _rotate(part.T_world_base, wrench)

    def _untold_weight(self, a: int) -> Array:
        """Weight that is there less weight that is compensated, about the TCP, in the world."""
        part, down = self.parts[a], self.model.opt.gravity / np.linalg.norm(self.model.opt.gravity)
        told_n, *centre = self.arms.payload[a]
        told = told_n * down
        torque = np.cross(self.physics.site_xmat[part.site] @ centre, told)
        return np.concatenate([part.burden_n * down - told, -torque])

    def _tcp_pose(self, a: int) -> Array:
        """T_base_tcp (4, 4); NumPy's way, as `tick.tcp_pose` is slow when not compiled."""
        part = self.parts[a]
        T = np.eye(4)
        T[:3, :3] = part.base_turn @ self.physics.site_xmat[part.site]
        T[:3, 3] = part.base_turn @ (self.physics.site_xpos[part.site] - part.T_world_base[:3, 3])
        return T

    def _twist(self, a: int) -> Array:
        import mujoco

        part = self.parts[a]
        twist = velocity(self.model, self.data, mujoco.mjtObj.mjOBJ_SITE, part.site)
        return _rotate(part.T_world_base, twist)

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

    def object_pose(self, body: int) -> Array:
        """T_base_object (4, 4), in the first arm's base."""
        T = se3.pose(self.data.xmat[body].reshape(3, 3), self.data.xpos[body])
        return se3.inverse(self.parts[0].T_world_base) @ T

    def object_twist(self, body: int) -> Array:
        """Linear [m/s] and angular [rad/s] velocity (6,) of the body's origin, in base."""
        import mujoco

        twist = velocity(self.model, self.data, mujoco.mjtObj.mjOBJ_XBODY, body)
        return _rotate(self.parts[0].T_world_base, twist)


def velocity(model: Any, data: Any, kind: Any, index: int) -> Array:
    """Twist (linear, angular) of an object at its own origin, world axes."""
    import mujoco

    twist = np.zeros(6)
    mujoco.mj_objectVelocity(model, data, kind, index, twist, 0)
    return np.concatenate([twist[3:], twist[:3]])


def _rotate(T_world_base: Array, pair: Array) -> Array:
    """Two world vectors (6,) seen along the base's axes."""
    return (pair.reshape(2, 3) @ T_world_base[:3, :3]).ravel()
