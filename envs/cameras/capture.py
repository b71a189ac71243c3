"""A camera read by its own thread, which keeps only the newest frame and never gives up.

What a kind of camera adds is four methods: `open`, `read`, `shut` and `found`. Everything that
kinds share is here: the thread, stamps that only grow, frames of the size that was asked for, and
opening the device again when it is lost.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from envs.cameras.base import CameraLost, Found, Frame, StaleFrame
from serl.errors import UserError

log = logging.getLogger(__name__)

FIRST_FRAME_S = 5.0
"""How long a device may take from being opened to its first frame; a RealSense takes about 1 s."""
AGAIN_S = (0.2, 5.0)
"""First and longest pause between attempts to open a lost device [s]; each is twice the last."""
CLOSE_S = 2.0
"""How long `close` waits for the thread. One that hangs inside a driver is left behind."""


class CapturingCamera:
    """What every kind of real camera has in common. Arguments as in `CameraKind`."""

    kind: ClassVar[str]
    """The name it is registered under."""
    check: ClassVar[str]
    """What a person looks at when no frame comes; a sentence."""
    has_exposure: ClassVar[bool] = True
    has_depth: ClassVar[bool] = False

    def __init__(
        self,
        address: str,
        *,
        width: int = 640,
        height: int = 480,
        fps: int = 30,
        exposure_us: int = 0,
        depth: bool = False,
    ) -> None:
        self.address = address
        self.name = f"{self.kind} {address}".strip()
        self.width, self.height, self.fps = width, height, fps
        self.exposure_us = exposure_us
        self.depth = depth
        self.opened = 0
        """How often the device was opened; each after the first is a reconnection."""
        self._check_settings()
        self._frame: Frame | None = None
        self._failure = ""
        self._stop = threading.Event()
        self._arrived = threading.Event()
        self._thread: threading.Thread | None = None
        self._left: threading.Thread | None = None
        """One that hung in its driver when the camera was closed."""

    def open(self) -> None:
        """Open the device at the settings. Raises CameraLost in one line that says what there is.

        A width, height or fps of 0 is the camera's own: replace it by what that is.
        """
        raise NotImplementedError

    def read(self) -> Frame:
        """The next frame, in memory of its own. Raises CameraLost when none comes for a while."""
        raise NotImplementedError

    def shut(self) -> None:
        """Let the device go, in whatever state it is."""
        raise NotImplementedError

    @classmethod
    def found(cls) -> Sequence[Found]:
        """Cameras of this kind that are plugged in now."""
        raise NotImplementedError

    def connect(self) -> None:
        """Open it and wait for its first frame. Raises CameraLost."""
        if self._thread is not None:
            return
        if self._left is not None and self._left.is_alive():
            # When its driver returns it will shut the device: not one opened in the meantime.
            raise CameraLost(
                f"{self.name}: its driver has not returned since it was closed. Unplug the camera "
                "and plug it in again, or restart this program."
            )
        self._open()
        self._frame, self._failure = None, ""
        self._stop, self._arrived = threading.Event(), threading.Event()
        self._thread = threading.Thread(
            target=self._run, args=(self._stop,), name=f"camera {self.name}", daemon=True
        )
        self._thread.start()
        if not self._arrived.wait(FIRST_FRAME_S) or self._frame is None:
            why = self._failure or f"it opened but sent no frame in {FIRST_FRAME_S:.0f} s"
            self.close()
            raise CameraLost(f"{self.name}: {self._advised(why)}")

    def newest(self, limit_s: float) -> Frame:
        """The newest frame, if it was taken at most `limit_s` ago. Raises StaleFrame."""
        frame, thread = self._frame, self._thread
        if thread is None or frame is None:
            raise StaleFrame(f"{self.name}: not connected.")
        age_s = (time.monotonic_ns() - frame.stamp_mono_ns) / 1e9
        if age_s <= limit_s:
            return frame
        why = self._failure or "it is open but sends nothing"
        again = "Trying again by itself." if thread.is_alive() else "Its thread has ended: restart."
        raise StaleFrame(
            f"{self.name}: no frame for {age_s:.2f} s (limit {limit_s:.2f} s): "
            f"{self._advised(why)} {again}"
        )

    def close(self) -> None:
        """Stop reading and let the device go."""
        thread, self._thread = self._thread, None
        if thread is None:
            return
        self._stop.set()
        thread.join(CLOSE_S)
        if thread.is_alive():
            self._left = thread
            log.warning("%s: its driver does not return; left behind", self.name)

    def _check_settings(self) -> None:
        for what, value in (("width", self.width), ("height", self.height), ("fps", self.fps)):
            if not 0 <= value <= 10_000:
                raise UserError(f"{self.name}: {what} {value}; 0 (the camera's own) to 10000.")
        if self.exposure_us < 0 or (self.exposure_us and not self.has_exposure):
            allowed = "0 (automatic) or more" if self.has_exposure else f"0: {self.kind} has none"
            raise UserError(f"{self.name}: exposure_us {self.exposure_us}; it must be {allowed}.")
        if self.depth and not self.has_depth:
            raise UserError(f"{self.name}: depth is asked for; {self.kind} cameras have none.")

    def _open(self) -> None:
        """`open`, with any failure as CameraLost and nothing left half open."""
        try:
            self.open()
        except Exception as error:
            self._shut()
            if isinstance(error, UserError):
                raise
            raise CameraLost(f"{self.name}: {self._advised(_told(error))}") from error
        self.opened += 1

    def _advised(self, why: str) -> str:
        """A reason as a sentence, and what to check where it does not say so itself."""
        sentence = why if why.endswith(".") else why + "."
        return sentence if self.check in sentence else f"{sentence} {self.check}"

    def _shut(self) -> None:
        try:
            self.shut()
        except Exception as error:  # it is gone; what it says of that helps nobody
            log.debug("%s: closing: %s", self.name, error)

    def _run(self, stop: threading.Event) -> None:
        """The thread: read for ever; whatever fails is kept as the reason, then opened again."""
        is_open, pause_s = True, AGAIN_S[0]
        while not stop.is_set():
            try:
                if not is_open:
                    self._open()
                    is_open = True
                    log.warning("%s: open again", self.name)
                if self._keep(self.read()):
                    pause_s = AGAIN_S[0]
            except BaseException as error:
                told = _told(error).removeprefix(f"{self.name}: ")
                if not self._failure:
                    log.warning("%s: %s", self.name, told)
                self._failure = told
                if self._frame is None:
                    self._arrived.set()  # `connect` need not wait for what cannot come
                if is_open:
                    self._shut()
                    is_open = False
                stop.wait(pause_s)
                pause_s = min(2 * pause_s, AGAIN_S[1])
        self._shut()

    def _keep(self, frame: Frame) -> bool:
        """Make it the newest, if it is a picture of the right size and newer than the last."""
        rgb = frame.rgb
        if rgb.shape != (self.height, self.width, 3) or rgb.dtype != np.uint8:
            raise CameraLost(
                f"{self.name}: it sent {rgb.dtype} {rgb.shape}, not uint8 "
                f"({self.height}, {self.width}, 3)."
            )
        stamp = min(frame.stamp_mono_ns, time.monotonic_ns())
        if self._frame is not None and stamp <= self._frame.stamp_mono_ns:
            return False  # a device that repeats a frame shows nothing new
        rgb.flags.writeable = False
        self._frame = Frame(rgb, stamp, frame.depth_m)
        self._failure = ""
        self._arrived.set()
        return True


def _told(error: BaseException) -> str:
    """An error in one line; what is no message for people keeps its type."""
    text = " ".join(str(error).split())
    return text if isinstance(error, UserError) else f"{type(error).__name__}: {text}"
