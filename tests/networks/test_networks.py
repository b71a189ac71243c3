"""Policy, critics, temperature and encoder."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from serl.errors import UserError
from serl.networks.critic import Critic, Ensemble
from serl.networks.encoder import state_encoder
from serl.networks.mlp import MLP
from serl.networks.policy import STD_KINDS, Policy
from serl.networks.temperature import Temperature
from serl.types import ArraySpec, Spec

ACTION = ArraySpec(name="action", shape=(2,), dtype="float32", low=-1.0, high=1.0)
SPEC = Spec(
    observation=(
        ArraySpec(name="pose", shape=(3,), dtype="float32"),
        ArraySpec(name="gripper", shape=(), dtype="float32"),
        ArraySpec(name="contact", shape=(2,), dtype="bool"),
    ),
    action=ACTION,
)
OBS = {
    "contact": jnp.array([[True, False]]),
    "gripper": jnp.array([4.0]),
    "pose": jnp.array([[1.0, 2.0, 3.0]]),
}


def policy(**changes) -> Policy:
    return Policy(encoder=state_encoder(SPEC), mlp=MLP((16, 16)), action_dim=2, **changes)


def critic(**changes) -> Critic:
    return Critic(encoder=state_encoder(SPEC), mlp=MLP((16, 16), **changes))


def test_observations_are_concatenated_in_spec_order():
    code = state_encoder(SPEC).apply({}, OBS)
    np.testing.assert_array_equal(code, [[1.0, 2.0, 3.0, 4.0, 1.0, 0.0]])


def test_an_image_without_an_encoder_is_refused_by_name():
    image = ArraySpec(name="wrist_1", shape=(8, 8, 3), dtype="uint8")
    with pytest.raises(UserError, match=r"'wrist_1' has shape \(8, 8, 3\)"):
        state_encoder(Spec(observation=(image,), action=ACTION))


@pytest.mark.parametrize("kind", STD_KINDS)
@pytest.mark.parametrize("scale", [1.0, 1e3])
def test_the_std_stays_within_its_bounds(kind, scale):
    module = policy(std_kind=kind, std_min=0.05, std_max=0.8, std_fixed=0.3)
    params = jax.tree.map(lambda x: scale * x, jax.jit(module.init)(jax.random.key(0), OBS))
    many = jax.tree.map(lambda x: jnp.repeat(x, 50, axis=0), OBS)
    many["pose"] = jax.random.normal(jax.random.key(1), (50, 3))
    std = jax.jit(module.apply)(params, many).std
    assert std.shape == (50, 2)
    assert float(std.min()) >= np.float32(0.05)
    assert float(std.max()) <= np.float32(0.8)
    if kind == "fixed":
        np.testing.assert_allclose(std, 0.3)
    elif kind == "independent":
        assert float(jnp.ptp(std, axis=0).max()) == 0.0
    elif scale == 1.0:
        assert float(jnp.ptp(std, axis=0).min()) > 0.0


def test_members_of_an_ensemble_share_nothing():
    """SERL's and HIL-SERL's pixel critics shared encoder and output layer (D-A4): one member moved,
    all moved, and the minimum over members was nearly one critic."""
    module = Ensemble(critic(), 4)
    params = jax.jit(module.init)(jax.random.key(0), OBS, jnp.zeros((1, 2)))
    apply = jax.jit(lambda params: module.apply(params, OBS, jnp.ones((1, 2))))
    q = apply(params)
    assert q.shape == (4, 1)
    assert len(np.unique(q)) == 4, "members start apart"
    leaves = jax.tree.leaves(params)
    assert all(leaf.shape[0] == 4 for leaf in leaves)
    for i, leaf in enumerate(leaves):
        noise = jax.random.normal(jax.random.key(i), leaf.shape[1:])
        changed = [*leaves[:i], leaf.at[2].add(noise), *leaves[i + 1 :]]
        moved = apply(jax.tree.unflatten(jax.tree.structure(params), changed))
        np.testing.assert_array_equal(np.asarray(moved != q).ravel(), [False, False, True, False])


def test_a_slice_of_the_parameters_is_a_smaller_ensemble():
    whole, part = Ensemble(critic(), 5), Ensemble(critic(), 2)
    params = jax.jit(whole.init)(jax.random.key(0), OBS, jnp.zeros((1, 2)))
    subset = np.array([3, 1])
    q = jax.jit(part.apply)(jax.tree.map(lambda leaf: leaf[subset], params), OBS, jnp.ones((1, 2)))
    np.testing.assert_allclose(
        q, jax.jit(whole.apply)(params, OBS, jnp.ones((1, 2)))[subset], atol=1e-6
    )


def test_members_draw_their_own_dropout_and_only_in_training():
    module = Ensemble(critic(dropout=0.5), 2)
    params = jax.jit(module.init)(jax.random.key(0), OBS, jnp.zeros((1, 2)))
    same = jax.tree.map(lambda leaf: leaf.at[1].set(leaf[0]), params)

    @partial(jax.jit, static_argnums=0)
    def q(train):
        rngs = {"dropout": jax.random.key(3)}
        return module.apply(same, OBS, jnp.ones((1, 2)), train, rngs=rngs).ravel()

    assert float(q(False)[0]) == pytest.approx(float(q(False)[1]))
    assert abs(float(q(True)[0] - q(True)[1])) > 1e-3


@pytest.mark.parametrize("initial", [1e-6, 0.01, 1.0, 20.0])
def test_the_temperature_starts_where_asked_and_stays_positive(initial):
    module = Temperature(initial)
    params = module.init(jax.random.key(0))
    assert float(module.apply(params)) == pytest.approx(initial, rel=1e-3)
    low = jax.tree.map(lambda x: x - 30.0, params)
    assert float(module.apply(low)) > 0.0
