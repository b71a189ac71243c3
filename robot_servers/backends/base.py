"""The two faces of a backend: moving arms, and (in simulation only) arranging a scene.

A backend drives every arm of one cell, each by its name; a single arm is called "". The env owns
time: it commands, then calls `advance(period_s)`, which in lockstep steps physics at once and in
real time waits for the deadline. The reference generator and the impedance law live on this
side (DESIGN decisions 1, 16, 17); workspace limits, the watchdog and faults in `guard.py`, which
stands in front of every backend in a robot server.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from robot_servers.types import (
    ArmCommand,
    CollisionThresholds,
    Gains,
    MotionLimits,
    Payload,
    RobotDescription,
    RobotState,
    SceneObject,
)
from serl.registry import Registry

BACKENDS: Registry = Registry("backend", "robot_servers.backends")
"""Backend classes by name: 'mujoco', 'franky', 'ros2', 'mock'."""

OnTick = Callable[[Mapping[str, RobotState]], None]


class Backend(Protocol):
    """Moves the arms of one cell.

    A backend whose gains have bounds of their own may say so, and a guard in front keeps to them:
    `gain_limits`, maxima by field of Gains, to which it lowers what is asked for; and
    `check_gains(name, gains)`, which raises UserError for what cannot be rendered.
    """

    arms: Mapping[str, RobotDescription]
    """Each arm's description by name; {"": ...} for one arm."""

    in_process: bool
    """An env may use it without a robot server. Never for what moves a real arm: limits and
    watchdog are the server's."""

    lockstep: bool
    """True: `advance` steps physics at once. False: it waits for the wall clock."""

    period_s: float
    """Time between two samples of a state in real time; in lockstep the physics step [s]."""

    unsupported: frozenset[str]
    """Fields of Gains, and operations ('wrench', 'payload', 'collision', 'gripper'), that this
    backend cannot honour; the server refuses them by name."""

    def connect(self) -> None:
        """Bring the arms to a state in which they accept commands. Vendor imports happen here.

        Raises UserError, one line, for an arm that cannot be reached or is not ready.
        """

    def close(self) -> None: ...

    def states(self) -> Mapping[str, RobotState]:
        """The newest sample of every arm."""
        ...

    def command(self, commands: Mapping[str, ArmCommand]) -> None:
        """Accept targets. Raises UserError for a NaN; clamps to limits (and sets `clamped`)."""

    def hold(self, arms: Iterable[str]) -> None:
        """At once: reference and target become the measured pose, at rest; Mode.HOLD."""

    def halt(self, arms: Iterable[str]) -> None:
        """Emergency stop: end control as fast as the arm can; it no longer follows anything."""

    def recover(self, arms: Iterable[str]) -> None:
        """Clear the arm's own errors and bring it back into control, holding where it is.

        Raises UserError naming what still stands in the way (a pressed user stop, say).
        """

    def set_payload(self, payloads: Mapping[str, Payload]) -> None:
        """What gravity compensation assumes from now on. Arms at rest only."""

    def set_collision(self, thresholds: Mapping[str, CollisionThresholds]) -> None: ...

    def subscribe(self, on_tick: OnTick) -> None:
        """Real time only: call `on_tick` with every new sample, from the loop's own thread, as
        often as the backend has one (`period_s`). An exception of `on_tick` ends the loop and
        every arm holds. In lockstep nothing is called: whoever calls `advance` has the states."""

    def facts(self) -> Mapping[str, str]:
        """Versions and settings for a person: firmware, library, real-time kernel, ..."""
        ...

    def set_gains(self, gains: Mapping[str, Gains]) -> None: ...

    def set_limits(self, limits: Mapping[str, MotionLimits]) -> None: ...

    def advance(self, period_s: float) -> Mapping[str, RobotState]:
        """Let one control period pass and return the state at its end.

        Raises UserError when `period_s` is not a whole number of physics steps.
        """
        ...

    @property
    def scene(self) -> Scene | None:
        """The simulator's scene; None on hardware."""
        ...


class Scene(Protocol):
    """What only a simulator knows."""

    def load(self, mjcf: str) -> None:
        """Add a task's MJCF fragment to the cell: <mujoco> around bodies, cameras and lights."""

    def reset(
        self, objects: Sequence[SceneObject], q_rad: Mapping[str, NDArray[np.float64]] | None = None
    ) -> Mapping[str, RobotState]:
        """Everything back to a defined state: arms at `q_rad` (home if None) at rest, gripper open,
        objects where given. The same arguments always give the same state, bit for bit."""
        ...

    def object_poses(self) -> Mapping[str, NDArray[np.float64]]:
        """T_base_object (4, 4) of every free body, by name."""
        ...

    def object_twists(self) -> Mapping[str, NDArray[np.float64]]:
        """Linear [m/s] and angular [rad/s] velocity (6,) in base, of every free body."""
        ...

    def render(
        self, camera: str, height: int, width: int, *, pretty: bool = False
    ) -> NDArray[np.uint8]:
        """One RGB frame (height, width, 3); `pretty` for people, slower. Raises UserError where no
        OpenGL is to be had."""
        ...
