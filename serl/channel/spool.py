"""The actor's bounded store of records on disk, kept until the learner has committed them.

A directory holds `spool.json` (actor id, run id, episode counter), a lock, and segment files named
by the position of their first record. Records have one size, so a segment is an array of slots:
CRC-32 of the record (u4), then the record. A record is in the page cache when `append` returns: it
survives the death of the process at once, and of the machine after the next sync (5 s). What the
learner has acknowledged by then need not be synced, and mostly never reaches the disk.
Positions count the records ever written. Plain Python: no JAX, no NumPy.
"""

from __future__ import annotations

import bisect
import contextlib
import fcntl
import json
import logging
import os
import struct
import threading
import uuid
import zlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from serl.errors import CorruptFile, UserError

logger = logging.getLogger(__name__)

CRC_BYTES = 4
KEY_BYTES = 8
"""A record begins with its key: episode u4, index u4 (serl.types.record_dtype)."""
EPISODES_RESERVED = 64
"""Episode numbers are set aside on disk in blocks: one sync per block, and none is given twice."""
RESERVE_BYTES, RESERVE_RECORDS = 128 << 20, 20_000
"""Acknowledged records kept all the same, as many as fit in both: a learner whose machine crashed
may lose its last 5 s."""
HARD_LIMIT = 1.1
"""Past `limit_bytes` the running episode may still end, up to this factor."""
WARN_AT = 0.8


class SpoolFull(UserError):
    """No room for records: hold the arm at the episode boundary until there is."""


@dataclass
class _State:
    """What `spool.json` holds."""

    actor_id: str
    record_bytes: int
    run_id: str = ""
    next_episode: int = 0
    """No episode at or above this number has been given out."""
    acked: int = 0
    synced: int = 0
    """Records from `acked` to here are on the medium; all others are checked when reopening."""
    format: int = 1


class Spool:
    """See the module. One thread appends; any thread may read and acknowledge.

    Args:
        directory: made if missing; locked against a second process while open.
        record_bytes: size of every record, its key first.
        limit_bytes: unacknowledged bytes at which no further episode begins.
        sync_s: longest time a record waits for the medium [s].
    """

    def __init__(
        self,
        directory: Path | str,
        record_bytes: int,
        *,
        limit_bytes: int = 20_000_000_000,
        segment_bytes: int = 64 << 20,
        sync_s: float = 5.0,
    ) -> None:
        self.directory = Path(directory)
        self.record_bytes = record_bytes
        self.slot_bytes = record_bytes + CRC_BYTES
        self.limit_bytes = limit_bytes
        self._slots_per_segment = max(1, min(segment_bytes // self.slot_bytes, RESERVE_RECORDS))
        self._slot = bytearray(self.slot_bytes)
        self._lock = threading.RLock()
        self._failure: BaseException | None = None
        self._warned = False
        self._write_fd = self._read_fd = -1
        self._read_first = -1
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            self._lock_fd = _lock(self.directory)
        except OSError as error:
            raise UserError(
                f"spool {self.directory} cannot be opened: {error.strerror}; give a directory on a "
                "disk with room that you may write to."
            ) from error
        try:
            self._open(record_bytes)
        except BaseException:
            os.close(self._lock_fd)
            raise
        self._closing = threading.Event()
        self._syncer = threading.Thread(
            target=self._sync_forever, args=(sync_s,), name="spool-sync", daemon=True
        )
        self._syncer.start()

    @property
    def actor_id(self) -> str:
        """UUID of this spool's actor, 32 hex digits."""
        return self._state.actor_id

    @property
    def run_id(self) -> str:
        """The run its records belong to; empty until a learner has said."""
        return self._state.run_id

    @property
    def start(self) -> int:
        """Position of the oldest record still here."""
        return self._start

    @property
    def acked(self) -> int:
        """Records before this position are committed by the learner."""
        return self._state.acked

    @property
    def pending_bytes(self) -> int:
        return (self.end - self.acked) * self.slot_bytes

    @property
    def full(self) -> bool:
        return self.pending_bytes >= self.limit_bytes

    def append(self, record: Any) -> int:
        """Store one record (a contiguous buffer of `record_bytes`); returns its position.

        Raises SpoolFull when the disk or the hard limit has no room; the record is then not stored
        and may be offered again.
        """
        self._raise_failure()
        if self.pending_bytes >= self.limit_bytes * HARD_LIMIT:
            raise self.full_error()
        slot = self._slot
        slot[CRC_BYTES:] = record  # raises ValueError or makes a wrong length, checked next
        if len(slot) != self.slot_bytes:
            wrong = len(slot) - CRC_BYTES
            self._slot = bytearray(self.slot_bytes)
            raise ValueError(f"a record of {wrong} bytes; this spool's have {self.record_bytes}")
        struct.pack_into("<I", slot, 0, zlib.crc32(memoryview(slot)[CRC_BYTES:]))
        position = self.end
        if position - self._firsts[-1] >= self._slots_per_segment:
            self._roll()
        self._write(slot, (position - self._firsts[-1]) * self.slot_bytes)
        self.end = position + 1
        self._warn_when_nearly_full()
        return position

    def read(self, position: int, max_bytes: int) -> bytes:
        """Whole slots from `position` on, at least one and at most `max_bytes`; b"" at the end."""
        with self._lock:
            if position < self.start:
                raise ValueError(f"position {position} is no longer in the spool")
            which = bisect.bisect_right(self._firsts, position) - 1
            first = self._firsts[which]
            last = self._firsts[which + 1] if which + 1 < len(self._firsts) else self.end
            count = min(last - position, max(1, max_bytes // self.slot_bytes))
            if count <= 0:
                return b""
            return self._read(first, position - first, 0, count * self.slot_bytes)

    def position_after(self, key: tuple[int, int] | None) -> int:
        """Position of the first record here whose (episode, index) is above `key`."""
        low, high = self.start, self.end
        while key is not None and low < high:
            middle = (low + high) // 2
            if self.key_at(middle) <= key:
                low = middle + 1
            else:
                high = middle
        return low

    def key_at(self, position: int) -> tuple[int, int]:
        """(episode, index) of one record."""
        with self._lock:
            first = self._firsts[bisect.bisect_right(self._firsts, position) - 1]
            raw = self._read(first, position - first, CRC_BYTES, KEY_BYTES)
        episode, index = struct.unpack("<II", raw)
        return episode, index

    def ack(self, position: int) -> None:
        """The learner has committed everything before `position`; old segments are deleted."""
        with self._lock:
            if position <= self.acked:
                return
            if position > self.end:
                raise ValueError(f"acknowledged up to {position} of {self.end} records")
            self._state.acked = position
            keep_from = position - min(RESERVE_BYTES // self.slot_bytes, RESERVE_RECORDS)
            drop = 0
            while drop + 1 < len(self._firsts) and self._firsts[drop + 1] <= keep_from:
                drop += 1
            doomed, self._firsts = self._firsts[:drop], self._firsts[drop:]
            self._start = max(self._start, self._firsts[0])
        for first in doomed:
            self._path(first).unlink()

    def rewind(self, position: int) -> None:
        """The learner has less than it once acknowledged (its machine crashed)."""
        with self._lock:
            self._state.acked = max(self.start, min(position, self.end))
            self._state.synced = min(self._state.synced, self._state.acked)

    def new_episode(self, at_least: int = 0) -> int:
        """A number above every one given out before, also by former processes."""
        self._raise_failure()
        with self._lock:
            number = max(self._next_episode, at_least)
            self._next_episode = number + 1
            if self._next_episode > self._state.next_episode:
                self._state.next_episode = number + EPISODES_RESERVED
                self._save(durable=True)
            return number

    def bind_run(self, run_id: str) -> None:
        """Remember whose records these are."""
        with self._lock:
            self._state.run_id = run_id
            self._save(durable=True)

    def full_error(self) -> SpoolFull:
        """Why no episode begins, for a person."""
        return SpoolFull(
            f"spool {self.directory} holds {self.pending_bytes / 1e9:.3g} GB of records that no "
            f"learner has taken (limit {self.limit_bytes / 1e9:.3g} GB); the arm holds until one "
            "does. Start the learner, or raise the spool's limit."
        )

    def sync(self) -> None:
        """Every record that is not acknowledged onto the medium."""
        with self._lock:
            end, acked = self.end, self.acked
            begin = max(acked, self._state.synced)
            ends = [*self._firsts[1:], end]
            wanted = [f for f, e in zip(self._firsts, ends, strict=True) if begin < e]
            fds = [os.open(self._path(first), os.O_RDONLY) for first in wanted]
        try:
            for fd in fds:
                os.fdatasync(fd)
        finally:
            for fd in fds:
                os.close(fd)
        with self._lock:
            if self.acked < acked:
                return  # rewound meanwhile: those records are for the next sync
            if (self._state.synced, self._saved_acked) != (end, self.acked):
                self._state.synced = end
                self._save(durable=True)

    def close(self) -> None:
        """Sync, save the exact episode counter, release the lock. Safe to call twice."""
        if self._closing.is_set():
            return
        self._closing.set()
        self._syncer.join()
        try:
            with self._lock:
                self._state.next_episode = self._next_episode
            self.sync()
            self._save(durable=True)
        finally:
            for fd in (self._write_fd, self._read_fd):
                if fd >= 0:
                    os.close(fd)
            os.close(self._lock_fd)

    def __enter__(self) -> Spool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _open(self, record_bytes: int) -> None:
        """Load or make the state, cut a torn tail, and be ready to append."""
        self._state = self._load(record_bytes)
        self._saved_acked = self._state.acked
        self._firsts = sorted(int(p.stem) for p in self.directory.glob("*.seg"))
        if not self._firsts:
            self._firsts = [max(self._state.acked, self._state.synced)]
        self._recover()
        self._state.acked = min(max(self._state.acked, self._start), self.end)
        self._state.synced = min(self._state.synced, self.end)
        after_last = self.key_at(self.end - 1)[0] + 1 if self.end > self.start else 0
        self._next_episode = max(self._state.next_episode, after_last)
        self._state.next_episode = self._next_episode + EPISODES_RESERVED
        self._write_fd = self._create(self._firsts[-1])
        self._save(durable=True)

    def _load(self, record_bytes: int) -> _State:
        path = self.directory / "spool.json"
        if not path.exists():
            return _State(actor_id=uuid.uuid4().hex, record_bytes=record_bytes)
        try:
            state = _State(**json.loads(path.read_text(encoding="utf-8")))
        except (ValueError, TypeError) as error:
            raise CorruptFile(
                f"spool state {path} is damaged ({error}); move the spool away and start with a "
                "new one."
            ) from error
        if state.record_bytes != record_bytes:
            raise UserError(
                f"spool {self.directory} holds records of {state.record_bytes} bytes, this "
                f"experiment's have {record_bytes}; give each experiment a spool of its own."
            )
        return state

    def _recover(self) -> None:
        """Find `_start` and `end` of what is whole, and drop what a crash left half written.

        What matters begins at the acknowledged mark. Older records are a reserve: they are kept as
        far back as they are whole.
        """
        state, firsts = self._state, self._firsts
        k = max(bisect.bisect_right(firsts, state.acked) - 1, 0)
        mark = max(firsts[k], min(state.acked, firsts[k] + self._slots_in(firsts[k])))
        last, end = k, self._whole_from(firsts[k], mark)
        while last + 1 < len(firsts) and end == firsts[last + 1]:
            last += 1
            end = self._whole_from(firsts[last], end)
        oldest, start = k, self._whole_back_to(firsts[k], mark)
        while oldest and start == firsts[oldest] == firsts[oldest - 1] + self._slots_in(
            firsts[oldest - 1]
        ):
            oldest -= 1
            start = self._whole_back_to(firsts[oldest], start)
        whole_bytes = (end - firsts[last]) * self.slot_bytes
        path = self._path(firsts[last])
        torn = path.exists() and path.stat().st_size != whole_bytes
        if torn:
            os.truncate(path, whole_bytes)
        for first in firsts[:oldest] + firsts[last + 1 :]:
            self._path(first).unlink()
        if torn or last + 1 < len(firsts):
            logger.warning(
                "spool %s: cut after record %d; a later one was not wholly written",
                path.parent,
                end,
            )
        self._firsts, self._start, self.end = firsts[oldest : last + 1], start, end

    def _slots_in(self, first: int) -> int:
        """Whole slots, by its size, of a segment file."""
        path = self._path(first)
        return path.stat().st_size // self.slot_bytes if path.exists() else 0

    def _whole_from(self, first: int, position: int) -> int:
        """The first position from `position` on, in one segment, that is not whole; or its end."""
        end = first + self._slots_in(first)
        if self._state.acked <= position < self._state.synced:
            position = min(self._state.synced, end)
        return next((p for p in range(position, end) if not self._is_whole(first, p)), end)

    def _whole_back_to(self, first: int, position: int) -> int:
        """The lowest position in one segment from which all are whole up to `position`."""
        downwards = range(position - 1, first - 1, -1)
        return next((p + 1 for p in downwards if not self._is_whole(first, p)), first)

    def _is_whole(self, first: int, position: int) -> bool:
        slot = memoryview(self._read(first, position - first, 0, self.slot_bytes))
        return zlib.crc32(slot[CRC_BYTES:]) == int.from_bytes(slot[:CRC_BYTES], "little")

    def _roll(self) -> None:
        """Begin the next segment."""
        try:
            fd = self._create(self.end)
        except OSError as error:
            raise self._disk_error(error) from error
        with self._lock:
            os.close(self._write_fd)
            self._write_fd = fd
            self._firsts.append(self.end)

    def _create(self, first: int) -> int:
        return os.open(self._path(first), os.O_RDWR | os.O_CREAT, 0o600)

    def _write(self, slot: bytearray, offset: int) -> None:
        try:
            written = os.pwrite(self._write_fd, slot, offset)
            while written < len(slot):  # the disk filled up within the record: the rest tells why
                rest = memoryview(slot)[written:]
                written += os.pwrite(self._write_fd, rest, offset + written)
        except OSError as error:  # a part that was written is overwritten, or cut when reopening
            raise self._disk_error(error) from error

    def _disk_error(self, error: OSError) -> SpoolFull:
        return SpoolFull(
            f"spool {self.directory} cannot store a record: {error.strerror}. All earlier ones are "
            "safe; free space on that disk, then go on."
        )

    def _read(self, first: int, slot: int, offset: int, size: int) -> bytes:
        if self._read_first != first:
            if self._read_fd >= 0:
                os.close(self._read_fd)
            self._read_fd = os.open(self._path(first), os.O_RDONLY)
            self._read_first = first
        return os.pread(self._read_fd, size, slot * self.slot_bytes + offset)

    def _path(self, first: int) -> Path:
        return self.directory / f"{first:015d}.seg"

    def _save(self, durable: bool = False) -> None:
        """Replace spool.json in one move."""
        with self._lock:
            temporary = self.directory / "spool.json.new"
            try:
                with open(temporary, "w", encoding="utf-8") as file:
                    json.dump(asdict(self._state), file)
                    if durable:
                        file.flush()
                        os.fsync(file.fileno())
                os.replace(temporary, self.directory / "spool.json")
            except OSError as error:
                raise self._disk_error(error) from error
            self._saved_acked = self._state.acked

    def _sync_forever(self, period_s: float) -> None:
        while not self._closing.wait(period_s):
            try:
                self.sync()
            except SpoolFull as error:  # state file only: the records are safe, try again
                logger.warning("%s", error)
            except OSError as error:
                self._failure = UserError(
                    f"spool {self.directory} cannot be written to disk: {error.strerror}; check "
                    "the disk. Records since the last sync are in memory only."
                )
                return

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _warn_when_nearly_full(self) -> None:
        pending = self.pending_bytes
        if not self._warned and pending >= WARN_AT * self.limit_bytes:
            self._warned = True
            logger.warning(
                "spool %s is %d %% full (%.3g of %.3g GB); no learner takes its records",
                self.directory,
                100 * pending // self.limit_bytes,
                pending / 1e9,
                self.limit_bytes / 1e9,
            )
        elif self._warned and pending < WARN_AT / 2 * self.limit_bytes:
            self._warned = False


def _lock(directory: Path) -> int:
    """Lock the directory for this process; the kernel releases it however the process ends."""
    path = directory / "lock"
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        holder = ""
        with contextlib.suppress(OSError):  # only for the message
            holder = os.pread(fd, 32, 0).decode("ascii", "replace").strip()
        os.close(fd)
        raise UserError(
            f"spool {directory} is in use by process {holder or 'unknown'}; two live actors need "
            "two spools. Stop the other one, or give another directory."
        ) from error
    os.ftruncate(fd, 0)
    os.pwrite(fd, str(os.getpid()).encode("ascii"), 0)
    return fd
