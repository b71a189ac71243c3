"""A real arm's backend without the arm: ideal kinematics, for dry runs of a server and for tests.

The arm has no mass in Cartesian modes: spring, damper and push are always in balance, so that it
creeps where the impedance law and a wrench on its TCP would have it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence

import numpy as np

from robot_servers.backends.base import BACKENDS
from robot_servers.backends.driver import Sample
from robot_servers.backends.hardware import HardwareBackend
from robot_servers.control import se3
from robot_servers.control.reference import displacement
from robot_servers.grippers.base import Gripper, make_gripper
from robot_servers.models.base import MODELS
from robot_servers.types import (
    Array,
    CollisionThresholds,
    Fault,
    FaultKind,
    Gains,
    Payload,
)
from serl.errors import UserError

JOINT_TIME_CONSTANT_S = 0.02
"""How quickly the joints follow a joint reference."""

JOINT_INERTIA_KG_M2 = 0.5
"""Of every joint, in wrench mode."""

STEP_S = 0.005
LONGEST_GAP_S = 0.05
"""Time that is caught up when the loop comes late."""


class MockDriver:
    """An `ArmDriver` over nothing but arithmetic.

    A test may set `wrench` (environment on robot, in base, (6,)), `fault`, `stuck` (what `recover`
    still complains about) and `silent`.
    """

    unsupported: frozenset[str] = frozenset()

    def __init__(self, model: str = "panda", loop_hz: float = 200.0) -> None:
        self._model = MODELS.get(model)
        self._T_flange_tcp = self._model.T_flange_tcp
        self.description = self._model.description
        self.loop_hz = loop_hz
        self.wrench = np.zeros(6)
        self.fault: Fault | None = None
        self.stuck = ""
        self.silent = False
        self.payload = Payload()
        self.collision: CollisionThresholds | None = None
        self.calls: list[str] = []
        """What it was told to enter, without the ticks in between."""
        self._lock = threading.Lock()

    def connect(self) -> None:
        self._q = np.array(self.description.q_home_rad)
        self._dq = np.zeros_like(self._q)
        self._tau = np.zeros_like(self._q)
        self._doing = "hold"
        self._read_ns = time.monotonic_ns()

    def close(self) -> None:
        self._enter("hold")

    def read(self) -> Sample:
        if self.silent:
            time.sleep(1.0 / self.loop_hz)
            raise TimeoutError("no state from the mock arm")
        now = time.monotonic_ns()
        with self._lock:
            self._catch_up(min((now - self._read_ns) * 1e-9, LONGEST_GAP_S))
        self._read_ns = now
        q, dq = self._q.copy(), self._dq.copy()
        J = self._jacobian(q)
        fault = self.fault
        if fault is None and self._trips():
            fault = self.fault = Fault(
                kind=FaultKind.REFLEX,
                reason=f"mock arm: an external force of {np.linalg.norm(self.wrench[:3]):.0f} N "
                "tripped the reflex; free the arm, then recover.",
                stamp_mono_ns=now,
            )
        if fault is not None:
            self._enter("hold")
        return Sample(
            stamp_mono_ns=now,
            q_rad=q,
            dq_rad_per_s=dq,
            tau_nm=self._tau.copy(),
            T_base_tcp=self._model.T_base_tcp(q, self._T_flange_tcp),
            twist_base_tcp=J @ dq,
            wrench_base_ext=np.array(self.wrench, dtype=np.float64),
            jacobian=J,
            fault=fault,
        )

    def impedance(self, T_base_ref: Array, gains: Gains) -> None:
        self._T_ref, self._gains = T_base_ref, gains
        self._enter("impedance")

    def follow(self, T_base_ref: Array) -> None:
        self._T_ref = T_base_ref

    def joints(self, q_ref_rad: Array) -> None:
        self._q_ref = q_ref_rad
        self._enter("joints")

    def torque(self, tau_nm: Array) -> None:
        self._tau = tau_nm
        self._enter("torque")

    def halt(self) -> None:
        self._enter("hold")

    def recover(self) -> None:
        if self.stuck:
            raise UserError(self.stuck)
        self.fault = None

    def set_payload(self, payload: Payload) -> None:
        self.payload = payload

    def set_collision(self, thresholds: CollisionThresholds) -> None:
        self.collision = thresholds

    def facts(self) -> Mapping[str, str]:
        return {"arm": "mock: ideal kinematics, nothing moves"}

    def set_tcp(self, T_flange_tcp: Array) -> None:
        self._T_flange_tcp = T_flange_tcp

    def _jacobian(self, q: Array) -> Array:
        return self._model.jacobian(q, self._T_flange_tcp)

    def _enter(self, doing: str) -> None:
        if doing != self._doing:
            self._doing = doing
            self.calls.append(doing)

    def _trips(self) -> bool:
        return self.collision is not None and bool(
            (np.abs(self.wrench) > np.array(self.collision.wrench)).any()
        )

    def _catch_up(self, elapsed_s: float) -> None:
        steps = max(1, round(elapsed_s / STEP_S))
        for _ in range(steps):
            self._step(elapsed_s / steps)

    def _step(self, dt_s: float) -> None:
        robot = self.description
        if self._doing == "impedance":
            self._dq = self._balance()
        elif self._doing == "joints":
            self._dq = (self._q_ref - self._q) / JOINT_TIME_CONSTANT_S
        elif self._doing == "torque":
            pushed = self._tau + self._jacobian(self._q).T @ self.wrench
            self._dq = self._dq + pushed / JOINT_INERTIA_KG_M2 * dt_s
        else:
            self._dq = np.zeros_like(self._q)
            self._tau = np.zeros_like(self._q)
        speed = np.array(robot.dq_max_rad_per_s)
        self._dq = np.clip(self._dq, -speed, speed)
        self._q = np.clip(self._q + self._dq * dt_s, robot.q_min_rad, robot.q_max_rad)

    def _balance(self) -> Array:
        """Joint velocities (n,) at which K clip(e) + w_ext = D v, and the law's torques.

        The posture spring turns the elbow in what the TCP leaves free.
        """
        g, n = self._gains, len(self._q)
        error = displacement(self._model.T_base_tcp(self._q, self._T_flange_tcp), self._T_ref)
        clip = np.array([*g.translational_clip_m, *g.rotational_clip_rad])
        K = np.repeat([g.translational_stiffness_n_per_m, g.rotational_stiffness_nm_per_rad], 3)
        D = np.repeat([g.translational_damping_n_s_per_m, g.rotational_damping_nm_s_per_rad], 3)
        spring = K * np.clip(error, -clip, clip)
        v = (spring + self.wrench) / np.maximum(D, 1e-3)
        J = self._jacobian(self._q)
        J_inverse = J.T @ np.linalg.inv(J @ J.T + 1e-6 * np.eye(6))
        self._tau = J.T @ spring
        home = np.array(self.description.q_home_rad) - self._q
        return J_inverse @ v + (np.eye(n) - J_inverse @ J) @ home


@BACKENDS.register("mock")
class MockBackend(HardwareBackend):
    """`HardwareBackend` over a `MockDriver`.

    Args:
        arms: one arm, model by name.
        gripper: a gripper, or its name; 'none' for none.
        loop_hz: of the loop, as for a real arm.
    """

    def __init__(
        self,
        *,
        arms: Mapping[str, str] | None = None,
        gripper: Gripper | str = "mock",
        loop_hz: float = 200.0,
    ) -> None:
        name, model = one_arm("mock", arms or {"": "panda"})
        self.driver = MockDriver(model, loop_hz)
        super().__init__(self.driver, make_gripper(gripper), name)

    def set_tcp(self, name: str, pos_flange_m: Sequence[float], quat_xyzw: Sequence[float]) -> None:
        """T_flange_tcp from now on. At rest only."""
        self._set_tcp(name, se3.pose_from_quat(pos_flange_m, quat_xyzw), self.driver.set_tcp)


def one_arm(backend: str, arms: Mapping[str, str]) -> tuple[str, str]:
    """The one arm's name and model."""
    if len(arms) != 1:
        raise UserError(
            f"the {backend} backend drives one arm, not {len(arms)} ({', '.join(arms)}); start a "
            "robot server for each."
        )
    return next(iter(arms.items()))
