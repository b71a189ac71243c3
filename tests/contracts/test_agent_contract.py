"""What every registered agent must do; with cameras, see test_image_agent_contract.py."""

from __future__ import annotations

import dataclasses
from functools import cache
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from serl.agents.base import AGENTS, Agent, Batch, example_batch
from serl.checkpoint import Checkpoints
from serl.types import ArraySpec, Spec

jax.config.update("jax_disable_most_optimizations", True)  # these tests mostly compile

SMALL = {
    "hidden": (32, 32),
    "num_critics": 3,
    "num_target_critics": 2,
    "batch_size": 32,
    "utd_ratio": 4,
    "tau": 0.05,
    "temperature": 0.01,
}
"""Settings that make an agent quick, where it has them."""


def says(name: str, flag: str) -> bool:
    """A flag of an agent's config class; false where it has none."""
    return bool(getattr(AGENTS.get(name)(), flag, False))


NAMES = [name for name in AGENTS.names() if not says(name, "needs_images")]
REINFORCED = [name for name in NAMES if not says(name, "imitates")]
"""Those with critics."""
CONTINUOUS = [name for name in REINFORCED if not says(name, "needs_gripper")]


def spec_of(actions: int, low: float = -1.0, high: float = 1.0) -> Spec:
    """Two observation keys, one of them a scalar. Of two action elements or more the last is a
    gripper's, for agents to whom that makes a difference."""
    moves = tuple(f"axis_{k}" for k in range(actions))
    return Spec(
        observation=(
            ArraySpec(name="arm/q", shape=(3,), dtype="float32"),
            ArraySpec(name="gripper", shape=(), dtype="float32"),
        ),
        action=ArraySpec(
            name="action",
            shape=(actions,),
            dtype="float32",
            low=low,
            high=high,
            fields=(*moves[:-1], "gripper") if actions > 1 else moves,
        ),
    )


def config_of(name: str) -> Any:
    """Small networks, large learning rates and little noise, where the agent has such settings."""
    default = AGENTS.get(name)()
    quick = dict(SMALL)
    for part in ("actor", "critic"):
        if hasattr(default, part):
            quick[part] = dataclasses.replace(getattr(default, part), lr=1e-2)
    fields = {f.name for f in dataclasses.fields(default)}
    return dataclasses.replace(default, **{k: v for k, v in quick.items() if k in fields})


@cache
def agent_of(name: str, actions: int = 2) -> Agent:
    return config_of(name).make(spec_of(actions))


def batches_of(name: str, seed: int = 0, actions: int = 2) -> Batch:
    config = config_of(name)
    shape = (config.utd_ratio, config.batch_size)
    seen: Any = agent_of(name, actions)
    return example_batch(seen.seen_spec, np.random.default_rng(seed), shape, config.discount)


def fresh(agent: Agent, seed: int = 0) -> Any:
    return agent.init(jax.random.key(seed))


def plain(tree: Any) -> list[np.ndarray]:
    """Each leaf as numbers, typed keys included: a copy, for `update` reuses its state's memory."""
    words = (
        jax.random.key_data(x) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x
        for x in jax.tree.leaves(tree)
    )
    return [np.array(x) for x in words]


def same(a: Any, b: Any) -> bool:
    return all(np.array_equal(x, y) for x, y in zip(plain(a), plain(b), strict=True))


OBS = {"arm/q": np.zeros(3, np.float32), "gripper": np.zeros((), np.float32)}


@pytest.mark.parametrize("name", CONTINUOUS)
def test_it_solves_a_one_step_problem(name):
    """One observation, reward 1 - |a - a*|², every episode one step long: the best action is a*."""
    best = np.array([0.4, -0.3], np.float32)
    config, agent = config_of(name), agent_of(name)
    rng = np.random.default_rng(0)
    batches = example_batch(agent.spec, rng, (config.utd_ratio, config.batch_size))
    still = {key: np.zeros_like(value) for key, value in batches.obs.items()}
    state = fresh(agent)
    for _ in range(400):
        action = rng.uniform(-1.0, 1.0, batches.action.shape).astype(np.float32)
        reward = 1.0 - np.sum((action - best) ** 2, axis=-1)
        batches = dataclasses.replace(
            batches, obs=still, action=action, reward=reward, terminated=np.ones_like(reward)
        )
        state, metrics = agent.update(state, batches)
    np.testing.assert_allclose(
        agent.act_with(agent.policy_params(state), OBS, None), best, atol=0.1
    )
    assert float(metrics["critic/target_mean"]) == pytest.approx(
        float(metrics["critic/q_mean"]), abs=0.1
    )


@pytest.mark.parametrize("name", NAMES)
def test_save_then_load_gives_the_same_next_update(name, tmp_path: Path):
    """SERL saves the networks only: optimiser, temperature and keys start anew on resume."""
    agent = agent_of(name)
    state, _ = agent.update(fresh(agent), batches_of(name, 1))
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, state, {"updates": 4})
        restored, extra = checkpoints.restore(1, fresh(agent, seed=9))
    assert extra == {"updates": 4}
    ours, _ = agent.update(state, batches_of(name, 2))
    theirs, _ = agent.update(restored, batches_of(name, 2))
    assert same(ours, theirs)


@pytest.mark.parametrize("name", NAMES)
def test_the_update_compiles_once(name):
    agent = config_of(name).make(spec_of(2))
    count = type(agent).update._cache_size  # pyright: ignore[reportAttributeAccessIssue]
    state = fresh(agent)
    agent.compile(state)
    compiled = count()
    for seed in range(3):
        state, _ = agent.update(state, batches_of(name, seed))
    other = config_of(name).make(spec_of(2))
    other.update(fresh(other), batches_of(name))
    assert count() == compiled


@pytest.mark.parametrize("name", NAMES)
def test_compiling_leaves_the_state_as_it_is(name):
    agent = agent_of(name)
    state = fresh(agent)
    before = plain(state)
    agent.compile(state)
    assert all(np.array_equal(a, b) for a, b in zip(before, plain(state), strict=True))


@pytest.mark.parametrize("name", NAMES)
def test_an_update_moves_every_network_and_the_key(name):
    agent = agent_of(name)
    state = fresh(agent)
    before = plain(agent.policy_params(state)), plain(state)
    after, metrics = agent.update(state, batches_of(name))
    moved = [not np.array_equal(a, b) for a, b in zip(before[1], plain(after), strict=True)]
    assert np.mean(moved) > 0.9
    assert not all(map(np.array_equal, before[0], plain(agent.policy_params(after))))
    assert bool(metrics["finite"])


@pytest.mark.parametrize("name", REINFORCED)
def test_a_time_out_bootstraps_and_a_termination_does_not(name):
    """Real-robot SERL stored every time-out as a termination (D-A10). A batch has no `truncated`:
    a timed-out step comes with terminated = 0, and its target holds the next value."""
    agent = agent_of(name)
    batch = batches_of(name)
    zero = np.zeros_like(batch.reward)
    ended = dataclasses.replace(batch, reward=zero, terminated=np.ones_like(zero))
    timed_out = dataclasses.replace(batch, reward=zero, terminated=zero)
    if "critic/target_mean" not in agent.update(fresh(agent), ended)[1]:
        pytest.fail(f"agent {name} does not report critic/target_mean")
    assert float(agent.update(fresh(agent), ended)[1]["critic/target_mean"]) == 0.0
    assert float(agent.update(fresh(agent), timed_out)[1]["critic/target_mean"]) != 0.0


@pytest.mark.parametrize("name", REINFORCED)
def test_a_network_whose_turn_it_is_not_does_not_move(name):
    """SERL's critic-only step moved the actor by two thirds of its learning rate (D-A1): a zero
    gradient is not a skipped step, for Adam moves on by its momentum."""
    agent: Any = agent_of(name)
    state, _ = agent.update(fresh(agent), batches_of(name, 1))  # momentum everywhere
    batches = agent.in_units(batches_of(name, 2))
    after, _ = jax.jit(agent.update_critics)(state, batches)
    assert same((after.actor, after.temperature), (state.actor, state.temperature))
    assert not same(after.critic, state.critic)
    after, _ = jax.jit(agent.update_actor)(state, batches)
    assert same(
        (after.critic, after.target_critic_params), (state.critic, state.target_critic_params)
    )
    assert not same(after.actor, state.actor)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("actions", [1, 4, 7])
def test_actions_of_any_size_keep_to_the_env_bounds(name, actions):
    if actions == 1 and says(name, "needs_gripper"):
        pytest.skip("one element is a gripper or a move, and this agent needs both")
    low, high = -2.0, 0.5
    agent = config_of(name).make(spec_of(actions, low, high))
    params = agent.policy_params(fresh(agent))
    wild = jax.tree.map(lambda leaf: 30.0 * leaf, params)
    for seed in range(10):
        key = jax.random.key(seed)
        action = np.asarray(agent.act(wild, OBS, key, False))
        assert action.shape == (actions,)
        assert (action >= low).all()
        assert (action <= high).all()


@pytest.mark.parametrize("name", NAMES)
def test_the_deterministic_action_is_the_mode_and_needs_no_key(name):
    """HIL-SERL's agents could not act deterministically (D-A8); their evaluations sampled."""
    agent = agent_of(name)
    params = agent.policy_params(fresh(agent))
    mode = agent.act_with(params, OBS, None)
    for seed in (0, 1):
        np.testing.assert_array_equal(agent.act(params, OBS, jax.random.key(seed), True), mode)
    np.testing.assert_allclose(
        agent.act_with(params, OBS, np.zeros(2, np.float32)), mode, atol=1e-6
    )
    sampled = {
        tuple(np.asarray(agent.act(params, OBS, jax.random.key(s), False))) for s in range(5)
    }
    assert len(sampled) == 5


@pytest.mark.parametrize("name", NAMES)
def test_only_what_acts_is_published(name):
    """HIL-SERL sent 32 MB per publish, 61 % of it a trunk that never changes (D-A14)."""
    agent = agent_of(name)
    state = fresh(agent)
    published = agent.policy_params(state)
    assert isinstance(published, dict)
    size = sum(leaf.size for leaf in jax.tree.leaves(published))
    if name in CONTINUOUS:
        hidden, inputs, out = 32, 4, 2 * 2
        layers = (inputs + 1 + 2) * hidden + (hidden + 1 + 2) * hidden
        assert size == layers + (hidden + 1) * out
    whole = sum(leaf.size for leaf in jax.tree.leaves(state) if leaf.dtype == np.float32)
    assert 0 < size <= whole / 3, "no optimiser's moments, no critic"
    assert same(
        agent.act_with(published, OBS, None),
        agent.act_with(jax.tree.map(np.asarray, published), OBS, None),
    )
