"""Policy and critics work on actions scaled to ±1, whatever the bounds of the env."""

import dataclasses

import jax
import numpy as np
import pytest

from serl.agents.base import example_batch
from serl.agents.sac import SACConfig
from serl.types import ArraySpec, Spec

CONFIG = SACConfig(
    hidden=(16,), num_critics=2, num_target_critics=2, batch_size=8, utd_ratio=2, layer_norm=False
)


def spec_of(low, high, size=2):
    return Spec(
        observation=(ArraySpec(name="state", shape=(3,), dtype="float32"),),
        action=ArraySpec(name="action", shape=(size,), dtype="float32", low=low, high=high),
    )


def test_the_bounds_of_the_action_change_nothing_that_is_learned():
    """LeRobot's critic saw stored actions in env units, the policy's in tanh units (P-6)."""
    unit, wide = CONFIG.make(spec_of(-1.0, 1.0)), CONFIG.make(spec_of(0.0, 10.0))
    batch = example_batch(unit.spec, np.random.default_rng(0), (2, 8))
    stretched = dataclasses.replace(batch, action=5.0 + 5.0 * np.asarray(batch.action))
    key = jax.random.key(0)
    ours, _ = unit.update(unit.init(key), batch)
    theirs, _ = wide.update(wide.init(key), stretched)
    for a, b in zip(jax.tree.leaves(ours.critic), jax.tree.leaves(theirs.critic), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
    for a, b in zip(jax.tree.leaves(ours.actor), jax.tree.leaves(theirs.actor), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("size", [1, 4, 7])
def test_the_target_entropy_is_half_a_nat_per_element_of_the_action(size):
    """SERL's target counted the gripper's discrete element among them (D-A7)."""
    assert CONFIG.make(spec_of(-1.0, 1.0, size)).target_entropy == -size / 2
    chosen = dataclasses.replace(CONFIG, target_entropy=-1.5)
    assert chosen.make(spec_of(-1.0, 1.0, size)).target_entropy == -1.5
