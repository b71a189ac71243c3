"""A verdict that comes after its episode: what the stored last step is to say instead."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from serl.data.records import Label
from serl.rewards.human import STAGE_PAYS, SUCCESS_PAYS


@dataclass(frozen=True)
class LastStep:
    """An episode that has ended, as it is stored, and what of its reward success did not pay."""

    label: Label
    own_reward: float
    """Without what success pays."""
    own_end: bool
    """It was terminated by something other than success."""
    stages: frozenset[str] = frozenset()

    @staticmethod
    def of(label: Label, stages: Iterable[str] = ()) -> LastStep:
        """From the last step as it was sent."""
        paid = min(label.reward, SUCCESS_PAYS) if label.success else 0.0
        own_end = label.terminated and not label.success
        return LastStep(label, label.reward - paid, own_end, frozenset(stages))

    def told(self, words: Iterable[str]) -> LastStep:
        """After these verdicts, in order: the last success or failure counts, a stage pays once.

        A failure that comes late takes a success back: the episode then ended by its time, and is
        no longer terminated.
        """
        success, own, stages = self.label.success, self.own_reward, set(self.stages)
        for word in words:
            if word in ("success", "failure"):
                success = word == "success"
            elif word not in stages:
                stages.add(word)
                own += STAGE_PAYS
        label = replace(
            self.label,
            reward=own + SUCCESS_PAYS * success,
            success=success,
            terminated=success or self.own_end,
        )
        return LastStep(label, own, self.own_end, frozenset(stages))
