"""A camera's frames as video: written so that at least 35 dB is kept, read by time stamps."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serl.data.formats import lerobot_files as files
from serl.data.formats.base import need
from serl.data.formats.pictures import LARGEST_PX
from serl.errors import UserError

CODEC, PIXELS = "libx264", "yuv444p"
"""With a quarter of the colour (yuv420p) renders of a wrist camera keep 34.4 dB at best."""
OPTIONS = {"crf": "18", "g": "2", "preset": "medium"}
"""40 dB on those renders. A key frame every second frame, as LeRobot has, for access at random."""


class VideoFile:
    """An mp4 that frames are added to.

    Args:
        shape: (H, W, 3).
    """

    def __init__(self, path: Path, shape: tuple[int, ...], fps: int) -> None:
        height, width = shape[:2]
        if shape[2] != 3:
            raise UserError(
                f"{path.parent.parent.name} has frames of {shape[2]} channels; video needs three "
                "colours. Export it as pictures."
            )
        self._av = need("av", "formats")
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self.frames = 0
        self._container = self._av.open(str(path), "w", format="mp4")
        self._stream = self._container.add_stream(CODEC, rate=fps)
        self._stream.width, self._stream.height = width, height
        self._stream.pix_fmt = PIXELS
        self._stream.options = OPTIONS
        self._stream.codec_context.time_base = Fraction(1, fps)
        self._stream.codec_context.thread_count = 1

    def add(self, frame: NDArray[np.uint8]) -> None:
        picture = self._av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
        picture.pts = self.frames
        self._container.mux(self._stream.encode(picture))
        self.frames += 1

    def close(self) -> None:
        self._container.mux(self._stream.encode())
        self._container.close()


def video_info(shape: tuple[int, ...], fps: int) -> dict[str, Any]:
    """What info.json says of a video's stream."""
    return {
        "video.height": shape[0],
        "video.width": shape[1],
        "video.codec": "h264",
        "video.pix_fmt": PIXELS,
        "is_depth_map": False,
        "video.fps": fps,
        "video.channels": 3,
        "has_audio": False,
    }


def read_video(
    path: Path, key: str, episode: Mapping[str, Any], fps: float, count: int
) -> NDArray[np.uint8]:
    """An episode's frames of one camera, (count, H, W, 3)."""
    av = need("av", "formats")
    begin_s = float(episode[f"videos/{key}/from_timestamp"])
    found: dict[int, NDArray[np.uint8]] = {}
    with av.open(str(files.video_file(path, key, episode))) as container:
        stream = container.streams.video[0]
        if stream.width * stream.height > LARGEST_PX:
            raise ValueError(f"{key} has frames of {stream.width} x {stream.height} pixels")
        container.seek(max(0, int(begin_s / stream.time_base)), stream=stream)
        for frame in container.decode(stream):
            k = round((frame.time - begin_s) * fps)
            if 0 <= k < count:
                found[k] = frame.to_ndarray(format="rgb24")
            if k >= count - 1:
                break
    missing = next((k for k in range(count) if k not in found), None)
    if missing is not None:
        raise ValueError(f"the video of {key} has no frame {missing} of an episode of {count}")
    return np.stack([found[k] for k in range(count)])
