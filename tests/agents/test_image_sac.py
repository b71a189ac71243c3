"""SAC from camera frames: who learns from what, what is published, what is refused."""

from __future__ import annotations

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from agents.pixel_worlds import (
    CAMERAS,
    SMALL,
    SPEC,
    batches_of,
    first,
    image_agent,
    plain,
    same,
    spec_of,
)

from serl.agents.base import example_batch
from serl.agents.image_sac import ImageSAC
from serl.agents.sac import SACConfig
from serl.errors import SpecMismatch, UserError
from serl.networks.trunk import TRUNKS
from serl.pixels import FEATURE, TRUNK_NUMBER, shifted
from serl.types import ArraySpec

KEY = jax.random.key(0)


def norm(tree) -> float:
    return float(sum(np.abs(x).sum() for x in plain(tree)))


def test_one_set_of_heads_serves_all_members_and_learns_from_each():
    """SERL's members shared heads and output layer alike (D-A4); here only the heads."""
    agent = image_agent()
    state, batch = agent.init(KEY), first(batches_of(agent))
    assert set(state.critic.params["heads"]) == set(CAMERAS)
    assert all(x.shape[0] == 3 for x in jax.tree.leaves(state.critic.params["members"]))

    def q(params):
        seen = agent.see(params, batch.obs)
        return agent.q(agent.critics, agent.members(params), seen, batch.action, KEY)  # (E, B)

    slopes = jax.jit(jax.jacrev(lambda params: q(params).mean(axis=1)))(state.critic.params)
    for leaf in jax.tree.leaves(slopes["heads"]):  # (E, ...)
        assert all(np.abs(leaf[member]).sum() > 0 for member in range(3))
    for leaf in jax.tree.leaves(slopes["members"]):  # (E of the output, E of the leaf, ...)
        for i in range(3):
            assert all(not leaf[i, j].any() for j in range(3) if j != i)


def test_every_member_has_an_output_layer_of_its_own():
    agent = image_agent()
    state, batch = agent.init(KEY), first(batches_of(agent))
    members = state.critic.params["members"]["params"]["critic"]
    output = members["Dense_0"]["kernel"]
    assert output.shape == (3, 16, 1)

    @jax.jit
    def q(params):
        seen = agent.see(params, batch.obs)
        return agent.q(agent.critics, agent.members(params), seen, batch.action, KEY)

    changed = jax.tree.map(lambda x: x, state.critic.params)
    changed["members"]["params"]["critic"]["Dense_0"]["kernel"] = output.at[1].add(1.0)
    moved = np.asarray(q(changed) != q(state.critic.params)).any(axis=1)
    np.testing.assert_array_equal(moved, [False, True, False])


@pytest.mark.parametrize("frozen", [True, False])
def test_the_policys_loss_teaches_the_images_nothing(frozen):
    """Codes reach the policy through a stop-gradient; its state code is its own."""
    agent = image_agent(image=(("frozen", frozen),))
    state, batches = agent.init(KEY), batches_of(agent)

    def loss(critic_params, actor_params):
        held = replace(state, critic=replace(state.critic, params=critic_params))
        batch = first(batches)
        seen = agent.see(critic_params, batch.obs)
        seen = jax.tree.map(jax.lax.stop_gradient, seen)
        return agent.actor_loss(actor_params, held, replace(batch, obs=seen), KEY)[0]

    of_critic, of_actor = jax.jit(jax.grad(loss, (0, 1)))(state.critic.params, state.actor.params)
    assert norm(of_critic) == 0.0
    assert norm(of_actor["params"]["encoder"]["state"]) > 0.0
    after, _ = jax.jit(agent.update_actor)(state, batches)
    assert same(after.critic, state.critic)
    assert same(after.target_critic_params, state.target_critic_params)
    assert not same(after.actor, state.actor)


def test_the_heads_run_once_for_all_members(monkeypatch):
    """Three times per critic update and once for the actor, whatever the number of critics."""
    seen = []
    see = ImageSAC.see
    monkeypatch.setattr(
        ImageSAC, "see", lambda self, *args: seen.append(len(args)) or see(self, *args)
    )
    counts = []
    for critics in (2, 7):
        seen.clear()
        agent = image_agent(num_critics=critics)
        state = jax.eval_shape(agent.init, KEY)
        seen.clear()
        jax.eval_shape(
            lambda s, b, agent=agent: ImageSAC.update(agent, s, b), state, batches_of(agent)
        )
        counts.append(len(seen))
    assert counts[0] == counts[1] == 4


def test_the_actor_sees_the_last_minibatches_as_many_as_it_is_told():
    base = batches_of(image_agent())

    def actor_after(minibatches: int, changed: int) -> list[np.ndarray]:
        agent = image_agent(image=(("actor_minibatches", minibatches),))
        state = agent.init(KEY)
        obs = {k: np.array(v) for k, v in base.obs.items()}
        obs["state"][changed] += 1.0
        after, _ = jax.jit(agent.update_actor)(state, replace(base, obs=obs))
        return plain(after.actor.params)

    def alike(a, b) -> bool:
        return all(map(np.array_equal, a, b))

    agent = image_agent(image=(("actor_minibatches", 1),))
    plainly = plain(jax.jit(agent.update_actor)(agent.init(KEY), base)[0].actor.params)
    assert alike(actor_after(1, 0), plainly)
    assert not alike(actor_after(1, 1), plainly)
    assert not alike(actor_after(0, 0), actor_after(0, 1))


def test_features_rounded_to_bfloat16_give_the_loss_of_the_same_numbers_in_float32():
    agent = image_agent()
    state, batch = agent.init(KEY), first(batches_of(agent))
    wide = replace(batch, obs={k: jnp.asarray(v, jnp.float32) for k, v in batch.obs.items()})
    y = jnp.ones(6)
    loss = jax.jit(lambda b: agent.critic_loss(state.critic.params, b, y, KEY)[0])
    np.testing.assert_allclose(loss(batch), loss(wide), rtol=1e-5)


def test_an_action_comes_alike_from_features_and_from_their_bits():
    agent = image_agent()
    params = agent.policy_params(agent.init(KEY))
    obs = {k: np.asarray(v[0, 0]) for k, v in batches_of(agent).obs.items()}
    bits = {k: v.view(np.uint16) if k in CAMERAS else v for k, v in obs.items()}
    mode = agent.act_with(params, obs, None)
    assert mode.shape == (2,)
    np.testing.assert_array_equal(agent.act_with(params, bits, None), mode)
    np.testing.assert_array_equal(agent.act(params, obs, KEY, True), mode)
    other = {**obs, "front": np.zeros_like(obs["front"])}
    assert not np.array_equal(agent.act_with(params, other, None), mode)


def test_records_have_room_for_the_features_of_a_frozen_trunk_only():
    frozen, trained = image_agent(), image_agent(image=(("frozen", False),))
    names = [a.name for a in frozen.record_spec.extras]
    assert names == [*(FEATURE + c for c in CAMERAS), TRUNK_NUMBER]
    assert frozen.record_spec.observation == SPEC.observation
    assert (frozen.encodes, trained.encodes) == (True, False)
    assert trained.record_spec == trained.seen_spec == SPEC
    kept_none = image_agent(image=(("crops", 0),))
    assert kept_none.encodes
    assert kept_none.record_spec == SPEC, "nobody would keep what travels"
    seen = {a.name: (a.shape, a.dtype) for a in frozen.seen_spec.observation}
    assert seen["front"] == ((2, 2, 128), "bfloat16")


def test_the_trunk_is_in_the_state_and_published_only_if_it_is_trained():
    """HIL-SERL sent the frozen trunk with every publish and kept it in target and optimisers
    (D-A14)."""
    frozen, trained = image_agent(), image_agent(image=(("frozen", False),))
    held, more = (jax.eval_shape(agent.init, KEY) for agent in (frozen, trained))
    assert set(frozen.policy_params(held)) == {"policy", "heads"}
    assert set(held.critic.params) == {"heads", "members"}
    assert set(trained.policy_params(more)) == {"policy", "heads", "trunk"}
    whole = sum(x.size for x in jax.tree.leaves(held.critic.params))
    moments = sum(x.size for x in jax.tree.leaves(held.critic.opt_state))
    assert 2 * whole <= moments <= 2 * whole + 2


@pytest.mark.parametrize("critics", [2, 10])
def test_a_resnets_checkpoint_and_publish_keep_to_their_sizes(critics):
    """At most 75 MB and 11 MB with two cameras; HIL-SERL's are 320 MB and 32 MB."""
    agent = SACConfig(
        num_critics=critics,
        image=replace(SMALL.image, trunk="resnet10", embeddings=8, bottleneck=256, state_code=64),
    ).make(
        replace(
            spec_of(128),
            observation=(
                ArraySpec(name="state", shape=(19,), dtype="float32"),
                *spec_of(128).observation[1:],
            ),
        )
    )
    state = jax.eval_shape(agent.init, KEY)

    def size(tree) -> float:
        return (
            sum(
                x.size * x.dtype.itemsize
                for x in jax.tree.leaves(tree)
                if not jnp.issubdtype(x.dtype, jax.dtypes.prng_key)
            )
            / 1e6
        )

    head = sum(x.size for x in jax.tree.leaves(state.critic.params["heads"]["front"]))
    assert head == 1_114_880, "SERL's, serl.md 2.2"
    assert size(state) <= 75.0
    assert size(agent.policy_params(state)) <= 11.0


@pytest.mark.parametrize("trunk", TRUNKS.names())
@pytest.mark.parametrize("frozen", [True, False])
def test_every_trunk_can_be_had_frozen_and_trained(trunk, frozen):
    """SERL's "small" and trainable "resnet" encoders crashed at construction (D-A5)."""
    agent = image_agent(spec_of(32), image=(("trunk", trunk), ("frozen", frozen)))
    state, metrics = jax.eval_shape(
        agent.update, jax.eval_shape(agent.init, KEY), batches_of(agent)
    )
    assert metrics["critic/loss"].shape == ()
    assert ("trunk" in state.critic.params) != frozen


def test_a_trained_trunk_learns_from_the_critics():
    agent = image_agent(spec_of(32), image=(("frozen", False),))
    state = agent.init(KEY)
    before = plain(state.critic.params["trunk"]), plain(state.target_critic_params["trunk"])
    after, _ = agent.update(state, batches_of(agent))
    for old, new in zip(before, (after.critic.params, after.target_critic_params), strict=True):
        moved = [not np.array_equal(a, b) for a, b in zip(old, plain(new["trunk"]), strict=True)]
        assert all(moved)


def test_each_camera_of_a_sample_is_shifted_on_its_own_and_stacks_as_one():
    """SERL shifted all cameras of a sample alike, and each frame of a stack apart (D-A13)."""
    agent = image_agent(image=(("frozen", False), ("stack", 3)))
    frame = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    obs = {c: jnp.broadcast_to(frame, (40, 3, 64, 64, 3)) for c in CAMERAS}
    out = agent.shift({**obs, "state": jnp.zeros((40, 3, 5))}, KEY)
    every = [(r, c) for r in range(9) for c in range(9)]
    crops = shifted(np.repeat(frame[None], 81, 0), np.array(every), 4)

    def offset(frame) -> tuple[int, int]:
        (found,) = np.flatnonzero((crops == np.asarray(frame)).all(axis=(1, 2, 3)))
        return every[found]

    offsets = {c: [[offset(f) for f in stack] for stack in out[c]] for c in CAMERAS}
    for stacks in offsets.values():
        assert all(len(set(stack)) == 1 for stack in stacks)
    assert np.mean([a != b for a, b in zip(*offsets.values(), strict=True)]) > 0.8
    assert len({stack[0] for stack in offsets["front"]}) > 20


@pytest.mark.parametrize("frozen", [True, False])
def test_a_stack_of_frames_is_seen_in_order(frozen):
    """SERL folded T frames into the trunk's input channels, which three-channel weights refuse
    (D-A13)."""
    agent = image_agent(spec_of(32), image=(("frozen", frozen), ("stack", 3)))
    state = agent.init(KEY)
    batches = batches_of(agent)
    params = jax.tree.map(jnp.copy, agent.policy_params(state))
    obs = {k: np.asarray(v[0, 0]) for k, v in batches.obs.items()}
    backwards = {**obs, "front": obs["front"][::-1]}
    assert not np.array_equal(
        agent.act_with(params, obs, None), agent.act_with(params, backwards, None)
    )
    _, metrics = agent.update(state, batches)
    assert bool(metrics["finite"])


@pytest.mark.parametrize("pooling", ["spatial_embeddings", "spatial_softmax", "average", "max"])
def test_every_pooling_learns_and_dropout_is_drawn_in_training_only(pooling):
    agent = image_agent(image=(("pooling", pooling), ("dropout", 0.5)))
    state, batch = agent.init(KEY), first(batches_of(agent))
    params = state.critic.params
    codes = [agent.see(params, batch.obs, key)["front"] for key in (None, None, KEY)]
    np.testing.assert_array_equal(codes[0], codes[1])
    assert not np.array_equal(codes[0], codes[2])
    _, metrics = agent.update(state, batches_of(agent))
    assert bool(metrics["finite"])


def test_what_a_camera_shows_is_checked_against_what_the_agent_sees():
    agent, trained = image_agent(), image_agent(image=(("frozen", False),))
    params = agent.policy_params(agent.init(KEY))
    frames = {a.name: np.zeros(a.shape, a.dtype) for a in SPEC.observation}
    with pytest.raises(SpecMismatch, match=r"'front' shows uint8 \(64, 64, 3\).*'small'"):
        agent.act_with(params, frames, None)
    features = {k: np.asarray(v[0, 0]) for k, v in batches_of(agent).obs.items()}
    with pytest.raises(SpecMismatch, match=r"sees frames, uint8 \(64, 64, 3\)"):
        trained.act_with(trained.policy_params(trained.init(KEY)), features, None)


def test_cameras_of_different_sizes_are_refused():
    spec = replace(SPEC, observation=(*spec_of(64).observation[:2], spec_of(32).observation[2]))
    with pytest.raises(UserError, match=r"front \(64, 64, 3\), wrist \(32, 32, 3\)"):
        SMALL.make(spec)


def test_without_images_nothing_changes():
    spec = replace(SPEC, observation=SPEC.observation[:1])
    agent = SMALL.make(spec)
    assert not isinstance(agent, ImageSAC)
    assert agent.record_spec == agent.seen_spec == spec
    batch = example_batch(agent.seen_spec, np.random.default_rng(0), (2,))
    assert batch.obs["state"].shape == (2, 5)
