"""SAC's formulas against numbers worked out by hand."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from serl.agents.base import Batch
from serl.agents.sac_losses import (
    actor_loss,
    critic_loss,
    random_members,
    soft_target,
    temperature_loss,
    weighted_mean,
)


def batch(reward, terminated, discount) -> Batch:
    rows = len(reward)
    return Batch(
        obs={}, next_obs={}, action=jnp.zeros((rows, 1)), weight=jnp.ones(rows),
        reward=jnp.array(reward), terminated=jnp.array(terminated), discount=jnp.array(discount),
    )  # fmt: skip


NEXT_Q = jnp.array([[2.0, 2.0, 5.0], [3.0, 3.0, 4.0]])
NEXT_LOGP = jnp.array([-1.0, -1.0, 2.0])


def test_the_target_is_the_minimum_discounted_by_gamma_to_the_n():
    b = batch([1.0, 1.0, 0.5], [0.0, 1.0, 0.0], [0.9, 0.9, 0.729])
    y = soft_target(b, NEXT_Q, NEXT_LOGP, jnp.array(0.5), backup_entropy=False)
    np.testing.assert_allclose(y, [1.0 + 0.9 * 2.0, 1.0, 0.5 + 0.729 * 4.0], rtol=1e-6)


def test_the_entropy_of_the_next_state_is_discounted_and_masked_like_its_value():
    """SERL subtracted α log π outside γ and mask (D-A3, serl#51)."""
    b = batch([1.0, 1.0, 0.5], [0.0, 1.0, 0.0], [0.9, 0.9, 0.729])
    y = soft_target(b, NEXT_Q, NEXT_LOGP, jnp.array(0.5), backup_entropy=True)
    by_hand = [1.0 + 0.9 * (2.0 + 0.5), 1.0, 0.5 + 0.729 * (4.0 - 0.5 * 2.0)]
    np.testing.assert_allclose(y, by_hand, rtol=1e-6)


def test_no_gradient_flows_through_the_target():
    b = batch([1.0], [0.0], [0.9])

    def y(next_q):
        return soft_target(b, next_q, NEXT_LOGP[:1], jnp.array(0.5), True).sum()

    np.testing.assert_array_equal(jax.grad(y)(NEXT_Q[:, :1]), 0.0)


@pytest.mark.parametrize("size", [4, 10])
def test_target_members_are_drawn_without_replacement_and_equally_often(size):
    """SERL drew with: one time in ten both of its two members were the same (D-A2)."""
    keys = jax.random.split(jax.random.key(0), 4000)
    draw = jax.jit(jax.vmap(lambda key: random_members(key, {"w": jnp.arange(size)}, size, 2)))
    drawn = np.sort(np.asarray(draw(keys)["w"]), axis=1)
    assert (drawn[:, 0] < drawn[:, 1]).all()
    pairs, counts = np.unique(drawn, axis=0, return_counts=True)
    assert len(pairs) == size * (size - 1) // 2
    expected = 4000 / len(pairs)
    assert np.abs(counts - expected).max() < 5.0 * np.sqrt(expected)


def test_all_members_are_the_target_when_as_many_are_asked_for():
    members = {"w": jnp.arange(3)}
    np.testing.assert_array_equal(random_members(jax.random.key(0), members, 3, 3)["w"], [0, 1, 2])


def test_the_critic_loss_is_the_mean_square_over_members_and_rows():
    q, y = jnp.array([[1.0, 2.0], [3.0, 0.0]]), jnp.array([1.0, 1.0])
    assert float(critic_loss(q, y, jnp.ones(2))) == pytest.approx((0 + 1 + 4 + 1) / 4)


def test_a_row_of_weight_zero_is_left_out_of_every_loss():
    q = jnp.array([[1.0, 70.0], [3.0, 80.0]])
    y, logp, weight = jnp.array([1.0, 0.0]), jnp.array([-1.0, 9.0]), jnp.array([1.0, 0.0])
    alpha = jnp.array(0.5)
    assert float(critic_loss(q, y, weight)) == pytest.approx(
        float(critic_loss(q[:, :1], y[:1], jnp.ones(1)))
    )
    with_row, without = (
        actor_loss(q[0], logp, alpha, weight),
        actor_loss(q[0, :1], logp[:1], alpha, jnp.ones(1)),
    )
    np.testing.assert_allclose(with_row, without)
    assert float(weighted_mean(y, jnp.zeros(2))) == 0.0


def test_the_actor_weighs_value_against_entropy():
    loss, entropy = actor_loss(jnp.array([2.0]), jnp.array([-2.0]), jnp.array(0.1), jnp.ones(1))
    assert float(loss) == pytest.approx(0.1 * -2.0 - 2.0)
    assert float(entropy) == pytest.approx(2.0)


@pytest.mark.parametrize(("entropy", "sign"), [(0.0, 1.0), (-5.0, -1.0)])
def test_alpha_falls_while_the_policy_is_more_random_than_asked(entropy, sign):
    slope = jax.grad(temperature_loss)(jnp.array(0.3), jnp.array(entropy), -2.0)
    assert np.sign(float(slope)) == sign
