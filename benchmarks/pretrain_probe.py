"""How well a linear map reads the cube's position from a trunk's features of held-out pictures."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.pretrain_data import Data
from serl.trunk import FrozenTrunk

Array = NDArray[Any]

TEST = 1000
"""Samples that the map has not seen."""
STRENGTHS = 10.0 ** np.arange(-6, 2)
"""Ridge penalties tried, relative to the mean square of the centred features."""


def cube_error_cm(trunk: FrozenTrunk, data: Data) -> tuple[float, float]:
    """Mean and median distance [cm] between the cube and where ridge regression puts it.

    Features of both cameras, as the replay keeps them, to the position in base. The penalty is
    chosen on a tenth of the samples that are not for the test.
    """
    features = _features(trunk, np.asarray(data["frames"]))
    wanted = np.asarray(data["T_base_cube"], np.float64)[:, :3, 3]
    fit, choose = len(features) - TEST - (len(features) - TEST) // 10, len(features) - TEST
    errors = []
    for strength in STRENGTHS:
        got = _ridge(features[:fit], wanted[:fit], strength, features[fit:choose])
        errors.append(np.linalg.norm(got - wanted[fit:choose], axis=1).mean())
    best = STRENGTHS[int(np.argmin(errors))]
    got = _ridge(features[:choose], wanted[:choose], best, features[choose:])
    far = 100.0 * np.linalg.norm(got - wanted[choose:], axis=1)
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
    """Values at `at` of the ridge regression of y (n, k) on x (n, D), in its dual form."""
    mean, centre = x.mean(axis=0), y.mean(axis=0)
    x, at = x - mean, at - mean
    gram = (x @ x.T).astype(np.float64)
    gram[np.diag_indices_from(gram)] += strength * np.trace(gram) / len(x)
    return at @ (x.T @ np.linalg.solve(gram, y - centre)) + centre
