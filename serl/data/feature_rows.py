"""The part of a replay that keeps features of its rows: which are ready, and what comes next.

A row is ready once it, and all rows before it, have a first crop; only ready rows are sampled. With
no layout there is nothing to keep, and every committed row is ready.
"""

from __future__ import annotations

import threading
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from serl.data.columns import Columns
from serl.data.features import (
    Encode,
    FeatureStore,
    encode_views,
    forget_uncommitted,
    row_bytes,
)
from serl.data.frames import FrameStore
from serl.data.index import WindowIndex
from serl.data.journal import State
from serl.errors import UserError
from serl.pixels import FeatureLayout, crop_offsets


class FeatureRows:
    """Base of `serl.data.replay.Replay`, whose locks, columns and frames it works with."""

    folder: Path
    capacity: int
    layout: FeatureLayout | None
    on_ready: Callable[[int], None] | None
    _budget: int
    _frame_fields: tuple[str, ...]
    _columns: Columns
    _frames: FrameStore | None
    _features: FeatureStore | None
    _state: State
    _indexes: dict[tuple[bool, int], WindowIndex]
    _lock: threading.Lock
    _grown: threading.Condition
    _closed: bool
    _ready: int
    _starts: int
    """Episodes begun among the rows that are ready."""

    def _check_open(self) -> None:
        raise NotImplementedError

    @property
    def ready(self) -> int:
        """Records sampleable since the replay was made, evicted ones included: as
        `records_committed`, but for those that wait for features."""
        return self._ready

    @property
    def steps_ready(self) -> int:
        """Env steps among the `ready` records: all but the first of each episode."""
        return self._ready - self._starts

    @property
    def backlog(self) -> int:
        """Crops still to be made, over all cameras."""
        with self._lock:
            if self._features is None or self._closed:
                return 0
            return self._features.backlog(self._state.tail, self._state.head)

    def encode_next(self, encode: Encode, rows: int = 32, *, first_only: bool = False) -> int:
        """Encode one more crop of up to `rows` rows that lack some; says how many crops were made.

        Every row gets its first crop before any gets its second. Any thread; frames are read and
        encoded outside locks, and rows evicted meanwhile are left out.

        Args:
            first_only: only rows that have no crop yet.
        """
        store, frames = self._features, self._frames
        if store is None or frames is None:
            return 0
        with self._lock:
            if self._closed:
                return 0
            head, tail = self._state.head, self._state.tail
            seqs, crop = store.next_rows(tail, head, rows, first_only)
            if not len(seqs):
                return 0
            offsets = self._offsets(seqs)[:, :, crop]  # (n, cameras, 2)
            pinned = frames.pin(seqs)
        cameras = store.layout.cameras
        views = [frames.read(seqs, f"obs/{camera}", pinned) for camera in cameras]
        made = encode_views(encode, views, np.moveaxis(offsets, 1, 0))
        with self._lock:
            if self._closed:
                return 0
            kept = store.store(seqs, crop, dict(zip(cameras, made, strict=True)), self._state.tail)
            steps = self._advance()
        self._tell(steps)
        return kept * len(cameras)

    def crop_offsets(self, seqs: NDArray[np.int64]) -> NDArray[np.int32]:
        """Where each crop of rows `seqs` begins: (*seqs.shape, cameras, K, 2), see serl.pixels."""
        with self._lock:
            self._check_open()
            found = self._offsets(seqs.reshape(-1))
        return found.reshape(*seqs.shape, *found.shape[1:])

    def crops_of(self, seqs: NDArray[np.int64]) -> dict[str, NDArray[np.uint16]] | None:
        """All K crops of rows, by camera (n, K, h, w, C); None while one is missing or gone."""
        store = self._features
        with self._lock:
            self._check_open()
            if store is None or (store.counts(seqs) < store.layout.crops).any():
                return None
            if (seqs < self._state.tail).any():
                return None
            return store.all_crops(seqs)

    def put_crops(self, seqs: NDArray[np.int64], crops: Mapping[str, NDArray[np.uint16]]) -> None:
        """Give rows crops made before, as `crops_of` returns them; crops they have stay."""
        store = self._features
        if store is None:
            return
        with self._lock:
            self._check_open()
            for k in range(store.layout.crops):
                made = {camera: values[:, k] for camera, values in crops.items()}
                store.store(seqs, k, made, self._state.tail)
            steps = self._advance()
        self._tell(steps)

    def rows_of(self, actor_id: str, episode: int) -> NDArray[np.int64]:
        """Sequence numbers of what is kept of one episode, in order."""
        with self._lock:
            self._check_open()
            actor, tail, head = self._state.actors.get(actor_id), self._state.tail, self._state.head
            if actor is None or head == tail:
                return np.empty(0, np.int64)
            theirs = self._columns.span("actor", tail, head) == actor.number
            theirs &= self._columns.span("episode", tail, head) == episode
            return np.flatnonzero(theirs) + tail

    def _advance(self) -> int:
        """Let rows be sampled that are ready now; says how many env steps. Holds the lock."""
        start, stop = self._ready, self._state.head
        if self._features is not None:
            stop = self._features.ready(max(start, self._state.tail), stop)
        if stop == start:
            return 0
        for index in self._indexes.values():
            index.extend(start, stop, self._state.tail)
        starts = int(np.count_nonzero(self._columns.span("index", start, stop) == 0))
        self._starts += starts
        self._ready = stop
        self._grown.notify_all()
        return stop - start - starts

    def _tell(self, steps: int) -> None:
        if steps and self.on_ready is not None:
            self.on_ready(steps)

    def _offsets(self, seqs: NDArray[np.int64]) -> NDArray[np.int32]:
        """(n, cameras, K, 2) of rows. Holds the lock."""
        assert self.layout is not None
        names = {a.number: zlib.crc32(name.encode()) for name, a in self._state.actors.items()}
        crcs = np.array([names[n] for n in range(len(names))], np.uint64)
        actor = crcs[self._columns.take("actor", seqs)]
        episode, index = (self._columns.take(n, seqs) for n in ("episode", "index"))
        return crop_offsets(self.layout, actor, episode, index)

    def _check_features(self, stack: int | None) -> None:
        if self.layout is None:
            raise UserError(f"the replay in {self.folder} keeps no features; draw frames instead.")
        if stack is not None and stack > 1 and not self.layout.per_episode:
            raise UserError(
                f"stacks of {stack} frames need one crop for all of them: a feature layout with "
                "per_episode."
            )

    def _open_features(self, boot: str) -> None:
        state, folder, layout = self._state, self.folder / "features", self.layout
        self._ready, self._starts = state.head, state.episodes
        if layout is None:
            forget_uncommitted(folder, state.head)
            return
        unknown = [c for c in layout.cameras if f"obs/{c}" not in self._frame_fields]
        if unknown:
            raise UserError(f"features of {unknown[0]!r}, which is no camera of this replay.")
        capacity = min(self.capacity, self._budget // row_bytes(layout))
        self._features = FeatureStore(folder, layout, max(1, capacity), state.head, boot)
        state.tail = max(state.tail, state.head - self._features.capacity)
        ready = self._features.ready(state.tail, state.head)
        if ready < state.head:
            waiting = self._columns.span("index", ready, state.head)
            self._starts -= int(np.count_nonzero(waiting == 0))
        self._ready = ready
