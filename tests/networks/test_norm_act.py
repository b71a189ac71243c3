"""The fused norm and activation against flax's LayerNorm and autodiff."""

from __future__ import annotations

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from serl.networks.norm_act import ACTIVATIONS, norm_act


def reference(name, x, scale, bias):
    normed = nn.LayerNorm().apply({"params": {"scale": scale, "bias": bias}}, x)
    return ACTIVATIONS[name].value(normed)


def example(shape=(5, 16)):
    keys = jax.random.split(jax.random.key(1), 4)
    x = 2.0 * jax.random.normal(keys[0], shape) + 0.7
    scale = 1.0 + 0.3 * jax.random.normal(keys[1], shape[-1:])
    return x, scale, 0.3 * jax.random.normal(keys[2], shape[-1:]), keys[3]


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_it_is_layer_norm_then_activation_in_value_and_gradient(name):
    x, scale, bias, key = example()
    pull = jax.random.normal(key, x.shape)

    @partial(jax.jit, static_argnums=0)
    def value_and_pullback(function, *arguments):
        value, vjp = jax.vjp(partial(function, name), *arguments)
        return value, *vjp(pull)

    ours = value_and_pullback(norm_act, x, scale, bias)
    theirs = value_and_pullback(reference, x, scale, bias)
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, atol=3e-5)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_each_slope_is_the_derivative_of_its_activation(name):
    z = jnp.linspace(-3.0, 3.0, 14)  # an even number: not at relu's corner
    activation = ACTIVATIONS[name]
    expected = jax.vmap(jax.grad(activation.value))(z)
    np.testing.assert_allclose(activation.slope(z, activation.value(z)), expected, atol=1e-6)


def test_it_maps_over_members_of_an_ensemble():
    x, scale, bias, _ = example((3, 5, 16))
    scales = jnp.stack([scale, 2.0 * scale, -scale])

    def total(scales):
        return jax.vmap(lambda x, s: norm_act("tanh", x, s, bias))(x, scales).sum()

    one = jax.jit(jax.grad(lambda s, x: norm_act("tanh", x, s, bias).sum()))
    each = jnp.stack([one(scales[i], x[i]) for i in range(3)])
    np.testing.assert_allclose(jax.jit(jax.grad(total))(scales), each, atol=1e-5)
