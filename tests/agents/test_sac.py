"""SAC's update: who moves, what the target is, what is refused."""

from __future__ import annotations

import dataclasses
from dataclasses import replace
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from serl.agents.base import Batch, Diverged, check_finite, example_batch
from serl.agents.mean_q import mean_q, piece
from serl.agents.optimizer import OptimizerConfig
from serl.agents.sac import SAC, SACConfig, rlpd
from serl.errors import UserError
from serl.types import ArraySpec, Spec

SPEC = Spec(
    observation=(ArraySpec(name="state", shape=(5,), dtype="float32"),),
    action=ArraySpec(name="action", shape=(2,), dtype="float32", low=-1.0, high=1.0),
)
SMALL = SACConfig(hidden=(16, 16), num_critics=4, batch_size=8, utd_ratio=3, precision="float32")


@cache
def small(**changes: Any) -> SAC:
    return replace(SMALL, **changes).make(SPEC)


@cache
def state_of(agent: SAC):
    return agent.init(jax.random.key(0))


def batches(agent: SAC, seed: int = 0) -> Batch:
    shape = (agent.config.utd_ratio, agent.config.batch_size)
    return example_batch(agent.spec, np.random.default_rng(seed), shape)


def first(agent: SAC, seed: int = 0) -> Batch:
    return jax.tree.map(lambda leaf: jnp.asarray(leaf[0]), batches(agent, seed))


def test_the_target_of_the_agent_is_the_formula_of_its_docstring():
    """With every member a target member there is no draw: y can be worked out from q and log π."""
    agent = small(num_target_critics=4, backup_entropy=True, temperature=0.3)
    state, batch = state_of(agent), first(agent)

    @jax.jit
    def both(state, batch, key):
        next_action, next_logp = agent.sample(state.actor.params, batch.next_obs, key)
        q = agent.q(agent.critics, state.target_critic_params, batch.next_obs, next_action, key)
        return agent.critic_target(state, batch, next_action, next_logp, key), q, next_logp

    y, q, logp = map(np.asarray, both(state, batch, jax.random.key(4)))
    by_hand = [
        batch.reward[i] + 0.99 * (1 - batch.terminated[i]) * (min(q[:, i]) - 0.3 * logp[i])
        for i in range(8)
    ]
    np.testing.assert_allclose(y, by_hand, rtol=1e-4, atol=1e-5)


def test_only_the_target_members_that_were_drawn_matter():
    """M of E members run: making one of the others infinite never reaches the target."""
    agent = small(num_target_critics=1)
    state, batch = state_of(agent), first(agent)
    broken = jax.tree.map(lambda leaf: leaf.at[2].set(jnp.nan), state.target_critic_params)
    action, logp = jnp.zeros((8, 2)), jnp.zeros(8)
    target = jax.jit(lambda s, key: agent.critic_target(s, batch, action, logp, key))
    ys = [target(replace(state, target_critic_params=broken), jax.random.key(k)) for k in range(24)]
    finite = [bool(np.isfinite(y).all()) for y in ys]
    assert any(finite)
    assert not all(finite)


@pytest.mark.parametrize("rows", [24, 2048])
def test_the_actor_climbs_the_mean_of_all_members_however_it_is_cut(rows):
    """Value and slope in pieces are those of all members on all rows at once; the minimum over
    members is for targets only."""
    agent = small()
    params, key = state_of(agent).critic.params, jax.random.key(2)
    batch = example_batch(SPEC, np.random.default_rng(0), (rows,))

    def in_pieces(action):
        return mean_q(agent.q, agent.critics, params, batch.obs, action, key).sum()

    def at_once(action):
        return agent.q(agent.critics, params, batch.obs, action, key).mean(axis=0).sum()

    ours, theirs = (jax.jit(jax.value_and_grad(f))(batch.action) for f in (in_pieces, at_once))
    np.testing.assert_allclose(ours[0], theirs[0], rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(ours[1], theirs[1], rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize(
    ("whole", "part"), [(2048, 512), (300, 300), (1200, 400), (1201, 1201), (1, 1)]
)
def test_pieces_are_equal_and_never_tiny(whole, part):
    assert piece(whole, 512) == part


def test_the_gradient_of_the_mean_reaches_the_action_only():
    agent = small()
    batch = example_batch(SPEC, np.random.default_rng(0), (8,))

    @jax.jit
    @jax.grad
    def slope(params):
        key = jax.random.key(0)
        return mean_q(agent.q, agent.critics, params, batch.obs, batch.action, key).sum()

    assert all(not x.any() for x in jax.tree.leaves(slope(state_of(agent).critic.params)))


def test_the_targets_follow_the_critics_at_rate_tau():
    agent = small(utd_ratio=1, tau=0.25)
    state = state_of(agent)
    after, _ = jax.jit(agent.update_critics)(state, batches(agent))
    for old, new, target in zip(
        *map(
            jax.tree.leaves, (state.critic.params, after.critic.params, after.target_critic_params)
        ),
        strict=True,
    ):
        np.testing.assert_allclose(target, 0.75 * old + 0.25 * new, atol=1e-6)


def test_each_optimiser_holds_moments_of_its_own_network_only():
    """SERL's four Adam states each covered all weights, the frozen trunk included (D-A14)."""
    state = state_of(small())
    for learned in (state.actor, state.critic, state.temperature):
        numbers = sum(leaf.size for leaf in jax.tree.leaves(learned.params))
        moments = sum(leaf.size for leaf in jax.tree.leaves(learned.opt_state))
        assert 2 * numbers <= moments <= 2 * numbers + 2, "two moments and at most two counters"


def test_warm_ups_count_their_own_steps_and_a_fixed_temperature_stays():
    """SERL's warm-up ran on through steps that were not the network's (D-A1)."""
    warm = OptimizerConfig(warmup_steps=100)
    agent = small(actor=warm, critic=warm, learn_temperature=False, temperature=0.2)
    state, metrics = agent.update(agent.init(jax.random.key(0)), batches(agent))

    def counts(learned):
        return {int(x) for x in jax.tree.leaves(learned.opt_state) if x.dtype == jnp.int32}

    assert counts(state.critic) == {3}
    assert counts(state.actor) == {1}
    assert counts(state.temperature) == {0}
    assert float(metrics["temperature"]) == pytest.approx(0.2)
    assert float(agent.alpha(state.temperature.params)) == pytest.approx(0.2)


def test_rows_of_weight_zero_do_not_change_the_update():
    agent = small()
    batch = batches(agent)
    weight = np.ones_like(batch.weight)
    weight[:, ::2] = 0.0
    reward = np.array(batch.reward)
    reward[:, ::2] = 1e3
    results = [
        agent.update(agent.init(jax.random.key(0)), replace(batch, weight=weight, reward=r))[0]
        for r in (batch.reward, reward)
    ]
    for a, b in zip(*(jax.tree.leaves(r.critic.params) for r in results), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


def test_dropout_is_drawn_anew_for_each_use_of_the_critics():
    agent = small(dropout=0.3)
    params, batch = state_of(agent).critic.params, first(agent)
    q = jax.jit(lambda key: agent.q(agent.critics, params, batch.obs, batch.action, key))
    assert not np.array_equal(q(jax.random.key(0)), q(jax.random.key(1)))
    jax.eval_shape(agent.update, state_of(agent), batches(agent))  # and the update composes


def test_one_number_that_is_not_finite_is_noticed_and_named():
    agent = small()
    state = agent.init(jax.random.key(0))
    state, metrics = agent.update(state, batches(agent))
    check_finite(metrics, updates=3)
    batch = batches(agent)
    reward = np.array(batch.reward)
    reward[1, 2] = np.nan
    _, metrics = agent.update(state, replace(batch, reward=reward))
    with pytest.raises(Diverged, match=r"diverged at update 6: .*critic/loss = nan"):
        check_finite(metrics, updates=6)


def test_rlpd_is_sac_with_other_settings():
    config = rlpd(batch_size=64)
    assert isinstance(config, SACConfig)
    assert (config.backup_entropy, config.activation, config.batch_size) == (True, "relu", 64)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"discount": 1.5}, "agent.discount is 1.5; it must be between 0.0 and 1.0"),
        ({"num_target_critics": 11}, "agent.num_target_critics is 11; it must be between 1 and 10"),
        ({"activation": "tahn"}, "no agent.activation named 'tahn'. Did you mean 'tanh'"),
        ({"std_kind": "uniform"}, "no agent.std_kind named 'uniform'"),
        ({"std_min": 6.0}, "agent.std_min is 6.0"),
        ({"hidden": ()}, "agent.hidden is ()"),
        ({"batch_size": 0}, "agent.batch_size is 0"),
    ],
)
def test_a_setting_out_of_range_is_refused_by_name(changes, message):
    with pytest.raises(UserError) as refused:
        SACConfig(**changes)
    assert message in str(refused.value)


@pytest.mark.parametrize(
    ("low", "high"), [(None, 1.0), (-np.inf, 1.0), (1.0, 1.0), ((-1.0, 0.0), (1.0, 0.0))]
)
def test_an_action_without_finite_bounds_is_refused(low, high):
    spec = replace(SPEC, action=replace(SPEC.action, low=low, high=high))
    with pytest.raises(UserError, match="needs one axis and finite low < high"):
        SMALL.make(spec)


def test_equal_configs_are_one_agent_and_different_ones_are_not():
    assert SMALL.make(SPEC) == SMALL.make(SPEC)
    assert hash(SMALL.make(SPEC)) == hash(SMALL.make(SPEC))
    assert replace(SMALL, tau=0.1).make(SPEC) != SMALL.make(SPEC)


def test_a_config_survives_a_trip_through_its_fields():
    assert SACConfig(**{f.name: getattr(SMALL, f.name) for f in dataclasses.fields(SMALL)}) == SMALL
