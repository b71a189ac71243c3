"""The journal: what is committed, one checksummed line of JSON per commit.

The first line is a snapshot of the whole state; later ones are commits (`rows`), corrections of
single rows (`relabel`), restarts (`boot`) and the marks (`durable`) up to which everything is on
the disk. A process that is killed leaves at
most a torn last line. After a host crash only what stands before the last mark is believed.
"""

from __future__ import annotations

import json
import logging
import os
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from serl.errors import CorruptFile

log = logging.getLogger(__name__)
Entry = dict[str, Any]


@dataclass
class Actor:
    """The newest record kept of one actor."""

    number: int
    """Stands for the actor's id in the rows."""
    episode: int
    index: int
    seq: int
    """Sequence number of that record."""


@dataclass
class State:
    """What a replay holds: rows tail ... head - 1, and where each actor stands."""

    head: int = 0
    tail: int = 0
    episodes: int = 0
    """Episodes begun since the replay was made."""
    actors: dict[str, Actor] = field(default_factory=dict)

    def commit(self, entry: Entry) -> None:
        """Apply one `rows` entry."""
        start, count = entry["rows"]
        episode, index = entry["last"]
        name = entry["actor"]
        number = self.actors[name].number if name in self.actors else len(self.actors)
        self.head = start + count
        self.tail = entry["tail"]
        self.episodes = entry["episodes"]
        self.actors[name] = Actor(number, episode, index, self.head - 1)

    def snapshot(self) -> Entry:
        """The state as a journal's first line."""
        return {
            "snapshot": 1,
            "head": self.head,
            "tail": self.tail,
            "episodes": self.episodes,
            "actors": {k: [a.number, a.episode, a.index, a.seq] for k, a in self.actors.items()},
        }

    @staticmethod
    def restore(entry: Entry) -> State:
        """Inverse of `snapshot`."""
        actors = {name: Actor(*numbers) for name, numbers in entry["actors"].items()}
        return State(entry["head"], entry["tail"], entry["episodes"], actors)


class Journal:
    """An open journal, appended to. A line is one system call: it survives the process."""

    def __init__(self, path: Path, lines: int) -> None:
        self.path = path
        self.lines = lines
        self._fd = os.open(path, os.O_RDWR | os.O_APPEND)
        self._size = os.fstat(self._fd).st_size

    @staticmethod
    def create(path: Path, state: State, boot: str) -> Journal:
        """Replace the journal by a snapshot of `state`, which must be on the disk already."""
        fresh = path.with_suffix(".tmp")
        with fresh.open("wb") as file:
            file.write(_line(state.snapshot()) + _line({"boot": boot}))
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
        sync_folder(path.parent)
        return Journal(path, 2)

    def append(self, entry: Entry) -> None:
        """Commit one entry. On failure (a full disk) the journal is as before."""
        line = _line(entry)
        try:
            written = os.write(self._fd, line)
            if written < len(line):  # the disk or a limit ran out in the middle: ask again for why
                os.write(self._fd, line[written:])
                raise OSError(28, "No space left on device")
        except OSError:
            os.ftruncate(self._fd, self._size)
            raise
        self._size += len(line)
        self.lines += 1

    def sync(self) -> None:
        """Everything appended so far is on the disk when this returns."""
        os.fsync(self._fd)

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._fd)


@dataclass(frozen=True)
class Recovered:
    """What a journal tells of."""

    state: State
    durable: int
    """Rows before this one were on the disk at the last mark."""
    lines: int
    relabels: list[Entry]
    """Corrections to make again, in order: of a process that was killed between journal and row."""
    same_boot: bool
    """The host has been up since; otherwise the journal must be replaced before it is used."""


def recover(path: Path, boot: str) -> Recovered:
    """Read a journal, after cutting what cannot be believed off its end.

    Args:
        boot: identifies the host's present boot; with another one in the journal the host went
            down in between, and rows after the last mark are given up.

    Raises:
        CorruptFile: something other than the end is damaged.
    """
    raw = path.read_bytes()
    entries, good, rest = _parse(raw)
    if not entries or "snapshot" not in entries[0]:
        raise CorruptFile(
            f"{path}: the journal's first line is damaged; nothing after it can be believed. "
            "Restore the folder from a copy, or delete it to start with an empty replay."
        )
    boots = [e["boot"] for e in entries if "boot" in e]
    same_boot = not boots or boots[-1] == boot
    later = [e for e in _parse_anywhere(rest) if same_boot or "durable" in e]
    if later:
        raise CorruptFile(
            f"{path}: damaged at byte {good} of {len(raw)}, with good entries after it. Restore "
            "the folder from a copy, or delete it to start with an empty replay."
        )
    if rest:
        log.warning("%s: cut %d bytes of a torn last entry", path, len(rest))
        with path.open("r+b") as file:
            file.truncate(good)
    marks = [entries[0]["head"], *[e["durable"] for e in entries if "durable" in e]]
    state, lost = State.restore(entries[0]), 0
    for entry in entries[1:]:
        if "rows" in entry and (same_boot or sum(entry["rows"]) <= marks[-1]):
            state.commit(entry)
        elif "rows" in entry:
            lost += entry["rows"][1]
    if lost:
        log.warning("%s: the host went down; its %d newest records were lost", path, lost)
    relabels = [
        e["relabel"] for e in entries if "relabel" in e and e["relabel"]["seq"] < state.head
    ]
    return Recovered(state, min(marks[-1], state.head), len(entries), relabels, same_boot)


def boot_id() -> str:
    """Names the present boot of this host; empty where the system has no such name."""
    file = Path("/proc/sys/kernel/random/boot_id")
    return file.read_text().strip() if file.exists() else ""


def sync_folder(folder: Path) -> None:
    """Names made, replaced or removed in `folder` are on the disk when this returns."""
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _line(entry: Entry) -> bytes:
    text = json.dumps(entry, separators=(",", ":")).encode()
    return b"%08x %s\n" % (zlib.crc32(text), text)


def _parse_line(line: bytes) -> Entry | None:
    if len(line) < 10 or line[8:9] != b" " or line[:8] != b"%08x" % zlib.crc32(line[9:]):
        return None
    return json.loads(line[9:])


def _parse(raw: bytes) -> tuple[list[Entry], int, bytes]:
    """Entries up to the first bad line, the bytes they take, and what is left."""
    entries: list[Entry] = []
    good = 0
    while (end := raw.find(b"\n", good)) >= 0:
        entry = _parse_line(raw[good:end])
        if entry is None:
            break
        entries.append(entry)
        good = end + 1
    return entries, good, raw[good:]


def _parse_anywhere(raw: bytes) -> list[Entry]:
    parsed = (_parse_line(line) for line in raw.split(b"\n")[:-1])
    return [entry for entry in parsed if entry is not None]
