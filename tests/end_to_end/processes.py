"""Starting a run's processes as a user does, and waiting for what they write."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
EXPERIMENT = HERE / "line_world.py"


def serl(*words: object, log: Path, env: dict[str, str] | None = None) -> subprocess.Popen[bytes]:
    """`serl words...` in a process group of its own, output to `log`."""
    command = [sys.executable, "-m", "launch.main", *map(str, words)]
    with log.open("ab") as out:
        return subprocess.Popen(
            command,
            cwd=ROOT,
            stdout=out,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            env={**os.environ, "JAX_PLATFORMS": "cpu", **(env or {})},
        )


def until(
    what: str, found: Callable[[], Any], timeout_s: float = 90.0, log: Path | None = None
) -> Any:
    """What `found` returns once it is true; fails saying what did not come, and the log's end."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        value = found()
        if value:
            return value
        time.sleep(0.05)
    tail = log.read_text()[-3000:] if log is not None and log.exists() else ""
    raise AssertionError(f"waited {timeout_s:.0f} s for {what}\n{tail}")


def read_json(path: Path) -> dict[str, Any]:
    """A JSON file, or {} while it is not there."""
    return json.loads(path.read_text()) if path.is_file() else {}


def end(process: subprocess.Popen[bytes]) -> None:
    """Kill whatever is left of a test's process group."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(10)
