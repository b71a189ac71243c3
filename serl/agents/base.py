"""What an agent is: a frozen config that makes a pure learner.

An agent has no hidden state. `init` makes a pytree that holds everything that changes; `update`
and `act` are compiled pure functions of it. Saving the pytree is enough to resume.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import prod
from typing import Any, Protocol

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from serl.errors import UserError, unknown_name
from serl.registry import Registry
from serl.types import ArraySpec, Spec

AGENTS: Registry = Registry("agent", "serl.agents")
"""By name ('sac', ...), what makes an agent's config: called with field values, it returns a frozen
dataclass with `make(spec)`. A config class, or a function that sets other defaults ('rlpd')."""

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
    """Frozen settings of an agent.

    Flags of its class, false where absent, say what it needs: `needs_images`, `needs_gripper`,
    `learns_reward` (the env must give none), `imitates` (batches from the demo side alone).
    """

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

    def compile(self, state: Any) -> None:
        """Compile `update` ahead of the first batch; `state` is left as it is."""
        ...

    def policy_params(self, state: Any) -> Any:
        """Only what acts: the pytree that is published to actors."""
        ...

    def act(
        self, params: Any, obs: dict[str, jax.Array], key: jax.Array, deterministic: bool
    ) -> jax.Array:
        """One action (A,) from unbatched observations. Compiled once per `deterministic`."""
        ...

    def act_with(
        self, params: Any, obs: dict[str, jax.Array], noise: jax.Array | None
    ) -> jax.Array:
        """As `act`, from standard normal `noise` (A,) drawn elsewhere; None is deterministic."""
        ...


class PureAgent:
    """What agents share; theirs are `init`, `learn`, `policy_params` and `act_with`.

    Equal configs and specs are one agent, with one compilation.
    """

    act_with: Any
    """Compiled; see `Agent`."""

    def __init__(self, config: Any, spec: Spec) -> None:
        self.config = config
        self.spec = spec

    def __hash__(self) -> int:
        return hash((self.config, self.spec))

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and (self.config, self.spec) == (other.config, other.spec)

    @property
    def seen_spec(self) -> Spec:
        """The batches of `update` and the observations of `act`, as `example_batch` makes them."""
        return self.spec

    @property
    def record_spec(self) -> Spec:
        """What an actor's records hold: the spec, and features where the agent uses them."""
        return self.spec

    @property
    def encodes(self) -> bool:
        """Whether a frozen trunk comes before this agent."""
        return False

    @partial(jax.jit, static_argnums=0, donate_argnums=1)
    def update(self, state: Any, batches: Batch) -> tuple[Any, Metrics]:
        """One learner step; donates `state`.

        Args:
            batches: U minibatches stacked on a new leading axis, each leaf (U, B, ...).
        """
        return self.learn(state, batches)

    def learn(self, state: Any, batches: Batch) -> tuple[Any, Metrics]:
        """What `update` compiles."""
        raise NotImplementedError

    def compile(self, state: Any) -> None:
        """Compile `update` ahead of the first batch; `state` is left as it is."""
        cfg = self.config
        shape = (cfg.utd_ratio, cfg.batch_size)
        batches = example_batch(self.seen_spec, np.random.default_rng(0), shape, cfg.discount)
        jax.block_until_ready(self.update(jax.tree.map(jnp.copy, state), batches))

    @partial(jax.jit, static_argnums=(0, 4))
    def act(
        self, params: Any, obs: Mapping[str, jax.Array], key: jax.Array, deterministic: bool
    ) -> jax.Array:
        """One action (A,) in the env's bounds, from unbatched observations."""
        noise = None if deterministic else jax.random.normal(key, self.spec.action.shape)
        return self.act_with(params, obs, noise)


@dataclass(frozen=True)
class ActionScale:
    """The affine map between the env's action bounds and ±1, in which policies and critics work."""

    low: tuple[float, ...]
    high: tuple[float, ...]

    @staticmethod
    def of(action: ArraySpec) -> ActionScale:
        """From an action's spec. Raises UserError unless every element has finite bounds."""
        size = prod(action.shape)
        missing = action.low is None or action.high is None
        low, high = (
            (np.broadcast_to(np.asarray(b, np.float64), size) for b in (action.low, action.high))
            if not missing
            else (np.zeros(0), np.zeros(0))
        )
        if len(action.shape) != 1 or missing or not np.all(np.isfinite(high - low) & (high > low)):
            raise UserError(
                f"action {action.name!r} has shape {action.shape}, low {action.low}, high "
                f"{action.high}; an agent needs one axis and finite low < high for each element. "
                "Rescale the action in the environment."
            )
        return ActionScale(tuple(low.tolist()), tuple(high.tolist()))

    def part(self, columns: Sequence[int]) -> ActionScale:
        """The map of some of the elements."""
        return ActionScale(
            tuple(self.low[c] for c in columns), tuple(self.high[c] for c in columns)
        )

    @property
    def size(self) -> int:
        """A, the number of action elements."""
        return len(self.low)

    def to_unit(self, action: jax.Array) -> jax.Array:
        """(..., A) in the env's bounds to ±1."""
        centre, half = self._centre_half()
        return (action - centre) / half

    def from_unit(self, unit: jax.Array) -> jax.Array:
        """(..., A) in ±1 to the env's bounds, never beyond them."""
        centre, half = self._centre_half()
        return jnp.clip(centre + half * unit, self._array(self.low), self._array(self.high))

    def _centre_half(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        low, high = np.asarray(self.low), np.asarray(self.high)
        return self._array((high + low) / 2), self._array((high - low) / 2)

    @staticmethod
    def _array(values: Any) -> NDArray[np.float32]:
        return np.asarray(values, np.float32)


class Diverged(UserError):
    """A loss or gradient is no longer a finite number."""


def all_finite(metrics: Metrics) -> jax.Array:
    """One bool, inside the compiled update: every metric, gradient norms included, is finite."""
    return jnp.all(jnp.stack([jnp.isfinite(value) for value in metrics.values()]))


def check_finite(metrics: Metrics, updates: int) -> None:
    """Raises Diverged naming the metrics that are not finite. Fetches from the device only then."""
    if bool(metrics["finite"]):
        return
    bad = [f"{k} = {float(v)}" for k, v in metrics.items() if k != "finite" and not np.isfinite(v)]
    raise Diverged(
        f"learning diverged at update {updates}: {', '.join(bad)}. Every metric must be finite; "
        "resume from the last checkpoint with a smaller learning rate or with clip_norm set, and "
        "look for outliers in rewards and observations."
    )


def check_range(name: str, value: float, low: float, high: float) -> None:
    """Raises UserError, for a config's `__post_init__`, unless low <= value <= high."""
    if not low <= value <= high:
        raise UserError(f"agent.{name} is {value}; it must be between {low} and {high}.")


def check_choice(name: str, value: str, allowed: Collection[str]) -> None:
    """Raises UserError naming the nearest choices unless `value` is one of `allowed`."""
    if value not in allowed:
        raise unknown_name(f"agent.{name}", value, allowed)


def example_batch(
    spec: Spec, rng: np.random.Generator, leading: tuple[int, ...], discount: float = 0.99
) -> Batch:
    """Random transitions of a spec, leaves (*leading, ...), for tests, benchmarks and warm-up."""

    def draw(array: ArraySpec) -> NDArray[Any]:
        shape = (*leading, *array.shape)
        if array.dtype == "bfloat16":
            return rng.standard_normal(shape, np.float32).astype(jnp.bfloat16)
        if np.issubdtype(array.dtype, np.floating):
            return rng.standard_normal(shape).astype(array.dtype)
        return rng.integers(0, 2, shape).astype(array.dtype)

    def observe() -> dict[str, Any]:
        return {a.name: draw(a) for a in spec.observation}

    low, high = (np.asarray(b, np.float32) for b in (spec.action.low, spec.action.high))
    return Batch(
        obs=observe(),
        action=rng.uniform(low, high, (*leading, *spec.action.shape)).astype(np.float32),  # pyright: ignore
        reward=rng.standard_normal(leading).astype(np.float32),  # pyright: ignore
        next_obs=observe(),
        terminated=(rng.random(leading) < 0.1).astype(np.float32),  # pyright: ignore
        discount=np.full(leading, discount, np.float32),  # pyright: ignore
        weight=np.ones(leading, np.float32),  # pyright: ignore
        extra={a.name: draw(a) for a in spec.extras},  # pyright: ignore
    )
