"""One page of a set: cameras, actions and rewards on a timeline, in a file that opens offline."""

from __future__ import annotations

import base64
import io
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from launch.data_info import action_names, bounds
from launch.data_page import PAGE
from serl.data.demos import Episode
from serl.data.formats.base import need
from serl.data.formats.native import DemoSet
from serl.data.formats.target import check_free
from serl.errors import writing
from serl.pixels import images
from serl.types import Source

WIDTH_PX = 160
"""Wider frames are shown this wide."""
COLUMNS = 10
"""Frames in a row of a sheet."""
QUALITY = 70
"""Of JPEG; a 128 x 128 render has 3 kB."""
BASE64 = 4 / 3


def write_page(demos: DemoSet, out: Path, *, megabytes: float) -> str:
    """Write the page; says what is on it.

    Args:
        megabytes: about how large it may be: of many frames every second, third ... is shown.
    """
    check_free(out)
    stride = _stride(demos, megabytes * 1e6)
    shown = [_shown(episode, stride) for episode in demos]
    spec = demos.spec
    low, high = bounds(spec)
    about = {
        "title": demos.path.name,
        "hz": demos.control_hz,
        "stride": stride,
        "columns": COLUMNS,
        "actions": list(action_names(spec)),
        "low": low.tolist(),
        "high": high.tolist(),
        "sources": [source.name.lower() for source in Source],
        "episodes": shown,
    }
    text = PAGE.replace("@DATA@", json.dumps(about).replace("<", "\\u003c"))
    with writing(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(text)
    frames = f", every {stride}. frame" if stride > 1 else ""
    return f"{len(shown)} episodes{frames}, {len(text) / 1e6:.1f} MB"


def _shown(episode: Episode, stride: int) -> dict[str, Any]:
    """An episode for the page's script."""
    rows = episode.records
    actions = rows["action"].reshape(len(rows), -1).astype(float)
    sheets = {}
    for camera in images(episode.spec):
        frames = rows["obs/" + camera.name][::stride]
        height, width = _size(camera.shape)
        sheets[camera.name] = {"width": width, "height": height, "sheet": _sheet(frames)}
    return {
        "name": episode.path.name if episode.path else "",
        "outcome": episode.meta.outcome or ("success" if episode.meta.success else ""),
        "by": episode.meta.actor,
        "created": episode.meta.created,
        "actions": np.round(actions, 3).tolist(),
        "rewards": np.round(rows["reward"].astype(float), 4).tolist(),
        "source": rows["source"].tolist(),
        "end": _end(episode),
        "cameras": sheets,
    }


def _end(episode: Episode) -> str:
    last = episode.records[-1]
    words = ["terminated"] if last["terminated"] else []
    words += ["truncated"] if last["truncated"] else []
    words += ["success"] if last["success"] else []
    return ", ".join(words) or "broken off"


def _stride(demos: DemoSet, room: float) -> int:
    """Every which frame fits."""
    cameras = images(demos.spec)
    if not cameras:
        return 1
    records = sum(header.steps + 1 for header in demos.headers)
    first = next(iter(demos)).records
    at = np.linspace(0, len(first) - 1, 4).astype(int)
    each = sum(len(_sheet(first["obs/" + camera.name][at])) / len(at) for camera in cameras)
    return max(1, math.ceil(each * records / room))


def _sheet(frames: NDArray[np.uint8]) -> str:
    """Frames side by side in one JPEG, as a data URI."""
    image = need("PIL.Image", "formats")
    height, width = _size(frames.shape[1:])
    tiles = list(_tiles(frames, (width, height), image))
    rows = math.ceil(len(tiles) / COLUMNS)
    sheet = image.new("RGB", (COLUMNS * width, rows * height))
    for k, tile in enumerate(tiles):
        sheet.paste(tile, (k % COLUMNS * width, k // COLUMNS * height))
    out = io.BytesIO()
    sheet.save(out, "JPEG", quality=QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(out.getvalue()).decode()


def _tiles(frames: NDArray[np.uint8], size: tuple[int, int], image: Any) -> Iterator[Any]:
    for frame in frames:
        plain = frame[..., 0] if frame.shape[2] == 1 else frame[..., :3]
        picture = image.fromarray(np.ascontiguousarray(plain)).convert("RGB")
        yield picture if picture.size == size else picture.resize(size, image.Resampling.BOX)


def _size(shape: tuple[int, ...]) -> tuple[int, int]:
    """(height, width) at which a frame is shown."""
    height, width = shape[:2]
    scale = min(1.0, WIDTH_PX / width)
    return max(1, round(height * scale)), max(1, round(width * scale))
