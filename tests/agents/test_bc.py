"""Behaviour cloning: what the likelihood is, and that it finds the expert."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from agents.pixel_worlds import CAMERAS, same
from agents.pixel_worlds import SMALL as PIXELS
from agents.pixel_worlds import SPEC as PIXEL_SPEC

from serl.agents.base import Batch, example_batch
from serl.agents.bc import BC, BCConfig, ImageBC
from serl.agents.optimizer import OptimizerConfig
from serl.errors import UserError
from serl.networks.tanh_gaussian import TanhGaussian
from serl.types import ArraySpec, Spec

KEY = jax.random.key(0)
SPEC = Spec(
    observation=(ArraySpec(name="state", shape=(3,), dtype="float32"),),
    action=ArraySpec(
        name="action",
        shape=(3,),
        dtype="float32",
        low=(-1.0, -4.0, -1.0),
        high=(1.0, 0.0, 1.0),
        fields=("x", "y", "gripper"),
    ),
)
QUICK = BCConfig(
    hidden=(32, 32),
    batch_size=128,
    utd_ratio=4,
    optimizer=OptimizerConfig(lr=3e-3),
    image=PIXELS.image,
)


def expert(state: np.ndarray) -> np.ndarray:
    """Two linear elements within the bounds, and a gripper that is shut where the third is low."""
    moves = np.stack([0.4 * state[..., 0] - 0.3 * state[..., 1], -2.0 + state[..., 1]], axis=-1)
    grip = np.where(state[..., 2:] > 0.0, 1.0, -1.0)
    return np.concatenate([moves, grip], axis=-1).astype(np.float32)


def demonstrations(agent: BC, rng: np.random.Generator) -> Batch:
    config = agent.config
    batches = example_batch(agent.seen_spec, rng, (config.utd_ratio, config.batch_size))
    state = rng.uniform(-1.0, 1.0, batches.obs["state"].shape).astype(np.float32)
    return replace(batches, obs={**batches.obs, "state": state}, action=expert(state))


def fitted(agent: BC, calls: int) -> tuple[Any, dict[str, Any]]:
    rng, state, metrics = np.random.default_rng(0), agent.init(KEY), {}
    for _ in range(calls):
        state, metrics = agent.update(state, demonstrations(agent, rng))
    return agent.policy_params(state), metrics


@pytest.mark.parametrize("squash", [False, True])
def test_it_recovers_a_linear_expert_and_a_gripper_that_is_always_at_a_bound(squash):
    agent = replace(QUICK, squash=squash).make(SPEC)
    params, metrics = fitted(agent, 250)
    states = np.random.default_rng(1).uniform(-0.9, 0.9, (40, 3)).astype(np.float32)
    states[:, 2] = np.where(states[:, 2] > 0, 0.6, -0.6)
    act = jax.jit(jax.vmap(lambda s: agent.act_with(params, {"state": s}, None)))
    action, right = np.asarray(act(states)), expert(states)
    np.testing.assert_allclose(action[:, 0], right[:, 0], atol=0.12)
    np.testing.assert_allclose(action[:, 1], right[:, 1], atol=0.3)
    assert (np.sign(action[:, 2]) == right[:, 2]).all()
    assert np.abs(action[:, 2]).mean() > 0.8
    assert float(metrics["bc/mse"]) < 0.1
    assert bool(metrics["finite"])


def test_the_likelihood_is_the_gaussians_and_under_a_tanh_that_of_the_squashed_one():
    gaussian = TanhGaussian(jnp.array([[0.2, -0.7, 0.9]]), jnp.array([[0.5, 1.5, 0.1]]))
    action = jnp.array([[0.1, 0.3, -0.2]])
    plain, squashed = (replace(QUICK, squash=s).make(SPEC) for s in (False, True))
    mean, std, a = (np.asarray(x, np.float64) for x in (gaussian.mean, gaussian.std, action))
    by_hand = np.sum(-0.5 * ((a - mean) / std) ** 2 - np.log(std * np.sqrt(2 * np.pi)))
    assert float(plain.log_prob(gaussian, action)[0]) == pytest.approx(by_hand, rel=1e-4)
    u = np.arctanh(a)
    by_hand = np.sum(
        -0.5 * ((u - mean) / std) ** 2 - np.log(std * np.sqrt(2 * np.pi)) - np.log(1 - a**2)
    )
    assert float(squashed.log_prob(gaussian, action)[0]) == pytest.approx(by_hand, rel=1e-4)


def test_a_squashed_action_at_a_bound_has_a_finite_likelihood_and_slope():
    """tanh reaches ±1 at infinity: actions are clipped to ±(1 - 1e-6)."""
    agent = replace(QUICK, squash=True).make(SPEC)

    def likelihood(mean):
        return agent.log_prob(TanhGaussian(mean, jnp.full(3, 0.3)), jnp.array([1.0, -1.0, 1.0]))

    value, slope = jax.value_and_grad(likelihood)(jnp.zeros(3))
    np.testing.assert_allclose(slope, np.arctanh(1 - 1e-6) / 0.09 * np.array([1, -1, 1]), rtol=2e-2)
    assert np.isfinite(value)


def test_only_observation_action_and_weight_are_looked_at():
    """Rewards, ends and what came next do not matter, nor rows of weight 0."""
    agent = QUICK.make(SPEC)
    batches = demonstrations(agent, np.random.default_rng(0))
    weight = np.ones_like(batches.weight)
    weight[:, ::2] = 0.0
    weighed = replace(batches, weight=weight)
    action = np.array(batches.action)
    action[:, ::2] = 0.5
    changed = replace(
        weighed,
        action=action,
        reward=batches.reward + 5.0,
        terminated=1.0 - batches.terminated,
        next_obs=jax.tree.map(lambda x: x + 1.0, batches.next_obs),
    )
    ours, theirs = (agent.update(agent.init(KEY), b)[0] for b in (weighed, changed))
    for a, b in zip(*map(jax.tree.leaves, (ours.policy, theirs.policy)), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


def test_with_cameras_the_heads_learn_from_the_same_likelihood():
    agent = replace(QUICK, hidden=(16,), batch_size=6, utd_ratio=2).make(PIXEL_SPEC)
    assert isinstance(agent, ImageBC)
    state = agent.init(KEY)
    batches = example_batch(agent.seen_spec, np.random.default_rng(0), (2, 6))
    before = jax.tree.map(np.array, agent.policy_params(state))
    after, _ = agent.update(state, batches)
    assert set(before) == {"policy", "heads"}
    assert not same(before["heads"], after.policy.params["heads"])
    obs = {k: v[0, 0] for k, v in batches.obs.items()}
    mode = agent.act_with(before, obs, None)
    blind = {**obs, **{c: np.zeros_like(obs[c]) for c in CAMERAS}}
    assert not np.array_equal(mode, agent.act_with(before, blind, None))


def test_a_trunk_that_is_trained_learns_too():
    image = replace(PIXELS.image, frozen=False)
    agent = replace(QUICK, hidden=(16,), batch_size=4, utd_ratio=1, image=image).make(PIXEL_SPEC)
    params = jax.eval_shape(agent.init, KEY).policy.params
    assert set(params) == {"policy", "heads", "trunk"}
    assert not agent.encodes


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"std_min": 3.0}, "agent.std_min is 3.0; it must be between 1e-08 and 2.0"),
        ({"std_kind": "none"}, "no agent.std_kind named 'none'"),
        ({"hidden": ()}, r"agent.hidden is \(\)"),
        ({"dropout": 1.0}, "agent.dropout is 1.0"),
        ({"activation": "rely"}, "no agent.activation named 'rely'. Did you mean 'relu'"),
    ],
)
def test_a_setting_out_of_range_is_refused_by_name(changes, message):
    with pytest.raises(UserError, match=message):
        BCConfig(**changes)
