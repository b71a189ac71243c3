"""A human's hand on the arm, and the one place that says what was executed and who chose it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from envs.config import RobotEnvConfig
from envs.robot_env import ARM_ACTION
from envs.wrappers.action import AgentAction
from envs.wrappers.relative_frame import RelativeFrame
from serl.types import Source

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Hand:
    """What a human asks of one arm now."""

    twist: tuple[float, float, float, float, float, float]
    """Along and about the operator's axes, which are the base's; 1 is one step."""
    gripper: float | None = None
    """-1 close to 1 open; None leaves it."""


Device = Callable[[], Mapping[str, Hand] | None]
"""Asked once per step: a Hand for each arm the human moves, or None when the hand is off."""


class Intervention(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Takes the human's action instead of the policy's while there is one.

    Info: `requested_action` (as chosen, in the agent's space), `executed_action` (what the limits
    left of it), and `source` HUMAN for a human's step. Otherwise `source` is left to the caller,
    who knows whether a policy, a script or chance chose.

    An arm the human does not move stays where it is. After the last input the human keeps the arms
    for `intervention_hold_s`: a puck that passes neutral does not hand them back.
    """

    def __init__(
        self, env: AgentAction, config: RobotEnvConfig, *, device: Device | None = None
    ) -> None:
        super().__init__(env)
        assert isinstance(env.env, RelativeFrame)
        self._agent, self._frame = env, env.env
        self._arms = [arm.name for arm in config.arms]
        self._has_gripper = config.action.gripper != "none"
        self._device = device
        self._hold_steps = round(config.intervention_hold_s * config.control_hz)
        self._held = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        self._held = 0
        return self.env.reset(seed=seed, options=options)

    def step(self, action: NDArray[Any]) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        hands = self._hands()
        chosen = np.asarray(action) if hands is None else self._from_hands(hands)
        obs, reward, terminated, truncated, info = self.env.step(chosen)
        info["requested_action"] = np.array(chosen, np.float32)
        if hands is not None:
            info["source"] = int(Source.HUMAN)
        return obs, reward, terminated, truncated, info

    def _hands(self) -> Mapping[str, Hand] | None:
        """What the human asks now: nothing moves while the hold lasts, None after it."""
        hands = self._device() if self._device is not None else None
        if hands is not None:
            self._held = self._hold_steps
        elif self._held > 0:
            self._held -= 1
            hands = {}
        return hands

    def _from_hands(self, hands: Mapping[str, Hand]) -> Array:
        """The human's wish in the agent's space, with the pose before the step."""
        base = np.zeros((len(self._arms), len(ARM_ACTION)))
        for row, arm in zip(base, self._arms, strict=True):
            if arm in hands:
                row[:6] = hands[arm].twist
        rows = self._agent.subset(self._frame.to_tcp(base.ravel()))
        if self._has_gripper:
            grips = [self._grip(arm, hands.get(arm)) for arm in self._arms]
            rows = np.column_stack((rows, grips))
        return rows.ravel()

    def _grip(self, arm: str, hand: Hand | None) -> float:
        if hand is None or hand.gripper is None:
            return self._agent.stay(arm)
        return hand.gripper
