"""A device read by its own thread, which never gives up and whose death is told.

What a kind of device adds is three methods: `connect`, `hear` and `shut`. Everything that kinds
share is here: the thread, what a read shows while the device is gone, and opening it again.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import ClassVar

from envs.devices.base import DeviceLost, Reading
from envs.devices.latch import Latch
from serl.errors import UserError

log = logging.getLogger(__name__)

HEAR_S = 0.02
"""`hear` comes back at least this often, input or none, so that `close` is quick."""
AGAIN_S = (0.2, 2.0)
"""First and longest pause between attempts to open a lost device [s]; each is twice the last."""
CLOSE_S = 2.0
"""How long `close` waits for the thread. One that hangs inside a driver is left behind."""


class ThreadedDevice:
    """What every device with a thread of its own has in common.

    Args:
        address: which one, where there are several.
        lapse_s: see `Latch`.
    """

    kind: ClassVar[str]
    """The name it is registered under."""
    check: ClassVar[str]
    """What a person looks at when it is gone; a sentence."""

    def __init__(self, address: str, *, lapse_s: float | None = None) -> None:
        self.address = address
        self.name = f"{self.kind} {address}".strip()
        self.reserved: frozenset[str] = frozenset()
        self.opened = 0
        """How often it was opened; each after the first is a reconnection."""
        self.latch = Latch(lapse_s)
        self._failure = ""
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def connect(self) -> None:
        """Open the device. Raises DeviceLost in one line that says what there is."""
        raise NotImplementedError

    def hear(self, wait_s: float) -> None:
        """Wait for input for at most `wait_s`, and put it into the latch. Raises whatever the
        driver does when the device is gone."""
        raise NotImplementedError

    def shut(self) -> None:
        """Let the device go, in whatever state it is."""
        raise NotImplementedError

    def open(self) -> None:
        """Connect. Raises DeviceLost."""
        if self._thread is not None:
            return
        self._connect()
        self._failure, self._stop = "", threading.Event()
        self._thread = threading.Thread(
            target=self._run, args=(self._stop,), name=f"device {self.name}", daemon=True
        )
        self._thread.start()

    def read(self) -> Reading:
        """What the hand does now; at rest and with the reason while the device is gone."""
        thread, trouble = self._thread, self._failure
        if thread is None:
            trouble = f"{self.name}: not open."
        elif not thread.is_alive():
            why = trouble.removeprefix(f"{self.name}: ")
            trouble = f"{self.name}: its reader has ended{f' ({why})' if why else ''}; restart."
        if trouble:
            self.latch.release()
        return self.latch.take(time.monotonic_ns(), live=not trouble, trouble=trouble)

    def close(self) -> None:
        """Stop listening and let the device go."""
        thread, self._thread = self._thread, None
        if thread is None:
            return
        self._stop.set()
        thread.join(CLOSE_S)
        if thread.is_alive():
            log.warning("%s: its driver does not return; left behind", self.name)

    def _connect(self) -> None:
        """`connect`, with any failure as DeviceLost and nothing left half open."""
        try:
            self.connect()
        except Exception as error:
            self._shut()
            if isinstance(error, UserError):
                raise
            raise DeviceLost(f"{self.name}: {told(error)}. {self.check}") from error
        self.opened += 1

    def _shut(self) -> None:
        try:
            self.shut()
        except Exception as error:  # it is gone; what it says of that helps nobody
            log.debug("%s: closing: %s", self.name, error)

    def _run(self, stop: threading.Event) -> None:
        """The thread: listen for ever; whatever fails is told, then the device is opened again."""
        is_open, pause_s = True, AGAIN_S[0]
        while not stop.is_set():
            try:
                if not is_open:
                    self._connect()
                    is_open, self._failure, pause_s = True, "", AGAIN_S[0]
                    log.warning("%s: there again", self.name)
                self.hear(HEAR_S)
            except BaseException as error:
                self._lost(error, first=is_open)
                if is_open:
                    self._shut()
                    is_open = False
                stop.wait(pause_s)
                pause_s = min(2 * pause_s, AGAIN_S[1])
        self._shut()

    def _lost(self, error: BaseException, *, first: bool) -> None:
        why = told(error).removeprefix(f"{self.name}: ")
        if first:
            why = f"{why if why.endswith('.') else why + '.'} {self.check}"
            log.warning("%s: %s", self.name, why)
            self._failure = f"{self.name}: gone ({why}) It goes on by itself when it is back."
        self.latch.release()


def told(error: BaseException) -> str:
    """An error in one line; what is no message for people keeps its type."""
    text = " ".join(str(error).split())
    return text if isinstance(error, UserError) else f"{type(error).__name__}: {text}".rstrip(": ")
