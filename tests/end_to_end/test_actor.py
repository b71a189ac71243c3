"""What an actor does with gates, stops and a learner that is not there, without processes."""

from __future__ import annotations

import dataclasses
import threading
import uuid

import numpy as np
import pytest
from end_to_end.fake_client import PARAMS, FakeClient
from end_to_end.line_world import EXPERIMENT

from serl import actor as actor_module
from serl.actor import Actor
from serl.gates import SuccessWindow
from serl.stop import FINISHED, training_over


@pytest.fixture
def make(tmp_path, monkeypatch):
    """An Actor on line_world over a FakeClient, whose policy walks straight to the goal."""
    monkeypatch.setattr(actor_module, "ChannelClient", FakeClient)

    def build(*, skill: float = 1.0, experiment=EXPERIMENT, **options) -> Actor:
        actor = Actor(experiment, run_dir=tmp_path, learner_address="127.0.0.1:1", **options)
        actor.skill = skill  # type: ignore[attr-defined]

        def act(obs, *, deterministic):
            return np.clip(2.0 * actor.skill * obs["state"][1:], -1, 1)  # type: ignore[attr-defined]

        actor.policy.act = act  # type: ignore[method-assign]
        actor.policy.params = PARAMS
        return actor

    return build


def test_two_gates_and_the_final_test_are_of_one_frozen_version_on_seeds_of_their_own(make):
    actor = make()
    actor.client.newest = (7, PARAMS)
    result = actor.run_until_done()
    assert result["finished"]
    assert actor.client.kinds() == ["gate", "gate", "final_started", "final"]
    assert {data["version"] for kind, data in actor.client.reports if "gate" in kind} == {7}
    outcome = actor.run.read(actor.run.evaluation)
    assert outcome["successes"] == outcome["episodes"] == 20
    tested = {episode["seed"] for episode in outcome["per_episode"]}
    window = SuccessWindow(EXPERIMENT.evaluation)
    gates = [set(window.gate_seeds(EXPERIMENT.seed)) for _ in range(2)]
    assert len(tested | gates[0] | gates[1]) == 20 + 10 + 10


def test_evaluation_steps_never_reach_the_channel(make):
    actor = make()
    actor.run_until_done()
    records = np.concatenate(actor.client.records)
    assert np.count_nonzero(records["index"]) == actor.env_steps
    assert np.count_nonzero(records["index"] == 0) == actor.episodes


def test_a_failed_gate_is_followed_by_some_training_before_the_next():
    window = SuccessWindow(EXPERIMENT.evaluation)
    for _ in range(20):
        window.add(True)
    assert window.due()
    window.gate_failed()
    for _ in range(EXPERIMENT.evaluation.retry_episodes - 1):
        window.add(True)
        assert not window.due()
    window.add(True)
    assert window.due()


def test_the_window_goes_on_where_it_was():
    window, again = (SuccessWindow(EXPERIMENT.evaluation) for _ in range(2))
    for k in range(25):
        window.add(k % 5 > 0)
    window.gate_seeds(0)
    window.gate_failed()
    again.restore(window.state())
    assert again.state() == window.state()
    assert again.gate_seeds(0) == window.gate_seeds(0)


def test_when_the_budget_is_spent_the_final_test_waits_for_a_policy(make):
    """An actor that heard of the stop before it had a policy used to end without a test."""
    actor = make(skill=0.0)
    actor.client.newest = None
    actor.client.stop_requested = training_over("budget of 10 updates spent")
    threading.Timer(0.3, lambda: setattr(actor.client, "newest", (3, PARAMS))).start()
    assert actor.run_until_done()["finished"]
    assert actor.run.read(actor.run.evaluation)["version"] == 3


def test_when_the_run_is_finished_the_others_end_without_a_test(make):
    actor = make(evaluate=False)
    actor.client.stop_requested = FINISHED
    assert actor.run_until_done()["finished"]
    assert actor.client.kinds() == []


def test_a_final_test_that_was_interrupted_is_made_again_with_the_same_version(make):
    first = make()
    first.client.newest = (7, PARAMS)
    evaluated = []

    def on_status(status):
        if status["phase"].startswith("final"):
            evaluated.append(status["evaluation_done"])
            first.stop.set()

    first._on_status = on_status
    first._next_status = 0.0
    actor_module.STATUS_EVERY_S, kept = 0.0, actor_module.STATUS_EVERY_S
    try:
        assert not first.run_until_done()["finished"]
    finally:
        actor_module.STATUS_EVERY_S = kept
    assert evaluated
    assert not first.run.evaluation.exists()
    second = make()
    second.client.newest = (99, PARAMS)
    assert second.run_until_done()["finished"]
    assert second.run.read(second.run.evaluation)["version"] == 7
    assert second.client.records == []


def test_random_steps_need_no_learner(make):
    config = dataclasses.replace(EXPERIMENT.actor, random_steps=30)
    actor = make(experiment=dataclasses.replace(EXPERIMENT, actor=config))
    actor.client.newest = None
    actor.client.stop_after = 25
    actor.run_until_done()
    assert not actor.client.waited_for_connection
    assert len(actor.client.records) >= 25


def test_in_lockstep_the_actor_waits_for_the_learner_and_in_real_time_the_arm_does_not(make):
    """A real arm that waits for the network stands still in the middle of a motion."""
    waiting = make()
    waiting.client.credit = False
    threading.Timer(0.3, waiting.stop.set).start()
    waiting.run_until_done()
    assert len(waiting.client.records) == 1
    moving = make()
    moving.realtime = True
    moving.client.credit = False
    moving.client.stop_after = 40
    moving.run_until_done()
    assert len(moving.client.records) >= 40


def test_two_actors_of_one_run_explore_with_noise_of_their_own(make):
    first, second = make().policy._rng.random(3), None
    FakeClientOther = type("Other", (FakeClient,), {})
    original = FakeClient.__init__

    def other(self, *args, **kwargs):
        original(self, *args, **kwargs)
        self.actor_id = uuid.UUID(int=6).hex

    FakeClientOther.__init__ = other
    actor_module.ChannelClient = FakeClientOther
    second = make().policy._rng.random(3)
    assert not np.array_equal(first, second)
