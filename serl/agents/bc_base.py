"""What imitation agents share: one policy, fitted to what experts did, and nothing that judges it.

Batches are the demo side's alone: demonstrations and interventions (serl/data/mixing.py with
`demo_fraction` 1). Rewards, ends and next observations are never looked at. With interventions that
keep coming and a policy that is published, this is HG-DAgger, arXiv:1810.02890.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, ClassVar

import flax.struct
import jax
import jax.numpy as jnp
import optax

from serl.agents.base import (
    ActionScale,
    Batch,
    Metrics,
    PureAgent,
    all_finite,
    check_choice,
    check_range,
)
from serl.agents.image_config import ImageConfig
from serl.agents.optimizer import Learned, OptimizerConfig
from serl.errors import UserError
from serl.networks.encoder import ObservationEncoder, state_encoder
from serl.networks.image_head import CodeEncoder
from serl.networks.norm_act import ACTIVATIONS
from serl.types import Spec

Observations = Mapping[str, jax.Array]


@dataclass(frozen=True, kw_only=True)
class ImitatorConfig:
    """Settings of every agent that imitates."""

    imitates: ClassVar[bool] = True
    """Learns from the demo side alone, and as well without any other data."""

    discount: float = 0.99
    """γ of the batches, which nothing here looks at."""
    batch_size: int = 256
    """Rows of one gradient step."""
    utd_ratio: int = 8
    """Gradient steps per call."""

    hidden: tuple[int, ...] = (256, 256)
    """Hidden layer sizes."""
    activation: str = "relu"
    """One of serl.networks.norm_act.ACTIVATIONS."""
    layer_norm: bool = True
    dropout: float = 0.0
    """Of the hidden layers, in training. HIL-SERL: 0.25."""
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)

    image: ImageConfig = field(default_factory=ImageConfig)
    """How camera frames are seen, where the observation has any."""

    def __post_init__(self) -> None:
        check_range("discount", self.discount, 0.0, 1.0)
        check_range("dropout", self.dropout, 0.0, 0.99)
        for name in ("batch_size", "utd_ratio"):
            check_range(name, getattr(self, name), 1, 2**20)
        if not self.hidden or min(self.hidden) < 1:
            raise UserError(
                f"agent.hidden is {self.hidden}; it must name at least one layer, each at least "
                "1 wide."
            )
        check_choice("activation", self.activation, ACTIVATIONS)


@flax.struct.dataclass
class ImitatorState:
    """Everything that changes, so saving it is enough to resume."""

    policy: Learned
    """{"policy": …} and, with cameras, {"heads": …} and a trunk that is trained: all that acts."""
    key: jax.Array
    step: jax.Array
    """`update` calls so far."""


class Imitator(PureAgent):
    """Fits `network` by `loss`. An agent has these two and `choose`; serl.agents.seeing lends it
    eyes, without which observations are vectors."""

    network: Any
    """A flax module."""

    def __init__(self, config: ImitatorConfig, spec: Spec) -> None:
        super().__init__(config, spec)
        self.scale = ActionScale.of(spec.action)
        self.tx = config.optimizer.make()

    # What an agent must have.

    def first_policy(self, key: jax.Array, seen: Observations) -> Any:
        """Fresh parameters of the network."""
        raise NotImplementedError

    def loss(
        self, params: Any, seen: Observations, batch: Batch, key: jax.Array
    ) -> tuple[jax.Array, Metrics]:
        """Of the network's `params`, on actions in ±1."""
        raise NotImplementedError

    def choose(self, params: Any, seen: Observations, noise: jax.Array | None) -> jax.Array:
        """One action (A,) in the env's bounds."""
        raise NotImplementedError

    # Without cameras.

    def make_encoder(self) -> ObservationEncoder | CodeEncoder:
        """What the network makes of an observation."""
        return state_encoder(self.spec)

    def first_eyes(self, head_key: jax.Array, trunk_key: jax.Array, obs: Observations) -> Any:
        """Parameters that see: none."""
        return {}

    def see(self, params: Any, obs: Observations, key: jax.Array | None = None) -> Observations:
        """Observations as the network sees them: as they are."""
        return obs

    def shift(self, obs: Observations, key: jax.Array) -> Observations:
        """Random crops of frames: there are none."""
        return obs

    # Learning and acting.

    @partial(jax.jit, static_argnums=0)
    def init(self, key: jax.Array) -> ImitatorState:
        """A fresh state."""
        head_key, trunk_key, policy_key, state_key = jax.random.split(key, 4)
        obs = {a.name: jnp.zeros(a.shape, a.dtype) for a in self.seen_spec.observation}
        params = self.first_eyes(head_key, trunk_key, obs)
        params["policy"] = self.first_policy(policy_key, self.see(params, obs))
        return ImitatorState(Learned.create(params, self.tx), state_key, jnp.zeros((), jnp.int32))

    def learn(self, state: ImitatorState, batches: Batch) -> tuple[ImitatorState, Metrics]:
        """What `update` compiles: one gradient step per minibatch."""
        batches = replace(batches, action=self.scale.to_unit(batches.action), next_obs={})
        key, scan_key = jax.random.split(state.key)
        keys = jax.random.split(scan_key, batches.reward.shape[0])
        policy, metrics = jax.lax.scan(self.imitate, state.policy, (batches, keys))
        metrics = jax.tree.map(jnp.mean, metrics)
        state = ImitatorState(policy, key, state.step + 1)
        return state, {**metrics, "finite": all_finite(metrics)}

    def imitate(
        self, policy: Learned, minibatch: tuple[Batch, jax.Array]
    ) -> tuple[Learned, Metrics]:
        """One gradient step on B rows."""
        batch, key = minibatch
        shift_key, see_key, loss_key = jax.random.split(key, 3)
        obs = self.shift(batch.obs, shift_key)

        def loss(params: Any) -> tuple[jax.Array, Metrics]:
            seen = self.see(params, obs, see_key)
            return self.loss(params["policy"], seen, batch, loss_key)

        grads, metrics = jax.grad(loss, has_aux=True)(policy.params)
        metrics["bc/grad_norm"] = optax.tree.norm(grads)
        return policy.step(grads, self.tx), metrics

    def apply(self, params: Any, *inputs: Any, key: jax.Array | None = None) -> Any:
        """The network's output; with a key, as in training, dropout drawn from it."""
        rngs = {"dropout": key} if key is not None and self.config.dropout > 0.0 else None
        return self.network.apply({"params": params}, *inputs, rngs is not None, rngs=rngs)

    def policy_params(self, state: ImitatorState) -> Any:
        """Only what acts: all that is learned, without optimiser state."""
        return state.policy.params

    @partial(jax.jit, static_argnums=0)
    def act_with(self, params: Any, obs: Observations, noise: jax.Array | None) -> jax.Array:
        """As `act`, from standard normal `noise` (A,) drawn elsewhere; None is deterministic."""
        return self.choose(params["policy"], self.see(params, obs), noise)
