"""The guard's side of a backend's loop: every sample is checked, recorded and handed to watchers.

Runs on the backend's own thread, about 50 us a tick. A second thread notices when ticks stop.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping

from robot_servers.counts import LoopTimes
from robot_servers.guarded_arm import GuardedArm
from robot_servers.guarded_cell import GuardedCell
from robot_servers.types import FaultKind, Mode, RobotState
from serl.errors import UserError

SILENT_S = 0.5
"""No tick for this long is a fault. Long enough for a machine that stalls: a shorter silence moves
nothing, because the arm's own loop is what is silent."""

REPEAT_S = 0.05
"""An arm that moves although it should hold is told again after this long."""

FIRST_STATE_S = 5.0
"""A backend that is connected has a state within this time."""


class GuardLoop:
    """Looks at every sample of a cell, and keeps the newest for everyone."""

    def __init__(self, cell: GuardedCell) -> None:
        self.times = LoopTimes()
        self._cell = cell
        self._lockstep = cell.backend.lockstep
        self._ticked = threading.Condition()
        self._newest: tuple[int, Mapping[str, RobotState]] | None = None
        self._last_tick_ns: int | None = None
        self._failed = False
        self._stopped = threading.Event()

    def start(self, *, wait_first: bool) -> None:
        """Real time: watch every tick. Raises UserError when none comes."""
        self._cell.backend.subscribe(self._on_tick)
        if wait_first and self.wait_newer(-(1 << 62), FIRST_STATE_S) is None:
            raise UserError(
                f"no state of the arm within {FIRST_STATE_S:g} s of connecting; check that its "
                "controller runs."
            )
        threading.Thread(target=self._watch_silence, name="guard silence", daemon=True).start()

    def stop(self) -> None:
        self._stopped.set()

    def fresh(self) -> Mapping[str, RobotState]:
        """The newest states as the backend has them; never blocks."""
        newest = self._newest
        if self._lockstep or newest is None:
            return self._cell.stamped(self._cell.backend.states())
        return newest[1]

    def show(self, states: Mapping[str, RobotState]) -> Mapping[str, RobotState]:
        """States as clients see them: with the guard's mode, fault and clamps."""
        arms, lockstep = self._cell.arms, self._lockstep
        return {
            name: arms[name].show(state, lockstep=lockstep)
            for name, state in states.items()
            if name in arms
        }

    def wait_newer(
        self, than_mono_ns: int, timeout_s: float
    ) -> tuple[int, Mapping[str, RobotState]] | None:
        """See Guard.wait_newer."""
        deadline = time.monotonic() + timeout_s
        with self._ticked:
            while self._newest is None or self._newest[0] <= than_mono_ns:
                left = deadline - time.monotonic()
                if left <= 0 or not self._ticked.wait(left):
                    return None
            stamp, states = self._newest
        return stamp, self.show(states)

    def publish(self, states: Mapping[str, RobotState]) -> None:
        """Make these the newest, and wake who waits."""
        stamp = max(state.stamp_mono_ns for state in states.values())
        with self._ticked:
            self._newest = (stamp, states)
            self._ticked.notify_all()

    def after_recovery(self, name: str, timeout_s: float) -> RobotState:
        """The first state in which the arm's own fault is gone, or the newest after `timeout_s`."""
        if self._lockstep:
            return self._cell.backend.states()[name]
        deadline = time.monotonic() + timeout_s
        stamp = self._newest[0] if self._newest else 0
        while True:
            newer = self.wait_newer(stamp, max(0.0, deadline - time.monotonic()))
            if newer is None:
                return self._cell.stamped(self._cell.backend.states())[name]
            stamp, states = newer[0], self.fresh()
            if states[name].fault is None:
                return states[name]

    def recovered(self) -> None:
        """The guard's own failure, if there was one, may be told again."""
        self._failed = False

    def look_in_lockstep(self, states: Mapping[str, RobotState], now: int) -> None:
        """What a tick would see: the arm's own faults and the payload. Force and speed are left
        alone there, so that a task runs as it does in process."""
        faults = {}
        for name, arm in self._cell.arms.items():
            state = states[name]
            arm.payload.look_once(state)
            arm.recorder.sample(state, arm.show(state, lockstep=True).mode, now)
            if state.fault is not None and arm.fault is None:
                faults[name] = (state.fault.kind, state.fault.reason)
        self._cell.latch(faults)

    def _on_tick(self, states: Mapping[str, RobotState]) -> None:
        if self._stopped.is_set():
            return  # a backend that outlives its guard goes on calling
        try:
            self._tick(self._cell.stamped(states))
        except Exception as error:  # whatever it is: the arms hold, and everyone sees why
            self._cell.counts.add("guard/errors")
            if not self._failed:
                self._failed = True
                reason = f"the guard failed: {error!r}. Restart the robot server; report this."
                self._cell.latch(dict.fromkeys(self._cell.arms, (FaultKind.OTHER, reason)))
            self.publish(states)

    def _tick(self, states: Mapping[str, RobotState]) -> None:
        now = self._cell.clock()
        dt_s = min(self.times.tick(now), 0.1)
        self._last_tick_ns = now
        arms = {name: arm for name, arm in self._cell.arms.items() if name in states}
        faults: dict[str, tuple[FaultKind, str]] = {}
        lapsed, disobeying = [], []
        with self._cell.lock:
            for name, arm in arms.items():
                state = states[name]
                found = self._look(arm, state)
                if found is not None:
                    faults[name] = found
                elif arm.watchdog.lapsed(now):
                    lapsed.append(name)
                if arm.disobeys(state) and now - arm.enforced_ns > REPEAT_S * 1e9:
                    disobeying.append(name)
                arm.advance(now, dt_s)
        if lapsed:
            self._cell.hold(lapsed, "no command came in time", "held/watchdog")
        self._cell.latch(faults)
        self._cell.enforce(disobeying)
        self._send_settings(arms)
        for name, arm in arms.items():
            arm.recorder.sample(states[name], arm.show(states[name], lockstep=False).mode, now)
        self.publish(states)

    def _send_settings(self, arms: Mapping[str, GuardedArm]) -> None:
        """One step of the ramps. A backend that refuses it is no failure of the guard's: the arms
        hold until somebody sets what it takes."""
        try:
            self._cell.send_settings(arms, at_once=False)
        except UserError as error:
            reason = f"the backend refused its gains or limits: {error} Set others, then recover."
            well = [name for name, arm in arms.items() if arm.fault is None]
            self._cell.latch(dict.fromkeys(well, (FaultKind.OTHER, reason)))

    def _look(self, arm: GuardedArm, state: RobotState) -> tuple[FaultKind, str] | None:
        """A new fault in this sample."""
        if state.fault is not None:
            known = arm.fault is not None and arm.fault.kind is not FaultKind.STOP
            return None if known else (state.fault.kind, state.fault.reason)
        if arm.fault is not None:
            return None
        holding = arm.watchdog.holding or state.mode is Mode.HOLD
        if holding:
            arm.payload.look(state)
        found = arm.checks.look(state, arm.limits, holding=holding)
        return None if found is None else (found.kind, found.reason)

    def _watch_silence(self) -> None:
        """A loop that has stopped calls nobody: another thread has to notice."""
        while not self._stopped.wait(SILENT_S / 10):
            last = self._last_tick_ns
            silent_s = 0.0 if last is None else (self._cell.clock() - last) * 1e-9
            if silent_s > SILENT_S:
                reason = (
                    f"no state of the arm for {silent_s:.2f} s (limit {SILENT_S:g} s). Check its "
                    "network and controller, then recover."
                )
                well = [name for name, arm in self._cell.arms.items() if arm.fault is None]
                self._cell.latch(dict.fromkeys(well, (FaultKind.COMMUNICATION, reason)))
