"""The two faces of a backend: moving arms, and (in simulation only) arranging a scene.

A backend drives every arm of one cell, each by its name; a single arm is called "". The env owns
time: it commands, then calls `advance(period_s)`, which in lockstep steps physics at once and in
real time waits for the deadline. Limits, the reference generator and the impedance law live on
this side (DESIGN decisions 1, 16, 17).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from robot_servers.types import (
    ArmCommand,
    Gains,
    MotionLimits,
    RobotDescription,
    RobotState,
    SceneObject,
)
from serl.registry import Registry

BACKENDS: Registry = Registry("backend", "robot_servers.backends")
"""Backend classes by name: 'mujoco' (later 'franky', 'ros2')."""


class Backend(Protocol):
    """Moves the arms of one cell."""

    arms: Mapping[str, RobotDescription]
    """Each arm's description by name; {"": ...} for one arm."""

    lockstep: bool
    """True: `advance` steps physics at once. False: it waits for the wall clock."""

    def connect(self) -> None:
        """Bring the arms to a state in which they accept commands. Vendor imports happen here."""

    def close(self) -> None: ...

    def states(self) -> Mapping[str, RobotState]:
        """The newest sample of every arm."""
        ...

    def command(self, commands: Mapping[str, ArmCommand]) -> None:
        """Accept targets. Raises UserError for a NaN; clamps to limits (and sets `clamped`)."""

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
