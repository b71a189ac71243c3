"""Trunks by name: what turns a camera frame into a small map of features."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from serl.registry import Registry
from serl.weights import OURS, SUFFIX

TRUNKS: Registry[type[nn.Module]] = Registry("trunk", "serl.networks.trunks")
"""flax modules without arguments: uint8 or float frames (..., H, W, 3) in 0 ... 255 to float32
(..., h, w, C)."""


def default_trunk() -> str:
    """What "auto" is on this machine: resnet10 on a GPU, where its pretrained weights are here."""
    large = (OURS / f"resnet10{SUFFIX}").exists() and jax.default_backend() != "cpu"
    return "resnet10" if large else "small"


def feature_shape(name: str, frame: tuple[int, int, int]) -> tuple[int, int, int]:
    """(h, w, C) that a trunk makes of one frame; nothing is computed."""
    module = TRUNKS.get(name)()
    out = jax.eval_shape(
        lambda x: module.init_with_output(jax.random.key(0), x)[0],
        jax.ShapeDtypeStruct(frame, jnp.uint8),
    )
    h, w, c = out.shape
    return h, w, c
