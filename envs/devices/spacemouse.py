"""A SpaceMouse, by pyspacemouse: any model it knows, told apart by path, serial number or port.

The puck's axes are the operator's: push it away, left or up and the tool goes there; tilt and turn
it and the tool tilts and turns alike. A person who stands across the table, as SERL's do, sets the
operator's yaw to 180 degrees: then the axes are SERL's (-y, x, z, -roll, -pitch, -yaw).
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from envs.devices.base import DEVICES, DeviceLost, Found, Twist, eased
from envs.devices.reader import ThreadedDevice
from serl.errors import UserError

LAPSE_S = 0.5
"""A deflected puck reports every 8 to 16 ms; after this silence it counts as let go [s]."""

MULTI_AXIS = (1, 8)
"""HID usage page and usage of a puck; a receiver also has interfaces that are none."""

UDEV = (
    'KERNEL=="hidraw*", KERNELS=="*:256F:*|*:046D:C6*", MODE="0660", GROUP="plugdev", '
    'TAG+="uaccess"'
)
"""Access for whoever sits at the machine, and for the group plugdev."""
UDEV_FILE = "/etc/udev/rules.d/70-spacemouse.rules"


@dataclass(frozen=True, kw_only=True)
class SpaceMouseConfig:
    """One puck."""

    kind: ClassVar[str] = "spacemouse"
    words: ClassVar[Mapping[str, str]] = {
        "btn_3": "success",
        "btn_4": "failure",
        "menu": "pause",
        "esc": "stop",
        "ctrl": "rerecord",
        "alt": "ready",
        "fit": "arm",
        "shift": "hold",
        "rotation": "take",
    }
    gestures: ClassVar[Mapping[str, str]] = {
        "x": "push the puck away from you",
        "y": "push the puck to the left",
        "z": "pull the puck up",
        "rx": "tilt the puck to the right",
        "ry": "tilt the puck away from you",
        "rz": "turn the puck to the left (counter-clockwise, seen from above)",
        "close": "press the left button",
        "open": "press the right button",
    }

    address: str = ""
    """A path (/dev/hidraw3, or a link to it), a serial number, or a USB port (1-2.3); empty: the
    only one there is."""
    deadband: float = 0.05
    """Share of the full scale that counts as rest, on each axis."""
    close: str = ""
    open: str = ""
    """Buttons that close and open the gripper; empty: left and right, or 1 and 2, or the model's
    first two."""

    def make(self) -> SpaceMouse:
        return SpaceMouse(self)

    @classmethod
    def found(cls) -> Sequence[Found]:
        return [Found(mouse.path, _about(mouse)) for mouse in _mice()]


class SpaceMouse(ThreadedDevice):
    """A puck and its buttons, named as its model's in lower case: 'left', 'btn_1', 'menu'."""

    kind = "spacemouse"
    check = "Check its cable, or its charge and receiver."

    def __init__(self, config: SpaceMouseConfig) -> None:
        super().__init__(config.address, lapse_s=LAPSE_S)
        if not 0.0 <= config.deadband < 1.0:
            raise UserError(f"spacemouse: deadband {config.deadband}; it must be 0 to below 1.")
        self._config = config
        self._mouse: Any = None
        self._handle: Any = None
        self._buttons: tuple[str, ...] = ()
        self._grips: dict[str, float] = {}

    def connect(self) -> None:
        hid = _chosen(_mice(), self.address)
        from pyspacemouse import SpaceMouseDevice

        _refuse_no_permission(hid)
        spec = _specs()[hid.vendor_id, hid.product_id]
        self._handle = _Patient(hid)
        self._mouse = SpaceMouseDevice(spec, self._handle)
        self._mouse.open()
        self._buttons = tuple(name.lower() for name in spec.button_names)
        self._grips = _grips(self._config, self._buttons, spec.name)

    def hear(self, wait_s: float) -> None:
        self._handle.wait_ms = round(1000 * wait_s)
        state = self._mouse.read()  # one report, or none within wait_s
        if not self._handle.heard:
            return
        held = {name for name, down in zip(self._buttons, state.buttons, strict=True) if down}
        grips = [v for name, v in self._grips.items() if name in held - self.reserved]
        self.latch.put(
            time.monotonic_ns(),
            twist=operator_twist(state, self._config.deadband),
            gripper=grips[0] if grips else None,
            held=held,
        )

    def shut(self) -> None:
        if self._mouse is not None:
            self._mouse.close()
        self._mouse = None


def operator_twist(state: Any, deadband: float) -> Twist:
    """From pyspacemouse's state, whose x is to the right, y away, z up, roll to the right, pitch
    away and yaw clockwise, to the operator's axes."""
    raw = (state.y, -state.x, state.z, state.roll, state.pitch, -state.yaw)
    x, y, z, rx, ry, rz = (eased(value, deadband) for value in raw)
    return (x, y, z, rx, ry, rz)


class _Patient:
    """A HID handle whose `read` waits for a report, and says whether one came.

    pyspacemouse's own polls: it would either burn a core, or fall behind the reports of a fast
    puck, one per read.
    """

    def __init__(self, hid: Any) -> None:
        self._hid = hid
        self.wait_ms = 0
        self.heard = False

    def read(self, size: int) -> Any:
        report = self._hid.read(size, timeout=self.wait_ms)
        self.heard = bool(report)
        return report

    def __getattr__(self, name: str) -> Any:
        return getattr(self._hid, name)


def _specs() -> dict[tuple[int, int], Any]:
    """The models pyspacemouse knows, by vendor and product."""
    from pyspacemouse import get_device_specs

    return {spec.hid_id: spec for spec in get_device_specs().values()}


def _mice() -> list[Any]:
    """Pucks that are plugged in, by path. Raises UserError when nothing can look for them."""
    try:
        known = _specs()
        every = _enumerate()
    except ImportError as error:
        raise UserError(
            f"spacemouse: {error.name or error} is not installed; "
            "`pip install 'serl-suite[devices]'` brings it."
        ) from error
    except (AttributeError, OSError) as error:  # easyhid without its library
        raise UserError(
            "spacemouse: the library hidapi is not installed; apt-get install libhidapi-hidraw0."
        ) from error
    mice = {
        hid.path: hid
        for hid in every
        if (hid.vendor_id, hid.product_id) in known
        and (hid.usage_page, hid.usage) in (MULTI_AXIS, (0, 0))
    }
    return [mice[path] for path in sorted(mice)]


def _enumerate() -> list[Any]:
    """Every HID device; a test has its own."""
    from easyhid import Enumeration

    return list(Enumeration().find())


def _chosen(mice: list[Any], address: str) -> Any:
    """The one that is meant. Raises DeviceLost in one line that lists what there is."""
    there = "; ".join(f"{mouse.path} ({_about(mouse)})" for mouse in mice)
    if not mice:
        raise DeviceLost(
            "spacemouse: none is plugged in. Check its cable, or its charge and receiver."
        )
    meant = [mouse for mouse in mice if _is_called(mouse, address)]
    if not meant:
        raise DeviceLost(f"spacemouse: none at {address!r}; there is {there}.")
    if len(meant) > 1:
        raise DeviceLost(
            f"spacemouse: {len(meant)} are plugged in: {there}. Say which, as "
            f"spacemouse:{meant[0].path}."
        )
    return meant[0]


def _is_called(mouse: Any, address: str) -> bool:
    """By its path or a link to it, its serial number, or its port; '' calls any."""
    if address.startswith("/"):
        return os.path.realpath(address) == os.path.realpath(mouse.path)
    return address in ("", mouse.path, mouse.serial_number, _port(mouse))


def _about(mouse: Any) -> str:
    spec = _specs()[mouse.vendor_id, mouse.product_id]
    serial = f"serial {mouse.serial_number}" if mouse.serial_number else "no serial number"
    port = _port(mouse)
    return f"{spec.name}, {serial}" + (f", port {port}" if port else "")


def _port(mouse: Any) -> str:
    """The USB port as the kernel counts it, '1-2.3', which stays when the machine restarts."""
    device = Path("/sys/class/hidraw") / Path(mouse.path).name / "device"
    for part in reversed(device.resolve().parts):
        if part[:1].isdigit() and "-" in part and ":" not in part:
            return part
    return ""


def _refuse_no_permission(mouse: Any) -> None:
    path = mouse.path
    if Path(path).exists() and not os.access(path, os.R_OK | os.W_OK):
        raise DeviceLost(
            f"spacemouse: no permission on {path}. As root: echo '{UDEV}' > {UDEV_FILE} && "
            "udevadm control --reload && udevadm trigger"
        )


def _grips(config: SpaceMouseConfig, buttons: tuple[str, ...], model: str) -> dict[str, float]:
    """What each gripper button asks for."""
    for name in (config.close, config.open):
        if name and name not in buttons:
            have = ", ".join(buttons) or "none"
            raise UserError(f"spacemouse: {model} has no button {name!r}; it has {have}.")
    pairs = (("left", "right"), ("btn_1", "btn_2"), buttons[:2])
    usual = next((p for p in pairs if len(p) == 2 and set(p) <= set(buttons)), ("", ""))
    close, open_ = config.close or usual[0], config.open or usual[1]
    return {name: value for name, value in ((close, -1.0), (open_, 1.0)) if name}


DEVICES.register("spacemouse")(SpaceMouseConfig)
