"""`serl cameras`: list, view and crop, on cameras that need no hardware."""

import ast
import dataclasses
import re
from unittest import mock

import numpy as np
import pytest
from cameras.stands import SoftRealSense, soft_realsense, write_video
from hypothesis import given
from hypothesis import strategies as st

from envs.cameras import v4l2
from envs.cameras.base import CAMERAS
from envs.cameras.config import CameraConfig, DeviceConfig
from envs.tasks.base import TASKS
from launch import cameras
from launch.crop_page import crop_page
from launch.experiments import Selection
from launch.main import main
from launch.window import can_show, dragged


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setattr(cameras, "SETTLE_S", 0.0)
    write_video(tmp_path / "film.mp4", width=320, height=240)
    return tmp_path


def refused(capfd, *words):
    assert main(["cameras", *words]) == 2
    out, err = capfd.readouterr()
    assert "Traceback" not in out + err
    assert len(err.strip().splitlines()) == 1, err
    return err


def png_size(path):
    data = path.read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    return int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")


def test_list_names_every_kind_and_what_is_plugged_in(capfd, monkeypatch):
    pytest.importorskip("pyrealsense2", exc_type=ImportError)
    monkeypatch.setattr(v4l2, "found", list)
    with soft_realsense(SoftRealSense("130322270735", ((640, 480, 30), (640, 480, 60)))):
        assert main(["cameras", "list"]) == 0
    out = capfd.readouterr().out
    for kind in CAMERAS:
        assert f"{kind}:\n" in out
    assert "  realsense:130322270735  Software D435, USB 3.2\n" in out
    assert "      640 x 480 at 30 and 60 Hz\n" in out
    assert "opencv:\n  (none)\n" in out


def test_view_writes_the_picture_where_there_is_no_display(capfd, folder):
    assert main(["cameras", "view", "--camera", "video:film.mp4"]) == 0
    assert "view.png: video film.mp4, 320 x 240 px" in capfd.readouterr().out
    assert png_size(folder / "view.png") == (320, 240)


def test_view_of_an_experiment_is_what_its_agent_sees(folder):
    write_video(folder / "side.mp4", width=64, height=48)
    views = [
        CameraConfig(name=name, source="side", frame_px=(64, 48), crop=(x, 0, 32, 48))
        for name, x in (("left", 0), ("right", 32))
    ]
    device = DeviceConfig(name="side", kind="video", address="side.mp4", width=64, height=48)
    env = dataclasses.replace(
        TASKS.get("reach")().pixels(),
        cameras=tuple(views),
        camera_devices=(device,),
        frame_limit_s=2.0,
    )
    selection = mock.create_autospec(Selection, instance=True)
    selection.load_env.return_value = env
    with cameras._seen(selection) as look:
        assert look().shape == (128, 256, 3)


def printed(line, kind):
    """The config that a printed line makes, its values read as literals: nothing is run."""
    call = ast.parse(line.rstrip(","), mode="eval").body
    assert isinstance(call, ast.Call)
    assert isinstance(call.func, ast.Name)
    assert call.func.id == kind.__name__
    return kind(**{k.arg: ast.literal_eval(k.value) for k in call.keywords})


def test_crop_by_numbers_prints_a_config_that_loads_and_a_picture_of_it(capfd, folder):
    words = ["--numbers", "80", "0", "240", "240", "--name", "front"]
    assert main(["cameras", "crop", "video:film.mp4", *words]) == 0
    lines = capfd.readouterr().out.splitlines()
    camera, device = printed(lines[0], CameraConfig), printed(lines[1], DeviceConfig)
    assert camera == CameraConfig(name="front", frame_px=(320, 240), crop=(80, 0, 240, 240))
    assert (device.name, device.kind, device.address) == ("front", "video", "film.mp4")
    assert (device.width, device.height) == (320, 240)
    assert png_size(folder / "crop.png") == (128, 128)
    assert "stretches" not in "".join(lines)


def test_a_crop_that_is_not_square_is_said_to_stretch(capfd):
    assert main(["cameras", "crop", "video:film.mp4", "--numbers", "0", "0", "320", "240"]) == 0
    assert "320 x 240 px: not square" in capfd.readouterr().out


def test_without_a_display_crop_writes_a_page_for_the_mouse(capfd, folder):
    assert main(["cameras", "crop", "video:film.mp4"]) == 0
    assert "open crop.html in a browser" in capfd.readouterr().out
    page = (folder / "crop.html").read_text()
    assert "data:image/png;base64," in page
    assert 'width="320" height="240"' in page
    assert "crop={crop}" in page
    assert not re.search(r'(?:src|href)="?https?:', page), "it needs no network"


def test_what_stands_in_a_cameras_address_is_never_code_in_the_page():
    page = crop_page(np.zeros((4, 4, 3), np.uint8), "</script><b>{crop}")
    assert "</script><b>" not in page


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["crop", "video:film.mp4", "--numbers", "0", "0", "321", "10"], "outside the frame"),
        (["crop", "video:none.mp4"], "no such file"),
        (["crop", "webcam:0"], "no camera named 'webcam'"),
        (["crop", "/dev/video0"], "is not KIND:ADDRESS"),
        (["crop", "video:film.mp4", "--size", "640"], "is not WIDTHxHEIGHT"),
        (["view", "--camera", "video:film.mp4", "--size", "64x48"], "the file has 320 x 240"),
        (["view"], "say what to look at"),
        (["view", "--task", "reach", "--camera", "video:film.mp4"], "say what to look at"),
        (["view", "--task", "reach"], "this experiment has no cameras"),
        (["list", "--agent.x", "1"], "takes no experiment settings"),
        (["view", "--camera", "video:film.mp4", "--out", "no/such/folder.png"], "cannot write"),
    ],
)
def test_bad_input_is_one_line(capfd, words, told):
    assert told in refused(capfd, *words)


@given(*[st.tuples(st.integers(-99, 99), st.integers(-99, 99))] * 2)
def test_a_dragged_rectangle_lies_inside_the_picture(start, end):
    box = dragged(start, end, (64, 48))
    if box is not None:
        x, y, width, height = box
        assert x >= 0 <= y
        assert width > 0 < height
        assert x + width <= 64
        assert y + height <= 48


def test_without_a_display_no_window_is_tried():
    assert not can_show()
