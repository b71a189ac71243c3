"""Statistics of a feature as LeRobot keeps them, of an episode and of a whole set."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from serl.data.formats.pictures import is_frames

QUANTILES = (0.01, 0.10, 0.50, 0.90, 0.99)
NAMES = tuple(f"q{round(100 * q):02d}" for q in QUANTILES)
PICTURES = 100
"""Pictures of an episode that are looked at, evenly over it."""

Stats = dict[str, NDArray[np.float64]]


def stats_of(values: NDArray) -> Stats:
    """min, max, mean, std and quantiles over the first axis, and the count; of pictures per colour
    channel, as (C, 1, 1) and in shares of 255."""
    if is_frames(values):
        chosen = np.unique(np.linspace(0, len(values) - 1, PICTURES).round().astype(int))
        shown = values[chosen]
        found = _over_rows(shown.reshape(-1, shown.shape[3]) / 255.0)
        found = {name: v.reshape(-1, 1, 1) for name, v in found.items()}
        return {**found, "count": np.array([len(chosen)])}
    rows = values.astype(np.float64)
    rows = rows[:, None] if rows.ndim == 1 else rows
    return {**_over_rows(rows), "count": np.array([len(values)])}


def together(parts: Sequence[Stats]) -> Stats:
    """Of a set from its episodes'; the quantiles are weighted means of theirs, as LeRobot's are."""
    count = np.array([float(part["count"][0]) for part in parts])

    def mean(name: str) -> NDArray[np.float64]:
        return np.average([part[name] for part in parts], axis=0, weights=count)

    middle = mean("mean")
    spread = [part["std"] ** 2 + (part["mean"] - middle) ** 2 for part in parts]
    return {
        "min": np.min([part["min"] for part in parts], 0),
        "max": np.max([part["max"] for part in parts], 0),
        "mean": middle,
        "std": np.sqrt(np.average(spread, axis=0, weights=count)),
        "count": np.array([int(count.sum())]),
        **{name: mean(name) for name in NAMES},
    }


def _over_rows(rows: NDArray[np.float64]) -> Stats:
    found = {"min": rows.min(0), "max": rows.max(0), "mean": rows.mean(0), "std": rows.std(0)}
    return {**found, **dict(zip(NAMES, np.quantile(rows, QUANTILES, axis=0), strict=True))}
