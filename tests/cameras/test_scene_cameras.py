"""The simulated scene's cameras are cut, turned and resized as real ones are."""

from __future__ import annotations

import numpy as np

from envs.cameras.config import CameraConfig
from envs.cameras.scene import SceneCameras
from envs.cameras.view import look


class Scene:
    """Draws noise, another for each camera and size, and keeps what it was asked for."""

    def __init__(self) -> None:
        self.drawn: list[tuple[str, int, int]] = []

    def render(self, camera: str, height: int, width: int) -> np.ndarray:
        self.drawn.append((camera, height, width))
        return picture(camera, height, width)


def picture(camera: str, height: int, width: int) -> np.ndarray:
    rng = np.random.default_rng([len(camera), height, width])
    return rng.integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_every_setting_of_a_camera_counts_and_a_shared_frame_is_drawn_once() -> None:
    """LeRobot's crop and resize were ignored on one path (P-8)."""
    whole = CameraConfig(name="whole", source="table", frame_px=(80, 60), height=60, width=80)
    part = CameraConfig(
        name="part",
        source="table",
        frame_px=(80, 60),
        crop=(20, 10, 40, 30),
        rotate_deg=90,
        height=20,
        width=15,
    )
    wrist = CameraConfig(name="wrist", height=32, width=32)
    scene = Scene()
    frames = SceneCameras(scene, (whole, part, wrist)).frames(0)
    assert scene.drawn == [("table", 60, 80), ("wrist", 32, 32)]
    table = picture("table", 60, 80)
    np.testing.assert_array_equal(frames["whole"], table)
    np.testing.assert_array_equal(frames["part"], look(table, part))
    halves = table[10:40, 20:60].reshape(15, 2, 20, 2, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(frames["part"], np.rot90(halves), atol=1)
    np.testing.assert_array_equal(frames["wrist"], picture("wrist", 32, 32))
