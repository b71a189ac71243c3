"""The thread behind every real camera, on a camera that can be unplugged."""

import threading
import time
from itertools import pairwise

import pytest
from cameras.stands import FakeCamera, fake_cameras, until

from envs.cameras import capture
from envs.cameras.base import CameraLost, StaleFrame
from serl.errors import UserError


@pytest.fixture
def world(monkeypatch):
    monkeypatch.setattr(capture, "AGAIN_S", (0.02, 0.1))
    with fake_cameras("a") as world:
        yield world


@pytest.fixture
def camera(world):
    camera = FakeCamera("a", width=8, height=6, fps=200)
    camera.connect()
    yield camera
    camera.close()


def shown(camera, limit_s=1.0):
    return int(camera.newest(limit_s).rgb[0, 0, 0])


def test_who_is_late_gets_the_newest_frame_and_never_a_queue(camera, world):
    time.sleep(0.15)
    taken = world.taken["a"]
    assert shown(camera) >= taken > 3
    assert time.monotonic_ns() - camera.newest(1.0).stamp_mono_ns < 0.5e9


def test_a_stale_frame_raises_and_says_how_old_and_what_to_check(camera, world):
    world.plugged.clear()
    time.sleep(0.3)
    with pytest.raises(StaleFrame) as error:
        camera.newest(0.2)
    told = str(error.value)
    assert told.startswith("fake a: no frame for 0.")
    assert "(limit 0.20 s)" in told
    assert told.count("nothing answers at 'a'") == 1
    assert told.count("Check the fake's cable.") == 1
    assert told.endswith("Trying again by itself.")
    assert "\n" not in told


def test_a_frame_within_the_limit_is_given_even_while_the_device_is_lost(camera, world):
    world.plugged.clear()
    time.sleep(0.1)
    assert camera.newest(10.0).rgb.shape == (6, 8, 3)


def test_it_reconnects_by_itself(camera, world):
    world.plugged.clear()
    until(lambda: camera._failure)
    before = shown(camera, 10.0)
    world.plugged.add("a")
    until(lambda: shown(camera, 10.0) > before)
    assert camera.newest(0.5)
    assert camera.opened == world.opened["a"] == 2
    assert world.now_open["a"] == 1, "the lost one was shut before it was opened again"


def test_pauses_between_attempts_grow(camera, world, monkeypatch):
    attempts = []

    def refuse(self):
        attempts.append(time.monotonic())
        raise CameraLost("gone")

    monkeypatch.setattr(FakeCamera, "open", refuse)
    world.plugged.clear()
    until(lambda: len(attempts) >= 4)
    pauses = [b - a for a, b in pairwise(attempts[:4])]
    assert all(a >= b for a, b in zip(pauses, (0.04, 0.08, 0.1), strict=True))  # 0.02 was first


def test_stamps_only_grow_whatever_the_device_says(camera, world):
    now = time.monotonic_ns()
    frame = camera.newest(1.0)
    world.stamps_ns["a"] = [now - 10**9, now - 2 * 10**9, now + 10**12, now - 1]
    last, seen = frame.stamp_mono_ns, 0
    end_s = time.monotonic() + 0.3
    while time.monotonic() < end_s:
        stamp = camera.newest(1.0).stamp_mono_ns
        assert last <= stamp <= time.monotonic_ns()
        seen += stamp > last
        last = stamp
    assert seen > 2


def test_a_device_that_repeats_its_last_frame_is_stale(camera, world):
    same = camera.newest(1.0).stamp_mono_ns
    world.stamps_ns["a"] = [same] * 1000
    time.sleep(0.3)
    with pytest.raises(StaleFrame, match="it is open but sends nothing"):
        camera.newest(0.2)


@pytest.mark.parametrize(
    "error", [RuntimeError("the driver's own"), KeyError("a bug"), SystemExit("a library's exit")]
)
def test_no_thread_dies_silently(camera, world, error):
    before = camera._thread
    world.breaks["a"] = error
    until(lambda: camera.opened == 2)
    until(lambda: not camera._failure)
    assert camera.newest(1.0)
    assert camera._thread is before
    assert before.is_alive()


def test_what_a_driver_raised_is_told(camera, world, monkeypatch):
    def broken(self):
        raise RuntimeError("the driver's\nown words")

    monkeypatch.setattr(FakeCamera, "read", broken)
    until(lambda: camera._failure)
    time.sleep(0.05)
    with pytest.raises(StaleFrame, match="RuntimeError: the driver's own words"):
        camera.newest(0.02)


def test_a_frame_of_another_size_is_told_and_not_given(camera, world, monkeypatch):
    camera.height = 7  # what was asked for, while the device goes on with 6
    real = FakeCamera.read

    def small(self):
        frame = real(self)
        return type(frame)(frame.rgb[:6], frame.stamp_mono_ns)

    monkeypatch.setattr(FakeCamera, "read", small)
    until(lambda: "uint8 (6, 8, 3), not uint8 (7, 8, 3)" in camera._failure)


def test_what_is_not_there_is_refused_at_once_and_leaves_nothing_behind(world):
    camera = FakeCamera("b", width=8, height=6, fps=200)
    with pytest.raises(CameraLost, match="nothing answers at 'b'"):
        camera.connect()
    assert not any(t.name == "camera fake b" for t in threading.enumerate())
    with pytest.raises(StaleFrame, match="not connected"):
        camera.newest(1.0)


def test_a_device_that_opens_and_sends_nothing_is_refused(world, monkeypatch):
    monkeypatch.setattr(capture, "FIRST_FRAME_S", 0.2)
    hung = threading.Event()
    monkeypatch.setattr(FakeCamera, "read", lambda self: hung.wait(20) or 1 / 0)
    monkeypatch.setattr(capture, "CLOSE_S", 0.1)
    camera = FakeCamera("a", width=8, height=6, fps=200)
    begun = time.monotonic()
    with pytest.raises(CameraLost, match="it opened but sent no frame"):
        camera.connect()
    assert time.monotonic() - begun < 3.0
    hung.set()


def test_a_driver_that_hangs_neither_blocks_who_asks_nor_close(camera, monkeypatch):
    hung = threading.Event()
    monkeypatch.setattr(capture, "CLOSE_S", 0.1)
    monkeypatch.setattr(FakeCamera, "read", lambda self: hung.wait(20) or 1 / 0)
    time.sleep(0.3)
    begun = time.monotonic()
    with pytest.raises(StaleFrame, match="it is open but sends nothing"):
        camera.newest(0.1)
    camera.close()
    assert time.monotonic() - begun < 1.0
    hung.set()
    camera._left.join(5)


def test_a_driver_that_comes_back_late_does_not_shut_a_device_opened_since(
    camera, world, monkeypatch
):
    hung, read = threading.Event(), FakeCamera.read
    monkeypatch.setattr(capture, "CLOSE_S", 0.1)
    monkeypatch.setattr(FakeCamera, "read", lambda self: hung.wait(20) and read(self))
    time.sleep(0.1)
    camera.close()
    with pytest.raises(CameraLost, match="has not returned since it was closed"):
        camera.connect()
    hung.set()
    until(lambda: world.now_open["a"] == 0)
    until(lambda: not camera._left.is_alive())
    camera.connect()
    assert camera.newest(1.0)
    assert world.now_open["a"] == 1


def test_frames_cannot_be_written_to(camera):
    with pytest.raises(ValueError, match="read-only"):
        camera.newest(1.0).rgb[0] = 0


def test_closing_ends_the_thread_and_shuts_the_device(camera, world):
    thread = camera._thread
    camera.close()
    camera.close()
    assert not thread.is_alive()
    assert world.now_open["a"] == 0
    camera.connect()
    assert camera.newest(1.0)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"width": -1}, "width -1"),
        ({"fps": 100_000}, "fps 100000"),
        ({"exposure_us": -5}, "exposure_us -5"),
        ({"depth": True}, "fake cameras have none"),
    ],
)
def test_settings_that_cannot_be_are_refused_in_one_line(settings, told):
    with pytest.raises(UserError, match=told):
        FakeCamera("a", **settings)
