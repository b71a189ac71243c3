"""A simulated human: watches the policy, takes over when it stalls or strays, lets go once it is
well again. For tests and studies; nobody has to sit there for a thousand episodes.

It sees progress as the task's own reward terms tell it (near, reach, lift), on a logarithmic scale:
a centimetre far away counts as a centimetre near by. Time is counted in control steps, so the same
seed gives the same person, in lockstep and in real time.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from envs.devices.base import DEVICES, Found, Hand
from envs.devices.scripted import Scripted, ScriptedConfig
from serl.errors import UserError

FLOOR = 1e-3
"""Added to a term before its logarithm is taken: below it nobody sees a difference."""

GAIN = 0.2
"""Progress that counts as some: 1 cm of exp(-20 d), a fifth of a lift."""

STRAY = 1.5
"""Progress lost that counts as straying: 7 cm of exp(-20 d)."""

WELL = 0.6
"""Progress beyond the best before the takeover that counts as recovered."""


@dataclass(frozen=True, kw_only=True)
class NoisyExpertConfig:
    """How this person watches and how well they steer."""

    kind: ClassVar[str] = "noisy_expert"
    words: ClassVar[Mapping[str, str]] = {}
    gestures: ClassVar[Mapping[str, str]] = {}

    address: str = ""
    skill: float = 0.8
    """1: reacts in 0.2 s, steers with noise 0.05. 0: reacts in 0.8 s, steers with noise 0.5 and
    lets the hand slip for a moment now and then."""
    patience_s: float = 1.5
    """Without progress for this long the policy has stalled [s]."""
    longest_s: float = 3.0
    """The hand tires: an intervention ends after this long [s]."""
    seed: int = 0

    def make(self) -> NoisyExpert:
        return NoisyExpert(self)

    @classmethod
    def found(cls) -> Sequence[Found]:
        return [Found("", "a simulated human, in simulation")]

    @property
    def reaction_s(self) -> float:
        """From what is seen to what the hand does [s]."""
        return 0.8 - 0.6 * self.skill

    @property
    def noise(self) -> float:
        """Standard deviation added to each displacement element, in actions."""
        return 0.5 - 0.45 * self.skill

    @property
    def slip_probability(self) -> float:
        """Of letting the hand slip for a step."""
        return 0.2 * (1.0 - self.skill)


class NoisyExpert(Scripted):
    """Has the arms only while the policy needs help."""

    kind = "noisy_expert"

    def __init__(self, config: NoisyExpertConfig) -> None:
        if not 0.0 <= config.skill <= 1.0:
            raise UserError(f"noisy_expert: skill {config.skill}; it must be 0 to 1.")
        super().__init__(ScriptedConfig(noise=config.noise, seed=config.seed))
        self._person = config
        self._episode = 0
        self.takeovers = 0
        """Interventions so far."""

    def attach(self, env: Any) -> None:
        super().attach(env)
        hz = env.unwrapped.config.control_hz
        person = self._person
        self._patience, self._reaction, self._longest = (
            max(1, round(seconds * hz))
            for seconds in (person.patience_s, person.reaction_s, person.longest_s)
        )

    def begin(self) -> None:
        super().begin()
        self._rng = np.random.default_rng([self._person.seed, self._episode])
        self._episode += 1
        self._helps = False
        self._watch(self._progress())

    def hands(self) -> Mapping[str, Hand] | None:
        """What the person does in this step: None while the policy may go on."""
        if self._env is None:
            return super().hands()
        now = self._progress()
        self._steps += 1
        if now > self._best + GAIN:
            self._best, self._since = now, self._steps
        wants = self._wants_to_help(now)
        self._agreed = 0 if wants == self._helps else self._agreed + 1
        if self._agreed >= self._reaction:
            self._change(wants, now)
        if not self._helps:
            return None
        hands = super().hands()
        slips = self._rng.random() < self._person.slip_probability
        return self._slipped(hands) if slips and hands else hands

    def _wants_to_help(self, now: float) -> bool:
        """What would be right at this moment, before the reaction time."""
        if self._helps:
            return now < self._goal and self._steps < self._longest
        return self._steps - self._since >= self._patience or now < self._best - STRAY

    def _change(self, helps: bool, now: float) -> None:
        best = self._best
        self._helps = helps
        self._watch(now)
        if helps:
            self.takeovers += 1
            self._goal = max(best, now) + WELL
            self._expert.reset()  # it did not see what the policy did

    def _watch(self, now: float) -> None:
        """Look afresh from here on."""
        self._best = now
        self._steps = self._since = self._agreed = 0

    def _progress(self) -> float:
        """Higher is nearer to done; 0 throughout where the task tells nothing but success."""
        terms = self._env.unwrapped.outcome.terms
        return sum(
            math.log(FLOOR + max(0.0, value)) for name, value in terms.items() if name != "success"
        )

    def _slipped(self, hands: Mapping[str, Hand]) -> dict[str, Hand]:
        """The same grip, and a move that nobody meant."""
        slipped = {}
        for arm, hand in hands.items():
            x, y, z, rx, ry, rz = (
                float(draw) * (asked != 0.0)
                for draw, asked in zip(self._rng.uniform(-1, 1, 6), hand.twist, strict=True)
            )
            slipped[arm] = Hand((x, y, z, rx, ry, rz), hand.gripper)
        return slipped


DEVICES.register("noisy_expert")(NoisyExpertConfig)
