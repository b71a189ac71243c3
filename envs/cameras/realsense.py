"""RealSense cameras through pyrealsense2, by serial number.

The same code runs on the SDK's software device, which is what tests use.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from envs.cameras.base import CAMERAS, CameraLost, Found, Frame, told_modes
from envs.cameras.capture import CapturingCamera
from envs.cameras.clock import DeviceClock, from_wall_clock

READ_MS = 1000
"""A device that sends nothing for this long is opened again [ms]."""
RGB_EXPOSURE_UNIT_US = 100
"""Exposure of a separate colour sensor (D415, D435, D455) counts in this unit; that of a depth
sensor that also gives colour (D405) counts in µs. Source: librealsense issues 8243 and 6384, the
makers' answers; firmware may round to values of its own."""


@CAMERAS.register("realsense")
class RealSenseCamera(CapturingCamera):
    """The address is the serial number; empty is the only camera there is."""

    kind = "realsense"
    check = "Check its USB 3 cable and port (`serl cameras list` shows what answers)."
    has_depth = True

    _pipeline: Any = None

    def open(self) -> None:
        rs = _sdk()
        device = self._find(rs)
        modes = _colour_modes(rs, device)
        self._check_modes(modes)
        config = rs.config()
        config.enable_stream(rs.stream.color, self.width, self.height, rs.format.rgb8, self.fps)
        if self.depth:
            config.enable_stream(rs.stream.depth, rs.format.z16, self.fps)
        pipeline = rs.pipeline(_context())
        pipeline.set_device(device)
        self._set_exposure(rs, device)
        try:
            pipeline.start(config)
        except RuntimeError as error:
            raise CameraLost(
                f"{self.name}: it does not start at {self.width} x {self.height}, {self.fps} Hz"
                f"{' with depth' if self.depth else ''}: {error}. {self.check}"
            ) from error
        self._pipeline = pipeline
        self._align = rs.align(rs.stream.color) if self.depth else None
        self._clock = DeviceClock()

    def read(self) -> Frame:
        try:
            frames = self._pipeline.wait_for_frames(READ_MS)
        except RuntimeError as error:
            raise CameraLost(f"{self.name}: it sent no picture for {READ_MS} ms.") from error
        arrival_ns, wall_ns = time.monotonic_ns(), time.time_ns()
        if self._align is not None:
            frames = self._align.process(frames)
        colour = frames.get_color_frame()
        if not colour:
            raise CameraLost(f"{self.name}: it sent no colour picture.")
        device_ns = round(colour.get_timestamp() * 1e6)
        stamp = from_wall_clock(device_ns, wall_ns, arrival_ns)
        if stamp is None:  # of the device's own clock
            stamp = self._clock.stamp_mono_ns(device_ns, arrival_ns)
        depth_m = None
        if self.depth and (depth := frames.get_depth_frame()):
            depth_m = np.asanyarray(depth.get_data()) * np.float32(depth.get_units())
        return Frame(np.array(colour.get_data(), np.uint8), stamp, depth_m)

    def shut(self) -> None:
        pipeline, self._pipeline = self._pipeline, None
        if pipeline is not None:
            pipeline.stop()

    @classmethod
    def found(cls) -> Sequence[Found]:
        rs = _sdk()
        return [
            Found(cls.kind, _serial(rs, device), _about(rs, device), _colour_modes(rs, device))
            for device in connected()
        ]

    def _find(self, rs: Any) -> Any:
        """The device of this serial number."""
        devices = {_serial(rs, device): device for device in connected()}
        there = ", ".join(f"{s} ({_about(rs, d)})" for s, d in devices.items()) or "none"
        if not self.address and len(devices) == 1:
            return next(iter(devices.values()))
        if not self.address:
            why = "says no serial number and there is not exactly one RealSense"
            raise CameraLost(f"{self.name}: {why}; connected: {there}. {self.check}")
        if self.address not in devices:
            raise CameraLost(
                f"{self.name}: no RealSense has serial number {self.address!r}; connected: "
                f"{there}. {self.check}"
            )
        return devices[self.address]

    def _check_modes(self, modes: Sequence[tuple[int, int, int]]) -> None:
        """Refuse what the device does not offer; a 0 becomes what its best offer has there."""
        asked = (self.width, self.height, self.fps)
        fits = [m for m in modes if all(a in (0, own) for a, own in zip(asked, m, strict=True))]
        if not fits:
            raise CameraLost(
                f"{self.name}: it does not offer {self.width} x {self.height} at {self.fps} Hz. "
                f"It offers {told_modes(modes)}. Set width, height and fps to one of these."
            )
        # 640 x 480 at 30 Hz, or the nearest to it, where the choice is free.
        near = min(fits, key=lambda m: (abs(m[0] - 640) + abs(m[1] - 480), abs(m[2] - 30)))
        self.width, self.height, self.fps = near

    def _set_exposure(self, rs: Any, device: Any) -> None:
        """Fixed where one is asked for, else automatic; a camera remembers what it had."""
        sensor = _colour_sensor(rs, device)
        if not self.exposure_us:
            if sensor.supports(rs.option.enable_auto_exposure):
                sensor.set_option(rs.option.enable_auto_exposure, 1)
            return
        if not sensor.supports(rs.option.exposure):
            raise CameraLost(f"{self.name}: its exposure cannot be set; exposure_us must be 0.")
        unit_us = 1 if sensor.is_depth_sensor() else RGB_EXPOSURE_UNIT_US
        limits = sensor.get_option_range(rs.option.exposure)
        low_us, high_us = limits.min * unit_us, limits.max * unit_us
        if not low_us <= self.exposure_us <= high_us:
            raise CameraLost(
                f"{self.name}: exposure_us {self.exposure_us}; it offers {low_us:.0f} to "
                f"{high_us:.0f}, or 0 for automatic."
            )
        if sensor.supports(rs.option.enable_auto_exposure):
            sensor.set_option(rs.option.enable_auto_exposure, 0)
        sensor.set_option(rs.option.exposure, self.exposure_us / unit_us)


def connected() -> list[Any]:
    """The SDK's devices that are plugged in."""
    return list(_context().query_devices())


@lru_cache(maxsize=1)
def _context() -> Any:
    """One for the process: each watches the USB bus by itself."""
    return _sdk().context()


def _sdk() -> Any:
    try:
        import pyrealsense2
    except ImportError as error:
        what = "libusb is missing: apt-get install libusb-1.0-0" if "libusb" in str(error) else ""
        raise CameraLost(
            "RealSense cameras need pyrealsense2. "
            + (what or "Install it: pip install 'serl-suite[cameras]'")
            + "."
        ) from error
    return pyrealsense2


def _serial(rs: Any, device: Any) -> str:
    return device.get_info(rs.camera_info.serial_number)


def _about(rs: Any, device: Any) -> str:
    """Model and USB generation, as "Intel RealSense D435I, USB 3.2"."""
    words = [device.get_info(rs.camera_info.name)]
    if device.supports(rs.camera_info.usb_type_descriptor):
        words.append(f"USB {device.get_info(rs.camera_info.usb_type_descriptor)}")
    return ", ".join(words)


def _colour_sensor(rs: Any, device: Any) -> Any:
    """The sensor that gives the colour picture: a D405 has it in its depth sensor."""
    for sensor in device.query_sensors():
        if any(p.stream_type() == rs.stream.color for p in sensor.get_stream_profiles()):
            return sensor
    raise CameraLost(f"realsense {_serial(rs, device)}: it has no colour stream.")


def _colour_modes(rs: Any, device: Any) -> tuple[tuple[int, int, int], ...]:
    """(width, height, fps) of every RGB8 stream."""
    modes = set()
    for sensor in device.query_sensors():
        for profile in sensor.get_stream_profiles():
            if profile.stream_type() == rs.stream.color and profile.format() == rs.format.rgb8:
                video = profile.as_video_stream_profile()
                modes.add((video.width(), video.height(), profile.fps()))
    return tuple(sorted(modes))
