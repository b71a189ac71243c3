"""Soft actor-critic with a REDQ ensemble; RLPD is this agent on batches that are half demos.

Sources: SAC arXiv:1812.05905, REDQ arXiv:2101.05982, RLPD arXiv:2302.02948, and SERL's defaults
(arXiv:2401.16013). Mixing demos into the batches is the replay's work: serl/data/mixing.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, cast

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import optax

from serl.agents import sac_losses
from serl.agents.base import (
    AGENTS,
    ActionScale,
    Batch,
    Metrics,
    PureAgent,
    all_finite,
    check_choice,
    check_range,
)
from serl.agents.image_config import ImageConfig
from serl.agents.mean_q import mean_q
from serl.agents.optimizer import Learned, OptimizerConfig
from serl.errors import UserError
from serl.networks.critic import Critic, Ensemble
from serl.networks.encoder import ObservationEncoder, state_encoder
from serl.networks.image_head import CodeEncoder
from serl.networks.mlp import MLP, PRECISIONS
from serl.networks.norm_act import ACTIVATIONS
from serl.networks.policy import STD_KINDS, Policy
from serl.networks.tanh_gaussian import TanhGaussian
from serl.networks.temperature import Temperature
from serl.pixels import images
from serl.types import Spec


@AGENTS.register("sac")
@dataclass(frozen=True, kw_only=True)
class SACConfig:
    """Settings of SAC. The defaults are SERL's for state observations."""

    discount: float = 0.99
    """γ per env step; the sampler puts γⁿ into each batch."""
    batch_size: int = 256
    """Rows of one critic update."""
    utd_ratio: int = 8
    """Critic updates per call; the actor then takes one step on all their rows."""
    tau: float = 0.005
    """Share of the critics that the target critics take over at each critic update."""

    num_critics: int = 10
    """E, whole critics, output layers included."""
    num_target_critics: int = 2
    """M, members drawn without replacement whose minimum is the target."""
    backup_entropy: bool = False
    """Whether the target holds the next state's entropy, discounted and masked."""

    hidden: tuple[int, ...] = (256, 256)
    """Hidden layer sizes of policy and critics."""
    activation: str = "tanh"
    """One of serl.networks.norm_act.ACTIVATIONS."""
    layer_norm: bool = True
    """LayerNorm in every hidden layer of policy and critics."""
    dropout: float = 0.0
    """Dropout of the critics' hidden layers, target members included (DroQ, arXiv:2110.02034)."""

    precision: str = "auto"
    """How the critics' hidden layers multiply, one of serl.networks.mlp.PRECISIONS: "bfloat16" is
    faster on a CPU that has it (lscpu: avx512_bf16 or amx_bf16), slower on one that has not; "auto"
    looks which this is."""

    std_kind: str = "exp"
    """One of serl.networks.policy.STD_KINDS."""
    std_min: float = 1e-5
    std_max: float = 5.0
    """Bounds of the policy's standard deviation, before the tanh."""
    std_fixed: float = 0.1
    """The standard deviation where `std_kind` is "fixed"."""

    temperature: float = 0.01
    """Initial α; must be positive."""
    learn_temperature: bool = True
    """Whether α follows the target entropy, or stays where it starts."""
    target_entropy: float | None = None
    """Entropy α aims at, of actions scaled to ±1 [nats]; None is -A/2, A continuous elements."""

    actor: OptimizerConfig = field(default_factory=OptimizerConfig)
    critic: OptimizerConfig = field(default_factory=OptimizerConfig)
    alpha: OptimizerConfig = field(default_factory=OptimizerConfig)
    """The temperature's optimiser."""

    image: ImageConfig = field(default_factory=ImageConfig)
    """How camera frames are seen, where the observation has any."""

    def __post_init__(self) -> None:
        check_range("discount", self.discount, 0.0, 1.0)
        check_range("tau", self.tau, 0.0, 1.0)
        check_range("dropout", self.dropout, 0.0, 0.99)
        check_range("temperature", self.temperature, 1e-8, 1e3)
        check_range("std_min", self.std_min, 1e-8, self.std_max)
        check_range("std_fixed", self.std_fixed, self.std_min, self.std_max)
        check_range("num_target_critics", self.num_target_critics, 1, self.num_critics)
        for name in ("batch_size", "utd_ratio"):
            check_range(name, getattr(self, name), 1, 2**20)
        if not self.hidden or min(self.hidden) < 1:
            raise UserError(
                f"agent.hidden is {self.hidden}; it must name at least one layer, each at least "
                "1 wide."
            )
        check_choice("activation", self.activation, ACTIVATIONS)
        check_choice("precision", self.precision, PRECISIONS)
        check_choice("std_kind", self.std_kind, STD_KINDS)

    def make(self, spec: Spec) -> SAC:
        """The agent: of serl.agents.image_sac where the spec has camera frames."""
        if images(spec):
            from serl.agents.image_sac import ImageSAC

            return ImageSAC(self, spec)
        return SAC(self, spec)


@AGENTS.register("rlpd")
def rlpd(**changes: Any) -> SACConfig:
    """SAC with RLPD's settings (arXiv:2302.02948 table 3); the replay mixes in the demos."""
    defaults = SACConfig(activation="relu", utd_ratio=20, backup_entropy=True, temperature=1.0)
    return replace(defaults, **changes)


_FAST = OptimizerConfig(lr=1e-3)

GENERIC_SAC = SACConfig(
    utd_ratio=1,
    tau=0.01,
    num_critics=2,
    hidden=(128, 128),
    activation="relu",
    temperature=0.2,
    actor=_FAST,
    critic=_FAST,
    alpha=_FAST,
)
"""Plain SAC for an env that nobody has tuned: `serl train --env ID`."""


@flax.struct.dataclass
class SACState:
    """Everything that changes, so saving it is enough to resume."""

    actor: Learned
    critic: Learned
    target_critic_params: Any
    temperature: Learned
    key: jax.Array
    step: jax.Array
    """`update` calls so far."""


class SAC(PureAgent):
    """The learner's pure functions."""

    def __init__(self, config: SACConfig, spec: Spec) -> None:
        super().__init__(config, spec)
        cfg = config
        self.scale = self.make_scale()
        encoder = self.make_encoder()
        self.policy = Policy(
            encoder=encoder,
            mlp=MLP(cfg.hidden, cfg.activation, cfg.layer_norm),
            action_dim=self.scale.size,
            std_kind=cfg.std_kind,
            std_min=cfg.std_min,
            std_max=cfg.std_max,
            std_fixed=cfg.std_fixed,
        )
        critic_mlp = MLP(cfg.hidden, cfg.activation, cfg.layer_norm, cfg.dropout, cfg.precision)
        critic = Critic(encoder, critic_mlp)
        self.critics = Ensemble(critic, cfg.num_critics)
        self.target_critics = Ensemble(critic, cfg.num_target_critics)
        self.temperature = Temperature(cfg.temperature)
        self.actor_tx, self.critic_tx = cfg.actor.make(), cfg.critic.make()
        self.temperature_tx = cfg.alpha.make()
        target = cfg.target_entropy
        self.target_entropy = -0.5 * self.scale.size if target is None else target

    def make_scale(self) -> ActionScale:
        """Of the action elements that policy and critics work on: here all of them."""
        return ActionScale.of(self.spec.action)

    def make_encoder(self) -> ObservationEncoder | CodeEncoder:
        """What each network makes of an observation."""
        return state_encoder(self.spec)

    def members(self, params: Any) -> Any:
        """The ensemble's part of the critics' (or target critics') parameters."""
        return params

    @partial(jax.jit, static_argnums=0)
    def init(self, key: jax.Array) -> SACState:
        """A fresh state."""
        actor_key, critic_key, state_key = jax.random.split(key, 3)
        obs = {a.name: jnp.zeros(a.shape, a.dtype) for a in self.spec.observation}
        action = jnp.zeros((self.scale.size,))
        critic_params = self.critics.init(critic_key, obs, action, False)
        return SACState(
            actor=Learned.create(self.policy.init(actor_key, obs), self.actor_tx),
            critic=Learned.create(critic_params, self.critic_tx),
            target_critic_params=jax.tree.map(jnp.copy, critic_params),
            temperature=Learned.create(self.temperature.init(state_key), self.temperature_tx),
            key=state_key,
            step=jnp.zeros((), jnp.int32),
        )

    def learn(self, state: SACState, batches: Batch) -> tuple[SACState, Metrics]:
        """What `update` compiles: U critic updates, then one actor and one temperature update.

        A network whose turn it is not is left alone, optimiser state included. (A zero gradient is
        not "left alone": Adam keeps moving on its old momentum.)
        """
        batches = self.in_units(batches)
        state, critic_metrics = self.update_critics(state, batches)
        state, actor_metrics = self.update_actor(state, batches)
        metrics = {**critic_metrics, **actor_metrics}
        return replace(state, step=state.step + 1), {**metrics, "finite": all_finite(metrics)}

    def in_units(self, batches: Batch) -> Batch:
        """The batches with actions as policy and critics know them."""
        return replace(batches, action=self.scale.to_unit(batches.action))

    def update_critics(self, state: SACState, batches: Batch) -> tuple[SACState, Metrics]:
        """U critic updates, one per minibatch, each followed by its target update.

        The policy stands still meanwhile, so a' of all minibatches comes from one forward pass.
        """
        key, sample_key, scan_key = jax.random.split(state.key, 3)
        next_action, next_logp = self.sample(state.actor.params, batches.next_obs, sample_key)
        keys = jax.random.split(scan_key, next_logp.shape[0])
        state, metrics = jax.lax.scan(
            self.update_critic, replace(state, key=key), (batches, next_action, next_logp, keys)
        )
        return state, jax.tree.map(jnp.mean, metrics)

    def update_critic(
        self, state: SACState, minibatch: tuple[Any, ...]
    ) -> tuple[SACState, Metrics]:
        """One step of the critics on B rows, then one of their targets towards them."""
        batch, next_action, next_logp, key = minibatch
        y = self.targets(state, batch, batch.next_obs, next_action, next_logp, key)
        return self.step_critic(state, batch, y, key)

    def targets(
        self,
        state: SACState,
        batch: Batch,
        next_seen: Mapping[str, jax.Array],
        next_action: jax.Array,
        next_logp: jax.Array,
        key: jax.Array,
    ) -> Any:
        """What the critics are stepped towards: here `critic_target` alone.

        Args:
            batch: its `next_obs` as the target critics see it.
            next_seen: the same as the critics see it.
        """
        return self.critic_target(state, batch, next_action, next_logp, key)

    def step_critic(
        self, state: SACState, batch: Batch, y: Any, key: jax.Array
    ) -> tuple[SACState, Metrics]:
        """One step of the critics towards y, then one of their targets towards them."""
        grads, metrics = jax.grad(self.critic_loss, has_aux=True)(
            state.critic.params, batch, y, key
        )
        critic = state.critic.step(grads, self.critic_tx)
        target = optax.incremental_update(
            critic.params, state.target_critic_params, self.config.tau
        )
        metrics["critic/grad_norm"] = optax.tree.norm(grads)
        return replace(state, critic=critic, target_critic_params=target), metrics

    def critic_target(
        self,
        state: SACState,
        batch: Batch,
        next_action: jax.Array,
        next_logp: jax.Array,
        key: jax.Array,
    ) -> jax.Array:
        """y (B,) from M randomly drawn target members; the others do not run."""
        cfg = self.config
        subset_key, dropout_key = jax.random.split(key)
        members = sac_losses.random_members(
            subset_key,
            self.members(state.target_critic_params),
            cfg.num_critics,
            cfg.num_target_critics,
        )
        next_q = self.q(
            self.target_critics, members, batch.next_obs, next_action, dropout_key
        )  # (M, B)
        alpha = self.alpha(state.temperature.params)
        return sac_losses.soft_target(batch, next_q, next_logp, alpha, cfg.backup_entropy)

    def critic_loss(
        self, params: Any, batch: Batch, y: Any, key: jax.Array
    ) -> tuple[jax.Array, Metrics]:
        """Mean squared soft Bellman error of all E members against the same y."""
        q = self.q(
            self.critics, self.members(params), batch.obs, batch.action, jax.random.fold_in(key, 1)
        )  # (E, B)
        loss = sac_losses.critic_loss(q, y, batch.weight)
        return loss, {
            "critic/loss": loss,
            "critic/q_mean": q.mean(),
            "critic/q_std": q.std(axis=0).mean(),
            "critic/target_mean": y.mean(),
        }

    def update_actor(self, state: SACState, batches: Batch) -> tuple[SACState, Metrics]:
        """One step of the policy on all U*B rows, and one of the temperature."""
        key, loss_key = jax.random.split(state.key)
        rows = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), batches)
        grads, metrics = jax.grad(self.actor_loss, has_aux=True)(
            state.actor.params, state, rows, loss_key
        )
        metrics["actor/grad_norm"] = optax.tree.norm(grads)
        metrics["temperature"] = self.alpha(state.temperature.params)
        actor = state.actor.step(grads, self.actor_tx)
        temperature = self.update_temperature(state.temperature, metrics["actor/entropy"])
        return replace(state, actor=actor, temperature=temperature, key=key), metrics

    def actor_loss(
        self, params: Any, state: SACState, batch: Batch, key: jax.Array
    ) -> tuple[jax.Array, Metrics]:
        """E[α log π - mean Q] of the rows under the policy `params`."""
        sample_key, dropout_key = jax.random.split(key)
        action, logp = self.sample(params, batch.obs, sample_key)  # (B, A), (B,)
        members = self.members(state.critic.params)
        q = mean_q(self.q, self.critics, members, batch.obs, action, dropout_key)
        alpha = self.alpha(state.temperature.params)
        loss, entropy = sac_losses.actor_loss(q, logp, alpha, batch.weight)
        return loss, {"actor/loss": loss, "actor/entropy": entropy, "actor/q_mean": q.mean()}

    def update_temperature(self, temperature: Learned, entropy: jax.Array) -> Learned:
        """One step of α, unless it is fixed."""
        if not self.config.learn_temperature:
            return temperature

        def loss(params: Any) -> jax.Array:
            return sac_losses.temperature_loss(self.alpha(params), entropy, self.target_entropy)

        return temperature.step(jax.grad(loss)(temperature.params), self.temperature_tx)

    def pi(self, actor_params: Any, obs: Mapping[str, jax.Array]) -> TanhGaussian:
        """The policy's distribution over actions in ±1."""
        return cast(TanhGaussian, self.policy.apply(actor_params, obs))

    def sample(
        self, actor_params: Any, obs: Mapping[str, jax.Array], key: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """Actions (..., A) in ±1 and their log densities (...)."""
        pi = self.pi(actor_params, obs)
        return pi.sample(jax.random.normal(key, pi.mean.shape))

    def q(
        self,
        critics: nn.Module,
        params: Any,
        obs: Mapping[str, jax.Array],
        action: jax.Array,
        key: jax.Array,
    ) -> jax.Array:
        """Q of each member of an ensemble: (members, ...); action in ±1."""
        train = self.config.dropout > 0.0
        rngs = {"dropout": key} if train else None
        return cast(jax.Array, critics.apply(params, obs, action, train, rngs=rngs))

    def alpha(self, params: Any) -> jax.Array:
        """The temperature, ()."""
        return cast(jax.Array, self.temperature.apply(params))

    def policy_params(self, state: SACState) -> Any:
        """Only what acts: the policy's parameters, without optimiser state."""
        return state.actor.params["params"]

    @partial(jax.jit, static_argnums=0)
    def act_with(
        self, params: Any, obs: Mapping[str, jax.Array], noise: jax.Array | None
    ) -> jax.Array:
        """As `act`, from standard normal `noise` (A,) drawn elsewhere; None gives the mode."""
        return self.choose({"policy": params}, obs, noise)

    def choose(
        self, params: Any, seen: Mapping[str, jax.Array], noise: jax.Array | None
    ) -> jax.Array:
        """The action of `params["policy"]` for an observation as the networks see it."""
        pi = self.pi({"params": params["policy"]}, seen)
        unit = pi.mode() if noise is None else pi.sample(noise)[0]
        return self.scale.from_unit(unit)
