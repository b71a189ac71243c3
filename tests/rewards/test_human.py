"""A person who pays: when they say so, once, and late."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from rewards.squares import SquareConfig

from serl.attendance import Attendance
from serl.data.records import Label
from serl.errors import UserError
from serl.late_label import LastStep
from serl.person import Person
from serl.rewards.base import absolute, reward_contract, rewarded, with_reward
from serl.rewards.human_veto import Veto
from serl.types import RewardSource

CONFIG = SquareConfig(reward="learned", steps=6)
STEP = np.zeros(1, np.float32)


class Script:
    """An operator who says given words when listened to, or at the steps they are given for."""

    hold_s = None

    def __init__(self, said: dict[int, list[str]] | None = None) -> None:
        self.said = said or {}
        self.step = 0
        self.pending: list[str] = []

    def say(self, *words: str) -> None:
        self.pending += words

    def words(self) -> list[str]:
        said, self.pending = self.pending, []
        return said

    def __call__(self):
        return None

    def listen(self) -> bool:
        return False

    def key_of(self, word: str) -> str:
        return word[0]

    def attach(self, env) -> None: ...
    def begin(self) -> None: ...
    def trouble(self) -> str:
        return ""


def judged(late_steps: int = 0, reward: str = "human"):
    operator = Script()
    person = Person(operator, late_steps=late_steps)
    return rewarded(CONFIG.make(), reward, CONFIG.spec(), person), person, operator


def run(env, person, operator, said: dict[int, list[str]]):
    """One episode with words said before given steps: rewards, and the infos."""
    env.reset(seed=0)
    person.episode_begins()
    rows, over = [], False
    while not over:
        operator.say(*said.get(len(rows), []))
        _, reward, terminated, truncated, info = env.step(STEP)
        person.step_passes()
        rows.append((reward, terminated, info))
        over = terminated or truncated
    person.episode_ends()
    return rows


def test_it_has_no_path_and_is_the_same_for_actor_and_learner():
    assert absolute("human") == "human"
    assert reward_contract("human")["source"] == "human"
    with pytest.raises(UserError, match="has no path"):
        absolute("human:somewhere")


def test_an_experiment_with_it_leaves_its_env_unjudged():
    from serl.experiment import Experiment

    plain = Experiment(name="squares", env=SquareConfig(), agent=CONFIG)
    assert with_reward(plain, "human").env.reward == "learned"


def test_without_anybody_no_episode_begins():
    env = rewarded(CONFIG.make(), "human", CONFIG.spec())
    with pytest.raises(UserError, match="--device"):
        env.reset(seed=0)


def test_success_pays_when_it_is_said_and_ends_the_episode():
    rows = run(*judged(), {2: ["success"]})
    assert [r for r, _, _ in rows] == [0.0, 0.0, 1.0]
    assert rows[-1][1]
    assert rows[-1][2]["success"]
    assert all(info["reward_source"] == RewardSource.HUMAN for _, _, info in rows)


def test_failure_ends_the_episode_without_reward():
    rows = run(*judged(), {1: ["failure"]})
    assert [(r, t) for r, t, _ in rows] == [(0.0, False), (0.0, True)]
    assert rows[-1][2]["lost"]
    assert not rows[-1][2]["success"]


def test_each_stage_pays_once_per_episode():
    env, person, operator = judged()
    said = {0: ["stage 1"], 1: ["stage 1"], 2: ["stage 2"], 3: ["success"]}
    for _ in range(2):
        rows = run(env, person, operator, said)
        assert [r for r, _, _ in rows] == [1.0, 0.0, 1.0, 1.0]


def test_of_contradicting_words_in_one_step_the_last_counts():
    assert run(*judged(), {0: ["success", "failure"]})[-1][2]["lost"]


def test_what_is_said_between_episodes_is_about_the_one_before():
    env, person, operator = judged(late_steps=2)
    run(env, person, operator, {})
    operator.say("success")
    rows = run(env, person, operator, {1: ["failure"], 3: ["success"]})
    assert person.late_verdicts() == ["success", "failure"]
    assert [r for r, _, _ in rows] == [0.0, 0.0, 0.0, 1.0]


def test_the_first_episode_has_none_before_it():
    rows = run(*judged(late_steps=3), {0: ["success"]})
    assert rows[0][2]["success"]


TIMED_OUT = Label(episode=4, index=6, reward=0.0, success=False, terminated=False)
WON = Label(episode=4, index=6, reward=1.0, success=True, terminated=True)
LOST = Label(episode=4, index=3, reward=0.0, success=False, terminated=True)


@pytest.mark.parametrize(
    ("stored", "words", "reward", "success", "terminated"),
    [
        (TIMED_OUT, ["success"], 1.0, True, True),
        (TIMED_OUT, ["failure"], 0.0, False, False),
        (TIMED_OUT, ["success", "failure"], 0.0, False, False),
        (TIMED_OUT, ["stage 1", "stage 1"], 1.0, False, False),
        (WON, ["success"], 1.0, True, True),
        (WON, ["failure"], 0.0, False, False),
        (LOST, ["failure"], 0.0, False, True),
        (LOST, ["success"], 1.0, True, True),
    ],
)
def test_a_late_word_sets_the_end_and_said_again_changes_nothing(
    stored, words, reward, success, terminated
):
    once = LastStep.of(stored).told(words)
    assert once.label == Label(
        episode=4, index=stored.index, reward=reward, success=success, terminated=terminated
    )
    assert once.told(words).label == once.label


class Judge(SquareConfig):
    """Sees a success in its third step; its arm can be held."""

    def make(self, *, render=False):
        env = super().make()
        env.steps_seen = 0
        step = env.step

        def seen(action):
            obs, _, terminated, truncated, info = step(action)
            env.steps_seen += 1
            found = env.steps_seen == 3
            source = int(RewardSource.CLASSIFIER)
            info |= {"success": found, "reward_source": source, "reward_version": 7}
            return obs, float(found), terminated or found, truncated, info

        def hold(reason):
            while reason():
                pass

        env.step, env.hold = seen, hold
        return env


@pytest.mark.parametrize(
    ("words", "reward", "ends"),
    [
        ([], 1.0, (True, False)),
        (["success"], 1.0, (True, False)),
        (["failure"], 0.0, (False, True)),
    ],
    ids=["silence", "confirmed", "vetoed"],
)
def test_a_person_may_take_back_what_a_classifier_saw_before_it_is_stored(words, reward, ends):
    operator = Script()
    person = Person(operator)
    env = Veto(Judge(reward="learned").make(), person, veto_s=0.05)
    env.reset(seed=0)
    person.episode_begins()
    env.step(STEP)
    env.step(STEP)
    listened = threading.Event()

    def listen() -> bool:
        if not listened.is_set():
            operator.say(*words)
        listened.set()
        return False

    operator.listen = listen
    _, paid, terminated, truncated, info = env.step(STEP)
    assert listened.is_set()
    assert (paid, (terminated, truncated)) == (reward, ends)
    assert info["success"] is (reward == 1.0)
    vetoed = words == ["failure"]
    assert info["reward_source"] == (RewardSource.HUMAN if vetoed else RewardSource.CLASSIFIER)


def test_nobody_beside_the_actor_changes_nothing():
    nobody = Attendance(None, CONFIG.make(), threading.Event(), judged=True)
    assert nobody.begins() is None
    assert nobody.after_step() is None
    assert not nobody.moves()
    assert nobody.status() == nobody.totals() == {}
