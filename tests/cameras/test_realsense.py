"""RealSense cameras, on the SDK's own software device. What that cannot prove: docs/cameras.md."""

import re
import time

import numpy as np
import pytest
from cameras.stands import FPS, HEIGHT, WIDTH, SoftRealSense, soft_realsense, until

from envs.cameras import capture, realsense
from envs.cameras.base import CAMERAS, CameraLost, StaleFrame, told_modes
from envs.cameras.realsense import RealSenseCamera

pytest.importorskip("pyrealsense2", reason="no pyrealsense2, or no libusb", exc_type=ImportError)


def make(serial, **settings):
    return RealSenseCamera(serial, **({"width": WIDTH, "height": HEIGHT, "fps": FPS} | settings))


@pytest.fixture
def device():
    device = SoftRealSense("130322270735")
    with soft_realsense(device):
        yield device


@pytest.fixture
def camera(device):
    camera = make(device.serial)
    camera.connect()
    yield camera
    camera.close()


def refused(camera):
    with pytest.raises(CameraLost) as error:
        camera.connect()
    assert "\n" not in str(error.value)
    return str(error.value)


def test_the_picture_is_the_devices_red_first(camera):
    rgb = camera.newest(1.0).rgb
    assert rgb.shape == (HEIGHT, WIDTH, 3)
    np.testing.assert_array_equal(rgb[0, 0], [250, 0, 5])
    np.testing.assert_array_equal(rgb[1:, :, 1:], 0)


def test_frames_that_are_kept_neither_change_nor_stop_the_camera(camera):
    kept = [camera.newest(1.0)]
    for _ in range(40):
        kept.append(until(lambda: (f := camera.newest(1.0)) is not kept[-1] and f))
    shown = [int(frame.rgb[1, 1, 0]) for frame in kept]
    assert len(set(shown)) == len(kept)
    assert camera.opened == 1


def test_every_camera_is_listed_with_serial_model_and_modes(device):
    with soft_realsense(device, SoftRealSense("99", ((640, 480, 30),))):
        first, second = CAMERAS.get("realsense").found()
    assert (first.kind, first.address) == ("realsense", "130322270735")
    assert first.about == "Software D435, USB 3.2"
    assert set(first.modes) == {(WIDTH, HEIGHT, FPS), (32, 24, FPS)}
    assert second.modes == ((640, 480, 30),)


def test_a_wrong_serial_is_one_line_that_lists_what_is_there(device):
    told = refused(make("130322270736"))
    assert "no RealSense has serial number '130322270736'" in told
    assert "connected: 130322270735 (Software D435, USB 3.2)" in told


def test_none_connected_is_said_and_what_to_check():
    with soft_realsense():
        told = refused(make("1"))
    assert "connected: none" in told
    assert "cable" in told


def test_without_a_serial_the_only_camera_is_taken_and_of_two_none(device):
    camera = make("")
    camera.connect()
    camera.close()
    other = SoftRealSense("99")
    with soft_realsense(device, other):
        assert "connected: 130322270735" in refused(make(""))


@pytest.mark.parametrize("settings", [{"width": 640}, {"height": 47}, {"fps": 7}])
def test_a_resolution_that_is_not_offered_is_one_line_that_lists_those_that_are(device, settings):
    told = refused(make(device.serial, **settings))
    assert "does not offer" in told
    assert f"32 x 24 at {FPS} Hz; {WIDTH} x {HEIGHT} at {FPS} Hz" in told


def test_a_size_of_0_is_the_cameras_own(device):
    camera = make(device.serial, width=0, height=0, fps=0)
    camera.connect()
    assert camera.newest(1.0).rgb.shape == (HEIGHT, WIDTH, 3)
    assert (camera.width, camera.height, camera.fps) == (WIDTH, HEIGHT, FPS)
    camera.close()


def test_unplugged_it_is_stale_and_replugged_it_shows_again(camera, device, monkeypatch):
    monkeypatch.setattr(realsense, "READ_MS", 200)
    monkeypatch.setattr(capture, "AGAIN_S", (0.02, 0.1))
    device.plugged.clear()
    until(lambda: "no RealSense has serial number" in camera._failure)
    with pytest.raises(StaleFrame, match="connected: none"):
        camera.newest(0.2)
    device.plugged.set()
    until(lambda: not camera._failure)
    assert camera.newest(1.0).rgb[0, 0, 0] == 250
    assert camera.opened >= 2


@pytest.mark.parametrize("hardware_clock", [False, True], ids=["wall clock", "device's clock"])
def test_stamps_are_of_the_hosts_monotonic_clock(hardware_clock):
    device = SoftRealSense("1", hardware_clock=hardware_clock)
    with soft_realsense(device):
        camera = make("1")
        camera.connect()
        stamps = []
        for _ in range(10):
            last = camera.newest(1.0).stamp_mono_ns
            until(lambda last=last: camera.newest(1.0).stamp_mono_ns > last)
            stamps.append(camera.newest(1.0).stamp_mono_ns)
            assert 0 <= time.monotonic_ns() - stamps[-1] < 0.5e9
        assert stamps == sorted(set(stamps))
        camera.close()


def test_depth_comes_aligned_in_metres_when_asked_for():
    device = SoftRealSense("1", depth=True)
    with soft_realsense(device):
        camera = make("1", depth=True)
        camera.connect()
        depth_m = until(lambda: (f := camera.newest(1.0)).depth_m is not None and f).depth_m
        assert depth_m.shape == (HEIGHT, WIDTH)
        assert depth_m.dtype == np.float32
        np.testing.assert_allclose(depth_m[HEIGHT // 2, WIDTH // 2], 1.5, rtol=1e-5)
        camera.close()
        plain = make("1")
        plain.connect()
        assert plain.newest(1.0).depth_m is None
        plain.close()


def test_depth_of_a_camera_without_is_refused(device):
    assert "with depth" in refused(make(device.serial, depth=True))


def test_an_exposure_is_set_and_0_gives_it_back_to_the_camera():
    device = SoftRealSense("1", exposure=(1.0, 10_000.0))
    rs = device.rs
    with soft_realsense(device):
        for exposure_us, automatic in ((8000, 0), (0, 1)):
            camera = make("1", exposure_us=exposure_us)
            camera.connect()
            camera.close()
            assert device.sensor.get_option(rs.option.enable_auto_exposure) == automatic
        assert device.sensor.get_option(rs.option.exposure) == 80  # counts 100 µs
        told = refused(make("1", exposure_us=50))
        assert "exposure_us 50; it offers 100 to 1000000" in told


def test_an_exposure_that_cannot_be_set_is_refused(device):
    assert "its exposure cannot be set" in refused(make(device.serial, exposure_us=8000))


def test_modes_are_told_by_size():
    assert told_modes([(640, 480, 60), (640, 480, 30), (320, 240, 30), (640, 480, 30)]) == (
        "320 x 240 at 30 Hz; 640 x 480 at 30 and 60 Hz"
    )
    assert told_modes([]) == "nothing"


def test_a_missing_library_says_how_to_get_it(monkeypatch):
    import builtins

    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name == "pyrealsense2":
            raise ImportError("libusb-1.0.so.0: cannot open shared object file")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    assert re.search(r"apt-get install libusb-1\.0-0", refused(make("1")))
