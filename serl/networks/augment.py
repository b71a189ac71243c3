"""Colour jitter, greyscale, blur and cut-out of frames, each frame by its own draw.

Off by default (`AugmentConfig`). Crops whose features are kept are augmented where they are made,
on the learner; frames that a trained trunk sees, inside the update.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import partial
from math import ceil, tau
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from serl.agents.image_config import AugmentConfig
from serl.types import canonical_json

LUMA = np.array([0.299, 0.587, 0.114], np.float32)
"""How bright red, green and blue look. Source: ITU-R BT.601."""

TO_YIQ = np.array(
    [[0.299, 0.587, 0.114], [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]], np.float32
)
"""Brightness and two axes of colour, about which hue turns. Source: NTSC, FCC 1953."""


@partial(jax.jit, static_argnames="config")
def augmented(frames: jax.Array, keys: jax.Array, config: AugmentConfig) -> jax.Array:
    """Frames uint8 (n, ..., H, W, 3), each row changed by its own draw; same shape and dtype.

    Args:
        keys: (n,). Further axes before H, as of a stack, are changed alike.
    """
    return jax.vmap(lambda row, key: _augment(row, key, config))(frames, keys)


class AugmentedCrops:
    """Augments what an encoder is about to encode, and leaves unshifted views as they are.

    Args:
        encode: (frames (n, H, W, 3), offsets (n, 2)) to features, as `FrozenTrunk.encode`.
        shift_px: of the offsets: the middle, (shift_px, shift_px), is crop 0.
        seed: of the draws. An instance serves one thread.
    """

    def __init__(
        self, encode: Callable[..., Any], config: AugmentConfig, shift_px: int, seed: int = 0
    ) -> None:
        self.encode, self.config, self.shift_px = encode, config, shift_px
        self._rng = np.random.default_rng([3, seed])

    def __call__(self, frames: NDArray[np.uint8], offsets: NDArray[Any]) -> Any:
        crops = np.flatnonzero((np.asarray(offsets) != self.shift_px).any(axis=1))
        if len(crops) and self.config.on:
            frames = np.array(frames)
            frames[crops] = self._changed(frames[crops])
        return self.encode(frames, offsets)

    def _changed(self, frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
        n = len(frames)
        size = 1 << (n - 1).bit_length()  # few sizes to compile
        keys = jax.random.split(jax.random.key(int(self._rng.integers(2**31))), size)
        padded = np.pad(frames, [(0, size - n), (0, 0), (0, 0), (0, 0)])
        return np.asarray(augmented(jnp.asarray(padded), keys, self.config))[:n]


def suffix(config: AugmentConfig) -> str:
    """For the id under which crops are kept: other augmentation, other crops. '' where it is off.

    >>> suffix(AugmentConfig())
    ''
    """
    if not config.on:
        return ""
    text = canonical_json({name: float(value) for name, value in vars(config).items()})
    return "-" + hashlib.sha256(text.encode()).hexdigest()[:8]


def _augment(frames: jax.Array, key: jax.Array, config: AugmentConfig) -> jax.Array:
    """One row (..., H, W, 3), all its frames alike."""
    x = frames.astype(jnp.float32) / 255.0
    keys = dict(zip(vars(config), jax.random.split(key, len(vars(config))), strict=True))

    def factor(name: str) -> jax.Array:
        most = getattr(config, name)
        return 1.0 + jax.random.uniform(keys[name], (), minval=-most, maxval=most)

    if config.brightness:
        x = x * factor("brightness")
    if config.contrast:
        mean = jnp.mean(x @ LUMA)
        x = mean + (x - mean) * factor("contrast")
    if config.saturation:
        grey = (x @ LUMA)[..., None]
        x = grey + (x - grey) * factor("saturation")
    if config.hue:
        x = x @ _hue_rotation(tau * config.hue * _either_way(keys["hue"])).T
    if config.greyscale:
        lost = jax.random.bernoulli(keys["greyscale"], config.greyscale)
        x = jnp.where(lost, (x @ LUMA)[..., None], x)
    if config.blur_px:
        sigma = config.blur_px * jax.random.uniform(keys["blur_px"], ())
        x = _blur(x, sigma, ceil(2.0 * config.blur_px))
    if config.cutout:
        x = _cut_out(x, keys["cutout"], config.cutout)
    return jnp.round(255.0 * jnp.clip(x, 0.0, 1.0)).astype(jnp.uint8)


def _either_way(key: jax.Array) -> jax.Array:
    """Uniform in -1 ... 1."""
    return jax.random.uniform(key, (), minval=-1.0, maxval=1.0)


def _hue_rotation(angle: jax.Array) -> jax.Array:
    """(3, 3): turns colours by `angle` [rad] about the axis of greys."""
    c, s = jnp.cos(angle), jnp.sin(angle)
    turn = jnp.array([[1.0, 0.0, 0.0], [0.0, c, -s], [0.0, s, c]])
    return jnp.asarray(np.linalg.inv(TO_YIQ)) @ turn @ TO_YIQ


def _blur(x: jax.Array, sigma: jax.Array, radius: int) -> jax.Array:
    """Gaussian of `sigma` pixels along rows and columns, edges repeated."""
    steps = jnp.arange(-radius, radius + 1)
    weights = jnp.exp(-0.5 * (steps / jnp.maximum(sigma, 1e-3)) ** 2)
    weights = weights / weights.sum()
    for axis in (-3, -2):
        pad = [(0, 0)] * x.ndim
        pad[axis] = (radius, radius)
        padded, size = jnp.pad(x, pad, mode="edge"), x.shape[axis]
        parts = (
            jax.lax.slice_in_dim(padded, k, k + size, axis=axis % x.ndim) * weights[k]
            for k in range(2 * radius + 1)
        )
        x = sum(parts, start=jnp.zeros_like(x))
    return x


def _cut_out(x: jax.Array, key: jax.Array, most: float) -> jax.Array:
    """A box of random sides and place takes the frame's mean colour."""
    height, width = x.shape[-3:-1]
    draw = jax.random.uniform(key, (4,))
    inside = [
        (jnp.arange(size) >= at * size * (1.0 - most * side))
        & (jnp.arange(size) < at * size * (1.0 - most * side) + most * side * size)
        for size, side, at in ((height, draw[0], draw[1]), (width, draw[2], draw[3]))
    ]
    box = inside[0][:, None, None] & inside[1][None, :, None]
    return jnp.where(box, x.mean(axis=(-3, -2), keepdims=True), x)
