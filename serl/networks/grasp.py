"""The grasp critic: the value of each thing the grippers may do, by an ensemble of networks."""

from __future__ import annotations

from collections.abc import Mapping

import flax.linen as nn
import jax
import jax.numpy as jnp

from serl.networks.encoder import ObservationEncoder
from serl.networks.image_head import CodeEncoder
from serl.networks.mlp import MLP, kernel_init


class GraspCritic(nn.Module):
    """Q(s, g) of all G classes at once: observations (..., *) to (..., G)."""

    encoder: ObservationEncoder | CodeEncoder
    mlp: MLP
    classes: int

    @nn.compact
    def __call__(self, obs: Mapping[str, jax.Array]) -> jax.Array:
        x = self.mlp(self.encoder(obs))
        return nn.Dense(self.classes, kernel_init=kernel_init)(x)


class GraspEnsemble(nn.Module):
    """`size` grasp critics that share nothing: (...) becomes (size, ..., G)."""

    critic: GraspCritic
    size: int

    @nn.compact
    def __call__(self, obs: Mapping[str, jax.Array]) -> jax.Array:
        members = nn.vmap(
            lambda critic, obs: critic(obs),
            variable_axes={"params": 0},
            split_rngs={"params": True},
            axis_size=self.size,
        )

        def repeat(leaf: jax.Array) -> jax.Array:
            return jnp.broadcast_to(leaf, (self.size, *leaf.shape))  # as serl.networks.critic

        return members(self.critic, jax.tree.map(repeat, dict(obs)))
