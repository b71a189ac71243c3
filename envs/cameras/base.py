"""What every camera is: something that has a newest frame, with the time it was taken.

A camera never hands out a queue: who asks gets the newest frame, or `StaleFrame` when that one
is older than the caller bears. A new kind is one file in this package that registers itself in
`CAMERAS`; nearly always it extends `envs.cameras.capture.CapturingCamera`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from serl.errors import UserError
from serl.registry import Registry


@dataclass(frozen=True)
class Frame:
    """One picture of a physical camera, before any crop. Not to be written to: it is shared."""

    rgb: NDArray[np.uint8]
    """(H, W, 3), red first."""
    stamp_mono_ns: int
    """When it was taken, on this machine's monotonic clock [ns]."""
    depth_m: NDArray[np.float32] | None = None
    """(H, W) distance along the optical axis, aligned to rgb; 0 where unknown [m]."""


class CameraLost(UserError):
    """A camera is not there, or cannot deliver what it is asked for."""


class StaleFrame(UserError):
    """A camera's newest frame is older than the caller bears."""


class Camera(Protocol):
    """One physical camera."""

    name: str
    """What messages call it: "kind address", as "realsense 130322270735"."""

    def connect(self) -> None:
        """Open it and wait for its first frame.

        Raises:
            CameraLost: it is not there, or does not offer the resolution; says what is there.
        """
        ...

    def newest(self, limit_s: float) -> Frame:
        """The newest frame, at once.

        Raises:
            StaleFrame: it was taken more than `limit_s` ago; says why and what to check.
        """
        ...

    def close(self) -> None:
        """Let the device go. More than once does no harm; `connect` opens it again."""
        ...


@dataclass(frozen=True)
class Found:
    """A camera that is plugged in, for `serl cameras list`."""

    kind: str
    address: str
    """What to write after the kind: a serial number, a device path."""
    about: str = ""
    """Model, and how it is connected."""
    modes: tuple[tuple[int, int, int], ...] = ()
    """What it offers: (width, height, frames per second)."""


class CameraKind(Protocol):
    """What a file registers: makes a camera, and lists those that are plugged in."""

    def __call__(
        self,
        address: str,
        *,
        width: int = 640,
        height: int = 480,
        fps: int = 30,
        exposure_us: int = 0,
        depth: bool = False,
    ) -> Camera:
        """A camera, not yet connected.

        Args:
            address: serial number, device path, or file.
            width, height, fps: what the device captures, before any crop [pixels, 1/s].
            exposure_us: fixed exposure [µs]; 0 leaves it to the camera.
            depth: also deliver depth aligned to the colour picture.
        """
        ...

    def found(self) -> Sequence[Found]:
        """Cameras of this kind that are plugged in now."""
        ...


CAMERAS: Registry[CameraKind] = Registry("camera", "envs.cameras")
"""Kinds by name: "realsense", "opencv", "video"."""


def told_modes(modes: Sequence[tuple[int, int, int]]) -> str:
    """Modes in a line: "320 x 240 at 30 and 60 Hz; 640 x 480 at 30 Hz"."""
    rates: dict[tuple[int, int], list[int]] = {}
    for width, height, fps in sorted(set(modes)):
        rates.setdefault((width, height), []).append(fps)
    return (
        "; ".join(
            f"{width} x {height} at {' and '.join(map(str, fps))} Hz"
            for (width, height), fps in rates.items()
        )
        or "nothing"
    )
