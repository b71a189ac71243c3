"""The agent's action: a subset of the displacements, and a gripper the agent can learn."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from envs.config import RobotEnvConfig
from envs.robot_env import ARM_ACTION, RobotEnv
from envs.spaces import AXES, action_spec
from serl.errors import UserError

Array = NDArray[np.float64]

THRESHOLD = 0.5
"""A gripper action beyond this opens, below minus this closes. Source: SERL franka_env.py."""


class AgentAction(gymnasium.Wrapper[Any, Any, Any, Any]):
    """From the agent's box to RobotEnv's action and back.

    No gripper mode waits for the fingers: the opening is a target, and what was last commanded is
    what the server says, not a flag kept here.
    """

    def __init__(self, env: gymnasium.Env[Any, Any], config: RobotEnvConfig) -> None:
        super().__init__(env)
        assert isinstance(env.unwrapped, RobotEnv)
        self._robot = env.unwrapped
        self._mode = config.action.gripper
        self._arms = [arm.name for arm in config.arms]
        self.spec_of_action = action_spec(config.arms, config.action.axes, self._mode)
        self._columns = [AXES.index(axis) for axis in config.action.axes]
        self.per_arm = self.spec_of_action.shape[0] // len(self._arms)
        self.action_space = spaces.Box(-1.0, 1.0, self.spec_of_action.shape, np.float32)

    def step(self, action: NDArray[Any]) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        rows = self.clipped(action)
        obs, reward, terminated, truncated, info = self.env.step(self._to_robot(rows))
        accepted = info["accepted_action"].reshape(-1, len(ARM_ACTION))
        executed = rows.copy()
        executed[:, : len(self._columns)] = accepted[:, self._columns]
        # Only rounding can be left outside the box: the env keeps to the step on the agent's axes.
        info["executed_action"] = np.clip(executed, -1.0, 1.0).astype(np.float32).ravel()
        return obs, reward, terminated, truncated, info

    def clipped(self, action: NDArray[Any]) -> Array:
        """One row per arm, within the box; a three-way gripper rounded to its class."""
        wish = np.asarray(action, np.float64)
        if wish.shape != self.spec_of_action.shape:
            raise UserError(
                f"the action has shape {wish.shape}; this env's is {self.spec_of_action.shape}: "
                f"{', '.join(self.spec_of_action.fields)}."
            )
        if not np.isfinite(wish).all():
            at = int(np.flatnonzero(~np.isfinite(wish))[0])
            raise UserError(
                f"action element {self.spec_of_action.fields[at]!r} is {wish[at]}; every element "
                "must be a finite number. The arm was not moved; check what chose the action."
            )
        rows = np.clip(wish, -1.0, 1.0).reshape(len(self._arms), self.per_arm)
        if self._mode == "three_way":
            rows[:, -1] = (rows[:, -1] >= THRESHOLD).astype(float) - (rows[:, -1] <= -THRESHOLD)
        return rows

    def stay(self, arm: str) -> float:
        """The gripper action that changes nothing."""
        return self._robot.opening(arm) if self._mode == "width" else 0.0

    def subset(self, robot_action: Array) -> Array:
        """One row per arm of what the agent has of RobotEnv's displacements; no gripper."""
        return robot_action.reshape(-1, len(ARM_ACTION))[:, self._columns]

    def _to_robot(self, rows: Array) -> Array:
        full = np.zeros((len(self._arms), len(ARM_ACTION)))
        full[:, self._columns] = rows[:, : len(self._columns)]
        for name, row, out in zip(self._arms, rows, full, strict=True):
            out[6] = self._opening(name, row)
        return full.ravel()

    def _opening(self, arm: str, row: Array) -> float:
        if self._mode == "width":
            return float(row[-1])
        if self._mode != "none" and row[-1] >= THRESHOLD:
            return 1.0
        if self._mode != "none" and row[-1] <= -THRESHOLD:
            return -1.0
        return self._robot.opening(arm)
