"""What a frozen trunk made of the frames of a replay's rows: K crops of each, memory-mapped.

A cache beside the replay: it can always be made again from the frames. One number per row says for
which row it is and how many of its crops are there, and it is written after them: a killed process
leaves only whole crops. What another trunk, other crops or a host that went down left behind is
made anew.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serl.data.columns import Columns
from serl.data.records import BadRecord, Records
from serl.errors import UserError
from serl.pixels import FEATURE, TRUNK_NUMBER, FeatureLayout
from serl.types import Spec

log = logging.getLogger(__name__)

LAYOUT = "layout.json"
MADE = "made"
"""Column: 256 x the row's sequence number + its crops that are there. One store, so never torn."""
SLACK = 1024
"""Rows of the ring beyond the replay's capacity, at most: what one commit may write."""
INFINITE = np.uint16(0x7F80)
"""Exponent bits of a bfloat16; all set in infinities and NaN."""
SCAN = 65_536
"""Rows looked at together when searching what lacks crops."""

Encode = Callable[[NDArray[np.uint8], NDArray[np.int32]], NDArray[np.uint16]]
"""Features (n, h, w, C), as bfloat16 bits, of the crops that begin at `offsets` (n, 2) of frames
(n, H, W, 3): `FrozenTrunk.encode` with its shift_px."""


def is_feature(field: str) -> bool:
    """Whether a record field travels with features: 'extra/feature.front', 'extra/feature.trunk'.

    >>> is_feature("extra/feature.front"), is_feature("extra/grasp_penalty")
    (True, False)
    """
    return field.startswith("extra/" + FEATURE)


def without_features(spec: Spec) -> Spec:
    """A record spec without the extras that carry features: what the replay's columns hold."""
    return replace(spec, extras=tuple(a for a in spec.extras if not is_feature(f"extra/{a.name}")))


def row_bytes(layout: FeatureLayout) -> int:
    """What one row takes on disk."""
    return 2 * len(layout.cameras) * layout.crops * int(np.prod(layout.shape))


class FeatureStore:
    """Crops 0 ... count - 1 of each row, for every camera of the layout.

    Args:
        folder: made if absent; holds nothing that cannot be made again.
        capacity: rows kept.
        head: rows before this one are committed.
        boot: names the host's present boot.
    """

    def __init__(
        self, folder: Path, layout: FeatureLayout, capacity: int, head: int, boot: str
    ) -> None:
        if not 1 <= layout.crops < 256:
            raise UserError(f"{layout.crops} crops per frame; allowed are 1 to 255.")
        self.layout = layout
        self.capacity = capacity
        self.slack = min(SLACK, max(64, capacity))
        self._folder = folder
        ring = capacity + self.slack
        self._described: dict[str, Any] = {**dataclasses.asdict(layout), "ring": ring}
        self._described = json.loads(json.dumps(self._described))
        if not _usable(folder, self._described, boot):
            shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True, exist_ok=True)
        self._describe(clean=False, boot=boot)
        kept = np.dtype(("<u2", (layout.crops, *layout.shape)))
        fields = {MADE: np.dtype("<i8")} | {FEATURE + c: kept for c in layout.cameras}
        self._columns = Columns(folder / "columns", fields, ring)
        self._columns.reserve(max(1, head))
        self._next = [0] * layout.crops  # every row before the k-th has more than k crops

    def write(self, start: int, rows: Records) -> None:
        """Rows start, start + 1, ... are about to be committed: keep what their actor encoded.

        Raises OSError when the disk is full.
        """
        columns, count = self._columns, len(rows)
        columns.reserve(start + count)
        seqs = np.arange(start, start + count)
        columns.put(MADE, start, np.full(count, -1))
        sent = _sent(rows, self.layout)
        for camera in self.layout.cameras if sent.any() else ():
            first = rows[f"extra/{FEATURE}{camera}"][sent]
            columns.put_part(FEATURE + camera, seqs[sent], 0, first)
        columns.put(MADE, start, seqs * 256 + sent)

    def check(self, rows: Records) -> None:
        """Refuse features of this store's trunk that are not finite: they would be trained on."""
        for camera in self.layout.cameras if _sent(rows, self.layout).any() else ():
            bad = (rows[f"extra/{FEATURE}{camera}"] & INFINITE == INFINITE).any(axis=(1, 2, 3))
            bad &= _sent(rows, self.layout)
            if bad.any():
                row = rows[int(np.flatnonzero(bad)[0])]
                raise BadRecord(
                    f"extra/{FEATURE}{camera} is not finite in episode {row['episode']}, index "
                    f"{row['index']}; check that actor's trunk and its precision."
                )

    def store(self, seqs: NDArray, crop: int, made: dict[str, NDArray], tail: int) -> int:
        """Keep the next crop of rows; those that are gone or have it already are left out.

        Args:
            made: by camera, (n, h, w, C) uint16.
        """
        here = (seqs >= tail) & (self.counts(seqs) == crop)
        for camera in self.layout.cameras:
            self._columns.put_part(FEATURE + camera, seqs[here], crop, made[camera][here])
        self._columns.put_at(MADE, seqs[here], seqs[here] * 256 + crop + 1)
        return int(np.count_nonzero(here))

    def counts(self, seqs: NDArray) -> NDArray[np.int64]:
        """How many crops each row has."""
        return _count(self._columns.take(MADE, seqs), seqs)

    def ready(self, start: int, head: int) -> int:
        """The first row from `start` on without any crop; `head` where there is none."""
        rows = 64
        while start < head:
            stop = min(head, start + rows)
            missing = np.flatnonzero(self._span(start, stop) == 0)
            if len(missing):
                return start + int(missing[0])
            start, rows = stop, min(2 * rows, SCAN)
        return start

    def backlog(self, tail: int, head: int) -> int:
        """Crops that rows tail ... head - 1 still lack, over all cameras."""
        made = sum(
            int(self._span(first, min(head, first + SCAN)).sum())
            for first in range(tail, head, SCAN)
        )
        return ((head - tail) * self.layout.crops - made) * len(self.layout.cameras)

    def next_rows(
        self, tail: int, head: int, limit: int, first_only: bool
    ) -> tuple[NDArray[np.int64], int]:
        """Rows to be encoded next, and which crop of theirs: a first crop for all comes first."""
        for crop in range(1 if first_only else self.layout.crops):
            start = max(self._next[crop], tail)
            while start < head:
                stop = min(head, start + SCAN)
                found = np.flatnonzero(self._span(start, stop) <= crop)[:limit] + start
                if len(found):
                    self._next[crop] = int(found[0])
                    return found, crop
                start = self._next[crop] = stop
        return np.empty(0, np.int64), 0

    def draw(self, rng: np.random.Generator, at: NDArray, stacked: bool) -> dict[str, NDArray]:
        """One of the crops that are there, drawn uniformly for each row and camera: at.shape.

        With `stacked` the last axis of `at` is a stack of frames, which share one crop.
        """
        counts = self.counts(at)
        if stacked:
            counts = counts.min(axis=-1)
        return {
            camera: (rng.random(counts.shape) * counts).astype(np.int64)
            for camera in self.layout.cameras
        }

    def read(self, camera: str, at: NDArray, crops: NDArray) -> NDArray:
        """Features of rows `at`, bfloat16 (*at.shape, h, w, C); `crops` may lack a last axis."""
        import ml_dtypes

        crops = crops[..., None] if crops.ndim < at.ndim else crops
        found = self._columns.take_part(FEATURE + camera, at, np.broadcast_to(crops, at.shape))
        return found.view(ml_dtypes.bfloat16)

    def all_crops(self, seqs: NDArray) -> dict[str, NDArray[np.uint16]]:
        """Every crop of rows, by camera (n, K, h, w, C)."""
        return {c: self._columns.take(FEATURE + c, seqs) for c in self.layout.cameras}

    def holds(self, at: NDArray) -> bool:
        """Whether the rows' places have not been taken by newer ones."""
        return bool((self._columns.take(MADE, at) >> 8 == at).all())

    def close(self, boot: str) -> None:
        """Flush, so that the host may go down, and let go of the files."""
        try:
            self._columns.flush()
            self._describe(clean=True, boot=boot)
        except OSError as error:
            log.warning("%s: %s; features are kept until the host restarts", self._folder, error)
        self._columns.close()

    def _span(self, start: int, stop: int) -> NDArray[np.int64]:
        """Crops of rows start ... stop - 1."""
        return _count(self._columns.span(MADE, start, stop), np.arange(start, stop))

    def _describe(self, clean: bool, boot: str) -> None:
        fresh = self._folder / "layout.tmp"
        fresh.write_text(json.dumps({**self._described, "clean": clean, "boot": boot}, indent=1))
        fresh.replace(self._folder / LAYOUT)


def encode_views(
    encode: Encode, views: Sequence[NDArray[np.uint8]], offsets: Iterable[NDArray[np.int32]]
) -> list[NDArray[np.uint16]]:
    """Features of each camera's frames, in one call where all frames have one shape."""
    if len({view.shape[1:] for view in views}) > 1:
        return [encode(view, at) for view, at in zip(views, offsets, strict=True)]
    made = encode(np.concatenate(views), np.concatenate(list(offsets)))
    return np.split(made, np.cumsum([len(view) for view in views])[:-1])


def forget_uncommitted(folder: Path, head: int) -> None:
    """For a replay opened without its features: what a killed process had begun at `head` and
    later will be other rows, and nothing will say so here."""
    path = folder / "columns" / f"00_{MADE}.bin"
    if path.exists() and path.stat().st_size:
        made = np.memmap(path, "<i8", "r+")
        made[made >> 8 >= head] = -1


def _sent(rows: Records, layout: FeatureLayout) -> NDArray[np.bool_]:
    """Which records bring features of the layout's trunk."""
    number = f"extra/{TRUNK_NUMBER}"
    if number not in (rows.dtype.names or ()):
        return np.zeros(len(rows), bool)
    return rows[number] == layout.number


def _count(made: NDArray[np.int64], seqs: NDArray) -> NDArray[np.int64]:
    return np.where(made >> 8 == seqs, made & 255, 0)


def _usable(folder: Path, described: dict[str, Any], boot: str) -> bool:
    """Whether a folder holds features of this layout, all of which reached the disk."""
    try:
        found = json.loads((folder / LAYOUT).read_text())
        clean, found_boot = found.pop("clean"), found.pop("boot")
    except FileNotFoundError:
        return False
    except (ValueError, KeyError, AttributeError) as error:
        log.warning("%s: %s; its features are made anew", folder, error)
        return False
    if found != described:
        changed = [k for k in described if found.get(k) != described[k]]
        log.info("%s: features of another %s; made anew", folder, changed[0] if changed else "kind")
        return False
    if not clean and found_boot != boot:
        log.info("%s: the host went down; its features are made anew", folder)
        return False
    return True
