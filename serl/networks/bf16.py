"""Matrix products whose inputs are rounded to bfloat16 and whose sums are float32.

What JAX does by default on a TPU. A CPU with AVX512-BF16 or AMX multiplies such numbers twice as
fast as float32; one without is slower than with float32, so this is a choice, not the default.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp


def dot_general(x: jax.Array, kernel: jax.Array, *_: Any, **__: Any) -> jax.Array:
    """For `flax.linen.Dense(dot_general=...)`: (..., in) times (in, out)."""
    return matmul(x.reshape(-1, x.shape[-1]), kernel).reshape(*x.shape[:-1], kernel.shape[-1])


@jax.custom_vjp
def matmul(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """x @ kernel: (B, I), (I, O) to (B, O), float32 outside; both gradients are rounded alike."""
    return _forward(x, kernel)[0]


def _product(a: jax.Array, b: jax.Array) -> jax.Array:
    return jnp.matmul(a, b, preferred_element_type=jnp.float32)


def _forward(x, kernel):
    saved = x.astype(jnp.bfloat16), kernel.astype(jnp.bfloat16)
    return _product(*saved), saved


def _backward(saved, dy):
    x, kernel = saved
    dy = dy.astype(jnp.bfloat16)
    return _product(dy, kernel.T), _product(_transposed(x), dy)


def _transposed(x: jax.Array) -> jax.Array:
    """x.T in memory. XLA's CPU compiler folds a plain transpose into the product, for which it then
    has float32 only; it leaves one of plain bits alone."""
    bits = jax.lax.bitcast_convert_type(x, jnp.uint16)
    return jax.lax.bitcast_convert_type(jax.lax.optimization_barrier(bits.T), jnp.bfloat16)


matmul.defvjp(_forward, _backward)
