"""Replay on disk: every record committed once, sampled by windows that never cross an episode.

State, action and flags lie in memory-mapped columns in ring order (columns.py), camera frames in
compressed segments (frames.py), and what is committed in a journal (journal.py). A commit writes
rows where no live row lies, then one journal line, and only then evicts and publishes in memory: a
process killed at any instruction leaves exactly the journalled rows. Every few seconds the rows are
flushed to the disk, then a mark is journalled: a host crash costs what came after the last mark.

With a feature layout, what a frozen trunk makes of the frames is kept too (features.py), and rows
can be sampled once they, and all rows before them, have a first crop.
"""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serl.data.columns import Columns
from serl.data.feature_rows import FeatureRows
from serl.data.features import FeatureStore, without_features
from serl.data.folder import JOURNAL, Settings, disk_error, hold_folder, open_settings
from serl.data.frames import FrameStore, Layout, Segment
from serl.data.index import WindowIndex
from serl.data.journal import Actor, Journal, boot_id, recover
from serl.data.keeper import Keeper
from serl.data.records import (
    BadRecord,
    Label,
    Records,
    check_order,
    check_records,
    field_names,
    frame_fields,
)
from serl.data.stack import stacked
from serl.data.windows import NoWindows, Windows, both_ends, walk
from serl.errors import UserError
from serl.pixels import FeatureLayout
from serl.types import RewardSource, Spec, record_dtype

log = logging.getLogger(__name__)

SYNC_S = 4.0
"""Between flushes to the disk [s]; with the time a flush takes, a host crash costs at most 5 s."""
JOURNAL_LINES = 20_000
"""The journal is folded into a snapshot above this many lines; reading it takes 0.1 s."""
SLACK = 16_384
"""Rows of the ring beyond `capacity`, so that new rows never overwrite one that a restart after a
host crash may still need. At 4000 records/s it is 4 s: one flush."""
WAIT_NOTE_S = 10.0
LOOK_ROWS = 1 << 16
"""Rows that a search for one record looks at together."""


@dataclass(frozen=True)
class StoredEpisode:
    """The records still kept of one episode, in order; the oldest may be gone."""

    actor_id: str
    episode: int
    records: Records
    outcome: str
    """terminated, truncated, running (its actor's newest), or aborted: its actor went on without
    ending it, as after a kill. Nothing bootstraps beyond the last record of any of them."""


class Replay(FeatureRows):
    """A folder of records of one spec.

    Args:
        folder: made if absent; one process at a time.
        spec: what a record holds; another one than the folder's raises SpecMismatch.
        capacity: records kept; the oldest go first.
        frames_budget_bytes: disk for camera frames; the oldest segments go, with their records.
            As much again for their features.
        features: crops of each frame whose features are kept. Extras that carry an actor's features
            (serl.pixels.record_spec) go there, or nowhere; the folder may be opened with others.
        on_ready: told how many env steps became sampleable, on the thread that made them so.
        segment_bytes: raw size of a frame segment.
        sync_s: between flushes to the disk.
    """

    def __init__(
        self,
        folder: str | Path,
        spec: Spec,
        capacity: int = 1_000_000,
        frames_budget_bytes: int = 50_000_000_000,
        *,
        features: FeatureLayout | None = None,
        on_ready: Callable[[int], None] | None = None,
        segment_bytes: int = 128 << 20,
        sync_s: float = SYNC_S,
    ) -> None:
        if capacity < 1:
            raise UserError(f"replay capacity {capacity}; it must be at least 1 record.")
        self.folder = Path(folder)
        self.spec = spec
        self.capacity = capacity
        self.dtype = record_dtype(spec)
        self.layout = features
        self.on_ready = on_ready
        self._plain_spec = without_features(spec)
        self._plain_dtype = record_dtype(self._plain_spec)
        self._budget = frames_budget_bytes
        self._frame_fields = frame_fields(spec)
        self._row_fields = tuple(
            n for n in field_names(self._plain_dtype) if n not in self._frame_fields
        )
        self._features: FeatureStore | None = None
        self._segment_bytes = segment_bytes
        self._append_lock = threading.RLock()
        self._lock = threading.Lock()
        self._grown = threading.Condition(self._lock)
        self._indexes: dict[tuple[bool, int], WindowIndex] = {}
        self._closed = False
        self._unflushed = False
        """A row was corrected and is not yet flushed."""
        self._hold = hold_folder(self.folder)
        try:
            self._open_files()
        except BaseException as error:
            os.close(self._hold)
            if isinstance(error, OSError):
                raise disk_error(error, self.folder) from error
            raise
        self._keeper = Keeper(self.sync, self._compress_one, sync_s)

    def append(self, actor_id: str, records: Records) -> int:
        """Commit what is new of `records` and say how many that was.

        Safe to repeat: what is at or below the actor's high-water mark is dropped. Any thread.
        Records of the spec without the extras that carry features are as good.

        Raises:
            BadRecord: something is wrong with a record, named by its field; nothing was written.
            UserError: the disk is full; what was committed stays, and a later call may succeed.
        """
        plain = getattr(records, "dtype", None) == self._plain_dtype
        rows = check_records(records, self._plain_dtype if plain else self.dtype)
        if not 0 < len(actor_id) <= 256:
            raise BadRecord(f"actor id of {len(actor_id)} characters; allowed are 1 to 256.")
        with self._append_lock:
            self._check_open()
            known = self._state.actors.get(actor_id)
            last = (known.episode, known.index) if known else None
            if last is not None:
                episode, index = rows["episode"].astype(np.int64), rows["index"].astype(np.int64)
                rows = rows[(episode > last[0]) | ((episode == last[0]) & (index > last[1]))]
            if not len(rows):
                return 0
            check_order(rows["episode"], rows["index"], last)
            if self._features is not None:
                self._features.check(rows)
            piece = min(self._slack, self.capacity)
            if self._features is not None:
                piece = min(piece, self._features.slack, self._features.capacity)
            try:
                for start in range(0, len(rows), piece):
                    self._commit(actor_id, rows[start : start + piece])
            except OSError as error:
                raise disk_error(error, self.folder) from error
            return len(rows)

    def relabel(self, actor_id: str, label: Label) -> bool:
        """Correct the last record of an episode; False when it is no longer kept. Any thread.

        It is on the disk when this returns. The same again changes nothing.

        Raises BadRecord for a record that was never committed, or is not its episode's last.
        """
        with self._append_lock:
            self._check_open()
            known = self._state.actors.get(actor_id)
            key = (label.episode, label.index)
            if known is None or key > (known.episode, known.index) or not np.isfinite(label.reward):
                raise BadRecord(f"record {key} of this actor is not committed; nothing to relabel.")
            seq = self._seq_of(known.number, label)
            if seq is None:
                return False
            if int(self._columns.ahead(np.array([seq]), self._state.head)[0]) >= 0:
                raise BadRecord(f"record {key} is not the last of its episode; it keeps its label.")
            entry = {"seq": seq, "reward": float(np.float32(label.reward))}
            entry |= {"success": label.success, "terminated": label.terminated}
            try:
                self._journal.append({"relabel": entry})
                with self._lock:
                    self._correct(entry)
                self._unflushed = True
                self.sync()
            except OSError as error:
                raise disk_error(error, self.folder) from error
            return True

    def _seq_of(self, number: int, label: Label) -> int | None:
        """The row of a record, newest rows first; None where it is no longer kept."""
        columns, tail = self._columns, self._state.tail
        for stop in range(self._state.head, tail, -LOOK_ROWS):
            start = max(tail, stop - LOOK_ROWS)
            here = columns.span("episode", start, stop) == label.episode
            here &= columns.span("index", start, stop) == label.index
            here &= columns.span("actor", start, stop) == number
            if here.any():
                return start + int(np.argmax(here))
        return None

    def _correct(self, entry: Mapping[str, Any]) -> None:
        """Make one journalled correction in the columns."""
        terminated = bool(entry["terminated"])
        values = {
            "reward": np.float32(entry["reward"]),
            "success": bool(entry["success"]),
            "terminated": terminated,
            "truncated": not terminated,
            "reward_source": int(RewardSource.HUMAN),
            "reward_version": 0,
        }
        for name, value in values.items():
            self._columns.put_at(name, np.array([entry["seq"]]), np.array([value]))

    def sync(self) -> None:
        """Everything committed so far is on the disk when this returns."""
        with self._append_lock:
            if self._closed:
                return
            head, tail = self._state.head, self._state.tail
            corrected, self._unflushed = self._unflushed, False
            if head == self._durable and not corrected:
                return
        self._columns.flush()
        if self._frames is not None:
            self._frames.flush()
        with self._append_lock:
            if self._closed or (head <= self._durable and not corrected):
                return  # another sync was faster
            self._journal.append({"durable": max(head, self._durable)})
            self._journal.sync()
            self._durable = max(head, self._durable)
            if self._frames is not None:
                self._frames.drop_before(tail)
            if self._journal.lines > JOURNAL_LINES:
                self._fold_journal()

    def compress(self) -> None:
        """Compress every full segment that is on the disk, now and without rest.

        The background does the same at its leisure.
        """
        if self._frames is not None:
            for segment in self._frames.unsealed(self._durable):
                self._frames.seal(segment)

    def close(self) -> None:
        """Flush and let go of the folder; it can be opened again at once."""
        self._keeper.stop()
        with self._append_lock:
            if self._closed:
                return
            try:
                self.sync()
            except OSError as error:
                raise disk_error(error, self.folder) from error
            finally:
                with self._lock:
                    self._closed = True
                    self._grown.notify_all()
                    self._journal.close()
                    self._columns.close()
                    if self._frames is not None:
                        self._frames.close()
                    if self._features is not None:
                        self._features.close(boot_id())
                    os.close(self._hold)

    def __enter__(self) -> Replay:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def sample(
        self,
        rng: np.random.Generator,
        shape: int | tuple[int, ...],
        horizon: int = 1,
        where: str = "all",
        fields: Sequence[str] | None = None,
        *,
        whole: bool = True,
        ends: bool = False,
        stack: int | None = None,
        features: bool = False,
    ) -> Windows:
        """Windows drawn uniformly, with replacement, from all that lie in the replay.

        Args:
            shape: how many, as the leading axes of the result.
            horizon: H, steps in a window.
            where: "all", or "interventions": the first step's action was a human's.
            fields: record fields wanted; by default all but camera frames, which are read from
                disk only when named (and features, with `features`).
            whole: draw only windows of all H steps; otherwise draw any first step, and the window
                ends early where its episode does (`valid`), as n-step returns want it.
            ends: observations only at both ends of the window.
            stack: T, for each observation together with the T - 1 before it: one more axis (T, ...)
                after the window's, oldest first, an episode's first observation repeated.
            features: cameras named in `fields` come as features (bfloat16, (h, w, C) each) of one
                crop drawn for each observation and camera (`Windows.crops`), not as frames.
        """
        if stack is not None and stack < 1:
            raise UserError(f"a stack of {stack} frames; it must be at least 1.")
        if features:
            self._check_features(stack)
        shape = (shape,) if isinstance(shape, int) else shape
        everything = (*self._row_fields, *(self._frame_fields if features else ()))
        wanted = everything if fields is None else tuple(fields)
        with self._lock:
            self._check_open()
            index = self._index(where, horizon if whole else 1)
            if len(index) == 0:
                raise NoWindows(self._too_small(where, horizon))
            seqs, valid = walk(self._columns, index.draw(rng, shape), horizon, whole, self._ready)
            at = both_ends(seqs) if ends else seqs
            if stack is not None:
                at = stacked(self._columns, at, stack, self._state.tail)
            obs: dict[str, NDArray] = {}
            steps: dict[str, NDArray] = {}
            for name in wanted:
                if name in self._frame_fields:
                    continue
                if name not in self._row_fields:
                    raise UserError(f"no record field {name!r}; there are {self.dtype.names}.")
                if name.startswith("obs/"):
                    obs[name[4:]] = np.moveaxis(self._columns.take(name, at), 0, len(shape))
                else:
                    steps[name] = np.moveaxis(self._columns.take(name, seqs[1:]), 0, len(shape))
            frames = [n for n in self._frame_fields if n in wanted]
            pinned: Mapping[int, Segment] = {}
            crops: dict[str, NDArray] = {}
            if features and frames and self._features is not None:
                crops = self._features.draw(rng, at, stack is not None)
            elif frames and self._frames is not None:
                pinned = self._frames.pin(at)
        for name in frames:
            assert self._frames is not None
            if self._features is not None and name[4:] in crops:
                values = self._features.read(name[4:], at, crops[name[4:]])
            else:
                values = self._frames.read(at, name, pinned)
            obs[name[4:]] = np.moveaxis(values, 0, len(shape))
        if crops and self._features is not None and not self._features.holds(at):
            # some were overwritten while they were read: more than the ring's slack was committed
            options: dict[str, Any] = {"whole": whole, "ends": ends, "stack": stack}
            return self.sample(rng, shape, horizon, where, fields, features=True, **options)
        return Windows(
            np.moveaxis(seqs, 0, len(shape)),
            np.moveaxis(valid, 0, len(shape)),
            obs,
            steps,
            {camera: np.moveaxis(drawn, 0, len(shape)) for camera, drawn in crops.items()},
        )

    def wait_for(self, transitions: int, timeout_s: float, what: str = "the first update") -> bool:
        """Wait until there are this many transitions; False when `timeout_s` passed before.

        Says in the log what it waits for, at once and every 10 s.
        """
        deadline = time.monotonic() + timeout_s
        with self._grown:
            index = self._index("all", 1)
            while len(index) < transitions:
                self._check_open()
                left = deadline - time.monotonic()
                if left <= 0:
                    return False
                log.info(
                    "waiting for %d transitions for %s; there are %d",
                    transitions,
                    what,
                    len(index),
                )
                self._grown.wait_for(
                    lambda: self._closed or len(index) >= transitions, min(left, WAIT_NOTE_S)
                )
            return True

    def windows(self, horizon: int = 1, where: str = "all") -> int:
        """Whole windows that `sample` draws from."""
        with self._lock:
            self._check_open()
            return len(self._index(where, horizon))

    @property
    def transitions(self) -> int:
        """Records with a live record before them: what one-step sampling draws from."""
        return self.windows()

    @property
    def interventions(self) -> int:
        """Transitions whose action was a human's."""
        return self.windows(where="interventions")

    def __len__(self) -> int:
        """Records kept now."""
        with self._lock:
            return self._state.head - self._state.tail

    @property
    def records_committed(self) -> int:
        """Records committed since the replay was made, evicted ones included."""
        return self._state.head

    @property
    def episodes(self) -> int:
        """Episodes begun since the replay was made."""
        return self._state.episodes

    @property
    def nbytes_frames(self) -> int:
        """Disk that camera frames take now."""
        return self._frames.nbytes if self._frames is not None else 0

    def high_water(self, actor_id: str) -> tuple[int, int] | None:
        """(episode, index) of the newest record committed of one actor; None for none."""
        actor = self._state.actors.get(actor_id)
        return (actor.episode, actor.index) if actor else None

    def actors(self) -> dict[str, tuple[int, int]]:
        """The high-water mark of every actor."""
        return {name: (a.episode, a.index) for name, a in list(self._state.actors.items())}

    def iter_episodes(self) -> Iterator[StoredEpisode]:
        """What is kept, episode by episode, in order of their oldest record kept."""
        with self._lock:
            self._check_open()
            head, tail = self._state.head, self._state.tail
            if head == tail:
                return
            names = {a.number: name for name, a in self._state.actors.items()}
            actor = np.array(self._columns.span("actor", tail, head), np.int64)
            episode = np.array(self._columns.span("episode", tail, head), np.int64)
            newest = {name: a.episode for name, a in self._state.actors.items()}
        order = np.lexsort((episode, actor))  # stable: keeps arrival order within an episode
        changes = np.flatnonzero(np.diff(actor[order]) | np.diff(episode[order])) + 1
        groups = [g for g in np.split(order, changes) if len(g)]
        for group in sorted(groups, key=lambda g: int(g[0])):
            records = self._read(group + tail)
            if len(records):
                name, number = names[int(actor[group[0]])], int(episode[group[0]])
                outcome = _outcome(records[-1], running=newest[name] == number)
                yield StoredEpisode(name, number, records, outcome)

    def _read(self, seqs: NDArray[np.int64]) -> Records:
        """Whole records of those rows that are still kept."""
        with self._lock:
            self._check_open()
            seqs = seqs[seqs >= self._state.tail]
            records = np.zeros(len(seqs), self.dtype)
            for name in self._row_fields:
                records[name] = self._columns.take(name, seqs)
            pinned = self._frames.pin(seqs) if self._frames is not None else {}
        for name in self._frame_fields:
            assert self._frames is not None
            records[name] = self._frames.read(seqs, name, pinned)
        return records

    def _commit(self, actor_id: str, rows: Records) -> None:
        """Write rows, journal them, publish them: n <= slack and n <= capacity."""
        state = self._state
        head, count = state.head, len(rows)
        if head + count - self._durable > self._slack:
            self.sync()
        known = state.actors.get(actor_id)
        self._columns.reserve(head + count)
        self._write_rows(head, rows, known)
        if self._frames is not None:
            self._frames.write(head, rows)
        if self._features is not None:
            self._features.write(head, rows)
        tail = self._next_tail(head + count)
        entry = {
            "rows": [head, count],
            "actor": actor_id,
            "last": [int(rows["episode"][-1]), int(rows["index"][-1])],
            "tail": tail,
            "episodes": state.episodes + int(np.count_nonzero(rows["index"] == 0)),
        }
        self._journal.append(entry)
        with self._grown:
            for index in self._indexes.values():
                if tail > state.tail:
                    index.evict(state.tail, tail, head)
            state.commit(entry)
            steps = self._advance()
        self._tell(steps)

    def _write_rows(self, head: int, rows: Records, known: Actor | None) -> None:
        columns, count = self._columns, len(rows)
        seqs = np.arange(head, head + count)
        prev = np.where(rows["index"] == 0, -1, seqs - 1)
        if rows["index"][0] > 0:
            assert known is not None
            prev[0] = known.seq
        number = known.number if known else len(self._state.actors)
        for name in self._row_fields:
            columns.put(name, head, rows[name])
        columns.put("prev", head, prev)
        columns.put("next", head, np.full(count, -1))
        columns.put("seq", head, seqs)
        columns.put("actor", head, np.full(count, number))
        linked = prev >= self._state.tail
        columns.put_at("next", prev[linked], seqs[linked])

    def _next_tail(self, head: int) -> int:
        """The oldest row kept once the head is `head`: by capacity, then by the frames' budget."""
        tail = max(self._state.tail, head - self.capacity)
        if self._features is not None:
            tail = max(tail, head - self._features.capacity)
        if self._frames is None:
            return tail
        per = self._frames.rows
        numbers = range(tail // per, (head - 1) // per + 1)
        total = sum(self._frames.size_of(n) for n in numbers)
        for number in numbers[:-1]:
            if total <= self._budget:
                break
            total -= self._frames.size_of(number)
            tail = max(tail, (number + 1) * per)
        return tail

    def _index(self, where: str, horizon: int) -> WindowIndex:
        """The index for one kind of window, made when first asked for. Holds the lock."""
        if where not in ("all", "interventions") or horizon < 1:
            raise UserError(
                f"where={where!r}, horizon={horizon}; allowed are 'all' and 'interventions', and a "
                "horizon of at least 1."
            )
        key = (where == "interventions", horizon)
        if key not in self._indexes:
            self._indexes[key] = WindowIndex(
                self._columns, horizon, key[0], self._state.tail, self._ready
            )
        return self._indexes[key]

    def _too_small(self, where: str, horizon: int) -> str:
        kind = "windows" if horizon > 1 else "transitions"
        which = " chosen by a human" if where == "interventions" else ""
        return (
            f"the replay holds no {kind} of {horizon} step(s){which} among "
            f"{self._ready - self._state.tail} records; wait for some (Replay.wait_for)."
        )

    def _check_open(self) -> None:
        if self._closed:
            raise UserError(f"the replay in {self.folder} is closed.")
        self._keeper.check()

    def _compress_one(self) -> bool:
        """Compress the oldest full segment, if there is one; says whether more wait."""
        if self._frames is None or self._closed:
            return False
        waiting = self._frames.unsealed(self._durable)
        if waiting:
            self._frames.seal(waiting[0], self._keeper.pace)
        return len(waiting) > 1

    def _fold_journal(self) -> None:
        """Replace the journal by a snapshot: everything in it must be on the disk."""
        if self._state.head > self._durable or self._unflushed:
            self._columns.flush()
            if self._frames is not None:
                self._frames.flush()
        self._unflushed = False
        fresh = Journal.create(self.folder / JOURNAL, self._state, boot_id())
        self._journal.close()
        self._journal = fresh
        self._durable = self._state.head

    def _open_files(self) -> None:
        layout = Layout.of(self.dtype, self._frame_fields)
        asked = Settings(
            spec=json.loads(self._plain_spec.to_json()),
            capacity=self.capacity,
            slack=min(SLACK, max(64, self.capacity)),
            segment_rows=max(1, self._segment_bytes // max(1, layout.row_bytes)),
        )
        settings = open_settings(self.folder, asked)
        self._slack = settings.slack
        found = recover(self.folder / JOURNAL, boot_id())
        state = found.state
        fields = {name: self._plain_dtype[name] for name in self._row_fields}
        fields |= dict.fromkeys(("prev", "next", "seq"), np.dtype("<i8"))
        fields["actor"] = np.dtype("<u4")
        self._columns = Columns(self.folder / "columns", fields, self.capacity + self._slack)
        self._frames = None
        if layout.fields:
            folder = self.folder / "frames"
            self._frames = FrameStore(folder, layout, settings.segment_rows, state.head)
            state.tail = max(state.tail, self._frames.first_row(state.head))
        state.tail = self._columns.first_intact(state.tail, state.head)
        self._state = state
        for entry in found.relabels:
            if entry["seq"] >= state.tail:
                self._correct(entry)
                self._unflushed = True
        self._open_features(boot_id())
        self._durable = found.durable
        self._journal = Journal(self.folder / JOURNAL, found.lines)
        if found.lines > JOURNAL_LINES or not found.same_boot:
            self._fold_journal()


def _outcome(last: np.void, running: bool) -> str:
    for name in ("terminated", "truncated"):
        if last[name]:
            return name
    return "running" if running else "aborted"
