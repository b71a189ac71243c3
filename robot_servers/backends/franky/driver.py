"""An `ArmDriver` over franky: libfranka's 1 kHz control in C++, told from our loop.

franky's control thread runs the law; this side sets references, gains and motions. Nobody but the
loop's thread reads `robot.state`, which takes 4 us in control and 1 ms outside of it; `halt` is the
only call from elsewhere.
"""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from pathlib import Path
from typing import Any

import numpy as np

from robot_servers.backends.driver import Sample
from robot_servers.backends.franka_wrench import wrench_on_robot
from robot_servers.backends.franky import faults, motions
from robot_servers.control import se3
from robot_servers.models.base import MODELS
from robot_servers.types import (
    Array,
    CollisionThresholds,
    Fault,
    Gains,
    Payload,
)
from serl.errors import UserError

SILENT_S = 0.1
"""In control the arm sends a state every millisecond; this long without a new one is silence."""

CONNECT_S = 10.0
"""Longest wait for the arm's answer to a new client."""

RECOVERED_S = 2.0
"""How long after an error recovery the arm may still report it: states are under way."""

LET_GO_S = 5.0
"""libfranka gives a silent arm up after 1 s."""

STUCK: list[Any] = []
"""Robots whose control thread did not end: destroyed under it, they would end the process."""

STOP_S = 0.5
"""A graceful stop: franky ramps into joint damping for 0.2 s, then waits for rest."""

TCP_TOLERANCE = 1e-5
"""The arm reports its frames in single precision."""


class FrankyDriver:
    """One Franka arm over the FCI.

    Args:
        robot_ip: its address in the FCI's network.
        model: our model's name, 'fr3' or 'panda'.
        enforce_realtime: False connects without a real-time kernel, as to a simulator.
        T_flange_tcp: the TCP (4, 4); None is the model's own, between the hand's finger tips. It is
            set on the arm when that has another.
    """

    loop_hz = 200.0
    unsupported: frozenset[str] = frozenset()

    def __init__(
        self,
        robot_ip: str,
        model: str,
        *,
        enforce_realtime: bool = True,
        T_flange_tcp: Array | None = None,
    ) -> None:
        self._ip = robot_ip
        self._model = MODELS.get(model)
        self.description = self._model.description
        self._enforce_realtime = enforce_realtime
        self._T_flange_tcp = self._model.T_flange_tcp if T_flange_tcp is None else T_flange_tcp
        self._robot: Any = None
        self._gains = Gains()
        self._facts: dict[str, str] = {}

    def connect(self) -> None:
        try:
            import franky
        except ImportError as error:
            raise UserError(
                f"the franky backend needs {error.name or 'franky'}: {error}. Install it with: pip "
                "install 'serl-suite[franky]' (the wheel for your arm's system version: "
                f"{faults.DOCS})."
            ) from error
        self._franky = franky
        self._open()

    def close(self) -> None:
        """Ramp down to the arm's own hold."""
        if self._robot is not None:
            self._end_motion()
            self._let_go()

    def read(self) -> Sample:
        robot, now = self._robot, time.monotonic_ns()
        self._watch_motion()
        try:
            state = robot.state
        except Exception as error:  # NetworkException, or RuntimeError once the connection is gone
            self._lost = True
            raise TimeoutError(faults.fault_from_exception(error).reason) from error
        stamp, arm_time = time.monotonic_ns(), state.time.to_msec()
        elapsed_s = 1e-3 * max(arm_time - self._arm_time, 0) if self._arm_time >= 0 else 0.0
        if arm_time != self._arm_time:
            self._arm_time, self._news_ns = arm_time, stamp
        elif now - self._news_ns > SILENT_S * 1e9:
            silent_s = (now - self._news_ns) * 1e-9
            self._lost = True  # libfranka may wait on such a connection without end
            raise TimeoutError(f"no new state from {self._ip} for {silent_s:.2f} s")
        fault = self._fault or faults.fault_from_mode(
            state.robot_mode.name, repr(state.current_errors)
        )
        self._note_facts(state)
        dq = np.asarray(state.dq)
        J = np.asarray(robot.model.zero_jacobian(self._franky.Frame.EndEffector, state))
        T_base_tcp = np.asarray(state.O_T_EE.matrix)
        return Sample(
            stamp_mono_ns=stamp,
            q_rad=np.asarray(state.q),
            dq_rad_per_s=dq,
            tau_nm=np.asarray(state.tau_J_d),
            T_base_tcp=T_base_tcp,
            twist_base_tcp=J @ dq,
            wrench_base_ext=wrench_on_robot(
                state.K_F_ext_hat_K, T_base_tcp, np.asarray(state.EE_T_K.matrix)
            ),
            jacobian=J,
            fault=fault,
            elapsed_s=elapsed_s,
        )

    def impedance(self, T_base_ref: Array, gains: Gains) -> None:
        self._gains = gains
        reference = self._reference(T_base_ref)
        if self._kind == "impedance" and self._shape == motions.shape_of(gains):
            motions.set_gains(self._franky, self._motion, gains)
            self._motion.set_reference(reference)
            return
        motion = motions.impedance_motion(self._franky, gains, self._model)
        motion.set_reference(reference)
        self._start("impedance", motion)
        self._shape = motions.shape_of(gains)

    def follow(self, T_base_ref: Array) -> None:
        if self._kind == "impedance":
            self._motion.set_reference(self._reference(T_base_ref))

    def joints(self, q_ref_rad: Array) -> None:
        reference = self._franky.JointReference(q=q_ref_rad)
        if self._kind != "joints":
            motion = motions.joint_motion(self._franky, self._gains, self._model)
            motion.set_reference(reference)
            self._start("joints", motion)
        else:
            self._motion.set_reference(reference)

    def torque(self, tau_nm: Array) -> None:
        if self._kind != "torque":
            motion = motions.torque_motion(self._franky, self._gains, self._model, tau_nm)
            self._start("torque", motion)
        else:
            self._motion.set_torque(tau_nm)

    def halt(self) -> None:
        """Preempts the control loop; the arm brakes to its own hold."""
        self._halted = True
        robot = self._robot
        if robot is None or not robot.is_in_control:
            return
        try:
            robot.stop()
        except self._franky.CommandException:
            return  # nothing moves any more

    def recover(self) -> None:
        """Clear reflexes and faults; after a lost connection, connect anew."""
        self._halted = False
        if self._lost:
            self._let_go()
            self._open()
            return
        self._join()
        self._do(self._robot.recover_from_errors)
        deadline = time.monotonic() + RECOVERED_S
        while (state := self._robot.state).robot_mode.name in ("Reflex", "AutomaticErrorRecovery"):
            if time.monotonic() > deadline:
                raise UserError(
                    f"{self._ip} is still in {state.robot_mode.name} {state.current_errors} after "
                    "error recovery; look into Desk, then recover."
                )
        self._forget_motion()

    def set_payload(self, payload: Payload) -> None:
        """Not possible in control, so control is ended."""
        self._end_motion()
        self._do(
            self._robot.set_load,
            payload.mass_kg,
            list(payload.com_flange_m),
            list(payload.inertia_kg_m2),
        )

    def set_collision(self, thresholds: CollisionThresholds) -> None:
        """Not possible in control, so control is ended."""
        self._end_motion()
        torque, wrench = list(thresholds.torque_nm), list(thresholds.wrench)
        self._do(self._robot.set_collision_behavior, torque, wrench)

    def set_tcp(self, T_flange_tcp: Array) -> None:
        """Not possible in control, so control is ended."""
        self._T_flange_tcp = T_flange_tcp
        self._end_motion()
        self._do(self._give_tcp, self._robot.state)

    def facts(self) -> Mapping[str, str]:
        """As of the last state; asks the arm nothing."""
        return dict(self._facts)

    def _open(self) -> None:
        franky = self._franky
        config = franky.RealtimeConfig
        realtime = config.Enforce if self._enforce_realtime else config.Ignore
        try:
            self._robot = patiently(
                lambda: franky.Robot(self._ip, realtime_config=realtime), CONNECT_S
            )
            self._give_tcp(self._robot.state)
        except Exception as error:  # each of franky's exceptions has its line
            self._robot = None
            raise faults.cannot_connect(error, self._ip) from error
        self._halted = False
        self._lost = False
        self._arm_time, self._news_ns = -1, time.monotonic_ns()
        self._facts |= {
            "arm": f"{self.description.name} at {self._ip}",
            "library": f"franky-control {library_version()}; the arm accepts its libfranka",
            "real-time kernel": "yes" if realtime_kernel() else "no",
        }
        self._forget_motion()

    def _let_go(self) -> None:
        """The arm takes one client, and franky disconnects when its object is gone: make sure that
        its control thread has ended first, and that no frame of an old exception keeps it."""
        robot, self._motion, self._robot = self._robot, None, None
        if robot.is_in_control:
            try:
                patiently(robot.stop, LET_GO_S)
            except Exception as error:  # the connection is gone, and with it the motion
                self._facts["last stop"] = faults.fault_from_exception(error).reason
        try:
            ended = robot.join_motion(LET_GO_S)
        except Exception:  # ended, one way or another; nobody waits for this motion any more
            ended = True
        if not ended:
            STUCK.append(robot)
        del robot
        gc.collect()

    def _give_tcp(self, state: Any) -> None:
        """F_T_EE = F_T_NE NE_T_EE: the second is ours to set."""
        self._facts["TCP"] = "flange to TCP " + _frame_text(self._T_flange_tcp)
        if np.abs(np.asarray(state.F_T_EE.matrix) - self._T_flange_tcp).max() > TCP_TOLERANCE:
            T_ne_ee = se3.inverse(np.asarray(state.F_T_NE.matrix)) @ self._T_flange_tcp
            self._robot.set_ee(T_ne_ee.flatten(order="F").tolist())

    def _reference(self, T_base_ref: Array) -> Any:
        p, quat_xyzw = se3.pose_to_quat(T_base_ref)
        return self._franky.CartesianReference(target=self._franky.Affine(p, quat_xyzw))

    def _start(self, kind: str, motion: Any) -> None:
        """Preempt what runs, or enter control."""
        if self._halted or self._fault is not None:
            return
        try:
            self._robot.move(motion, asynchronous=True)
        except Exception as error:  # of the motion before: it ended between two ticks
            self._fault = faults.fault_from_exception(error)
            self._kind = ""
            return
        self._kind, self._motion = kind, motion

    def _watch_motion(self) -> None:
        """Notice that the motion has ended by itself."""
        try:
            self._robot.poll_motion()
        except Exception as error:  # ControlException, TorqueSignalTimeout, Command, Network
            self._lost = self._lost or type(error).__name__ == "NetworkException"
            self._kind = ""
            if not self._halted and self._fault is None:
                self._fault = faults.fault_from_exception(error)

    def _forget_motion(self) -> None:
        self._fault: Fault | None = None
        self._kind = ""
        self._motion: Any = None
        self._shape: tuple[object, ...] = ()

    def _end_motion(self) -> None:
        """Out of control gracefully, if in it."""
        if self._robot.is_in_control:
            stop = self._franky.TorqueStopMotion(max_duration=STOP_S)
            self._start("stop", stop)
        self._join()
        self._kind = ""

    def _join(self) -> None:
        """Wait for the motion's end; how it ended is known, or does not matter any more."""
        try:
            self._robot.join_motion(2.0 * STOP_S)
        except Exception as error:
            self._facts["last motion ended"] = faults.fault_from_exception(error).reason

    def _do(self, call: Any, *arguments: Any) -> None:
        try:
            call(*arguments)
        except Exception as error:  # CommandException: refused, with libfranka's reason
            raise UserError(faults.fault_from_exception(error).reason) from error

    def _note_facts(self, state: Any) -> None:
        self._facts["robot mode"] = state.robot_mode.name
        rate = state.control_command_success_rate
        self._facts["control_command_success_rate"] = f"{rate:.3f}"


def patiently(call: Callable[[], Any], limit_s: float) -> Any:
    """What `call` returns or raises. franky waits without end for an arm that accepts the
    connection and says nothing, as one does that has another client."""
    done: Future[Any] = Future()
    thread = threading.Thread(target=_run_into, args=(call, done), name="franky", daemon=True)
    thread.start()
    try:
        return done.result(limit_s)
    except FutureTimeout:
        if done.done():  # the call's own
            raise
        text = f"it accepted the connection, but gave no answer within {limit_s:g} s"
        raise TimeoutError(text) from None
    finally:
        del done  # it holds the exception, which holds this frame


def _run_into(call: Callable[[], Any], done: Future[Any]) -> None:
    """What comes too late goes with the future: nobody keeps it."""
    try:
        done.set_result(call())
    except BaseException as error:  # raised where it is waited for
        done.set_exception(error)
    finally:
        del done


def realtime_kernel() -> bool:
    """PREEMPT_RT says so in sysfs."""
    flag = Path("/sys/kernel/realtime")
    return flag.exists() and flag.read_text().strip() == "1"


def library_version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("franky-control")
    except PackageNotFoundError:  # a wheel of another name, for older systems
        return "of unknown version"


def _frame_text(T: Array) -> str:
    p, q = se3.pose_to_quat(T)
    return f"{np.round(p, 4).tolist()} m, {np.round(q, 4).tolist()} xyzw"
