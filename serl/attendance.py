"""What an actor does because a person stands beside it: pause, give up, ask, hear late words.

Without a person every method does nothing, so the actor's loop has one form.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from serl.data.records import Label
from serl.late_label import LastStep
from serl.person import Person
from serl.rewards.human import HumanReward
from serl.tally import Interventions, Tally


class Attendance:
    """The person beside one env.

    Args:
        person: None for nobody.
        env: what the actor steps; `env.unwrapped.hold` holds its arms.
        stop: set when they say stop.
        judged: verdicts count: the reward is theirs, or learned. Otherwise the env knows better.
        begins: they may move the arm before there is a policy. One who only helps a policy (a
            script that watches it) waits for it as everybody else.
    """

    def __init__(
        self,
        person: Person | None,
        env: Any,
        stop: threading.Event,
        *,
        judged: bool,
        begins: bool = True,
    ) -> None:
        self.person = person
        self.begins_alone = begins and person is not None
        self.interventions = Interventions()
        self.given_up = False
        """They asked for another episode in the last step."""
        self.last_was_alone = True
        """Nobody touched the arm in the last episode."""
        self.cycle_s: float | None = None
        """Of the last success, without pauses [s]."""
        self._env, self._stop, self._judged = env, stop, judged
        self._hz = getattr(getattr(env.unwrapped, "config", None), "control_hz", None)
        self._last: LastStep | None = None
        if person is not None:
            env.unwrapped.asks = self._ask

    def moves(self) -> bool:
        """Hear what is said now, and whether a hand asks for a move that it may make."""
        if self.person is None:
            return False
        asks = self.person.moves()
        self._orders()
        return asks and self.begins_alone

    # An episode.

    def begins(self) -> Label | None:
        """The first observation is there; a label for the last episode, if one came meanwhile."""
        if self.person is None:
            return None
        self.given_up = False
        self.person.episode_begins()
        return self._late()

    def after_step(self) -> Label | None:
        """A step was stored: do what was said. A label for the last episode, if one came."""
        if self.person is None:
            return None
        self.person.step_passes()
        if self._orders():
            self._pause()
        return self._late()

    def ends(self, record: Any = None, info: Mapping[str, Any] | None = None) -> None:
        """The episode is over; without its last record it is one that nobody judges later."""
        if self.person is None:
            return
        self.person.episode_ends(may_be_judged=record is not None and self._judged)
        self._last = None
        if record is not None:
            row = record[0]
            label = Label(
                episode=int(row["episode"]),
                index=int(row["index"]),
                reward=float(row["reward"]),
                success=bool(row["success"]),
                terminated=bool(row["terminated"]),
            )
            self._last = LastStep.of(label, (info or {}).get("stages", ()))

    def _late(self) -> Label | None:
        assert self.person is not None
        words = self.person.late_verdicts()
        if not words or self._last is None:
            return None
        before, self._last = self._last.label, self._last.told(words)
        return None if self._last.label == before else self._last.label

    # What they ask for.

    def heed(self, env: Any = None) -> bool:
        """In a test, after a step: do what was said; True when the episode is to be begun again."""
        self.given_up = False
        if self.person is not None and self._orders():
            self._pause()
        return self.given_up

    def _orders(self) -> bool:
        """Take orders; True when they want a pause."""
        assert self.person is not None
        pause = False
        for word in self.person.orders():
            if word == "stop":
                self._stop.set()
            elif word == "rerecord":
                self.given_up = True
            else:
                pause = not pause
        return pause

    def _pause(self) -> None:
        """Hold the arm until they say pause again. No step passes, no time of the episode."""
        person = self.person
        assert person is not None
        key = person.key_of("pause")
        paused = True

        def reason() -> str:
            nonlocal paused
            person.moves()
            paused = paused ^ self._orders()
            over = not paused or self.given_up or self._stop.is_set()
            return "" if over else f"paused; {key} goes on"

        self._env.unwrapped.hold(reason)

    def _ask(self, what: str) -> Callable[[], bool]:
        """The env asks them to do something before it goes on."""
        assert self.person is not None
        answered = self.person.asked()

        def done() -> bool:
            self._orders()
            return answered()

        return done

    # A test.

    @contextmanager
    def of_a_test(self, *, hands_off: bool = True) -> Iterator[Callable[[Any], bool] | None]:
        """While a policy is tested the hand moves nothing, unless its help is counted apart; what
        to call after each step."""
        person = self.person
        if person is None:
            yield None
            return
        judge = self._env if isinstance(self._env, HumanReward) else None
        person.may_take_over = not hands_off
        person.episode_ends(may_be_judged=False)
        if judge is not None:
            judge.asks_at_end = True
        try:
            yield self.heed
        finally:
            person.may_take_over = True
            if judge is not None:
                judge.asks_at_end = False
            self._last = None

    # Figures.

    def count(self, tally: Tally) -> dict[str, float]:
        """An episode has ended: the metrics of what the person did in it."""
        if self.person is None:
            return {}
        self.last_was_alone = tally.alone
        if tally.success and self._hz:
            self.cycle_s = tally.steps / self._hz
        return self.interventions.add(tally)

    def totals(self) -> dict[str, int]:
        """Of the run's training, for its result."""
        if self.person is None and not self.interventions.takeovers:
            return {}
        done = self.interventions
        return {
            "training_human_steps": done.human_steps,
            "training_interventions": done.takeovers,
        }

    def status(self) -> dict[str, Any]:
        """For the live view."""
        if self.person is None:
            return {}
        return {
            "intervention_rate": self.interventions.rate,
            "cycle_s": self.cycle_s,
            "interventions": self.interventions.takeovers,
            "device_trouble": self.person.operator.trouble(),
        }
