"""Training of a trunk under linear heads, so that what they read is linear in its features."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from numpy.typing import NDArray

from benchmarks.pretrain_data import Data
from benchmarks.pretrain_eye import CLASSES, SEGMENTS_PX
from benchmarks.pretrain_targets import Targets, targets
from serl.networks import crops
from serl.networks.trunk import TRUNKS

SHIFT_PX = 4
BATCH = 16
"""Samples, of two frames each: many rough updates learn more in a given time than few fine ones."""
SHARES = (0.5, 0.2, 0.3)
"""Of each look in what is shown: of `pretrain_scenes.LOOKS`."""
STILL = 0.75
"""Share of samples that are not shifted."""
LEARNING_RATE = 2e-3
WARM_UP = 200
SOFT = 0.05
"""Errors above this, in the targets' units, count linearly, smaller ones squared."""
MAPS = len(CLASSES) + 1
"""Per square: classes and log depth."""
NOISE = np.random.default_rng(0).standard_normal((32, 128, 128, 3)).astype(np.float32)
"""Drawing it anew would cost as much as the trunk."""


def train(
    name: str, data: Data, rounds: Sequence[float], seed: int, start: Any = None
) -> Iterator[Any]:
    """Parameters of trunk `name` after each round of so many minutes.

    In a round the learning rate rises for WARM_UP updates and then falls to 0 along a cosine of
    time, so that a machine that is shared ends when it should.

    Args:
        start: parameters to go on from; None for random ones.
    """
    module = TRUNKS.get(name)()
    known = targets(data)
    rng = np.random.default_rng(seed)
    params = _initial(module, jax.random.key(seed))
    if start is not None:
        params["trunk"] = jax.tree.map(jnp.asarray, start)
    optimiser = make_optimiser()
    state = optimiser.init(params)
    update = jax.jit(_make_update(module, optimiser))
    key = jax.random.key(seed + 1)
    batches = _batches(data, known, rng)
    for index, minutes in enumerate(rounds):
        began, spent, step = time.monotonic(), 0.0, 0
        log = _Log(f"round {index + 1}")
        while spent < minutes:
            rate = LEARNING_RATE * 0.5**index * min(1.0, (step + 1) / WARM_UP)
            rate *= 0.5 * (1 + np.cos(np.pi * spent / minutes))
            key, draw = jax.random.split(key)
            params, state, losses = update(params, state, next(batches), draw, rate)
            step, spent = step + 1, (time.monotonic() - began) / 60
            log.add(step, spent, losses)
        yield params["trunk"]


class _Log:
    """A line of mean losses every 100 updates."""

    def __init__(self, title: str) -> None:
        self._title, self._sums = title, {}

    def add(self, step: int, minutes: float, losses: Any) -> None:
        for part, value in losses.items():
            self._sums[part] = self._sums.get(part, 0.0) + float(value)
        if step % 100 == 0:
            text = "  ".join(f"{part} {value / 100:.3f}" for part, value in self._sums.items())
            print(f"{self._title}: {step} updates, {minutes:.1f} min  {text}", flush=True)
            self._sums = {}


def _batches(data: Data, known: Targets, rng: np.random.Generator) -> Iterator[Any]:
    """Samples drawn at random, by look as SHARES says."""
    look = np.asarray(data["look"])
    chance = np.asarray(SHARES)[look] / np.bincount(look, minlength=len(SHARES))[look]
    while True:
        rows = rng.choice(len(look), 64 * BATCH, p=chance / chance.sum())
        for part in rows.reshape(64, BATCH):
            yield _batch(data, known, np.asarray(part))


def make_optimiser() -> Any:
    """Muon for the trunk's matrices, convolutions as (inputs, outputs); Adam for the rest.

    Source: Jordan et al., https://kellerjordan.github.io/posts/muon; scale: Liu et al.,
    arXiv:2502.16982.
    """

    def matrices(params: Any) -> Any:
        def numbers(path: Any, leaf: jax.Array) -> Any:
            trunk = path[0].key == "trunk" and leaf.ndim >= 2
            axes = tuple(range(leaf.ndim - 1))
            return optax.contrib.MuonDimensionNumbers(axes, leaf.ndim - 1) if trunk else None

        return jax.tree_util.tree_map_with_path(numbers, params)

    def make(learning_rate: Any) -> Any:
        return optax.contrib.muon(
            learning_rate,
            weight_decay=1e-3,
            consistent_rms=0.2,
            muon_weight_dimension_numbers=matrices,
        )

    return optax.inject_hyperparams(make)(learning_rate=0.0)


def _initial(module: Any, key: jax.Array) -> dict[str, Any]:
    frames = jnp.zeros((1, 128, 128, 3), jnp.uint8)
    trunk = jax.jit(module.init)(key, frames)["params"]
    h, w, c = jax.eval_shape(module.apply, {"params": trunk}, frames).shape[1:]
    cell = (SEGMENTS_PX // h) * (SEGMENTS_PX // w) * MAPS

    def linear(n: int, out: int) -> dict[str, Any]:
        return {"kernel": jnp.zeros((n, out)), "bias": jnp.zeros(out)}

    return {
        "trunk": trunk,
        "frame": linear(h * w * c, 9),
        "pair": linear(2 * h * w * c, 15),
        "reach": linear(2 * h * w * c, 9),
        "maps": linear(c, cell),
    }


def _batch(data: Data, known: Targets, rows: NDArray[Any]) -> dict[str, NDArray[Any]]:
    names = ("frames", "segments", "depth")
    return {name: data[name][rows] for name in names} | {k: v[rows] for k, v in known.items()}


def _make_update(module: Any, optimiser: Any) -> Any:
    def loss(params: Any, batch: Any, key: jax.Array) -> Any:
        shift_key, key = jax.random.split(key)
        n = len(batch["frames"])
        frames = batch["frames"].reshape(2 * n, *batch["frames"].shape[2:])
        offsets = crops.random_offsets(shift_key, (2 * n,), SHIFT_PX)
        still = jnp.repeat(jnp.arange(n) < round(STILL * n), 2)[:, None]
        offsets = jnp.where(still, SHIFT_PX, offsets)
        frames = _photograph(crops.shifted(frames, offsets, SHIFT_PX), key)
        features = module.apply({"params": params["trunk"]}, frames)
        flat = features.reshape(2 * n, -1)
        moved = (SHIFT_PX - offsets[:, ::-1]) / (frames.shape[1] / 2)  # column, row
        at = batch["frame"].reshape(2 * n, 3, 3).at[:, :, :2].add(moved[:, None])
        frame_mask = batch["frame_mask"].reshape(2 * n, 9)
        both = features.reshape(n, -1)
        rest = still[::2]  # positions in base are not those of a shifted picture
        parts = {
            "frame": _error(_linear(params["frame"], flat), at.reshape(2 * n, 9), frame_mask),
            "pair": _error(_linear(params["pair"], both), batch["pair"], rest * batch["pair_mask"]),
            "reach": _error(
                _linear(params["reach"], both), batch["reach"], rest * batch["reach_mask"]
            ),
        }
        classes, depth = _map_errors(_linear(params["maps"], features), batch, still[:, 0])
        parts |= {"classes": classes, "depth": depth}
        total = parts["frame"] + 2.0 * parts["pair"] + parts["reach"] + 3.0 * classes + 0.3 * depth
        return total, parts

    def update(params: Any, state: Any, batch: Any, key: jax.Array, rate: jax.Array) -> Any:
        grads, parts = jax.grad(loss, has_aux=True)(params, batch, key)
        state.hyperparams["learning_rate"] = rate
        updates, state = optimiser.update(grads, state, params)
        return optax.apply_updates(params, updates), state, parts

    return update


def _linear(head: Any, x: jax.Array) -> jax.Array:
    return x @ head["kernel"] + head["bias"]


def _error(got: jax.Array, wanted: jax.Array, mask: jax.Array) -> jax.Array:
    """Mean over what the mask leaves; see SOFT."""
    error = jnp.sqrt((got - wanted) ** 2 + SOFT**2) - SOFT
    return (error * mask).sum() / jnp.maximum(mask.sum(), 1.0)


def _map_errors(got: jax.Array, batch: Any, still: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Cross entropy of the classes' shares and error of log depth, of frames not shifted.

    Args:
        got: (m, h, w, squares per cell * MAPS).
    """
    m, h, w, _ = got.shape
    k = SEGMENTS_PX // h
    maps = got.reshape(m, h, w, k, SEGMENTS_PX // w, MAPS).transpose(0, 1, 3, 2, 4, 5)
    maps = maps.reshape(m, SEGMENTS_PX, SEGMENTS_PX, MAPS)
    share = batch["segments"].reshape(m, SEGMENTS_PX, SEGMENTS_PX, -1) / 255.0
    cross = optax.sigmoid_binary_cross_entropy(maps[..., :-1], share).sum(axis=-1).mean(axis=(1, 2))
    depth = jnp.log(batch["depth"].reshape(m, SEGMENTS_PX, SEGMENTS_PX).astype(jnp.float32))
    far = jnp.abs(maps[..., -1] - depth).mean(axis=(1, 2))
    share_still = still / jnp.maximum(still.sum(), 1)
    return (cross * share_still).sum(), (far * share_still).sum()


def _photograph(frames: jax.Array, key: jax.Array) -> jax.Array:
    """As cameras differ: gain per channel, contrast, brightness and noise; a third stay clean."""
    m = len(frames)
    gain_key, light_key, noise_key, level_key, clean_key = jax.random.split(key, 5)
    gain = jax.random.uniform(gain_key, (m, 1, 1, 3), minval=0.85, maxval=1.15)
    light = jax.random.uniform(light_key, (m, 1, 1, 2), minval=-1.0, maxval=1.0)
    level = jax.random.uniform(level_key, (m, 1, 1, 1), maxval=8.0)
    x = frames.astype(jnp.float32)
    noise = level * jnp.asarray(NOISE)[jax.random.randint(noise_key, (m,), 0, len(NOISE))]
    y = (x * gain - 128.0) * (1.0 + 0.25 * light[..., :1]) + 128.0 + 25.0 * light[..., 1:] + noise
    clean = jax.random.uniform(clean_key, (m, 1, 1, 1)) < 1 / 3
    return jnp.where(clean, x, jnp.clip(y, 0.0, 255.0))
