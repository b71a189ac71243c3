"""A gripper that is not there: it moves at its speed, and closes on an object if it is given one.

For dry runs of a server and for tests.
"""

from __future__ import annotations

import threading
import time
from typing import Any

from robot_servers.grippers.base import GRIPPERS, GripperState
from robot_servers.types import GripperDescription, GripperTarget


@GRIPPERS.register("mock")
class MockGripper:
    """Args: `object_width_m`: what the fingers close on; 0 is nothing."""

    description = GripperDescription(
        name="mock", width_max_m=0.08, force_max_n=70.0, speed_max_m_per_s=0.1
    )

    def __init__(self, *, object_width_m: float = 0.0, **_: Any) -> None:
        self.object_width_m = object_width_m
        self._lock = threading.Lock()
        self._start_m = self._target_m = self.description.width_max_m
        self._speed = self.description.speed_max_m_per_s
        self._since_ns = 0

    def connect(self) -> None: ...

    def close(self) -> None: ...

    def command(self, target: GripperTarget) -> None:
        now = time.monotonic_ns()
        with self._lock:
            self._start_m = self._width(now)
            self._target_m = target.width_m
            self._speed = target.speed_m_per_s or self.description.speed_max_m_per_s
            self._since_ns = now

    def state(self) -> GripperState:
        now = time.monotonic_ns()
        with self._lock:
            width = self._width(now)
            holding = self._target_m < width == self.object_width_m
            return GripperState(
                stamp_mono_ns=now,
                width_m=width,
                target_m=self._target_m,
                moving=width != self._stop_m(),
                holding=holding,
            )

    def _stop_m(self) -> float:
        """Where the fingers end up; an object does not stop them from opening."""
        closing = self._target_m < self._start_m
        if closing and self._start_m >= self.object_width_m:
            return max(self._target_m, self.object_width_m)
        return self._target_m

    def _width(self, now_ns: int) -> float:
        travelled = self._speed * (now_ns - self._since_ns) * 1e-9
        stop = self._stop_m()
        if self._start_m < stop:
            return min(stop, self._start_m + travelled)
        return max(stop, self._start_m - travelled)
