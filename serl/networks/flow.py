"""The velocity field of a flow-matching policy."""

from __future__ import annotations

from collections.abc import Mapping
from math import pi

import flax.linen as nn
import jax
import jax.numpy as jnp

from serl.networks.encoder import ObservationEncoder
from serl.networks.image_head import CodeEncoder
from serl.networks.mlp import MLP, kernel_init

WAVES = 8
"""cos(k π t), k = 1 ... WAVES, tell the network the time."""


class FlowField(nn.Module):
    """v(x, t, s): chunks x (..., H, A) at times t (...) in 0 ... 1 to velocities (..., H, A)."""

    encoder: ObservationEncoder | CodeEncoder
    mlp: MLP

    @nn.compact
    def __call__(
        self, obs: Mapping[str, jax.Array], x: jax.Array, t: jax.Array, train: bool = False
    ) -> jax.Array:
        flat = x.reshape(*x.shape[:-2], -1)
        time = jnp.cos(pi * t[..., None] * jnp.arange(1, WAVES + 1))
        features = jnp.concatenate([self.encoder(obs, train), flat, time], axis=-1)
        v = nn.Dense(flat.shape[-1], kernel_init=kernel_init)(self.mlp(features, train))
        return v.reshape(x.shape)
