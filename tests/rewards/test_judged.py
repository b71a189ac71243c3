"""When a judged env pays, ends and what it says."""

import gymnasium
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serl.rewards.judged import JudgedReward, Stage
from serl.types import RewardSource


class Script(gymnasium.Env):
    """Shows a list of numbers, one per step; says success by itself, which must not leak."""

    def __init__(self, shown):
        self.shown, self.at = list(shown), 0

    def reset(self, *, seed=None, options=None):
        self.at = 0
        return {"x": 0.0}, {"success": False}

    def step(self, action):
        value = self.shown[self.at]
        self.at += 1
        return {"x": value}, 7.0, False, self.at == len(self.shown), {"success": value == 0.125}


def two_way(obs):
    """The number shown is the probability of success."""
    return np.array([1.0 - obs["x"], obs["x"]])


def stage(name="s", **changes):
    return Stage(**{"name": name, "judge": two_way, "success": 1, "threshold": 0.5, **changes})


def play(env):
    env.reset()
    steps, over = [], False
    while not over:
        _, reward, terminated, truncated, info = env.step(None)
        steps.append((reward, terminated, info))
        over = terminated or truncated
    return steps


@given(st.lists(st.sampled_from([0.2, 0.5, 0.9]), min_size=1, max_size=12), st.integers(1, 4))
def test_success_is_paid_at_the_nth_positive_in_a_row_and_ends_the_episode(shown, n):
    wanted = next(
        (k for k in range(n - 1, len(shown)) if min(shown[k - n + 1 : k + 1]) >= 0.5), None
    )
    steps = play(JudgedReward(Script(shown), [stage(consecutive=n)], version=5))
    assert [r for r, _, _ in steps].count(1.0) == (wanted is not None)
    assert sum(r for r, _, _ in steps) == (wanted is not None)
    if wanted is not None:
        assert len(steps) == wanted + 1
    assert [t for _, t, _ in steps].count(True) == (wanted is not None)
    assert steps[-1][2]["success"] == (wanted is not None)


def test_the_env_s_own_reward_and_success_never_leak():
    steps = play(JudgedReward(Script([0.125, 0.0]), [stage()], version=77))
    assert [(r, t) for r, t, _ in steps] == [(0.0, False), (0.0, False)]
    info = steps[0][2]
    assert (info["success"], info["env_success"]) == (False, True)
    assert (info["reward_source"], info["reward_version"]) == (RewardSource.CLASSIFIER, 77)
    assert info["judged"] == {"s": 0.125}


def test_where_the_env_cannot_tell_nobody_claims_to_know():
    class Mute(Script):
        def step(self, action):
            obs, reward, terminated, truncated, _ = super().step(action)
            return obs, reward, terminated, truncated, {}

    assert "env_success" not in play(JudgedReward(Mute([0.1]), [stage()], version=1))[0][2]


def test_a_condition_that_breaks_starts_the_count_again():
    on = [stage(consecutive=2, holds=lambda obs: obs["x"] != 0.7)]
    steps = play(JudgedReward(Script([0.9, 0.7, 0.9, 0.9, 0.9]), on, version=1))
    assert [r for r, _, _ in steps] == [0.0, 0.0, 0.0, 1.0]


def three_stages(ordered):
    """Reach, grasp, lift, seen at 1, 2 and 3."""

    def judge(obs):
        return np.array([float(obs["x"] == k) for k in range(4)])

    stages = [
        Stage(name=n, judge=judge, success=k, threshold=0.5)
        for k, n in ((1, "reach"), (2, "grasp"), (3, "lift"))
    ]
    return lambda shown: JudgedReward(Script(shown), stages, version=1, ordered=ordered)


def test_each_stage_pays_once_and_the_episode_is_done_when_all_have_paid():
    steps = play(three_stages(ordered=True)([1, 1, 2, 1, 2, 3, 3]))
    assert [r for r, _, _ in steps] == [1.0, 0.0, 1.0, 0.0, 0.0, 1.0]
    assert [info["stages_paid"] for _, _, info in steps] == [1, 1, 2, 2, 2, 3]
    assert [t for _, t, _ in steps] == [False] * 5 + [True]
    assert [info["success"] for _, _, info in steps] == [False] * 5 + [True]


def test_a_stage_waits_for_those_before_it_unless_the_order_is_free():
    assert [r for r, _, _ in play(three_stages(ordered=True)([2, 1, 3, 0]))] == [0, 1, 0, 0]
    assert [r for r, _, _ in play(three_stages(ordered=False)([2, 1, 3, 0]))] == [1, 1, 1]


def test_a_new_episode_begins_from_nothing():
    env = three_stages(ordered=True)([1, 2])
    assert [r for r, _, _ in play(env)] == [1.0, 1.0]
    assert [r for r, _, _ in play(env)] == [1.0, 1.0]


def test_lost_ends_the_episode_without_reward():
    def judge(obs):
        return np.array({"lost": [0.1, 0.1, 0.8], "won": [0.0, 0.9, 0.1]}[obs["x"]])

    one = [Stage(name="egg", judge=judge, success=1, threshold=0.5, lost=2, consecutive=2)]
    steps = play(JudgedReward(Script(["lost", "won", "lost", "lost", "won"]), one, version=1))
    assert [(r, t) for r, t, _ in steps] == [(0.0, False)] * 3 + [(0.0, True)]
    assert [info["lost"] for _, _, info in steps] == [False, False, False, True]
    assert not steps[-1][2]["success"]


class Interrupted(Script):
    """In its second step a camera is lost: what is shown is the frame from before."""

    def step(self, action):
        obs, reward, terminated, truncated, info = super().step(action)
        if self.at == 2:
            info["interrupted"] = "camera front is lost"
        return obs, reward, terminated, truncated, info


@pytest.mark.parametrize("shown", [[0.9, 0.9, 0.9, 0.9], [0.0, 0.9, 0.9, 0.9]])
def test_a_step_that_was_broken_off_is_not_judged_and_breaks_the_row(shown):
    steps = play(JudgedReward(Interrupted(shown), [stage(consecutive=2)], version=1))
    assert [(r, t) for r, t, _ in steps] == [(0.0, False)] * 3 + [(1.0, True)]
    info = steps[1][2]
    assert (info["success"], info["judged"], info["stages_paid"]) == (False, {}, 0)
    assert info["reward_source"] == RewardSource.CLASSIFIER


def test_a_lost_object_is_not_seen_in_a_step_that_was_broken_off():
    always_lost = [stage(judge=lambda obs: np.array([1.0, 0.0]), lost=0, consecutive=2)]
    steps = play(JudgedReward(Interrupted([0.0] * 5), always_lost, version=1))
    assert [info["lost"] for _, _, info in steps] == [False, False, False, True]


def test_stages_of_one_judge_ask_it_once():
    asked = []

    def judge(obs):
        asked.append(1)
        return np.array([0.0, 0.0])

    both = [Stage(name=n, judge=judge, success=1, threshold=0.5) for n in "ab"]
    play(JudgedReward(Script([0.0]), both, version=1))
    assert len(asked) == 1


@pytest.mark.parametrize("kind", [float, np.float32])
def test_the_reward_is_a_plain_number(kind):
    """HIL-SERL's classifier returned an array of one element (D-E9)."""
    env = JudgedReward(Script([kind(0.9)]), [stage()], version=1)
    env.reset()
    _, reward, terminated, _, info = env.step(None)
    assert (type(reward), type(terminated), type(info["success"])) == (float, bool, bool)
