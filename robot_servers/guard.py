"""What stands between everyone's commands and the arms: limits, watchdog, faults, recorder.

One Guard in front of one backend, in every robot server; gRPC, HTTP and the operator's verbs all go
through it. It knows no network and no lease. In lockstep nothing in it depends on time: commands
are checked and clamped, and pass through bit for bit when they are inside the limits.

Threads: commands come from many threads and take turns; ticks come from the backend's loop; stop
comes from anywhere and waits for neither. A hold or a fault that comes while a command is on its
way to the backend is seen when the command has arrived (`GuardedArm.generation`), and repeated.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from robot_servers.admission import Refusal, TokenBucket, refuse_time
from robot_servers.backends.base import Backend
from robot_servers.cell_settings import CellSettings
from robot_servers.config import RobotConfig, SafetyLimits
from robot_servers.guard_loop import GuardLoop
from robot_servers.guarded_arm import GuardedArm, Judged, in_fault
from robot_servers.guarded_cell import GuardedCell
from robot_servers.safety import Clamp
from robot_servers.types import (
    ArmCommand,
    CollisionThresholds,
    FaultKind,
    Gains,
    MotionLimits,
    Payload,
    RobotDescription,
    RobotState,
)
from serl.errors import UserError, unknown_name

__all__ = ["Clamp", "Guard", "Verdict"]


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What became of one arm's command."""

    command: ArmCommand | None
    """As accepted, after the clamps; None when refused."""
    clamps: tuple[Clamp, ...] = ()
    refused: str = ""
    """Why, in one line that says what is allowed; empty when accepted."""


class Guard:
    """Safe control of one backend's arms.

    Args:
        backend: connected by `start`.
        config: robot.toml.
        clock: monotonic nanoseconds; a test may shift it. Stamps of states are converted to it
            when the backend's own `clock` (time.monotonic_ns where it has none) is another.
        on_event: told each fault, hold, recovery and take-over in one line, from a thread of the
            guard's own: a slow reader of lines holds up no loop.
        settle_s: `start`, `recover` and `set_payload` wait this long for the wrench at rest.
    """

    def __init__(
        self,
        backend: Backend,
        config: RobotConfig,
        *,
        clock: Callable[[], int] = time.monotonic_ns,
        on_event: Callable[[str], None] = lambda line: None,
        settle_s: float = 1.0,
    ) -> None:
        self.backend = backend
        self.config = config
        self.clock = clock
        self._settle_s = settle_s
        self._cell = GuardedCell(backend, config, clock, on_event)
        self._settings = CellSettings(self._cell)
        self._loop = GuardLoop(self._cell)
        self._commanding = threading.RLock()
        self._bucket, self._sequence = TokenBucket(), 0
        self._closed = False

    def start(self) -> None:
        """Connect, set payload, TCP and collision thresholds, and in real time watch every tick."""
        self._settings.refuse_unknown_arms()
        self.backend.connect()
        self._cell.chores.start()
        self._settings.make_arms()
        if self.lockstep:
            return
        self._loop.start(wait_first=self._settle_s > 0)
        self._settle(self._arms)
        for arm in self._arms.values():
            if arm.payload.refusal():
                self._cell.tell(arm, arm.payload.refusal(), self.clock())

    def close(self) -> None:
        """Hold every arm, then let go of the backend."""
        if self._closed:
            return
        self._closed = True
        self._loop.stop()
        if self._arms:
            self._cell.hold(self._arms, "the robot server closes")
        self.backend.close()
        self._cell.chores.stop()

    @property
    def arms(self) -> Mapping[str, RobotDescription]:
        return self.backend.arms

    @property
    def lockstep(self) -> bool:
        return self.backend.lockstep

    # --- what the arms are doing

    def states(self) -> Mapping[str, RobotState]:
        """Newest sample of every arm, with the guard's own mode and fault; never blocks."""
        return self._loop.show(self._loop.fresh())

    def wait_newer(
        self, than_mono_ns: int, timeout_s: float
    ) -> tuple[int, Mapping[str, RobotState]] | None:
        """Real time: wait for a sample newer than `than_mono_ns`; (its stamp, states) or None.

        Any number of watchers; a slow one skips samples and never holds up the loop.
        """
        return self._loop.wait_newer(than_mono_ns, timeout_s)

    @property
    def limits(self) -> Mapping[str, SafetyLimits]:
        """Of every arm, as in effect."""
        return {name: arm.limits for name, arm in self._arms.items()}

    @property
    def gains(self) -> Mapping[str, Gains]:
        """Of every arm: those it has, or ramps to."""
        return {name: arm.gains.goal for name, arm in self._arms.items()}

    @property
    def motion(self) -> Mapping[str, MotionLimits]:
        """Of every arm, without the soft start."""
        return {name: arm.motion for name, arm in self._arms.items()}

    @property
    def counters(self) -> Mapping[str, Any]:
        """Counts since the start: 'clamped/<limit>', 'refused/<why>', 'held/watchdog',
        'held/release', 'faults/<kind>', 'recovered', 'overruns', and 'loop/period_p99_s',
        'loop/jitter_p99_s'."""
        return {
            **self._cell.counts.snapshot(),
            "overruns": getattr(self.backend, "overruns", 0),
            **self._loop.times.metrics(self.backend.period_s),
        }

    @property
    def stopped_by_person(self) -> bool:
        """A person stopped an arm, which an operator has not recovered yet; the fault shown may be
        another one."""
        return any(arm.stopped_by_person for arm in self._arms.values())

    def save_recording(self, arm: str, reason: str) -> str:
        """Write the last 5 s of `arm` now; the file's path."""
        return str(self._cell.save(self._cell.arm(arm), reason, "saved", self.clock()))

    def flush(self) -> bool:
        """Wait until recordings and event lines so far are written; False if that takes 10 s."""
        return self._cell.chores.flush()

    # --- commands

    def command(
        self,
        commands: Mapping[str, ArmCommand],
        *,
        valid_for_s: float,
        sequence: int = 0,
        sent_mono_ns: int | None = None,
        jump: Literal["refuse", "clamp"] = "refuse",
        lost: Callable[[], str] = lambda: "",
    ) -> Mapping[str, Verdict]:
        """Check, clamp and pass on; all arms or, when one is refused, none.

        Args:
            valid_for_s: real time: without a newer command for this long, the arms hold.
            sequence: must grow within one session (`begin_session`); 0 is not checked.
            sent_mono_ns: this host's clock when it was sent; older than `valid_for_s` is refused.
            jump: out of HOLD, a target beyond the step limit is refused, or clamped to it.
            lost: why the commander no longer commands, empty while it does; quick. Asked at the
                last moment: whoever ends its lease and then calls `release` has the last word.

        A JointTarget equal to the one under way goes on with it. Never raises for what a client
        sent: it is refused with a reason.
        """
        with self._commanding:
            now = self.clock()
            general = self._refuse_all(now, valid_for_s, sequence, sent_mono_ns)
            states = self._loop.fresh()
            if self.lockstep:
                self._loop.look_in_lockstep(states, now)
            judged = {
                name: Judged(refusal=general)
                if general is not None
                else self._judge(name, command, states, jump)
                for name, command in commands.items()
            }
            if not any(item.refusal for item in judged.values()):
                judged = self._pass_on(judged, now, valid_for_s, lost)
            return self._verdicts(commands, judged, sequence, now)

    def begin_session(self) -> None:
        """Another commander: sequence numbers start again, and so do the absolute limits."""
        with self._commanding:
            self._sequence = 0
            self.narrow({name: arm.settings.limits for name, arm in self._arms.items()})

    def release(self, reason: str) -> None:
        """The commander is gone: every arm holds now. No fault."""
        with self._cell.lock:  # a command that is being taken is there, or sees the lease ended
            arms = self._arms.items()
            moving = [n for n, a in arms if not a.watchdog.holding and a.fault is None]
        if moving:
            self._cell.hold(moving, reason, "held/release")

    def stop(self, reason: str) -> None:
        """Every arm holds, latched as Fault STOP. Quick; from any thread."""
        self._cell.latch(dict.fromkeys(self._arms, (FaultKind.STOP, reason)), by_person=True)

    def estop(self, reason: str) -> None:
        """Every arm: end control, latched as Fault ESTOP. Quick; from any thread."""
        self._cell.latch(dict.fromkeys(self._arms, (FaultKind.ESTOP, reason)), by_person=True)

    def recover(self, arms: Iterable[str], who: str, *, operator: bool = True) -> Mapping[str, str]:
        """Leave FAULT into HOLD. By arm: empty, or what still stands in the way.

        Args:
            operator: False: a program asks, which never ends what a person stopped.
        """
        with self._commanding:
            found = {name: self._recover(name, who, operator) for name in arms}
            self._settle([name for name, problem in found.items() if not problem])
            return found

    # --- settings

    def set_gains(self, gains: Mapping[str, Gains]) -> Mapping[str, tuple[str, ...]]:
        """Ramp to these gains (in lockstep at once). By arm: what the limits changed, in words.

        Raises UserError for a field the backend cannot honour, by its name.
        """
        with self._commanding:
            return self._settings.set_gains(gains)

    def set_motion(self, limits: Mapping[str, MotionLimits]) -> Mapping[str, tuple[str, ...]]:
        """Speed, acceleration and filter, no further than the absolute ones. As `set_gains`."""
        with self._commanding:
            return self._settings.set_motion(limits)

    def narrow(self, limits: Mapping[str, SafetyLimits]) -> Mapping[str, SafetyLimits]:
        """The session's limits: within the absolute ones, field by field; returned as in effect.

        Raises UserError for an arm that is not here, or a box that leaves no room.
        """
        with self._commanding:
            self._settings.narrow(limits)
            return self.limits

    def set_payload(self, payloads: Mapping[str, Payload]) -> None:
        """At rest only. The wrench at rest is checked anew before the next motion."""
        with self._commanding:
            self._settings.set_payload(payloads, self._loop.fresh())
            self._settle(payloads)

    def set_collision(self, thresholds: Mapping[str, CollisionThresholds]) -> None:
        """When the arm's own reflex trips."""
        with self._commanding:
            self._settings.set_collision(thresholds)

    # --- simulation

    def rebuilt(self) -> None:
        """Simulation: the scene put other arms into the backend; forget everything about the old
        ones, except their faults, by name."""
        with self._commanding:
            old = self._arms
            self._settings.make_arms()
            kept = [name for name in self._arms if name in old]
            self._settings.set_gains({name: old[name].gains_asked for name in kept})
            self._settings.set_motion({name: old[name].motion_asked for name in kept})
            self.was_reset()
            self._settle(self._arms)

    def was_reset(self) -> None:
        """Simulation: the scene has put the arms elsewhere; that is no jump."""
        now = self.clock()
        states = self._cell.stamped(self.backend.states())
        with self._cell.lock:
            for arm in self._arms.values():
                arm.put_elsewhere(now)
        # The reset left every arm holding, also one whose control an emergency stop had ended.
        self._cell.enforce([name for name, arm in self._arms.items() if arm.fault is not None])
        if not self.lockstep:
            self._loop.publish(states)

    # --- commands, inside

    @property
    def _arms(self) -> dict[str, GuardedArm]:
        return self._cell.arms

    def _refuse_all(
        self, now: int, valid_for_s: float, sequence: int, sent_ns: int | None
    ) -> Refusal | None:
        """Reasons that concern the message and no arm."""
        if not self.lockstep:
            refusal = refuse_time(now, sent_ns, valid_for_s)
            if refusal is not None:
                return refusal
        if sequence:
            if sequence <= self._sequence:
                text = f"sequence number {sequence} after {self._sequence}; they must grow."
                return Refusal("sequence", text)
            self._sequence = sequence
        if self.lockstep:
            return None
        rate = min((arm.limits.command_hz for arm in self._arms.values()), default=math.inf)
        if self._bucket.take(now, rate):
            return None
        return Refusal("rate", f"commands arrive faster than {rate:g} Hz; send no more than that.")

    def _judge(
        self, name: str, command: ArmCommand, states: Mapping[str, RobotState], jump: Any
    ) -> Judged:
        arm = self._arms.get(name)
        if arm is None:
            return Judged(refusal=Refusal("arm", str(unknown_name("arm", name, self._arms))))
        try:
            return arm.judge(command, states[name], self.backend.unsupported, jump)
        except (TypeError, ValueError, AttributeError) as error:
            return Judged(refusal=Refusal("kind", f"this is no command for an arm: {error}."))

    def _pass_on(
        self, judged: Mapping[str, Judged], now: int, valid_for_s: float, lost: Callable[[], str]
    ) -> dict[str, Judged]:
        """Hand accepted commands to the backend; a fault that came meanwhile refuses them."""
        arms = {name: self._arms[name] for name in judged}
        with self._cell.lock:
            for arm in arms.values():
                if arm.fault is not None:
                    return dict.fromkeys(judged, Judged(refusal=in_fault(arm.fault)))
            if why := lost():
                return dict.fromkeys(judged, Judged(refusal=Refusal("lease", why)))
            leaving = [name for name, arm in arms.items() if arm.watchdog.holding]
            for name, item in judged.items():
                arms[name].commit(item, now, valid_for_s)
            generations = {name: arm.generation for name, arm in arms.items()}
        passed = {n: item.passed for n, item in judged.items() if item.passed is not None}
        try:
            if leaving and not self.lockstep:
                self._cell.send_settings(leaving)  # soft start: slow before the target is known
            if passed:
                self.backend.command(passed)
        except UserError as error:
            self._cell.hold(judged, f"the backend refused a command: {error}", "held/refused")
            return dict.fromkeys(judged, Judged(refusal=Refusal("backend", str(error))))
        except Exception as error:  # the backend's own failure: the arms hold, and everyone sees it
            self._cell.latch(dict.fromkeys(arms, (FaultKind.OTHER, f"the backend: {error!r}.")))
            return dict.fromkeys(judged, Judged(refusal=Refusal("backend", repr(error))))
        self._cell.enforce(n for n, arm in arms.items() if arm.generation != generations[n])
        return dict(judged)

    def _verdicts(
        self,
        commands: Mapping[str, ArmCommand],
        judged: Mapping[str, Judged],
        sequence: int,
        now: int,
    ) -> dict[str, Verdict]:
        """Count, record and tell."""
        refused = [name for name, item in judged.items() if item.refusal is not None]
        verdicts = {}
        for name, item in judged.items():
            refusal = item.refusal
            if refusal is None and refused:
                text = f"not carried out, because the command for arm {refused[0]!r} was refused."
                refusal = Refusal("other_arm", text)
            if refusal is not None:
                self._cell.counts.add(f"refused/{refusal.why}")
                verdicts[name] = Verdict(command=None, refused=refusal.text)
            else:
                for clamp in item.clamps:
                    self._cell.counts.add(f"clamped/{clamp.limit}")
                verdicts[name] = Verdict(command=item.accepted, clamps=item.clamps)
            if name in self._arms:
                shown = commands[name] if refusal else item.accepted
                said = "; ".join(f"{c.limit}: {c.text}" for c in item.clamps)
                recorder = self._arms[name].recorder
                recorder.command(now, sequence, shown, refusal.text if refusal else said)
        return verdicts

    # --- recovering, inside

    def _recover(self, name: str, who: str, operator: bool) -> str:
        arm = self._arms.get(name)
        if arm is None:
            return str(unknown_name("arm", name, self._arms))
        with self._cell.lock:
            fault, stops, by_person = arm.fault, arm.stops, arm.stopped_by_person
        if fault is None:
            return ""
        if by_person and not operator:
            return "a person stopped this arm; an operator recovers it (serl robot recover)."
        try:
            self.backend.recover([name])
        except UserError as error:
            return str(error)
        state = self._loop.after_recovery(name, self._settle_s)
        if state.fault is not None:
            return f"{state.fault.kind.name}: {state.fault.reason}"
        standing = arm.checks.standing(state, arm.limits)
        if standing:
            self._cell.enforce([name])
            return standing
        with self._cell.lock:
            # The same fault may have got the path of its recording meanwhile.
            now = arm.fault
            other = now if now and now.stamp_mono_ns != fault.stamp_mono_ns else None
            stopped = arm.stops != stops
            if other is None and not stopped:
                arm.fault, arm.stopped_by_person = None, False
                arm.put_elsewhere(self.clock())
                arm.payload.restart()
        self._cell.enforce([name])  # an emergency stop meanwhile: the backend has to halt again
        if other is not None:
            return f"{other.kind.name}: {other.reason}"
        if stopped:
            return (
                f"{fault.kind.name}: {fault.reason} It was stopped again while it recovered; "
                "recover once more."
            )
        self._loop.recovered()
        self._cell.counts.add("recovered")
        self._cell.tell(arm, f"recovered by {who} from {fault.kind.name}.", self.clock())
        return ""

    def _settle(self, names: Iterable[str]) -> None:
        """Real time: wait until the payload checks of these arms are decided, for a short while."""
        if self.lockstep:
            return
        arms = [self._arms[name] for name in names]
        deadline = time.monotonic() + self._settle_s
        while time.monotonic() < deadline and not all(arm.payload.decided for arm in arms):
            time.sleep(0.01)
