"""Where numbers go: `metrics.jsonl`, TensorBoard, wandb on request, and the status of a process.

Every process of a run appends to the same `metrics.jsonl`, one line per `log`:

    {"t_s": 1790000000.25, "name": "learner", "step": 4000, "critic/loss": 0.013, ...}

`t_s` is Unix time, so lines of two machines can be laid side by side. A value that is not finite
is written as null: it stays visible and the line stays JSON. A status is the newest state of one
process, a small JSON file that is replaced atomically; the live view reads it.
"""

from __future__ import annotations

import importlib
import json
import logging
import math
import os
import platform
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from serl.errors import UserError, writing
from serl.timing import Every

log = logging.getLogger(__name__)


class MetricsWriter:
    """Logs of one process of a run. Thread-safe; a call costs tens of microseconds.

    Args:
        run_dir: the run's folder, made if need be.
        name: who logs: 'learner', 'actor'.
        tensorboard: also write `tb/<name>/`; without the `log` extra this is said once and skipped.
        wandb: also send to Weights & Biases; a UserError when it is not installed.
    """

    def __init__(
        self, run_dir: Path, name: str, tensorboard: bool = True, wandb: bool = False
    ) -> None:
        self.name = name
        self._lock = threading.Lock()
        file = run_dir / "metrics.jsonl"
        with writing(file):
            run_dir.mkdir(parents=True, exist_ok=True)
            self._fd: int | None = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        self._events = _tensorboard(run_dir / "tb" / name) if tensorboard else None
        self._wandb = _wandb(run_dir, name) if wandb else None

    def log(self, step: int, values: Mapping[str, Any]) -> None:
        """Write one line. `values` are numbers, 0-d arrays, strings or small JSON values."""
        now = time.time()
        plain = {key: _plain(value) for key, value in values.items()}
        line = json.dumps({"t_s": round(now, 3), "name": self.name, "step": int(step), **plain})
        with self._lock:
            if self._fd is None:
                raise ValueError(f"metrics of {self.name!r} are closed")
            write_all(self._fd, line.encode() + b"\n")  # one append: processes share the file
            if self._events is not None:
                self._events.add(now, int(step), plain)
            if self._wandb is not None:
                self._wandb.log(plain, step=int(step))

    def close(self) -> None:
        """Flush everything. Calling it twice is fine."""
        with self._lock:
            if self._fd is None:
                return
            os.close(self._fd)
            self._fd = None
            if self._events is not None:
                self._events.close()
            if self._wandb is not None:
                self._wandb.finish()

    def __enter__(self) -> MetricsWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def read_metrics(run_dir: Path, name: str | None = None) -> Iterator[dict[str, Any]]:
    """The lines of a run's metrics.jsonl, of one process or all; a torn last line is left out."""
    path = run_dir / "metrics.jsonl"
    if not path.is_file():
        return
    for line in path.read_bytes().split(b"\n"):
        try:
            row = json.loads(line)
        except ValueError:  # torn by a kill
            continue
        if name is None or row.get("name") == name:
            yield row


def write_status(path: Path, status: Mapping[str, Any]) -> None:
    """Replace the status file at once; a reader sees the old one or the new one.

    Adds `t_s`, the Unix time of writing, and `pid`.
    """
    plain = {"t_s": round(time.time(), 3), "pid": os.getpid(), **_plain(dict(status))}
    write_json(path, plain)


def read_status(path: Path) -> dict[str, Any] | None:
    """The newest status, or None before the first."""
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        return None


def write_json(path: Path, value: Any) -> None:
    """Write JSON to a temporary file beside `path` and rename it into place."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
    try:
        temporary.write_text(json.dumps(value, indent=2, allow_nan=False) + "\n")
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise UserError(
            f"cannot write {path}: {error.strerror}. Make space, then --resume."
        ) from error


def write_all(fd: int, data: bytes) -> None:
    """Write every byte, or say that the disk is full."""
    while data:
        try:
            written = os.write(fd, data)
        except OSError as error:
            raise UserError(
                f"cannot write metrics: {error.strerror}. Make space, then --resume."
            ) from error
        data = data[written:]


def _plain(value: Any) -> Any:
    """JSON values; arrays of one element become numbers, what is not finite becomes None."""
    if isinstance(value, bool | int | str) or value is None:
        return value
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if hasattr(value, "item") and getattr(value, "size", 1) == 1:
        value = value.item()
        return _plain(value) if not isinstance(value, float) else _finite(value)
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    return _finite(float(value))


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


class _TensorBoard:
    """Scalars into a TensorBoard event file. A disk that refuses ends the file, not the run."""

    def __init__(self, folder: Path) -> None:
        record_writer = importlib.import_module("tensorboard.summary.writer.record_writer")
        self._event = importlib.import_module("tensorboard.compat.proto.event_pb2").Event
        self._summary = importlib.import_module("tensorboard.compat.proto.summary_pb2").Summary
        name = f"events.out.tfevents.{time.time():.6f}.{platform.node()}.{os.getpid()}"
        self._path = folder / name
        self._flush = Every(10.0)
        self._records: Any = None
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._records = record_writer.RecordWriter(self._path.open("wb"))
            self._write(self._event(wall_time=time.time(), file_version="brain.Event:2"))
        except OSError as error:
            self._give_up(error)

    def add(self, wall_s: float, step: int, values: Mapping[str, Any]) -> None:
        scalars = [
            self._summary.Value(tag=key, simple_value=float(value))
            for key, value in values.items()
            if isinstance(value, int | float)
        ]
        event = self._event(wall_time=wall_s, step=step, summary=self._summary(value=scalars))
        try:
            self._write(event)
        except OSError as error:
            self._give_up(error)

    def close(self) -> None:
        records, self._records = self._records, None
        if records is not None:
            try:
                records.close()
            except OSError as error:
                self._give_up(error)

    def _write(self, event: Any) -> None:
        if self._records is not None:
            self._records.write(event.SerializeToString())
            if self._flush():
                self._records.flush()

    def _give_up(self, error: OSError) -> None:
        self._records = None
        reason = error.strerror or error
        log.warning("no more TensorBoard data: %s: %s. metrics.jsonl goes on.", self._path, reason)


def _tensorboard(folder: Path) -> _TensorBoard | None:
    try:
        return _TensorBoard(folder)
    except ImportError as error:
        log.warning("no TensorBoard files: %s. Install the 'log' extra to have them.", error)
        return None


def _wandb(run_dir: Path, name: str) -> Any:
    try:
        wandb = importlib.import_module("wandb")
    except ImportError as error:
        raise UserError("wandb is not installed; `pip install wandb`, or drop --wandb.") from error
    return wandb.init(project=run_dir.parent.name, name=f"{run_dir.name}-{name}", dir=run_dir)
