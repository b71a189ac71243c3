"""The four formulas of soft actor-critic, as functions of arrays.

An agent calls its networks and hands the results here; a hybrid or image agent composes the same
functions with its own networks. Shapes: B batch, E critics, M ⊂ E target subset, A action.
Every mean over the batch is weighted, so a row of weight 0 is left out.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from serl.agents.base import Batch


def weighted_mean(x: jax.Array, weight: jax.Array) -> jax.Array:
    """Σ w x / Σ w over (B,); 0 where every weight is 0."""
    return jnp.sum(weight * x) / jnp.maximum(jnp.sum(weight), jnp.finfo(x.dtype).tiny)


def soft_target(
    batch: Batch, next_q: jax.Array, next_logp: jax.Array, alpha: jax.Array, backup_entropy: bool
) -> jax.Array:
    """What the critics should say of (s, a): (B,).

        y = r + γⁿ (1 - terminated) [ min_{i in M} Q'_i(s', a') - α log π(a'|s') ]

    A time-out is not a termination: it still bootstraps. Without `backup_entropy` the last term
    is absent; with it, it is discounted and masked like the value it belongs to.

    Args:
        next_q: target members at the next state and action, (M, B).
        next_logp: log π(a'|s'), (B,).

    Source: SAC, arXiv:1812.05905 eq. 5; subset minimum from REDQ, arXiv:2101.05982 alg. 1.
    """
    next_v = next_q.min(axis=0)
    if backup_entropy:
        next_v = next_v - alpha * next_logp
    y = batch.reward + batch.discount * (1.0 - batch.terminated) * next_v
    return jax.lax.stop_gradient(y)


def critic_loss(q: jax.Array, y: jax.Array, weight: jax.Array) -> jax.Array:
    """Mean squared soft Bellman error over the ensemble: q (E, B), y and weight (B,)."""
    return weighted_mean(jnp.mean((q - y) ** 2, axis=0), weight)


def actor_loss(
    q: jax.Array, logp: jax.Array, alpha: jax.Array, weight: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """E[ α log π(a|s) - mean_i Q_i(s, a) ] and the policy's entropy, -E[log π].

    Args:
        q: the mean over all E members (B,), as REDQ alg. 1 and SERL: a minimum is for targets only.
    """
    loss = weighted_mean(alpha * logp - q, weight)
    return loss, -weighted_mean(logp, weight)


def temperature_loss(alpha: jax.Array, entropy: jax.Array, target_entropy: float) -> jax.Array:
    """α (H - H_target): α falls while the policy is more random than asked.

    Source: arXiv:1812.05905 eq. 18.
    """
    return alpha * jax.lax.stop_gradient(entropy - target_entropy)


def random_members(key: jax.Array, params: Any, size: int, subset: int) -> Any:
    """`subset` different members of an ensemble whose leaves are (size, ...): leaves (subset, ...).

    Drawn without replacement. (SERL draws with: one time in ten its two members are the same.)
    """
    if subset == size:
        return params
    members = jax.random.choice(key, size, (subset,), replace=False)
    return jax.tree.map(lambda leaf: leaf[members], params)
