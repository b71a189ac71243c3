"""Camera frames, losslessly compressed, in segment files of a fixed number of rows.

Row s lives in segment s // rows, so no column of offsets is needed: a raw segment has rows of one
size, a sealed one brings its own table of offsets. Rows are appended raw, which costs a copy; once
a segment is full and safely on the disk it is compressed, frame by frame, into a sealed file that
replaces it in one rename. The oldest segments are dropped whole.
"""

from __future__ import annotations

import os
import struct
import threading
import zlib
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import zstandard
from numpy.typing import NDArray

from serl.data.journal import sync_folder
from serl.data.records import Records, field_names
from serl.errors import CorruptFile

MAGIC = b"SERLFRM2"
PLAIN = b"SERLFRM1"
"""An earlier format, still read: frames as they are, not the differences of their rows."""
HEAD = struct.Struct("<8sII")
"""Magic, frames in the file, CRC-32 of the offset table that follows (frames + 1 numbers, u8)."""

LEVEL = 1
"""zstd's, of each row's difference to the row above. Measured on 128x128x3 (49.2 kB): a render of
pick_cube 2.3 kB, with Gaussian noise of 3 / 255 28.5 kB (37.9 without differences; the noise's own
entropy is 22.3), at 130 us to compress and 60 us to read back; level 3 gains nothing."""

OPEN_FILES = 128
VECTORS = 512
"""Buffers per write call; the system allows 1024."""


@dataclass(frozen=True)
class Layout:
    """Where the frames of a record lie: in the record, and in a raw row."""

    fields: tuple[str, ...]
    shapes: Mapping[str, tuple[int, ...]]
    offsets: Mapping[str, int]
    """Byte at which a field starts in a raw row."""
    runs: tuple[tuple[int, int], ...]
    """(first byte, bytes) of the stretches of a record that make up a raw row, in order."""
    row_bytes: int

    @staticmethod
    def of(dtype: np.dtype, fields: tuple[str, ...]) -> Layout:
        """The layout of `fields`, in record order."""
        ordered = tuple(n for n in field_names(dtype) if n in fields)
        assert dtype.fields is not None
        places = {name: field[1] for name, field in dtype.fields.items()}
        offsets: dict[str, int] = {}
        runs: list[tuple[int, int]] = []
        total = 0
        for name in ordered:
            start, size = places[name], dtype[name].itemsize
            offsets[name] = total
            total += size
            if runs and sum(runs[-1]) == start:
                runs[-1] = (runs[-1][0], runs[-1][1] + size)
            else:
                runs.append((start, size))
        shapes = {name: dtype[name].shape for name in ordered}
        return Layout(ordered, shapes, offsets, tuple(runs), total)


class Segment:
    """One open segment file, read at random by any thread."""

    def __init__(self, path: Path, layout: Layout) -> None:
        self.path = path
        self._layout = layout
        self._fd = os.open(path, os.O_RDONLY)
        self._plain = False
        self._table = self._read_table() if path.suffix == ".sealed" else None

    def __del__(self) -> None:
        if hasattr(self, "_fd"):
            os.close(self._fd)

    def read(self, row: int, name: str, out: NDArray, unpack: zstandard.ZstdDecompressor) -> None:
        """One frame of one row into `out`."""
        layout = self._layout
        if self._table is None:
            start = row * layout.row_bytes + layout.offsets[name]
            if os.preadv(self._fd, [out.data.cast("B")], start) != out.nbytes:
                raise CorruptFile(f"{self.path}: ends before row {row}; the file was truncated.")
            return
        k = row * len(layout.fields) + layout.fields.index(name)
        start, end = int(self._table[k]), int(self._table[k + 1])
        try:
            frame = unpack.decompress(os.pread(self._fd, end - start, start))
        except zstandard.ZstdError as error:
            raise CorruptFile(f"{self.path}: the frame {name} of row {row} is damaged.") from error
        out[...] = np.frombuffer(frame, np.uint8).reshape(out.shape)
        if not self._plain:
            undo_differences(out)

    def _read_table(self) -> NDArray[np.uint64]:
        magic, frames, crc = HEAD.unpack(os.pread(self._fd, HEAD.size, 0).ljust(HEAD.size, b"\0"))
        self._plain = magic == PLAIN
        known = magic in (MAGIC, PLAIN)
        table = os.pread(self._fd, 8 * (frames + 1), HEAD.size) if known else b""
        if not known or zlib.crc32(table) != crc:
            raise CorruptFile(f"{self.path}: its table of frames is damaged.")
        return np.frombuffer(table, "<u8")


class FrameStore:
    """The frames of rows first ... head - 1.

    Args:
        folder: the segment files; made if absent.
        layout: the frames of one record.
        rows: rows per segment; fixed for the life of the folder.
        head: rows from here on were never committed and are removed.
    """

    def __init__(self, folder: Path, layout: Layout, rows: int, head: int) -> None:
        self.layout = layout
        self.rows = rows
        self._folder = folder
        self._lock = threading.Lock()
        self._sealing = threading.Lock()
        self._open: OrderedDict[int, Segment] = OrderedDict()
        self._files: dict[int, Path] = {}
        self._sizes: dict[int, int] = {}
        self._writing: tuple[int, int] | None = None  # segment number, descriptor
        folder.mkdir(parents=True, exist_ok=True)
        self._reconcile(head)

    @property
    def nbytes(self) -> int:
        """Bytes on disk."""
        return sum(self._sizes.values())

    def first_row(self, head: int) -> int:
        """The oldest row whose frames, and those of all rows up to `head`, are here."""
        segment = -(-head // self.rows)
        while segment - 1 in self._files:
            segment -= 1
        return min(segment * self.rows, head)

    def write(self, start: int, records: Records) -> None:
        """Append the frames of rows start, start + 1, ... Raises OSError when the disk is full."""
        view = records.view(np.uint8).reshape(len(records), -1)
        done = 0
        while done < len(records):
            segment, row = divmod(start + done, self.rows)
            take = min(len(records) - done, self.rows - row, VECTORS // len(self.layout.runs))
            buffers = [
                view[k, first : first + size].data
                for k in range(done, done + take)
                for first, size in self.layout.runs
            ]
            write_all(self._descriptor(segment), buffers, row * self.layout.row_bytes)
            with self._lock:
                self._sizes[segment] = (row + take) * self.layout.row_bytes
            done += take

    def pin(self, seqs: NDArray) -> dict[int, Segment]:
        """The segments that hold these rows, open: they stay readable even when dropped."""
        numbers = np.unique(seqs // self.rows)
        with self._lock:
            return {int(n): self._segment(int(n)) for n in numbers}

    def read(self, seqs: NDArray, name: str, pinned: Mapping[int, Segment]) -> NDArray[np.uint8]:
        """The frames `name` of rows `seqs`, (*seqs.shape, H, W, C); each distinct row once."""
        distinct, places = np.unique(seqs, return_inverse=True)
        frames = np.empty((len(distinct), *self.layout.shapes[name]), np.uint8)
        unpack = zstandard.ZstdDecompressor()
        for k, seq in enumerate(distinct.tolist()):
            segment, row = divmod(seq, self.rows)
            pinned[segment].read(row, name, frames[k], unpack)
        if seqs.size == distinct.size and np.array_equal(places.reshape(-1), np.arange(seqs.size)):
            return frames.reshape(*seqs.shape, *frames.shape[1:])
        return frames[places.reshape(seqs.shape)]

    def oldest(self) -> int | None:
        """Number of the oldest segment."""
        return min(self._files, default=None)

    def size_of(self, segment: int) -> int:
        """Bytes on disk of one segment."""
        return self._sizes[segment]

    def drop_before(self, row: int) -> None:
        """Delete the segments all of whose rows are older than `row`."""
        for segment in sorted(self._files):
            if (segment + 1) * self.rows > row:
                break
            with self._lock:
                self._open.pop(segment, None)
                path = self._files.pop(segment)
                del self._sizes[segment]
            path.unlink(missing_ok=True)

    def flush(self) -> None:
        """Rows written so far are on the disk when this returns."""
        with self._lock:
            raw = [path for path in self._files.values() if path.suffix == ".raw"]
        for path in raw:
            try:
                fd = os.open(path, os.O_RDONLY)
            except FileNotFoundError:  # sealed or dropped just now, so it was flushed before
                continue
            try:
                os.fsync(fd)
            finally:
                os.close(fd)
        sync_folder(self._folder)

    def unsealed(self, durable: int) -> list[int]:
        """Full raw segments, oldest first, all of whose rows are on the disk."""
        with self._lock:
            return sorted(
                n
                for n, path in self._files.items()
                if path.suffix == ".raw" and (n + 1) * self.rows <= durable
            )

    def seal(self, segment: int, stop: Callable[[], bool] = lambda: False) -> None:
        """Compress one full segment; may run beside writers and readers.

        `stop` is asked after each frame; true gives the segment up for now.
        """
        with self._sealing:
            self._seal(segment, stop)

    def _seal(self, segment: int, stop: Callable[[], bool]) -> None:
        with self._lock:
            raw = self._files.get(segment)
        if raw is None or raw.suffix != ".raw":
            return
        sealed = raw.with_suffix(".sealed")
        try:
            if not _compress(raw, sealed, self.layout, self.rows, stop):
                return
        except FileNotFoundError:
            if segment in self._files:
                raise
            return  # dropped in the meantime
        with self._lock:
            if segment not in self._files:  # dropped in the meantime
                sealed.unlink(missing_ok=True)
                return
            self._files[segment] = sealed
            self._sizes[segment] = sealed.stat().st_size
            self._open.pop(segment, None)
        raw.unlink(missing_ok=True)

    def close(self) -> None:
        """Let go of the files."""
        if self._writing is not None:
            os.close(self._writing[1])
            self._writing = None
        self._open.clear()

    def _descriptor(self, segment: int) -> int:
        if self._writing is None or self._writing[0] != segment:
            path = self._folder / f"{segment:09d}.raw"
            fd = os.open(path, os.O_WRONLY | os.O_CREAT, 0o644)
            if self._writing is not None:
                os.close(self._writing[1])
            self._writing = (segment, fd)
            with self._lock:
                self._files[segment] = path
                self._sizes.setdefault(segment, 0)
        return self._writing[1]

    def _segment(self, number: int) -> Segment:
        found = self._open.pop(number, None) or Segment(self._files[number], self.layout)
        self._open[number] = found
        while len(self._open) > OPEN_FILES:
            self._open.popitem(last=False)
        return found

    def _reconcile(self, head: int) -> None:
        """Finish what a kill interrupted: half-made files, twins, rows never committed."""
        for path in sorted(self._folder.iterdir()):
            twin = path.suffix == ".raw" and path.with_suffix(".sealed").exists()
            if path.suffix == ".tmp" or twin:
                path.unlink()
            elif path.suffix in (".raw", ".sealed"):
                segment = int(path.stem)
                if segment * self.rows >= head:
                    path.unlink()
                    continue
                if path.suffix == ".sealed" and (segment + 1) * self.rows > head:
                    path = _unseal(path, self.layout, self.rows)
                self._files[segment] = path
                self._sizes[segment] = path.stat().st_size


def write_all(fd: int, buffers: list[memoryview], offset: int) -> None:
    """pwritev until everything is written; a short write says on the next call what is wrong."""
    while buffers:
        written = os.pwritev(fd, buffers, offset)
        offset += written
        while buffers and written >= buffers[0].nbytes:
            written -= buffers.pop(0).nbytes
        if buffers and written:
            buffers[0] = buffers[0][written:]


def differences(frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Each row of a frame (H, W, C) minus the row above, modulo 256; the first row as it is.

    Neighbours differ by little, so noise costs its own bits and not the picture's on top.
    """
    out = frame.copy()
    out[1:] -= frame[:-1]
    return out


def undo_differences(frame: NDArray[np.uint8]) -> None:
    """Inverse of `differences`, in place: a running sum by doubling, 5 times as fast as one by one
    (7 passes for 128 rows)."""
    step = 1
    while step < len(frame):
        frame[step:] += frame[:-step].copy()
        step *= 2


def _compress(raw: Path, sealed: Path, layout: Layout, rows: int, stop: Callable[[], bool]) -> bool:
    """Write the sealed twin of a full raw segment; False when `stop` said so."""
    pack = zstandard.ZstdCompressor(level=LEVEL, write_checksum=True)
    shapes = [layout.shapes[name] for name in layout.fields]
    sizes = [int(np.prod(shape)) for shape in shapes]
    fresh = sealed.with_suffix(".tmp")
    table = np.zeros(rows * len(sizes) + 1, "<u8")
    table[0] = HEAD.size + table.nbytes
    try:
        with raw.open("rb") as source, fresh.open("wb") as target:
            target.seek(int(table[0]))
            for k in range(len(table) - 1):
                if stop():
                    fresh.unlink()
                    return False
                at = k % len(sizes)
                frame = np.frombuffer(source.read(sizes[at]), np.uint8).reshape(shapes[at])
                packed = pack.compress(differences(frame).data)
                target.write(packed)
                table[k + 1] = table[k] + len(packed)
            target.seek(0)
            target.write(HEAD.pack(MAGIC, len(table) - 1, zlib.crc32(table.tobytes())))
            target.write(table.tobytes())
            target.flush()
            os.fsync(target.fileno())
    except OSError:
        fresh.unlink(missing_ok=True)
        raise
    fresh.replace(sealed)
    sync_folder(sealed.parent)
    return True


def _unseal(sealed: Path, layout: Layout, rows: int) -> Path:
    """Back to a raw segment, to be written on; only after a journal lost its end."""
    segment = Segment(sealed, layout)
    unpack = zstandard.ZstdDecompressor()
    fresh, raw = sealed.with_suffix(".tmp"), sealed.with_suffix(".raw")
    with fresh.open("wb") as file:
        for row in range(rows):
            for name in layout.fields:
                frame = np.empty(layout.shapes[name], np.uint8)
                segment.read(row, name, frame, unpack)
                file.write(frame.data)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(raw)
    sealed.unlink()
    return raw
