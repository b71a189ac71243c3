"""The policy network: observations to a squashed Gaussian over actions."""

from __future__ import annotations

from collections.abc import Mapping

import flax.linen as nn
import jax
import jax.numpy as jnp

from serl.networks.encoder import ObservationEncoder
from serl.networks.image_head import CodeEncoder
from serl.networks.mlp import MLP, kernel_init
from serl.networks.tanh_gaussian import TanhGaussian

STD_KINDS = ("exp", "softplus", "independent", "fixed")
"""How the standard deviation is made: exp or softplus of a head's output, one learned number per
action element whatever the state, or the constant `std_fixed`."""


class Policy(nn.Module):
    """π(a|s) over actions in (-1, 1); the std is clipped to [std_min, std_max]."""

    encoder: ObservationEncoder | CodeEncoder
    mlp: MLP
    action_dim: int
    std_kind: str = "exp"
    std_min: float = 1e-5
    std_max: float = 5.0
    std_fixed: float = 0.1

    @nn.compact
    def __call__(self, obs: Mapping[str, jax.Array], train: bool = False) -> TanhGaussian:
        x = self.mlp(self.encoder(obs, train), train)
        mean = nn.Dense(self.action_dim, kernel_init=kernel_init, name="mean")(x)
        std = jnp.clip(self._std(x), self.std_min, self.std_max)
        return TanhGaussian(mean, jnp.broadcast_to(std, mean.shape))

    def _std(self, x: jax.Array) -> jax.Array:
        match self.std_kind:
            case "exp":
                return jnp.exp(nn.Dense(self.action_dim, kernel_init=kernel_init, name="std")(x))
            case "softplus":
                return nn.softplus(
                    nn.Dense(self.action_dim, kernel_init=kernel_init, name="std")(x)
                )
            case "independent":
                return jnp.exp(self.param("std", nn.initializers.zeros, (self.action_dim,)))
            case "fixed":
                return jnp.asarray(self.std_fixed)
            case _:
                raise ValueError(f"std_kind {self.std_kind!r} is not one of {STD_KINDS}")
