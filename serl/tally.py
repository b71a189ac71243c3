"""What one training episode comes to, and whose hand did how much of it."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from serl.types import Source

WINDOW_EPISODES = 20


@dataclass
class Tally:
    """Counts of one episode, step by step."""

    total: float = 0.0
    steps: int = 0
    success: bool = False
    true_success: bool | None = None
    """The task's own truth, where a learned or human reward judges and the task can tell."""
    human_steps: int = 0
    interventions: int = 0
    """How often a person took over."""
    _human: bool = False

    def add(self, reward: float, info: Mapping[str, Any]) -> None:
        """One step."""
        self.total += reward
        self.steps += 1
        self.success = self.success or bool(info.get("success", False))
        if info.get("env_success") is not None:
            self.true_success = bool(self.true_success) or bool(info["env_success"])
        human = int(info.get("source", Source.NONE)) == Source.HUMAN
        self.human_steps += human
        self.interventions += human and not self._human
        self._human = human

    @property
    def alone(self) -> bool:
        """Nobody touched the arm."""
        return self.human_steps == 0

    def metrics(self, control_hz: float | None) -> dict[str, float]:
        """Values of a run's metrics. The cycle time is of a success, without pauses [s]."""
        values = {
            "episode/return": self.total,
            "episode/steps": self.steps,
            "episode/success": float(self.success),
        }
        if self.true_success is not None:
            values["episode/true_success"] = float(self.true_success)
        if self.success and control_hz:
            values["episode/cycle_s"] = self.steps / control_hz
        return values


@dataclass
class Interventions:
    """How much the person did, over the last episodes and over the run."""

    human_steps: int = 0
    takeovers: int = 0
    recent: deque[tuple[int, int]] = field(default_factory=lambda: deque(maxlen=WINDOW_EPISODES))
    """(human steps, steps) of the last episodes."""

    def add(self, tally: Tally) -> dict[str, float]:
        """One more episode; its metrics."""
        self.human_steps += tally.human_steps
        self.takeovers += tally.interventions
        self.recent.append((tally.human_steps, tally.steps))
        return {
            "episode/intervention_steps": tally.human_steps,
            "episode/interventions": tally.interventions,
            "episode/intervention_rate": tally.human_steps / max(1, tally.steps),
            "episode/intervention_rate_last_20": self.rate,
        }

    @property
    def rate(self) -> float:
        """Share of the last episodes' steps that were a person's."""
        human, steps = (sum(episode[k] for episode in self.recent) for k in (0, 1))
        return human / max(1, steps)

    def state(self) -> dict[str, Any]:
        """JSON values from which `restore` goes on."""
        return {
            "human_steps": self.human_steps,
            "takeovers": self.takeovers,
            "recent": list(self.recent),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Inverse of `state`; a run of before it has none."""
        self.human_steps = int(state.get("human_steps", 0))
        self.takeovers = int(state.get("takeovers", 0))
        self.recent.extend((int(h), int(n)) for h, n in state.get("recent", ()))
