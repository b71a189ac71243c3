"""The actor's labels that no learner has acknowledged: one small file, replaced whole.

A label is of one episode; a newer one of the same episode replaces it. Numbers count up over all
processes of the actor, so that of two attempts the learner knows the newer.
"""

from __future__ import annotations

import dataclasses
import json
import os
import threading
from pathlib import Path

from serl.data.records import Label
from serl.errors import CorruptFile, UserError


class PendingLabels:
    """Any thread. `folder` is the spool's, which one process holds at a time."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "labels.json"
        self._lock = threading.Lock()
        self._number, self._labels = self._read()

    def __len__(self) -> int:
        return len(self._labels)

    def add(self, label: Label) -> None:
        """Keep it until `done`; on the disk when this returns. Raises UserError."""
        with self._lock:
            self._number += 1
            self._labels.pop(label.episode, None)
            self._labels[label.episode] = (self._number, label)
            self._write()

    def first(self) -> tuple[int, Label] | None:
        """The oldest, with its number; None where nothing is pending."""
        with self._lock:
            return next(iter(self._labels.values()), None)

    def done(self, number: int) -> None:
        """The learner has it; a newer one of the same episode stays."""
        with self._lock:
            self._labels = {e: entry for e, entry in self._labels.items() if entry[0] != number}
            self._write()

    def _read(self) -> tuple[int, dict[int, tuple[int, Label]]]:
        if not self._file.exists():
            return 0, {}
        try:
            raw = json.loads(self._file.read_text())
            labels = [(int(n), Label(**fields)) for n, fields in raw["labels"]]
            return int(raw["number"]), {label.episode: (n, label) for n, label in labels}
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise CorruptFile(
                f"{self._file} cannot be read ({error}); it holds verdicts that the learner has "
                "not yet. Remove it to go on without them."
            ) from error

    def _write(self) -> None:
        """Replace the file; it is whole, old or new, whatever is killed."""
        rows = [(n, dataclasses.asdict(label)) for n, label in self._labels.values()]
        fresh = self._file.with_suffix(".tmp")
        try:
            with fresh.open("w") as file:
                json.dump({"number": self._number, "labels": rows}, file)
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(self._file)
        except OSError as error:
            raise UserError(f"cannot write {self._file}: {error.strerror}. Make space.") from error
