"""The simulated cell: MuJoCo, the impedance law and the reference generator, in one process.

In lockstep `advance` steps physics at once; in real time a thread of its own keeps physics on the
wall clock, at 1 ms. The same control loop runs in both.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from threading import RLock
from typing import Any

from robot_servers.backends.base import BACKENDS, OnTick
from robot_servers.control import se3
from robot_servers.control.se3 import Array
from robot_servers.control.wrench import FREE
from robot_servers.errors import CommandRefused
from robot_servers.models.base import MODELS, describe
from robot_servers.simulation import limits as bounds
from robot_servers.simulation.burden import Burden
from robot_servers.simulation.cell import check_mujoco
from robot_servers.simulation.loop import make_loop, numba_installed
from robot_servers.simulation.realtime import Metronome
from robot_servers.simulation.reflex import Reflex
from robot_servers.simulation.scene import MujocoScene
from robot_servers.simulation.settings import ArmSettings, check_payload, check_wrench_box
from robot_servers.simulation.world import World
from robot_servers.types import (
    ArmCommand,
    CartesianTarget,
    CollisionThresholds,
    Fault,
    FaultKind,
    Gains,
    Mode,
    MotionLimits,
    Payload,
    RobotDescription,
    RobotState,
    SceneObject,
)
from serl.errors import UserError, unknown_name

REALTIME_STEP_S = 0.001
"""Physics step on the wall clock: the rate of a real arm's state."""

PLAN = (
    "arms",
    "_models",
    "_base_poses",
    "_physics_dt_s",
    "_delay_ticks",
    "_index",
    "_settings",
    "_pending",
    "_accepted",
    "_clamped",
    "_faults",
)
"""What `reconfigure` puts back when it is refused."""

AT_REST_RAD_PER_S = 0.05
"""Joints slower than this are at rest."""


@BACKENDS.register("mujoco")
class MujocoBackend:
    """One or more simulated arms on a table.

    Args:
        arms: model name by arm name; {"": "panda"} is one Panda.
        physics_dt_s: physics step in lockstep [s]; in real time it is 1 ms.
        lockstep: False runs on the wall clock.
        base_poses: T_world_base (4, 4) by arm name; the world is the first arm's base by default.
        action_delay_s: a command takes effect this much after it is given, like hardware's latency;
            rounded to whole physics steps.
        compiled: None uses numba where it is installed; False is the same loop in plain Python.
        payload_kg: a mass at each TCP that gravity compensation does not know.
        joint_friction_nm: Coulomb friction per joint, or of all, that the law does not know.
    """

    in_process = True
    """An env may use it directly: it moves no real arm."""

    def __init__(
        self,
        *,
        arms: Mapping[str, str] | None = None,
        physics_dt_s: float = 0.002,
        lockstep: bool = True,
        base_poses: Mapping[str, Array] | None = None,
        action_delay_s: float = 0.0,
        compiled: bool | None = None,
        payload_kg: float = 0.0,
        joint_friction_nm: float | Sequence[float] = 0.0,
    ) -> None:
        self.lockstep = lockstep
        self._late_periods = 0
        self._burden = Burden(payload_kg=payload_kg, joint_friction_nm=joint_friction_nm)
        self._compiled = numba_installed() if compiled is None else compiled
        self._lock = RLock()
        self._world: World | None = None
        self._metronome: Metronome | None = None
        self._subscribers: list[OnTick] = []
        self._scene = MujocoScene(self)
        self._stamp_ns = 0
        self._plan(arms or {"": "panda"}, base_poses or {}, physics_dt_s, action_delay_s)

    def _plan(
        self,
        models: Mapping[str, str],
        base_poses: Mapping[str, Array],
        physics_dt_s: float,
        action_delay_s: float,
    ) -> None:
        """Take on a cell; nothing changes when it is refused."""
        bounds.check_range("physics_dt_s", physics_dt_s, 1e-4, 0.01, "s")
        bounds.check_range("action_delay_s", action_delay_s, 0.0, 10.0, "s")
        self.arms: Mapping[str, RobotDescription] = {
            name: describe(model) for name, model in models.items()
        }
        self._models = dict(models)
        self._base_poses = dict(base_poses)
        self._physics_dt_s = physics_dt_s if self.lockstep else REALTIME_STEP_S
        self._delay_ticks = round(action_delay_s / self._physics_dt_s)
        self._index = {name: a for a, name in enumerate(models)}
        self._settings = {name: ArmSettings() for name in models}
        self._forget_commands()

    @property
    def period_s(self) -> float:
        """Time between two samples: the physics step."""
        return self._physics_dt_s

    @property
    def unsupported(self) -> frozenset[str]:
        """A cell without any gripper has no 'gripper'; everything else can be had."""
        grippers = any(robot.gripper for robot in self.arms.values())
        return frozenset() if grippers else frozenset({"gripper"})

    @property
    def overruns(self) -> int:
        """In real time: physics steps that began a step late, and control periods over already."""
        return self._late_periods + (self._metronome.late if self._metronome is not None else 0)

    @property
    def tick_jitter_p99_s(self) -> float:
        """99 % of physics steps began no later than this after their time, in real time [s]."""
        return self._metronome.jitter_p99_s if self._metronome is not None else 0.0

    def connect(self) -> None:
        """Compile the control loop and the empty cell; start the clock in real time."""
        if self._world is not None:
            return
        try:
            check_mujoco()
            self._run_loop = make_loop(self._compiled)
        except ImportError as error:
            raise UserError(
                f"the simulator needs {error.name}; install it with: pip install 'serl-suite[sim]'"
            ) from error
        self.rebuild("")

    def close(self) -> None:
        """Stop the clock and free the renderer. A closed backend can connect again."""
        if self._metronome is not None:
            self._metronome.stop()
            self._metronome = None
        self._scene.close()
        self._world = None

    def __enter__(self) -> MujocoBackend:
        self.connect()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def scene(self) -> MujocoScene:
        """The simulator's scene."""
        return self._scene

    @property
    def world(self) -> World:
        """The compiled cell."""
        if self._world is None:
            raise UserError("the mujoco backend is not connected; call connect() first.")
        return self._world

    @property
    def lock(self) -> RLock:
        """Held while physics or control state is read or written."""
        return self._lock

    def rebuild(self, fragment: str) -> None:
        """Compile the cell with a task's fragment, and reset it. On an error the old cell stays."""
        world = World(
            self._models,
            self._base_poses,
            self._physics_dt_s,
            fragment,
            self._compiled,
            self._burden,
        )
        with self._lock:
            self._world = world
            for name, a in self._index.items():
                self._settings[name].apply(world, a)
            world.reset((), {})
            self._run_loop(world.physics, world.arms, 0)
            self._forget_commands()
        self._keep_time()

    def reconfigure(
        self,
        *,
        arms: Mapping[str, str] | None = None,
        base_poses: Mapping[str, Array] | None = None,
        physics_dt_s: float | None = None,
        action_delay_s: float = 0.0,
    ) -> None:
        """Become another cell, with an empty scene and default gains, without closing.

        Args as the constructor's; None keeps arms, base poses or step. On an error nothing changes.
        """
        old = {key: value for key, value in vars(self).items() if key in PLAN}
        with self._lock:
            try:
                self._plan(
                    self._models if arms is None else arms,
                    self._base_poses if base_poses is None else base_poses,
                    self._physics_dt_s if physics_dt_s is None else physics_dt_s,
                    action_delay_s,
                )
                if self._world is not None:
                    self.rebuild("")
            except UserError:
                vars(self).update(old)
                raise
        self._scene.close()

    def reset(
        self, objects: Sequence[SceneObject], q_rad: Mapping[str, Array]
    ) -> Mapping[str, RobotState]:
        """See Scene.reset. Faults and halts belong to the world that is gone."""
        with self._lock:
            self.world.reset(objects, q_rad)
            self._forget_commands()
        self._keep_time()
        if self._metronome is not None:
            self._metronome.sync()
        return self.states()

    def states(self) -> Mapping[str, RobotState]:
        """The newest sample of every arm."""
        sensing = self.world.sensing
        with self._lock:
            return {
                name: sensing.state(
                    a,
                    self._stamp_ns,
                    self._accepted[name],
                    self._clamped[name],
                    self._faults.get(name),
                )
                for name, a in self._index.items()
            }

    def command(self, commands: Mapping[str, ArmCommand]) -> None:
        """Accept targets for some or all arms: all of them or, on an error, none.

        Joint targets are kept within the joint limits, gripper targets within the gripper's; either
        sets `clamped`. Raises UserError for what is not finite or no rigid pose, and for an arm
        that is halted or in a fault.
        """
        world = self.world
        accepted = {}
        for name in self._known(commands):
            accepted[name] = bounds.admit(name, commands[name], self.arms[name])
        with self._lock:
            for name in accepted:
                self._refuse_stopped(name)
            for name, (command, clamped) in accepted.items():
                self._clamped[name] = clamped
                if isinstance(command.target, CartesianTarget):
                    self._accepted[name] = command.target.T_base_tcp
                elif command.target is not None:
                    self._accepted[name] = None
                self._pending.append((world.ticks + self._delay_ticks, name, command))
            self._apply_due()

    def hold(self, arms: Iterable[str]) -> None:
        """Brake, and hold where that ends: 70 ms from 0.3 m/s. A halted arm stays halted."""
        with self._lock:
            for name in self._known(arms):
                if not self._stopped(name):
                    self._drop_commands(name)
                    self.world.hold(self._index[name])

    def halt(self, arms: Iterable[str]) -> None:
        """Brake, then joint dampers alone; no command is taken until `recover`."""
        with self._lock:
            for name in self._known(arms):
                self._drop_commands(name)
                self.world.halt(self._index[name])

    def recover(self, arms: Iterable[str]) -> None:
        """Halted arms and arms in a reflex hold where they are, and take commands again."""
        with self._lock:
            for name in self._known(arms):
                if not self._stopped(name):
                    continue
                self._refuse_standing_reflex(name)
                self._faults.pop(name, None)
                self.world.arms.mode[self._index[name]] = Mode.IDLE  # so that it brakes anew
                self.world.hold(self._index[name])

    def set_tcp(self, arm: str, pos_flange_m: Sequence[float], quat_xyzw: Sequence[float]) -> None:
        """T_flange_tcp from now on, in place of the model's. Arms at rest only."""
        self._refuse_moving(self._known([arm]), "the TCP")
        self._set(arm, T_flange_tcp=se3.pose_from_quat(pos_flange_m, quat_xyzw))
        self._drop_commands(arm)

    def set_payload(self, payloads: Mapping[str, Payload]) -> None:
        """What gravity compensation carries from the next tick on. Arms at rest only."""
        for name in self._known(payloads):
            check_payload(name, payloads[name])
        self._refuse_moving(payloads, "the payload")
        for name, payload in payloads.items():
            self._set(name, payload=payload)

    def set_collision(self, thresholds: Mapping[str, CollisionThresholds]) -> None:
        """Where an arm's reflex trips, from now on. Without this it never does."""
        made = {name: Reflex(thresholds[name], self.arms[name]) for name in self._known(thresholds)}
        for name, reflex in made.items():
            self._set(name, reflex=reflex)

    def set_gains(self, gains: Mapping[str, Gains]) -> None:
        """Gains by arm name, from the next tick on."""
        for name in self._known(gains):
            bounds.check_fields(name, gains[name])
        for name, value in gains.items():
            self._set(name, gains=value)

    def set_limits(self, limits: Mapping[str, MotionLimits]) -> None:
        """Motion limits by arm name, from the next tick on."""
        for name in self._known(limits):
            bounds.check_fields(name, limits[name])
        for name, value in limits.items():
            self._set(name, limits=value)

    def set_wrench_box(
        self,
        arm: str,
        low_m: Sequence[float],
        high_m: Sequence[float],
        *,
        quat_xyzw: Sequence[float] = (0.0, 0.0, 0.0, 1.0),
        rotation_rad: Sequence[float] = FREE,
    ) -> None:
        """Where wrench mode pulls the TCP back into. Without this it goes anywhere.

        Args:
            low_m, high_m: position in base (3,).
            quat_xyzw: orientation in the middle of the rotation box, as Workspace's (4,).
            rotation_rad: largest rotation vector from it on each of its axes (3,).
        """
        self._known([arm])
        box = check_wrench_box(arm, low_m, high_m, quat_xyzw, rotation_rad)
        self._set(arm, wrench_box=box)

    def subscribe(self, on_tick: OnTick) -> None:
        """Call `on_tick` with every sample in real time, from the physics thread."""
        self._subscribers.append(on_tick)

    def facts(self) -> Mapping[str, str]:
        """What runs here."""
        mujoco = check_mujoco()
        step = f"{1e3 * self._physics_dt_s:g} ms"
        return {
            "simulator": f"MuJoCo {mujoco.__version__}",
            "control loop": "compiled by numba" if self._compiled else "plain Python",
            "physics step": f"{step}, {'lockstep' if self.lockstep else 'on the wall clock'}",
            "command delay": f"{1e3 * self._delay_ticks * self._physics_dt_s:g} ms",
            "kernel": platform.release(),
        }

    def advance(self, period_s: float) -> Mapping[str, RobotState]:
        """Let one control period pass; the state at its end."""
        ticks = bounds.whole_ticks(period_s, self._physics_dt_s)
        if self._metronome is None:
            self._run(ticks)
        else:
            self._late_periods += self._metronome.wait_ticks(ticks)
        return self.states()

    def _run(self, ticks: int) -> None:
        """Advance physics, letting delayed commands in when they are due."""
        world = self.world
        watched = any(settings.reflex is not None for settings in self._settings.values())
        left = ticks
        while left > 0:
            self._apply_due()
            due = self._pending[0][0] - world.ticks if self._pending else left
            burst = 1 if watched else min(left, due)
            self._run_loop(world.physics, world.arms, burst)
            world.ticks += burst
            left -= burst
            if watched:
                self._watch()
        world.check_finite()
        self._apply_due()
        self._stamp_ns = round(world.ticks * self._physics_dt_s * 1e9)

    def _tick(self) -> None:
        """One physics step on the wall clock, from the metronome's thread."""
        with self._lock:
            last_ns = self._stamp_ns
            self._run(1)
            self._stamp_ns = max(time.monotonic_ns(), last_ns + 1)
            states = self.states() if self._subscribers else {}
        try:  # without the lock: a subscriber has its own, and may be waiting for ours elsewhere
            for on_tick in self._subscribers:
                on_tick(states)
        except Exception:  # whoever watched over the arms no longer does
            self.hold(self.arms)
            raise

    def _keep_time(self) -> None:
        """In real time: start the clock, or start it again after an error has ended it."""
        if self.lockstep:
            return
        if self._metronome is not None and self._metronome.error is not None:
            self._metronome.stop()
            self._metronome = None
        if self._metronome is None:
            self._metronome = Metronome(self._physics_dt_s, self._tick)
            self._metronome.start()

    def _watch(self) -> None:
        """Trip the reflex of every arm that feels too much."""
        for name, a in self._index.items():
            reflex = self._settings[name].reflex
            if reflex is None:
                continue
            why = reflex.felt(*self._felt(name), self._physics_dt_s)
            if why and name not in self._faults:
                self._drop_commands(name)
                self.world.hold(a)
                self._faults[name] = Fault(
                    kind=FaultKind.REFLEX,
                    reason=f"{why}. Clear the arm's way, then recover.",
                    stamp_mono_ns=time.monotonic_ns(),
                )

    def _felt(self, name: str) -> tuple[Array, Array]:
        """External wrench and Jacobian at the TCP, in base."""
        sensing, a = self.world.sensing, self._index[name]
        J = MODELS.get(self._models[name]).jacobian(
            sensing.joints(a)[0], self.world.parts[a].T_flange_tcp
        )
        return sensing.wrench(a), J

    def _refuse_standing_reflex(self, name: str) -> None:
        reflex = self._settings[name].reflex
        if reflex is None:
            return
        why = reflex.standing(*self._felt(name))
        if why:
            raise UserError(f"arm {name!r} cannot recover: {why}. Take the load off first.")
        reflex.forget()

    def _stopped(self, name: str) -> bool:
        return name in self._faults or self.world.arms.mode[self._index[name]] == Mode.IDLE

    def _refuse_stopped(self, name: str) -> None:
        fault = self._faults.get(name)
        if fault is not None:
            raise UserError(f"arm {name!r} is in a fault: {fault.reason}")
        if self._stopped(name):
            raise CommandRefused(f"arm {name!r} was halted; recover it before it takes commands.")

    def _refuse_moving(self, names: Iterable[str], what: str) -> None:
        for name in names:
            speed = float(abs(self.states()[name].dq_rad_per_s).max())
            if speed > AT_REST_RAD_PER_S:
                raise UserError(
                    f"arm {name!r} moves at {speed:.2f} rad/s; set {what} at rest, below "
                    f"{AT_REST_RAD_PER_S:g} rad/s."
                )

    def _known(self, arms: Iterable[str]) -> list[str]:
        """The names, every one of which is an arm's."""
        names = list(arms)
        for name in names:
            if name not in self._index:
                raise unknown_name("arm", name, self._index)
        return names

    def _set(self, name: str, **values: Any) -> None:
        """Keep a setting of an arm, and tell the cell."""
        with self._lock:
            self._settings[name] = settings = replace(self._settings[name], **values)
            if self._world is not None:
                settings.apply(self._world, self._index[name])

    def _apply_due(self) -> None:
        world = self.world
        while self._pending and self._pending[0][0] <= world.ticks:
            _, name, command = self._pending.pop(0)
            a = self._index[name]
            if command.target is not None:
                world.aim(a, command.target)
            if command.gripper is not None:
                world.grip(a, command.gripper)

    def _drop_commands(self, name: str) -> None:
        """Forget an arm's commands still under way; its target is its reference."""
        self._pending = [item for item in self._pending if item[1] != name]
        self._accepted[name] = None

    def _forget_commands(self) -> None:
        self._pending: list[tuple[int, str, ArmCommand]] = []
        self._accepted: dict[str, Array | None] = dict.fromkeys(self._index)
        self._clamped = dict.fromkeys(self._index, False)
        self._faults: dict[str, Fault] = {}
        for settings in self._settings.values():
            if settings.reflex is not None:
                settings.reflex.forget()
        self._stamp_ns = 0 if self.lockstep else max(time.monotonic_ns(), self._stamp_ns + 1)
