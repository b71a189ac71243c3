"""What a gripper that changes its mind costs: a penalty beside the reward, for a grasp critic."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from envs.config import GRASP_PENALTY, RobotEnvConfig
from envs.robot_env import RobotEnv
from envs.wrappers.action import THRESHOLD

OPEN_SHARE = 0.9
"""A gripper is open from this share of its largest opening on. Source: HIL-SERL's USB task; its
hand-over has 0.85."""


class GraspPenalty(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Info `extra/grasp_penalty` of each step: minus the penalty for every gripper that was told
    the opposite of what it measured just before, to close while open or to open while it was not.
    The fingers take a step or more to leave where they were; until then the command costs again.

    Reward, success and the end of an episode stay what they are. A policy's command and a human's
    cost the same. Each arm's command is compared with that arm's own fingers, by name.
    """

    def __init__(self, env: gymnasium.Env[Any, Any], config: RobotEnvConfig) -> None:
        super().__init__(env)
        assert isinstance(env.unwrapped, RobotEnv)
        self._robot = env.unwrapped
        self._penalty = config.action.grasp_penalty
        fields = config.spec().action.fields
        self._columns = {
            arm.name: fields.index(f"{arm.prefix}gripper")
            for arm in config.arms
            if self._robot.backend.arms[arm.name].gripper is not None
        }

    def step(self, action: NDArray[Any]) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        was_open = {arm: self._share(arm) >= OPEN_SHARE for arm in self._columns}
        obs, reward, terminated, truncated, info = self.env.step(action)
        executed = info["executed_action"]
        opposed = sum(
            opposes(float(executed[column]), is_open=was_open[arm])
            for arm, column in self._columns.items()
        )
        info[f"extra/{GRASP_PENALTY}"] = np.float32(0.0 - self._penalty * opposed)
        return obs, reward, terminated, truncated, info

    def _share(self, arm: str) -> float:
        """The measured opening as a share of the largest."""
        gripper = self._robot.backend.arms[arm].gripper
        assert gripper is not None
        return self._robot.states[arm].gripper_width_m / gripper.width_max_m


def opposes(command: float, *, is_open: bool) -> bool:
    """Whether a gripper element in ±1 asks for the opposite of what the fingers show.

    >>> opposes(-1.0, is_open=True), opposes(-1.0, is_open=False), opposes(0.2, is_open=True)
    (True, False, False)
    >>> opposes(1.0, is_open=False), opposes(1.0, is_open=True)
    (True, False)
    """
    return command <= -THRESHOLD if is_open else command >= THRESHOLD
