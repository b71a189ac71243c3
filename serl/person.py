"""The person beside an actor: the hand that may be on the arm, and who heeds what they say.

What a person says falls into verdicts (success, failure, 'stage 1' to 'stage 9'), which a reward
takes, and orders (rerecord, pause, stop), which the loop takes. 'ready' is an answer to a question.
A verdict said between an episode's end and the first steps of the next one is late: it is the last
episode's. Plain Python: any object with an operator's methods will do (envs.operator.Operator).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

VERDICTS = ("success", "failure", *(f"stage {n}" for n in range(1, 10)))
ORDERS = ("rerecord", "pause", "stop")
READY = "ready"


class Operator(Protocol):
    """What is asked of an operator here; `envs.operator.Operator` has it."""

    @property
    def hold_s(self) -> float | None: ...

    def __call__(self) -> Mapping[str, Any] | None: ...
    def attach(self, env: Any) -> None: ...
    def begin(self) -> None: ...
    def words(self) -> list[str]: ...
    def listen(self) -> bool: ...
    def key_of(self, word: str) -> str: ...
    def trouble(self) -> str: ...


class Person:
    """An operator's hand, which can be taken off, and words sorted by who heeds them.

    It is the `intervention=` of an env.

    Args:
        late_steps: steps of an episode during which a verdict is still about the one before.
    """

    def __init__(self, operator: Operator, *, late_steps: int = 0) -> None:
        self.operator = operator
        self.late_steps = late_steps
        self.may_take_over = True
        """False while a policy is tested: the hand moves nothing, words are heard."""
        self._verdicts: list[str] = []
        self._late: list[str] = []
        self._orders: list[str] = []
        self._ready = False
        self._steps = 0
        self._runs = False
        """An episode is going on."""
        self._had_one = False
        """There is an episode before this one that a late verdict can be about."""

    # The env's intervention.

    @property
    def hold_s(self) -> float | None:
        return self.operator.hold_s

    def attach(self, env: Any) -> None:
        self.operator.attach(env)

    def begin(self) -> None:
        self.operator.begin()

    def __call__(self) -> Mapping[str, Any] | None:
        if self.may_take_over:
            return self.operator()
        self.operator.listen()
        return None

    # Episodes.

    def episode_begins(self) -> None:
        """Its first observation is there. What was said before is about the last one."""
        self._sort()
        self._runs, self._steps = True, 0

    def step_passes(self) -> None:
        """One more step of the episode is over."""
        self._steps += 1

    def episode_ends(self, *, may_be_judged: bool = True) -> None:
        """From now on a verdict is late."""
        self._sort()
        self._runs, self._had_one = False, may_be_judged
        if may_be_judged:  # said after the last step was judged
            self._late += self._verdicts
        self._verdicts.clear()

    # Words.

    def verdicts(self) -> list[str]:
        """Said of this episode and not yet told, in order."""
        return self._take(self._verdicts)

    def late_verdicts(self) -> list[str]:
        """Said of the episode before and not yet told, in order."""
        return self._take(self._late)

    def orders(self) -> list[str]:
        """'rerecord', 'pause' and 'stop', in order."""
        return self._take(self._orders)

    def moves(self) -> bool:
        """Hear what is said now; whether the hand asks for a move."""
        return self.operator.listen()

    def asked(self) -> Callable[[], bool]:
        """A question has been put: what tells whether they have said 'ready' since."""
        self._sort()
        self._ready = False

        def answered() -> bool:
            self.operator.listen()
            self._sort()
            return self._ready

        return answered

    def key_of(self, word: str) -> str:
        """What to press for a word, for a prompt."""
        return self.operator.key_of(word) or f"the key for {word!r} (--keys {word}=KEY)"

    def _take(self, words: list[str]) -> list[str]:
        self._sort()
        told = list(words)
        words.clear()
        return told

    def _sort(self) -> None:
        late = self._had_one and (not self._runs or self._steps < self.late_steps)
        for word in self.operator.words():
            if word in VERDICTS:
                (self._late if late else self._verdicts).append(word)
            elif word in ORDERS:
                self._orders.append(word)
            elif word == READY:
                self._ready = True
