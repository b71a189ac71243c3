"""Frames as PNG, and several frames as one: enough for reports and labelling, no library."""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def png(frame: NDArray[np.uint8]) -> bytes:
    """A PNG file of an RGB frame (H, W, 3).

    Source: ISO/IEC 15948; every row is filtered by the difference from the pixel to its left.
    """
    height, width, _ = frame.shape
    left = np.zeros_like(frame)
    left[:, 1:] = frame[:, :-1]
    rows = np.empty((height, 1 + 3 * width), np.uint8)
    rows[:, 0] = 1  # the filter "Sub"
    rows[:, 1:] = (frame - left).reshape(height, -1)
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = zlib.compress(rows.tobytes(), 6)
    chunks = _chunk(b"IHDR", head) + _chunk(b"IDAT", data) + _chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def data_uri(frame: NDArray[np.uint8]) -> str:
    """The frame for an <img src>."""
    return "data:image/png;base64," + base64.b64encode(png(frame)).decode()


def beside(frames: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Frames in a row, the lower ones padded below with black: (H, sum of W, 3)."""
    height = max(frame.shape[0] for frame in frames)
    padded = [np.pad(f, ((0, height - f.shape[0]), (0, 0), (0, 0))) for f in frames]
    return np.concatenate(padded, axis=1)


def montage(frames: Sequence[NDArray[np.uint8]], columns: int = 8) -> NDArray[np.uint8]:
    """Frames of one size in a grid, left to right."""
    blank = np.zeros_like(frames[0])
    rows = [list(frames[k : k + columns]) for k in range(0, len(frames), columns)]
    if len(rows) > 1:
        rows[-1] += [blank] * (columns - len(rows[-1]))
    return np.concatenate([np.concatenate(row, axis=1) for row in rows], axis=0)


def with_bar(frame: NDArray[np.uint8], share: float, threshold: float) -> NDArray[np.uint8]:
    """The frame over a bar that is `share` full: green from `threshold` on, which a tick marks."""
    height, width, _ = frame.shape
    bar = np.full((max(6, height // 16), width, 3), 40, np.uint8)
    colour = (60, 200, 90) if share >= threshold else (220, 140, 40)
    bar[:, : round(share * width)] = colour
    bar[:, min(width - 1, round(threshold * width))] = 255
    return np.concatenate([frame, bar], axis=0)


def thumbnail(frame: NDArray[np.uint8], factor: int) -> NDArray[np.uint8]:
    """The frame shrunk by a whole factor, by area."""
    height, width = frame.shape[0] // factor * factor, frame.shape[1] // factor * factor
    cut = frame[:height, :width].reshape(height // factor, factor, width // factor, factor, 3)
    return cut.mean(axis=(1, 3)).astype(np.uint8)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
