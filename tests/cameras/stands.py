"""Cameras without hardware, that can be unplugged: of every registered kind, and one of our own.

A stand is a context manager that gives `Stand`: how to make the camera, and how to pull its plug.
"""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from envs.cameras import realsense, v4l2
from envs.cameras.base import CAMERAS, Camera, CameraLost, Found, Frame
from envs.cameras.capture import CapturingCamera

WIDTH, HEIGHT, FPS = 64, 48, 50


@dataclass
class Stand:
    kind: str
    address: str
    unplug: Callable[[], None] | None = None
    """None: it cannot be unplugged."""
    replug: Callable[[], None] | None = None

    def make(self, **settings: Any) -> Camera:
        settings = {"width": WIDTH, "height": HEIGHT, "fps": FPS} | settings
        return CAMERAS.get(self.kind)(self.address, **settings)


def until(what: Callable[[], Any], limit_s: float = 10.0) -> Any:
    """Poll until `what()` holds; its value."""
    end_s = time.monotonic() + limit_s
    while not (value := what()):
        assert time.monotonic() < end_s, "it did not happen"
        time.sleep(0.005)
    return value


@dataclass
class World:
    """What fake cameras see, by address. One that is not here is not plugged in."""

    plugged: set[str] = field(default_factory=set)
    opened: dict[str, int] = field(default_factory=dict)
    now_open: dict[str, int] = field(default_factory=dict)
    taken: dict[str, int] = field(default_factory=dict)
    stamps_ns: dict[str, list[int]] = field(default_factory=dict)
    """Stamps that the next frames have, instead of the time."""
    breaks: dict[str, BaseException] = field(default_factory=dict)
    """What the next read of a camera raises."""


class FakeCamera(CapturingCamera):
    """Its frames show how many have been taken: the first is all 1, the next all 2."""

    kind = "fake"
    check = "Check the fake's cable."
    world: World

    def open(self) -> None:
        if self.address not in self.world.plugged:
            raise CameraLost(f"{self.name}: nothing answers at {self.address!r}.")
        for count in (self.world.opened, self.world.now_open):
            count[self.address] = count.get(self.address, 0) + 1
        self.is_open = True

    def read(self) -> Frame:
        time.sleep(1 / self.fps)
        if self.address not in self.world.plugged:
            raise CameraLost(f"{self.name}: it was unplugged.")
        if self.address in self.world.breaks:
            raise self.world.breaks.pop(self.address)
        count = self.world.taken[self.address] = self.world.taken.get(self.address, 0) + 1
        rgb = np.full((self.height, self.width, 3), count % 256, np.uint8)
        given = self.world.stamps_ns.get(self.address)
        return Frame(rgb, given.pop(0) if given else time.monotonic_ns())

    def shut(self) -> None:
        if getattr(self, "is_open", False):
            self.world.now_open[self.address] -= 1
        self.is_open = False

    @classmethod
    def found(cls) -> list[Found]:
        return [Found("fake", address) for address in sorted(cls.world.plugged)]


@contextmanager
def fake_cameras(*addresses: str) -> Iterator[World]:
    """The kind "fake" among the registered ones, with these plugged in."""
    CAMERAS.discover()
    FakeCamera.world = World(set(addresses))
    with mock.patch.dict(CAMERAS._leaves, {"fake": FakeCamera}):
        yield FakeCamera.world


@contextmanager
def fake_stand() -> Iterator[Stand]:
    with fake_cameras("a") as world:
        yield Stand("fake", "a", lambda: world.plugged.discard("a"), lambda: world.plugged.add("a"))


class SoftRealSense:
    """The SDK's own software device, with frames put in by a thread while it is plugged in."""

    def __init__(
        self,
        serial: str,
        modes: tuple[tuple[int, int, int], ...] = ((WIDTH, HEIGHT, FPS), (32, 24, FPS)),
        *,
        depth: bool = False,
        exposure: tuple[float, float] | None = None,
        hardware_clock: bool = False,
    ) -> None:
        import pyrealsense2 as rs

        self.rs, self.serial, self.modes = rs, serial, modes
        self.domain = (
            rs.timestamp_domain.hardware_clock
            if hardware_clock
            else rs.timestamp_domain.system_time
        )
        self.device = rs.software_device()
        self.device.register_info(rs.camera_info.serial_number, serial)
        self.device.register_info(rs.camera_info.name, "Software D435")
        self.device.register_info(rs.camera_info.usb_type_descriptor, "3.2")
        self.sensor = self.device.add_sensor("RGB Camera")
        self.profiles = {
            mode: self.sensor.add_video_stream(self._stream(i, *mode), i == 0)
            for i, mode in enumerate(modes)
        }
        if exposure is not None:
            limits = rs.option_range()
            limits.min, limits.max, limits.step, limits.default = *exposure, 1.0, exposure[0]
            self.sensor.add_option(rs.option.exposure, limits, True)
            switch = rs.option_range()
            switch.min, switch.max, switch.step, switch.default = 0.0, 1.0, 1.0, 1.0
            self.sensor.add_option(rs.option.enable_auto_exposure, switch, True)
        self.depth_sensor = None
        if depth:
            self.depth_sensor = self.device.add_sensor("Stereo Module")
            self.depth_sensor.add_read_only_option(rs.option.depth_units, 0.001)
            stream = self._stream(len(modes), *modes[0])
            stream.type, stream.fmt, stream.bpp = rs.stream.depth, rs.format.z16, 2
            self.depth_profile = self.depth_sensor.add_video_stream(stream, True)
            here = rs.extrinsics()
            here.rotation, here.translation = [1, 0, 0, 0, 1, 0, 0, 0, 1], [0, 0, 0]
            for profile in self.profiles.values():
                self.depth_profile.register_extrinsics_to(profile, here)
        self.plugged = threading.Event()
        self.plugged.set()
        self.stopped = threading.Event()
        self.count = 0
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self.stopped.set()
        self._thread.join()

    def _stream(self, uid: int, width: int, height: int, fps: int) -> Any:
        rs = self.rs
        stream, lens = rs.video_stream(), rs.intrinsics()
        lens.width, lens.height, lens.model = width, height, rs.distortion.none
        lens.fx = lens.fy = float(width)
        lens.ppx, lens.ppy = width / 2, height / 2
        stream.type, stream.fmt, stream.bpp = rs.stream.color, rs.format.rgb8, 3
        stream.index, stream.uid, stream.intrinsics = 0, uid + 1, lens
        stream.width, stream.height, stream.fps = width, height, fps
        return stream

    def _run(self) -> None:
        while not self.stopped.wait(1 / FPS):
            if not self.plugged.is_set():
                continue
            self.count += 1
            for (width, height, _), profile in self.profiles.items():
                rgb = np.zeros((height, width, 3), np.uint8)
                rgb[..., 0] = self.count % 256
                rgb[0, 0] = (250, 0, 5)  # red first
                self._put(self.sensor, profile, rgb)
            if self.depth_sensor is not None:
                width, height, _ = self.modes[0]
                far = np.full((height, width), 1500, np.uint16)
                self._put(self.depth_sensor, self.depth_profile, far)

    def _put(self, sensor: Any, profile: Any, pixels: np.ndarray) -> None:
        clock_ms = time.monotonic() * 1e3 - 5e6
        hardware = self.domain == self.rs.timestamp_domain.hardware_clock
        frame = self.rs.software_video_frame()
        frame.bpp = pixels.strides[1]
        frame.stride = pixels.strides[0]
        frame.timestamp = clock_ms if hardware else time.time() * 1e3
        frame.domain, frame.frame_number = self.domain, self.count
        frame.profile, frame.pixels = profile.as_video_stream_profile(), pixels
        if pixels.dtype == np.uint16:
            frame.depth_units = 0.001
        sensor.on_video_frame(frame)


@contextmanager
def soft_realsense(*devices: SoftRealSense) -> Iterator[None]:
    """These are the RealSense cameras there are, while they are plugged in."""

    def connected() -> list[Any]:
        return [d.device for d in devices if d.plugged.is_set()]

    with mock.patch.object(realsense, "connected", connected):
        try:
            yield
        finally:
            for device in devices:
                device.close()


@contextmanager
def realsense_stand() -> Iterator[Stand]:
    device = SoftRealSense("130322270735")
    with soft_realsense(device):
        yield Stand("realsense", device.serial, device.plugged.clear, device.plugged.set)


def write_video(path: Any, frames: int = 10, width: int = WIDTH, height: int = HEIGHT) -> None:
    """A short mp4 that gets brighter."""
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=FPS)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for i in range(frames):
            rgb = np.full((height, width, 3), 20 + i * 20, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(rgb, format="rgb24")))
        container.mux(stream.encode())


@contextmanager
def video_stand() -> Iterator[Stand]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "film.mp4"
        write_video(path)
        yield Stand("video", str(path))


class FakeCapture:
    """cv2.VideoCapture of a camera with one mode; its pictures are 20 ms old."""

    plugged = True

    def __init__(self, address: int | str, backend: int) -> None:
        import cv2

        self.values: dict[int, float] = {
            cv2.CAP_PROP_FRAME_WIDTH: WIDTH,
            cv2.CAP_PROP_FRAME_HEIGHT: HEIGHT,
            cv2.CAP_PROP_FPS: FPS,
        }
        self.position, self.exposure = cv2.CAP_PROP_POS_MSEC, cv2.CAP_PROP_EXPOSURE
        self.fixed = set(self.values)
        self.age_s = 0.02

    def isOpened(self) -> bool:
        return self.plugged

    def set(self, prop: int, value: float) -> bool:
        if prop in self.fixed or (prop == self.exposure and value < 1):
            return False
        self.values[prop] = value
        return True

    def get(self, prop: int) -> float:
        if prop == self.position:
            return (self.taken_s - self.age_s) * 1e3
        return self.values.get(prop, 0.0)

    def grab(self) -> bool:
        time.sleep(1 / FPS)
        self.taken_s = time.monotonic()
        return self.plugged

    def retrieve(self) -> tuple[bool, np.ndarray]:
        bgr = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
        bgr[0, 0] = (5, 0, 250)
        return True, bgr

    def release(self) -> None:
        self.plugged = False


@contextmanager
def opencv_stand() -> Iterator[Stand]:
    with (
        mock.patch("cv2.VideoCapture", FakeCapture),
        mock.patch.object(v4l2, "found", list),
        mock.patch.object(FakeCapture, "plugged", True),
    ):
        yield Stand(
            "opencv",
            "/dev/video0",
            lambda: setattr(FakeCapture, "plugged", False),
            lambda: setattr(FakeCapture, "plugged", True),
        )


@contextmanager
def file_stand(kind: str) -> Iterator[Stand]:
    """The address is a picture (PPM) that is replaced FPS times a second; unplugged it is gone."""
    plugged, stopped, lock = threading.Event(), threading.Event(), threading.Lock()
    with tempfile.TemporaryDirectory() as folder:
        path, fresh = Path(folder) / "newest.ppm", Path(folder) / "fresh"

        def replace() -> None:
            while not stopped.wait(1 / FPS):
                with lock:
                    if plugged.is_set():
                        fresh.write_bytes(b"P6\n%d %d\n255\n" % (WIDTH, HEIGHT))
                        with fresh.open("ab") as file:
                            file.write(bytes([250, 0, 5]) * (WIDTH * HEIGHT))
                        fresh.replace(path)

        def unplug() -> None:
            with lock:
                plugged.clear()
                path.unlink(missing_ok=True)

        thread = threading.Thread(target=replace, daemon=True)
        thread.start()
        plugged.set()
        until(path.exists)
        try:
            yield Stand(kind, str(path), unplug, plugged.set)
        finally:
            stopped.set()
            thread.join()


STANDS = {
    "fake": fake_stand,
    "opencv": opencv_stand,
    "realsense": realsense_stand,
    "video": video_stand,
}
STANDS |= {name: partial(file_stand, name) for name in CAMERAS if name not in STANDS}
"""One for every registered kind; the contract test asks for them. A kind without one of its own is
given a file that is replaced."""
