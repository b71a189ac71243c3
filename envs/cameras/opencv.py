"""USB cameras through OpenCV and V4L2: by index, or by /dev path."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from envs.cameras import v4l2
from envs.cameras.base import CAMERAS, CameraLost, Found, Frame
from envs.cameras.capture import CapturingCamera
from envs.cameras.clock import from_monotonic


@CAMERAS.register("opencv")
class OpenCVCamera(CapturingCamera):
    """The address is an index or a path; /dev/v4l/by-id/... stays the same over reboots."""

    kind = "opencv"
    check = "Check its cable, and that no other program has it open."

    _capture: Any = None

    def open(self) -> None:
        cv2 = _cv2()
        address = int(self.address or 0) if re.fullmatch(r"\d*", self.address) else self.address
        self._capture = capture = cv2.VideoCapture(address, cv2.CAP_V4L2)
        if not capture.isOpened():
            there = ", ".join(f"{f.address} ({f.about})" for f in self.found()) or "none"
            raise CameraLost(f"{self.name}: it does not open; connected: {there}. {self.check}")
        # Uncompressed frames of two cameras do not fit through one USB 2 port.
        capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*"MJPG"))
        for prop, value in (
            (cv2.CAP_PROP_FRAME_WIDTH, self.width),
            (cv2.CAP_PROP_FRAME_HEIGHT, self.height),
            (cv2.CAP_PROP_FPS, self.fps),
        ):
            if value:
                capture.set(prop, value)
        capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
        self._check_mode(cv2)
        self._set_exposure(cv2)

    def read(self) -> Frame:
        cv2 = _cv2()
        if not self._capture.grab():
            raise CameraLost(f"{self.name}: it sent no picture.")
        # The kernel stamps each buffer, on the monotonic clock; a driver may leave that out.
        stamp = from_monotonic(
            round(self._capture.get(cv2.CAP_PROP_POS_MSEC) * 1e6), time.monotonic_ns()
        )
        decoded, bgr = self._capture.retrieve()
        if not decoded:
            raise CameraLost(f"{self.name}: it sent a picture that cannot be decoded.")
        return Frame(np.ascontiguousarray(bgr[..., ::-1]), stamp)

    def shut(self) -> None:
        capture, self._capture = self._capture, None
        if capture is not None:
            capture.release()

    @classmethod
    def found(cls) -> Sequence[Found]:
        return v4l2.found()

    def _check_mode(self, cv2: Any) -> None:
        """V4L2 takes the nearest mode in silence: refuse any but the one asked for."""
        width, height, fps = (
            round(self._capture.get(prop))
            for prop in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT, cv2.CAP_PROP_FPS)
        )
        asked = (self.width or width, self.height or height, self.fps or fps)
        if asked != (width, height, fps):
            raise CameraLost(
                f"{self.name}: it does not offer {asked[0]} x {asked[1]} at {asked[2]} Hz; it "
                f"would give {width} x {height} at {fps} Hz. `serl cameras list` shows its modes."
            )
        self.width, self.height, self.fps = width, height, fps or 30

    def _set_exposure(self, cv2: Any) -> None:
        """V4L2 counts exposure in 100 µs; 1 is manual there, 3 automatic."""
        capture = self._capture
        if not self.exposure_us:
            capture.set(cv2.CAP_PROP_AUTO_EXPOSURE, 3)  # where it has that at all
            return
        manual = capture.set(cv2.CAP_PROP_AUTO_EXPOSURE, 1)
        if not (manual and capture.set(cv2.CAP_PROP_EXPOSURE, round(self.exposure_us / 100))):
            raise CameraLost(
                f"{self.name}: it does not take exposure_us {self.exposure_us}; 0 is automatic."
            )


@lru_cache(maxsize=1)
def _cv2() -> Any:
    try:
        import cv2
    except ImportError as error:
        raise CameraLost(
            f"USB cameras need OpenCV ({error}). Install it: pip install 'serl-suite[cameras]'."
        ) from error
    quiet = cv2.utils.logging
    quiet.setLogLevel(quiet.LOG_LEVEL_SILENT)  # what it warns of is what our errors say
    return cv2
