"""What the arms of a cell are set to: robot.toml at the start, then gains, motion, limits, payload.

Nothing here moves an arm. What a client asks for is kept as asked, so that narrower or wider limits
apply to it anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from robot_servers.config import ArmSettings, SafetyLimits, narrowed
from robot_servers.gain_limits import (
    limit_gains,
    limit_motion,
    limit_to_backend,
    refuse_values,
)
from robot_servers.guarded_arm import GuardedArm
from robot_servers.guarded_cell import GuardedCell
from robot_servers.payload_check import REST_RAD_PER_S, PayloadCheck, at_rest
from robot_servers.types import (
    CollisionThresholds,
    Gains,
    MotionLimits,
    Payload,
    RobotState,
)
from serl.errors import UserError, unknown_name

RECORD_HZ = 1000.0
"""Samples a second that a recorder keeps: those of the fastest loop."""


class CellSettings:
    """The settings of one guarded cell. The caller sees to it that changes take turns."""

    def __init__(self, cell: GuardedCell) -> None:
        self._cell = cell
        self._backend = cell.backend

    def refuse_unknown_arms(self) -> None:
        """robot.toml may not speak of arms that are not here."""
        for name in self._cell.config.arms:
            if name not in self._backend.arms:
                raise unknown_name("arm of robot.toml in this backend", name, self._backend.arms)

    def make_arms(self) -> None:
        """Fresh arms in the cell, and everything that robot.toml says about them."""
        cell, arms = self._cell, {}
        for name, robot in self._backend.arms.items():
            settings = cell.config.settings(name)
            if "wrench_measured" in self._backend.unsupported:
                settings = replace(settings, payload_verified=False)  # nothing to verify it with
            arms[name] = GuardedArm(
                name, robot, settings, RECORD_HZ, soft_start=not self._backend.lockstep
            )
            self._give_hardware_settings(name, settings)
            self._give_wrench_box(arms[name])
        with cell.lock:
            for name in arms.keys() & cell.arms.keys():
                arms[name].inherit(cell.arms[name])
            cell.arms = arms
        for arm in arms.values():
            arm.gains.jump(self._allowed(arm.name, arm.gains_asked)[0])
            arm.motion, _ = limit_motion(arm.motion_asked, arm.limits)
        cell.send_settings(arms)

    def set_gains(self, gains: Mapping[str, Gains]) -> dict[str, tuple[str, ...]]:
        """See Guard.set_gains."""
        self._refuse(gains)
        words, allowed, lockstep = {}, {}, self._backend.lockstep
        for name, value in gains.items():
            allowed[name], words[name] = self._allowed(name, value)
        check = getattr(self._backend, "check_gains", None)
        if check is not None:
            for name, value in allowed.items():
                check(name, value)
        for name, value in gains.items():
            arm = self._cell.arms[name]
            with self._cell.lock:
                arm.gains_asked = value
                (arm.gains.jump if lockstep else arm.gains.aim)(allowed[name])
        if lockstep:
            self._cell.send_settings(gains)
        return words

    def set_motion(self, limits: Mapping[str, MotionLimits]) -> dict[str, tuple[str, ...]]:
        """See Guard.set_motion."""
        self._refuse(limits)
        words = {}
        for name, value in limits.items():
            arm = self._cell.arms[name]
            allowed, words[name] = limit_motion(value, arm.limits)
            with self._cell.lock:
                arm.motion_asked, arm.motion = value, allowed
        self._cell.send_settings(limits)
        return words

    def narrow(self, limits: Mapping[str, SafetyLimits]) -> None:
        """See Guard.narrow. All arms or, where one is refused, none."""
        cell = self._cell
        new = {
            name: narrowed(cell.arm(name).settings.limits, asked) for name, asked in limits.items()
        }
        changed = [
            cell.arms[name] for name, value in new.items() if value != cell.arms[name].limits
        ]
        for arm in changed:
            with cell.lock:
                arm.limits = new[arm.name]
                arm.checks.forgive_place()
            self._give_wrench_box(arm)
        self.set_gains({arm.name: arm.gains_asked for arm in changed})
        self.set_motion({arm.name: arm.motion_asked for arm in changed})

    def set_payload(
        self, payloads: Mapping[str, Payload], states: Mapping[str, RobotState]
    ) -> None:
        """See Guard.set_payload."""
        self._refuse_unsupported("payload", payloads)
        for name in payloads:
            if not at_rest(states[name]):
                fastest = float(abs(states[name].dq_rad_per_s).max())
                raise UserError(
                    f"arm {name!r} moves at {fastest:.2f} rad/s; a payload is set at rest (below "
                    f"{REST_RAD_PER_S:g} rad/s). Stop sending commands first."
                )
        self._backend.set_payload(payloads)
        for name, payload in payloads.items():
            arm = self._cell.arms[name]
            with self._cell.lock:
                arm.payload = PayloadCheck(payload, required=arm.settings.payload_verified)

    def set_collision(self, thresholds: Mapping[str, CollisionThresholds]) -> None:
        """See Guard.set_collision."""
        self._refuse_unsupported("collision", thresholds)
        self._backend.set_collision(
            {n: _no_higher(n, t, self._cell.arms[n].settings) for n, t in thresholds.items()}
        )

    def _allowed(self, name: str, gains: Gains) -> tuple[Gains, tuple[str, ...]]:
        """Within robot.toml's maxima and the backend's own; what changed, in words."""
        gains, own = limit_to_backend(gains, getattr(self._backend, "gain_limits", {}))
        gains, words = limit_gains(gains, self._cell.arms[name].limits)
        return gains, own + words

    def _refuse(self, values: Mapping[str, Gains] | Mapping[str, MotionLimits]) -> None:
        for name, value in values.items():
            self._cell.arm(name)
            refuse_values(name, value, self._backend.unsupported)

    def _refuse_unsupported(self, operation: str, names: Iterable[str]) -> None:
        for name in names:
            self._cell.arm(name)
            if operation in self._backend.unsupported:
                raise UserError(f"arm {name!r}: this backend has no {operation} setting.")

    def _give_hardware_settings(self, name: str, settings: ArmSettings) -> None:
        """robot.toml's TCP, payload and thresholds; refused where the backend has no such thing."""
        backend, asked = self._backend, []
        if settings.tcp_pos_m is not None:
            set_tcp = getattr(backend, "set_tcp", None)
            if set_tcp is None:
                asked.append("tcp_pos_m")
            else:
                quat = settings.tcp_quat_xyzw or (0.0, 0.0, 0.0, 1.0)
                set_tcp(name, settings.tcp_pos_m, quat)
        if "payload" not in backend.unsupported:
            backend.set_payload({name: settings.payload})
        elif settings.payload != Payload():
            asked.append("payload")
        if settings.collision is not None and "collision" not in backend.unsupported:
            backend.set_collision({name: settings.collision})
        elif settings.collision is not None:
            asked.append("collision")
        if asked:
            raise UserError(
                f"arm {name!r}: this backend cannot set {', '.join(asked)}; leave it out of "
                "robot.toml, and set it where the arm itself is configured (Desk)."
            )

    def _give_wrench_box(self, arm: GuardedArm) -> None:
        """Wrench mode holds no position: the backend pulls the TCP back into this box."""
        give = getattr(self._backend, "set_wrench_box", None)
        if give is not None and "wrench" not in self._backend.unsupported:
            box = arm.limits.workspace
            turn = {"quat_xyzw": box.quat_xyzw, "rotation_rad": box.rotation_rad}
            give(arm.name, box.low_m, box.high_m, **turn)


def _no_higher(name: str, asked: CollisionThresholds, settings: ArmSettings) -> CollisionThresholds:
    """Each threshold as asked, and no higher than robot.toml's."""
    most = settings.collision
    if most is None:
        return asked
    if len(asked.torque_nm) != len(most.torque_nm):
        raise UserError(
            f"arm {name!r}: torque_nm has {len(asked.torque_nm)} numbers; robot.toml's has "
            f"{len(most.torque_nm)}."
        )
    return CollisionThresholds(
        torque_nm=tuple(map(min, asked.torque_nm, most.torque_nm)),
        wrench=tuple(map(min, asked.wrench, most.wrench)),  # type: ignore[arg-type]
    )
