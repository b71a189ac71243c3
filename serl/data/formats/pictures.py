"""Frames as PNG and back, and whatever else other projects keep them in; Pillow does the coding."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray

from serl.data.formats.base import need

LARGEST_PX = 4096 * 4096
"""Pixels of a frame: a file that says more is not believed."""


def png(frame: NDArray[np.uint8]) -> bytes:
    """A frame (H, W, C) with 1, 3 or 4 channels as a PNG file, which loses nothing."""
    image = need("PIL.Image", "formats")
    out = io.BytesIO()
    plain = frame[:, :, 0] if frame.shape[2] == 1 else frame
    image.fromarray(np.ascontiguousarray(plain)).save(out, "PNG", compress_level=1)
    return out.getvalue()


def decoded(data: bytes) -> NDArray[np.uint8]:
    """A frame (H, W, C) from a picture's file, PNG or JPEG."""
    image = need("PIL.Image", "formats")
    with image.open(io.BytesIO(data), formats=("PNG", "JPEG")) as picture:
        width, height = picture.size
        if width * height > LARGEST_PX:
            raise ValueError(f"a frame of {width} x {height} pixels")
        known = picture.mode in ("L", "RGB", "RGBA")
        frame = np.asarray(picture if known else picture.convert("RGB"))
    return frame[:, :, None] if frame.ndim == 2 else frame


def is_frames(values: NDArray) -> bool:
    """Whether an array of a whole episode (n, H, W, C) is a camera's."""
    return values.dtype == np.uint8 and values.ndim == 4 and values.shape[3] in (1, 3, 4)
