"""From named measurements to what the agent observes: the state vector, and camera frames."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from envs.config import RobotEnvConfig
from envs.measurements import CAMERA
from envs.spaces import STATE_LIMIT, layout
from robot_servers.control import se3
from serl.errors import UserError

Array = NDArray[np.float64]
Raw = dict[str, Array]

_ARM_READERS: dict[str, Callable[[Raw, str], Array]] = {
    "tcp_pos": lambda raw, p: raw[p + "tcp_pose"][:3, 3],
    "tcp_rotvec": lambda raw, p: se3.rotvec_from_matrix(raw[p + "tcp_pose"][:3, :3]),
    "tcp_rot6d": lambda raw, p: raw[p + "tcp_pose"][:3, :2].T.ravel(),
    "tcp_lin_vel": lambda raw, p: raw[p + "twist"][:3],
    "tcp_ang_vel": lambda raw, p: raw[p + "twist"][3:],
    "ref_pos": lambda raw, p: (
        (raw[p + "ref_pose"][:3, 3] - raw[p + "tcp_pose"][:3, 3]) @ raw[p + "tcp_pose"][:3, :3]
    ),
    "ref_rotvec": lambda raw, p: se3.rotvec_from_matrix(
        raw[p + "tcp_pose"][:3, :3].T @ raw[p + "ref_pose"][:3, :3]
    ),
    "force": lambda raw, p: raw[p + "wrench"][:3],
    "torque": lambda raw, p: raw[p + "wrench"][3:],
    "gripper_width": lambda raw, p: raw[p + "gripper_width"],
    "gripper_target": lambda raw, p: raw[p + "gripper_target"],
    "q": lambda raw, p: raw[p + "q"],
    "dq": lambda raw, p: raw[p + "dq"],
}
"""How each arm field is read; the fields themselves are `envs.spaces.ARM_FIELDS`."""


class StateVector(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Observation {'state': (n,) float32}, each element scaled as its name says, and each camera's
    frame {name: (H, W, 3) uint8} as it is."""

    def __init__(self, env: gymnasium.Env[Any, Any], config: RobotEnvConfig) -> None:
        super().__init__(env)
        pieces = layout(config.arms, config.state, config.task_fields)
        self._readers = [_reader(full, config) for full, _ in pieces]
        self._names = [name for full, field in pieces for name in field.names(full)]
        self._scale = np.concatenate([np.full(f.size, 1.0 / f.scale) for _, f in pieces])
        self._offset = np.concatenate([np.full(f.size, f.offset) for _, f in pieces])
        box = spaces.Box(-STATE_LIMIT, STATE_LIMIT, (len(self._names),), np.float32)
        self._cameras = {camera.name: CAMERA + camera.name for camera in config.cameras}
        frames = {
            camera.name: spaces.Box(0, 255, (camera.height, camera.width, 3), np.uint8)
            for camera in config.cameras
        }
        self.observation_space = spaces.Dict({"state": box, **frames})

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        raw, info = self.env.reset(seed=seed, options=options)
        return self._encode(raw), info

    def step(self, action: Any) -> tuple[dict[str, NDArray[Any]], Any, bool, bool, dict[str, Any]]:
        raw, reward, terminated, truncated, info = self.env.step(action)
        return self._encode(raw), reward, terminated, truncated, info

    def _encode(self, raw: Raw) -> dict[str, NDArray[Any]]:
        values = np.concatenate([read(raw) for read in self._readers])
        if not np.isfinite(values).all():
            at = int(np.flatnonzero(~np.isfinite(values))[0])
            raise UserError(
                f"observation field {self._names[at]!r} is {values[at]}; every value must be "
                "finite. Check the sensor, or the task that computes it."
            )
        scaled = (values - self._offset) * self._scale
        state = np.clip(scaled, -STATE_LIMIT, STATE_LIMIT).astype(np.float32)
        return {"state": state, **{name: raw[key] for name, key in self._cameras.items()}}


def _reader(full: str, config: RobotEnvConfig) -> Callable[[Raw], Array]:
    """The reader of one piece of the layout, by its full name."""
    if full in config.task_fields:
        return lambda raw: raw[full]
    prefix, slash, name = full.rpartition("/")
    read = _ARM_READERS[name]
    return lambda raw: read(raw, prefix + slash)
