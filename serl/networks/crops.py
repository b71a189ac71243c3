"""Random shifts of frames inside compiled code: what `serl.pixels.shifted` says, in JAX."""

from __future__ import annotations

import jax
import jax.numpy as jnp


def shifted(frames: jax.Array, offsets: jax.Array, shift_px: int) -> jax.Array:
    """Frames (n, H, W, C) padded by their edges, cut out again at `offsets` (n, 2): same shape."""
    p = shift_px
    padded = jnp.pad(frames, ((0, 0), (p, p), (p, p), (0, 0)), mode="edge")

    def cut(frame: jax.Array, offset: jax.Array) -> jax.Array:
        return jax.lax.dynamic_slice(frame, (offset[0], offset[1], 0), frames.shape[1:])

    return jax.vmap(cut)(padded, offsets)


def random_offsets(key: jax.Array, shape: tuple[int, ...], shift_px: int) -> jax.Array:
    """Where random crops begin, row and column, uniform in 0 ... 2 * shift_px: (*shape, 2)."""
    return jax.random.randint(key, (*shape, 2), 0, 2 * shift_px + 1)
