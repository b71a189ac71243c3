"""Products of numbers rounded to bfloat16 against float32's."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from serl.networks import bf16
from serl.networks.image_head import PRODUCTS
from serl.networks.mlp import MLP, PRECISIONS

ROUNDING = 2.0**-8
"""Largest relative error of one number rounded to bfloat16, which keeps 8 bits."""


def example():
    keys = jax.random.split(jax.random.key(0), 3)
    return tuple(
        jax.random.normal(key, shape)
        for key, shape in zip(keys, [(7, 16), (16, 5), (7, 5)], strict=True)
    )


def test_value_and_gradients_differ_from_float32_by_rounding_only():
    x, kernel, pull = example()

    @jax.jit
    def both(x, kernel):
        value, vjp = jax.vjp(bf16.matmul, x, kernel)
        return value, *vjp(pull)

    exact = (x @ kernel, pull @ kernel.T, x.T @ pull)
    bound = tuple(
        map(lambda a, b: jnp.abs(a) @ jnp.abs(b), (x, pull, x.T), (kernel, kernel.T, pull))
    )
    for ours, theirs, size in zip(both(x, kernel), exact, bound, strict=True):
        assert ours.dtype == jnp.float32
        assert (np.abs(ours - theirs) <= 2 * ROUNDING * size).all()
    assert float(jnp.abs(both(x, kernel)[0] - exact[0]).max()) > 1e-5, "it does round"


def test_numbers_that_bfloat16_holds_are_multiplied_exactly():
    x = jnp.arange(12.0).reshape(3, 4)
    np.testing.assert_array_equal(bf16.matmul(x, x.T), x @ x.T)


def test_it_maps_over_members_and_keeps_leading_axes():
    x, kernel, _ = example()
    kernels = jnp.stack([kernel, -kernel])
    both = jax.jit(jax.vmap(bf16.matmul, in_axes=(None, 0)))(x, kernels)
    np.testing.assert_array_equal(both[1], -both[0])
    np.testing.assert_array_equal(bf16.dot_general(x.reshape(1, 7, 16), kernel)[0], both[0])


def test_only_the_first_layer_of_an_mlp_sees_raw_numbers_and_stays_float32():
    x = 100.0 + example()[0]  # where a rounded input would be off by a quarter
    for hidden, equal in (((8,), True), ((8, 8), False)):
        exact, rounded = (MLP(hidden, precision=p) for p in ("float32", "bfloat16"))
        params = exact.init(jax.random.key(0), x)
        assert np.array_equal(exact.apply(params, x), rounded.apply(params, x)) == equal


@pytest.mark.parametrize("fast", [True, False])
def test_auto_is_what_the_machine_is_fast_at(monkeypatch, fast):
    monkeypatch.setattr(bf16, "is_fast", lambda: fast)
    x = jax.random.normal(jax.random.key(0), (7, 16))
    for products in (PRECISIONS, PRODUCTS):
        kernel = jax.random.normal(jax.random.key(1), (16, 5))
        layers = {
            name: nn.Dense(5, dot_general=products[name])
            for name in ("auto", "float32", "bfloat16")
        }
        params = {"params": {"kernel": kernel, "bias": jnp.zeros(5)}}
        got = {name: np.asarray(layer.apply(params, x)) for name, layer in layers.items()}
        np.testing.assert_array_equal(got["auto"], got["bfloat16" if fast else "float32"])
        assert (got["bfloat16"] != got["float32"]).any()
