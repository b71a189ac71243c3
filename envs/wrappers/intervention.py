"""A human's hand on the arm, and the one place that says what was executed and who chose it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from envs.config import RobotEnvConfig
from envs.devices.base import Hand, Twist
from envs.robot_env import ARM_ACTION
from envs.spaces import AXES
from envs.wrappers.action import AgentAction
from envs.wrappers.relative_frame import RelativeFrame
from serl.types import Source

Array = NDArray[np.float64]

Device = Callable[[], Mapping[str, Hand] | None]
"""Asked once per step: a Hand for each arm the human moves, or None when the hand is off.

It may have more (`envs.operator.Operator` has): `hold_s`, how long the human keeps the arms after
the last input, None for the env's own; `attach(env)`, told this wrapper; `begin()`, after a reset.
"""


class Intervention(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Takes the human's action instead of the policy's while there is one.

    Info: `requested_action` (as chosen, in the agent's space), `executed_action` (what the limits
    left of it), and `source` HUMAN for a human's step. Otherwise `source` is left to the caller,
    who knows whether a policy, a script or chance chose. `intervention_latency_s`, in a step with
    new input: from the input until its action was on the way to the arm.

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
        self._columns = [AXES.index(axis) for axis in config.action.axes]
        self._has_gripper = config.action.gripper != "none"
        self._device = device
        self._period_s, self._hold_s = config.period_s, config.intervention_hold_s
        self._held = 0
        self._newest_ns = 0
        _tell(device, "attach", self)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        self._held = 0
        start = self.env.reset(seed=seed, options=options)
        _tell(self._device, "begin")
        return start

    def step(self, action: NDArray[Any]) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        hands = self._hands()
        chosen = np.asarray(action) if hands is None else self.from_hands(hands)
        latency_s = self._latency_s(hands or {})
        obs, reward, terminated, truncated, info = self.env.step(chosen)
        info["requested_action"] = np.array(chosen, np.float32)
        if hands is not None:
            info["source"] = int(Source.HUMAN)
        if latency_s is not None:
            info["intervention_latency_s"] = latency_s
        return obs, reward, terminated, truncated, info

    def rest(self) -> Array:
        """The agent's action that leaves every arm and gripper as it is."""
        return self.from_hands({})

    def from_hands(self, hands: Mapping[str, Hand]) -> Array:
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

    def to_hands(self, action: NDArray[Any]) -> dict[str, Hand]:
        """The hands that ask for an agent's action: the inverse of `from_hands`, but for a twist
        that would leave +-1 in the base's axes: that is shortened, in its own direction."""
        rows = np.asarray(action, np.float64).reshape(len(self._arms), -1)
        full = np.zeros((len(self._arms), len(ARM_ACTION)))
        full[:, self._columns] = rows[:, : len(self._columns)]
        base = self._frame.to_base(full.ravel()).reshape(full.shape)
        return {
            arm: Hand(_within_one(twist[:6]), float(row[-1]) if self._has_gripper else None)
            for arm, twist, row in zip(self._arms, base, rows, strict=True)
        }

    def _hands(self) -> Mapping[str, Hand] | None:
        """What the human asks now: nothing moves while the hold lasts, None after it."""
        if self._device is None:
            return None
        hands = self._device()
        if hands is not None:
            own_s = getattr(self._device, "hold_s", None)
            hold_s = self._hold_s if own_s is None else own_s
            self._held = round(hold_s / self._period_s)
        elif self._held > 0:
            self._held -= 1
            hands = {}
        return hands

    def _latency_s(self, hands: Mapping[str, Hand]) -> float | None:
        """Age of the oldest input that this step is the first to act on."""
        stamps = [hand.stamp_mono_ns or 0 for hand in hands.values()]
        fresh = [stamp for stamp in stamps if stamp > self._newest_ns]
        self._newest_ns = max(stamps, default=self._newest_ns)
        return (time.monotonic_ns() - min(fresh)) / 1e9 if fresh else None

    def _grip(self, arm: str, hand: Hand | None) -> float:
        if hand is None or hand.gripper is None:
            return self._agent.stay(arm)
        return hand.gripper


def _tell(device: Device | None, what: str, *args: Any) -> None:
    """A device that wants to know is told."""
    method = getattr(device, what, None)
    if method is not None:
        method(*args)


def _within_one(twist: Array) -> Twist:
    x, y, z, rx, ry, rz = (float(v) for v in twist / max(1.0, float(np.abs(twist).max())))
    return (x, y, z, rx, ry, rz)
