"""The arms of one backend as the guard keeps them, and what makes them hold.

What an arm is doing changes only under `lock`, which is never held while the backend is called:
stop, from any thread, waits for nobody. Files and lines for a person go to a thread of their own.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from robot_servers.backends.base import Backend
from robot_servers.chores import Chores
from robot_servers.config import RobotConfig
from robot_servers.counts import Counts
from robot_servers.guarded_arm import HALTING, GuardedArm
from robot_servers.types import Fault, FaultKind, RobotState
from serl.errors import UserError, unknown_name

A_PERSONS = frozenset({FaultKind.ESTOP, FaultKind.USER_STOP})
"""Faults that a person causes, also where the arm itself reports them."""


class GuardedCell:
    """Arms, their faults and their holds. Arguments are the Guard's."""

    def __init__(
        self,
        backend: Backend,
        config: RobotConfig,
        clock: Callable[[], int],
        on_event: Callable[[str], None],
    ) -> None:
        self.backend, self.config, self.clock = backend, config, clock
        self.arms: dict[str, GuardedArm] = {}
        self.lock = threading.Lock()
        self._sending = threading.Lock()
        self.counts = Counts()
        self.chores = Chores()
        self._on_event = on_event
        self._backend_clock: Callable[[], int] = getattr(backend, "clock", time.monotonic_ns)
        # Reading one clock after the other only ever makes the difference too small.
        self._ahead_ns = max(clock() - self._backend_clock() for _ in range(10))

    def arm(self, name: str) -> GuardedArm:
        if name not in self.arms:
            raise unknown_name("arm", name, self.arms)
        return self.arms[name]

    def hold(self, names: Iterable[str], reason: str, count: str = "") -> None:
        """These arms hold, without a fault."""
        names, now = list(names), self.clock()
        with self.lock:
            for name in names:
                self.arms[name].hold(now)
        self.enforce(names)
        if count:
            self.counts.add(count, len(names))
        for name in names:
            self.tell(self.arms[name], f"holds: {reason}.", now)

    def latch(
        self, faults: Mapping[str, tuple[FaultKind, str]], *, by_person: bool = False
    ) -> None:
        """Latch faults and record them; the other arms of the cell stop with them.

        A stop counts and is enforced although as much is latched already: the arm may be on its way
        out of that fault (`GuardedArm.stops`).
        """
        if not faults:
            return
        stopped = (FaultKind.STOP, f"arm {next(iter(faults))!r} is in fault.")
        now, new, again = self.clock(), [], []
        with self.lock:
            for name, arm in self.arms.items():
                kind, reason = faults.get(name, stopped)
                arm.stopped_by_person |= by_person or kind in A_PERSONS
                if kind in (FaultKind.STOP, FaultKind.ESTOP):
                    arm.stops += 1
                    again.append((arm, f"{kind.name}: {reason}"))
                if arm.fault is not None and _severity(arm.fault.kind) >= _severity(kind):
                    continue
                fault = arm.fault = Fault(kind=kind, reason=reason, stamp_mono_ns=now)
                arm.hold(now)
                new.append((arm, fault))
        changed = [arm.name for arm, _ in new]
        again = [(arm, line) for arm, line in again if arm.name not in changed]
        self.enforce(changed + [arm.name for arm, _ in again])
        for arm, line in again if by_person else ():
            self.tell(arm, f"{line} (in a fault already)", now)
        for arm, fault in new:
            self.counts.add(f"faults/{fault.kind.name.lower()}")
            self.tell(arm, f"{fault.kind.name}: {fault.reason}", now)
            self.chores.add(lambda arm=arm, fault=fault: self._record(arm, fault))

    def enforce(self, names: Iterable[str]) -> None:
        """Tell the backend: halt where a fault ends control, else hold. Never raises."""
        names = list(names)
        halts = [name for name in names if self.arms[name].halted]
        holds = [name for name in names if not self.arms[name].halted]
        for call, arms in ((self.backend.halt, halts), (self.backend.hold, holds)):
            if not arms:
                continue
            now = self.clock()
            for name in arms:
                self.arms[name].enforced_ns = now
            try:
                call(arms)
            except Exception as error:  # nothing else is left to do: say it, try again next tick
                self.counts.add("guard/hold_failed")
                self.say(f"arms {arms}: the backend did not hold: {error!r}.")

    def send_settings(self, names: Iterable[str], *, at_once: bool = True) -> None:
        """Gains and motion limits in effect, where the backend does not have them yet.

        One thread at a time, so that none reaches the backend after a newer one. Without `at_once`
        (a tick), what another thread is sending is left to it and to the next tick. Raises
        UserError where the backend refuses them; it is then asked again.
        """
        if not self._sending.acquire(blocking=at_once):
            return
        try:
            with self.lock:
                now = self.clock()
                arms = [(arm, arm.to_send(now, at_once=at_once)) for arm in map(self.arm, names)]
            due = [(arm, values) for arm, values in arms if values is not None]
            if not due:
                return
            self.backend.set_gains({arm.name: gains for arm, (gains, _) in due})
            self.backend.set_limits({arm.name: motion for arm, (_, motion) in due})
            for arm, values in due:
                arm.sent(values, now)
        finally:
            self._sending.release()

    def stamped(self, states: Mapping[str, RobotState]) -> Mapping[str, RobotState]:
        """States with stamps on the guard's clock; simulated time in lockstep stays."""
        if self.backend.lockstep or self.clock is self._backend_clock:
            return states
        return {
            name: replace(state, stamp_mono_ns=state.stamp_mono_ns + self._ahead_ns)
            for name, state in states.items()
        }

    def save(self, arm: GuardedArm, reason: str, kind: str, until_ns: int) -> Path:
        """Write the last 5 s of `arm` before `until_ns`; the file's path."""
        stamp = time.strftime("%Y%m%dT%H%M%S")
        name = "_".join(part for part in (stamp, arm.name, kind) if part)
        folder = Path(self.config.recordings).absolute()  # the path is read by someone elsewhere
        return arm.recorder.save(folder, name, reason, until_ns)

    def tell(self, arm: GuardedArm, text: str, now_ns: int) -> None:
        """An event of one arm: into its recording, and to whoever listens."""
        line = f"arm {arm.name!r}: {text}" if arm.name else text
        arm.recorder.event(now_ns, line)
        self.say(line)

    def say(self, line: str) -> None:
        self.chores.add(lambda: self._on_event(line))

    def _record(self, arm: GuardedArm, fault: Fault) -> None:
        """Write the recording of a fault and put its path into it. On the chores' thread."""
        try:
            kind = fault.kind.name.lower()
            path = str(self.save(arm, fault.reason, kind, fault.stamp_mono_ns))
        except UserError as error:
            self._on_event(str(error))
            return
        with self.lock:
            now = arm.fault
            if now is not None and now.stamp_mono_ns == fault.stamp_mono_ns:
                arm.fault = replace(now, recording=path)
        self._on_event(f"{f'arm {arm.name!r}: ' if arm.name else ''}the last 5 s are in {path}")


def _severity(kind: FaultKind) -> int:
    """A latched fault gives way only to a worse one."""
    if kind is FaultKind.STOP:
        return 0
    return 3 if kind is FaultKind.ESTOP else 2 if kind in HALTING else 1
