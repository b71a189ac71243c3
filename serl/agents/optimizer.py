"""The optimiser every network of every agent uses: Adam or AdamW, warm-up, cosine, clipping."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import flax.struct
import jax
import optax

from serl.errors import UserError


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """Adam with optional decoupled weight decay, schedule and clipping, of one network."""

    lr: float = 3e-4
    """Learning rate after warm-up."""
    warmup_steps: int = 0
    """Steps over which the rate rises linearly from 0; 0 starts at `lr`."""
    cosine_steps: int = 0
    """Steps after warm-up over which the rate falls to 0 along a cosine; 0 keeps it constant."""
    weight_decay: float = 0.0
    """AdamW's decoupled decay of kernels (not of biases and norms); 0 is Adam."""
    clip_norm: float = 0.0
    """Largest global norm of a gradient; 0 does not clip."""

    def __post_init__(self) -> None:
        for name in ("lr", "warmup_steps", "cosine_steps", "weight_decay", "clip_norm"):
            if getattr(self, name) < 0:
                raise UserError(
                    f"optimizer.{name} is {getattr(self, name)}; it must not be negative."
                )

    def schedule(self) -> optax.Schedule:
        """Learning rate as a function of the step."""
        parts, ends = [], []
        if self.warmup_steps:
            parts.append(optax.linear_schedule(0.0, self.lr, self.warmup_steps))
            ends.append(self.warmup_steps)
        if self.cosine_steps:
            parts.append(optax.cosine_decay_schedule(self.lr, self.cosine_steps))
        else:
            parts.append(optax.constant_schedule(self.lr))
        return optax.join_schedules(parts, ends)

    def make(self) -> optax.GradientTransformation:
        """The optax chain. Clipping comes first, weight decay is not scaled by Adam."""
        chain = [optax.clip_by_global_norm(self.clip_norm)] if self.clip_norm else []
        chain.append(optax.scale_by_adam())
        if self.weight_decay:
            chain.append(optax.add_decayed_weights(self.weight_decay, mask=_kernels))
        rate = self.schedule() if self.warmup_steps or self.cosine_steps else self.lr
        chain.append(optax.scale_by_learning_rate(rate))
        return optax.chain(*chain)


@flax.struct.dataclass
class Learned:
    """A network's parameters and the state of their own optimiser: data only."""

    params: Any
    opt_state: optax.OptState

    @staticmethod
    def create(params: Any, tx: optax.GradientTransformation) -> Learned:
        return Learned(params, tx.init(params))

    def step(self, grads: Any, tx: optax.GradientTransformation) -> Learned:
        """One gradient step of this network alone."""
        updates, opt_state = tx.update(grads, self.opt_state, self.params)
        return Learned(optax.apply_updates(self.params, updates), opt_state)


def _kernels(params: Any) -> Any:
    """True at the leaves named 'kernel'."""
    return jax.tree.map_with_path(lambda path, _: path[-1].key == "kernel", params)
