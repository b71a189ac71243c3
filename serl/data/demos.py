"""Demonstrations: one file per episode, written whole or not at all, in the schema of the replay.

A file is an ordinary zip: `header.json` (spec, who, when, outcome) and one .npy per record field,
readable by any NumPy and, for the header, by `unzip -p`. Never pickle (serl.md D-R6). No JAX: the
recording verbs use this on the robot PC.
"""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import re
import struct
import zipfile
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from serl.data.records import BadRecord, Records, check_order, check_records, field_names
from serl.errors import CorruptFile, SpecMismatch, UserError
from serl.types import Spec, first_difference, record_dtype

FORMAT = 1
NAME = re.compile(r"episode_(\d{6,})\.npz")
HEADER = "header.json"
DEFLATE_LIMIT = 1100
"""Deflate shrinks at most 1032-fold: a header that promises more is not believed."""

DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    OSError,
    ValueError,
    TypeError,
    KeyError,
    NotImplementedError,  # a flipped bit that names another compression
    RuntimeError,  # ... or a password
    BadRecord,
)
"""What reading a damaged zip, header or array can raise."""


@dataclass(frozen=True, kw_only=True)
class EpisodeMeta:
    """What is known of an episode beside its records."""

    experiment: str
    task: str = ""
    actor: str = ""
    """Who acted: an actor's id, 'scripted', a person's name."""
    success: bool = False
    outcome: str = ""
    """'success', 'failure', 'aborted', or a task's own word."""
    created: str = ""
    """ISO 8601, UTC; filled in when the file is written."""
    seed: int | None = None
    """Of the env's reset, so that the episode can be played back from its own start."""
    details: dict[str, Any] = field(default_factory=dict)
    """Whatever else the recorder wants to find again: JSON values."""


@dataclass(frozen=True)
class Episode:
    """One episode as it was recorded."""

    spec: Spec
    meta: EpisodeMeta
    records: Records
    path: Path | None = None

    @property
    def number(self) -> int:
        """Its number in the folder."""
        found = NAME.fullmatch(self.path.name) if self.path else None
        return int(found[1]) if found else 0


class Sink(Protocol):
    """What takes records: serl.data.replay.Replay."""

    def append(self, actor_id: str, records: Records) -> int: ...


def save_episode(
    folder: str | Path,
    records: NDArray,
    spec: Spec,
    meta: EpisodeMeta,
    *,
    keep_failures: bool = False,
) -> Path | None:
    """Write one episode under the next free number; None for a failed one that is not kept.

    The file appears whole (written aside, flushed, renamed), so recording may be killed and
    resumed at any time. Records must be one whole episode, from index 0 on.
    """
    rows = check_records(records, record_dtype(spec))
    if len(rows) < 2:
        raise UserError(f"an episode of {len(rows)} records has no step; record at least one.")
    check_order(rows["episode"], rows["index"], None)
    if (rows["episode"] != rows["episode"][0]).any():
        raise UserError("save_episode got records of several episodes; save each by itself.")
    if not (meta.success or keep_failures):
        return None
    target = Path(folder)
    if not meta.created:
        now = datetime.now(timezone.utc).isoformat(timespec="seconds")
        meta = dataclasses.replace(meta, created=now)
    try:
        target.mkdir(parents=True, exist_ok=True)
        return _write(target, rows, spec, meta)
    except OSError as error:
        raise UserError(
            f"cannot write an episode to {target}: {error.strerror or error}. Earlier episodes "
            "are safe; free disk space and record it again."
        ) from error


def list_episodes(folder: str | Path) -> list[Path]:
    """The episode files of a folder, by number. An absent folder has none."""
    numbered = _numbered(Path(folder))
    return [numbered[n] for n in sorted(numbered)]


def load_episode(path: str | Path, spec: Spec | None = None) -> Episode:
    """Read one episode.

    Raises:
        CorruptFile: it is damaged, truncated, or no episode; the message names it.
        SpecMismatch: it was recorded with another spec than `spec`; the first difference is named.
    """
    file = Path(path)
    if not file.is_file():
        raise UserError(f"no episode at {file}; `list_episodes` tells what a folder has.")
    try:
        with zipfile.ZipFile(file) as archive:
            header = json.loads(archive.read(HEADER))
            if header["format"] != FORMAT:
                raise ValueError(f"format {header['format']}; this version reads {FORMAT}")
            own = Spec.from_json(json.dumps(header["spec"]))
            if spec is not None:
                _compare(file, spec, own)
            dtype, count = record_dtype(own), int(header["records"])
            if not 0 < count * dtype.itemsize <= DEFLATE_LIMIT * file.stat().st_size:
                raise ValueError(f"{count} records in {file.stat().st_size} B")
            records = _read_records(archive, dtype, count)
            meta = EpisodeMeta(**header["meta"])
            check_order(records["episode"], records["index"], None)
    except DAMAGE as error:
        raise _corrupt(file, error) from error
    return Episode(own, meta, records, file)


def load_folder(
    folder: str | Path, spec: Spec, *, successes_only: bool = True
) -> tuple[list[Episode], list[CorruptFile]]:
    """All episodes of a folder in order of number, and what could not be read.

    A damaged file does not hide the others. Failed episodes, there only if they were asked to be
    kept, are left out unless `successes_only` is false.
    """
    episodes: list[Episode] = []
    corrupt: list[CorruptFile] = []
    for path in list_episodes(folder):
        try:
            episode = load_episode(path, spec)
        except CorruptFile as error:
            corrupt.append(error)
            continue
        if episode.meta.success or not successes_only:
            episodes.append(episode)
    return episodes, corrupt


def load_into(replay: Sink, episodes: Iterable[Episode], actor_id: str = "demos") -> int:
    """Append episodes to a replay, each under its file's number; says how many records were new.

    Safe to repeat, after further episodes were recorded too: those already there are dropped.
    """
    new = 0
    for episode in sorted(episodes, key=lambda e: e.number):
        records = episode.records.copy()
        records["episode"] = episode.number
        new += replay.append(actor_id, records)
    return new


def _numbered(folder: Path) -> dict[int, Path]:
    files = folder.iterdir() if folder.is_dir() else ()
    found = ((NAME.fullmatch(p.name), p) for p in files)
    return {int(match[1]): path for match, path in found if match}


def _write(folder: Path, rows: Records, spec: Spec, meta: EpisodeMeta) -> Path:
    number = max(_numbered(folder), default=-1) + 1
    fresh = folder / f".episode-{os.getpid()}.tmp"
    header = {
        "format": FORMAT,
        "records": len(rows),
        "spec": json.loads(spec.to_json()),
        "meta": dataclasses.asdict(meta),
    }
    try:
        with fresh.open("wb") as file:
            with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
                archive.writestr(HEADER, json.dumps(header, indent=1))
                for name in field_names(rows.dtype):
                    with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                        npy.write_array(member, rows[name].copy(), allow_pickle=False)
            file.flush()
            os.fsync(file.fileno())
        path = _publish(fresh, folder, number)
    finally:
        fresh.unlink(missing_ok=True)
    _sync_folder(folder)
    return path


def _publish(fresh: Path, folder: Path, number: int) -> Path:
    """Give a finished file the first free number from `number` on."""
    while True:
        path = folder / f"episode_{number:06d}.npz"
        try:
            os.link(fresh, path)  # unlike a rename, refuses a name that someone just took
            return path
        except FileExistsError:
            number += 1
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.ENOTSUP):
                raise
            fresh.replace(path)  # a file system without links, as on a USB stick
            return path


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _read_records(archive: zipfile.ZipFile, dtype: np.dtype, count: int) -> Records:
    """Fields into rows. Sizes are compared before anything is unpacked."""
    rows = np.zeros(count, dtype)
    for name in field_names(dtype):
        member = archive.getinfo(f"{name}.npy")
        if abs(member.file_size - rows[name].nbytes) > 4096:  # the .npy header is below 4 kB
            raise ValueError(f"{name}: {member.file_size} B for {count} records")
        with archive.open(member) as file:
            values = npy.read_array(file, allow_pickle=False)
        if values.shape != rows[name].shape or values.dtype != rows[name].dtype:
            raise ValueError(f"{name}: {values.dtype} {values.shape} does not fit the spec")
        rows[name] = values
    return check_records(rows, dtype)


def _compare(file: Path, spec: Spec, own: Spec) -> None:
    here: dict[str, Any] = json.loads(spec.to_json())
    difference = first_difference(here, json.loads(own.to_json()))
    if difference:
        raise SpecMismatch(
            f"{file} was recorded with another spec ({difference}). Record demos with this "
            "experiment, or give the folder that belongs to it; `serl data convert SET EXPERIMENT` "
            "tells what can be mended."
        )


def _corrupt(file: Path, error: Exception) -> CorruptFile:
    return CorruptFile(
        f"{file} is damaged or truncated ({type(error).__name__}: {error}); delete it, or record "
        "it again. The other episodes are not affected."
    )
