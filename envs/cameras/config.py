"""Cameras as data: what the agent sees, and which device shows it. Plain Python."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from serl.errors import UserError
from serl.types import ArraySpec


@dataclass(frozen=True, kw_only=True)
class CameraConfig:
    """One logical camera: an image the agent observes, cut from a physical one's frames."""

    name: str
    """Of the observation, as 'front' or 'left/wrist'."""
    source: str = ""
    """The physical camera: a camera of the simulated scene, or a `DeviceConfig.name`; several
    logical cameras may share one. Empty: the same as `name`."""
    height: int = 128
    width: int = 128
    """Size of the observation [pixels]."""
    frame_px: tuple[int, int] | None = None
    """Width and height of the physical frame; None: that of the observation. A simulated camera is
    drawn at this size, a device's must have it."""
    crop: tuple[int, int, int, int] | None = None
    """x, y, width, height of the part that is used, in the physical frame [pixels]."""
    rotate_deg: Literal[0, 90, 180, 270] = 0
    """Counter-clockwise, after the crop."""

    def __post_init__(self) -> None:
        if not (1 <= self.height <= 4096 and 1 <= self.width <= 4096):
            raise UserError(
                f"camera {self.name!r}: {self.width} x {self.height} px; each must be 1 to 4096."
            )
        if self.rotate_deg not in (0, 90, 180, 270):
            raise UserError(
                f"camera {self.name!r}: rotate_deg {self.rotate_deg}; it is 0, 90, 180 or 270."
            )
        if self.crop is not None:
            x, y, width, height = self.crop
            across, down = self.physical_px
            if x < 0 or y < 0 or width < 1 or height < 1 or x + width > across or y + height > down:
                raise UserError(
                    f"camera {self.name!r}: crop x {x}, y {y}, {width} x {height} px reaches "
                    f"outside the frame of {across} x {down} px. Change crop, or frame_px."
                )

    @property
    def physical(self) -> str:
        return self.source or self.name

    @property
    def physical_px(self) -> tuple[int, int]:
        """Width and height of the physical frame."""
        return self.frame_px or (self.width, self.height)

    def array(self) -> ArraySpec:
        """The observation."""
        return ArraySpec(
            name=self.name, shape=(self.height, self.width, 3), dtype="uint8", low=0.0, high=255.0
        )


@dataclass(frozen=True, kw_only=True)
class DeviceConfig:
    """A physical camera on this machine. Placement: not part of what actor and learner compare."""

    name: str
    """What `CameraConfig.source` calls it."""
    kind: str = "realsense"
    """One of envs.cameras."""
    address: str = ""
    """Serial number, /dev/video path or file; empty: the only one there is."""
    width: int = 640
    height: int = 480
    fps: int = 30
    exposure_us: int = 0
    """Fixed exposure [us]; 0 leaves it to the camera."""
    depth: bool = False
    """For `envs.cameras.rig.make_device` alone: an env observes colour, and refuses it."""


def check_cameras(cameras: Sequence[CameraConfig], devices: Sequence[DeviceConfig]) -> None:
    """Refuse names that clash, and sources that no device shows."""
    names = [c.name for c in cameras]
    if len(set(names)) != len(names) or "state" in names or "" in names:
        raise UserError(f"cameras are named {names}; names must differ, and none may be 'state'.")
    known = [d.name for d in devices]
    if len(set(known)) != len(known):
        raise UserError(f"camera devices are named {known}; names must differ.")
    for camera in cameras:
        if devices and camera.physical not in known:
            raise UserError(
                f"camera {camera.name!r} shows {camera.physical!r}, which is no camera device; "
                f"there are {', '.join(known)}. Add it to env.camera_devices."
            )
    for device in devices:
        if device.depth:
            raise UserError(
                f"camera device {device.name!r} asks for depth, and an env observes colour only: "
                "leave depth False."
            )
    sizes = {d.name: (d.width, d.height) for d in devices}
    for camera in cameras:
        have = sizes.get(camera.physical, camera.physical_px)
        if camera.crop is not None and 0 in have:
            raise UserError(
                f"camera {camera.name!r}: its crop is of a frame of {camera.physical_px} px, and "
                f"device {camera.physical!r} leaves its size to the camera: set its width and "
                "height; `serl cameras list` shows what it offers."
            )
        if camera.crop is not None and camera.physical_px != have:
            raise UserError(
                f"camera {camera.name!r}: its crop is of a frame of {camera.physical_px} px, but "
                f"device {camera.physical!r} gives {have}. Set frame_px to that and crop again."
            )


def arm_cameras(prefixes: Sequence[str], px: int = 128) -> tuple[CameraConfig, ...]:
    """The usual set: one view of the table, and one from each arm's wrist."""
    return (
        CameraConfig(name="front", height=px, width=px),
        *(CameraConfig(name=f"{prefix}wrist", height=px, width=px) for prefix in prefixes),
    )
