"""What a sample of an arm may not show: too much force, speed, too near a joint's end, outside.

One `StateChecks` per arm, asked with every sample. A limit on force or speed counts only when it
stands for `PERSIST_S`: simulated contacts and real impacts spike for a sample or two, and a spike
has no energy. The arm's own reflex still sees those.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from robot_servers.config import KeepOut, SafetyLimits
from robot_servers.types import FaultKind, Mode, RobotDescription, RobotState

PERSIST_S = 0.01
"""A force or speed over its limit is a fault after this long, and no less than 3 samples."""

PERSIST_SAMPLES = 3

OVERSPEED = 1.5
"""Speeds fault at this many times their limit: the reference keeps the limit itself, and the arm
overshoots it while it catches up."""

OUTSIDE_M = 0.02
"""The TCP may be this far outside the workspace: spring stretch and sag, not a jump."""

BACK_M = 0.01
BACK_RAD = 0.01
"""Found outside, an arm may come back in; it may not go this much further out on the way."""


@dataclass(frozen=True)
class Finding:
    """A limit that a sample violates."""

    kind: FaultKind
    reason: str


class StateChecks:
    """Memory of one arm's limit checks.

    Args:
        robot: its joint limits.
        absolute: limits of robot.toml; joint moves, whose speed no experiment sets, obey these.
    """

    def __init__(self, robot: RobotDescription, absolute: SafetyLimits) -> None:
        self._robot = robot
        self._absolute = absolute
        self._over_since: dict[FaultKind, tuple[int, int]] = {}
        self.forgive()

    def forgive(self) -> None:
        """The arm is where it is (start, recover, reset): from there it may only come back in."""
        self._over_since.clear()
        self._least_rad = [-math.inf] * (2 * self._robot.joint_count)
        self.forgive_place()

    def forgive_place(self) -> None:
        """Other boxes: the TCP is where it is. What stands against the arm otherwise stays."""
        self._allowed_m = self._allowed_deep_m = math.inf

    def look(self, state: RobotState, limits: SafetyLimits, *, holding: bool) -> Finding | None:
        """The first limit this sample violates.

        Args:
            holding: the arm is held: nobody drives it out, but a person may guide it by hand.
        """
        if not _finite(state):
            return Finding(
                FaultKind.OTHER,
                "the arm's state holds a number that is not finite. Restart the robot server.",
            )
        found = self._persistent(state, limits)
        if holding:
            self.forgive_place()
            self._least_rad = [-math.inf] * (2 * self._robot.joint_count)
        return (
            found
            or self._joint_ends(state, limits)
            or self._workspace(state, limits)
            or self._keep_out(state, limits)
        )

    def standing(self, state: RobotState, limits: SafetyLimits) -> str:
        """What would fault at once if the arm were recovered now; empty for nothing."""
        found = _force(state, limits) or _speed(state, limits, self._robot)
        return found.reason if found else ""

    def _persistent(self, state: RobotState, limits: SafetyLimits) -> Finding | None:
        fast = self._absolute if state.mode is Mode.JOINT else limits
        fault = None
        for kind, found in (
            (FaultKind.FORCE, _force(state, limits)),
            (FaultKind.SPEED, _speed(state, fast, self._robot)),
        ):
            if found is None:
                self._over_since.pop(kind, None)
                continue
            since, samples = self._over_since.get(kind, (state.stamp_mono_ns, 0))
            self._over_since[kind] = (since, samples + 1)
            long = state.stamp_mono_ns - since >= PERSIST_S * 1e9
            if fault is None and long and samples + 1 >= PERSIST_SAMPLES:
                fault = found
        return fault

    def _joint_ends(self, state: RobotState, limits: SafetyLimits) -> Finding | None:
        robot, margin = self._robot, limits.joint_margin_rad
        worst: Finding | None = None
        for i, q in enumerate(state.q_rad.tolist()):
            for side, room in ((0, q - robot.q_min_rad[i]), (1, robot.q_max_rad[i] - q)):
                allowed = min(margin, max(self._least_rad[2 * i + side], room - BACK_RAD))
                self._least_rad[2 * i + side] = allowed
                if room < allowed and worst is None:
                    worst = Finding(
                        FaultKind.JOINT_LIMIT,
                        f"{robot.joint_names[i]} is {room:.3f} rad from its end; no nearer than "
                        f"{margin:g} rad is allowed. Recover and move it back.",
                    )
        return worst

    def _workspace(self, state: RobotState, limits: SafetyLimits) -> Finding | None:
        out = _outside(state, limits)
        self._allowed_m = max(OUTSIDE_M, min(self._allowed_m, out + BACK_M))
        if out <= self._allowed_m:
            return None
        x, y, z = state.T_base_tcp[:3, 3].tolist()
        return Finding(
            FaultKind.WORKSPACE,
            f"the TCP at ({x:.3f}, {y:.3f}, {z:.3f}) m is {100 * out:.1f} cm outside the "
            f"workspace {limits.workspace.low_m} to {limits.workspace.high_m}. Recover and move "
            "it back in.",
        )

    def _keep_out(self, state: RobotState, limits: SafetyLimits) -> Finding | None:
        """In a keep-out: further in than a spring stretches, or at all where nothing holds a
        position."""
        if not limits.workspace.keep_out:
            return None
        free = 0.0 if state.mode is Mode.WRENCH else OUTSIDE_M
        box, deep = _deepest(state, limits)
        back = min(self._allowed_deep_m, deep + BACK_M) if deep > 0.0 else 0.0
        self._allowed_deep_m = max(free, back)
        if deep <= self._allowed_deep_m:
            return None
        x, y, z = state.T_base_tcp[:3, 3].tolist()
        return Finding(
            FaultKind.WORKSPACE,
            f"the TCP at ({x:.3f}, {y:.3f}, {z:.3f}) m is {100 * deep:.1f} cm inside the keep-out "
            f"{box.low_m} to {box.high_m}. Recover and move it out.",
        )


def _deepest(state: RobotState, limits: SafetyLimits) -> tuple[KeepOut, float]:
    """The keep-out that the TCP is deepest in, and the way to its nearest face; 0 outside all."""
    p = state.T_base_tcp[:3, 3].tolist()
    boxes = limits.workspace.keep_out
    depths = [
        max(0.0, min(min(x - a, b - x) for x, a, b in zip(p, box.low_m, box.high_m, strict=True)))
        for box in boxes
    ]
    deep = max(depths)
    return boxes[depths.index(deep)], deep


def _finite(state: RobotState) -> bool:
    parts = (state.q_rad, state.dq_rad_per_s, state.T_base_tcp, state.twist_base_tcp)
    return math.isfinite(sum(float(part.sum()) for part in (*parts, state.wrench_base_ext)))


def _outside(state: RobotState, limits: SafetyLimits) -> float:
    """`safety.outside_m` in plain floats: this runs a thousand times a second."""
    total = 0.0
    box = limits.workspace
    for p, low, high in zip(state.T_base_tcp[:3, 3].tolist(), box.low_m, box.high_m, strict=True):
        gap = max(low - p, p - high, 0.0)
        total += gap * gap
    return math.sqrt(total)


def _force(state: RobotState, limits: SafetyLimits) -> Finding | None:
    fx, fy, fz, tx, ty, tz = state.wrench_base_ext.tolist()
    force = math.sqrt(fx * fx + fy * fy + fz * fz)
    torque = math.sqrt(tx * tx + ty * ty + tz * tz)
    if force > limits.force_n:
        text = f"an external force of {force:.1f} N; the limit is {limits.force_n:g} N"
    elif torque > limits.torque_nm:
        text = f"an external torque of {torque:.1f} N m; the limit is {limits.torque_nm:g} N m"
    else:
        return None
    return Finding(FaultKind.FORCE, f"{text}. Clear what the arm touches, then recover.")


def _speed(state: RobotState, limits: SafetyLimits, robot: RobotDescription) -> Finding | None:
    vx, vy, vz, wx, wy, wz = state.twist_base_tcp.tolist()
    speed = math.sqrt(vx * vx + vy * vy + vz * vz)
    turn = math.sqrt(wx * wx + wy * wy + wz * wz)
    if speed > OVERSPEED * limits.linear_speed_m_per_s:
        most = OVERSPEED * limits.linear_speed_m_per_s
        text = f"the TCP moved at {speed:.2f} m/s; it faults above {most:g} m/s"
    elif turn > OVERSPEED * limits.angular_speed_rad_per_s:
        most = OVERSPEED * limits.angular_speed_rad_per_s
        text = f"the TCP turned at {turn:.2f} rad/s; it faults above {most:g} rad/s"
    else:
        for i, dq in enumerate(state.dq_rad_per_s.tolist()):
            most = OVERSPEED * robot.dq_max_rad_per_s[i]
            if abs(dq) > most:
                text = f"{robot.joint_names[i]} moved at {dq:.2f} rad/s; it faults above {most:.3g}"
                break
        else:
            return None
    return Finding(FaultKind.SPEED, f"{text}. Find out why before you recover.")
