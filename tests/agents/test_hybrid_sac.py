"""HIL-SERL's agent: SAC moves the arms, a grasp critic the grippers; neither disturbs the other."""

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
from agents.pixel_worlds import first, same

from serl.agents.base import Batch, example_batch
from serl.agents.grasp import GraspConfig
from serl.agents.hybrid_sac import HybridSAC, HybridSACConfig, ImageHybridSAC
from serl.agents.optimizer import Learned, OptimizerConfig
from serl.agents.sac import SACConfig
from serl.data.mixing import GRASP_PENALTY
from serl.errors import SpecMismatch, UserError
from serl.types import ArraySpec, Spec

KEY = jax.random.key(0)
PENALTY = ArraySpec(name=GRASP_PENALTY, shape=(), dtype="float32")
SINGLE = ("x", "y", "gripper")
DUAL = ("left/x", "left/gripper", "right/x", "right/gripper")
FAST = OptimizerConfig(lr=1e-2)
SETTINGS: dict[str, Any] = {
    "hidden": (16, 16),
    "num_critics": 3,
    "batch_size": 6,
    "utd_ratio": 3,
    "precision": "float32",
    "image": PIXELS.image,
}


def spec_of(
    fields: tuple[str, ...] = SINGLE, *, pixels: bool = False, penalty: bool = True
) -> Spec:
    return Spec(
        observation=PIXEL_SPEC.observation if pixels else PIXEL_SPEC.observation[:1],
        action=ArraySpec(
            name="action", shape=(len(fields),), dtype="float32", low=-1.0, high=1.0, fields=fields
        ),
        extras=(PENALTY,) if penalty else (),
    )


@cache
def agent_of(spec: Spec | None = None, grasp: tuple[tuple[str, Any], ...] = (), **changes) -> Any:
    config = GraspConfig(**{"hidden": (16, 16), **dict(grasp)})
    return HybridSACConfig(**{**SETTINGS, **changes}, grasp=config).make(spec or spec_of())


def batches_of(agent: HybridSAC, seed: int = 0) -> Batch:
    config = agent.config
    shape = (config.utd_ratio, config.batch_size)
    return example_batch(agent.seen_spec, np.random.default_rng(seed), shape)


def with_penalty(batches: Batch, value: Any) -> Batch:
    penalty = np.broadcast_to(np.asarray(value, np.float32), batches.reward.shape)
    return replace(batches, extra={GRASP_PENALTY: penalty})


# What it shares with SAC.


def test_the_arms_learn_exactly_as_sac_without_the_grippers_does():
    """One composition of the SAC losses: same keys, same networks, same numbers."""
    agent = agent_of(spec_of(DUAL))
    sac = SACConfig(**SETTINGS).make(spec_of(("left/x", "right/x")))
    batches = batches_of(agent)
    ours, _ = agent.update(agent.init(KEY), batches)
    theirs, _ = sac.update(sac.init(KEY), replace(batches, action=batches.action[..., [0, 2]]))
    pairs = (
        (ours.actor, theirs.actor),
        (ours.temperature, theirs.temperature),
        (ours.critic.params["members"], theirs.critic.params),
        (ours.target_critic_params["members"], theirs.target_critic_params),
    )
    for a, b in pairs:
        for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
            np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(
    ("fields", "entropy"), [(SINGLE, -1.0), (DUAL, -1.0), (("x", *DUAL), -1.5)]
)
def test_the_target_entropy_counts_the_continuous_elements_alone(fields, entropy):
    """SERL's and HIL-SERL's counted the gripper's too (D-A7)."""
    assert agent_of(spec_of(fields)).target_entropy == entropy


@pytest.mark.parametrize("pixels", [False, True], ids=["state", "pixels"])
def test_the_penalty_reaches_the_grasp_critic_and_nothing_else(pixels):
    """Continuous critics, their targets, policy and temperature stay bit for bit."""
    agent = (
        agent_of(spec_of(pixels=True), grasp=(("teaches_heads", False),)) if pixels else agent_of()
    )
    batches = batches_of(agent)
    (free, calm), (paid, dear) = (
        agent.update(agent.init(KEY), with_penalty(batches, p)) for p in (0.0, -0.5)
    )
    assert same((free.actor, free.temperature), (paid.actor, paid.temperature))
    for part in free.critic.params:
        assert same(free.critic.params[part], paid.critic.params[part]) == (part != "grasp"), part
    assert float(calm["critic/target_mean"]) == float(dear["critic/target_mean"])
    assert float(dear["grasp/penalty_mean"]) == -0.5
    assert float(dear["grasp/target_mean"]) < float(calm["grasp/target_mean"]) - 0.4


# The grasp critic.


def test_the_penalty_is_in_every_update_of_the_grasp_critic():
    """LeRobot's grasp critic was not paid it in all of its updates (P-3)."""
    agent = agent_of()
    batches = with_penalty(batches_of(agent), 0.0)
    free, _ = agent.update(agent.init(KEY), batches)
    for minibatch in range(3):
        penalty = np.zeros(batches.reward.shape, np.float32)
        penalty[minibatch] = -1.0
        paid, _ = agent.update(agent.init(KEY), with_penalty(batches, penalty))
        assert not same(free.critic.params["grasp"], paid.critic.params["grasp"]), minibatch


def test_a_batch_that_lacks_the_penalty_is_refused_where_the_spec_has_it():
    agent = agent_of()
    state, batch = jax.eval_shape(agent.init, KEY), replace(batches_of(agent), extra={})
    with pytest.raises(SpecMismatch, match=r"extras .* lack 'grasp_penalty', which the spec has"):
        jax.eval_shape(agent.update, state, batch)
    without = agent_of(spec_of(penalty=False))
    assert not without.penalty(first(batches_of(without))).any()


def learned(agent: HybridSAC, world: Any, updates: int) -> tuple[Any, dict[str, Any]]:
    """State and metrics after some updates on transitions that `world` answers."""
    rng, state, metrics = np.random.default_rng(0), agent.init(KEY), {}
    batches = batches_of(agent)
    for _ in range(updates):
        action = rng.uniform(-1.0, 1.0, batches.action.shape).astype(np.float32)
        state, metrics = agent.update(state, world(rng, batches, action))
    return state, metrics


def observed(cell: np.ndarray) -> dict[str, np.ndarray]:
    """State vectors that show one of two cells, (..., 5)."""
    return {"state": np.stack([cell, 1 - cell, *[np.zeros_like(cell)] * 3], -1).astype(np.float32)}


def quick() -> Any:
    """One agent for both worlds."""
    rates = {"actor": FAST, "critic": FAST, "alpha": FAST}
    return agent_of(grasp=(("optimizer", FAST),), batch_size=64, tau=0.2, **rates)


def test_a_bandit_learns_arm_and_gripper_and_weighs_the_penalty():
    """In cell 0 opening earns 1, closing 0. In cell 1 closing earns 0.3 and costs 0.5: staying is
    better for the grasp critic, though the reward alone says to close. The arm has its own best."""
    best = np.array([0.4, -0.3])

    def world(rng, batches, action):
        cell = rng.integers(0, 2, action.shape[:-1])
        way = np.asarray(agent.grippers.class_of(action))
        earned = np.where(cell == 0, way == 2, 0.3 * (way == 0)).astype(np.float32)
        moved = -np.sum((action[..., :2] - best) ** 2, axis=-1)
        cost = np.where((cell == 1) & (way == 0), -0.5, 0.0)
        batch = replace(
            batches, obs=observed(cell), action=action, reward=earned + moved.astype(np.float32)
        )
        return with_penalty(replace(batch, terminated=np.ones_like(earned)), cost)

    agent = quick()
    state, _ = learned(agent, world, 300)
    params = agent.policy_params(state)
    for cell, way in ((0, 1.0), (1, 0.0)):
        obs = {k: v[0] for k, v in observed(np.array([cell])).items()}
        action = agent.act_with(params, obs, None)
        np.testing.assert_allclose(action[:2], best, atol=0.15)
        values = agent.grasp_q(state.critic.params, obs).mean(axis=0)
        assert action[2] == way, values


def test_values_travel_back_through_time_one_step_at_a_time():
    """Cell 0: closing leads to cell 1. Cell 1: opening earns 1 and ends. All else stays, unpaid.
    So Q*(1, open) = 1, Q*(0, close) = γ, and staying in a cell is worth γ of its best."""
    gamma = 0.8

    def world(rng, batches, action):
        cell = rng.integers(0, 2, action.shape[:-1])
        way = np.asarray(agent.grippers.class_of(action))
        won = (cell == 1) & (way == 2)
        after = np.where((cell == 0) & (way == 0), 1, cell)
        batch = replace(
            batches,
            obs=observed(cell),
            next_obs=observed(after),
            action=action,
            reward=won.astype(np.float32),
            terminated=won.astype(np.float32),
            discount=np.full(cell.shape, gamma, np.float32),
        )
        return with_penalty(batch, 0.0)

    agent = quick()
    state, _ = learned(agent, world, 250)
    both = observed(np.array([0, 1]))
    q = np.asarray(agent.grasp_q(state.critic.params, both)).mean(axis=0)
    expected = [[gamma, gamma**2, gamma**2], [gamma, gamma, 1.0]]
    np.testing.assert_allclose(q, expected, atol=0.08)


def test_every_hidden_layer_is_normalised_and_activated_the_last_one_too():
    """HIL-SERL's last hidden layer was linear (D-A9)."""
    agent = agent_of()
    params = agent.init(KEY).critic.params["grasp"]["critic"]
    norms = {k: v["scale"].shape for k, v in params["mlp"].items() if k.startswith("NormAct")}
    assert norms == {"NormAct_0": (2, 16), "NormAct_1": (2, 16)}
    member = jax.tree.map(lambda leaf: leaf[0], params)
    obs = jax.tree.map(lambda x: 50.0 * x, first(batches_of(agent)).obs)
    hidden = agent.grasp.critic.mlp.apply({"params": member["mlp"]}, obs["state"])
    assert (jnp.abs(hidden) < 1.0).all()  # what the output layer sees: after tanh
    q = hidden @ member["Dense_0"]["kernel"] + member["Dense_0"]["bias"]
    np.testing.assert_allclose(agent.grasp_q({"grasp": {"critic": params}}, obs)[0], q, atol=1e-5)


def test_the_ensemble_has_the_size_asked_for_and_members_that_share_nothing():
    for members in (1, 3):
        agent = agent_of(spec_of(DUAL), grasp=(("num_critics", members),))
        params = jax.eval_shape(agent.init, KEY).critic.params
        q = jax.eval_shape(agent.grasp_q, params, first(batches_of(agent)).obs)
        assert q.shape == (members, 6, 9)
        assert all(leaf.shape[0] == members for leaf in jax.tree.leaves(params["grasp"]))
    output = agent_of().init(KEY).critic.params["grasp"]["critic"]["Dense_0"]["kernel"]
    assert output.shape == (2, 16, 3)
    assert not np.array_equal(output[0], output[1])


def test_rows_of_weight_zero_do_not_teach_the_gripper():
    agent = agent_of()
    batches = batches_of(agent)
    weight = np.ones_like(batches.weight)
    weight[:, ::2] = 0.0
    wild = np.zeros_like(batches.reward)
    wild[:, ::2] = -1e3
    states = [
        agent.update(agent.init(KEY), replace(with_penalty(batches, p), weight=weight))[0]
        for p in (0.0, wild)
    ]
    for a, b in zip(*(jax.tree.leaves(s.critic.params["grasp"]) for s in states), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


# Acting.


def test_noise_moves_the_arm_and_now_and_then_the_gripper():
    agent = agent_of(grasp=(("epsilon", 0.5),))
    params = agent.policy_params(agent.init(KEY))
    obs = {k: v[0, 0] for k, v in batches_of(agent).obs.items()}
    mode = np.asarray(agent.act_with(params, obs, None))
    calm = np.asarray(agent.act_with(params, obs, np.array([1.0, -1.0, 0.1], np.float32)))
    assert (calm[:2] != mode[:2]).all()
    assert calm[2] == mode[2]
    rng = np.random.default_rng(0)
    grips = [
        float(agent.act_with(params, obs, rng.standard_normal(3).astype(np.float32))[2])
        for _ in range(60)
    ]
    assert set(grips) == {-1.0, 0.0, 1.0}
    share = np.mean(np.array(grips) != mode[2])
    assert 0.15 < share < 0.55  # a half is drawn anew, a third of it as before


def test_the_grippers_elements_are_always_classes():
    agent = agent_of(spec_of(DUAL))
    params = agent.policy_params(agent.init(KEY))
    obs = {k: v[0, 0] for k, v in batches_of(agent).obs.items()}
    for seed in range(5):
        action = np.asarray(agent.act(params, obs, jax.random.key(seed), False))
        assert set(action[[1, 3]]) <= {-1.0, 0.0, 1.0}
        assert (np.abs(action) <= 1.0).all()


# With cameras.


def test_the_online_heads_and_critics_choose_and_their_targets_judge():
    """What a' and g* are chosen from are codes of the heads that learn, not of their targets."""
    agent: ImageHybridSAC = agent_of(spec_of(pixels=True))
    assert isinstance(agent, ImageHybridSAC)
    state, batch = agent.init(KEY), first(agent.in_units(batches_of(agent)))
    heads = jax.tree.map(jnp.zeros_like, state.target_critic_params["heads"])
    state = replace(state, target_critic_params={**state.target_critic_params, "heads": heads})
    calls = []

    def watch(self, state, batch, next_seen, *rest):
        calls.append((batch.next_obs["front"], next_seen["front"]))
        return targets(self, state, batch, next_seen, *rest)

    @jax.jit
    def watched(state, batch):
        agent.update_critic(state, (batch, KEY))
        return calls[0], agent.see(state.critic.params, batch.next_obs)["front"]

    targets = HybridSAC.targets
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(HybridSAC, "targets", watch)
        (judged, chosen), online = watched(state, batch)
    np.testing.assert_allclose(chosen, online, rtol=1e-5)
    assert not np.allclose(judged, online)


@pytest.mark.parametrize("teaches", [True, False])
def test_the_heads_learn_from_the_grasp_critic_only_if_told_to(teaches):
    agent = agent_of(spec_of(pixels=True), grasp=(("teaches_heads", teaches),))
    state, batch = agent.init(KEY), first(agent.in_units(batches_of(agent)))

    def loss(params: Any, y_grasp: jax.Array) -> jax.Array:
        y = (jnp.zeros(6), y_grasp)
        return agent.critic_loss(params, batch, y, KEY)[0]

    slope = jax.jit(jax.grad(loss))
    calm, wild = (slope(state.critic.params, jnp.full(6, y)) for y in (0.0, 50.0))
    assert same(calm["members"], wild["members"])
    assert not same(calm["grasp"], wild["grasp"])
    assert same(calm["heads"], wild["heads"]) == (not teaches)


def test_only_what_acts_is_published_with_cameras():
    agent = agent_of(spec_of(DUAL, pixels=True))
    state = jax.eval_shape(agent.init, KEY)
    assert set(agent.policy_params(state)) == {"policy", "heads", "grasp"}
    assert set(state.critic.params) == {"members", "heads", "grasp"}


# Settings.


def test_the_grasp_critic_has_an_optimiser_of_its_own():
    """Its rate and its clipping leave the continuous critics alone."""
    agent = agent_of(
        grasp=(("optimizer", OptimizerConfig(lr=0.5)),), critic=OptimizerConfig(lr=0.25)
    )
    params = {"members": jnp.zeros(3), "grasp": jnp.zeros(2)}
    learned = Learned.create(params, agent.critic_tx)
    stepped = learned.step(jax.tree.map(jnp.ones_like, params), agent.critic_tx).params
    np.testing.assert_allclose(stepped["members"], -0.25, rtol=1e-4)
    np.testing.assert_allclose(stepped["grasp"], -0.5, rtol=1e-4)


def test_an_action_without_a_gripper_is_refused_in_one_line():
    with pytest.raises(UserError, match="agent hybrid_sac moves an arm and chooses") as refused:
        HybridSACConfig().make(spec_of(("x", "y")))
    assert "\n" not in str(refused.value)
