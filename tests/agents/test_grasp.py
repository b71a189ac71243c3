"""The grippers' classes, how they are explored, and the grasp critic's target."""

from __future__ import annotations

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.wrappers import action as env_action
from serl.agents import grasp
from serl.agents.base import Batch
from serl.agents.grasp import GraspConfig, Grippers, best_class, explored, grasp_target
from serl.errors import UserError
from serl.types import ArraySpec

DUAL = ArraySpec(
    name="action",
    shape=(4,),
    dtype="float32",
    low=(-1.0, 0.0, -1.0, -2.0),
    high=(1.0, 10.0, 1.0, 2.0),
    fields=("left/x", "left/gripper", "right/x", "right/gripper"),
)
PAIR = Grippers.of(DUAL)


def test_two_grippers_are_one_choice_among_nine_the_first_arm_leading():
    """HIL-SERL: 3 x left + right, each close, stay, open."""
    assert PAIR.classes == 9
    assert (PAIR.columns, PAIR.moves) == ((1, 3), (0, 2))
    left, right = np.meshgrid([0.0, 5.0, 10.0], [-2.0, 0.0, 2.0], indexing="ij")
    actions = np.stack([left * 0, left, left * 0, right], axis=-1)
    np.testing.assert_array_equal(PAIR.class_of(jnp.asarray(actions)).ravel(), np.arange(9))


def test_elements_say_the_class_and_the_class_the_elements():
    every = jnp.arange(9)
    elements = PAIR.elements_of(every)
    action = PAIR.joined(jnp.full((9, 2), 0.25), elements)
    assert action.shape == (9, 4)
    np.testing.assert_array_equal(action[:, 0], 0.25)
    np.testing.assert_array_equal(PAIR.class_of(action), every)
    one = PAIR.joined(jnp.array([0.1, 0.2]), PAIR.elements_of(jnp.asarray(2)))
    np.testing.assert_allclose(one, [0.1, 0.0, 0.2, 2.0])


def test_a_class_begins_where_the_env_begins_to_move_the_gripper():
    assert grasp.THRESHOLD == env_action.THRESHOLD
    single = Grippers.of(replace(DUAL, shape=(2,), low=-1.0, high=1.0, fields=("x", "gripper")))
    values = jnp.array([-1.0, -0.5, -0.49, 0.0, 0.49, 0.5, 1.0])
    actions = jnp.stack([jnp.zeros(7), values], axis=-1)
    assert single.class_of(actions).tolist() == [0, 0, 1, 1, 1, 2, 2]
    assert single.classes == 3


@pytest.mark.parametrize("fields", [(), ("x", "y", "z", "rz"), ("gripper",) * 4])
def test_an_action_without_a_gripper_or_with_nothing_else_is_refused(fields):
    with pytest.raises(UserError, match="at least one must end in 'gripper', and one not"):
        Grippers.of(replace(DUAL, fields=fields))


@pytest.mark.parametrize("epsilon", [0.02, 0.3, 1.0])
def test_the_share_of_random_classes_is_epsilon_and_all_are_alike(epsilon):
    z = jnp.asarray(np.random.default_rng(0).standard_normal(200_000), jnp.float32)
    best = jnp.full(z.shape, 7)
    drawn = np.asarray(explored(best, z, epsilon, 9))
    counts = np.bincount(drawn, minlength=9) / len(z)
    expected = np.full(9, epsilon / 9)
    expected[7] += 1.0 - epsilon
    np.testing.assert_allclose(counts, expected, atol=4 * np.sqrt(epsilon / 9 / len(z)))


def test_no_noise_and_no_epsilon_never_explore_and_wild_noise_stays_a_class():
    best = jnp.array(1)
    assert explored(best, jnp.array(0.0), 0.999, 3) == 1
    assert explored(best, jnp.array(9.0), 0.0, 3) == 1
    assert explored(best, jnp.array(40.0), 0.1, 3) == 2
    assert explored(best, jnp.array(-40.0), 0.1, 3) == 2


def batch_of(terminated: list[float]) -> Batch:
    n = len(terminated)
    return Batch(
        obs={},
        action=jnp.zeros((n, 1)),
        reward=jnp.full(n, 0.5),
        next_obs={},
        terminated=jnp.asarray(terminated),
        discount=jnp.full(n, 0.9),
        weight=jnp.ones(n),
    )


def test_the_target_is_judged_by_the_targets_where_the_online_critics_choose():
    """The mean of the online members is best at class 1; there the targets say 4 and 3. The maximum
    of the targets, 8, is what a plain DQN would take."""
    online = jnp.array([[[0.0, 1.0, 0.0]], [[0.0, 3.0, 3.9]]])
    target = jnp.array([[[8.0, 4.0, 8.0]], [[8.0, 3.0, 8.0]]])
    assert best_class(online).tolist() == [1]
    going, ended = (
        grasp_target(batch_of([t]), jnp.array([-0.1]), online, target) for t in (0.0, 1.0)
    )
    np.testing.assert_allclose(going, [0.5 - 0.1 + 0.9 * 3.0], rtol=1e-6)
    np.testing.assert_allclose(ended, [0.5 - 0.1], rtol=1e-6)


def test_the_target_is_a_number_not_a_way_to_learn():
    slopes = jax.grad(lambda q: grasp_target(batch_of([0.0]), jnp.zeros(1), q, q).sum())(
        jnp.ones((2, 1, 3))
    )
    assert not slopes.any()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epsilon": 1.5}, "agent.grasp.epsilon is 1.5; it must be between 0.0 and 1.0"),
        ({"num_critics": 0}, "agent.grasp.num_critics is 0"),
        ({"hidden": ()}, r"agent.grasp.hidden is \(\)"),
    ],
)
def test_a_setting_out_of_range_is_refused_by_name(changes, message):
    with pytest.raises(UserError, match=message):
        GraspConfig(**changes)
