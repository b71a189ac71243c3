"""The simulated human: helps a policy that needs it, leaves alone one that does not."""

import dataclasses

import numpy as np
import pytest

from envs.devices.noisy_expert import NoisyExpertConfig
from envs.operator import OperatorConfig
from envs.tasks.pick_cube import PickCubeConfig
from serl.errors import UserError
from serl.types import Source

CONFIG = PickCubeConfig(episode_s=12.0)


class Cell:
    """One env; a test puts a person in."""

    def __init__(self):
        self.operator = None
        self.env = CONFIG.make(intervention=self)

    hold_s = 0.0

    def __call__(self):
        return self.operator()

    def begin(self):
        if self.operator:
            self.operator.begin()

    def episode(self, person, policy, seed=3):
        """Who acted in each step, and success."""
        self.operator = OperatorConfig(devices={"": person}).make()
        self.operator.attach(self.env.env.env.env)
        self.env.reset(seed=seed)
        act = policy(self.env)
        sources, actions, over, info = [], [], False, {}
        while not over:
            *_, terminated, truncated, info = self.env.step(act())
            sources.append(int(info.get("source", Source.POLICY)))
            actions.append(info["executed_action"])
            over = terminated or truncated
        return np.array(sources) == Source.HUMAN, np.array(actions), info["success"]


def idle(env):
    return lambda: np.zeros(4, np.float32)


def good(env):
    expert = CONFIG.expert(env, noise=0.0)
    expert.reset()
    return expert.act


def flees(env):
    """Away from the cube, upwards and to the side."""
    return lambda: np.array([0.0, 0.6, -0.6, 0.0], np.float32)


@pytest.fixture(scope="module")
def cell():
    cell = Cell()
    yield cell
    cell.env.close()


def test_a_policy_that_stalls_is_helped_after_patience_and_reaction(cell):
    person = NoisyExpertConfig(skill=1.0, patience_s=1.0)
    helped, _, success = cell.episode(person, idle)
    assert int(np.argmax(helped)) == pytest.approx((1.0 + 0.2) * 20, abs=2)
    assert success
    assert 0.2 < helped.mean() < 0.95


def test_a_policy_that_does_well_is_left_alone(cell):
    helped, _, success = cell.episode(NoisyExpertConfig(skill=1.0), good)
    assert success
    assert not helped.any()


def test_a_policy_that_strays_is_helped_before_its_patience_is_over(cell):
    person = NoisyExpertConfig(skill=1.0, patience_s=60.0)
    helped, _, _ = cell.episode(person, flees)
    assert helped.any()


def test_after_recovery_the_policy_has_the_arm_again(cell):
    helped, _, _ = cell.episode(NoisyExpertConfig(skill=1.0, longest_s=1.0), idle)
    takes = int((np.diff(helped.astype(int)) == 1).sum())
    gives = int((np.diff(helped.astype(int)) == -1).sum())
    assert takes >= 2
    assert gives >= 1
    runs = np.diff(np.flatnonzero(np.diff(np.concatenate([[0], helped, [0]]).astype(int))))[::2]
    assert runs.max() <= (1.0 + 0.2) * 20 + 3


def test_the_same_seed_is_the_same_person(cell):
    person = NoisyExpertConfig(skill=0.3, seed=5)
    one = cell.episode(person, idle)
    two = cell.episode(person, idle)
    np.testing.assert_array_equal(one[1], two[1])
    other = cell.episode(dataclasses.replace(person, seed=6), idle)
    size = min(len(one[1]), len(other[1]))
    assert not np.array_equal(one[1][:size], other[1][:size])


def test_skill_is_quickness_and_a_steady_hand(cell):
    clumsy, able = (NoisyExpertConfig(skill=skill) for skill in (0.0, 1.0))
    assert clumsy.reaction_s > able.reaction_s
    first = [int(np.argmax(cell.episode(p, idle)[0])) for p in (clumsy, able)]
    assert first[0] > first[1]
    assert clumsy.noise > able.noise
    assert able.slip_probability == 0.0


def test_a_skill_out_of_range_is_refused():
    with pytest.raises(UserError, match=r"skill 1\.5; it must be 0 to 1"):
        NoisyExpertConfig(skill=1.5).make()
