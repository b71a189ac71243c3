"""Child processes that never outlive their parent, and a parent that can always be stopped.

A child holds the read end of a pipe whose write end only its parent has. When the parent goes,
however it goes, the read returns, and the child stops as if it had been asked to. Children run in
sessions of their own, so a Ctrl-C in the terminal reaches the parent alone, which then stops them
in order.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from serl.errors import writing

UNFINISHED = 3
"""Exit code of a supervised process that ends by itself with its work not done."""
ORPHAN_GRACE_S = 20.0
"""How long a child whose parent is gone may take to checkpoint and end."""


class Child:
    """One process, started again on request, with its output in a log file.

    Args:
        name: 'actor', 'learner', ...: names the log.
        argv: what to run; `--watch-fd N` is added, which it must heed (`stop_on_signals`).
        log: its stdout and stderr, appended.
        stop_timeout_s: how long it may take to end after it was asked to.
        may_end: with exit code 0 it has done its part, and no one misses it.
        niceness: added to our own: what an arm in real time must not wait for yields to it.
        after: is started once that one has ended well: both need the same arm, say.
    """

    def __init__(
        self,
        name: str,
        argv: Sequence[str],
        log: Path,
        *,
        stop_timeout_s: float = 30.0,
        may_end: bool = False,
        niceness: int = 0,
        after: Child | None = None,
    ) -> None:
        self.name = name
        self.may_end = may_end
        self.after = after
        self._niceness = niceness
        self.log = log
        self.starts = 0
        self._argv = list(argv)
        self._stop_timeout_s = stop_timeout_s
        self._process: subprocess.Popen[bytes] | None = None
        self._write_end: int | None = None

    def start(self) -> None:
        """Start it, or start it again."""
        assert self.returncode is not None or self._process is None, f"{self.name} is running"
        self._release()
        with writing(self.log):
            self.log.parent.mkdir(parents=True, exist_ok=True)
            self.log.touch()
        read_end, self._write_end = os.pipe()
        try:
            with self.log.open("ab") as log:
                self._process = subprocess.Popen(
                    [*self._argv, "--watch-fd", str(read_end)],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    pass_fds=[read_end],
                    start_new_session=True,
                )
        finally:
            os.close(read_end)
        if self._niceness:
            os.setpriority(os.PRIO_PROCESS, self._process.pid, os.nice(0) + self._niceness)
        self.starts += 1

    @property
    def pid(self) -> int | None:
        return None if self._process is None else self._process.pid

    @property
    def returncode(self) -> int | None:
        """Exit status; negative for a signal; None while it runs or before it was started."""
        return None if self._process is None else self._process.poll()

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def stop(self, hurry: Callable[[], bool] = lambda: False) -> bool:
        """Ask it to end, wait, and kill it when it does not.

        Args:
            hurry: asked while waiting; True kills at once.

        Returns:
            True when it ended by itself.
        """
        if self._process is None:
            return True
        deadline = time.monotonic() + self._stop_timeout_s
        if self.running:
            self._process.terminate()
        while self.running and time.monotonic() < deadline and not hurry():
            time.sleep(0.02)
        ended = not self.running
        if not ended:
            self._process.kill()
            self._process.wait()
        self._release()
        return ended

    def last_lines(self, count: int = 5) -> list[str]:
        """The end of its log."""
        if not self.log.is_file():
            return []
        with self.log.open("rb") as file:
            file.seek(max(0, self.log.stat().st_size - 20_000))
            lines = file.read().decode(errors="replace").splitlines()
        return [line for line in lines if line.strip()][-count:]

    def _release(self) -> None:
        if self._write_end is not None:
            os.close(self._write_end)
            self._write_end = None


def serl(verb: str, *words: str | Path | int) -> list[str]:
    """The command line of another verb of ours, under this very Python."""
    return [sys.executable, "-m", "serl", verb, *map(str, words)]


def as_invoked() -> list[str]:
    """The words that called this program, to be typed again in the same folder.

    `serl` where that is on the PATH, `.venv/bin/serl` where it is not.
    """
    called = Path(sys.argv[0])
    if called.name != "serl":
        return [sys.executable, "-m", "serl"] if called.stem in ("__main__", "main") else ["serl"]
    found = shutil.which("serl")
    if found is not None and Path(found).samefile(called):
        return ["serl"]
    if called.is_absolute() and called.is_relative_to(Path.cwd()):
        called = called.relative_to(Path.cwd())
    return [str(called)]


def stop_on_signals(watch_fd: int | None = None) -> threading.Event:
    """An event that SIGINT, SIGTERM, SIGHUP or the parent's end sets, once and for good.

    A child whose parent is gone and that has not ended after ORPHAN_GRACE_S ends hard.
    """
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: stop.set())
    if watch_fd is not None:
        threading.Thread(target=_watch, args=(watch_fd, stop), daemon=True).start()
    return stop


def _watch(fd: int, stop: threading.Event) -> None:
    """Nothing is ever written to the pipe: the read returns when the parent is gone."""
    os.read(fd, 1)
    stop.set()
    time.sleep(ORPHAN_GRACE_S)
    os._exit(UNFINISHED)


@contextmanager
def interrupts() -> Iterator[Interrupts]:
    """Ctrl-C, SIGTERM and SIGHUP counted instead of raised, so that a stop can be orderly."""
    counter = Interrupts()
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, counter.add) for number in numbers}
    try:
        yield counter
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Interrupts:
    """How often the user has asked to stop: once is orderly, twice is now."""

    def __init__(self) -> None:
        self.count = 0

    def add(self, *_: object) -> None:
        self.count += 1

    @property
    def stop(self) -> bool:
        return self.count >= 1

    @property
    def hurry(self) -> bool:
        return self.count >= 2
