"""A world of 32 px pictures: a white square walks right; at the right edge it is a success."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from serl.rewards.frames import Episode, Header, View
from serl.types import ArraySpec, Spec

PX = 32
STATE = ArraySpec(
    name="state", shape=(2,), dtype="float32", fields=("place [0.1 m]", "grip [0.04 m from 0.04]")
)


@dataclass(frozen=True, kw_only=True)
class SquareConfig:
    """As an env's config: its cameras are data, its reward may be 'learned'."""

    reward: str = "sparse"
    rotate_deg: int = 0
    camera: str = "front"
    steps: int = 30

    def spec(self) -> Spec:
        picture = ArraySpec(name=self.camera, shape=(PX, PX, 3), dtype="uint8")
        action = ArraySpec(
            name="action", shape=(1,), dtype="float32", low=-1.0, high=1.0, fields=("x",)
        )
        return Spec(observation=(STATE, picture), action=action)

    def contract(self) -> dict[str, Any]:
        return {
            "reward": self.reward,
            "cameras": [{"name": self.camera, "rotate_deg": self.rotate_deg}],
        }

    def weights(self) -> dict[str, Any]:
        return {"sparse": {"success": 1.0}, "learned": {}}

    def make(self, *, render: bool = False) -> SquareEnv:
        return SquareEnv(self)


class SquareEnv(gymnasium.Env[Any, Any]):
    """The action moves the square by up to 0.1 of the picture's width."""

    def __init__(self, config: SquareConfig) -> None:
        self.config = config
        self.action_space = spaces.Box(-1.0, 1.0, (1,), np.float32)
        self.observation_space = spaces.Dict(
            {
                "state": spaces.Box(-10, 10, (2,), np.float32),
                config.camera: spaces.Box(0, 255, (PX, PX, 3), np.uint8),
            }
        )

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.place, self.grip_m, self.count = float(self.np_random.uniform(0, 0.4)), 0.08, 0
        return self.observe(), {}

    def step(self, action):
        self.place = float(np.clip(self.place + 0.1 * float(action[0]), 0.0, 1.0))
        self.count += 1
        there = self.place > 0.75
        ends = there and self.config.reward != "learned"
        return (
            self.observe(),
            float(there),
            ends,
            self.count >= self.config.steps,
            {"success": there},
        )

    def observe(self):
        state = [self.place / 0.1, (self.grip_m - 0.04) / 0.04]
        return {"state": np.array(state, np.float32), self.config.camera: picture(self.place)}


def picture(place: float, noise: int = 0) -> np.ndarray:
    """(32, 32, 3): a square of 8 px whose left edge is at `place` of the way."""
    frame = np.full((PX, PX, 3), 40 + noise, np.uint8)
    left = round(place * (PX - 8))
    frame[12:20, left : left + 8] = 230
    return frame


def square_episode(places, classes=("failure", "success"), config=None, label=None) -> Episode:
    """A labelled episode of squares at these places."""
    config = config or SquareConfig()
    places = np.asarray(places, float)
    if label is None:
        label = (places > 0.75).astype(np.int64)
    return Episode(
        header=Header(view=View.of(config), state=STATE, classes=classes),
        step=np.arange(len(places), dtype=np.int32),
        frames={config.camera: np.stack([picture(p) for p in places])},
        state=np.stack([[p / 0.1, 1.0] for p in places]).astype(np.float32),
        label=np.asarray(label, np.int64),
        by=("task",) * len(places),
    )
