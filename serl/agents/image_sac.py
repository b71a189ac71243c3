"""SAC from camera frames: codes of the cameras stand in for the frames, the rest is SAC.

What learns from images are the heads (serl/networks/image_head.py): one set, shared by all critics,
trained by the critics' loss alone. Every member has its own layers from the codes on, its output
layer included. The policy sees the critics' codes through a stop-gradient. How frames are seen, by
a frozen trunk's features or by a trunk that is one more part of the critics: serl/agents/seeing.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from serl.agents.base import Batch, Metrics
from serl.agents.optimizer import Learned
from serl.agents.sac import SAC, SACConfig, SACState
from serl.agents.seeing import Seeing, seeing_params
from serl.types import Spec


class ImageSAC(Seeing, SAC):
    """As SAC. `critic.params` is {"heads": …, "members": …} and, if it is trained, {"trunk": …}.

    Args:
        config: `config.image` says how frames are seen.
        spec: of the environment, with at least one uint8 (H, W, 3) observation; all of one size.
    """

    def __init__(self, config: SACConfig, spec: Spec) -> None:
        self.open_eyes(config.image, spec, config.precision)
        super().__init__(config, spec)

    def members(self, params: Any) -> Any:
        """The ensemble's part of the critics' (or target critics') parameters."""
        return params["members"]

    @partial(jax.jit, static_argnums=0)
    def init(self, key: jax.Array) -> SACState:
        """A fresh state."""
        actor_key, critic_key, head_key, trunk_key, state_key = jax.random.split(key, 5)
        obs = {a.name: jnp.zeros(a.shape, a.dtype) for a in self.seen_spec.observation}
        critic_params = self.first_eyes(head_key, trunk_key, obs)
        coded = self.see(critic_params, obs)
        action = jnp.zeros((self.scale.size,))
        critic_params["members"] = self.critics.init(critic_key, coded, action, False)
        return SACState(
            actor=Learned.create(self.policy.init(actor_key, coded), self.actor_tx),
            critic=Learned.create(critic_params, self.critic_tx),
            target_critic_params=jax.tree.map(jnp.copy, critic_params),
            temperature=Learned.create(self.temperature.init(state_key), self.temperature_tx),
            key=state_key,
            step=jnp.zeros((), jnp.int32),
        )

    def update_critics(self, state: SACState, batches: Batch) -> tuple[SACState, Metrics]:
        """U critic updates, one per minibatch, each followed by its target update.

        The policy stands still meanwhile, but the codes it sees move with the heads, so a' is drawn
        within each.
        """
        key, scan_key = jax.random.split(state.key)
        keys = jax.random.split(scan_key, batches.reward.shape[0])
        state, metrics = jax.lax.scan(self.update_critic, replace(state, key=key), (batches, keys))
        return state, jax.tree.map(jnp.mean, metrics)

    def update_critic(
        self, state: SACState, minibatch: tuple[Any, ...]
    ) -> tuple[SACState, Metrics]:
        """One step of heads and critics on B rows, then one of their targets towards them."""
        batch, key = minibatch
        keys = jax.random.split(key, 7)
        obs, next_obs = self.shift(batch.obs, keys[0]), self.shift(batch.next_obs, keys[1])
        online_seen = jax.lax.stop_gradient(self.see(state.critic.params, next_obs, keys[2]))
        next_action, next_logp = self.sample(state.actor.params, online_seen, keys[3])
        next_seen = self.see(state.target_critic_params, next_obs, keys[4])
        batch = replace(batch, obs=obs, next_obs=next_seen)
        y = self.targets(state, batch, online_seen, next_action, next_logp, keys[5])
        return self.step_critic(state, batch, y, keys[6])

    def critic_loss(
        self, params: Any, batch: Batch, y: Any, key: jax.Array
    ) -> tuple[jax.Array, Metrics]:
        """As SAC's. The heads run once for all members, and learn from them all."""
        seen = self.see(params, batch.obs, jax.random.fold_in(key, 2))
        return super().critic_loss(params, replace(batch, obs=seen), y, key)

    def update_actor(self, state: SACState, batches: Batch) -> tuple[SACState, Metrics]:
        """One step of policy and temperature on the last minibatches; the heads only look."""
        last = self.image.actor_minibatches
        batches = jax.tree.map(lambda leaf: leaf[-last:], replace(batches, next_obs={}))
        key, shift_key, see_key = jax.random.split(state.key, 3)
        lead = batches.reward.shape
        rows = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), batches.obs)
        seen = self.see(state.critic.params, self.shift(rows, shift_key), see_key)
        seen = jax.tree.map(
            lambda leaf: jax.lax.stop_gradient(leaf).reshape(*lead, *leaf.shape[1:]), seen
        )
        return super().update_actor(replace(state, key=key), replace(batches, obs=seen))

    def policy_params(self, state: SACState) -> Any:
        """Only what acts: the policy, and the heads (and trunk, if trained) it sees with."""
        return {"policy": state.actor.params["params"], **seeing_params(state.critic.params)}

    @partial(jax.jit, static_argnums=0)
    def act_with(
        self, params: Any, obs: Mapping[str, jax.Array], noise: jax.Array | None
    ) -> jax.Array:
        """One action (A,) in the env's bounds, from unbatched observations as `seen_spec` has them;
        features may also come as their bits, uint16. Without `noise` (A,) the mode."""
        return self.choose(params, self.see(params, obs), noise)
