"""What a device has seen since it was last read: nothing that happened in between is lost."""

from __future__ import annotations

import threading
from collections.abc import Iterable

from envs.devices.base import REST, Reading, Twist


class Latch:
    """Filled by whoever hears the device, emptied by whoever reads it.

    A button that was pressed and let go between two readings is in the second one, and so is a
    twist or a gripper command: a short tap is one step, not none.

    Args:
        lapse_s: a twist that is not renewed for this long counts as zero, for a device that repeats
            itself while it is held; None for one that tells each change once.
    """

    def __init__(self, lapse_s: float | None = None) -> None:
        self._lock = threading.Lock()
        self._lapse_ns = None if lapse_s is None else round(lapse_s * 1e9)
        self._twist: Twist = REST
        self._gripper: float | None = None
        self._held: frozenset[str] = frozenset()
        self._tapped: Twist = REST
        self._grip_tapped: float | None = None
        self._pressed: list[str] = []
        self._oldest_ns: int | None = None
        self._newest_ns = 0

    def put(
        self,
        stamp_ns: int,
        *,
        twist: Twist = REST,
        gripper: float | None = None,
        held: Iterable[str] = (),
        taps: Iterable[str] = (),
    ) -> None:
        """The device's state at `stamp_ns` [ns]; `taps`: pressed since the last one, whether or
        not they are still held."""
        with self._lock:
            now_held, taps = frozenset(held), list(taps)
            fresh = taps + sorted(now_held - self._held - set(taps))
            state = (twist, gripper, now_held)
            if fresh or twist != REST or state != (self._twist, self._gripper, self._held):
                self._newest_ns = stamp_ns
                if self._oldest_ns is None:
                    self._oldest_ns = stamp_ns
            self._twist, self._gripper, self._held = state
            self._pressed += fresh
            if twist != REST:
                self._tapped = twist
            if gripper is not None:
                self._grip_tapped = gripper

    def release(self) -> None:
        """Everything at rest: the device is gone. What was pressed before stays to be read."""
        with self._lock:
            self._twist, self._gripper, self._held = REST, None, frozenset()
            self._tapped, self._grip_tapped = REST, None

    def take(self, now_ns: int, *, live: bool = True, trouble: str = "") -> Reading:
        """What there is to read at `now_ns`."""
        with self._lock:
            lapsed = self._lapse_ns is not None and now_ns - self._newest_ns > self._lapse_ns
            if lapsed:
                self._twist, self._tapped = REST, REST
            reading = Reading(
                stamp_mono_ns=self._newest_ns if self._oldest_ns is None else self._oldest_ns,
                twist=self._twist if self._twist != REST else self._tapped,
                gripper=self._gripper if self._gripper is not None else self._grip_tapped,
                held=self._held,
                pressed=tuple(self._pressed),
                live=live,
                trouble=trouble,
            )
            self._tapped, self._grip_tapped, self._oldest_ns = REST, None, None
            self._pressed.clear()
            return reading
