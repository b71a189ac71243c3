"""What was set on a simulated arm, kept when the cell is compiled anew."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from robot_servers.control.se3 import Array
from robot_servers.control.wrench import no_wrench_box, pack_wrench_box
from robot_servers.simulation.reflex import Reflex
from robot_servers.simulation.world import World
from robot_servers.types import Gains, MotionLimits, Payload
from serl.errors import UserError

MAX_PAYLOAD_KG = 20.0
"""No arm here carries more."""


@dataclass
class ArmSettings:
    """One arm's."""

    gains: Gains = field(default_factory=Gains)
    limits: MotionLimits = field(default_factory=MotionLimits)
    payload: Payload = field(default_factory=Payload)
    wrench_box: Array = field(default_factory=no_wrench_box)
    reflex: Reflex | None = None
    T_flange_tcp: Array | None = None
    """None is the model's own."""

    def apply(self, world: World, a: int) -> None:
        """Tell arm `a` of a cell all of it."""
        world.set_gains(a, self.gains)
        world.set_limits(a, self.limits)
        if self.T_flange_tcp is not None:
            world.set_tcp(a, self.T_flange_tcp)
        world.set_payload(a, self.payload)
        world.set_wrench_box(a, self.wrench_box)
        if self.reflex is not None:
            self.reflex.forget()


def check_payload(name: str, payload: Payload) -> None:
    """Refuse what is no load."""
    centre = np.asarray(payload.com_flange_m, dtype=float)
    if not 0.0 <= payload.mass_kg <= MAX_PAYLOAD_KG:
        raise UserError(
            f"arm {name!r}: payload of {payload.mass_kg:g} kg; allowed is 0 to {MAX_PAYLOAD_KG:g}."
        )
    if centre.shape != (3,) or not np.isfinite(centre).all():
        raise UserError(
            f"arm {name!r}: payload centre {payload.com_flange_m}; give three numbers, in metres."
        )


def check_wrench_box(
    name: str,
    low_m: Sequence[float],
    high_m: Sequence[float],
    quat_xyzw: Sequence[float],
    rotation_rad: Sequence[float],
) -> Array:
    """The box, packed; refuses one without an inside."""
    if not all(low < high for low, high in zip(low_m, high_m, strict=True)):
        raise UserError(f"arm {name!r}: wrench box low {low_m} must be below high {high_m}.")
    if not all(r >= 0 for r in rotation_rad):
        raise UserError(f"arm {name!r}: wrench box rotation {rotation_rad} must be 0 or more.")
    return pack_wrench_box(low_m, high_m, quat_xyzw, rotation_rad)
