"""From a dict of observations to one code vector."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.core import FrozenDict

from serl.errors import UserError
from serl.types import Spec


class ObservationEncoder(nn.Module):
    """Concatenates state vectors in spec order; a key with its own encoder is passed through that.

    Leading axes are free: (name: (..., *shape)) to (..., D).
    """

    arrays: tuple[tuple[str, tuple[int, ...]], ...]
    """Name and shape of each observation, in spec order."""

    encoders: Mapping[str, nn.Module] = FrozenDict()
    """Observation name to a module that maps (..., *shape) to (..., code)."""

    @nn.compact
    def __call__(self, obs: Mapping[str, jax.Array], train: bool = False) -> jax.Array:
        codes = []
        for name, shape in self.arrays:
            x = obs[name]
            if name in self.encoders:
                codes.append(self.encoders[name](x, train))
            else:
                lead = x.shape[: x.ndim - len(shape)]
                codes.append(x.reshape(*lead, prod(shape)).astype(jnp.float32))
        return codes[0] if len(codes) == 1 else jnp.concatenate(codes, axis=-1)


def state_encoder(spec: Spec) -> ObservationEncoder:
    """The encoder of an experiment whose observations are all vectors."""
    for array in spec.observation:
        if len(array.shape) >= 3:
            raise UserError(
                f"observation {array.name!r} has shape {array.shape}: this agent reads vectors "
                "only. Leave it out of the observation, or give the agent an image encoder."
            )
    return ObservationEncoder(tuple((a.name, a.shape) for a in spec.observation))
