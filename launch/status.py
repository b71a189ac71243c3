"""What a process says of itself: a status file for the live view, a plain line for a terminal."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from serl.errors import writing
from serl.metrics import write_status
from serl.timing import Every


class StatusTeller:
    """Called with a process's status about twice a second; use with `with`.

    Args:
        path: the status file.
        quiet: no lines: the supervisor shows the file.
    """

    def __init__(self, path: Path, *, quiet: bool, line_every_s: float = 5.0) -> None:
        self._path = path
        self._quiet = quiet
        self._phase = ""
        self._due = Every(line_every_s)

    def __enter__(self) -> StatusTeller:
        with writing(self._path):
            self._path.parent.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if not self._quiet and kind is None:
            print("ended", flush=True)

    def __call__(self, status: dict[str, Any]) -> None:
        write_status(self._path, status)
        if self._quiet:
            return
        phase = str(status.get("phase", ""))
        if phase != self._phase or self._due():  # a new phase is said at once
            self._phase = phase
            print(status_line(status), flush=True)


def status_line(status: dict[str, Any]) -> str:
    """A status as one line: the phase, then each number under its own name.

    >>> status_line({"phase": "training", "updates": 1200, "updates_per_s": 81.25, "age": None})
    'training: updates 1200, updates_per_s 81.2'
    """
    numbers = (
        f"{key} {value:.1f}" if isinstance(value, float) else f"{key} {value}"
        for key, value in status.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    )
    return f"{status.get('phase', 'running')}: {', '.join(numbers)}"
