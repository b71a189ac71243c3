"""Stopping and going on must not change what is learned."""

from __future__ import annotations

import dataclasses
import uuid

import jax
import numpy as np
import pytest
from end_to_end.line_world import EXPERIMENT

from serl import learner as learner_module
from serl.errors import SpecMismatch, UserError
from serl.experiment import Experiment
from serl.learner import Learner
from serl.records import RecordBuilder

ACTOR = uuid.UUID(int=1).hex


def experiment(updates: int, **changes) -> Experiment:
    """line_world with a budget of `updates`."""
    budget = dataclasses.replace(EXPERIMENT.budget, updates=updates, wall_s=1e6)
    return dataclasses.replace(EXPERIMENT, budget=budget, **changes)


def random_episodes(count: int) -> list[np.ndarray]:
    """Episodes of random actions, each one array of records."""
    env, builder = EXPERIMENT.env.make(), RecordBuilder(EXPERIMENT.env.spec())
    env.action_space.seed(0)
    episodes = []
    for episode in range(count):
        obs, info = env.reset(seed=episode)
        rows, over = [builder.first(episode, obs, info)], False
        while not over:
            action = env.action_space.sample()
            obs, reward, terminated, truncated, info = env.step(action)
            rows.append(
                builder.step(
                    action=action,
                    obs=obs,
                    reward=reward,
                    terminated=terminated,
                    truncated=truncated,
                    info=info,
                )
            )
            over = terminated or truncated
        episodes.append(np.concatenate(rows))
    return episodes


@pytest.fixture(autouse=True)
def _no_actor_is_waited_for(monkeypatch):
    monkeypatch.setattr(learner_module, "ALONE_S", 0.0)


def train(folder, exp: Experiment, *, fill: bool = False, **options) -> Learner:
    learner = Learner(exp, run_dir=folder, **options)
    if fill:
        for rows in random_episodes(60):
            learner.append(ACTOR, rows)
    learner.run_until_done()
    return learner


def leaves(learner: Learner) -> list[np.ndarray]:
    state = learner.state.replace(key=jax.random.key_data(learner.state.key))
    return [np.asarray(leaf) for leaf in jax.tree.leaves(state)]


def test_a_resumed_run_makes_the_same_updates_as_one_that_was_never_stopped(tmp_path):
    whole = train(tmp_path / "whole", experiment(60), fill=True)
    train(tmp_path / "parts", experiment(24), fill=True)
    resumed = train(tmp_path / "parts", experiment(60), resume=True)
    assert resumed.updates == whole.updates == 60
    for ours, theirs in zip(leaves(resumed), leaves(whole), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_after_a_kill_every_committed_record_counts_and_versions_go_on(tmp_path):
    """The checkpoint is older than the replay: counters are the checkpoint's, records all there."""
    first = train(tmp_path, experiment(20), fill=True)
    killed = Learner(experiment(40), run_dir=tmp_path, resume=True)
    extra = random_episodes(70)[60:]
    for rows in extra:
        killed.append(ACTOR, rows)
    killed.version = first.version + 3  # published, then killed before the next checkpoint
    killed.run.write(killed.run.version, {"version": killed.version, "wall_s": 1000.0})
    killed._opened.close()
    again = train(tmp_path, experiment(40), resume=True)
    assert again.steps == first.steps + sum(len(rows) - 1 for rows in extra)
    assert again.updates == 40
    assert again.version > first.version + 3
    assert again.wall_s > 1000.0


def test_a_used_run_folder_is_not_overwritten(tmp_path):
    train(tmp_path, experiment(4), fill=True)
    with pytest.raises(UserError, match="add --resume"):
        Learner(experiment(8), run_dir=tmp_path)


def test_a_run_folder_of_another_experiment_is_refused_by_name(tmp_path):
    train(tmp_path, experiment(4), fill=True)
    other = experiment(8, agent=dataclasses.replace(EXPERIMENT.agent, discount=0.5))
    with pytest.raises(SpecMismatch, match=r"agent.discount: 0.5 here, 0.9 there"):
        Learner(other, run_dir=tmp_path, resume=True)


def test_init_from_takes_networks_and_on_request_data(tmp_path):
    source = train(tmp_path / "source", experiment(20), fill=True)
    fresh = Learner(experiment(20, seed=7), run_dir=tmp_path / "new", init_from=source.run.path)
    fresh._opened.close()
    with_data = Learner(
        experiment(20, seed=7),
        run_dir=tmp_path / "data",
        init_from=source.run.path,
        with_data=True,
    )
    held = with_data.replay.records_committed
    counted = with_data.steps
    with_data._opened.close()
    ours, theirs = fresh.state.critic.params, source.state.critic.params
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)
    assert fresh.steps == 0
    assert fresh.updates == 0
    assert held == 60 + source.steps
    assert counted == 0


def test_init_from_another_spec_names_the_difference(tmp_path):
    source = train(tmp_path / "source", experiment(4), fill=True)
    other = experiment(4, agent=dataclasses.replace(EXPERIMENT.agent, hidden=(16,)))
    with pytest.raises(SpecMismatch, match=r"another agent \(agent.hidden"):
        Learner(other, run_dir=tmp_path / "new", init_from=source.run.path)
