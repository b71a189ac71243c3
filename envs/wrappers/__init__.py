"""The wrappers between the agent and the arms, in their one order.

    RobotEnv        measures and clamps; base axes, every displacement
    RelativeFrame   TCP axes in and out, with the pose of the newest observation
    AgentAction     the agent's axes and its gripper; says what was executed
    Intervention    the human's action instead of the agent's, in the agent's own space
    GraspPenalty    only where `action.grasp_penalty` is set
    StateVector     what the agent observes
    WeightedReward  the task's terms, weighed
    TimeLimit       truncates

The human's twist comes in base axes and is turned with the pose before the step, as the agent's
action is; so what is stored of either, replayed, is the same motion (tests/envs/test_intervention).
A learned reward, and a human's, wrap this from outside (`serl.rewards`).
"""

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
