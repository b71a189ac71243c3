"""LayerNorm and activation as one operation with a hand-written gradient.

Autodiff of the two keeps more arrays of the size of the activations than the maths needs; on two
CPU cores this form takes 0.28 ms where it takes 0.73 ms (10 members x 256 rows x 256 features).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp

EPSILON = 1e-6
"""Added to the variance, as flax's LayerNorm."""


@dataclass(frozen=True)
class Activation:
    """A function applied to each element, and its slope as a function of input and output."""

    value: Callable[[jax.Array], jax.Array]
    slope: Callable[[jax.Array, jax.Array], jax.Array]


ACTIVATIONS: dict[str, Activation] = {
    "tanh": Activation(jnp.tanh, lambda z, a: 1.0 - a * a),
    "relu": Activation(nn.relu, lambda z, a: (z > 0.0).astype(z.dtype)),
    "leaky_relu": Activation(nn.leaky_relu, lambda z, a: jnp.where(z > 0.0, 1.0, 0.01)),
    "silu": Activation(nn.silu, lambda z, a: a + nn.sigmoid(z) * (1.0 - a)),
    "gelu": Activation(nn.gelu, lambda z, a: jax.jvp(nn.gelu, (z,), (jnp.ones_like(z),))[1]),
}


class NormAct(nn.Module):
    """act(LayerNorm(x)) over the last axis, with a learned scale and bias per feature."""

    activation: str

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        scale = self.param("scale", nn.initializers.ones, (x.shape[-1],))
        bias = self.param("bias", nn.initializers.zeros, (x.shape[-1],))
        return norm_act(self.activation, x, scale, bias)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def norm_act(activation: str, x: jax.Array, scale: jax.Array, bias: jax.Array) -> jax.Array:
    """act((x - mean) / sqrt(var + EPSILON) * scale + bias), statistics over the last axis.

    Shapes: x (..., H), scale and bias (H,).
    """
    return _forward(activation, x, scale, bias)[0]


def _normalise(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Mean and 1/std over the last axis, (..., 1) each."""
    mean = x.mean(axis=-1, keepdims=True)
    variance = jnp.maximum((x * x).mean(axis=-1, keepdims=True) - mean * mean, 0.0)
    return mean, jax.lax.rsqrt(variance + EPSILON)


def _forward(activation, x, scale, bias):
    mean, rstd = _normalise(x)
    z = (x - mean) * rstd * scale + bias
    a = ACTIVATIONS[activation].value(z)
    return a, (x, mean, rstd, scale, bias, a)


def _backward(activation, saved, da):
    """With n = (x - mean) rstd and dn = dz scale: dx = rstd (dn - mean(dn) - n mean(dn n))."""
    x, mean, rstd, scale, bias, a = saved
    n = (x - mean) * rstd
    dz = da * ACTIVATIONS[activation].slope(n * scale + bias, a)
    features = x.shape[-1]
    mean_dn = (dz @ scale)[..., None] / features  # as matrix products: cheaper than sums here
    mean_dn_n = ((dz * n) @ scale)[..., None] / features
    dx = rstd * (dz * scale - mean_dn - n * mean_dn_n)
    rows = tuple(range(x.ndim - 1))
    return dx, (dz * n).sum(axis=rows), dz.sum(axis=rows)


norm_act.defvjp(_forward, _backward)
