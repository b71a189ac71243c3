"""Q networks: one critic, and an ensemble of whole ones."""

from __future__ import annotations

from collections.abc import Mapping

import flax.linen as nn
import jax
import jax.numpy as jnp

from serl.networks.encoder import ObservationEncoder
from serl.networks.image_head import CodeEncoder
from serl.networks.mlp import MLP, kernel_init


class Critic(nn.Module):
    """Q(s, a): observations (..., *) and actions (..., A) to (...)."""

    encoder: ObservationEncoder | CodeEncoder
    mlp: MLP

    @nn.compact
    def __call__(
        self, obs: Mapping[str, jax.Array], action: jax.Array, train: bool = False
    ) -> jax.Array:
        x = jnp.concatenate([self.encoder(obs, train), action], axis=-1)
        return nn.Dense(1, kernel_init=kernel_init)(self.mlp(x, train)).squeeze(-1)


class Ensemble(nn.Module):
    """`size` critics that share nothing, output layers included: (...) becomes (size, ...).

    Every parameter leaf has a leading axis of members, so `leaf[subset]` holds the parameters of a
    smaller ensemble.
    """

    critic: Critic
    size: int

    @nn.compact
    def __call__(
        self, obs: Mapping[str, jax.Array], action: jax.Array, train: bool = False
    ) -> jax.Array:
        members = nn.vmap(
            lambda critic, obs, action: critic(obs, action, train),
            variable_axes={"params": 0},
            split_rngs={"params": True, "dropout": True},
            axis_size=self.size,
        )

        def repeat(leaf: jax.Array) -> jax.Array:
            # One copy per member: XLA's CPU products with a shared operand transpose their result.
            return jnp.broadcast_to(leaf, (self.size, *leaf.shape))

        return members(self.critic, *jax.tree.map(repeat, (dict(obs), action)))
