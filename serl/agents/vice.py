"""VICE: the reward is a classifier's, trained along with the policy from pictures of success.

Positives are pictures of the goal; negatives are what the replay shows, successes of the policy
included, so that where it always succeeds the classifier ends undecided. Sources: VICE,
arXiv:1805.11686, and SERL's form of it (arXiv:2401.16013, serl.md 1.11): mixup, label smoothing, a
gradient penalty. The classifier has heads of its own on the frozen trunk's features.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, ClassVar, cast

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import optax

from serl.agents.base import AGENTS, Batch, Metrics, check_choice, check_range
from serl.agents.image_sac import ImageSAC
from serl.agents.optimizer import Learned, OptimizerConfig
from serl.agents.sac import SACConfig, SACState
from serl.errors import SpecMismatch, UserError
from serl.networks.image_head import ImageHead, ImageHeads
from serl.networks.mlp import kernel_init
from serl.networks.norm_act import NormAct
from serl.pixels import GOAL, images
from serl.types import ArraySpec, Spec

REWARDS = ("probability", "threshold")

Maps = Mapping[str, jax.Array]
"""Features by camera, (N, h, w, C)."""


@dataclass(frozen=True, kw_only=True)
class GoalClassifierConfig:
    """The classifier and how it is trained. Its pooling is `image`'s."""

    reward: str = "probability"
    """"probability" that next_obs is a success; or "threshold": 1 where that is at least a half
    (SERL's)."""
    terminations: bool = False
    """Whether an episode's end counts as an end. An env that ends at its own idea of success would
    tell what only the pictures should, and a policy that is paid by the step would avoid it."""
    hidden: int = 256
    dropout: float = 0.1
    label_smoothing: float = 0.2
    """0.2 makes the labels 0.9 and 0.1."""
    mixup: bool = True
    """Train on mixtures of any two rows, their share uniform (Beta(1, 1)). arXiv:1710.09412."""
    gradient_penalty: float = 10.0
    """Weight of (‖∂logit/∂features‖ - 1)² between positives and negatives. arXiv:1704.00028."""
    minibatches: int = 1
    """Steps per `update` call, each on one of its U minibatches, the last ones."""
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)

    def __post_init__(self) -> None:
        check_choice("classifier.reward", self.reward, REWARDS)
        check_range("classifier.hidden", self.hidden, 1, 2**16)
        check_range("classifier.minibatches", self.minibatches, 1, 2**20)
        check_range("classifier.gradient_penalty", self.gradient_penalty, 0.0, 1e6)
        for name in ("dropout", "label_smoothing"):
            check_range(f"classifier.{name}", getattr(self, name), 0.0, 0.99)


@AGENTS.register("vice")
@dataclass(frozen=True, kw_only=True)
class VICEConfig(SACConfig):
    """SAC whose reward is learned. Needs cameras and a frozen trunk."""

    needs_images: ClassVar[bool] = True
    learns_reward: ClassVar[bool] = True

    classifier: GoalClassifierConfig = field(default_factory=GoalClassifierConfig)

    def make(self, spec: Spec) -> VICE:
        """The agent. Raises UserError without a camera or with a trunk that is trained."""
        if not images(spec):
            raise UserError(
                "agent vice judges camera frames, and this experiment observes none: run it with "
                "--pixels, or choose agent sac or rlpd."
            )
        if not self.image.frozen:
            raise UserError("agent vice needs a frozen trunk: set agent.image.frozen to True.")
        return VICE(self, spec)


@flax.struct.dataclass
class VICEState(SACState):
    """As SAC's, and the classifier."""

    classifier: Learned


class GoalClassifier(nn.Module):
    """{camera: (N, h, w, C)} to logits (N,) of "this is a success"."""

    heads: ImageHeads
    hidden: int
    dropout: float

    @nn.compact
    def __call__(self, maps: Maps, train: bool = False) -> jax.Array:
        codes = self.heads(maps, train)
        x = jnp.concatenate([codes[camera] for camera in self.heads.cameras], axis=-1)
        x = nn.Dense(self.hidden, kernel_init=kernel_init)(x)
        x = nn.Dropout(self.dropout)(x, deterministic=not train)
        return nn.Dense(1, kernel_init=kernel_init)(NormAct("leaky_relu")(x)).squeeze(-1)


class VICE(ImageSAC):
    """As ImageSAC; `update` needs `extra["goal/<camera>"]`, features of success pictures
    (U, B', h, w, C), about as many as rows, and puts the classifier's reward for the batch's."""

    config: VICEConfig

    def __init__(self, config: VICEConfig, spec: Spec) -> None:
        super().__init__(config, spec)
        image = config.image
        head = ImageHead(image.pooling, image.embeddings, image.bottleneck)
        settings = config.classifier
        self.classifier = GoalClassifier(
            ImageHeads(self.cameras, head), settings.hidden, settings.dropout
        )
        self.classifier_tx = settings.optimizer.make()

    @property
    def goal_spec(self) -> tuple[ArraySpec, ...]:
        """What `update` needs in `extra` beside what the replay gives."""
        return tuple(
            ArraySpec(name=GOAL + camera, shape=self.feature_shape, dtype="bfloat16")
            for camera in self.cameras
        )

    @property
    def seen_spec(self) -> Spec:
        """As ImageSAC's, with goals."""
        spec = super().seen_spec
        return replace(spec, extras=(*spec.extras, *self.goal_spec))

    @partial(jax.jit, static_argnums=0)
    def init(self, key: jax.Array) -> VICEState:
        """A fresh state."""
        state = super().init(key)
        maps = {camera: jnp.zeros((1, *self.feature_shape)) for camera in self.cameras}
        params = self.classifier.init(jax.random.fold_in(key, 1), maps)
        return VICEState(**vars(state), classifier=Learned.create(params, self.classifier_tx))

    def learn(self, state: Any, batches: Batch) -> tuple[Any, Metrics]:
        """One step of the classifier (or a few), then SAC's update with its rewards."""
        state, metrics = self.update_classifier(state, batches)
        reward = self.reward(state.classifier.params, batches.next_obs)
        batches = replace(batches, reward=reward)
        if not self.config.classifier.terminations:
            batches = replace(batches, terminated=jnp.zeros_like(reward))
        state, sac_metrics = super().learn(state, batches)
        metrics["classifier/reward_mean"] = reward.mean()
        finite = jnp.isfinite(jnp.stack(list(metrics.values()))).all()
        return state, {**sac_metrics, **metrics, "finite": sac_metrics["finite"] & finite}

    def reward(self, params: Any, next_obs: Mapping[str, jax.Array]) -> jax.Array:
        """What the classifier pays for observations of leading axes (...): (...)."""
        maps = self.newest(next_obs)
        lead = maps[self.cameras[0]].shape[:-3]
        rows = {camera: x.reshape(-1, *x.shape[-3:]) for camera, x in maps.items()}
        probability = jax.nn.sigmoid(self.logits(params, rows)).reshape(lead)
        if self.config.classifier.reward == "threshold":
            return (probability >= 0.5).astype(jnp.float32)
        return probability

    def newest(self, obs: Mapping[str, jax.Array]) -> Maps:
        """The cameras' features; of a stack, those of the newest frame."""
        maps = self.features({}, obs)
        return {camera: x[..., -1, :, :, :] if self.stack_axis else x for camera, x in maps.items()}

    def goals(self, extra: Mapping[str, jax.Array]) -> Maps:
        """The batch's success pictures. Raises SpecMismatch where there are none."""
        missing = [GOAL + camera for camera in self.cameras if GOAL + camera not in extra]
        if missing:
            raise SpecMismatch(
                f"agent vice was given no pictures of success: the batch's extras lack {missing}."
            )
        goals = {camera: jnp.asarray(extra[GOAL + camera]) for camera in self.cameras}
        return {
            camera: jax.lax.bitcast_convert_type(x, jnp.bfloat16) if x.dtype == jnp.uint16 else x
            for camera, x in goals.items()
        }

    def update_classifier(self, state: VICEState, batches: Batch) -> tuple[VICEState, Metrics]:
        """One step per minibatch of the last few."""
        last = self.config.classifier.minibatches
        steps = {
            "goal": self.goals(batches.extra),
            "seen": self.newest(batches.next_obs),
        }
        steps = jax.tree.map(lambda leaf: leaf[-last:], steps)
        key, scan_key = jax.random.split(state.key)

        def one(learned: Learned, step: tuple[Any, jax.Array]) -> tuple[Learned, Metrics]:
            maps, key = step
            grads, metrics = jax.grad(self.classifier_loss, has_aux=True)(
                learned.params, maps["goal"], maps["seen"], key
            )
            metrics["classifier/grad_norm"] = optax.tree.norm(grads)
            return learned.step(grads, self.classifier_tx), metrics

        count = steps["goal"][self.cameras[0]].shape[0]
        keys = jax.random.split(scan_key, count)
        classifier, metrics = jax.lax.scan(one, state.classifier, (steps, keys))
        state = replace(state, classifier=classifier, key=key)
        return state, jax.tree.map(jnp.mean, metrics)

    def classifier_loss(
        self, params: Any, goals: Maps, seen: Maps, key: jax.Array
    ) -> tuple[jax.Array, Metrics]:
        """Cross-entropy of mixed rows with smoothed labels, and the gradient penalty.

        Args:
            goals: (B', h, w, C), success. seen: (B, h, w, C), not known to be.
        """
        cfg = self.config.classifier
        mix_key, penalty_key, dropout_key = jax.random.split(key, 3)
        goals, seen = (jax.tree.map(lambda x: x.astype(jnp.float32), m) for m in (goals, seen))
        positives, negatives = (len(m[self.cameras[0]]) for m in (goals, seen))
        rows = jax.tree.map(lambda g, s: jnp.concatenate([g, s]), dict(goals), dict(seen))
        labels = jnp.concatenate([jnp.ones(positives), jnp.zeros(negatives)])
        if cfg.mixup:
            rows, labels = mixed((rows, labels), mix_key)
        targets = labels * (1.0 - cfg.label_smoothing) + 0.5 * cfg.label_smoothing
        logits = self.logits(params, rows, dropout_key)
        entropy = optax.sigmoid_binary_cross_entropy(logits, targets).mean()
        pairs = jnp.arange(negatives) % positives
        between = between_rows(jax.tree.map(lambda g: g[pairs], goals), seen, penalty_key)
        penalty = self.penalty(params, between) if cfg.gradient_penalty else jnp.zeros(())
        right = (logits > 0.0) == (labels > 0.5)
        return entropy + cfg.gradient_penalty * penalty, {
            "classifier/loss": entropy,
            "classifier/gradient_penalty": penalty,
            "classifier/accuracy": right.mean(),
        }

    def penalty(self, params: Any, rows: Maps) -> jax.Array:
        """Mean over rows of (‖∂logit/∂features‖ - 1)²."""
        slopes = jax.grad(lambda rows: self.logits(params, rows).sum())(rows)
        square = sum(jnp.sum(x**2, axis=(1, 2, 3)) for x in jax.tree.leaves(slopes))
        return jnp.mean((jnp.sqrt(square + 1e-12) - 1.0) ** 2)

    def logits(self, params: Any, rows: Maps, key: jax.Array | None = None) -> jax.Array:
        """(N,); with dropout where there is a key."""
        rngs = None if key is None else {"dropout": key}
        return cast(jax.Array, self.classifier.apply(params, rows, key is not None, rngs=rngs))


def mixed(rows: Any, key: jax.Array) -> Any:
    """Each row of the leaves (N, ...) with another, in a share uniform in 0 ... 1."""
    share_key, pair_key = jax.random.split(key)
    n = len(jax.tree.leaves(rows)[0])
    share = jax.random.uniform(share_key, (n,))
    pair = jax.random.permutation(pair_key, n)
    return jax.tree.map(lambda x: _blend(x, x[pair], share), rows)


def between_rows(a: Any, b: Any, key: jax.Array) -> Any:
    """A random point between each row of `a` and the same row of `b`, leaves (N, ...)."""
    share = jax.random.uniform(key, (len(jax.tree.leaves(a)[0]),))
    return jax.tree.map(lambda x, y: _blend(x, y, share), a, b)


def _blend(x: jax.Array, y: jax.Array, share: jax.Array) -> jax.Array:
    share = share.reshape(-1, *[1] * (x.ndim - 1))
    return share * x + (1.0 - share) * y
