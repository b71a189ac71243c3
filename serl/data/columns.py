"""Fixed-size columns in ring order, one memory-mapped file each.

A row is addressed by its sequence number, which only grows; its place in the file is the number
modulo `ring`. Files grow in steps as rows come, each step reserved on disk first, so that a full
disk is an error at a known place and never a bus error in the middle of a write.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from serl.errors import CorruptFile

log = logging.getLogger(__name__)

GROWTH_BYTES = 16 << 20
"""Disk reserved per step, over all columns: a restart of a small run stays small."""


class Columns:
    """Named columns of `ring` rows.

    Args:
        folder: where the files are; made if absent.
        fields: dtype of one row, by column name; sub-array dtypes give a column further axes.
        ring: rows after which places are used again.
    """

    def __init__(self, folder: Path, fields: Mapping[str, np.dtype], ring: int) -> None:
        self.ring = ring
        self._folder = folder
        self._fields = dict(fields)
        self._files = {
            name: folder / f"{i:02d}_{re.sub(r'[^A-Za-z0-9_.-]', '-', name)}.bin"
            for i, name in enumerate(fields)
        }
        self._arrays: dict[str, NDArray] = {}
        row_bytes = sum(dtype.itemsize for dtype in fields.values())
        self._step = max(64, GROWTH_BYTES // row_bytes)
        folder.mkdir(parents=True, exist_ok=True)
        self.rows = min(_rows_in(self._files[n], dtype) for n, dtype in fields.items())
        self.rows = min(self.rows, ring)
        self._map()

    def reserve(self, rows: int) -> None:
        """Make place for `rows` rows (at most `ring`). Raises OSError when the disk is full."""
        rows = min(rows, self.ring)
        if rows <= self.rows:
            return
        grown = min(self.ring, -(-rows // self._step) * self._step)
        for name, dtype in self._fields.items():
            _allocate(self._files[name], grown * dtype.itemsize)
        self.rows = grown
        self._map()

    def put(self, name: str, start: int, values: NDArray) -> None:
        """Write rows start, start + 1, ... of one column, around the end of the ring."""
        column = self._arrays[name]
        at = start % self.ring
        first = min(len(values), self.ring - at)
        column[at : at + first] = values[:first]
        if first < len(values):
            column[: len(values) - first] = values[first:]

    def put_at(self, name: str, seqs: NDArray, values: NDArray) -> None:
        """Write single rows of one column."""
        self._arrays[name][seqs % self.ring] = values

    def take(self, name: str, seqs: NDArray) -> NDArray:
        """Rows of one column, a copy of shape (*seqs.shape, *row shape)."""
        return np.take(self._arrays[name], seqs % self.ring, axis=0)

    def put_part(self, name: str, seqs: NDArray, part: int, values: NDArray) -> None:
        """Write entry `part` of the first axis of single rows of one column."""
        self._arrays[name][seqs % self.ring, part] = values

    def take_part(self, name: str, seqs: NDArray, parts: NDArray) -> NDArray:
        """One entry of the first axis of each row, a copy of shape (*seqs.shape, *rest)."""
        column = self._arrays[name]
        entries = column.reshape(-1, *column.shape[2:])
        return np.take(entries, seqs % self.ring * column.shape[1] + parts, axis=0)

    def span(self, name: str, start: int, stop: int) -> NDArray:
        """Rows start ... stop - 1 of one column: a view where they lie together, else a copy."""
        at, end = start % self.ring, start % self.ring + stop - start
        column = self._arrays[name]
        if end <= self.ring:
            return column[at:end]
        return np.concatenate([column[at:], column[: end - self.ring]])

    def back(self, seqs: NDArray, tail: int) -> NDArray:
        """The record before each, in its own episode; -1 where there is none at or after `tail`."""
        live = seqs >= tail
        before = self.take("prev", np.where(live, seqs, tail))
        return np.where(live & (before >= tail), before, -1)

    def ahead(self, seqs: NDArray, head: int) -> NDArray:
        """The record after each, in its own episode; -1 where there is none before `head`.

        `next` is a hint written before its row is committed, so it counts only where that row's
        `prev` points back.
        """
        after = self.take("next", seqs)
        known = (after >= 0) & (after < head)
        return np.where(
            known & (self.take("prev", np.where(known, after, seqs)) == seqs), after, -1
        )

    def first_intact(self, tail: int, head: int) -> int:
        """The first row from `tail` on that has not been written over by a newer one.

        More than `tail` only if the journal lost more of its end than a kill takes. Rows written
        over are always the oldest, so a binary search finds the border.
        """
        if self.rows < min(head, self.ring):
            raise CorruptFile(
                f"{self._folder}: {self.rows} rows where the journal has {head}; files are missing."
            )
        low, high = tail, head
        while low < high:
            middle = (low + high) // 2
            if int(self.take("seq", np.array(middle))) == middle:
                high = middle
            else:
                low = middle + 1
        if low > tail:
            log.warning("%s: %d oldest records were written over", self._folder, low - tail)
        return low

    def flush(self) -> None:
        """Everything written so far is on the disk when this returns."""
        for array in list(self._arrays.values()):
            assert isinstance(array, np.memmap)
            array.flush()

    def close(self) -> None:
        """Let go of the files."""
        self._arrays = {}

    def _map(self) -> None:
        if self.rows == 0:
            return
        self._arrays = {
            name: np.memmap(self._files[name], dtype.base, "r+", shape=(self.rows, *dtype.shape))
            for name, dtype in self._fields.items()
        }


def _rows_in(file: Path, dtype: np.dtype) -> int:
    return file.stat().st_size // dtype.itemsize if file.exists() else 0


def _allocate(file: Path, size: int) -> None:
    """Grow a file to `size` bytes that are really there."""
    fd = os.open(file, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        have = os.fstat(fd).st_size
        if have >= size:
            return
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(fd, 0, size)
        else:  # macOS
            zeros = bytes(min(size - have, 1 << 20))
            while have < size:
                have += os.pwrite(fd, zeros[: size - have], have)
    finally:
        os.close(fd)
