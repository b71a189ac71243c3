"""What a vendor's arm must be able to do, so that `HardwareBackend` can make a backend of it.

A driver converts and nothing else: no limits, no watchdog, no reference generator. All its methods
are called from one thread, the backend's loop, but `connect`, `close` and `halt`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from robot_servers.types import (
    Array,
    CollisionThresholds,
    Fault,
    Gains,
    Payload,
    RobotDescription,
)


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One measurement of a vendor's arm, in our frames, units and signs."""

    stamp_mono_ns: int
    """This host's monotonic clock when the sample was taken."""
    q_rad: Array
    dq_rad_per_s: Array
    tau_nm: Array
    T_base_tcp: Array
    twist_base_tcp: Array
    wrench_base_ext: Array
    """Environment on robot (libfranka's sign is the opposite)."""
    jacobian: Array
    """Of the TCP in base (6, n): linear rows, then angular."""
    fault: Fault | None = None
    """The vendor's own fault, as long as it stands."""
    elapsed_s: float | None = None
    """Time by the arm's own clock since the sample before; None where the arm tells none. The
    reference never runs ahead of it."""


class ArmDriver(Protocol):
    """One vendor arm."""

    description: RobotDescription
    loop_hz: float
    """Rate of the backend's loop: one `read` and one reference each."""
    unsupported: frozenset[str]
    """See Backend.unsupported."""

    def connect(self) -> None:
        """Vendor imports, network, checks. Raises UserError in one line."""

    def close(self) -> None:
        """Leave the arm holding by itself, and let go of it."""

    def read(self) -> Sample:
        """The newest measurement. Raises TimeoutError when the arm has gone silent."""
        ...

    def impedance(self, T_base_ref: Array, gains: Gains) -> None:
        """Enter (or stay in) Cartesian impedance at this reference and these gains.

        Called again with other gains: clips and stiffness change without leaving control.
        """

    def follow(self, T_base_ref: Array) -> None:
        """The reference of this tick, while in impedance."""

    def joints(self, q_ref_rad: Array) -> None:
        """The joint reference of this tick: enters joint impedance on the first call."""

    def torque(self, tau_nm: Array) -> None:
        """Joint torques of this tick, gravity excluded; enters torque control on the first call."""

    def halt(self) -> None:
        """End control at once. From any thread."""

    def recover(self) -> None:
        """Clear the vendor's errors. Raises UserError naming what still stands in the way."""

    def set_payload(self, payload: Payload) -> None: ...

    def set_collision(self, thresholds: CollisionThresholds) -> None: ...

    def facts(self) -> Mapping[str, str]: ...
