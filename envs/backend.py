"""From an env's config to the backend that moves its arms: in this process, or a robot server's."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from envs.config import ArmConfig, RobotEnvConfig
from robot_servers.backends.base import BACKENDS, Backend
from robot_servers.config import SafetyLimits, Workspace
from robot_servers.control import se3
from robot_servers.types import Gains, MotionLimits
from serl.errors import UserError
from serl.rpc import Tls, read_token

SLACK = 1e-6
"""The server's box is this much wider than the env's own [m, rad]: what the env has clamped is not
clamped again by rounding."""


def make_backend(config: RobotEnvConfig) -> Backend:
    """The backend `config.robot` names, not yet connected."""
    common: dict[str, Any] = {
        "arms": {arm.name: arm.robot for arm in config.arms},
        "physics_dt_s": config.physics_dt_s,
        "lockstep": not config.is_realtime,
        "base_poses": {
            arm.name: se3.pose_from_rotvec(arm.base_pos_m, (0.0, 0.0, arm.base_yaw_rad))
            for arm in config.arms
        },
        "action_delay_s": config.action_delay_s,
    }
    if not config.is_remote:
        backend = BACKENDS.get(config.robot)
        if not getattr(backend, "in_process", False):
            raise UserError(
                f"robot {config.robot!r} is moved through a robot server: start `serl robot-server "
                f"--backend {config.robot}` on its PC and set env.robot to grpc://HOST:PORT."
            )
        return backend(**common)
    from robot_servers.client import RemoteBackend

    access = config.robot_access
    tls = Tls(ca=_path(access.tls_ca), server_name=access.tls_name or None)
    return RemoteBackend(
        config.robot,
        **common,
        token=read_token(access.token_file) if access.token_file else None,
        tls=tls if access.tls_ca else None,
        insecure_lan=access.insecure_lan,
        operator=access.operator,
        state_rate_hz=access.state_hz,
        limits={arm.name: narrowed(arm) for arm in config.arms},
    )


def narrowed(arm: ArmConfig) -> SafetyLimits:
    """The arm's safety box as limits for a robot server, which keeps the rest of its own."""
    box = arm.box
    return SafetyLimits(
        workspace=Workspace(
            low_m=_moved(box.low_m, -SLACK),
            high_m=_moved(box.high_m, SLACK),
            quat_xyzw=arm.start_quat_xyzw,
            rotation_rad=_moved(box.rotation_rad, SLACK),
        ),
        joint_margin_rad=0.0,
        **dict.fromkeys(WIDE, NO_LIMIT),
    )


WIDE = tuple(
    field.name
    for field in fields(SafetyLimits)
    if field.name not in ("workspace", "joint_margin_rad")
)
"""Limits an env does not narrow: the robot server's own stay."""

NO_LIMIT = 1e6
"""Above every limit a robot server has; a limit must be finite."""


def gains(config: RobotEnvConfig) -> Gains:
    control = config.control
    clip_m, clip_rad = control.translational_clip_m, control.rotational_clip_rad
    return Gains(
        translational_stiffness_n_per_m=control.translational_stiffness_n_per_m,
        translational_damping_n_s_per_m=control.translational_damping_n_s_per_m,
        rotational_stiffness_nm_per_rad=control.rotational_stiffness_nm_per_rad,
        rotational_damping_nm_s_per_rad=control.rotational_damping_nm_s_per_rad,
        translational_clip_m=(clip_m, clip_m, clip_m),
        rotational_clip_rad=(clip_rad, clip_rad, clip_rad),
    )


def motion_limits(config: RobotEnvConfig) -> MotionLimits:
    control = config.control
    return MotionLimits(
        filter_time_constant_s=control.filter_time_constant_s,
        linear_speed_m_per_s=control.linear_speed_m_per_s,
        angular_speed_rad_per_s=control.angular_speed_rad_per_s,
        linear_acceleration_m_per_s2=control.linear_acceleration_m_per_s2,
        angular_acceleration_rad_per_s2=control.angular_acceleration_rad_per_s2,
    )


def _moved(values: tuple[float, float, float], by: float) -> tuple[float, float, float]:
    x, y, z = values
    return (x + by, y + by, z + by)


def _path(text: str) -> Any:
    from pathlib import Path

    return Path(text) if text else None
