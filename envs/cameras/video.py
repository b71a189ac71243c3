"""A video file that stands in for a camera: it loops, at its own rate or as asked."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from envs.cameras.base import CAMERAS, CameraLost, Found, Frame
from envs.cameras.capture import CapturingCamera


@CAMERAS.register("video")
class VideoCamera(CapturingCamera):
    """The address is the file. Its frames have one size, which must be the one asked for."""

    kind = "video"
    check = "Check that the file is there and plays."
    has_exposure = False

    _container: Any = None

    def open(self) -> None:
        try:
            import av
            from av.error import FFmpegError
        except ImportError:
            raise CameraLost(
                f"{self.name}: PyAV is missing. Install it: pip install 'serl-suite[cameras]'."
            ) from None
        if not Path(self.address).is_file():
            raise CameraLost(f"{self.name}: there is no such file.")
        try:
            self._container = av.open(self.address)
            stream = self._container.streams.video[0]
        except (FFmpegError, IndexError):
            raise CameraLost(f"{self.name}: the file holds no video.") from None
        size = (stream.width, stream.height)
        if (self.width or size[0], self.height or size[1]) != size:
            raise CameraLost(
                f"{self.name}: it does not offer {self.width} x {self.height} px; the file has "
                f"{size[0]} x {size[1]} px."
            )
        self.width, self.height = size
        self.fps = self.fps or round(float(stream.average_rate or 30))
        self._pictures = self._loop()
        self._due_s = time.monotonic()

    def read(self) -> Frame:
        time.sleep(max(0.0, self._due_s - time.monotonic()))
        self._due_s = max(self._due_s, time.monotonic() - 1.0) + 1.0 / self.fps
        return Frame(next(self._pictures), time.monotonic_ns())

    def shut(self) -> None:
        container, self._container = self._container, None
        if container is not None:
            container.close()

    @classmethod
    def found(cls) -> Sequence[Found]:
        """A file is not plugged in."""
        return ()

    def _loop(self) -> Iterator[NDArray[np.uint8]]:
        """Every picture, again and again."""
        while True:
            shown = 0
            for picture in self._container.decode(video=0):
                shown += 1
                yield picture.to_ndarray(format="rgb24")
            if not shown:
                raise CameraLost(f"{self.name}: the file holds no picture.")
            self._container.seek(0)
