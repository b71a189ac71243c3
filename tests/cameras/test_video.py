"""A video file as a camera."""

import time

import pytest
from cameras.stands import FPS, HEIGHT, WIDTH, until, write_video

from envs.cameras.base import CameraLost
from envs.cameras.video import VideoCamera
from serl.errors import UserError


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "film.mp4"
    write_video(path, frames=10)
    return str(path)


def test_it_loops(path):
    camera = VideoCamera(path, width=WIDTH, height=HEIGHT, fps=200)
    camera.connect()
    brightness = []

    def fell():
        brightness.append(camera.newest(1.0).rgb.mean())
        return len(brightness) > 1 and brightness[-1] < brightness[-2] - 50

    until(fell)
    until(fell)
    assert camera.opened == 1, "the loop is no reconnection"
    camera.close()


def test_it_plays_at_the_rate_asked_for_or_at_its_own(path):
    for fps, expected in ((10, 10), (0, FPS)):
        camera = VideoCamera(path, width=0, height=0, fps=fps)
        camera.open()
        begun = time.monotonic()
        assert camera.fps == expected
        for _ in range(4):  # the first is due at once
            camera.read()
        assert time.monotonic() - begun >= 2.8 / expected
        camera.shut()


def test_another_size_than_the_files_is_refused_in_one_line(path):
    camera = VideoCamera(path, width=640, height=480)
    with pytest.raises(CameraLost, match=f"640 x 480 px; the file has {WIDTH} x {HEIGHT} px"):
        camera.connect()


def test_no_file_and_no_video_are_each_one_line(tmp_path):
    with pytest.raises(CameraLost, match="no such file"):
        VideoCamera(str(tmp_path / "none.mp4")).connect()
    (tmp_path / "text.mp4").write_text("no film")
    with pytest.raises(CameraLost, match="holds no video"):
        VideoCamera(str(tmp_path / "text.mp4")).connect()


def test_a_file_has_neither_exposure_nor_depth(path):
    with pytest.raises(UserError, match="video has none"):
        VideoCamera(path, exposure_us=100)
    with pytest.raises(UserError, match="video cameras have none"):
        VideoCamera(path, depth=True)
