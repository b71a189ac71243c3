"""Windows of consecutive steps: what a sample is, and which records make one up."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serl.data.columns import Columns
from serl.errors import UserError


class NoWindows(UserError):
    """There is nothing to sample yet."""


@dataclass(frozen=True)
class Windows:
    """Windows of H consecutive steps of one episode each; `shape` is the shape asked for."""

    seqs: NDArray[np.int64]
    """(*shape, H + 1) sequence numbers: the record before the first step, then the steps'."""
    valid: NDArray[np.bool_]
    """(*shape, H): the step exists. All true for whole windows; else a run of true, then false,
    where the last record of the window is repeated."""
    obs: dict[str, NDArray[Any]]
    """{name: (*shape, H + 1, ...)}; with `ends`, (*shape, 2, ...): before the first step and
    after the last one that exists. Stacks of T frames have T next: (*shape, H + 1, T, ...)."""
    steps: dict[str, NDArray[Any]]
    """{record field: (*shape, H, ...)}: action, reward, ..., extra/<name> of each step."""
    crops: dict[str, NDArray[np.int64]] = field(default_factory=dict)
    """{camera: (*shape, H + 1)}, with `ends` (*shape, 2): the crop whose features are in `obs`."""


def walk(
    columns: Columns, last: NDArray[np.int64], horizon: int, whole: bool, head: int
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """The records (H + 1, ...) of windows, and which of their steps (H, ...) exist.

    Args:
        last: the last record of each whole window; otherwise the record of its first step.
        head: rows from here on are not committed.
    """
    seqs = np.empty((horizon + 1, *last.shape), np.int64)
    valid = np.ones((horizon, *last.shape), bool)
    if whole:
        seqs[horizon] = last
        for k in range(horizon - 1, -1, -1):
            seqs[k] = columns.take("prev", seqs[k + 1])
        return seqs, valid
    seqs[0], seqs[1] = columns.take("prev", last), last
    for k in range(1, horizon):
        after = columns.ahead(seqs[k], head)
        valid[k] = valid[k - 1] & (after >= 0)
        seqs[k + 1] = np.where(valid[k], after, seqs[k])
    return seqs, valid


def both_ends(seqs: NDArray[np.int64]) -> NDArray[np.int64]:
    """(2, ...): the record before the first step and that of the last; a cut window repeats it."""
    return seqs if len(seqs) == 2 else np.stack([seqs[0], seqs[-1]])
