"""Films of an env, encoded frame by frame to disk: memory does not grow with their length."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from launch.experiments import need
from serl.errors import writing


def with_views(frame: NDArray[np.uint8], seen: list[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """A frame (H, W, 3) with smaller ones in a column at its right, enlarged so that their pixels
    stay visible."""
    if not seen:
        return frame
    room = frame.shape[0] // len(seen)
    column = np.zeros((frame.shape[0], room, 3), np.uint8)
    for k, small in enumerate(seen):
        scale = max(small.shape[:2]) / room
        height, width = (min(room, round(size / scale)) for size in small.shape[:2])
        rows, columns = (np.arange(n) * small.shape[i] // n for i, n in enumerate((height, width)))
        top, left = k * room + (room - height) // 2, (room - width) // 2
        column[top : top + height, left : left + width] = small[rows][:, columns]
    return np.concatenate([frame, column], axis=1)


class Film:
    """An mp4 that frames are added to; use with `with`.

    A film that gets no frame leaves no file. Until it is closed it has the ending `.part`.

    Args:
        path: where the mp4 will be.
        fps: frames per second, the env's own control rate for real time.
    """

    def __init__(self, path: Path, fps: float) -> None:
        self.path = path
        self.frames = 0
        self._fps = round(fps)
        self._part = path.with_suffix(".part")
        self._container: Any = None
        self._stream: Any = None

    def add(self, frame: NDArray[np.uint8]) -> None:
        """One RGB frame (height, width, 3); an odd size loses its last row or column."""
        if self.frames == 0:
            self._open(frame.shape[0] // 2 * 2, frame.shape[1] // 2 * 2)
        picture = self._av.VideoFrame.from_ndarray(
            np.ascontiguousarray(frame[: self._stream.height, : self._stream.width]), format="rgb24"
        )
        self._container.mux(self._stream.encode(picture))
        self.frames += 1

    def film(self, env: Any) -> None:
        """Add what `env` renders now, beside it what the policy sees if that is pictures; fits
        `serl.evaluation.evaluate(on_step=...)`."""
        seen = getattr(getattr(env, "unwrapped", env), "seen", {})
        self.add(with_views(env.render(), list(seen.values())))

    def close(self) -> None:
        if self._container is None:
            return
        self._container.mux(self._stream.encode())
        self._container.close()
        self._container = None
        self._part.replace(self.path)

    def __enter__(self) -> Film:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _open(self, height: int, width: int) -> None:
        self._av = need("av", "log")
        with writing(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._container = self._av.open(str(self._part), "w", format="mp4")
        self._stream = self._container.add_stream("libx264", rate=self._fps)
        self._stream.height, self._stream.width = height, width
        self._stream.pix_fmt = "yuv420p"  # what every browser plays
        self._stream.options = {"crf": "23", "preset": "veryfast"}
