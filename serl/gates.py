"""When is a policy trained? When one frozen version passes its gates.

Training episodes are sampled, so their success rate only says when a gate is worth the time. A
gate is a deterministic evaluation of one frozen version on seeds of its own; one version must
pass several, each on different seeds (`EvaluationConfig`).
"""

from __future__ import annotations

from collections import deque
from typing import Any

from serl.experiment import EvaluationConfig
from serl.seeds import Purpose, episode_seed

LANES = 1 << 12
"""Gates before their seeds come round again (serl.seeds)."""


class SuccessWindow:
    """Success over the last training episodes, and whether a gate is due."""

    def __init__(self, config: EvaluationConfig) -> None:
        self.config = config
        self.recent: deque[bool] = deque(maxlen=20)
        self.gates_run = 0
        self._episodes = 0
        self._next_gate_at = 0

    def add(self, success: bool) -> None:
        """One training episode has ended."""
        self.recent.append(success)
        self._episodes += 1

    def correct(self, success: bool) -> None:
        """The last episode ended otherwise than it was counted."""
        if self.recent:
            self.recent[-1] = success

    @property
    def successes(self) -> int:
        return sum(self.recent)

    def due(self) -> bool:
        """Enough recent successes, and not straight after a failed gate."""
        return (
            len(self.recent) == self.recent.maxlen
            and self.successes >= self.config.trigger_successes
            and self._episodes >= self._next_gate_at
        )

    def gate_failed(self) -> None:
        """Wait some episodes before spending time on the next gate."""
        self._next_gate_at = self._episodes + self.config.retry_episodes

    def gate_seeds(self, experiment_seed: int) -> list[int]:
        """Seeds of the next gate, never used before in this run."""
        lane = self.gates_run % LANES
        self.gates_run += 1
        return [
            episode_seed(Purpose.GATE, experiment_seed, k, lane=lane)
            for k in range(self.config.gate_episodes)
        ]

    def state(self) -> dict[str, Any]:
        """JSON values from which `restore` goes on."""
        return {
            "recent": list(self.recent),
            "gates_run": self.gates_run,
            "episodes": self._episodes,
            "next_gate_at": self._next_gate_at,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Inverse of `state`."""
        self.recent.extend(bool(x) for x in state["recent"])
        self.gates_run = int(state["gates_run"])
        self._episodes = int(state["episodes"])
        self._next_gate_at = int(state["next_gate_at"])
