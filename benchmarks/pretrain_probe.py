"""How well a linear map reads the cube's position from a trunk's features of held-out pictures."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.pretrain_data import Data
from benchmarks.pretrain_scenes import LOOKS
from serl.trunk import FrozenTrunk

Array = NDArray[Any]

TEST = 1000
"""Samples that the map has not seen."""
STRENGTHS = 10.0 ** np.arange(-4, 2)
"""Ridge penalties tried, relative to the mean square of the centred features."""


def cube_error_cm(trunk: FrozenTrunk, data: Data, held_out: Data) -> tuple[float, float]:
    """Mean and median distance [cm] between the cube and where ridge regression puts it.

    Features of both cameras, as the replay keeps them, to the position in base. Fitted on the
    training's samples that look as `pick_cube` does and on the held-out ones but the last TEST; the
    penalty is chosen on the 1000 before those.
    """
    rows = np.flatnonzero(np.asarray(data["look"]) == LOOKS.index("pick"))
    parts = [_features(trunk, data["frames"][rows]), _features(trunk, held_out["frames"][:])]
    features = np.concatenate(parts)
    poses = np.concatenate([data["T_base_cube"][rows], held_out["T_base_cube"]])
    wanted = poses[:, :3, 3].astype(np.float64)
    first, last = len(features) - 2 * TEST, len(features) - TEST
    errors = []
    for strength in STRENGTHS:
        got = _ridge(features[:first], wanted[:first], strength, features[first:last])
        errors.append(np.linalg.norm(got - wanted[first:last], axis=1).mean())
    best = STRENGTHS[int(np.argmin(errors))]
    got = _ridge(features[:last], wanted[:last], best, features[last:])
    far = 100.0 * np.linalg.norm(got - wanted[last:], axis=1)
    return float(far.mean()), float(np.median(far))


def spread_cm(data: Data) -> float:
    """Mean distance of the test's cubes from their mean [cm]: what reads nothing scores this."""
    p = np.asarray(data["T_base_cube"], np.float64)[-TEST:, :3, 3]
    return float(100.0 * np.linalg.norm(p - p.mean(axis=0), axis=1).mean())


def _features(trunk: FrozenTrunk, frames: Array) -> Array:
    """(n, cameras, H, W, 3) to (n, D) float32."""
    n, cameras = frames.shape[:2]
    bits = trunk.encode(frames.reshape(n * cameras, *frames.shape[2:]))
    return (bits.astype(np.uint32) << 16).view(np.float32).reshape(n, -1)


def _ridge(x: Array, y: Array, strength: float, at: Array) -> Array:
    """Values at `at` of the ridge regression of y (n, k) on x (n, D); the smaller of both forms."""
    mean, centre = x.mean(axis=0), y.mean(axis=0)
    x, at, y = x - mean, at - mean, y - centre
    dual = len(x) < x.shape[1]
    gram = (x @ x.T if dual else x.T @ x).astype(np.float64)
    gram[np.diag_indices_from(gram)] += strength * np.trace(gram) / len(gram)
    weights = x.T @ np.linalg.solve(gram, y) if dual else np.linalg.solve(gram, x.T @ y)
    return at @ weights + centre
