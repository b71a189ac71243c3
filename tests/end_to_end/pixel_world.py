"""line_world seen by two cameras: the goal is only in the picture.

An experiment file like a user's, for the tests of what travels and is kept of camera frames.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
from end_to_end.line_world import EXPERIMENT as LINE
from end_to_end.line_world import STEPS
from gymnasium import spaces

from serl.agents.image_config import ImageConfig
from serl.experiment import ReplayConfig
from serl.networks.trunk import TRUNKS
from serl.types import ArraySpec, Spec

SIDE = 32
CAMERAS = ("front", "wrist")


class Patches(nn.Module):
    """A trunk that compiles in no time: one convolution over patches of 8 x 8."""

    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, frames: jax.Array) -> jax.Array:
        x = frames.astype(self.dtype) / 255 - 0.5
        return nn.relu(nn.Conv(16, (8, 8), (8, 8), "VALID", dtype=self.dtype)(x)).astype("float32")


if "patches" not in TRUNKS.names():  # a test imports this file, a process loads it as a user's
    TRUNKS.register("patches")(Patches)


@dataclass(frozen=True, kw_only=True)
class PixelWorld:
    """Position is felt; the goal is a red bar in both pictures."""

    tolerance: float = 0.3

    def spec(self) -> Spec:
        frames = [ArraySpec(name=n, shape=(SIDE, SIDE, 3), dtype="uint8") for n in CAMERAS]
        state = ArraySpec(name="state", shape=(1,), dtype="float32", low=-3.0, high=3.0)
        return Spec(
            observation=(state, *frames),
            action=ArraySpec(name="action", shape=(1,), dtype="float32", low=-1.0, high=1.0),
        )

    def contract(self) -> dict[str, Any]:
        return {"task": "pixel_world", "tolerance": self.tolerance}

    def make(self, *, render: bool = False) -> gymnasium.Env:
        return gymnasium.wrappers.TimeLimit(_Line(self.tolerance), STEPS)


class _Line(gymnasium.Env):
    observation_space = spaces.Dict(
        {"state": spaces.Box(-3.0, 3.0, (1,), np.float32)}
        | {n: spaces.Box(0, 255, (SIDE, SIDE, 3), np.uint8) for n in CAMERAS}
    )
    action_space = spaces.Box(-1.0, 1.0, (1,), np.float32)

    def __init__(self, tolerance: float) -> None:
        self.tolerance = tolerance

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.x, self.goal = self.np_random.uniform(-1.0, 1.0, 2)
        return self._obs(), {}

    def step(self, action: np.ndarray) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.x = float(np.clip(self.x + 0.5 * action[0], -2.0, 2.0))
        success = abs(self.x - self.goal) < self.tolerance
        return self._obs(), float(success), success, False, {"success": success}

    def _obs(self) -> dict[str, np.ndarray]:
        frames = {name: self._draw(row) for row, name in enumerate(CAMERAS)}
        return {"state": np.array([self.x], np.float32), **frames}

    def _draw(self, colour: int) -> np.ndarray:
        frame = np.full((SIDE, SIDE, 3), 60, np.uint8)
        for value, channel in ((self.x, 1 + colour), (self.goal, 0)):
            middle = int(np.clip((value + 2) / 4 * SIDE, 0, SIDE - 1))
            frame[:, max(0, middle - 1) : middle + 2, channel] = 255
        return frame


EXPERIMENT = dataclasses.replace(
    LINE,
    name="pixel_world",
    env=PixelWorld(),
    agent=dataclasses.replace(
        LINE.agent,
        batch_size=32,
        image=ImageConfig(trunk="patches", weights="random", bottleneck=32, embeddings=2),
    ),
    replay=ReplayConfig(capacity=5000, start_records=60),
)
