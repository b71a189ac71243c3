"""Matrix products whose inputs are rounded to bfloat16 and whose sums are float32.

What JAX does by default on a TPU. A CPU with AVX512-BF16 or AMX multiplies such numbers twice as
fast as float32; one without is slower than with float32: `where_fast` looks which this is.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp


def dot_general(x: jax.Array, kernel: jax.Array, *_: Any, **__: Any) -> jax.Array:
    """For `flax.linen.Dense(dot_general=...)`: (..., in) times (in, out)."""
    return matmul(x.reshape(-1, x.shape[-1]), kernel).reshape(*x.shape[:-1], kernel.shape[-1])


def where_fast(x: jax.Array, kernel: jax.Array, *dims: Any, **options: Any) -> jax.Array:
    """As `dot_general` on a machine that is faster so, else a plain float32 product."""
    if is_fast():
        return dot_general(x, kernel)
    return jax.lax.dot_general(x, kernel, *dims, **options)


@cache
def is_fast() -> bool:
    """Whether this machine multiplies bfloat16 faster: an accelerator, or a CPU that says so."""
    if jax.default_backend() != "cpu":
        return True
    try:
        known = Path("/proc/cpuinfo").read_text()
    except OSError:  # not Linux
        return False
    return "avx512_bf16" in known or "amx_bf16" in known


@jax.custom_vjp
def matmul(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """x @ kernel: (B, I), (I, O) to (B, O), float32 outside.

    The gradient of x is rounded alike; that of the kernel, a product with x transposed, is float32:
    for such a product XLA's CPU compiler has nothing faster.
    """
    return _forward(x, kernel)[0]


def _product(dims: str, a: jax.Array, b: jax.Array) -> jax.Array:
    return jnp.einsum(dims, a, b, preferred_element_type=jnp.float32)


def _forward(x, kernel):
    rounded = kernel.astype(jnp.bfloat16)
    return _product("bi,io->bo", x.astype(jnp.bfloat16), rounded), (x, rounded)


def _backward(saved, dy):
    x, rounded = saved
    return _product("bo,io->bi", dy.astype(jnp.bfloat16), rounded), _product("bi,bo->io", x, dy)


matmul.defvjp(_forward, _backward)
