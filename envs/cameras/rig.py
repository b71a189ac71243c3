"""All cameras of an env: each device opened once, however many logical cameras show it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from envs.cameras.base import CAMERAS, Camera, Frame, StaleFrame
from envs.cameras.config import CameraConfig, DeviceConfig
from envs.cameras.view import look
from serl.errors import UserError


def make_device(device: DeviceConfig) -> Camera:
    """The physical camera of a config, not yet connected; messages call it by the config's name."""
    camera = CAMERAS.get(device.kind)(
        device.address,
        width=device.width,
        height=device.height,
        fps=device.fps,
        exposure_us=device.exposure_us,
        depth=device.depth,
    )
    camera.name = f"{device.name} ({camera.name})"
    return camera


class CameraRig:
    """The real cameras of an env, opened here.

    Args:
        cameras: what the agent sees.
        devices: what is connected; one that no logical camera shows stays closed.
        limit_s: a frame older than this is none.

    Raises:
        CameraLost: a device is not there, or does not offer what is asked for.
    """

    def __init__(
        self, cameras: Sequence[CameraConfig], devices: Sequence[DeviceConfig], limit_s: float = 0.2
    ) -> None:
        self._cameras = tuple(cameras)
        self._limit_s = limit_s
        used = {camera.physical for camera in cameras}
        needed = [device for device in devices if device.name in used]
        _check_apart(needed)
        self._skews_s: dict[str, list[float]] = {device.name: [] for device in needed}
        self._devices: dict[str, Camera] = {}
        try:
            for device in needed:
                camera = make_device(device)
                camera.connect()
                self._devices[device.name] = camera
        except BaseException:
            self.close()
            raise

    def frames(self, stamp_mono_ns: int) -> dict[str, NDArray[np.uint8]]:
        """What each logical camera shows now: {name: (height, width, 3)}.

        Args:
            stamp_mono_ns: when the state was measured that the frames are stored with [ns].

        Raises:
            StaleFrame: one or more devices show nothing; names each, and what to check.
        """
        frames, lost = self._newest()
        if lost:
            raise StaleFrame(" ".join(lost))
        for name, frame in frames.items():
            self._skews_s[name].append((stamp_mono_ns - frame.stamp_mono_ns) / 1e9)
        return {camera.name: look(frames[camera.physical].rgb, camera) for camera in self._cameras}

    def metrics(self) -> dict[str, float]:
        """Since the last call, of each device: how much older its frames were than the states
        they go with, mean and largest distance [s]; and how often it was opened again in all."""
        out: dict[str, float] = {}
        for name, camera in self._devices.items():
            skews, self._skews_s[name] = self._skews_s[name], []
            if skews:
                out[f"camera/{name}/skew_s"] = float(np.mean(skews))
                out[f"camera/{name}/skew_max_s"] = float(np.max(np.abs(skews)))
            out[f"camera/{name}/reconnects"] = float(max(0, getattr(camera, "opened", 1) - 1))
        return out

    def trouble(self) -> str:
        """Why there are no fresh frames and what to check; empty while there are."""
        return " ".join(self._newest()[1])

    def close(self) -> None:
        for camera in self._devices.values():
            camera.close()

    def _newest(self) -> tuple[dict[str, Frame], list[str]]:
        """The newest frame of each device, and what those say that have none."""
        frames, lost = {}, []
        for name, camera in self._devices.items():
            try:
                frames[name] = camera.newest(self._limit_s)
            except StaleFrame as error:
                lost.append(str(error))
        return frames, lost


def _check_apart(devices: Sequence[DeviceConfig]) -> None:
    """Refuse two names for one device: it can be opened only once."""
    for device, other in combinations(devices, 2):
        if device.kind == other.kind != "video" and _may_be_one(device, other):
            raise UserError(
                f"camera devices {device.name!r} and {other.name!r} are both {device.kind} "
                f"{device.address or other.address or '(the only one)'}; a device is opened once. "
                f"Let several cameras show it instead: source = {device.name!r}."
            )


def _may_be_one(device: DeviceConfig, other: DeviceConfig) -> bool:
    """Whether two addresses of a kind name one device: '0', '/dev/video0' and the link to it in
    /dev/v4l/by-id do; '' is the only one there is (of USB cameras, the first)."""
    if device.kind == "opencv":
        return _node(device.address) == _node(other.address)
    return device.address == other.address or "" in (device.address, other.address)


def _node(address: str) -> str:
    """What an index or a path of V4L2 stands for."""
    is_index = not address.strip("0123456789")
    return os.path.realpath(f"/dev/video{int(address or 0)}" if is_index else address)
