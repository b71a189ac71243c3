"""SAC from camera frames: codes of the cameras stand in for the frames, the rest is SAC.

What learns from images are the heads (serl/networks/image_head.py): one set, shared by all critics,
trained by the critics' loss alone. Every member has its own layers from the codes on, its output
layer included. The policy sees the critics' codes through a stop-gradient. With a frozen trunk the
agent is given the trunk's features and never holds the trunk; otherwise it is given frames, shifts
them, and the trunk is one more part of the critics.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax.core import unfreeze

from serl import pixels
from serl.agents.base import Batch, Metrics
from serl.agents.optimizer import Learned
from serl.agents.sac import SAC, SACConfig, SACState
from serl.errors import SpecMismatch, UserError
from serl.networks.augment import augmented
from serl.networks.crops import random_offsets, shifted
from serl.networks.image_head import CodeEncoder, ImageHead, ImageHeads
from serl.networks.trunk import TRUNKS, default_trunk, feature_shape
from serl.types import ArraySpec, Spec

Observations = Mapping[str, jax.Array]

feature_shape = cache(feature_shape)


class ImageSAC(SAC):
    """As SAC. `critic.params` is {"heads": …, "members": …} and, if it is trained, {"trunk": …}.

    Args:
        config: `config.image` says how frames are seen.
        spec: of the environment, with at least one uint8 (H, W, 3) observation; all of one size.
    """

    def __init__(self, config: SACConfig, spec: Spec) -> None:
        self.image = image = config.image
        frames = pixels.images(spec)
        self.cameras = tuple(a.name for a in frames)
        if len({a.shape for a in frames}) > 1:
            sizes = ", ".join(f"{a.name} {a.shape}" for a in frames)
            raise UserError(f"cameras of different sizes: {sizes}. Give all the same `size`.")
        self.frame_shape = frames[0].shape
        self.trunk_name = default_trunk() if image.trunk == "auto" else image.trunk
        self.trunk = TRUNKS.get(self.trunk_name)()
        self.feature_shape = feature_shape(self.trunk_name, self.frame_shape)  # pyright: ignore
        self.stack_axis = (image.stack,) if image.stack > 1 else ()
        head = ImageHead(
            pooling=image.pooling,
            embeddings=image.embeddings,
            bottleneck=image.bottleneck,
            dropout=image.dropout,
            stack=image.stack,
            precision=config.precision,
        )
        self.heads = ImageHeads(self.cameras, head)
        super().__init__(config, spec)

    def make_encoder(self) -> CodeEncoder:
        """Codes of the cameras and of all that is no frame."""
        state = tuple(
            (a.name, (*self.stack_axis, *a.shape))
            for a in self.spec.observation
            if a.name not in self.cameras
        )
        return CodeEncoder(self.cameras, state, self.image.state_code)

    @property
    def encodes(self) -> bool:
        """Whether a frozen trunk comes before this agent; otherwise it is given frames."""
        return self.image.frozen

    @property
    def seen_spec(self) -> Spec:
        """With a frozen trunk features for frames; with stacks of T an axis T before each shape."""

        def seen(array: ArraySpec) -> ArraySpec:
            camera = array.name in self.cameras
            if camera and self.encodes:
                array = replace(array, shape=self.feature_shape, dtype="bfloat16")
            return replace(array, shape=(*self.stack_axis, *array.shape), low=None, high=None)

        return replace(self.spec, observation=tuple(map(seen, self.spec.observation)))

    @property
    def record_spec(self) -> Spec:
        """The spec, with room for the features of a frozen trunk where the learner keeps any."""
        kept = self.encodes and self.image.crops > 0
        return pixels.record_spec(self.spec, self.feature_shape) if kept else self.spec

    def members(self, params: Any) -> Any:
        """The ensemble's part of the critics' (or target critics') parameters."""
        return params["members"]

    @partial(jax.jit, static_argnums=0)
    def init(self, key: jax.Array) -> SACState:
        """A fresh state."""
        actor_key, critic_key, head_key, trunk_key, state_key = jax.random.split(key, 5)
        obs = {a.name: jnp.zeros(a.shape, a.dtype) for a in self.seen_spec.observation}
        critic_params = {} if self.encodes else {"trunk": self.first_trunk(trunk_key)}
        maps = self.features(critic_params, obs)
        critic_params["heads"] = self.heads.init(head_key, maps)["params"]
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

    def first_trunk(self, key: jax.Array) -> Any:
        """Parameters that a trunk to be trained starts from: the weights its config names."""
        if self.image.weights == "random":
            frame = jnp.zeros(self.frame_shape, jnp.uint8)
            return unfreeze(self.trunk.init(key, frame))["params"]
        from serl.trunk import load_trunk

        params = load_trunk(replace(self.image, trunk=self.trunk_name)).params
        return jax.tree.map(jnp.asarray, params)

    # Seeing.

    def see(self, params: Any, obs: Observations, key: jax.Array | None = None) -> Observations:
        """Observations with each camera's code (..., bottleneck) in place of what it shows.

        Args:
            params: the critics', or the target critics', or what is published: heads and trunk.
            key: for the dropout of pooled features; None leaves none out.
        """
        rngs = {"dropout": key} if key is not None and self.image.dropout > 0.0 else None
        maps = self.features(params, obs)
        codes = self.heads.apply({"params": params["heads"]}, maps, rngs is not None, rngs=rngs)
        return {**obs, **codes}  # pyright: ignore

    def features(self, params: Any, obs: Observations) -> Observations:
        """Each camera's maps ([T,] h, w, C): as given, or by the trunk that is being trained."""
        shown = {camera: jnp.asarray(obs[camera]) for camera in self.cameras}
        self._check(shown)
        if self.encodes:
            return {
                camera: jax.lax.bitcast_convert_type(x, jnp.bfloat16) if x.dtype == np.uint16 else x
                for camera, x in shown.items()
            }
        frames = jnp.stack([shown[camera] for camera in self.cameras])
        flat = frames.reshape(-1, *self.frame_shape)
        maps = self.trunk.apply({"params": params["trunk"]}, flat)
        maps = maps.reshape(*frames.shape[:-3], *self.feature_shape)  # pyright: ignore
        return dict(zip(self.cameras, maps, strict=True))

    def shift(self, obs: Observations, key: jax.Array) -> Observations:
        """Frames (B, [T,] H, W, 3) shifted by a random offset of each row and camera (DrQ,
        arXiv:2004.13649) and augmented; all T frames alike. Features come from such frames."""
        px, augment = self.image.shift_px, self.image.augment
        if self.encodes:
            return obs
        keys = jax.random.split(key, len(self.cameras))
        out = dict(obs)
        for camera, camera_key in zip(self.cameras, keys, strict=True):
            frames = obs[camera]
            if augment.on:
                row_keys = jax.random.split(jax.random.fold_in(camera_key, 1), len(frames))
                frames = augmented(frames, row_keys, augment)
            offsets = random_offsets(camera_key, frames.shape[:1], px)
            offsets = jnp.repeat(offsets, self.image.stack, axis=0)
            flat = frames.reshape(-1, *self.frame_shape)
            out[camera] = shifted(flat, offsets, px).reshape(frames.shape)
        return out

    def _check(self, shown: Observations) -> None:
        """Raises SpecMismatch where a camera shows something else than `seen_spec` says."""
        expected = self.feature_shape if self.encodes else self.frame_shape
        expected = (*self.stack_axis, *expected)
        dtypes = ("bfloat16", "uint16", "float32") if self.encodes else ("uint8",)
        for camera, x in shown.items():
            if x.shape[-len(expected) :] != expected or x.dtype.name not in dtypes:
                what = f"features of trunk {self.trunk_name!r}" if self.encodes else "frames"
                raise SpecMismatch(
                    f"camera {camera!r} shows {x.dtype.name} {x.shape}; this agent sees {what}, "
                    f"{dtypes[0]} {expected}."
                )

    # Learning.

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
        next_seen = jax.lax.stop_gradient(self.see(state.critic.params, next_obs, keys[2]))
        next_action, next_logp = self.sample(state.actor.params, next_seen, keys[3])
        next_seen = self.see(state.target_critic_params, next_obs, keys[4])
        batch = replace(batch, obs=obs, next_obs=next_seen)
        y = self.critic_target(state, batch, next_action, next_logp, keys[5])
        return self.step_critic(state, batch, y, keys[6])

    def critic_loss(
        self, params: Any, batch: Batch, y: jax.Array, key: jax.Array
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

    # Acting.

    def policy_params(self, state: SACState) -> Any:
        """Only what acts: the policy, and the heads (and trunk, if trained) it sees with."""
        critic = state.critic.params
        seeing = {name: critic[name] for name in ("heads", "trunk") if name in critic}
        return {"policy": state.actor.params["params"], **seeing}

    @partial(jax.jit, static_argnums=0)
    def act_with(
        self, params: Any, obs: Mapping[str, jax.Array], noise: jax.Array | None
    ) -> jax.Array:
        """One action (A,) in the env's bounds, from unbatched observations as `seen_spec` has them;
        features may also come as their bits, uint16. Without `noise` (A,) the mode."""
        pi = self.pi({"params": params["policy"]}, self.see(params, obs))
        unit = pi.mode() if noise is None else pi.sample(noise)[0]
        return self.scale.from_unit(unit)
