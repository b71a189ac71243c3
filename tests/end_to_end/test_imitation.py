"""HG-DAgger: cloned first, then taught by people alone; chunks of actions, made and dropped."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from end_to_end.line_world import EXPERIMENT

from launch.experiments import _with_agent
from serl.agents.bc import BCConfig
from serl.agents.flow_bc import FlowBCConfig
from serl.agents.hg_dagger import HGDAggerConfig
from serl.data.demos import EpisodeMeta, save_episode
from serl.errors import UserError
from serl.learner import Learner
from serl.policy import PolicyInHand
from serl.types import Source, record_dtype

SPEC = EXPERIMENT.env.spec()
AGENT = HGDAggerConfig(hidden=(8,), batch_size=16, utd_ratio=2, pretrain_updates=6)
ACTOR = "0" * 32


def episode(number: int, source: Source, action: float) -> np.ndarray:
    rows = np.zeros(6, record_dtype(SPEC))
    rows["episode"], rows["index"], rows["weight"] = number, np.arange(6), 1.0
    rows["obs/state"] = np.arange(12).reshape(6, 2) / 12 + number
    rows["action"], rows["source"][1:] = action, source
    rows["truncated"][-1] = True
    return rows


@pytest.fixture
def learner(tmp_path):
    made = []

    def build(agent=AGENT, demos: int = 2) -> Learner:
        folder = tmp_path / "demos"
        folder.mkdir()
        for number in range(demos):
            rows = episode(number, Source.SCRIPTED, 0.25)
            save_episode(folder, rows, SPEC, EpisodeMeta(experiment="x", success=True))
        experiment = dataclasses.replace(EXPERIMENT, agent=agent)
        learner = Learner(experiment, run_dir=tmp_path / "run", demos=folder)
        made.append(learner)
        learner._load_demos()
        return learner

    yield build
    for learner in made:
        learner.server.close()
        learner._opened.close()


def drawn(learner: Learner) -> np.ndarray:
    batches = learner._batches()
    try:
        return np.concatenate([np.asarray(batches.get().action).ravel() for _ in range(8)])
    finally:
        batches.close()


def test_it_is_pretrained_on_the_demonstrations_and_the_limiter_does_not_count_that(learner):
    made = learner()
    made._pretrain()
    assert made.updates == 6
    assert made.limiter.updates == 0
    made._pretrain()
    assert made.updates == 6


def test_only_demonstrations_and_people_s_steps_are_learned_from(learner):
    made = learner()
    made.append(ACTOR, episode(0, Source.POLICY, -1.0))
    assert set(drawn(made)) == {0.25}
    mixed = episode(1, Source.POLICY, -1.0)
    mixed["source"][2:4], mixed["action"][2:4] = Source.HUMAN, 0.5
    made.append(ACTOR, mixed)
    assert set(drawn(made)) == {0.25, 0.5}


def test_without_demonstrations_it_waits_for_a_person(learner):
    made = learner(demos=0)
    made.append(ACTOR, episode(0, Source.POLICY, -1.0))
    made._pretrain()
    assert made.updates == 0
    assert not made._wait_turn()
    assert "person" in made.phase
    made.append(ACTOR, episode(1, Source.HUMAN, 0.5))
    assert made._wait_turn()
    assert set(drawn(made)) == {0.5}


def test_chunks_of_actions_reach_the_agent(learner):
    made = learner(FlowBCConfig(hidden=(8,), batch_size=16, utd_ratio=2, chunk=3))
    batches = made._batches()
    _, metrics = made.agent.update(made.state, batches.get())
    batches.close()
    assert bool(metrics["finite"])


def test_another_agent_keeps_what_the_file_set_and_both_have():
    own = dataclasses.replace(EXPERIMENT.agent, std_kind="exp")
    other = _with_agent(dataclasses.replace(EXPERIMENT, agent=own), BCConfig()).agent
    assert (other.hidden, other.batch_size, other.discount) == ((32, 32), 64, 0.9)
    assert other.activation == BCConfig().activation, "a default of the file's agent is no setting"
    assert other.std_min == BCConfig().std_min


class Planner:
    """An agent whose chunk says at which call it was planned, and which action it is."""

    chunk = 4
    spec = SPEC
    encodes = False

    def __init__(self) -> None:
        self.calls = 0

    def act_chunk(self, params, obs, noise):
        self.calls += 1
        return np.array([[10.0 * self.calls + k] for k in range(self.chunk)], np.float32)


def acted(policy: PolicyInHand, count: int) -> list[float]:
    return [float(policy.act({}, deterministic=True)[0]) for _ in range(count)]


def test_a_chunk_is_made_to_its_end_before_the_policy_plans_anew():
    policy = PolicyInHand(Planner(), chunk_steps=3)
    assert acted(policy, 7) == [10, 11, 12, 20, 21, 22, 30]


def test_a_person_and_the_end_of_an_episode_drop_the_rest():
    policy = PolicyInHand(Planner(), chunk_steps=3)
    assert acted(policy, 2) == [10, 11]
    policy.drop_chunk()
    assert acted(policy, 2) == [20, 21]
    policy.begin()
    assert acted(policy, 1) == [30]


def test_more_than_the_agent_plans_is_one_line():
    with pytest.raises(UserError, match=r"chunk_steps is 5, but this agent plans 4"):
        PolicyInHand(Planner(), chunk_steps=5)
