"""Cameras of a simulated scene: drawn when asked, so their frames are never stale."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from envs.cameras.config import CameraConfig
from envs.cameras.view import look


class SceneCameras:
    """Every logical camera over a backend's `Scene`; each physical frame is drawn once."""

    def __init__(self, scene: Any, cameras: Sequence[CameraConfig]) -> None:
        self._scene = scene
        self._cameras = tuple(cameras)

    def frames(self, stamp_mono_ns: int) -> dict[str, NDArray[np.uint8]]:
        """What each camera shows now: {name: (height, width, 3)}."""
        drawn: dict[tuple[str, tuple[int, int]], NDArray[np.uint8]] = {}
        out = {}
        for camera in self._cameras:
            key = (camera.physical, camera.physical_px)
            if key not in drawn:
                width, height = camera.physical_px
                drawn[key] = self._scene.render(camera.physical, height, width)
            out[camera.name] = look(drawn[key], camera)
        return out

    def metrics(self) -> dict[str, float]:
        """A drawn frame shows the very state it is stored with."""
        return {}

    def trouble(self) -> str:
        """Nothing can be unplugged."""
        return ""

    def close(self) -> None:
        """The scene belongs to its backend."""
