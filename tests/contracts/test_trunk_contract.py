"""What every registered trunk must do. A new trunk is held to this by being registered."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend import core

from serl.agents.image_config import ImageConfig
from serl.networks.trunk import TRUNKS, feature_shape
from serl.trunk import FrozenTrunk, load_trunk, random_trunk, read_trunk, save_trunk

jax.config.update("jax_disable_most_optimizations", True)  # these tests mostly compile

FRAMES = np.random.default_rng(0).integers(0, 256, (2, 2, 32, 64, 3), dtype=np.uint8)
"""Two by two frames, not square."""

pytestmark = pytest.mark.parametrize("name", TRUNKS.names())


@cache
def trunk_of(name: str) -> FrozenTrunk:
    return random_trunk(name)


@cache
def learned(name: str) -> tuple[Any, Any]:
    """Features of FRAMES one by one (4, h, w, C), and the gradient of their squares' sum."""

    def loss(params: Any, frames: jax.Array) -> Any:
        out = trunk_of(name).apply(frames, params)
        return jnp.square(out).sum(), out

    (_, out), gradient = jax.jit(jax.value_and_grad(loss, has_aux=True))(
        trunk_of(name).params, FRAMES.reshape(-1, *FRAMES.shape[2:])
    )
    return out, gradient


def equations(jaxpr: Any) -> Any:
    """Every equation, also of functions within."""
    for equation in jaxpr.eqns:
        yield equation
        for inner in core.jaxprs_in_params(equation.params):
            yield from equations(inner)


def test_a_frame_becomes_a_small_map_of_finite_float32(name: str) -> None:
    h, w, c = feature_shape(name, (128, 128, 3))
    assert 1 <= h == w <= 16
    assert c >= 8
    assert 2 * h * w * c < 128 * 128 * 3, "features are kept: they must take less than the frame"
    out, _ = learned(name)
    assert out.shape == (4, *feature_shape(name, FRAMES.shape[2:]))
    assert out.dtype == jnp.float32
    assert np.isfinite(out).all()
    assert np.std(out) > 0


def test_any_leading_axes_give_the_features_of_each_frame(name: str) -> None:
    folded = jax.jit(trunk_of(name).apply)(FRAMES, trunk_of(name).params)
    flat, _ = learned(name)
    np.testing.assert_allclose(folded.reshape(flat.shape), flat, rtol=1e-3, atol=1e-3)


def test_different_frames_look_different(name: str) -> None:
    out, _ = learned(name)
    assert np.abs(out[0] - out[1]).max() > 0


def test_every_weight_can_be_trained(name: str) -> None:
    """`image.frozen` may be False."""
    _, gradient = learned(name)
    for leaf in jax.tree.leaves(gradient):
        assert np.isfinite(leaf).all()
        assert np.abs(leaf).max() > 0


def test_precision_is_that_of_its_products_and_not_of_its_features(name: str) -> None:
    trunk = replace(trunk_of(name), precision="bfloat16")
    frames = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.uint8)
    program = jax.make_jaxpr(trunk.apply)(frames, trunk.params)
    assert program.out_avals[0].dtype == jnp.float32
    products = [
        e.outvars[0].aval.dtype
        for e in equations(program.jaxpr)
        if e.primitive.name in ("conv_general_dilated", "dot_general")
    ]
    assert products
    assert set(products) == {jnp.dtype(jnp.bfloat16)}


def test_its_file_gives_it_back_and_weights_have_an_id(name: str, tmp_path: Path) -> None:
    trunk = trunk_of(name)
    save_trunk(trunk, tmp_path / "t.safetensors")
    again = read_trunk(tmp_path / "t.safetensors")
    assert (again.name, again.id) == (name, trunk.id)
    asked = ImageConfig(trunk=name, weights=str(tmp_path / "t.safetensors"))
    assert load_trunk(asked).id == trunk.id
