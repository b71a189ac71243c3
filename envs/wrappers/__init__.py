"""The wrappers between the agent and the arms, in their one order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium
from gymnasium.wrappers import TimeLimit

from envs.config import RobotEnvConfig
from envs.robot_env import RobotEnv
from envs.wrappers.action import AgentAction
from envs.wrappers.grasp_penalty import GraspPenalty
from envs.wrappers.intervention import Intervention
from envs.wrappers.observation import StateVector
from envs.wrappers.relative_frame import RelativeFrame
from envs.wrappers.reward import WeightedReward


def wrap(
    config: RobotEnvConfig, env: RobotEnv, *, intervention: Callable[..., Any] | None = None
) -> gymnasium.Env[Any, Any]:
    """Everything the agent does not have to know about, inside out (DESIGN decision 16)."""
    frame = RelativeFrame(env, action_frame=config.action.frame, pose_frame=config.pose_frame)
    agent = AgentAction(frame, config)
    chosen = Intervention(agent, config, device=intervention)
    priced = GraspPenalty(chosen, config) if config.action.grasp_penalty else chosen
    encoded = StateVector(priced, config)
    rewarded = WeightedReward(encoded, config.weights()[config.reward])
    return TimeLimit(rewarded, config.max_steps)
