"""From a physical frame to what the agent sees: crop, rotate, resize. Pure functions, NumPy only.

One implementation for simulated and real cameras alike, so that a policy's pixels do not depend
on which image library a machine has.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from envs.cameras.config import CameraConfig
from serl.errors import UserError

Image = NDArray[np.uint8]
"""(H, W, 3), red first."""


def look(frame: Image, camera: CameraConfig) -> Image:
    """What the logical camera shows of a physical frame: (camera.height, camera.width, 3).

    Raises:
        UserError: the crop reaches outside the frame.
    """
    part = frame if camera.crop is None else crop(frame, camera.crop, camera.name)
    return resize(rotate(part, camera.rotate_deg), camera.width, camera.height)


def crop(frame: Image, box: tuple[int, int, int, int], name: str = "") -> Image:
    """The part of a frame at x, y with width, height [pixels]; a view, not a copy."""
    x, y, width, height = box
    down, across = frame.shape[:2]
    if x < 0 or y < 0 or width < 1 or height < 1 or x + width > across or y + height > down:
        whose = f"camera {name!r}: " if name else ""
        raise UserError(
            f"{whose}crop x {x}, y {y}, {width} x {height} px reaches outside the frame of "
            f"{across} x {down} px. `serl cameras crop` shows the frame and prints one that fits."
        )
    return frame[y : y + height, x : x + width]


def rotate(frame: Image, degrees: int) -> Image:
    """Counter-clockwise by 0, 90, 180 or 270 degrees."""
    return np.rot90(frame, degrees // 90)


def resize(frame: Image, width: int, height: int) -> Image:
    """Each output pixel is the mean over the area it covers, so that fine texture does not flicker.

    Returns:
        (height, width, 3), its own memory unless nothing had to be done.
    """
    if frame.shape[:2] == (height, width):
        return np.ascontiguousarray(frame)
    tall = _resize_rows(frame, height)
    turned = _resize_rows(tall.transpose(1, 0, 2), width)  # whole rows: half the time of columns
    return np.minimum(turned.transpose(1, 0, 2) + 0.5, 255.0).astype(np.uint8, order="C")


def _resize_rows(frame: NDArray[Any], rows: int) -> NDArray[np.float32]:
    """(H, W, 3) to (rows, W, 3): each new row is the mean of those it covers."""
    index, weights = _taps(frame.shape[0], rows)
    flat = frame.reshape(frame.shape[0], -1)
    out = np.zeros((rows, flat.shape[1]), np.float32)
    for tap, weight in zip(index, weights, strict=True):
        out += flat[tap] * weight[:, None]
    return out.reshape(rows, *frame.shape[1:])


@lru_cache(maxsize=64)
def _taps(size: int, wanted: int) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """Which input pixels each of `wanted` output pixels covers, and what share of it each has.

    Returns:
        Indices and weights, both (taps, wanted); the weights of an output pixel sum to 1.
    """
    edges = np.arange(wanted + 1) * (size / wanted)
    low, high = edges[:-1], edges[1:]
    first = np.floor(low + 1e-9).astype(np.intp)
    count = int(np.max(np.ceil(high - 1e-9).astype(np.intp) - first))
    index = first + np.arange(count)[:, None]
    covered = np.minimum(high, index + 1) - np.maximum(low, index)
    weights = np.clip(covered, 0.0, None)
    weights /= weights.sum(axis=0)
    return np.minimum(index, size - 1), weights.astype(np.float32)
