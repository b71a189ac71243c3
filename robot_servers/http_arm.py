"""What each of SERL's endpoints does to one arm. No HTTP in here: a `Call` in, a reply out."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from robot_servers import http_gripper, http_params, http_reply, http_state
from robot_servers.control import se3
from robot_servers.guard import Guard
from robot_servers.http_gripper import Flavour
from robot_servers.http_peer import HttpLease, Peer
from robot_servers.http_reply import Refused
from robot_servers.models.base import MODELS
from robot_servers.types import (
    ArmCommand,
    Array,
    CartesianTarget,
    FaultKind,
    GripperDescription,
    GripperTarget,
    JointTarget,
    MotionLimits,
    Payload,
    RobotDescription,
    RobotState,
    WrenchTarget,
)
from serl.errors import UserError

VALID_FOR_S = 0.5
"""A pose holds for this long: five periods of SERL's 10 Hz loop. Its 0.6 s gripper sleep lets it
lapse; the arm then holds, and the next pose goes on from there."""
FILTER_S = 0.2
"""SERL's target filter: 0.005 per 1 kHz tick."""
RESEND_S = 0.05
"""A joint reset is asked for again this often while its client waits."""
RESET_TOLERANCE_RAD = 0.01
RESET_REST_RAD_PER_S = 0.05
RESET_LIMIT_S = 60.0
"""SERL gives a joint reset 40 s."""
CLEAR_AFTER_S = 2.0
"""With `recover`, a fault stands at least this long before /clearerr clears it."""
EGG_RESET_Q_RAD = (0.0, -0.3, 0.0, -2.1, 0.0, 1.6, 0.8)
EGG_MIN_FZ_N = -1.0
EGG_MAX_TY_NM = 1.5
"""HIL-SERL's egg-flip controller also bounds these two, on base axes."""
A_PERSON_ASKED = (FaultKind.ESTOP, FaultKind.USER_STOP)
"""Never cleared over HTTP: whoever pressed it lets go of it, and an operator recovers."""

T = TypeVar("T")
Reply = str | dict[str, Any]


@dataclass(frozen=True)
class Call:
    """One request."""

    peer: Peer
    body: object
    """Its JSON; None where there was none."""

    def alive(self) -> bool:
        """Whether somebody still waits for the reply."""
        return not self.peer.connection.is_closing()


Endpoint = Callable[[Call], Reply]
Move = Callable[[Call], Awaitable[Reply]]
Worker = Callable[..., Awaitable[Any]]
"""Calls a function with arguments on the one thread that commands."""


class ArmFace:
    """SERL's endpoints for one arm.

    Args:
        lease: of the HTTP face, shared by its arms.
        recover: /clearerr recovers, see `clear_error`.
        reset_q_rad: where /jointreset goes; None: the robot's home.
        counters: counts calls and refusals by name.
    """

    def __init__(
        self,
        guard: Guard,
        arm: str,
        lease: HttpLease,
        worker: Worker,
        *,
        flavour: Flavour,
        recover: bool,
        reset_q_rad: tuple[float, ...] | None,
        counters: Counter[str],
    ) -> None:
        self._guard, self._arm, self._lease, self._worker = guard, arm, lease, worker
        self._flavour: Flavour = flavour
        self._recover = recover
        self._counters = counters
        self._params = http_params.defaults()
        self._mode = "impedance"
        """What commands are taken: 'impedance', 'stopped', 'wrench' or 'reset'."""
        joints = self._description.joint_count
        self._reset_q = np.array(reset_q_rad or self._description.q_home_rad)
        if self._reset_q.shape != (joints,):
            raise UserError(
                f"the joint reset has {self._reset_q.size} joints; arm {arm!r} has {joints}."
            )
        MODELS.get(self._description.name)  # refuse now, not at the first /getstate

    def reads(self) -> dict[str, Endpoint]:
        """Answered at once, whatever goes on."""
        table: dict[str, Endpoint] = {
            "getstate": lambda _: self.state(),
            "getpos_euler": lambda _: {"pose": http_state.euler_list(self._state)},
            "get_gripper": lambda _: {"gripper": self.state()["gripper_pos"]},
            "activate_gripper": lambda _: "Activated",  # the server did so when it started
            "reset_gripper": lambda _: "Reset",
        }
        for path, name in http_state.FIELDS.items():
            table[path] = lambda _, name=name: {name: self.state()[name]}
        return table

    def commands(self) -> dict[str, Endpoint]:
        """To be called on the commanding thread: the guard may let them wait."""
        table: dict[str, Endpoint] = {
            "pose": self.pose,
            "open_gripper": lambda call: self._grip(call, http_gripper.opened, "Opened"),
            "close_gripper": lambda call: self._grip(call, self._closed, "Closed"),
            "move_gripper": self.move_gripper,
            "startimp": self.start_impedance,
            "stopimp": self.stop_impedance,
            "clearerr": self.clear_error,
            "update_param": self.update_param,
        }
        if self._flavour == "hil-serl":
            table |= {
                "close_gripper_slow": lambda call: self._grip(call, self._closed_slowly, "Closed"),
                "set_load": self.set_load,
                "wrench": self.wrench,
                "startwrench": self.start_wrench,
                "stopwrench": self.stop_wrench,
            }
        return table

    def moves(self) -> dict[str, Move]:
        """Answered when the arm is there."""
        table: dict[str, Move] = {"jointreset": lambda call: self.joint_reset(call, self._reset_q)}
        if self._flavour == "hil-serl":
            table["reset"] = lambda call: self.joint_reset(call, self._egg_q())
        return table

    def begin(self) -> None:
        """Another HTTP client commands: SERL's filter, and the parameters HTTP last set."""
        self._mode = "impedance"
        self._guard.set_motion({self._arm: MotionLimits(filter_time_constant_s=FILTER_S)})
        self._guard.set_gains({self._arm: http_params.gains_from(self._params)})

    def state(self) -> dict[str, Any]:
        """/getstate: the newest sample, whatever the arm is doing."""
        state, gripper = self._state, self._description.gripper
        position = 0.0
        if gripper is not None:
            position = http_gripper.position(state.gripper_width_m, gripper, self._flavour)
        model = MODELS.get(self._description.name)
        return http_state.state_json(state, model.jacobian(state.q_rad, self._tool()), position)

    def pose(self, call: Call) -> Reply:
        """/pose: the equilibrium, within every limit of the server."""
        target = CartesianTarget(T_base_tcp=http_reply.pose(call.body))
        self._use(call, "impedance")
        return self._send(ArmCommand(target=target), "Moved")

    def move_gripper(self, call: Call) -> Reply:
        """/move_gripper: 0 to 255."""
        counts = http_reply.number("'gripper_pos'", http_reply.field(call.body, "gripper_pos"))
        return self._grip(
            call, lambda gripper: http_gripper.moved(counts, gripper), "Moved Gripper"
        )

    def start_impedance(self, call: Call) -> Reply:
        """/startimp: take poses (again)."""
        self._use(call)
        self._mode = "impedance"
        return "Started impedance"

    def stop_impedance(self, call: Call) -> Reply:
        """/stopimp: hold here, and take no poses until /startimp."""
        self._use(call)
        self._mode = "stopped"
        self._guard.release("HTTP /stopimp")
        return "Stopped impedance"

    async def joint_reset(self, call: Call, q_rad: Array) -> Reply:
        """/jointreset: a joint move; answered when the arm is there.

        The target lives by this request alone: when its client goes, the arm holds.
        """
        before = await self._worker(self._begin_reset, call)
        clock = asyncio.get_running_loop().time
        end_s = clock() + RESET_LIMIT_S
        try:
            while not self._rests_at(q_rad):
                if not call.alive():
                    await self._worker(self._guard.release, "the client of /jointreset has gone")
                    raise Refused(409, "the client has gone; the arm holds.")
                if clock() > end_s:
                    raise Refused(504, self._still_off(q_rad))
                await self._worker(self._go_on, call, q_rad)
                await asyncio.sleep(RESEND_S)
        finally:
            self._mode = before
        return "Reset Joint"

    def _begin_reset(self, call: Call) -> str:
        """From now on nothing else is taken; the mode before."""
        self._use(call)
        before, self._mode = self._mode, "reset"
        return before

    def _go_on(self, call: Call, q_rad: Array) -> None:
        self._lease.use(call.peer, same_request=True)
        self._send(ArmCommand(target=JointTarget(q_rad=q_rad)), "")

    def clear_error(self, call: Call) -> Reply:
        """/clearerr: SERL sends one before every pose, which used to restart a stopped arm ten
        times a second (D-S1). Counted and answered, and nothing else, unless `recover` is on, the
        fault is the arm's own and no person's, and it has stood for `CLEAR_AFTER_S`."""
        faults = [s.fault for s in self._guard.states().values() if s.fault is not None]
        kinds = {fault.kind for fault in faults}
        by_a_person = (
            self._guard.stopped_by_person  # also where a worse fault hides it
            or kinds <= {FaultKind.STOP}
            or not kinds.isdisjoint(A_PERSON_ASKED)
        )
        newest_ns = max((fault.stamp_mono_ns for fault in faults), default=0)
        fresh = self._guard.clock() - newest_ns < CLEAR_AFTER_S * 1e9
        if not self._recover or by_a_person or fresh:
            self._counters["clearerr/ignored"] += 1
            return "Clear"
        self._use(call)
        arms = [name for name, s in self._guard.states().items() if s.fault is not None]
        left = self._guard.recover(arms, call.peer.name, operator=False)
        if reasons := [reason for reason in left.values() if reason]:
            raise Refused(409, "; ".join(reasons))
        self._counters["clearerr/recovered"] += 1
        return "Clear"

    def update_param(self, call: Call) -> Reply:
        """/update_param: some or all keys of SERL's controller; clips apply on each side."""
        unsupported = self._guard.backend.unsupported
        merged, notes, refused = http_params.merge(self._params, call.body, unsupported)
        self._use(call)
        try:
            gains = http_params.gains_from(merged)
            notes += self._guard.set_gains({self._arm: gains}).get(self._arm, ())
        except UserError as error:
            raise Refused(422, str(error)) from error
        self._params = merged
        if refused:
            raise Refused(422, " ".join(refused))
        return "; ".join(["Updated compliance parameters", *notes])

    def set_load(self, call: Call) -> Reply:
        """/set_load: mass [kg], centre of mass in the flange's frame [m], inertia [kg m^2]."""
        x, y, z = http_reply.numbers(call.body, "F_x_center_load", 3)
        payload = Payload(
            mass_kg=http_reply.number("'mass'", http_reply.field(call.body, "mass")),
            com_flange_m=(x, y, z),
            inertia_kg_m2=tuple(http_reply.numbers(call.body, "load_inertia", 9)),
        )
        if payload.mass_kg < 0.0:
            raise Refused(400, f"'mass' is {payload.mass_kg:g} kg; it must be 0 or more.")
        self._use(call)
        self._guard.set_payload({self._arm: payload})
        return "Set Load"

    def start_wrench(self, call: Call) -> Reply:
        """/startwrench: damped and free, until wrenches come."""
        self._use(call)
        self._mode = "wrench"
        return self._push(np.zeros(6), "Started wrench")

    def wrench(self, call: Call) -> Reply:
        """/wrench: on base axes at the TCP, exerted by the arm; zero 0.1 s after the last one."""
        w = np.array(http_reply.numbers(call.body, "arr", 6))
        self._use(call, "wrench")
        w[2] = max(w[2], EGG_MIN_FZ_N)
        w[4] = min(w[4], EGG_MAX_TY_NM)
        return self._push(w, "Pushed")

    def stop_wrench(self, call: Call) -> Reply:
        """/stopwrench: hold here; poses are taken again."""
        self._use(call)
        self._mode = "impedance"
        self._guard.release("HTTP /stopwrench")
        return "Stopped wrench"

    @property
    def _description(self) -> RobotDescription:
        return self._mine(self._guard.arms)

    @property
    def _state(self) -> RobotState:
        return self._mine(self._guard.states())

    def _mine(self, by_arm: Mapping[str, T]) -> T:
        """This arm's entry; a client of a simulator may have made it another cell."""
        if self._arm not in by_arm:
            raise Refused(409, f"arm {self._arm!r} is gone: the simulator has another cell now.")
        return by_arm[self._arm]

    def _tool(self) -> Array | None:
        """T_flange_tcp of robot.toml, None for the model's own."""
        settings = self._guard.config.settings(self._arm)
        if settings.tcp_pos_m is None and settings.tcp_quat_xyzw is None:
            return None
        quat = settings.tcp_quat_xyzw or (0.0, 0.0, 0.0, 1.0)
        return se3.pose_from_quat(settings.tcp_pos_m or (0.0, 0.0, 0.0), quat)

    def _egg_q(self) -> Array:
        egg = np.array(EGG_RESET_Q_RAD)
        return egg if egg.size == self._description.joint_count else self._reset_q

    def _use(self, call: Call, mode: str | None = None) -> None:
        """The lease, and a mode in which this command is taken."""
        self._lease.use(call.peer)
        if self._mode == "reset":
            raise Refused(
                409, "a joint reset is under way; its request is answered when it is done."
            )
        if mode is None or mode == self._mode:
            return
        start = "startimp" if mode == "impedance" else "startwrench"
        stop = "POST /stopwrench first" if self._mode == "wrench" else f"POST /{start} first"
        raise Refused(409, f"the arm takes no {mode} commands now ({self._mode}); {stop}.")

    def _grip(
        self, call: Call, target: Callable[[GripperDescription], GripperTarget], reply: str
    ) -> Reply:
        """To the gripper, which moves by itself: the answer comes at once."""
        gripper = self._description.gripper
        if gripper is None:
            raise Refused(422, "this arm has no gripper.")
        self._use(call)
        return self._send(ArmCommand(gripper=target(gripper)), reply)

    def _closed(self, gripper: GripperDescription) -> GripperTarget:
        return http_gripper.closed(gripper, self._flavour)

    def _closed_slowly(self, gripper: GripperDescription) -> GripperTarget:
        return http_gripper.closed(gripper, self._flavour, slow=True)

    def _push(self, w: Array, reply: str) -> Reply:
        if "wrench" in self._guard.backend.unsupported:
            raise Refused(422, "wrench: this backend cannot push with a wrench.")
        return self._send(ArmCommand(target=WrenchTarget(wrench=w, frame="base")), reply)

    def _send(self, command: ArmCommand, reply: str) -> Reply:
        """Through the guard; clamps are told in the reply, a refusal is 409."""
        verdict = self._guard.command(
            {self._arm: command}, valid_for_s=VALID_FOR_S, jump="clamp", lost=self._lease.lost
        )[self._arm]
        if verdict.refused:
            raise Refused(409, verdict.refused)
        self._counters.update(f"clamped/{clamp.limit}" for clamp in verdict.clamps)
        return "; ".join([reply, *(clamp.text for clamp in verdict.clamps)])

    def _rests_at(self, q_rad: Array) -> bool:
        state = self._state
        there = np.abs(state.q_rad - q_rad).max() < RESET_TOLERANCE_RAD
        return bool(there and np.abs(state.dq_rad_per_s).max() < RESET_REST_RAD_PER_S)

    def _still_off(self, q_rad: Array) -> str:
        error = np.abs(self._state.q_rad - q_rad)
        joint = self._description.joint_names[int(error.argmax())]
        return (
            f"joint reset: {joint} is still {error.max():.3f} rad off after {RESET_LIMIT_S:g} s "
            f"(allowed: {RESET_TOLERANCE_RAD:g}); see what stands in its way."
        )
