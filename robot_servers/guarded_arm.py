"""One arm as the guard sees it: its limits, what it was asked, whether it holds, what is wrong."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from robot_servers.admission import Refusal, refuse_content
from robot_servers.config import ArmSettings
from robot_servers.control import se3
from robot_servers.joint_path import refuse_path, slowed_joints, softly_started
from robot_servers.payload_check import PayloadCheck
from robot_servers.ramps import SOFT_START_S, GainsRamp, slowed, softened
from robot_servers.recorder import Recorder
from robot_servers.safety import (
    Clamp,
    clamp_cartesian,
    clamp_gripper,
    clamp_joints,
    clamp_wrench,
    inside_keep_out,
)
from robot_servers.state_checks import StateChecks
from robot_servers.types import (
    ArmCommand,
    Array,
    CartesianTarget,
    Fault,
    FaultKind,
    Gains,
    JointTarget,
    Mode,
    MotionLimits,
    RobotDescription,
    RobotState,
    WrenchTarget,
)
from robot_servers.watchdog import Watchdog

SAME_JOINTS_RAD = 1e-9
"""Joint targets this near to the one under way go on with it."""

SEND_EVERY_S = 0.005
"""Ramps reach the backend at most this often: 40 steps of 0.2 s, and no flood on a slow driver."""

HALTING = frozenset(
    {FaultKind.ESTOP, FaultKind.REFLEX, FaultKind.USER_STOP, FaultKind.TORQUE_TIMEOUT}
)
"""Faults that end control; the others hold the arm where it is."""


@dataclass(frozen=True, kw_only=True)
class Judged:
    """What may be done with one arm's command."""

    accepted: ArmCommand | None = None
    passed: ArmCommand | None = None
    """What the backend is told; None for nothing: a joint move under way is not told again."""
    clamps: tuple[Clamp, ...] = ()
    refusal: Refusal | None = None


class GuardedArm:
    """State and rules of one arm. The guard's lock is held around everything that changes it."""

    def __init__(
        self,
        name: str,
        robot: RobotDescription,
        settings: ArmSettings,
        rate_hz: float,
        *,
        soft_start: bool = True,
    ) -> None:
        self.name, self.robot, self.settings = name, robot, settings
        self.limits = settings.limits
        """In effect: robot.toml's, narrowed by the session."""
        self.checks = StateChecks(robot, settings.limits)
        self.payload = PayloadCheck(settings.payload, required=settings.payload_verified)
        self.watchdog = Watchdog(soft_start=soft_start)
        self.gains_asked, self.gains = Gains(), GainsRamp(Gains())
        self.motion_asked, self.motion = MotionLimits(), MotionLimits()
        self.recorder = Recorder(name, robot.joint_names, rate_hz)
        self.fault: Fault | None = None
        self.stopped_by_person = False
        """A person's stop or emergency stop stands, whatever the fault shown: a worse one hides a
        stop. Only an operator's recovery ends it."""
        self.stops = 0
        """Grows with every stop asked for, also one that changes no fault."""
        self.clamped = False
        """The last accepted command was moved by a limit."""
        self.generation = 0
        """Grows with every hold and fault, so that a command under way notices."""
        self.enforced_ns = 0
        """When the backend was last told to hold or halt."""
        self._T_accepted: Array | None = None
        self._q_goal: Array | None = None
        self._T_flange_tcp = _flange_tcp(settings)
        self._sent: tuple[Gains, MotionLimits] | None = None
        self._sent_ns = 0

    @property
    def halted(self) -> bool:
        return self.fault is not None and self.fault.kind in HALTING

    def judge(
        self,
        command: ArmCommand,
        state: RobotState,
        unsupported: frozenset[str],
        jump: Literal["refuse", "clamp"],
    ) -> Judged:
        """Refuse, clamp, or take as it is. Changes nothing."""
        if self.fault is not None:
            return Judged(refusal=in_fault(self.fault))
        refusal = refuse_content(command, self.robot, unsupported)
        if refusal is None and command.target is not None and self.payload.refusal():
            refusal = Refusal("payload", self.payload.refusal())
        if refusal is not None:
            return Judged(refusal=refusal)
        target, clamps, go_on = command.target, (), False
        if isinstance(target, CartesianTarget):
            refusal = self._refuse_jump(target, state, jump)
            origin = state.T_base_tcp if self._T_accepted is None else self._T_accepted
            target, clamps = clamp_cartesian(target, origin, self.limits, state.T_base_ref[:3, 3])
        elif isinstance(target, JointTarget):
            target, clamps = clamp_joints(target, self.robot, self.limits)
            go_on = self._under_way(target, state)
            text = "" if go_on else self._refuse_path(target, state)
            refusal = Refusal("path", text) if text else None
            if not go_on and refusal is None:
                slowed = slowed_joints(
                    target, state.q_rad, self.robot, self.limits, self._T_flange_tcp
                )
                command, target = replace(command, target=slowed), slowed
        elif isinstance(target, WrenchTarget):
            refusal = self._refuse_push(state)
            target, clamps = clamp_wrench(target, self.limits)
        if refusal is not None:
            return Judged(refusal=refusal)
        gripper = command.gripper
        if gripper is not None:
            assert self.robot.gripper is not None  # refuse_content has looked
            gripper, squeezed = clamp_gripper(gripper, self.robot.gripper)
            clamps += squeezed
        accepted = replace(command, target=target, gripper=gripper) if clamps else command
        passed = replace(accepted, target=None) if go_on else self._softly(accepted, state)
        if go_on and gripper is None:
            passed = None
        return Judged(accepted=accepted, passed=passed, clamps=clamps)

    def commit(self, judged: Judged, now_ns: int, valid_for_s: float) -> None:
        """The command is being handed to the backend."""
        assert judged.accepted is not None
        target = judged.accepted.target
        self.clamped = bool(judged.clamps)
        if target is None:
            self.watchdog.extend(now_ns, valid_for_s)
            return
        self.watchdog.accept(now_ns, valid_for_s)
        self._T_accepted = target.T_base_tcp.copy() if isinstance(target, CartesianTarget) else None
        self._q_goal = target.q_rad.copy() if isinstance(target, JointTarget) else None

    def hold(self, now_ns: int) -> None:
        """Forget the target; the next command starts from the measured pose."""
        self.watchdog.hold(now_ns)
        self._T_accepted = self._q_goal = None
        self.generation += 1
        self.enforced_ns = now_ns

    def inherit(self, old: GuardedArm) -> None:
        """Another arm of this name stood here: its fault, and who caused it, stay."""
        self.fault, self.stopped_by_person, self.stops = old.fault, old.stopped_by_person, old.stops

    def put_elsewhere(self, now_ns: int) -> None:
        """A scene was reset: hold there, and nothing of the way there counts."""
        self.hold(now_ns)
        self.checks.forgive()
        self.clamped = False

    def show(self, state: RobotState, *, lockstep: bool) -> RobotState:
        """The state as clients see it: with the guard's mode, fault and clamps."""
        clamped = state.clamped or self.clamped
        mode, fault = state.mode, state.fault
        if self.fault is not None:
            mode, fault = Mode.FAULT, self.fault
        elif fault is not None:
            mode = Mode.FAULT
        elif self.watchdog.holding and not lockstep:
            mode = Mode.HOLD
        if mode is state.mode and clamped == state.clamped and fault is state.fault:
            return state
        return replace(state, mode=mode, fault=fault, clamped=clamped)

    def disobeys(self, state: RobotState) -> bool:
        """The arm moves although it should hold: a command overtook the hold."""
        held = self.fault is not None or self.watchdog.holding
        return held and state.mode in (Mode.IMPEDANCE, Mode.JOINT, Mode.WRENCH)

    def advance(self, now_ns: int, dt_s: float) -> None:
        """One tick of all ramps."""
        self.gains.advance(dt_s)
        may_soften = self.payload.required and self.payload.passed
        self.watchdog.advance(now_ns, dt_s, may_soften)

    def to_send(self, now_ns: int, *, at_once: bool = False) -> tuple[Gains, MotionLimits] | None:
        """Gains and motion limits in effect, when the backend does not have them yet; `sent` tells
        what it has."""
        if not at_once and now_ns - self._sent_ns < SEND_EVERY_S * 1e9:
            return None
        due = (
            softened(self.gains.now, self.watchdog.stiffness.value),
            slowed(self.motion, self.watchdog.speed.value),
        )
        return None if due == self._sent else due

    def sent(self, values: tuple[Gains, MotionLimits], now_ns: int) -> None:
        """The backend has these now."""
        self._sent, self._sent_ns = values, now_ns

    def _refuse_jump(self, target: CartesianTarget, state: RobotState, jump: str) -> Refusal | None:
        if not self.watchdog.holding or jump == "clamp":
            return None
        free = replace(self.limits, step_m=np.inf, step_rad=np.inf)
        inside, _ = clamp_cartesian(target, state.T_base_tcp, free)
        error = se3.pose_error(inside.T_base_tcp, state.T_base_tcp)
        far_m, far_rad = (float(np.linalg.norm(part)) for part in (error[:3], error[3:]))
        if far_m <= self.limits.step_m and far_rad <= self.limits.step_rad:
            return None
        return Refusal(
            "jump",
            f"the target is {far_m:.3f} m and {far_rad:.2f} rad from the TCP; out of HOLD it may "
            f"be {self.limits.step_m:g} m and {self.limits.step_rad:g} rad. Start from the "
            "measured pose.",
        )

    def _refuse_push(self, state: RobotState) -> Refusal | None:
        """Wrench mode holds no position: from inside a keep-out it might go anywhere."""
        p = state.T_base_tcp[:3, 3]
        for box in self.limits.workspace.keep_out:
            if inside_keep_out(p, box):
                text = (
                    f"the TCP is in the keep-out {box.low_m} to {box.high_m}, where it may not "
                    "push; move it out with poses first."
                )
                return Refusal("keep_out", text)
        return None

    def _softly(self, command: ArmCommand, state: RobotState) -> ArmCommand:
        """Soft start of what has no speed limit of its own: a joint move comes to its speed, and a
        push to its strength, no sooner than the ramp. The very same object where it is over."""
        target, share = command.target, self.watchdog.share
        if share >= 1.0:
            return command
        if isinstance(target, JointTarget):
            soft = softly_started(target, state.q_rad, self.robot, SOFT_START_S)
            return command if soft is target else replace(command, target=soft)
        if isinstance(target, WrenchTarget):
            return replace(command, target=replace(target, wrench=share * target.wrench))
        return command

    def _under_way(self, target: JointTarget, state: RobotState) -> bool:
        goal = self._q_goal
        return (
            goal is not None
            and not self.watchdog.holding
            and state.mode is Mode.JOINT
            and bool(np.abs(goal - target.q_rad).max() <= SAME_JOINTS_RAD)
        )

    def _refuse_path(self, target: JointTarget, state: RobotState) -> str:
        workspace = self.limits.workspace
        return refuse_path(state.q_rad, target.q_rad, self.robot, workspace, self._T_flange_tcp)


def in_fault(fault: Fault) -> Refusal:
    """Why an arm in a fault takes no command."""
    return Refusal("fault", f"in fault ({fault.kind.name}): {fault.reason} Recover first.")


def _flange_tcp(settings: ArmSettings) -> Array | None:
    """robot.toml's TCP in the flange (4, 4); None for the model's own."""
    if settings.tcp_pos_m is None:
        return None
    return se3.pose_from_quat(settings.tcp_pos_m, settings.tcp_quat_xyzw or (0.0, 0.0, 0.0, 1.0))
