"""What `--agent` changes beside the agent."""

import dataclasses

import pytest

from envs.config import ActionConfig
from launch.experiments import Selection
from serl.agents.base import AGENTS
from serl.errors import UserError


def chosen(agent: str, task: str = "pick_cube"):
    return Selection(task=task, agent=agent).load()


@pytest.mark.parametrize("task", ["pick_cube", "dual_pick"])
def test_one_that_chooses_what_grippers_do_has_three_ways_and_a_penalty(task):
    experiment = chosen("hybrid_sac", task)
    assert experiment.env.action.gripper == "three_way"
    spec = experiment.env.spec()
    assert [a.name for a in spec.extras] == ["grasp_penalty"]
    agent = experiment.agent.make(spec)
    assert agent.grippers.classes == (9 if task == "dual_pick" else 3)


def test_a_width_is_no_choice():
    experiment = chosen("hybrid_sac")
    env = dataclasses.replace(experiment.env, action=ActionConfig(gripper="width"))
    with pytest.raises(UserError, match="chooses between closing, staying and opening"):
        dataclasses.replace(experiment, env=env)


def test_every_agent_fits_the_task_it_is_chosen_for():
    for name in AGENTS.names():
        config = AGENTS.get(name)()
        if not getattr(config, "needs_images", False):
            experiment = chosen(name)
            experiment.agent.make(experiment.env.spec())
