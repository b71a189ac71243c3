"""From feature maps to codes: pooling, stacks, precision, and the codes' encoder."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from serl.agents.image_config import POOLINGS
from serl.networks.image_head import (
    PRODUCTS,
    CodeEncoder,
    ImageHead,
    ImageHeads,
    SpatialEmbeddings,
    SpatialSoftmax,
)

KEY = jax.random.key(0)
MAPS = jax.random.normal(KEY, (5, 2, 3, 6))


def test_spatial_embeddings_are_the_formula_of_their_docstring():
    module = SpatialEmbeddings(4)
    params = module.init(KEY, MAPS)
    kernel = np.asarray(params["params"]["kernel"])
    assert kernel.shape == (2, 3, 6, 4)
    by_hand = [
        [sum(float(f[h, w, c]) * kernel[h, w, c, k] for h in range(2) for w in range(3))
         for c in range(6) for k in range(4)]
        for f in np.asarray(MAPS)
    ]  # fmt: skip
    np.testing.assert_allclose(module.apply(params, MAPS), by_hand, rtol=1e-4, atol=1e-6)


def test_the_spatial_softmax_says_where_a_channel_is_strong():
    maps = np.full((1, 3, 5, 2), -20.0, np.float32)
    maps[0, 0, 4, 0] = maps[0, 2, 2, 1] = 20.0
    module = SpatialSoftmax()
    out = np.asarray(module.apply(module.init(KEY, maps), maps)).reshape(2, 2)
    np.testing.assert_allclose(out, [[-1.0, 1.0], [1.0, 0.0]], atol=1e-5)


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("lead", [(), (4,), (2, 3)])
def test_every_pooling_gives_one_code_whatever_the_leading_axes(pooling, lead):
    head = ImageHead(pooling=pooling, embeddings=2, bottleneck=7)
    maps = jax.random.normal(KEY, (*lead, 2, 3, 6))
    params = head.init(KEY, maps)
    code = head.apply(params, maps)
    assert code.shape == (*lead, 7)
    assert float(jnp.abs(code).max()) < 1.0
    flat = head.apply(params, maps.reshape(-1, 2, 3, 6))
    np.testing.assert_allclose(code.reshape(-1, 7), flat, atol=1e-6)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_each_frame_of_a_stack_is_pooled_alike_and_then_joined(pooling):
    head = ImageHead(pooling=pooling, embeddings=2, bottleneck=7, stack=3)
    stacked = jax.random.normal(KEY, (4, 3, 2, 3, 6))
    params = head.init(KEY, stacked)
    single = ImageHead(pooling=pooling, embeddings=2, bottleneck=7).init(KEY, MAPS)["params"]
    pooled = {"params": {k: v for k, v in params["params"].items() if k.startswith("Spatial")}}
    assert jax.tree.map(jnp.shape, pooled["params"]) == {
        k: jax.tree.map(jnp.shape, v) for k, v in single.items() if k.startswith("Spatial")
    }
    width = params["params"]["Dense_0"]["kernel"].shape[0]
    assert width == 3 * single["Dense_0"]["kernel"].shape[0]
    backwards = head.apply(params, stacked[:, ::-1])
    assert not np.allclose(head.apply(params, stacked), backwards)


def test_cameras_have_heads_of_their_own_and_any_name():
    heads = ImageHeads(("front", "left/wrist"), ImageHead(bottleneck=7))
    maps = {"front": MAPS, "left/wrist": MAPS}
    params = heads.init(KEY, maps)
    assert set(params["params"]) == {"front", "left_wrist"}
    codes = heads.apply(params, maps)
    assert set(codes) == set(maps)
    assert not np.allclose(codes["front"], codes["left/wrist"])


@pytest.mark.parametrize("precision", PRODUCTS)
def test_a_product_and_its_gradients_are_those_of_a_matrix_product(precision):
    x, kernel = jax.random.normal(KEY, (9, 12)), jax.random.normal(jax.random.key(1), (12, 5))
    dy = jax.random.normal(jax.random.key(2), (9, 5))
    ours, pull = jax.vjp(PRODUCTS[precision], x, kernel)
    theirs, pull_plain = jax.vjp(jnp.matmul, x, kernel)
    tolerance = 1e-5 if precision == "float32" else 0.05
    np.testing.assert_allclose(ours, theirs, rtol=tolerance, atol=tolerance)
    for a, b in zip(pull(dy), pull_plain(dy), strict=True):
        assert a.dtype == jnp.float32
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


def test_codes_and_the_code_of_the_state_are_joined():
    encoder = CodeEncoder(("front",), (("pose", (3,)), ("open", ())), state_code=4)
    obs = {
        "front": jnp.full((2, 7), 0.5),
        "pose": jax.random.normal(KEY, (2, 3)),
        "open": jnp.array([True, False]),
    }
    params = encoder.init(KEY, obs)
    assert params["params"]["state"]["kernel"].shape == (4, 4)
    out = encoder.apply(params, obs)
    assert out.shape == (2, 11)
    np.testing.assert_array_equal(out[:, :7], 0.5)
    blind = CodeEncoder(("front",), ())
    assert blind.apply(blind.init(KEY, obs), obs).shape == (2, 7)
