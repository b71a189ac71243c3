"""What a task is: a scene as data, where things start, and what success means.

A task file holds a config (what is learned, as data), a `Task` (its running part), a scripted
expert where there is one, and its registration at the bottom.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from serl.registry import Registry

if TYPE_CHECKING:
    from robot_servers.types import RobotState, SceneObject

Array = NDArray[np.float64]

TASKS: Registry = Registry("task", "envs.tasks")
"""Task configs by name: frozen dataclasses derived from `envs.config.RobotEnvConfig`."""


@dataclass(frozen=True)
class View:
    """What a task may look at: every arm, and in simulation every object.

    An arm's poses are in its own base, objects' in the base of the first arm; (4, 4).
    """

    arms: Mapping[str, RobotState]
    object_poses: Mapping[str, Array]
    object_twists: Mapping[str, Array]


@dataclass(frozen=True)
class Outcome:
    """What a task says of one observation."""

    fields: dict[str, Any]
    """Value of each of the task's own state fields, in its plain unit."""
    success: bool = False
    """The goal is reached: the episode ends. Its own value, never read back from the reward."""
    terms: dict[str, float] = field(default_factory=dict)
    """Named reward terms; the config weighs them."""


class Task(Protocol):
    """The running part of a task. All its randomness comes from the rng it is given."""

    mjcf: str
    """MJCF fragment of the scene: bodies, cameras and lights."""
    needs_objects: bool
    """True when fields or success need object poses, which only a simulator has."""

    def place(self, rng: np.random.Generator) -> Sequence[SceneObject]:
        """Where the objects of a new episode start."""
        ...

    def begin(self, view: View) -> Outcome:
        """A new episode: forget the last one."""
        ...

    def step(self, view: View) -> Outcome:
        """One control period has passed."""
        ...


class Expert(Protocol):
    """Solves a task through the agent's own action interface."""

    def reset(self) -> None:
        """Call after each env reset."""
        ...

    def act(self) -> NDArray[np.float32]:
        """The next action, in the agent's space."""
        ...


class Hold:
    """Counts how long a condition has held without a break.

    The count is state that no single measurement shows, so tasks put `fraction` into the
    observation: with it the value of a state is well defined again.
    """

    def __init__(self, steps: int) -> None:
        self.steps = max(1, steps)
        self.count = 0

    def update(self, held: bool) -> bool:
        """True once `held` was true for all of the last `steps` calls."""
        self.count = min(self.count + 1, self.steps) if held else 0
        return self.count >= self.steps

    @property
    def fraction(self) -> float:
        return self.count / self.steps


def paced(move: Array, most: float = 0.9) -> Array:
    """A move shortened in its own direction until no element exceeds `most`.

    >>> paced(np.array([1.8, -0.9])).tolist()
    [0.9, -0.45]
    """
    return move * min(1.0, most / max(1e-9, float(np.abs(move).max())))
