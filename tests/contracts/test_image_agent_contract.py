"""What every registered agent that sees must do with cameras; test_agent_contract.py's is without.

The frozen trunk stands before the agent, so the update is given features.
"""

from __future__ import annotations

from dataclasses import fields, replace
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from serl.agents.base import AGENTS, Batch, check_finite, example_batch
from serl.agents.image_config import ImageConfig
from serl.checkpoint import Checkpoints
from serl.types import ArraySpec, Spec

jax.config.update("jax_disable_most_optimizations", True)  # these tests mostly compile

SMALL = {"hidden": (16, 16), "num_critics": 3, "batch_size": 6, "utd_ratio": 2}
IMAGE = ImageConfig(trunk="small", weights="random", embeddings=2, bottleneck=8, state_code=4)
CAMERAS = ("front", "wrist/rgb")
SPEC = Spec(
    observation=(
        ArraySpec(name="state", shape=(5,), dtype="float32"),
        *(ArraySpec(name=c, shape=(32, 32, 3), dtype="uint8") for c in CAMERAS),
    ),
    action=ArraySpec(
        name="action", shape=(2,), dtype="float32", low=-2.0, high=0.5, fields=("x", "gripper")
    ),
)
NAMES = [n for n in AGENTS.names() if "image" in {f.name for f in fields(AGENTS.get(n)())}]
REINFORCED = [n for n in NAMES if not getattr(AGENTS.get(n)(), "imitates", False)]
"""Those with critics."""


@cache
def agent_of(name: str) -> Any:
    default = AGENTS.get(name)()
    known = {f.name for f in fields(default)}
    return replace(default, image=IMAGE, **{k: v for k, v in SMALL.items() if k in known}).make(
        SPEC
    )


def fresh(agent: Any, seed: int = 0) -> Any:
    return agent.init(jax.random.key(seed))


def batches_of(agent: Any, seed: int = 0) -> Batch:
    config = agent.config
    return example_batch(
        agent.seen_spec, np.random.default_rng(seed), (config.utd_ratio, config.batch_size)
    )


def plain(tree: Any) -> list[np.ndarray]:
    words = (
        jax.random.key_data(x) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x
        for x in jax.tree.leaves(tree)
    )
    return [np.array(x) for x in words]


def same(a: Any, b: Any) -> bool:
    return all(np.array_equal(x, y) for x, y in zip(plain(a), plain(b), strict=True))


@pytest.mark.parametrize("name", NAMES)
def test_an_update_returns_the_updated_agent(name):
    """Every network and the key move. SERL's VICE could not be made, and its update returned the
    agent from before (D-A6)."""
    agent = agent_of(name)
    state = fresh(agent)
    before = plain(state)
    after, metrics = agent.update(state, batches_of(agent))
    moved = [not np.array_equal(a, b) for a, b in zip(before, plain(after), strict=True)]
    assert np.mean(moved) > 0.9
    check_finite(metrics, updates=2)


@pytest.mark.parametrize("name", REINFORCED)
def test_a_network_whose_turn_it_is_not_does_not_move(name):
    agent = agent_of(name)
    state, _ = agent.update(fresh(agent), batches_of(agent, 1))  # momentum everywhere
    rest = {"key", "step", "critic", "target_critic_params", "actor", "temperature"}
    others = {f.name for f in fields(state)} - rest
    batches = agent.in_units(batches_of(agent, 2))
    after, _ = jax.jit(agent.update_critics)(state, batches)
    for still in {"actor", "temperature"} | others:
        assert same(getattr(after, still), getattr(state, still)), still
    assert not same(after.critic, state.critic)
    after, _ = jax.jit(agent.update_actor)(state, batches)
    for still in {"critic", "target_critic_params"} | others:
        assert same(getattr(after, still), getattr(state, still)), still
    assert not same(after.actor, state.actor)


@pytest.mark.parametrize("name", NAMES)
def test_only_what_acts_is_published_and_acts_within_the_bounds(name):
    agent = agent_of(name)
    state = fresh(agent)
    params = jax.tree.map(np.asarray, agent.policy_params(state))
    acts = {"policy", "heads", "grasp"} if hasattr(agent, "grasp") else {"policy", "heads"}
    assert set(params) == acts
    size = sum(x.size for x in jax.tree.leaves(params))
    if name in REINFORCED:
        critic = {part: state.critic.params[part] for part in acts - {"policy"}}
        assert size == sum(x.size for x in jax.tree.leaves((state.actor.params, critic)))
    whole = sum(x.size for x in jax.tree.leaves(state) if x.dtype == np.float32)
    assert 0 < size <= whole / 3, "no optimiser's moments, no critic"
    obs = {k: np.asarray(v[0, 0]) for k, v in batches_of(agent).obs.items()}
    mode = agent.act_with(params, obs, None)
    np.testing.assert_array_equal(agent.act(params, obs, jax.random.key(0), True), mode)
    wild = jax.tree.map(lambda leaf: 30.0 * leaf, params)
    action = np.asarray(agent.act(wild, obs, jax.random.key(1), False))
    assert action.shape == (2,)
    assert (action >= -2.0).all()
    assert (action <= 0.5).all()


@pytest.mark.parametrize("name", NAMES)
def test_a_saved_state_goes_on_as_if_never_stopped_and_compiles_once(name, tmp_path):
    agent = agent_of(name)
    state = fresh(agent)
    agent.compile(state)
    count = type(agent).update._cache_size
    compiled = count()
    state, _ = agent.update(state, batches_of(agent, 1))
    assert count() == compiled
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, state, {})
        restored, _ = checkpoints.restore(1, fresh(agent, seed=9))
    ours, _ = agent.update(state, batches_of(agent, 2))
    theirs, _ = agent.update(restored, batches_of(agent, 2))
    assert same(ours, theirs)


@pytest.mark.parametrize("name", NAMES)
def test_records_have_room_for_features_and_updates_see_them(name):
    agent = agent_of(name)
    assert agent.encodes
    assert agent.spec == SPEC
    extras = {a.name: (a.shape, a.dtype) for a in agent.record_spec.extras}
    seen = {a.name: (a.shape, a.dtype) for a in agent.seen_spec.observation}
    for camera in CAMERAS:
        assert extras[f"feature.{camera}"] == ((1, 1, 128), "uint16")
        assert seen[camera] == ((1, 1, 128), "bfloat16")
    assert extras["feature.trunk"] == ((), "uint64")
