"""Warm-up, cosine, weight decay and clipping."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from serl.agents.optimizer import Learned, OptimizerConfig
from serl.errors import UserError

PARAMS = {"layer": {"kernel": jnp.full((2, 2), 3.0), "bias": jnp.full((2,), 3.0)}}


def stepped(config: OptimizerConfig, grads, steps: int = 1) -> dict:
    tx = config.make()
    learned = Learned.create(PARAMS, tx)
    for _ in range(steps):
        learned = learned.step(grads, tx)
    return learned.params["layer"]


def test_the_rate_rises_over_the_warm_up_then_stays():
    rate = OptimizerConfig(lr=2e-3, warmup_steps=100).schedule()
    np.testing.assert_allclose(
        [rate(k) for k in (0, 50, 100, 5000)], [0, 1e-3, 2e-3, 2e-3], rtol=1e-6
    )


def test_the_rate_falls_along_a_cosine_after_the_warm_up():
    rate = OptimizerConfig(lr=2e-3, warmup_steps=100, cosine_steps=200).schedule()
    np.testing.assert_allclose(
        [rate(k) for k in (50, 100, 200, 300, 900)], [1e-3, 2e-3, 1e-3, 0, 0], atol=1e-9
    )


def test_the_first_adam_step_is_the_learning_rate():
    ones = jax.tree.map(jnp.ones_like, PARAMS)
    moved = stepped(OptimizerConfig(lr=0.01), ones)
    np.testing.assert_allclose(moved["kernel"], 3.0 - 0.01, rtol=1e-5)


def test_a_warm_up_starts_from_standstill():
    ones = jax.tree.map(jnp.ones_like, PARAMS)
    moved = stepped(OptimizerConfig(lr=0.01, warmup_steps=10), ones)
    np.testing.assert_array_equal(moved["kernel"], 3.0)


def test_weight_decay_shrinks_kernels_only_and_apart_from_adam():
    still = jax.tree.map(jnp.zeros_like, PARAMS)
    moved = stepped(OptimizerConfig(lr=0.1, weight_decay=0.5), still)
    np.testing.assert_allclose(moved["kernel"], 3.0 * (1 - 0.1 * 0.5), rtol=1e-6)
    np.testing.assert_array_equal(moved["bias"], 3.0)


def test_clipping_bounds_the_norm_of_the_whole_gradient():
    """Adam hides the size of a single gradient; one outlier among small ones shows it."""
    small = jax.tree.map(lambda x: 0.01 * jnp.ones_like(x), PARAMS)
    huge = jax.tree.map(lambda x: 1e6 * jnp.ones_like(x), PARAMS)

    def second_moment(config):
        tx = config.make()
        learned = Learned.create(PARAMS, tx).step(small, tx).step(huge, tx)
        return max(float(jnp.max(leaf)) for leaf in jax.tree.leaves(learned.opt_state))

    assert second_moment(OptimizerConfig(clip_norm=1.0)) < 10.0
    assert second_moment(OptimizerConfig()) > 1e5


def test_a_negative_setting_is_refused_by_name():
    with pytest.raises(UserError, match=r"optimizer\.lr is -1"):
        OptimizerConfig(lr=-1.0)
