"""Demonstrations by a person: a hand moves the arm, keys say how it went.

The env says what success is where it can; elsewhere the person does, during an episode or at its
end. Nothing is lost but the episode in progress.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from launch.record_set import DemoSet, Progress
from serl.errors import Interrupted
from serl.records import RecordBuilder, Records
from serl.seeds import Purpose, episode_seed
from serl.types import RewardSource, Source

LOOK_S = 0.02
"""Between two looks at the devices while nobody steps."""

Begin = Literal["touch", "ready"]
VERDICTS = ("success", "failure", "rerecord", "stop")


@dataclass
class Take:
    """One attempt: its records, how it went, and what was said of it."""

    outcome: str = "stop"
    """'success', 'failure', 'aborted' (the env broke it off), 'rerecord' or 'stop'."""
    rows: list[Records] = field(default_factory=list)
    stages: list[tuple[int, int]] = field(default_factory=list)
    """(step, stage) for each stage key."""

    @property
    def records(self) -> Records:
        return np.concatenate(self.rows)


class HandRecorder:
    """Records a set by hand.

    Args:
        env: all wrappers on, its `intervention` the operator.
        demos: the set, which may be half done.
        person_judges: success is what the person says, and nothing that the env says.
        begin: 'touch': an episode begins when the hand first moves; 'ready': when the person says
            that the scene is ready, which they can set up while the arm waits at its start.
        view: shows the state (`launch.teleop_view.HandView`).
    """

    def __init__(
        self,
        env: Any,
        operator: Any,
        demos: DemoSet,
        *,
        person_judges: bool = False,
        begin: Begin = "touch",
        seed: int = 0,
        view: Any = None,
        stop: threading.Event | None = None,
    ) -> None:
        self._env, self._operator, self._demos = env, operator, demos
        self._person_judges = person_judges
        self._begin: Begin = begin
        self._seed = seed
        self._view = view
        self._stop = stop or threading.Event()
        self._builder = RecordBuilder(demos.spec)
        self._rest: Callable[[], Any] = env.get_wrapper_attr("rest")
        self._realtime = bool(env.unwrapped.config.is_realtime)
        waiter = env.unwrapped.waiter
        waiter.on_wait, waiter.interrupted = self._say, self._stop.is_set

    def run(self, on_progress: Callable[[Progress], None] = lambda progress: None) -> Progress:
        """Record until the set is complete or the person stops."""
        demos = self._demos
        while not demos.complete and not self._stop.is_set():
            seed = episode_seed(Purpose.DEMO, self._seed, demos.attempt)
            try:
                take = self.take(demos.attempt, seed)
            except Interrupted:  # while the env waited for something outside the program
                break
            if take.outcome == "stop":
                self._stop.set()
            elif take.outcome == "rerecord" or len(take.rows) < 2:
                self._say("once more")
            else:
                details = {"stages": take.stages} if take.stages else {}
                progress = demos.add(take.records, outcome=take.outcome, seed=seed, details=details)
                self._say(progress.line)
                on_progress(progress)
        return demos.progress

    def take(self, episode: int, seed: int) -> Take:
        """One attempt, from the reset to the verdict."""
        progress = self._demos.progress
        self._title(f"{progress.stored} of {progress.wanted}: to the start")
        obs, info = self._env.reset(seed=seed)
        self._operator.words()  # what was said before is about the last one
        take = Take()
        if not self._wait_to_begin(take):
            return take
        if self._realtime:  # the person took a while: the episode begins with what is there now
            obs, *_, info = self._env.step(self._rest())
        take.rows.append(self._builder.first(episode, obs, info))
        self._title(f"{progress.stored} of {progress.wanted}: demonstrate")
        over = False
        while not over:
            over = self._step(take)
        return take

    def _step(self, take: Take) -> bool:
        """One env step, then what was said; True when the episode is over."""
        action = self._rest()
        obs, reward, terminated, truncated, info = self._env.step(action)
        if self._person_judges:
            info = {**info, "success": False}  # until the person says so
        take.rows.append(
            self._builder.step(
                action=action,
                obs=obs,
                reward=float(reward),
                terminated=terminated,
                truncated=truncated,
                info=info,
                source=Source.HUMAN,
            )
        )
        self._show()
        if terminated or truncated:
            take.outcome = self._outcome(take, info)
            return True
        for word in self._operator.words():
            verdict = self._heed(word, take)
            if verdict:
                take.outcome = verdict
                return True
        if self._stop.is_set():
            take.outcome = "stop"
        return self._stop.is_set()

    def _outcome(self, take: Take, info: dict[str, Any]) -> str:
        """How an episode that the env ended went; a person who judges is asked."""
        if info.get("interrupted"):
            self._say(str(info["interrupted"]))
            return "aborted"
        words = self._operator.words()
        vetoed = next((w for w in words if w in ("failure", "rerecord", "stop")), "")
        if vetoed:
            return vetoed
        if not self._person_judges:
            judged = bool(info["success"]) and bool(info.get("env_success", True))
            return "success" if judged else "failure"
        verdict = next((w for w in words if w == "success"), "") or self._ask(
            f"time is up: {self._keys('success', 'failure', 'rerecord')}?"
        )
        if verdict == "success":
            _judged_success(take.rows[-1])
        return verdict

    def _heed(self, word: str, take: Take) -> str:
        """What a word means in an episode; the outcome if it ends it."""
        if word in ("rerecord", "stop"):
            return word
        if word == "success" and self._person_judges:
            _judged_success(take.rows[-1])
            return word
        if word == "success":
            self._say("the env judges this task itself; success was not taken from the key")
        elif word == "failure":
            take.rows[-1]["truncated"] = True  # cut off, not an end of the task
            return word
        elif word == "pause":
            return self._pause()
        elif word.startswith("stage "):
            take.stages.append((len(take.rows) - 1, int(word.split()[1])))
        return ""

    def _wait_to_begin(self, take: Take) -> bool:
        """Until the person begins; False when they stop or want another start."""
        key = self._operator.key_of("ready") or "ready"
        prompt = {
            "touch": f"move when you are ready (or {key})",
            "ready": f"prepare the scene, then {key}",
        }
        self._title(prompt[self._begin])
        while True:
            touched = self._operator.listen()
            for word in self._operator.words():
                if word in ("rerecord", "stop"):
                    take.outcome = word
                    return False
                if word == "ready":
                    return self._begins()
            if touched and self._begin == "touch":
                return self._begins()
            if self._stop.is_set():
                return False
            self._show()
            time.sleep(LOOK_S)

    def _begins(self) -> bool:
        """The time since the reset is no late period of the loop."""
        self._env.unwrapped.pace.begin(time.monotonic_ns())
        return True

    def _pause(self) -> str:
        """Until the person goes on; the arm holds. The word that ends the episode, if one does."""
        said = self._ask(f"paused; {self._keys('pause')} goes on", also=("pause", "ready"))
        self._begins()
        self._title("demonstrate")
        return said if said in ("rerecord", "stop", "failure") else ""

    def _ask(self, prompt: str, also: tuple[str, ...] = ()) -> str:
        """The first word that answers; the arm holds meanwhile."""
        self._title(prompt)
        while not self._stop.is_set():
            self._operator.listen()
            for word in self._operator.words():
                if word in VERDICTS or word in also:
                    return word
            self._show()
            time.sleep(LOOK_S)
        return "stop"

    def _keys(self, *words: str) -> str:
        return ", ".join(f"{self._operator.key_of(word) or 'no key'} {word}" for word in words)

    def _title(self, text: str) -> None:
        if self._view is not None:
            self._view.title = text

    def _say(self, text: str) -> None:
        if self._view is not None:
            self._view.say(text)

    def _show(self) -> None:
        if self._view is not None:
            self._view()


def _judged_success(record: Records) -> None:
    """The person says that this record is where the task was solved: 1, and an end."""
    record["success"] = record["terminated"] = True
    record["truncated"] = False
    record["reward"] = 1.0
    record["reward_source"] = int(RewardSource.HUMAN)
