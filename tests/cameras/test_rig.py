"""All cameras of an env over the devices that show them."""

import time

import numpy as np
import pytest
from cameras.stands import FakeCamera, fake_cameras, until

from envs.cameras import capture
from envs.cameras.base import CameraLost, StaleFrame
from envs.cameras.config import CameraConfig, DeviceConfig, check_cameras
from envs.cameras.rig import CameraRig
from envs.cameras.view import look
from serl.errors import UserError


def device(name, address, **settings):
    settings = {"width": 40, "height": 30, "fps": 100} | settings
    return DeviceConfig(name=name, kind="fake", address=address, **settings)


def camera(name, source="", **settings):
    return CameraConfig(name=name, source=source, width=16, height=12, **settings)


@pytest.fixture
def world(monkeypatch):
    monkeypatch.setattr(capture, "AGAIN_S", (0.02, 0.1))
    with fake_cameras("1", "2") as world:
        yield world


@pytest.fixture
def rig(world):
    rig = CameraRig(
        [camera("front"), camera("wrist")], [device("front", "1"), device("wrist", "2")], 0.5
    )
    yield rig
    rig.close()


def test_every_logical_camera_gets_a_frame_of_its_size(rig):
    frames = rig.frames(time.monotonic_ns())
    assert {name: frame.shape for name, frame in frames.items()} == {
        "front": (12, 16, 3),
        "wrist": (12, 16, 3),
    }
    assert all(frame.dtype == np.uint8 for frame in frames.values())


def test_two_logical_cameras_share_one_physical_that_is_opened_once(world, monkeypatch):
    def half(self):
        frame = real(self)
        frame.rgb[:, 20:] = 200
        return frame

    real = FakeCamera.read
    monkeypatch.setattr(FakeCamera, "read", half)
    views = [
        camera("left", "side", frame_px=(40, 30), crop=(0, 0, 20, 30)),
        camera("right", "side", frame_px=(40, 30), crop=(20, 0, 20, 30), rotate_deg=180),
    ]
    rig = CameraRig(views, [device("side", "1")])
    frames = rig.frames(time.monotonic_ns())
    assert (frames["right"] == 200).all()
    assert len(np.unique(frames["left"])) == 1, "both are of one frame"
    assert world.opened == {"1": 1}
    rig.close()
    assert world.now_open == {"1": 0}


def test_a_device_that_no_camera_shows_stays_closed(world):
    rig = CameraRig([camera("front")], [device("front", "1"), device("spare", "2")])
    assert world.opened == {"1": 1}
    rig.close()


def test_the_same_frame_gives_the_same_view_as_the_pure_function(rig):
    config = camera("front")
    shown = rig.frames(time.monotonic_ns())["front"]
    frame = np.full((30, 40, 3), shown[0, 0, 0], np.uint8)
    np.testing.assert_array_equal(look(frame, config), shown)


def test_skew_is_how_much_older_the_frame_is_than_the_state(rig, world):
    now = time.monotonic_ns()
    rig.frames(now + 30_000_000)
    metrics = rig.metrics()
    for name in ("front", "wrist"):
        assert 0.02 < metrics[f"camera/{name}/skew_s"] < 0.6
        assert metrics[f"camera/{name}/skew_max_s"] >= metrics[f"camera/{name}/skew_s"]
        assert metrics[f"camera/{name}/reconnects"] == 0
    assert "camera/front/skew_s" not in rig.metrics(), "each frame counts once"


def test_an_unplugged_camera_is_named_and_a_replugged_one_ends_the_trouble(rig, world):
    assert rig.trouble() == ""
    world.plugged.discard("2")
    told = until(rig.trouble)
    assert told.startswith("wrist (fake 2): no frame for")
    assert "Check the fake's cable." in told
    assert "front" not in told
    with pytest.raises(StaleFrame, match=r"wrist \(fake 2\): no frame"):
        rig.frames(time.monotonic_ns())
    world.plugged.add("2")
    until(lambda: not rig.trouble())
    assert set(rig.frames(time.monotonic_ns())) == {"front", "wrist"}
    assert rig.metrics()["camera/wrist/reconnects"] == 1


def test_all_that_are_lost_are_told_at_once(rig, world):
    world.plugged.clear()
    until(lambda: "wrist" in rig.trouble() and "front" in rig.trouble())


def test_one_that_is_not_there_is_refused_and_the_others_are_closed(world):
    with pytest.raises(CameraLost, match=r"wrist \(fake 9\): nothing answers at '9'|fake 9: noth"):
        CameraRig([camera("front"), camera("wrist")], [device("front", "1"), device("wrist", "9")])
    assert world.now_open == {"1": 0}


def test_one_device_under_two_names_is_refused(world):
    with pytest.raises(UserError, match="a device is opened once"):
        CameraRig([camera("a"), camera("b")], [device("a", "1"), device("b", "1")])


@pytest.mark.parametrize(
    ("kind", "one", "other"),
    [
        ("opencv", "", "0"),
        ("opencv", "0", "/dev/video0"),
        ("opencv", "LINK", "/dev/video0"),
        ("realsense", "", "123"),
    ],
)
def test_one_device_by_two_addresses_is_refused(tmp_path, kind, one, other):
    link = tmp_path / "usb-camera-index0"
    link.symlink_to("/dev/video0")
    devices = [
        DeviceConfig(name="a", kind=kind, address=str(link) if one == "LINK" else one),
        DeviceConfig(name="b", kind=kind, address=other),
    ]
    with pytest.raises(UserError, match=r"'a' and 'b' are both .* a device is opened once"):
        CameraRig([camera("a"), camera("b")], devices)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"width": 0, "height": 0}, "leaves its size to the camera: set its width and height"),
        ({"depth": True}, "asks for depth, and an env observes colour only"),
    ],
)
def test_a_device_that_an_env_cannot_use_is_refused_in_one_line(settings, told):
    seen = camera("a", frame_px=(40, 30), crop=(0, 0, 20, 30))
    with pytest.raises(UserError, match=told):
        check_cameras([seen], [device("a", "1", **settings)])


def test_an_unknown_kind_names_those_there_are():
    with pytest.raises(UserError, match=r"no camera named 'realsens'\. Did you mean 'realsense'"):
        CameraRig([camera("a")], [DeviceConfig(name="a", kind="realsens", address="1")])
