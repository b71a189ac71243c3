"""HIL-SERL's agent: SAC moves the arms, a double DQN chooses what the grippers do.

Policy, critics and target entropy know the continuous elements alone; the grasp critic knows the
state and gives a value to each joint class of the grippers (serl/agents/grasp.py). It is stepped
with the critics, on the same minibatches, towards its own target, which alone holds the grasp
penalty. Everything else is SAC's, or ImageSAC's. Source: arXiv:2410.21845; serl.md 1.8.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, ClassVar, cast

import jax
import jax.numpy as jnp
import optax

from serl.agents import sac_losses
from serl.agents.base import AGENTS, ActionScale, Batch, Metrics
from serl.agents.grasp import (
    GraspConfig,
    Grippers,
    best_class,
    class_values,
    explored,
    grasp_target,
)
from serl.agents.image_sac import ImageSAC
from serl.agents.optimizer import Learned
from serl.agents.sac import SAC, SACConfig, SACState
from serl.data.mixing import GRASP_PENALTY
from serl.errors import SpecMismatch
from serl.networks.grasp import GraspCritic, GraspEnsemble
from serl.networks.mlp import MLP
from serl.pixels import images
from serl.types import Spec

CLASS = "grasp_class"
"""Where a batch in units keeps the joint class of each row, among its extras."""


@AGENTS.register("hybrid_sac")
@dataclass(frozen=True, kw_only=True)
class HybridSACConfig(SACConfig):
    """SAC's settings for the arms, and the grasp critic's. Needs a gripper that toggles or has
    three ways: `env.action.gripper`."""

    needs_gripper: ClassVar[bool] = True

    grasp: GraspConfig = field(default_factory=GraspConfig)

    def make(self, spec: Spec) -> HybridSAC:
        """The agent. Raises UserError unless the action has a gripper's element and another."""
        return ImageHybridSAC(self, spec) if images(spec) else HybridSAC(self, spec)


class HybridSAC(SAC):
    """As SAC. `critic.params` is {"members": …, "grasp": …}, each with an optimiser of its own."""

    config: HybridSACConfig

    def __init__(self, config: HybridSACConfig, spec: Spec) -> None:
        self.grippers = Grippers.of(spec.action)
        super().__init__(config, spec)
        mlp = MLP(config.grasp.hidden, config.activation, precision=config.precision)
        critic = GraspCritic(self.make_encoder(), mlp, self.grippers.classes)
        self.grasp = GraspEnsemble(critic, config.grasp.num_critics)
        parts = {"grasp": config.grasp.optimizer.make(), "rest": self.critic_tx}
        self.critic_tx = optax.partition(parts, _part_of)

    def make_scale(self) -> ActionScale:
        """Of the elements that are no grippers."""
        return ActionScale.of(self.spec.action).part(self.grippers.moves)

    def members(self, params: Any) -> Any:
        """The ensemble's part of the critics' (or target critics') parameters."""
        return params["members"]

    @partial(jax.jit, static_argnums=0)
    def init(self, key: jax.Array) -> SACState:
        """A fresh state."""
        state = super().init(key)
        obs = {a.name: jnp.zeros(a.shape, a.dtype) for a in self.spec.observation}
        return self.with_grasp(state, {"members": state.critic.params}, obs, key)

    def with_grasp(
        self, state: SACState, params: Any, seen: Mapping[str, jax.Array], key: jax.Array
    ) -> SACState:
        """The state with a fresh grasp critic beside the critics' `params`."""
        grasp = self.grasp.init(jax.random.fold_in(key, 1), seen)["params"]
        params = {**params, "grasp": grasp}
        target = jax.tree.map(jnp.copy, params)
        critic = Learned.create(params, self.critic_tx)
        return replace(state, critic=critic, target_critic_params=target)

    def in_units(self, batches: Batch) -> Batch:
        """Continuous elements in ±1, and the grippers' class among the extras."""
        moves = batches.action[..., jnp.array(self.grippers.moves)]
        extra = {**batches.extra, CLASS: self.grippers.class_of(batches.action)}
        return replace(batches, action=self.scale.to_unit(moves), extra=extra)

    def penalty(self, batch: Batch) -> jax.Array:
        """The grasp penalty of each row (B,), by name; 0 where the spec has none.

        Raises:
            SpecMismatch: the spec has it and the batch has not.
        """
        if not any(array.name == GRASP_PENALTY for array in self.spec.extras):
            return jnp.zeros_like(batch.reward)
        if GRASP_PENALTY not in batch.extra:
            raise SpecMismatch(
                f"the batch's extras {sorted(batch.extra)} lack {GRASP_PENALTY!r}, which the spec "
                "has: every update of the grasp critic needs it."
            )
        return batch.extra[GRASP_PENALTY].reshape(batch.reward.shape)

    def targets(
        self,
        state: SACState,
        batch: Batch,
        next_seen: Mapping[str, jax.Array],
        next_action: jax.Array,
        next_logp: jax.Array,
        key: jax.Array,
    ) -> tuple[jax.Array, jax.Array]:
        """What the critics, and what the grasp critics are stepped towards: (B,) each."""
        y = super().targets(state, batch, next_seen, next_action, next_logp, key)
        online_q = self.grasp_q(state.critic.params, next_seen)
        target_q = self.grasp_q(state.target_critic_params, batch.next_obs)
        return y, grasp_target(batch, self.penalty(batch), online_q, target_q)

    def critic_loss(
        self, params: Any, batch: Batch, y: Any, key: jax.Array
    ) -> tuple[jax.Array, Metrics]:
        """SAC's, plus the mean squared error of the grasp critics on the classes that were done.

        The two share no parameter but the heads of cameras.
        """
        y, y_grasp = y
        loss, metrics = super().critic_loss(params, batch, y, key)
        teaches = self.config.grasp.teaches_heads
        seen = batch.obs if teaches else jax.lax.stop_gradient(dict(batch.obs))
        q = class_values(self.grasp_q(params, seen), batch.extra[CLASS])  # (E, B)
        grasp_loss = sac_losses.critic_loss(q, y_grasp, batch.weight)
        return loss + grasp_loss, {
            **metrics,
            "grasp/loss": grasp_loss,
            "grasp/q_mean": q.mean(),
            "grasp/target_mean": y_grasp.mean(),
            "grasp/penalty_mean": self.penalty(batch).mean(),
        }

    def grasp_q(self, params: Any, seen: Mapping[str, jax.Array]) -> jax.Array:
        """Q of each class: (E, ..., G)."""
        return cast(jax.Array, self.grasp.apply({"params": params["grasp"]}, seen))

    def policy_params(self, state: SACState) -> Any:
        """Only what acts: policy and grasp critic."""
        return {"policy": state.actor.params["params"], "grasp": state.critic.params["grasp"]}

    @partial(jax.jit, static_argnums=0)
    def act_with(
        self, params: Any, obs: Mapping[str, jax.Array], noise: jax.Array | None
    ) -> jax.Array:
        """As `act`, from standard normal `noise` (A,) drawn elsewhere; None gives mode and best
        class. With noise the class is now and then a random one: the first gripper's element of
        the noise says when and which."""
        return self.choose(params, obs, noise)

    def choose(
        self, params: Any, seen: Mapping[str, jax.Array], noise: jax.Array | None
    ) -> jax.Array:
        """SAC's continuous elements and the grippers' class, as one action."""
        grippers = self.grippers
        joint = best_class(self.grasp_q(params, seen))
        moves_noise = None
        if noise is not None:
            noise = jnp.asarray(noise)
            moves_noise = noise[jnp.array(grippers.moves)]
            z = noise[grippers.columns[0]]
            joint = explored(joint, z, self.config.grasp.epsilon, grippers.classes)
        moves = super().choose(params, seen, moves_noise)
        return grippers.joined(moves, grippers.elements_of(joint))


class ImageHybridSAC(ImageSAC, HybridSAC):
    """As HybridSAC, from camera frames. The grasp critic sees the codes of the heads that it shares
    with the critics, and teaches them too unless `config.grasp.teaches_heads` is off."""

    @partial(jax.jit, static_argnums=0)
    def init(self, key: jax.Array) -> SACState:
        """A fresh state."""
        state = super().init(key)
        obs = {a.name: jnp.zeros(a.shape, a.dtype) for a in self.seen_spec.observation}
        params = state.critic.params
        return self.with_grasp(state, params, self.see(params, obs), key)

    def policy_params(self, state: SACState) -> Any:
        """Only what acts: policy, grasp critic, and the heads (and trunk, if trained)."""
        return {**super().policy_params(state), "grasp": state.critic.params["grasp"]}


def _part_of(params: Any) -> Any:
    """Which optimiser each of the critics' parameters has: 'grasp' or 'rest'."""
    return {name: "grasp" if name == "grasp" else "rest" for name in params}
