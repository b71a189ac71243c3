"""Is the payload told to gravity compensation the one the arm carries?

At rest and touching nothing, the external wrench is what gravity compensation leaves over. More
than 3 N says that robot.toml's payload is wrong, or that the arm touches something; with 3 N
unaccounted for, an impedance of 2000 N/m sags 1.5 mm and a soft hold drops.
"""

from __future__ import annotations

import math

import numpy as np

from robot_servers.types import Array, Payload, RobotState

REST_LIMIT_N = 3.0
AVERAGE_S = 0.3
"""Averaged over this long: force estimates are noisy."""

REST_RAD_PER_S = 0.02
"""Joints slower than this are at rest."""


class PayloadCheck:
    """The wrench at rest of one arm. Passed once, it stays so until `restart`.

    Args:
        payload: what gravity compensation was told, for the message.
        required: False: passed without a look ([arm] payload_verified = false).
    """

    def __init__(self, payload: Payload, *, required: bool) -> None:
        self.payload = payload
        self.required = required
        self.restart()

    def restart(self) -> None:
        """Before the next motion, look again."""
        self.passed = not self.required
        self.force_n: float | None = None
        """The last average [N]; None before the first."""
        self._sum: Array = np.zeros(3)
        self._samples = 0
        self._since_ns = 0

    @property
    def decided(self) -> bool:
        return self.passed or self.force_n is not None

    def look(self, state: RobotState) -> None:
        """One sample. While it has not passed, averages follow each other."""
        if self.passed:
            return
        if not at_rest(state):
            self._samples = 0
            return
        if self._samples == 0:
            self._sum, self._since_ns = np.zeros(3), state.stamp_mono_ns
        self._sum = self._sum + state.wrench_base_ext[:3]
        self._samples += 1
        if state.stamp_mono_ns - self._since_ns >= AVERAGE_S * 1e9:
            self._decide()

    def look_once(self, state: RobotState) -> None:
        """Lockstep: one sample decides."""
        if not self.passed:
            self._sum, self._samples = state.wrench_base_ext[:3], 1
            self._decide()

    def refusal(self) -> str:
        """Why the arm may not move yet, in one line; empty when it may."""
        if self.passed:
            return ""
        if self.force_n is None:
            return (
                "payload: the wrench at rest is not measured yet; it needs the arm at rest for "
                f"{AVERAGE_S:g} s. Wait and send again."
            )
        return (
            f"payload: at rest {self.force_n:.1f} N are left over with a payload of "
            f"{self.payload.mass_kg:g} kg; less than {REST_LIMIT_N:g} N is allowed. Correct "
            "[arm.payload] in robot.toml or clear what the arm touches, or set [arm] "
            "payload_verified = false."
        )

    def _decide(self) -> None:
        self.force_n = math.sqrt(float(np.square(self._sum / self._samples).sum()))
        self._samples = 0
        self.passed = self.force_n < REST_LIMIT_N


def at_rest(state: RobotState) -> bool:
    return bool(np.abs(state.dq_rad_per_s).max() < REST_RAD_PER_S)
