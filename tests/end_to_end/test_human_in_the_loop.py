"""A person beside an actor on a simulated arm: what is stored, held, counted and judged."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from end_to_end.fake_client import PARAMS, FakeClient

from envs.devices.base import Hand
from envs.tasks.pick_cube import PickCubeConfig
from envs.tasks.reach import ReachConfig
from serl import actor as actor_module
from serl.actor import Actor
from serl.agents.sac import SACConfig
from serl.data.mixing import MixedSampler
from serl.data.replay import Replay
from serl.errors import UserError
from serl.experiment import ActorConfig, Experiment
from serl.rewards.base import with_reward
from serl.types import Source

EXPERIMENT = Experiment(
    name="beside",
    env=ReachConfig(episode_s=0.5),
    agent=SACConfig(hidden=(8,), num_critics=2, utd_ratio=1),
    actor=ActorConfig(late_label_s=0.2),
)
ACTOR = "05"
UP = {"": Hand((0.0, 0.0, 0.5, 0.0, 0.0, 0.0))}


class Puppet:
    """An operator whose hand and words the test writes, by the count of times it was asked."""

    hold_s = 0.0

    def __init__(self) -> None:
        self.asked = self.listened = self.episodes = 0
        self.hands: Any = lambda k: None
        self.says: dict[int, list[str]] = {}
        self.says_when_listening: dict[int, list[str]] = {}
        self._pending: list[str] = []
        self.env: Any = None

    def attach(self, env) -> None:
        self.env = env

    def begin(self) -> None:
        self.episodes += 1

    def __call__(self):
        self._pending += self.says.get(self.asked, [])
        self.asked += 1
        return self.hands(self.asked - 1)

    def listen(self) -> bool:
        self._pending += self.says_when_listening.get(self.listened, [])
        self.listened += 1
        return self.hands(self.asked) is not None

    def words(self) -> list[str]:
        said, self._pending = self._pending, []
        return said

    def key_of(self, word: str) -> str:
        return word[0]

    def trouble(self) -> str:
        return ""


@pytest.fixture
def beside(tmp_path, monkeypatch):
    """An actor with a puppet beside it; its policy does nothing."""
    monkeypatch.setattr(actor_module, "ChannelClient", FakeClient)

    def build(
        experiment=EXPERIMENT, *, records: int = 30, begins: bool = True, **env
    ) -> tuple[Actor, Puppet]:
        puppet = Puppet()
        config = dataclasses.replace(experiment.env, **env)
        actor = Actor(
            dataclasses.replace(experiment, env=config),
            run_dir=tmp_path,
            learner_address="127.0.0.1:1",
            operator=puppet,
            begins=begins,
            evaluate=False,
        )
        rest = actor.env.get_wrapper_attr("rest")
        actor.policy.act = lambda obs, deterministic: rest()  # type: ignore[method-assign]
        actor.policy.params = PARAMS
        actor.client.stop_after = records
        return actor, puppet

    return build


def rows_of(actor: Actor) -> np.ndarray:
    return np.concatenate(actor.client.records)


def episodes_of(rows: np.ndarray) -> list[np.ndarray]:
    return [rows[rows["episode"] == n] for n in np.unique(rows["episode"])]


def reports(actor: Actor, kind: str = "episode") -> list[dict]:
    return [data for found, data in actor.client.reports if found == kind]


def test_a_step_that_the_hand_made_is_stored_as_the_person_s_and_counted(beside):
    actor, puppet = beside()
    puppet.hands = lambda k: UP if 3 <= k < 6 or k == 8 else None
    actor.run_until_done()
    first = episodes_of(rows_of(actor))[0]
    human = first["source"] == Source.HUMAN
    assert np.flatnonzero(human).tolist() == [4, 5, 6, 9]
    assert (first["source"][1:][~human[1:]] == Source.POLICY).all()
    assert (np.abs(first["action"][human]).max(axis=1) > 0.4).all()
    told = reports(actor)[0]
    assert told["episode/interventions"] == 2
    assert told["episode/intervention_steps"] == 4
    assert told["episode/intervention_rate"] == 0.4
    told = {"training_human_steps": 4, "training_interventions": 2}
    assert actor.attendance.totals() == told


def test_a_person_who_takes_over_drops_the_rest_of_a_chunk(beside):
    actor, puppet = beside()
    dropped = []
    actor.policy.drop_chunk = lambda: dropped.append(actor.env_steps)
    puppet.hands = lambda k: UP if 3 <= k < 5 else None
    actor.client.stop_after = 11
    actor.run_until_done()
    assert dropped == [0, 3, 4]


def test_before_the_first_policy_only_the_hand_moves_the_arm(beside):
    actor, puppet = beside(records=8)
    actor.client.newest = None
    puppet.hands = lambda k: UP if k < 5 else None
    actor.client.wait_for_params = lambda timeout_s: False
    seen = []

    def on_status(status):
        seen.append(status["phase"])
        if "first policy" in status["phase"]:
            actor.client.newest = (1, PARAMS)

    actor._on_status = on_status
    actor.run_until_done()
    rows = rows_of(actor)[1:]
    assert (rows["source"][:5] == Source.HUMAN).all()
    assert (rows["policy_version"][:5] == -1).all()
    assert (rows["policy_version"][5:] == 1).all()
    assert any("hand on the device" in phase for phase in seen)


def test_a_script_that_only_helps_a_policy_waits_for_one(beside):
    actor, puppet = beside(records=8, begins=False)
    actor.client.newest = None
    puppet.hands = lambda k: UP
    waited = []

    def wait(timeout_s) -> bool:
        waited.append(actor.env_steps)
        if len(waited) == 3:
            actor.client.newest = (1, PARAMS)
        return False

    actor.client.wait_for_params = wait
    actor.run_until_done()
    assert waited == [0, 0, 0]
    assert actor.client.waited_for_connection
    assert (rows_of(actor)["policy_version"][1:] >= 0).sum() >= 10


def test_a_pause_holds_the_arm_and_is_no_step(beside):
    actor, puppet = beside(records=16)
    puppet.says = {2: ["pause"]}
    held = []

    def listened(n: int) -> list[str]:
        held.append(actor.env_steps)
        return ["pause"] if n == 3 else []

    puppet.says_when_listening = type("Later", (dict,), {"get": lambda _, n, d: listened(n)})()
    actor.run_until_done()
    assert set(held[:4]) == {3}
    first = episodes_of(rows_of(actor))[0]
    assert first["index"].tolist() == list(range(11))
    assert reports(actor)[0]["episode/steps"] == 10


def test_an_episode_that_is_given_up_is_kept_without_an_end_and_counts_neither_way(beside):
    actor, puppet = beside(records=20)
    puppet.says = {3: ["rerecord"]}
    actor.run_until_done()
    first, second = episodes_of(rows_of(actor))[:2]
    assert len(first) == 5
    assert not first["terminated"].any()
    assert not first["truncated"].any()
    assert second["truncated"][-1]
    assert actor.episodes == len(actor.window.recent) == actor.client.episode
    assert actor.interruptions == 1


def test_stop_ends_the_actor_after_the_step(beside):
    actor, puppet = beside(records=100)
    puppet.says = {4: ["stop"]}
    actor.run_until_done()
    assert actor.env_steps == 5


def test_a_task_that_asks_for_a_hand_waits_for_ready_and_counts_no_time(beside):
    asks = {"scene_ready": True, "ask_at_reset": "Place the part."}
    actor, puppet = beside(records=14, **asks)
    seen = []
    actor._on_status = lambda status: seen.append(status["phase"])
    actor_module_status, actor_module.STATUS_EVERY_S = actor_module.STATUS_EVERY_S, 0.0
    puppet.says_when_listening = {k: ["ready"] for k in range(3, 100, 3)}
    try:
        actor.run_until_done()
    finally:
        actor_module.STATUS_EVERY_S = actor_module_status
    assert [p for p in dict.fromkeys(seen) if p.startswith("waiting: ")] == [
        "waiting: Is the scene ready?",
        "waiting: Place the part.",
    ]
    assert reports(actor)[0]["episode/steps"] == 10


def test_a_task_that_asks_for_a_hand_is_refused_where_nobody_is():
    env = ReachConfig(ask_at_reset="Place the part.").make()
    with pytest.raises(UserError, match="--device"):
        env.reset(seed=0)
    env.close()


def test_only_an_episode_that_nobody_touched_counts_towards_a_gate(beside):
    actor, _ = beside()
    from serl.tally import Tally

    actor._ended(Tally(success=True, steps=5))
    actor._ended(Tally(success=True, steps=5, human_steps=2, interventions=1))
    assert list(actor.window.recent) == [True, False]
    assert [told["episode/success"] for told in reports(actor)] == [1.0, 1.0]
    actor._close()


def test_in_a_test_of_the_policy_the_hand_moves_nothing(beside):
    actor, puppet = beside()
    puppet.hands = lambda k: UP
    actor.policy.begin()
    result = actor._evaluate([1, 2], failures_allowed=2)
    assert len(result.episodes) == 2
    assert puppet.asked == 0
    assert puppet.listened >= 20
    actor._close()


class Watching(Puppet):
    """Presses success some steps after the task's truth first shows it, never early; in every third
    episode the hand stays off and nothing is reached."""

    def __init__(self, rng) -> None:
        super().__init__()
        self.rng = rng
        self.truth: dict[int, bool] = {}
        self.due: int | None = None

    def attach(self, env) -> None:
        super().attach(env)
        self.expert = env.unwrapped.config.expert(env)

    def begin(self) -> None:
        self.look()
        super().begin()
        self.expert.reset()

    def look(self) -> None:
        """What the simulator says of the state that the last step led to."""
        episode = self.episodes - 1
        reached = episode >= 0 and self.env.unwrapped.outcome.success
        if reached and not self.truth.get(episode):
            self.due = self.asked + int(self.rng.integers(0, 8))
        if episode >= 0:
            self.truth[episode] = self.truth.get(episode, False) or reached

    def __call__(self):
        self.look()
        if self.due is not None and self.asked >= self.due:
            self._pending.append("success")
            self.due = None
        self.asked += 1
        return None if self.episodes % 3 == 0 else self.env.to_hands(self.expert.act())


def test_what_a_person_says_with_a_delay_is_stored_as_the_truth(beside, tmp_path):
    """Keys come up to 7 steps late, also after the time-out: the stored last step is relabelled."""
    experiment = dataclasses.replace(
        EXPERIMENT, env=PickCubeConfig(), actor=ActorConfig(late_label_s=0.5)
    )
    experiment = with_reward(experiment, "human")
    late = 0
    for attempt, seconds in enumerate((2.1, 2.3, 4.0)):
        actor, puppet = beside(experiment, records=10**9, episode_s=seconds)
        watching = Watching(np.random.default_rng(attempt))
        actor.attendance.person.operator = watching
        watching.attach(puppet.env)
        actor.client.begin_episode = lambda a=actor: begin(a)

        def begin(a) -> int:
            a.client.episode += 1
            if a.client.episode >= 6:
                a.stop.set()
            return a.client.episode

        with Replay(tmp_path / f"replay-{attempt}", actor.spec, 5000, sync_s=100.0) as replay:
            actor.client.send = lambda row, r=replay: r.append(ACTOR, row)
            actor.client.relabel = lambda label, r=replay, a=actor: (
                a.client.labels.append(label),
                r.relabel(ACTOR, label),
            )
            actor.run_until_done()
            late += len(actor.client.labels)
            stored = {e.episode: e for e in replay.iter_episodes()}
            for number in range(6):
                rows, true = stored[number].records, watching.truth[number]
                assert rows["success"].any() == true, (seconds, number)
                assert rows["reward"].sum() == float(true)
                assert rows["success"][-1] == rows["terminated"][-1] == true
                assert stored[number].outcome == ("terminated" if true else "truncated")
        assert any(watching.truth.values()) or seconds < 2.3
        assert not all(watching.truth.values())
    assert late >= 1, "no key came after its episode; make the delays longer"


def test_steps_of_the_hand_enter_both_sides_of_a_batch_and_are_never_joined(beside, tmp_path):
    actor, puppet = beside(records=200)
    puppet.hands = lambda k: UP if k % 7 in (0, 1, 4) else None
    puppet.says = {k: ["rerecord"] for k in range(13, 200, 31)}
    actor.run_until_done()
    rows = rows_of(actor)
    with Replay(tmp_path / "replay", actor.spec, 5000, sync_s=100.0) as replay:
        replay.append(ACTOR, rows)
        drawn = MixedSampler(replay, None, demo_fraction=0.5, n_step=3).sample(
            np.random.default_rng(0), 20, 32
        )
    after = {r["obs/state"].tobytes(): k for k, r in enumerate(rows)}

    def places(side: np.ndarray) -> np.ndarray:
        return np.array([after[s.tobytes()] for s in side.reshape(-1, side.shape[-1])])

    here, there = places(drawn["obs"]["state"]), places(drawn["next_obs"]["state"])
    assert (rows["episode"][here] == rows["episode"][there]).all()
    steps = there - here
    assert ((steps >= 1) & (steps <= 3)).all()
    human = (rows["source"][here + 1] == Source.HUMAN).reshape(20, 32)
    assert human[:, 16:].all()
    assert 0.2 < human[:, :16].mean() < 0.8


def test_a_hand_at_an_env_without_an_arm_is_one_line(tmp_path):
    from end_to_end.line_world import EXPERIMENT as LINE

    with pytest.raises(UserError, match="no arm"):
        Actor(LINE, run_dir=Path(tmp_path), learner_address="127.0.0.1:1", operator=Puppet())
