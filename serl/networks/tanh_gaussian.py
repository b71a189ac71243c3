"""A diagonal Gaussian squashed by tanh: the policy's distribution over actions in (-1, 1)."""

from __future__ import annotations

from math import log, pi

import flax.struct
import jax
import jax.numpy as jnp


@flax.struct.dataclass
class TanhGaussian:
    """a = tanh(u), u ~ N(mean, std²), each element on its own; `log_prob` sums over the last axis.

    Source: change of variables of SAC, arXiv:1812.05905 appendix C, in the form that stays finite
    when tanh saturates: log(1 - tanh²(u)) = 2 [log 2 - u - softplus(-2u)].
    """

    mean: jax.Array
    """(..., A), before the tanh."""
    std: jax.Array
    """(..., A), before the tanh."""

    def mode(self) -> jax.Array:
        """The deterministic action, tanh(mean): (..., A)."""
        return jnp.tanh(self.mean)

    def sample(self, noise: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Action (..., A) and its log density (...), from standard normal `noise` (..., A)."""
        u = self.mean + self.std * noise
        return jnp.tanh(u), self._log_prob(u, noise)

    def log_prob(self, action: jax.Array) -> jax.Array:
        """Log density (...) of an action (..., A) within [-1, 1].

        At ±1 the density may be infinite or zero; the action is taken as the nearest float inside.
        """
        edge = 1.0 - jnp.finfo(action.dtype).epsneg
        u = jnp.arctanh(jnp.clip(action, -edge, edge))
        return self._log_prob(u, (u - self.mean) / self.std)

    def _log_prob(self, u: jax.Array, noise: jax.Array) -> jax.Array:
        gaussian = -0.5 * noise**2 - jnp.log(self.std) - 0.5 * log(2.0 * pi)
        log_slope = 2.0 * (log(2.0) - u - jax.nn.softplus(-2.0 * u))
        return jnp.sum(gaussian - log_slope, axis=-1)
