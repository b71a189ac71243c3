"""A backend made of one vendor arm's driver: modes, reference generator, faults, in real time.

One loop thread reads the arm, advances the reference and tells the driver, at the driver's rate
(200 Hz on the arms here: DESIGN decision 17), and nobody else touches the driver but `halt`. What
others ask for is left in fields that the loop reads, or as a job that the loop does for them.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from robot_servers.backends.base import OnTick
from robot_servers.backends.driver import ArmDriver, Sample
from robot_servers.backends.jobs import Jobs
from robot_servers.backends.joint_line import JointLine
from robot_servers.backends.pacing import Pacer
from robot_servers.control.reference import advance_reference, displacement, pack_limits
from robot_servers.control.se3 import apply_displacement
from robot_servers.control.wrench import (
    FREE,
    no_wrench_box,
    pack_wrench_box,
    wrench_in_base,
    wrench_in_box,
    wrench_torque,
)
from robot_servers.grippers.base import Gripper, GripperState
from robot_servers.models.base import MODELS
from robot_servers.simulation import limits as bounds
from robot_servers.types import (
    WRENCH_HOLD_S,
    ArmCommand,
    Array,
    CartesianTarget,
    CollisionThresholds,
    Fault,
    FaultKind,
    Gains,
    GripperTarget,
    JointTarget,
    Mode,
    MotionLimits,
    Payload,
    RobotDescription,
    RobotState,
    WrenchTarget,
)
from serl.errors import UserError, unknown_name

BRAKE_S = 0.1
"""Out of motion, `hold` lets the reference follow the arm for at most this long, until it is slow:
a reference frozen at once would swing the arm back on its spring. It is frozen within 100 ms."""

BRAKE_SPEED_M_PER_S = 0.01
BRAKE_SPEED_RAD_PER_S = 0.05
"""Slow: the speed at which an arm counts as stopped."""

BRAKE_DAMPING = 5.0
"""Damping while braking, as a multiple. An arm of 7 kg at 0.3 m/s and 89 N s/m takes 270 ms to fall
below 1 cm/s; five times that takes 55 ms, and 40 ms for the torque to get there: 90 ms in all on
franky-sim. With rotation damped less, the wrist swings on and takes the TCP along."""

JOB_LIMIT_S = 30.0
"""Longest that the loop may be busy with someone's request: an error recovery takes seconds."""

RESTS_M = 0.002
"""A gripper this near to its target is not stopped."""

SILENT_LIMIT_S = 5.0
"""Nobody waits longer than this for a sample."""

Act = Callable[[], None]

log = logging.getLogger(__name__)


class HardwareBackend:
    """One real arm.

    Args:
        driver: connected by `connect`.
        gripper: its gripper, or None; connected along with it.
        name: the arm's name.
    """

    in_process = False
    lockstep = False
    scene = None

    def __init__(self, driver: ArmDriver, gripper: Gripper | None = None, name: str = "") -> None:
        self._driver = driver
        self._gripper = gripper
        self._name = name
        hand = None if gripper is None else gripper.description
        self._robot = replace(driver.description, gripper=hand)
        self.arms: Mapping[str, RobotDescription] = {name: self._robot}
        self.period_s = 1.0 / driver.loop_hz
        self.unsupported = driver.unsupported | (frozenset() if hand else {"gripper"})
        self._lock = threading.Condition()
        self._gains = Gains()
        self._limits = pack_limits(MotionLimits())
        self._box = no_wrench_box()
        model = MODELS.get(driver.description.name)
        self._wrench_damping = np.array(model.wrench_damping_nm_s_per_rad)
        self._on_tick: OnTick | None = None
        self._thread: threading.Thread | None = None
        self._late_periods = 0
        self._halted = False
        self._gripper_error = ""

    def connect(self) -> None:
        """Reach arm and gripper, take the first sample, and start the loop. The arm holds by
        itself until the first command."""
        if self._thread is not None:
            return
        self._driver.connect()
        try:
            if self._gripper is not None:
                self._gripper.connect()
            try:
                sample = self._driver.read()
            except TimeoutError as error:
                raise UserError(f"arm {self._name!r} gave no state: {error}") from error
        except BaseException:
            self._driver.close()
            raise
        self._halted = False
        self._start_at(sample)
        self._jobs = Jobs()
        self._stopping = threading.Event()
        self._pacer = Pacer(self.period_s)
        self._deadline_ns = time.monotonic_ns()
        self._dead: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name=f"arm {self._name}", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the loop; the arm holds by itself. A closed backend can connect again."""
        if self._thread is None:
            return
        self._stopping.set()
        self._thread.join()
        self._thread = None
        self._jobs.refuse("the arm has been let go of")
        self._driver.close()
        if self._gripper is not None:
            self._gripper.close()

    def __enter__(self) -> HardwareBackend:
        self.connect()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def states(self) -> Mapping[str, RobotState]:
        """The newest sample."""
        self._check_connected()
        with self._lock:
            return {self._name: self._state}

    def command(self, commands: Mapping[str, ArmCommand]) -> None:
        """Accept a target: a new reference from the next tick on.

        Raises UserError for what is not finite, for a gripper that is not there, and while the arm
        is in a fault or halted.
        """
        self._check_connected()
        self._check_names(commands)
        for command in commands.values():
            accepted, clamped = self._admit(command)
            with self._lock:
                self._check_willing()
                self._clamped = clamped
                if accepted.target is not None:
                    self._aim(accepted.target)
            if accepted.gripper is not None and self._gripper is not None:
                self._gripper.command(accepted.gripper)
            with self._lock:
                self._show()

    def hold(self, arms: Iterable[str]) -> None:
        """See Backend.hold; the loop freezes the reference within one tick, and brakes."""
        self._check_connected()
        self._check_names(arms)
        for _ in arms:
            with self._lock:
                if self._mode is Mode.FAULT:
                    self._driven = None  # an arm still in control is told its hold once more
                elif self._mode is not Mode.IDLE:
                    self._hold()
            self._rest_gripper()

    def halt(self, arms: Iterable[str]) -> None:
        """See Backend.halt. Until `recover` the arm follows nothing."""
        self._check_connected()
        self._check_names(arms)
        for _ in arms:
            self._halted = True
            try:
                self._driver.halt()
            finally:
                with self._lock:
                    if self._mode is not Mode.FAULT:
                        self._mode = Mode.IDLE
                    self._show()
                self._rest_gripper()

    def recover(self, arms: Iterable[str]) -> None:
        """See Backend.recover: back in control, holding where the arm is."""
        self._check_names(arms)
        for _ in arms:
            self._in_loop(self._recover)

    def set_payload(self, payloads: Mapping[str, Payload]) -> None:
        """The arm holds by itself meanwhile and until the next command."""
        self._check_names(payloads)
        for payload in payloads.values():
            self._require("payload")
            self._in_loop(lambda payload=payload: self._driver.set_payload(payload), rest=True)

    def set_collision(self, thresholds: Mapping[str, CollisionThresholds]) -> None:
        """As `set_payload`."""
        self._check_names(thresholds)
        for value in thresholds.values():
            self._require("collision")
            self._in_loop(lambda value=value: self._driver.set_collision(value), rest=True)

    def _set_tcp(self, name: str, T_flange_tcp: Array, give: Callable[[Array], None]) -> None:
        """For drivers that can: `give` it to the arm, at rest, which then holds by itself."""
        self._check_names([name])
        self._in_loop(lambda: give(T_flange_tcp), rest=True)

    def set_wrench_box(
        self,
        name: str,
        low_m: Sequence[float],
        high_m: Sequence[float],
        quat_xyzw: Sequence[float] = (0.0, 0.0, 0.0, 1.0),
        rotation_rad: Sequence[float] = FREE,
    ) -> None:
        """Wrench mode pulls the TCP back into this box; see `pack_wrench_box`."""
        self._check_names([name])
        with self._lock:
            self._box = pack_wrench_box(low_m, high_m, quat_xyzw, rotation_rad)

    def subscribe(self, on_tick: OnTick) -> None:
        self._on_tick = on_tick

    def facts(self) -> Mapping[str, str]:
        return {
            **self._driver.facts(),
            **self._gripper_facts(),
            "loop": f"{self._driver.loop_hz:g} Hz, {self.overruns} overruns, "
            f"p99 late {1e3 * self.tick_jitter_p99_s:.2f} ms",
        }

    def set_gains(self, gains: Mapping[str, Gains]) -> None:
        """From the next tick on; clips may change in motion."""
        self._check_names(gains)
        for name, value in gains.items():
            bounds.check_fields(name, value)
            with self._lock:
                self._gains = replace(value)

    def set_limits(self, limits: Mapping[str, MotionLimits]) -> None:
        """From the next tick on."""
        self._check_names(limits)
        for name, value in limits.items():
            bounds.check_fields(name, value)
            with self._lock:
                self._limits = pack_limits(value)

    def advance(self, period_s: float) -> Mapping[str, RobotState]:
        """Wait until `period_s` after the last deadline, and for a sample not handed out before.

        After an overrun the next period counts from now.
        """
        self._check_connected()
        bounds.check_range("a control period", period_s, self.period_s, 60.0, "s")
        self._deadline_ns += round(period_s * 1e9)
        ahead_s = (self._deadline_ns - time.monotonic_ns()) * 1e-9
        if ahead_s > 0:
            time.sleep(ahead_s)
        else:
            self._late_periods += 1
            self._deadline_ns = time.monotonic_ns()
        with self._lock:
            self._lock.wait_for(self._has_news, SILENT_LIMIT_S)
            if self._dead is not None:
                raise RuntimeError("the arm's loop has failed") from self._dead
            self._handed_out = self._state
            return {self._name: self._state}

    @property
    def overruns(self) -> int:
        """Deadlines missed: ticks a whole period late, and control periods that ended late."""
        ticks = self._pacer.overruns if self._thread is not None else 0
        return ticks + self._late_periods

    @property
    def tick_jitter_p99_s(self) -> float:
        """99th percentile of how late a tick began [s]."""
        return self._pacer.late_p99_s if self._thread is not None else 0.0

    # The loop's side.

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._jobs.run_next()
            try:
                self._tick()
            except Exception as error:  # a subscriber's: the contract says that it ends the loop
                self._end(error)
                return
            self._pacer.wait(self._stopping)

    def _tick(self) -> None:
        """Read, decide, act, tell. What the driver raises becomes a fault; the loop goes on."""
        try:
            sample = self._driver.read()
            with self._lock:
                act = self._decide(sample)
            if act is not None:
                act()
            if self._halted and act is not None:  # halted while it was acting
                self._driver.halt()
        except Exception as error:  # whatever a vendor's library raises, made visible
            self._fail(error)
        with self._lock:
            before, state = self._state, self._state_of(self._sample)
            self._state = state
            self._lock.notify_all()
        news = state.stamp_mono_ns > before.stamp_mono_ns or state.fault is not before.fault
        if news and self._on_tick is not None:
            self._on_tick({self._name: state})

    def _decide(self, sample: Sample) -> Act | None:
        """What the driver is to do this tick. Holds the lock."""
        self._sample = sample
        elapsed_s = self.period_s if sample.elapsed_s is None else sample.elapsed_s
        self._dt_s = min(elapsed_s, self.period_s)
        if sample.fault is not None and self._fault is None:
            self._latch(sample.fault)
        if self._mode is Mode.FAULT and self._arrests(sample):
            return self._track(sample)
        if self._mode in (Mode.FAULT, Mode.IDLE):
            self._settle(sample.T_base_tcp)
            return None
        if self._mode is Mode.JOINT and self._line is not None:
            self._settle(sample.T_base_tcp)
            q_ref = self._line.advance(self._dt_s)
            return lambda: self._driver.joints(q_ref)
        if self._mode is Mode.WRENCH and self._wrench is not None:
            self._settle(sample.T_base_tcp)
            tau = self._wrench_torque(self._wrench, sample)
            return lambda: self._driver.torque(tau)
        if self._passive:
            self._settle(sample.T_base_tcp)
            return None
        return self._track(sample)

    def _wrench_torque(self, target: WrenchTarget, sample: Sample) -> Array:
        """Torques of wrench mode (n,) [N m]; Coriolis torques are the driver's, as gravity is."""
        T = sample.T_base_tcp
        fresh = time.monotonic_ns() - self._wrench_ns <= WRENCH_HOLD_S * 1e9
        w = wrench_in_base(target.wrench, target.frame == "tcp", T) if fresh else np.zeros(6)
        w = wrench_in_box(w, T, self._box)
        dq, nothing = sample.dq_rad_per_s, np.zeros_like(sample.dq_rad_per_s)
        return wrench_torque(sample.jacobian, dq, w, self._wrench_damping, nothing)

    def _track(self, sample: Sample) -> Act:
        """Impedance and hold: move the reference on, and let the driver follow it."""
        gains = self._gains
        if self._mode in (Mode.HOLD, Mode.FAULT) and self._braking(sample):
            self._settle(sample.T_base_tcp)
            gains = replace(
                gains,
                translational_damping_n_s_per_m=(
                    BRAKE_DAMPING * gains.translational_damping_n_s_per_m
                ),
                rotational_damping_nm_s_per_rad=(
                    BRAKE_DAMPING * gains.rotational_damping_nm_s_per_rad
                ),
            )
        elif self._mode is Mode.IMPEDANCE and self._dt_s > 0:
            self._T_ref, self._twist_ref, self._T_goal = advance_reference(
                self._T_ref,
                self._twist_ref,
                self._T_goal,
                self._T_target,
                self._limits,
                self._dt_s,
            )
        T_ref = clip_reference(sample.T_base_tcp, self._T_ref, gains)
        if self._driven == gains:
            return lambda: self._driver.follow(T_ref)
        self._driven = gains
        told = symmetric(gains)
        return lambda: self._driver.impedance(T_ref, told)

    def _arrests(self, sample: Sample) -> bool:
        """In a fault of ours the vendor's control may go on, towards a reference that is not
        reached: it is told to brake and hold from the first sample after the fault on. Not where
        the vendor ended control: to begin it again is `recover`'s."""
        if sample.fault is not None or self._halted or self._passive:
            self._in_control = False
        if self._in_control and self._arrest:
            self._arrest = False
            self._driven = None
            self._brake_until_ns = time.monotonic_ns() + round(BRAKE_S * 1e9)
            self._settle(sample.T_base_tcp)
        return self._in_control

    def _braking(self, sample: Sample) -> bool:
        """The arm is still being stopped; ends for good once it is slow or time is up."""
        if self._brake_until_ns == 0:
            return False
        twist = sample.twist_base_tcp
        slow = (
            np.linalg.norm(twist[:3]) < BRAKE_SPEED_M_PER_S
            and np.linalg.norm(twist[3:]) < BRAKE_SPEED_RAD_PER_S
        )
        if slow or time.monotonic_ns() >= self._brake_until_ns:
            self._brake_until_ns = 0
            self._settle(sample.T_base_tcp)
            return False
        return True

    def _recover(self) -> None:
        """In the loop: clear the vendor's errors, then hold in impedance."""
        self._halted = False
        self._driver.recover()
        sample = self._driver.read()
        if sample.fault is not None:
            raise UserError(sample.fault.reason)
        with self._lock:
            self._start_at(sample)
            if self._halted:  # again, while it recovered
                self._mode = Mode.IDLE
            self._passive = False

    def _start_at(self, sample: Sample) -> None:
        """At rest where the arm is; nothing asked of the driver yet."""
        self._sample = sample
        self._dt_s = self.period_s
        self._fault: Fault | None = None
        self._mode = Mode.HOLD
        self._passive = True
        self._in_control = False
        """Of a latched fault: it came from here, and did not end the vendor's control."""
        self._arrest = False
        """... and the driver has not been told to hold yet."""
        self._driven: Gains | None = None
        self._clamped = False
        self._line: JointLine | None = None
        self._wrench: WrenchTarget | None = None
        self._wrench_ns = 0
        self._brake_until_ns = 0
        self._settle(sample.T_base_tcp)
        if sample.fault is not None:
            self._latch(sample.fault)
        self._state = self._state_of(sample)
        self._handed_out: RobotState | None = None

    def _settle(self, T_base_tcp: Array) -> None:
        """Reference, goal and target on the measured pose, at rest."""
        self._T_ref = self._T_goal = self._T_target = T_base_tcp
        self._twist_ref = np.zeros(6)

    def _hold(self) -> None:
        """Holds the lock."""
        if self._mode is not Mode.HOLD:
            self._mode = Mode.HOLD
            self._brake_until_ns = time.monotonic_ns() + round(BRAKE_S * 1e9)
            self._driven = None
            self._settle(self._sample.T_base_tcp)
            self._show()

    def _aim(self, target: CartesianTarget | JointTarget | WrenchTarget) -> None:
        """Make `target`, already checked, what the arm moves to from now. Holds the lock."""
        self._passive = False
        if isinstance(target, CartesianTarget):
            if self._mode not in (Mode.IMPEDANCE, Mode.HOLD):
                self._driven = None  # the driver is doing something else
            self._mode = Mode.IMPEDANCE
            self._T_target = target.T_base_tcp
        elif isinstance(target, JointTarget):
            if not (self._mode is Mode.JOINT and self._line and self._line.leads_to(target.q_rad)):
                line = self._line if self._mode is Mode.JOINT else None
                start, dq = (
                    (self._sample.q_rad, None) if line is None else (line.q_ref, line.dq_ref)
                )
                self._line = JointLine(
                    start,
                    target.q_rad,
                    self._robot,
                    target.speed_share,
                    dq,
                    target.acceleration_share,
                )
            self._mode = Mode.JOINT
        else:
            self._wrench, self._wrench_ns = target, time.monotonic_ns()
            self._mode = Mode.WRENCH

    def _latch(self, fault: Fault, *, in_control: bool = False) -> None:
        """Holds the lock."""
        self._fault = fault
        self._mode = Mode.FAULT
        self._driven = None
        self._in_control = self._arrest = in_control

    def _fail(self, error: Exception) -> None:
        """The driver raised: a fault, unless one stands already."""
        if isinstance(error, (TimeoutError, ConnectionError)):
            kind, text = FaultKind.COMMUNICATION, f"the arm has gone silent: {error}"
        elif isinstance(error, UserError):
            kind, text = FaultKind.OTHER, str(error)
        else:
            kind, text = FaultKind.OTHER, f"{type(error).__name__}: {error}"
        reason = f"arm {self._name!r}: {text}".replace("\n", " ")
        with self._lock:
            if self._fault is None:
                stamp = time.monotonic_ns()
                fault = Fault(kind=kind, reason=reason, stamp_mono_ns=stamp)
                self._latch(fault, in_control=not self._passive and not self._halted)

    def _end(self, error: Exception) -> None:
        """A subscriber raised: hold, and run no more."""
        with self._lock:
            self._hold()
            T, gains = self._sample.T_base_tcp, symmetric(self._gains)
        try:
            if not self._passive and self._fault is None and not self._halted:
                self._driver.impedance(T, gains)
        except Exception as driver_error:  # both are told to whoever asks next
            error.__context__ = driver_error
        with self._lock:
            self._dead = error
            reason = f"arm {self._name!r}: the loop ended: {type(error).__name__}: {error}"
            if self._fault is None:
                stamp = time.monotonic_ns()
                self._latch(Fault(kind=FaultKind.OTHER, reason=reason, stamp_mono_ns=stamp))
            self._show()
            self._lock.notify_all()
        self._jobs.refuse(reason)

    def _state_of(self, sample: Sample) -> RobotState:
        """Sample, control state and gripper as one state. Holds the lock."""
        width = target = 0.0
        moving = False
        hand = self._hand()
        if hand is not None:
            width, target, moving = hand.width_m, hand.target_m, hand.moving
        return RobotState(
            stamp_mono_ns=sample.stamp_mono_ns,
            q_rad=sample.q_rad,
            dq_rad_per_s=sample.dq_rad_per_s,
            tau_nm=sample.tau_nm,
            T_base_tcp=sample.T_base_tcp,
            twist_base_tcp=sample.twist_base_tcp,
            wrench_base_ext=sample.wrench_base_ext,
            T_base_ref=self._T_ref,
            T_base_target=self._T_target,
            gripper_width_m=width,
            gripper_target_m=target,
            gripper_moving=moving,
            mode=self._mode,
            clamped=self._clamped,
            fault=self._fault,
        )

    def _hand(self) -> GripperState | None:
        """The gripper's newest sample; an error of it is logged once, as it is no arm fault."""
        if self._gripper is None or self._robot.gripper is None:
            return None
        hand = self._gripper.state()
        if hand.error and hand.error != self._gripper_error:
            log.warning("arm %r: its gripper: %s", self._name, hand.error)
        elif self._gripper_error and not hand.error:
            log.warning("arm %r: its gripper is well again", self._name)
        self._gripper_error = hand.error
        return hand

    # The callers' side.

    def _rest_gripper(self) -> None:
        """Fingers that move stop where they are; those that press on a part go on: dropping it
        would be worse."""
        if self._gripper is None or self._robot.gripper is None:
            return
        hand = self._gripper.state()
        if hand.moving and not hand.holding and abs(hand.width_m - hand.target_m) > RESTS_M:
            self._gripper.command(GripperTarget(width_m=hand.width_m))

    def _gripper_facts(self) -> Mapping[str, str]:
        if self._thread is None or self._robot.gripper is None or self._gripper is None:
            return {}
        hand, name = self._gripper.state(), self._robot.gripper.name
        doing = "holding something" if hand.holding else "well"
        return {"gripper": f"{name}: {hand.error or doing}"}

    def _show(self) -> None:
        """The newest sample with the mode and target of now. Holds the lock."""
        self._state = self._state_of(self._sample)

    def _admit(self, command: ArmCommand) -> tuple[ArmCommand, bool]:
        """The command within the arm's own limits, and whether that moved it."""
        wrench = command.target
        if not isinstance(wrench, WrenchTarget):
            return bounds.admit(self._name, command, self._robot)
        self._require("wrench")
        w = np.array(wrench.wrench, dtype=np.float64)
        if w.shape != (6,) or not np.isfinite(w).all() or wrench.frame not in ("base", "tcp"):
            raise UserError(
                f"arm {self._name!r}: a wrench is 6 finite numbers in frame 'base' or 'tcp', not "
                f"{wrench.wrench} in {wrench.frame!r}."
            )
        rest, clamped = bounds.admit(self._name, replace(command, target=None), self._robot)
        return replace(rest, target=replace(wrench, wrench=w)), clamped

    def _in_loop(self, job: Callable[[], None], rest: bool = False) -> None:
        """Have the loop do `job`, and wait. `rest`: only of an arm at rest, which then holds by
        itself."""
        self._check_connected()
        if self._dead is not None:
            raise UserError(f"arm {self._name!r}: its loop has ended ({self._dead}); start again.")

        def at_rest() -> None:
            with self._lock:
                if np.linalg.norm(self._sample.twist_base_tcp[:3]) > BRAKE_SPEED_M_PER_S:
                    raise UserError(f"arm {self._name!r} moves; stop it first.")
            job()
            with self._lock:
                self._in_control = False
                if self._mode not in (Mode.FAULT, Mode.IDLE):
                    self._mode, self._passive, self._driven = Mode.HOLD, True, None

        self._jobs.do(at_rest if rest else job, JOB_LIMIT_S)

    def _has_news(self) -> bool:
        last = self._handed_out
        return (
            self._dead is not None
            or last is None
            or self._state.stamp_mono_ns > last.stamp_mono_ns
            or self._state.fault is not None
        )

    def _require(self, operation: str) -> None:
        if operation in self.unsupported:
            raise UserError(f"{self._robot.name} has no {operation!r} here; leave it out.")

    def _check_connected(self) -> None:
        if self._thread is None:
            raise UserError(f"arm {self._name!r} is not connected; call connect() first.")

    def _check_names(self, names: Iterable[str]) -> None:
        for name in names:
            if name != self._name:
                raise unknown_name("arm", name, self.arms)

    def _check_willing(self) -> None:
        """Refuse targets of an arm that follows nothing. Holds the lock."""
        if self._mode is Mode.FAULT:
            reason = "" if self._fault is None else self._fault.reason
            raise UserError(f"arm {self._name!r} is in a fault ({reason}); recover it first.")
        if self._mode is Mode.IDLE or self._halted:
            raise UserError(f"arm {self._name!r} is halted; recover it first.")


def clip_reference(T_base_tcp: Array, T_base_ref: Array, gains: Gains) -> Array:
    """The reference within gains' asymmetric clips about the measured pose; itself when they are
    symmetric, as the driver's own clip, at a higher rate, then does the same."""
    if gains.translational_clip_neg_m is None and gains.rotational_clip_neg_rad is None:
        return T_base_ref
    high = np.array([*gains.translational_clip_m, *gains.rotational_clip_rad])
    low = np.array(
        [
            *(gains.translational_clip_neg_m or gains.translational_clip_m),
            *(gains.rotational_clip_neg_rad or gains.rotational_clip_rad),
        ]
    )
    error = displacement(T_base_tcp, T_base_ref)
    return apply_displacement(T_base_tcp, np.clip(error, -low, high))


def symmetric(gains: Gains) -> Gains:
    """Gains whose clips are the larger of both signs, for a driver that knows one."""
    if gains.translational_clip_neg_m is None and gains.rotational_clip_neg_rad is None:
        return gains

    def larger(
        high: tuple[float, float, float], low: tuple[float, float, float] | None
    ) -> tuple[float, float, float]:
        x, y, z = (max(pair) for pair in zip(high, low or high, strict=True))
        return x, y, z

    return replace(
        gains,
        translational_clip_m=larger(gains.translational_clip_m, gains.translational_clip_neg_m),
        rotational_clip_rad=larger(gains.rotational_clip_rad, gains.rotational_clip_neg_rad),
        translational_clip_neg_m=None,
        rotational_clip_neg_rad=None,
    )
