"""Flow matching: the noise decides between two ways, chunks end where they should."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from agents.pixel_worlds import SMALL as PIXELS
from agents.pixel_worlds import SPEC as PIXEL_SPEC

from serl.agents.base import Batch, example_batch
from serl.agents.flow_bc import FlowBC, FlowBCConfig, ImageFlowBC, chunk_noise
from serl.agents.optimizer import OptimizerConfig
from serl.data.mixing import CHUNK_ACTION, CHUNK_VALID
from serl.errors import SpecMismatch, UserError
from serl.types import ArraySpec, Spec

KEY = jax.random.key(0)
SPEC = Spec(
    observation=(ArraySpec(name="state", shape=(2,), dtype="float32"),),
    action=ArraySpec(name="action", shape=(2,), dtype="float32", low=-2.0, high=2.0),
)
SMALL = FlowBCConfig(
    hidden=(32, 32),
    batch_size=128,
    utd_ratio=4,
    chunk=3,
    optimizer=OptimizerConfig(lr=3e-3),
    image=PIXELS.image,
)


@cache
def small(**changes: Any) -> FlowBC:
    return replace(SMALL, **changes).make(SPEC)


def batches_of(agent: FlowBC, seed: int = 0) -> Batch:
    config = agent.config
    shape = (config.utd_ratio, config.batch_size)
    return example_batch(agent.seen_spec, np.random.default_rng(seed), shape)


def with_chunks(batches: Batch, action: np.ndarray, valid: np.ndarray) -> Batch:
    extra = {CHUNK_ACTION: action.astype(np.float32), CHUNK_VALID: valid}
    return replace(batches, action=action[..., 0, :].astype(np.float32), extra=extra)


def two_ways(agent: FlowBC, rng: np.random.Generator) -> Batch:
    """Experts who go left or right, x = ±1.2, and on the same side throughout; y follows the state.
    Half of the chunks are cut off after the first action, and hold nonsense from there on."""
    batches = batches_of(agent)
    lead = batches.reward.shape
    state = rng.uniform(-1.0, 1.0, (*lead, 2)).astype(np.float32)
    side = rng.choice([-1.2, 1.2], lead)
    one = np.stack([side, state[..., 0]], axis=-1)
    action = np.repeat(one[..., None, :], agent.chunk, axis=-2)
    valid = np.ones((*lead, agent.chunk), bool)
    cut = rng.random(lead) < 0.5
    valid[cut, 1:] = False
    action[cut, 1:] = 0.0
    return with_chunks(replace(batches, obs={"state": state}), action, valid)


def test_the_noise_decides_between_two_ways_and_nothing_goes_between():
    """A Gaussian's mean would be 0, where no expert went."""
    agent = small()
    rng, state = np.random.default_rng(0), agent.init(KEY)
    for _ in range(300):
        state, metrics = agent.update(state, two_ways(agent, rng))
    params = agent.policy_params(state)
    noise = np.random.default_rng(1).standard_normal((200, 2)).astype(np.float32)
    seen = np.random.default_rng(2).uniform(-0.8, 0.8, (200, 2)).astype(np.float32)
    plans = np.asarray(
        jax.jit(jax.vmap(lambda s, z: agent.act_chunk(params, {"state": s}, z)))(seen, noise)
    )
    x, y = plans[:, 0, 0], plans[:, 0, 1]
    assert np.mean(np.abs(np.abs(x) - 1.2) < 0.4) > 0.9
    assert 0.35 < np.mean(x > 0) < 0.65
    assert np.corrcoef(y, seen[:, 0])[0, 1] > 0.95
    assert np.mean(np.sign(plans[:, 2, 0]) == np.sign(x)) > 0.9  # one side throughout
    assert np.isfinite(float(metrics["bc/loss"]))


def test_what_lies_beyond_the_end_of_a_chunk_teaches_nothing():
    agent = small()
    batch = two_ways(agent, np.random.default_rng(0))
    action, valid = np.array(batch.extra[CHUNK_ACTION]), batch.extra[CHUNK_VALID]
    params = agent.init(KEY).policy.params["policy"]
    first = jax.tree.map(lambda leaf: leaf[0], batch)

    def error(params: Any, batch: Batch) -> jax.Array:
        """Without the field's own look at those places, which the noise fills."""
        return agent.loss(params, batch.obs, batch, KEY)[0]

    with_first_layer_blind = jax.tree.map(lambda x: x, params)
    kernel = params["mlp"]["Dense_0"]["kernel"]
    with_first_layer_blind["mlp"]["Dense_0"]["kernel"] = kernel.at[2:8].set(0.0)
    action[~valid] = 1.9
    changed = with_chunks(batch, action, valid)
    ours, theirs = (
        jax.grad(error)(with_first_layer_blind, b)
        for b in (first, jax.tree.map(lambda leaf: leaf[0], changed))
    )
    output = "Dense_0"
    np.testing.assert_allclose(ours[output]["bias"], theirs[output]["bias"], atol=1e-6)
    np.testing.assert_allclose(ours[output]["kernel"], theirs[output]["kernel"], atol=1e-6)


def test_the_target_velocity_is_the_action_less_the_noise_whatever_the_time(monkeypatch):
    """With a field that says 0 the loss is E‖a - z‖²: of a = 0.5 in ±1, 0.25 + 1 per element."""
    agent = small()
    batch = jax.tree.map(lambda leaf: leaf[0], batches_of(agent))
    lead = (128, agent.chunk)
    batch = with_chunks(batch, np.full((*lead, 2), 1.0), np.ones(lead, bool))
    monkeypatch.setattr(FlowBC, "apply", lambda self, params, seen, x, t, key: jnp.zeros_like(x))
    losses = [float(agent.loss({}, {}, batch, jax.random.key(k))[0]) for k in range(20)]
    assert np.mean(losses) == pytest.approx(1.25, abs=0.03)


def test_a_field_that_points_straight_at_the_action_gets_there_in_any_number_of_steps(monkeypatch):
    goal = jnp.array([[0.5, -0.25]] * 3)
    z = np.array([0.3, -1.1], np.float32)
    for steps in (1, 10):
        agent = small(euler_steps=steps)
        start = chunk_noise(jnp.asarray(z), 3)
        monkeypatch.setattr(
            FlowBC, "apply", lambda self, params, seen, x, t, start=start: goal - start
        )
        np.testing.assert_allclose(agent.plan({}, {}, z), 2.0 * goal, atol=1e-5)


def test_noise_of_a_chunk_is_the_given_row_and_others_that_follow_from_it():
    z = np.random.default_rng(0).standard_normal((4000, 2)).astype(np.float32)
    drawn = np.asarray(jax.jit(jax.vmap(lambda z: chunk_noise(z, 3)))(z))
    np.testing.assert_array_equal(drawn[:, 0], z)
    correlation = np.corrcoef(drawn.reshape(4000, 6).T)
    np.testing.assert_allclose(correlation, np.eye(6), atol=0.08)
    np.testing.assert_allclose(drawn.std(axis=0), 1.0, atol=0.05)
    assert not np.any(chunk_noise(jnp.zeros(2), 3))
    assert chunk_noise(jnp.asarray(z[0]), 1).shape == (1, 2)


def test_the_first_action_of_the_chunk_is_the_one_that_acts():
    agent = small()
    params = agent.policy_params(agent.init(KEY))
    obs = {"state": np.array([0.3, -0.2], np.float32)}
    z = np.array([0.4, 1.5], np.float32)
    for noise in (None, z):
        plan = agent.act_chunk(params, obs, noise)
        assert plan.shape == (3, 2)
        assert (np.abs(plan) <= 2.0).all()
        np.testing.assert_array_equal(plan[0], agent.act_with(params, obs, noise))


def test_a_batch_without_chunks_or_with_others_is_refused():
    agent = small()
    batches = batches_of(agent)
    state = jax.eval_shape(agent.init, KEY)
    with pytest.raises(
        SpecMismatch, match=r"chunks of 3 actions, and the batch's extras \[\] lack"
    ):
        jax.eval_shape(agent.update, state, replace(batches, extra={}))
    longer = with_chunks(batches, np.zeros((4, 128, 5, 2)), np.ones((4, 128, 5), bool))
    with pytest.raises(SpecMismatch, match="chunks of 3 actions, and the batch's have 5"):
        jax.eval_shape(agent.update, state, longer)
    with pytest.raises(UserError, match=r"agent\.chunk is 0; it must be between 1 and 256"):
        FlowBCConfig(chunk=0)


def test_chunks_of_one_action_need_no_more_than_any_batch():
    agent = small(chunk=1)
    assert agent.seen_spec == SPEC
    jax.eval_shape(agent.update, jax.eval_shape(agent.init, KEY), batches_of(agent))


def test_with_cameras_it_sees_chunks_and_features():
    agent = replace(SMALL, batch_size=6, utd_ratio=2).make(PIXEL_SPEC)
    assert isinstance(agent, ImageFlowBC)
    names = {a.name for a in agent.seen_spec.extras}
    assert names == {CHUNK_ACTION, CHUNK_VALID}
    state = jax.eval_shape(agent.init, KEY)
    assert set(state.policy.params) == {"policy", "heads"}
    assert agent.seen_spec.observation[1].dtype == "bfloat16"
