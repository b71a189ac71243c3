"""A replay's folder: who holds it, what it was made with, and what a full disk says."""

from __future__ import annotations

import dataclasses
import fcntl
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from serl.data.journal import Journal, State, boot_id, recover, sync_folder
from serl.errors import CorruptFile, SpecMismatch, UserError
from serl.types import first_difference

SETTINGS = "replay.json"
JOURNAL = "journal.log"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What fixes the layout of the files; written once."""

    spec: dict[str, Any]
    capacity: int
    slack: int
    """Rows of the ring beyond the capacity."""
    segment_rows: int
    """Rows of a frame segment."""
    format: int = 1


def open_settings(folder: Path, asked: Settings) -> Settings:
    """The settings of a folder, made new if it is empty.

    Raises:
        SpecMismatch: it holds records of another spec; the first difference is named.
        UserError: it was made with another capacity.
        CorruptFile: a file is missing or damaged.
    """
    path, journal = folder / SETTINGS, folder / JOURNAL
    if not path.exists():
        if journal.exists() and recover(journal, boot_id()).state.head > 0:
            raise CorruptFile(f"{path} is missing but {journal} tells of records; restore it.")
        Journal.create(journal, State(), boot_id()).close()
        _write(path, asked)
        return asked
    try:
        found = Settings(**json.loads(path.read_text()))
    except (ValueError, TypeError) as error:
        raise CorruptFile(f"{path} is damaged ({error}); restore it from a copy.") from error
    if not journal.exists():
        raise CorruptFile(f"{journal} is missing; restore it, or delete {folder} to start anew.")
    difference = first_difference(asked.spec, found.spec)
    if difference:
        raise SpecMismatch(
            f"the replay in {folder} is of another spec ({difference}). Start from its own "
            "experiment, or give another folder."
        )
    if found.capacity != asked.capacity:
        raise UserError(
            f"the replay in {folder} has capacity {found.capacity}, not {asked.capacity}: give "
            "that number, or another folder."
        )
    return found


def hold_folder(folder: Path) -> int:
    """Hold a folder for this process; the system lets go when it ends, however it ends."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        fd = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise disk_error(error, folder) from error
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(fd)
        raise UserError(
            f"the replay in {folder} is open elsewhere; end that process first."
        ) from error
    return fd


def disk_error(error: OSError, path: Path) -> UserError:
    """One line for a disk that refuses."""
    return UserError(
        f"cannot write to {path}: {error.strerror or error}. What is committed is safe; free disk "
        "space there (or lift the limit), then it goes on."
    )


def _write(path: Path, settings: Settings) -> None:
    fresh = path.with_suffix(".tmp")
    with fresh.open("w") as file:
        json.dump(dataclasses.asdict(settings), file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
    sync_folder(path.parent)
