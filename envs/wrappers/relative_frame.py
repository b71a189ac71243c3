"""What the tool sees and how it moves: TCP axes in and out.

A displacement or a twist of the TCP changes axes by a rotation alone: the reference point is the
TCP in both. (The full adjoint, `se3.adjoint`, is for a twist whose reference point moves to another
frame's origin; used here it would turn a pure translation into a rotation.)
"""

from __future__ import annotations

from typing import Any, Literal

import gymnasium
import numpy as np
from numpy.typing import NDArray

from envs.robot_env import ARM_ACTION, RobotEnv
from robot_servers.control import se3

Array = NDArray[np.float64]
Observation = dict[str, Array]


class RelativeFrame(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Actions in TCP axes; poses relative to the reset pose; twist and wrench in TCP axes.

    Args:
        env: actions and measurements in base axes.
        action_frame: 'tcp', or 'base' to leave actions as they are.
        pose_frame: 'reset', or 'base' to leave poses as they are.
    """

    def __init__(
        self,
        env: RobotEnv,
        *,
        action_frame: Literal["tcp", "base"] = "tcp",
        pose_frame: Literal["reset", "base"] = "reset",
    ) -> None:
        super().__init__(env)
        self._arms = [arm.prefix for arm in env.config.arms]
        self._turn_actions = action_frame == "tcp"
        self._turn_poses = pose_frame == "reset"
        self._T_reset_base: dict[str, Array] = {}
        self.R_base_tcp: dict[str, Array] = {}
        """Orientation of each TCP in the newest observation, by prefix."""

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        obs, info = self.env.reset(seed=seed, options=options)
        if self._turn_poses:
            self._T_reset_base = {p: se3.inverse(obs[p + "tcp_pose"]) for p in self._arms}
        return self._relative(obs), info

    def step(self, action: Array) -> tuple[Observation, Any, bool, bool, dict[str, Any]]:
        to_agent = self.R_base_tcp
        obs, reward, terminated, truncated, info = self.env.step(self.to_base(action))
        info["accepted_action"] = self._turned(
            info["accepted_action"], {p: R.T for p, R in to_agent.items()}
        )
        return self._relative(obs), reward, terminated, truncated, info

    def to_base(self, action: Array) -> Array:
        """The same displacements in base axes."""
        return self._turned(action, self.R_base_tcp)

    def to_tcp(self, action: Array) -> Array:
        """Inverse of `to_base`, with the pose of the newest observation."""
        return self._turned(action, {p: R.T for p, R in self.R_base_tcp.items()})

    def _turned(self, action: Array, turns: dict[str, Array]) -> Array:
        if not self._turn_actions:
            return action
        rows = np.array(action, np.float64).reshape(len(self._arms), len(ARM_ACTION))
        for row, prefix in zip(rows, self._arms, strict=True):
            row[0:3] = turns[prefix] @ row[0:3]
            row[3:6] = turns[prefix] @ row[3:6]
        return rows.ravel()

    def _relative(self, obs: Observation) -> Observation:
        turns = {}
        for p in self._arms:
            R = obs[p + "tcp_pose"][:3, :3]
            turns[p] = R.copy()
            for name in ("twist", "wrench"):
                vector = obs[p + name]
                obs[p + name] = np.concatenate((vector[:3] @ R, vector[3:] @ R))
            if self._turn_poses:
                T = self._T_reset_base[p]
                obs[p + "tcp_pose"] = T @ obs[p + "tcp_pose"]
                obs[p + "ref_pose"] = T @ obs[p + "ref_pose"]
        self.R_base_tcp = turns
        return obs
