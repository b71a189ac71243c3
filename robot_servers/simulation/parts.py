"""Where everything is inside a compiled cell: indices of arms and objects, views of their data."""

# pyright: reportAttributeAccessIssue=false
# (mujoco ships no types for what its extension modules export)

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from robot_servers.control import se3
from robot_servers.control.impedance import pack_gains
from robot_servers.control.reference import pack_limits
from robot_servers.control.se3 import Array
from robot_servers.control.wrench import no_wrench_box
from robot_servers.models.base import RobotModel
from robot_servers.simulation.cell import arm_prefix
from robot_servers.simulation.tick import Arms, Physics
from robot_servers.types import Gains, Mode, MotionLimits


@dataclass
class ArmParts:
    """One arm inside the compiled model."""

    model: RobotModel
    site: int
    wrench_bodies: Array
    root_body: int
    T_world_base: Array
    T_body_flange: Array
    """The flange in the body that carries the TCP's site."""
    T_flange_tcp: Array
    """The TCP as it is set now."""
    burden_n: float
    """Weight of the load at the TCP that nobody told the controller of; 0 for none [N]."""

    @property
    def base_turn(self) -> Array:
        """R_base_world (3, 3)."""
        return self.T_world_base[:3, :3].T


def find_parts(
    model: Any, name: str, robot: RobotModel, T_world_base: Array | None, burden_kg: float
) -> ArmParts:
    prefix = arm_prefix(name)
    site = model.site(prefix + robot.names.tcp_site).id
    x, y, z, w = np.roll(model.site_quat[site], -1)
    T_body_tcp = se3.pose_from_quat(model.site_pos[site], (x, y, z, w))
    bodies = [model.body(prefix + body).id for body in robot.names.wrench_bodies]
    return ArmParts(
        model=robot,
        site=site,
        wrench_bodies=np.array(bodies),
        root_body=int(model.body_rootid[bodies[0]]),
        T_world_base=np.eye(4) if T_world_base is None else np.asarray(T_world_base, dtype=float),
        T_body_flange=T_body_tcp @ se3.inverse(robot.T_flange_tcp),
        T_flange_tcp=robot.T_flange_tcp,
        burden_n=float(burden_kg * np.linalg.norm(model.opt.gravity)),
    )


def make_arms(model: Any, names: Sequence[str], parts: Sequence[ArmParts]) -> Arms:
    """Control state with every arm at rest; poses are filled in by a reset."""
    count = len(parts)
    longest = max(part.model.description.joint_count for part in parts)

    def joints(values: Sequence[Sequence[float]]) -> Array:
        padded = np.zeros((count, longest))
        for row, value in zip(padded, values, strict=True):
            row[: len(value)] = value
        return padded

    def first(index: Any) -> Any:
        found = []
        for name, part in zip(names, parts, strict=True):
            joint = arm_prefix(name) + part.model.description.joint_names[0]
            found.append(index(joint))
        return np.array(found, dtype=np.int64)

    poses = np.tile(np.eye(4), (count, 1, 1))
    return Arms(
        joints=np.array([part.model.description.joint_count for part in parts], dtype=np.int64),
        first_q=first(lambda joint: int(model.joint(joint).qposadr[0])),
        first_dof=first(lambda joint: int(model.joint(joint).dofadr[0])),
        first_ctrl=first(lambda joint: model.actuator(joint).id),
        site=np.array([part.site for part in parts], dtype=np.int64),
        fingers=_finger_indices(model, names, parts),
        T_world_base=np.array([part.T_world_base for part in parts]),
        mode=np.full(count, int(Mode.IDLE), dtype=np.int64),
        gains=np.tile(pack_gains(Gains()), (count, 1)),
        limits=np.tile(pack_limits(MotionLimits()), (count, 1)),
        q_rest=joints([part.model.description.q_home_rad for part in parts]),
        tau=np.zeros((count, longest)),
        T_base_ref=poses.copy(),
        twist_ref=np.zeros((count, 6)),
        T_base_goal=poses.copy(),
        T_base_target=poses.copy(),
        q_start=np.zeros((count, longest)),
        q_goal=np.zeros((count, longest)),
        move=np.zeros((count, 4)),
        joint_stiffness=joints([part.model.joint_stiffness_nm_per_rad for part in parts]),
        joint_damping=joints([part.model.joint_damping_nm_s_per_rad for part in parts]),
        brake_s=np.zeros(count),
        push=np.zeros((count, 8)),
        push_box=np.tile(no_wrench_box(), (count, 1)),
        push_damping=joints([part.model.wrench_damping_nm_s_per_rad for part in parts]),
        payload=np.zeros((count, 4)),
        burden_n=np.array([part.burden_n for part in parts]),
        gripper=np.zeros((count, 4)),
    )


def _finger_indices(model: Any, names: Sequence[str], parts: Sequence[ArmParts]) -> Any:
    found = []
    for name, part in zip(names, parts, strict=True):
        fingers = part.model.names.finger_joints
        if not fingers:
            found.append((-1, -1, -1))
            continue
        joint = arm_prefix(name) + fingers[0]
        at = model.joint(joint)
        found.append((int(at.qposadr[0]), int(at.dofadr[0]), model.actuator(joint).id))
    return np.array(found, dtype=np.int64)


def make_physics(model: Any, data: Any, compiled: bool) -> Physics:
    return Physics(
        model=model._address if compiled else model,
        data=data._address if compiled else data,
        dt_s=float(model.opt.timestep),
        qpos=data.qpos,
        qvel=data.qvel,
        ctrl=data.ctrl,
        bias=data.qfrc_bias,
        gravity=data.qfrc_gravcomp,
        site_xpos=data.site_xpos,
        site_xmat=data.site_xmat.reshape(-1, 3, 3),
        jacobian=np.zeros((6, model.nv)),
        momentum=np.zeros(model.nv),
    )


def free_bodies(model: Any) -> dict[str, int]:
    """Body index by name, of every body that floats."""
    import mujoco

    free = model.jnt_type == mujoco.mjtJoint.mjJNT_FREE
    return {model.body(body).name: int(body) for body in model.jnt_bodyid[free]}
