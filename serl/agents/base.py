"""What an agent is: a frozen config that makes a pure learner.

An agent has no hidden state. `init` makes a pytree that holds everything that changes; `update`
and `act` are compiled pure functions of it. Saving the pytree is enough to resume.
"""

from __future__ import annotations

from typing import Any, Protocol

import flax.struct
import jax

from serl.registry import Registry
from serl.types import Spec

AGENTS: Registry = Registry("agent", "serl.agents")
"""Agent config classes by name ('sac', ...): frozen keyword-only dataclasses with `make(spec)`."""

Metrics = dict[str, jax.Array]


@flax.struct.dataclass
class Batch:
    """B transitions. Observation leaves are named as in the spec: {name: (B, ...)}."""

    obs: dict[str, jax.Array]
    action: jax.Array
    """Executed action (B, A)."""
    reward: jax.Array
    """(B,); for n-step returns, the discounted sum."""
    next_obs: dict[str, jax.Array]
    terminated: jax.Array
    """(B,) float 0 or 1. A time-out is not a termination."""
    discount: jax.Array
    """(B,): gamma**n, n steps between obs and next_obs (n = 1 by default)."""
    weight: jax.Array
    """(B,) sample weight in the losses; 1 by default."""
    extra: dict[str, jax.Array] = flax.struct.field(default_factory=dict)


class AgentConfig(Protocol):
    """Frozen settings of an agent."""

    discount: float
    batch_size: int
    utd_ratio: int
    """Critic updates per `update` call; `update` takes (utd_ratio, batch_size, ...) leaves."""

    def make(self, spec: Spec) -> Agent: ...


class Agent(Protocol):
    """Pure functions over a state pytree."""

    spec: Spec

    def init(self, key: jax.Array) -> Any:
        """A fresh state."""
        ...

    def update(self, state: Any, batches: Batch) -> tuple[Any, Metrics]:
        """One learner step: U critic updates, one actor and one temperature update. Compiled once;
        donates `state`."""
        ...

    def policy_params(self, state: Any) -> Any:
        """Only what acts: the pytree that is published to actors."""
        ...

    def act(
        self, params: Any, obs: dict[str, jax.Array], key: jax.Array, deterministic: bool
    ) -> jax.Array:
        """One action (A,) from unbatched observations. Compiled once per `deterministic`."""
        ...
