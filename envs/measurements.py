"""What `RobotEnv` measures, as named arrays in base, and their space."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from envs.config import RobotEnvConfig
from robot_servers.types import RobotDescription, RobotState

Array = NDArray[np.float64]

CAMERA = "camera/"
"""Prefix of a camera's frame among the measurements."""

RAW_LIMIT = 1e4
"""No measurement is larger than this, in SI units."""


def measure(
    config: RobotEnvConfig,
    states: Mapping[str, RobotState],
    references: Mapping[str, Array],
    fields: Mapping[str, Any],
) -> dict[str, Array]:
    """Copies of every arm's measurements, with its prefix, and of the task's fields."""
    obs: dict[str, Array] = {}
    for arm in config.arms:
        p, state = arm.prefix, states[arm.name]
        obs[p + "tcp_pose"] = state.T_base_tcp.copy()
        obs[p + "ref_pose"] = references[arm.name].copy()
        obs[p + "twist"] = state.twist_base_tcp.copy()
        obs[p + "wrench"] = state.wrench_base_ext.copy()
        obs[p + "gripper_width"] = np.array([state.gripper_width_m])
        obs[p + "gripper_target"] = np.array([state.gripper_target_m])
        obs[p + "q"] = state.q_rad.copy()
        obs[p + "dq"] = state.dq_rad_per_s.copy()
    for name, value in fields.items():
        obs[name] = np.array(value, np.float64).reshape(-1)
    return obs


def measurement_space(
    config: RobotEnvConfig, robots: Mapping[str, RobotDescription]
) -> spaces.Dict:
    """The space of `measure`."""

    def box(*shape: int) -> spaces.Box:
        return spaces.Box(-RAW_LIMIT, RAW_LIMIT, shape, np.float64)

    boxes: dict[str, spaces.Space[Any]] = {}
    for arm in config.arms:
        p, n = arm.prefix, robots[arm.name].joint_count
        boxes |= {p + "tcp_pose": box(4, 4), p + "ref_pose": box(4, 4)}
        boxes |= {p + "twist": box(6), p + "wrench": box(6), p + "q": box(n), p + "dq": box(n)}
        boxes |= {p + "gripper_width": box(1), p + "gripper_target": box(1)}
    for name, field in config.task_fields.items():
        boxes[name] = box(field.size)
    for camera in config.cameras:
        shape = (camera.height, camera.width, 3)
        boxes[CAMERA + camera.name] = spaces.Box(0, 255, shape, np.uint8)
    return spaces.Dict(boxes)
