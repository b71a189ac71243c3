"""A person's veto of a success that a classifier has seen, before the step is stored as one."""

from __future__ import annotations

import time
from typing import Any

import gymnasium

from serl.person import Person
from serl.rewards.human import HumanReward
from serl.types import RewardSource

VETO_S = 1.0
"""How long the arm is held at a success for a veto to come [s]."""


class Veto(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Holds the arm at a judged success until `veto_s` are over or the person has spoken.

    'failure' takes the success back: the step pays nothing, and the episode is truncated there, not
    terminated, for nothing is lost: it bootstraps. 'success' confirms at once. 'failure' at any
    other time ends the episode without reward, as a class 'lost' does.
    """

    def __init__(
        self, env: gymnasium.Env[Any, Any], person: Person, *, veto_s: float = VETO_S
    ) -> None:
        super().__init__(env)
        self._person, self._veto_s = person, veto_s

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        obs, reward, terminated, truncated, info = self.env.step(action)
        words = self._person.verdicts()
        if info.get("success"):
            if self._vetoed(words):
                info |= {"success": False, "vetoed": True, "reward_version": 0}
                info["reward_source"] = int(RewardSource.HUMAN)
                return obs, 0.0, False, True, info
        elif "failure" in words:
            info |= {"lost": True, "reward_source": int(RewardSource.HUMAN), "reward_version": 0}
            return obs, reward, True, False, info
        return obs, reward, terminated, truncated, info

    def _vetoed(self, said: list[str]) -> bool:
        """The last word within the time; a veto said before the success was seen counts too."""
        end_s, words = time.monotonic() + self._veto_s, list(said)
        key = self._person.key_of("failure")

        def waits() -> str:
            self._person.moves()
            words.extend(self._person.verdicts())
            heard = {"success", "failure"} & set(words)
            over = heard or time.monotonic() >= end_s
            return "" if over else f"seen as a success; {key} takes it back"

        self.env.unwrapped.hold(waits)  # type: ignore[attr-defined]
        verdicts = [word for word in words if word in ("success", "failure")]
        return bool(verdicts) and verdicts[-1] == "failure"


def attended(env: Any, person: Person) -> Any:
    """A judged env with the person who judges it, or who may veto what a classifier sees."""
    if isinstance(env, HumanReward):
        env.person = person
        return env
    return Veto(env, person)
