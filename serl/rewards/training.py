"""Training a reward classifier: features of a few crops of each frame, balanced batches.

The episodes are dealt into parts; each part is held out once while a classifier is trained on the
rest, so every frame is judged by one that never saw its episode. From these judgements follow the
figures, the threshold and how long to train; the classifier that is kept then learns from all
frames. A threshold from one part alone, with 40 successes, moved between 0.2 and 0.99 by chance.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from numpy.typing import NDArray

from serl.errors import UserError
from serl.pixels import FeatureLayout, crop_offsets
from serl.rewards.conditions import Condition
from serl.rewards.figures import Rates, confusion, folds_by_episode, lowest_threshold, rates
from serl.rewards.frames import UNLABELLED, Episode
from serl.rewards.model import Classifier, ClassifierHeader, network
from serl.rewards.network import losses
from serl.trunk import FrozenTrunk


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """How a classifier is trained. Defaults with a source are SERL's (serl.md 3)."""

    held_out: float = 0.2
    """Share of the examples that is held out at a time, in whole episodes: 0.2 is five parts."""
    precision: float = 0.98
    """Held-out precision that the threshold must reach."""
    crops: int = 4
    """Views of each frame: the frame itself, and random shifts."""
    shift_px: int = 4
    """Largest shift [pixels]. Source: SERL."""
    batch: int = 256
    """Every class has the same share of it. Source: SERL."""
    learning_rate: float = 3e-4
    """Adam's. Source: HIL-SERL, arXiv:2410.21845 appendix (its code has 1e-4)."""
    steps: int = 600
    """At most so many gradient steps."""
    pooling: str = "spatial_softmax"
    """How feature maps become vectors: one of serl.pixels.POOLINGS."""
    check_every: int = 20
    patience: int = 8
    """Checks of the held-out loss without a better one before training ends."""
    seed: int = 0


@dataclass(frozen=True)
class Examples:
    """Everything labelled: M examples, in the order of their episodes."""

    features: Mapping[str, NDArray[np.uint16]]
    """Camera to (M, crops, h, w, C), bfloat16 bits."""
    label: NDArray[np.int64]
    episode: NDArray[np.int64]
    """Index into the list of episodes (M,)."""
    frame: NDArray[np.int64]
    """Index into that episode's frames (M,)."""


@dataclass(frozen=True)
class Trained:
    """A classifier, and how those did that were not trained on what they judged."""

    classifier: Classifier
    episodes: Sequence[Episode]
    part: NDArray[np.int64]
    """In which part each example was held out (M,)."""
    examples: Examples
    probabilities: NDArray[np.float64]
    """Held-out judgements (M, classes)."""
    at_half: Rates
    at_threshold: Rates | None
    """None where no threshold is precise enough."""
    history: Sequence[tuple[int, float, float]]
    """(step, training loss, held-out loss) at each check, of the first part."""

    @property
    def confusion(self) -> NDArray[np.int64]:
        return confusion(self.probabilities, self.examples.label)

    @property
    def positive(self) -> NDArray[np.bool_]:
        """Which examples are successes."""
        return self.examples.label == self.classifier.header.success


def train(
    episodes: Sequence[Episode],
    trunk: FrozenTrunk,
    config: TrainConfig,
    *,
    success: int | None = None,
    lost: int | None = None,
    consecutive: int | None = None,
    conditions: tuple[Condition, ...] = (),
    tell: Callable[[str], None] = lambda line: None,
) -> Trained:
    """Train on labelled episodes of one set-up (`frames.load_folders`).

    Args:
        success: index of the class that is success; None is the last.
        lost: index of the class that ends an episode without reward.
        consecutive: positives in a row that are a success; None is what the frames' task holds.

    Raises:
        UserError: a class without examples, or with all of them in one episode.
    """
    began = time.monotonic()
    first = episodes[0].header
    label = check_classes(episodes)
    header = ClassifierHeader(
        view=first.view,
        classes=first.classes,
        success=len(first.classes) - 1 if success is None else success,
        lost=lost,
        consecutive=consecutive or first.hold_steps,
        conditions=conditions,
        pose_frame=first.pose_frame,
        pooling=config.pooling,
        trunk=trunk.id,
        trunk_name=trunk.name,
        precision=trunk.precision,
    )
    episode = np.concatenate([np.full(len(e), k) for k, e in enumerate(episodes)])
    frame = np.concatenate([np.arange(len(e)) for e in episodes])
    known = label != UNLABELLED
    parts = max(2, round(1.0 / config.held_out))
    part = folds_by_episode(label[known], episode[known], parts, config.seed)
    tell(f"{known.sum()} frames of {len(episodes)} episodes; encoding")
    features = encode(episodes, trunk, config)
    for name, f in features.items():
        if config.pooling == "spatial_softmax" and f.shape[2] * f.shape[3] < 2:
            raise UserError(
                f"camera {name!r}: the trunk makes a single place of its frames, and a spatial "
                "softmax has no places to tell apart. Use larger frames, or --pooling max."
            )
    examples = Examples(
        features={name: f[known] for name, f in features.items()},
        label=label[known],
        episode=episode[known],
        frame=frame[known],
    )
    tell(f"encoded after {time.monotonic() - began:.0f} s")
    p = np.zeros((len(part), len(header.classes)))
    fits: list[_Fit] = []
    for k in np.unique(part).tolist():
        fit = _fit(header, examples, part == k, config, config.steps)
        one = Classifier(header=header, params=fit.params, trunk=trunk)
        rows = np.flatnonzero(part == k)
        p[rows] = one.probabilities({n: f[rows, 0] for n, f in examples.features.items()})
        tell(f"part {k + 1} of {parts}: held-out loss {fit.loss:.4f} after {fit.step} steps")
        fits.append(fit)
    steps = int(np.median([fit.step for fit in fits]))
    whole = _fit(header, examples, np.zeros(len(part), bool), config, steps)
    classifier = Classifier(header=header, params=whole.params, trunk=trunk)
    positive = examples.label == header.success
    at_half = rates(p[:, header.success], positive, 0.5)
    try:
        line = lowest_threshold(p[:, header.success], positive, config.precision)
        at_threshold = rates(p[:, header.success], positive, line)
    except UserError as error:
        tell(str(error))
        line, at_threshold = 1.0, None
    told = {
        "seconds": round(time.monotonic() - began, 1),
        "steps": steps,
        "parts": parts,
        "held_out_accuracy": round(at_half.accuracy, 4),
        "examples": np.bincount(examples.label, minlength=len(header.classes)).tolist(),
        "episodes": len(episodes),
        "seed": config.seed,
    }
    classifier = replace(classifier, header=replace(header, threshold=line, training=told))
    return Trained(classifier, episodes, part, examples, p, at_half, at_threshold, fits[0].history)


def check_classes(episodes: Sequence[Episode]) -> NDArray[np.int64]:
    """All labels in order. Raises UserError naming a class that no frame has."""
    label = np.concatenate([e.label for e in episodes])
    classes = episodes[0].header.classes
    counts = np.bincount(label[label != UNLABELLED], minlength=len(classes))
    for name, count in zip(classes, counts.tolist(), strict=True):
        if count == 0:
            told = ", ".join(f"{n} {k}" for n, k in zip(classes, counts.tolist(), strict=True))
            raise UserError(
                f"class {name!r} has no examples ({told}). Record some, or label frames with "
                "`serl classifier label`."
            )
    return label


def encode(
    episodes: Sequence[Episode], trunk: FrozenTrunk, config: TrainConfig
) -> dict[str, NDArray[np.uint16]]:
    """Features of every frame's crops: {camera: (M, crops, h, w, C)}, unlabelled ones too."""
    out: dict[str, list[NDArray[np.uint16]]] = {}
    cameras = tuple(episodes[0].header.view.cameras)
    layout = FeatureLayout(
        trunk=trunk.id,
        cameras=cameras,
        shape=(0, 0, 0),
        crops=config.crops,
        shift_px=config.shift_px,
    )
    for number, episode in enumerate(episodes):
        n = len(episode)
        where = crop_offsets(
            layout, np.full(n, config.seed), np.full(n, number), np.asarray(episode.step)
        )  # (n, cameras, K, 2)
        for c, name in enumerate(cameras):
            frames = np.repeat(episode.frames[name], config.crops, axis=0)
            coded = trunk.encode(frames, where[:, c].reshape(-1, 2), config.shift_px)
            out.setdefault(name, []).append(coded.reshape(n, config.crops, *coded.shape[1:]))
    return {name: np.concatenate(parts) for name, parts in out.items()}


@dataclass(frozen=True)
class _Fit:
    params: Any
    step: int
    loss: float
    """Held-out, every class weighing the same; NaN without held-out examples."""
    history: list[tuple[int, float, float]]


def _fit(
    header: ClassifierHeader,
    examples: Examples,
    held: NDArray[np.bool_],
    config: TrainConfig,
    steps: int,
) -> _Fit:
    """The parameters with the lowest held-out loss; with nothing held out, those after `steps`."""
    net, classes = network(header), len(header.classes)
    rng = np.random.default_rng(config.seed)
    rows = [np.flatnonzero(~held & (examples.label == c)) for c in range(classes)]
    optimizer = optax.adam(config.learning_rate)
    init_key, drop_key = jax.random.split(jax.random.key(config.seed))
    one = {n: f[:1, 0] for n, f in examples.features.items()}
    params = jax.jit(net.init)(init_key, _as_maps(one))["params"]
    step, held_out_loss = _compiled(net, optimizer, classes)
    state = optimizer.init(params)
    test = {n: jnp.asarray(f[held, 0]) for n, f in examples.features.items()}
    tested = examples.label[held]
    weight = 1.0 / (len(np.unique(tested)) * np.bincount(tested, minlength=classes)[tested])
    best, best_params, best_step, waited = np.inf, jax.device_get(params), 0, 0
    history: list[tuple[int, float, float]] = []
    share = max(1, config.batch // classes)
    for k in range(1, steps + 1):
        drawn = np.concatenate([rng.choice(r, share) for r in rows])
        crop = rng.integers(0, config.crops, (len(examples.features), len(drawn)))
        batch = {n: f[drawn, c] for c, (n, f) in zip(crop, examples.features.items(), strict=True)}
        key = jax.random.fold_in(drop_key, k)
        params, state, value = step(params, state, batch, examples.label[drawn], key)
        if not held.any() or (k % config.check_every and k < steps):
            continue
        loss = float(held_out_loss(params, test, tested, weight))
        history.append((k, float(value), loss))
        if loss < best:
            best, best_params, best_step, waited = loss, jax.device_get(params), k, 0
        else:
            waited += 1
        if waited >= config.patience:
            break
    if not held.any():
        return _Fit(jax.device_get(params), steps, float("nan"), history)
    return _Fit(best_params, best_step, best, history)


def _as_maps(features: Mapping[str, Any]) -> dict[str, jax.Array]:
    return {n: jax.lax.bitcast_convert_type(f, jnp.bfloat16) for n, f in features.items()}


def _compiled(net: Any, optimizer: optax.GradientTransformation, classes: int) -> tuple[Any, Any]:
    """One gradient step, and the weighted loss of a set of examples."""

    @partial(jax.jit, donate_argnums=(0, 1))
    def step(params: Any, state: Any, features: Any, label: jax.Array, key: jax.Array) -> Any:
        def loss(params: Any) -> jax.Array:
            logits = net.apply({"params": params}, _as_maps(features), True, rngs={"dropout": key})
            return losses(jnp.asarray(logits), label, classes).mean()

        value, grads = jax.value_and_grad(loss)(params)
        updates, state = optimizer.update(grads, state)
        return optax.apply_updates(params, updates), state, value

    @jax.jit
    def held_out_loss(params: Any, features: Any, label: jax.Array, weight: jax.Array) -> jax.Array:
        logits = jnp.asarray(net.apply({"params": params}, _as_maps(features)))
        return (weight * losses(logits, label, classes)).sum()

    return step, held_out_loss
