"""Stacks of T frames as views of the replay: a record is kept once, however many stacks show it.

At the start of an episode its first observation is repeated, as SERL's chunking wrapper does, so
that a stack drawn from the replay is the one the policy saw.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from serl.data.columns import Columns


def stacked(columns: Columns, seqs: NDArray[np.int64], count: int, tail: int) -> NDArray[np.int64]:
    """(*seqs.shape, count): the records that end at each of `seqs`, oldest first.

    Before the first record of an episode, or the oldest one kept (at or after `tail`), that record
    is repeated.
    """
    rows = np.empty((*seqs.shape, count), np.int64)
    rows[..., -1] = seqs
    for k in range(count - 2, -1, -1):
        before = columns.back(rows[..., k + 1], tail)
        rows[..., k] = np.where(before >= 0, before, rows[..., k + 1])
    return rows
