"""What every registered kind of camera must do; being registered holds a new kind to this.

A new kind is given the address of a picture that is replaced again and again. One that needs more
behind it gets a stand in tests/cameras/stands.py."""

import threading
import time

import numpy as np
import pytest
from cameras.stands import FPS, HEIGHT, STANDS, WIDTH, until

from envs.cameras import capture, realsense
from envs.cameras.base import CAMERAS, CameraLost, Found, StaleFrame
from serl.errors import UserError

CAMERAS.discover()


def test_every_kind_has_a_stand():
    assert set(CAMERAS.names()) | {"fake"} == set(STANDS)


@pytest.fixture(params=sorted(STANDS))
def stand(request, monkeypatch):
    monkeypatch.setattr(capture, "AGAIN_S", (0.02, 0.1))
    monkeypatch.setattr(realsense, "READ_MS", 200)
    needs = {"realsense": "pyrealsense2", "opencv": "cv2", "video": "av"}
    if library := needs.get(request.param):
        pytest.importorskip(library, exc_type=ImportError)
    with STANDS[request.param]() as stand:
        yield stand


@pytest.fixture
def camera(stand):
    camera = stand.make()
    camera.connect()
    yield camera
    camera.close()


def test_it_gives_frames_of_the_size_asked_for_with_stamps_of_this_clock(camera):
    last = 0
    for _ in range(3):
        frame = until(lambda last=last: (f := camera.newest(2.0)).stamp_mono_ns > last and f)
        assert frame.rgb.shape == (HEIGHT, WIDTH, 3)
        assert frame.rgb.dtype == np.uint8
        assert frame.rgb.flags.c_contiguous
        assert last < frame.stamp_mono_ns <= time.monotonic_ns()
        last = frame.stamp_mono_ns


def test_asking_does_not_wait(camera):
    begun = time.monotonic()
    for _ in range(100):
        camera.newest(2.0)
    assert time.monotonic() - begun < 1.0


def test_its_name_has_its_kind_and_address(stand, camera):
    assert stand.kind in camera.name
    assert stand.address in camera.name


def test_before_connecting_and_after_closing_a_frame_is_stale(stand):
    camera = stand.make()
    with pytest.raises(StaleFrame, match="not connected"):
        camera.newest(10.0)
    camera.connect()
    camera.close()
    with pytest.raises(StaleFrame, match="not connected"):
        camera.newest(10.0)


def test_it_can_be_closed_twice_and_opened_again(stand):
    camera = stand.make()
    camera.close()
    for _ in range(2):
        camera.connect()
        assert camera.newest(2.0)
        camera.close()
        camera.close()


def test_unplugged_it_raises_in_one_line_and_replugged_it_shows_again(stand, camera):
    if stand.unplug is None:
        pytest.skip("cannot be unplugged")
    stand.unplug()
    begun_ns = time.monotonic_ns()

    def stale():
        try:
            camera.newest(0.3)
        except StaleFrame as error:
            return str(error)
        return ""

    told = until(stale)
    assert "(limit 0.30 s)" in told
    assert "\n" not in told
    stand.replug()
    until(lambda: not stale())
    assert camera.newest(0.5).stamp_mono_ns > begun_ns


def test_what_is_not_there_is_one_line_and_leaves_no_thread(stand):
    if stand.unplug is not None:
        stand.unplug()
        camera = stand.make()
    else:
        camera = CAMERAS.get(stand.kind)(stand.address + ".gone")
    with pytest.raises(CameraLost) as error:
        camera.connect()
    assert "\n" not in str(error.value)
    assert stand.kind in str(error.value)
    assert not any(t.name == f"camera {camera.name}" for t in threading.enumerate())


def test_a_resolution_it_does_not_offer_is_refused(stand):
    if stand.kind == "fake":
        pytest.skip("offers any")
    with pytest.raises(CameraLost, match="does not offer"):
        stand.make(width=WIDTH + 2).connect()


@pytest.mark.parametrize("wrong", [{"width": -1}, {"height": 100_000}, {"fps": -FPS}])
def test_settings_out_of_range_are_refused(stand, wrong):
    with pytest.raises(UserError):
        stand.make(**wrong)


def test_the_plugged_in_ones_can_be_listed(stand):
    for found in CAMERAS.get(stand.kind).found():
        assert isinstance(found, Found)
        assert found.kind == stand.kind
