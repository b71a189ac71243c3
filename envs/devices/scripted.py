"""The task's scripted expert as a hand: what a person at a device would do, without the person."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from envs.devices.base import DEVICES, Found, Hand, Reading
from serl.errors import UserError


@dataclass(frozen=True, kw_only=True)
class ScriptedConfig:
    """The task's expert; it needs a simulator's truth."""

    kind: ClassVar[str] = "scripted"
    words: ClassVar[Mapping[str, str]] = {}
    gestures: ClassVar[Mapping[str, str]] = {}

    address: str = ""
    noise: float = 0.1
    """Standard deviation added to each displacement element, in actions."""
    seed: int = 0

    def make(self) -> Scripted:
        return Scripted(self)

    @classmethod
    def found(cls) -> Sequence[Found]:
        return [Found("", "the task's own expert, in simulation")]


class Scripted:
    """Has every arm from the first step of an episode to its last."""

    kind = "scripted"

    def __init__(self, config: ScriptedConfig) -> None:
        self.name = self.kind
        self.reserved: frozenset[str] = frozenset()
        self._config = config
        self._env: Any = None
        self._expert: Any = None

    def attach(self, env: Any) -> None:
        """`env`: the `Intervention` this is the hand of. Raises UserError where there is no truth
        to look at."""
        robot = env.unwrapped
        if robot.backend.scene is None:
            raise UserError(
                f"{self.name}: the task's expert needs a simulator's truth and this arm is real; "
                "take a device that a person holds."
            )
        config = self._config
        self._env = env
        self._expert = robot.config.expert(env, noise=config.noise, seed=config.seed)

    def begin(self) -> None:
        """A new episode."""
        self._expert.reset()

    def hands(self) -> Mapping[str, Hand] | None:
        """What the expert would do in this step."""
        if self._expert is None:
            raise UserError(f"{self.name}: no env; it is the hand of an env's intervention=.")
        return self._env.to_hands(self._expert.act())

    def open(self) -> None:
        """There is nothing to connect to."""

    def read(self) -> Reading:
        """It presses no keys; what it moves is in `hands`."""
        return Reading(stamp_mono_ns=time.monotonic_ns())

    def close(self) -> None:
        """There is nothing to let go."""


DEVICES.register("scripted")(ScriptedConfig)
