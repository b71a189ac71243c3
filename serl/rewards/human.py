"""The source 'human': a person at the cell says what is a success, what is lost, and each stage.

Success pays 1 and ends the episode, failure ends it without reward, 'stage 1' to 'stage 9' pay 1
each, once per episode. A step is paid when the word is heard. Nothing lies on disk: `--reward
human` has no path.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium

from serl.errors import UserError
from serl.person import Person
from serl.rewards.base import REWARDS
from serl.types import RewardSource, Spec

VERSION = "0" * 15 + "1"
"""Of what the words mean; there is no model that could differ."""
STAGE_PAYS = 1.0
SUCCESS_PAYS = 1.0


class HumanReward(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Reward, success and end as a person says.

    Info: `success`, `env_success` where the env itself says, `stages_paid`, `lost`, and
    `reward_source` HUMAN.
    """

    person: Person | None = None
    """Who judges; without them no episode begins."""
    asks_at_end: bool = False
    """A time-out that nobody has judged holds the arm until somebody does: as in a test."""

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        if self.person is None:
            raise UserError(
                "the reward is what a person says, and nobody is there: give --device, as --device "
                "keyboard."
            )
        self._stages: set[str] = set()
        obs, info = self.env.reset(seed=seed, options=options)
        self.person.verdicts()  # what was said before this episode is not about it
        return obs, _own(info)

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        assert self.person is not None
        obs, _, terminated, truncated, info = self.env.step(action)
        info = _own(info)
        words = self.person.verdicts()
        if truncated and not info.get("interrupted") and self.asks_at_end:
            words = self._until_judged(words)
        reward = 0.0
        for word in words:
            if word == "success":
                info["success"], info["lost"] = True, False
            elif word == "failure":
                info["success"], info["lost"] = False, True
            elif word not in self._stages:
                self._stages.add(word)
                reward += STAGE_PAYS
        reward += SUCCESS_PAYS * info["success"]
        info["stages_paid"], info["stages"] = len(self._stages), frozenset(self._stages)
        return obs, reward, bool(terminated or info["success"] or info["lost"]), truncated, info

    def _until_judged(self, words: list[str]) -> list[str]:
        """Hold the arm until success or failure was said; everything said."""
        person, words = self.person, list(words)
        assert person is not None
        keys = f"{person.key_of('success')} success, {person.key_of('failure')} failure"

        def open_question() -> str:
            person.moves()
            words.extend(person.verdicts())
            return "" if {"success", "failure"} & set(words) else f"how did it end? {keys}"

        self.env.unwrapped.hold(open_question)  # type: ignore[attr-defined]
        return words


def _own(info: dict[str, Any]) -> dict[str, Any]:
    """The env's info with what it said of success under another name."""
    own = {k: v for k, v in info.items() if k != "success"}
    if "success" in info:
        own["env_success"] = bool(info["success"])
    return own | {
        "success": False,
        "lost": False,
        "stages_paid": 0,
        "reward_source": int(RewardSource.HUMAN),
        "reward_version": 0,
    }


class _Human:
    """The registered source."""

    takes_path = False

    def version(self, path: Path) -> str:
        return VERSION

    def wrap(self, env: Any, path: Path, spec: Spec) -> Any:
        return HumanReward(env)


REWARDS.register("human")(_Human())
