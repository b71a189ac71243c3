"""Behaviour cloning by flow matching: a policy of any shape, over chunks of the next H actions.

A velocity field carries noise (t = 0) along straight lines to what the expert did (t = 1); K Euler
steps follow it. Where experts went left or right, the noise decides, and no policy goes between.
Sources: flow matching, arXiv:2210.02747; rectified flow, arXiv:2209.03003; action chunks,
arXiv:2304.13705.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np

from serl.agents.base import AGENTS, Batch, Metrics, check_range
from serl.agents.bc_base import Imitator, ImitatorConfig, Observations
from serl.agents.seeing import Seeing
from serl.data.mixing import CHUNK_ACTION, CHUNK_VALID
from serl.errors import SpecMismatch
from serl.networks.flow import FlowField
from serl.networks.mlp import MLP
from serl.pixels import images
from serl.types import ArraySpec, Spec


@AGENTS.register("flow_bc")
@dataclass(frozen=True, kw_only=True)
class FlowBCConfig(ImitatorConfig):
    """Settings of flow matching."""

    hidden: tuple[int, ...] = (256, 256, 256)
    chunk: int = 8
    """H, actions that are predicted at once: the next H steps of the same episode."""
    euler_steps: int = 10
    """K, evaluations of the field per chunk."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("chunk", self.chunk, 1, 256)
        check_range("euler_steps", self.euler_steps, 1, 1000)

    def make(self, spec: Spec) -> FlowBC:
        """The agent; one that sees where the spec has camera frames."""
        return ImageFlowBC(self, spec) if images(spec) else FlowBC(self, spec)


class FlowBC(Imitator):
    """The learner's pure functions. `act` and `act_with` give the first action of a chunk, so that
    an actor that knows nothing of chunks plans anew at every step; `act_chunk` gives all H.

    With H > 1, `update` needs `extra["chunk/action"]` (U, B, H, A) in the env's bounds and
    `extra["chunk/valid"]` (U, B, H), as MixedSampler's `chunk` makes them.
    """

    def __init__(self, config: FlowBCConfig, spec: Spec) -> None:
        super().__init__(config, spec)
        self.network = FlowField(
            encoder=self.make_encoder(),
            mlp=MLP(config.hidden, config.activation, config.layer_norm, config.dropout),
        )

    @property
    def chunk(self) -> int:
        """H."""
        return self.config.chunk

    @property
    def seen_spec(self) -> Spec:
        """The spec, with the chunks among its extras."""
        spec = super().seen_spec
        if self.chunk == 1:
            return spec
        chunks = (
            ArraySpec(name=CHUNK_ACTION, shape=(self.chunk, self.scale.size), dtype="float32"),
            ArraySpec(name=CHUNK_VALID, shape=(self.chunk,), dtype="bool"),
        )
        return replace(spec, extras=(*spec.extras, *chunks))

    def first_policy(self, key: jax.Array, seen: Observations) -> Any:
        """Fresh parameters of the network."""
        x = jnp.zeros((self.chunk, self.scale.size))
        return self.network.init(key, seen, x, jnp.zeros(()))["params"]

    def loss(
        self, params: Any, seen: Observations, batch: Batch, key: jax.Array
    ) -> tuple[jax.Array, Metrics]:
        """Mean squared error of the velocity over the actions of a chunk that there are:

            E ‖ v((1 - t) z + t a, t, s) - (a - z) ‖²,   z ~ N(0, 1),  t ~ U(0, 1)

        Source: rectified flow, arXiv:2209.03003 eq. 1.
        """
        target, valid = self.chunks(batch)
        noise_key, time_key, dropout_key = jax.random.split(key, 3)
        z = jax.random.normal(noise_key, target.shape)
        t = jax.random.uniform(time_key, target.shape[:1])
        x = z + t[:, None, None] * (target - z)
        v = self.apply(params, seen, x, t, key=dropout_key)
        error = jnp.mean((v - (target - z)) ** 2, axis=-1)  # (B, H)
        weight = batch.weight[:, None] * valid
        loss = jnp.sum(weight * error) / jnp.maximum(jnp.sum(weight), jnp.finfo(error.dtype).tiny)
        return loss, {"bc/loss": loss}

    def chunks(self, batch: Batch) -> tuple[jax.Array, jax.Array]:
        """The next H actions (B, H, A) in ±1, and which of them there are (B, H).

        Raises:
            SpecMismatch: the batch has none, or of another length.
        """
        if self.chunk == 1:
            return batch.action[:, None], jnp.ones((len(batch.action), 1))
        if CHUNK_ACTION not in batch.extra or CHUNK_VALID not in batch.extra:
            raise SpecMismatch(
                f"agent flow_bc learns chunks of {self.chunk} actions, and the batch's extras "
                f"{sorted(batch.extra)} lack {CHUNK_ACTION!r}: draw it with MixedSampler's chunk."
            )
        action, valid = batch.extra[CHUNK_ACTION], batch.extra[CHUNK_VALID]
        if action.shape[1] != self.chunk:
            raise SpecMismatch(
                f"agent flow_bc learns chunks of {self.chunk} actions, and the batch's have "
                f"{action.shape[1]}: draw it with the agent's chunk."
            )
        return self.scale.to_unit(action), valid.astype(jnp.float32)

    @partial(jax.jit, static_argnums=0)
    def act_chunk(self, params: Any, obs: Observations, noise: jax.Array | None) -> jax.Array:
        """The next H actions (H, A) in the env's bounds; `noise` (A,) as for `act_with`."""
        return self.plan(params["policy"], self.see(params, obs), noise)

    def choose(self, params: Any, seen: Observations, noise: jax.Array | None) -> jax.Array:
        """The first action of the chunk."""
        return self.plan(params, seen, noise)[0]

    def plan(self, params: Any, seen: Observations, noise: jax.Array | None) -> jax.Array:
        """K Euler steps from the noise that `noise` stands for; from 0 without any."""
        shape = (self.chunk, self.scale.size)
        x = jnp.zeros(shape) if noise is None else chunk_noise(jnp.asarray(noise), self.chunk)
        dt = 1.0 / self.config.euler_steps

        def step(x: jax.Array, t: jax.Array) -> tuple[jax.Array, None]:
            return x + dt * self.apply(params, seen, x, t), None

        x, _ = jax.lax.scan(step, x, dt * jnp.arange(self.config.euler_steps))
        return self.scale.from_unit(cast(jax.Array, x))


def chunk_noise(noise: jax.Array, chunk: int) -> jax.Array:
    """Standard normal (H, A) of standard normal (A,): that is row 0, and its bits are the key that
    the others are drawn with. Zeros stay zeros."""
    bits = jax.lax.bitcast_convert_type(noise.astype(jnp.float32), jnp.uint32)
    odd = np.arange(1, 2 * len(bits), 2, dtype=np.uint32) * np.uint32(2654435761)
    key = jax.random.key(jnp.sum(bits * odd, dtype=jnp.uint32))
    rest = jax.random.normal(key, (chunk - 1, len(noise)))
    return jnp.concatenate([noise[None], jnp.any(noise != 0.0) * rest])


class ImageFlowBC(Seeing, FlowBC):
    """As FlowBC, from camera frames: its heads learn from the same error."""

    def __init__(self, config: FlowBCConfig, spec: Spec) -> None:
        self.open_eyes(config.image, spec, "float32")
        super().__init__(config, spec)
