"""Behaviour cloning: a Gaussian policy by maximum likelihood.

The mean is where the expert went, the standard deviation how sure that is. There is one mean: of
two ways round an obstacle it takes the middle (serl/agents/flow_bc.py does not).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import log, pi
from typing import Any

import jax
import jax.numpy as jnp

from serl.agents.base import AGENTS, Batch, Metrics, check_choice, check_range
from serl.agents.bc_base import Imitator, ImitatorConfig, Observations
from serl.agents.sac_losses import weighted_mean
from serl.agents.seeing import Seeing
from serl.networks.mlp import MLP
from serl.networks.policy import STD_KINDS, Policy
from serl.networks.tanh_gaussian import TanhGaussian
from serl.pixels import images
from serl.types import Spec

EDGE = 1.0 - 1e-6
"""Beyond this a squashed action is clipped before its likelihood is taken: a tanh reaches ±1 only
at infinity. Source: HIL-SERL, serl.md 1.10."""


@AGENTS.register("bc")
@dataclass(frozen=True, kw_only=True)
class BCConfig(ImitatorConfig):
    """Settings of behaviour cloning."""

    squash: bool = False
    """Whether the Gaussian lies under a tanh, as SAC's; otherwise the env's bounds cut it off, and
    an action at a bound is a number like any other. SERL and HIL-SERL: not."""
    std_kind: str = "exp"
    """One of serl.networks.policy.STD_KINDS; "fixed" is least squares."""
    std_min: float = 0.05
    """Smallest standard deviation. An element that never errs has no other limit, and its slope
    grows with 1/std²: at 1e-5 a gripper that is ±1 throughout drowns the arm."""
    std_max: float = 2.0
    std_fixed: float = 0.1
    """The standard deviation where `std_kind` is "fixed"."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("std_kind", self.std_kind, STD_KINDS)
        check_range("std_min", self.std_min, 1e-8, self.std_max)
        check_range("std_fixed", self.std_fixed, self.std_min, self.std_max)

    def make(self, spec: Spec) -> BC:
        """The agent; one that sees where the spec has camera frames."""
        return ImageBC(self, spec) if images(spec) else BC(self, spec)


class BC(Imitator):
    """The learner's pure functions."""

    def __init__(self, config: BCConfig, spec: Spec) -> None:
        super().__init__(config, spec)
        self.network = Policy(
            encoder=self.make_encoder(),
            mlp=MLP(config.hidden, config.activation, config.layer_norm, config.dropout),
            action_dim=self.scale.size,
            std_kind=config.std_kind,
            std_min=config.std_min,
            std_max=config.std_max,
            std_fixed=config.std_fixed,
        )

    def first_policy(self, key: jax.Array, seen: Observations) -> Any:
        """Fresh parameters of the network."""
        return self.network.init(key, seen)["params"]

    def loss(
        self, params: Any, seen: Observations, batch: Batch, key: jax.Array
    ) -> tuple[jax.Array, Metrics]:
        """-E[log π(a|s)], and the squared error of the mode."""
        gaussian: TanhGaussian = self.apply(params, seen, key=key)
        loss = -weighted_mean(self.log_prob(gaussian, batch.action), batch.weight)
        error = jnp.mean((self.mode(gaussian) - batch.action) ** 2, axis=-1)
        return loss, {
            "bc/loss": loss,
            "bc/mse": weighted_mean(error, batch.weight),
            "bc/std": gaussian.std.mean(),
        }

    def log_prob(self, gaussian: TanhGaussian, action: jax.Array) -> jax.Array:
        """Log density (...) of actions (..., A) in ±1."""
        if self.config.squash:
            return gaussian.log_prob(jnp.clip(action, -EDGE, EDGE))
        z = (action - gaussian.mean) / gaussian.std
        return jnp.sum(-0.5 * z**2 - jnp.log(gaussian.std) - 0.5 * log(2.0 * pi), axis=-1)

    def mode(self, gaussian: TanhGaussian) -> jax.Array:
        """The likeliest action, in ±1: the mean, cut off or squashed."""
        return gaussian.mode() if self.config.squash else jnp.clip(gaussian.mean, -1.0, 1.0)

    def choose(self, params: Any, seen: Observations, noise: jax.Array | None) -> jax.Array:
        """The mode, or with noise a draw."""
        gaussian: TanhGaussian = self.apply(params, seen)
        if noise is None:
            return self.scale.from_unit(self.mode(gaussian))
        if self.config.squash:
            return self.scale.from_unit(gaussian.sample(noise)[0])
        return self.scale.from_unit(gaussian.mean + gaussian.std * noise)


class ImageBC(Seeing, BC):
    """As BC, from camera frames: its heads learn from the same likelihood."""

    def __init__(self, config: BCConfig, spec: Spec) -> None:
        self.open_eyes(config.image, spec, "float32")
        super().__init__(config, spec)
