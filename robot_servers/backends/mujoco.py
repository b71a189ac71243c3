"""The simulated cell: MuJoCo, the impedance law and the reference generator, in one process.

In lockstep `advance` steps physics at once; in real time a thread of its own keeps physics on the
wall clock. The same control loop runs in both.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from threading import RLock

from robot_servers.backends.base import BACKENDS
from robot_servers.control.se3 import Array
from robot_servers.models.base import describe
from robot_servers.simulation import limits as bounds
from robot_servers.simulation.cell import check_mujoco
from robot_servers.simulation.loop import make_loop, numba_installed
from robot_servers.simulation.realtime import Metronome
from robot_servers.simulation.scene import MujocoScene
from robot_servers.simulation.world import World
from robot_servers.types import (
    ArmCommand,
    CartesianTarget,
    Gains,
    MotionLimits,
    RobotDescription,
    RobotState,
    SceneObject,
)
from serl.errors import UserError, unknown_name


@BACKENDS.register("mujoco")
class MujocoBackend:
    """One or more simulated arms on a table.

    Args:
        arms: model name by arm name; {"": "panda"} is one Panda.
        physics_dt_s: physics step [s].
        lockstep: False runs on the wall clock.
        base_poses: T_world_base (4, 4) by arm name; the world is the first arm's base by default.
        action_delay_s: a command takes effect this much after it is given, like hardware's latency;
            rounded to whole physics steps.
        compiled: None uses numba where it is installed; False is the same loop in plain Python.
    """

    def __init__(
        self,
        *,
        arms: Mapping[str, str] | None = None,
        physics_dt_s: float = 0.002,
        lockstep: bool = True,
        base_poses: Mapping[str, Array] | None = None,
        action_delay_s: float = 0.0,
        compiled: bool | None = None,
    ) -> None:
        models = dict(arms or {"": "panda"})
        bounds.check_range("physics_dt_s", physics_dt_s, 1e-4, 0.01, "s")
        bounds.check_range("action_delay_s", action_delay_s, 0.0, 10.0, "s")
        self.arms: Mapping[str, RobotDescription] = {
            name: describe(model) for name, model in models.items()
        }
        self.lockstep = lockstep
        self.overruns = 0
        """Control periods that ended late, in real time."""
        self._models = models
        self._base_poses = dict(base_poses or {})
        self._physics_dt_s = physics_dt_s
        self._delay_ticks = round(action_delay_s / physics_dt_s)
        self._compiled = numba_installed() if compiled is None else compiled
        self._index = {name: a for a, name in enumerate(models)}
        self._gains = {name: Gains() for name in models}
        self._limits = {name: MotionLimits() for name in models}
        self._lock = RLock()
        self._world: World | None = None
        self._metronome: Metronome | None = None
        self._scene = MujocoScene(self)
        self._forget_commands()

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
        if not self.lockstep:
            self._metronome = Metronome(self._physics_dt_s, self._tick)
            self._metronome.start()

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
        world = World(self._models, self._base_poses, self._physics_dt_s, fragment, self._compiled)
        with self._lock:
            self._world = world
            for name, a in self._index.items():
                world.set_gains(a, self._gains[name])
                world.set_limits(a, self._limits[name])
            world.reset((), {})
            self._run_loop(world.physics, world.arms, 0)
            self._forget_commands()

    def reset(
        self, objects: Sequence[SceneObject], q_rad: Mapping[str, Array]
    ) -> Mapping[str, RobotState]:
        """See Scene.reset."""
        with self._lock:
            self.world.reset(objects, q_rad)
            self._forget_commands()
        if self._metronome is not None:
            self._metronome.sync()
        return self.states()

    def states(self) -> Mapping[str, RobotState]:
        """The newest sample of every arm."""
        world = self.world
        with self._lock:
            return {
                name: world.state(a, self._stamp_ns, self._accepted[name], self._clamped[name])
                for name, a in self._index.items()
            }

    def command(self, commands: Mapping[str, ArmCommand]) -> None:
        """Accept targets for some or all arms: all of them or, on an error, none.

        Joint targets are kept within the joint limits, gripper targets within the gripper's; either
        sets `clamped`. Raises UserError for what is not finite or no rigid pose.
        """
        world = self.world
        accepted = {}
        for name, command in commands.items():
            if name not in self._index:
                raise unknown_name("arm", name, self._index)
            accepted[name] = bounds.admit(name, command, self.arms[name])
        with self._lock:
            for name, (command, clamped) in accepted.items():
                self._clamped[name] = clamped
                if isinstance(command.target, CartesianTarget):
                    self._accepted[name] = command.target.T_base_tcp
                elif command.target is not None:
                    self._accepted[name] = None
                self._pending.append((world.ticks + self._delay_ticks, name, command))
            self._apply_due()

    def set_gains(self, gains: Mapping[str, Gains]) -> None:
        """Gains by arm name, from the next tick on."""
        for name, value in gains.items():
            if name not in self._index:
                raise unknown_name("arm", name, self._index)
            bounds.check_fields(name, value)
        with self._lock:
            for name, value in gains.items():
                self._gains[name] = replace(value)
                if self._world is not None:
                    self._world.set_gains(self._index[name], value)

    def set_limits(self, limits: Mapping[str, MotionLimits]) -> None:
        """Motion limits by arm name, from the next tick on."""
        for name, value in limits.items():
            if name not in self._index:
                raise unknown_name("arm", name, self._index)
            bounds.check_fields(name, value)
        with self._lock:
            for name, value in limits.items():
                self._limits[name] = replace(value)
                if self._world is not None:
                    self._world.set_limits(self._index[name], value)

    def advance(self, period_s: float) -> Mapping[str, RobotState]:
        """Let one control period pass; the state at its end."""
        ticks = bounds.whole_ticks(period_s, self._physics_dt_s)
        if self._metronome is None:
            self._run(ticks)
        else:
            self.overruns += self._metronome.wait_ticks(ticks)
        return self.states()

    def _run(self, ticks: int) -> None:
        """Advance physics, letting delayed commands in when they are due."""
        world = self.world
        left = ticks
        while left > 0:
            self._apply_due()
            due = self._pending[0][0] - world.ticks if self._pending else left
            burst = min(left, due)
            self._run_loop(world.physics, world.arms, burst)
            world.ticks += burst
            left -= burst
        world.check_finite()
        self._apply_due()
        self._stamp_ns = round(world.ticks * self._physics_dt_s * 1e9)

    def _tick(self) -> None:
        """One physics step on the wall clock, from the metronome's thread."""
        with self._lock:
            self._run(1)
            self._stamp_ns = time.monotonic_ns()

    def _apply_due(self) -> None:
        world = self.world
        while self._pending and self._pending[0][0] <= world.ticks:
            _, name, command = self._pending.pop(0)
            a = self._index[name]
            if command.target is not None:
                world.aim(a, command.target)
            if command.gripper is not None:
                world.grip(a, command.gripper)

    def _forget_commands(self) -> None:
        self._pending: list[tuple[int, str, ArmCommand]] = []
        self._accepted: dict[str, Array | None] = dict.fromkeys(self._index)
        self._clamped = dict.fromkeys(self._index, False)
        self._stamp_ns = 0 if self.lockstep else time.monotonic_ns()
