"""Scripts as hands, behind the intervention wrapper of their own task."""

import dataclasses

import pytest

from envs.config import ActionConfig
from envs.devices.base import parse_device
from envs.operator import OperatorConfig
from envs.tasks.pick_cube import PickCubeConfig
from envs.tasks.reach import ReachConfig
from serl.errors import UserError
from serl.types import Source


def episode(config, seed=3, **device):
    """Sources and success of one episode in which the policy does nothing."""
    scripted = dataclasses.replace(parse_device("scripted"), **device)
    operator = OperatorConfig(devices={"": scripted}).make([arm.name for arm in config.arms])
    env = config.make(intervention=operator)
    env.reset(seed=seed)
    rest, sources, over, info = env.get_wrapper_attr("rest")(), [], False, {}
    while not over:
        *_, terminated, truncated, info = env.step(rest)
        sources.append(info.get("source"))
        over = terminated or truncated
    env.close()
    return sources, info["success"]


@pytest.mark.parametrize(
    "config",
    [
        PickCubeConfig(),
        PickCubeConfig(action=ActionConfig(translation_step_m=0.025, gripper="width")),
        PickCubeConfig(action=ActionConfig(translation_step_m=0.025, frame="base")),
        ReachConfig(),
    ],
    ids=["toggle", "width", "base frame", "six axes"],
)
def test_the_expert_s_hand_solves_its_task(config):
    sources, success = episode(config, noise=0.0)
    assert success
    assert set(sources) == {Source.HUMAN}


def test_it_moves_both_arms_of_a_cell_at_once():
    from envs.tasks.dual_pick import DualPickConfig

    _, success = episode(DualPickConfig(), noise=0.0)
    assert success


def test_without_an_env_it_says_what_it_is_for():
    with pytest.raises(UserError, match="intervention="):
        parse_device("scripted").make().hands()
