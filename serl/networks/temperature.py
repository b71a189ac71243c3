"""SAC's temperature: one positive number, learned."""

from __future__ import annotations

from math import expm1, log

import flax.linen as nn
import jax
import jax.numpy as jnp


class Temperature(nn.Module):
    """α = softplus(λ), λ chosen so that α starts at `initial`."""

    initial: float = 0.01

    @nn.compact
    def __call__(self) -> jax.Array:
        start = log(expm1(self.initial))  # inverse of softplus
        return nn.softplus(self.param("lambda", lambda key: jnp.asarray(start, jnp.float32)))
