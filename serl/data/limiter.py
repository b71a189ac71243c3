"""The update-to-data ratio as a setting: a two-sided limiter between env steps and updates.

With r updates per step, a buffer of b steps and learning from step s0 on, after s training steps
and u updates

    updates may go on while   s >= s0  and  u <= r (s - s0 + b)
    steps may go on while     s <= s0 + b + u / r

so neither side is ever more than b steps ahead of the ratio. Only training steps count: not those
of evaluations, and nothing moves while an actor pauses or is gone.
Source: the sample-to-insert ratio of Reverb, arXiv:2102.04736 sec. 3.4.
"""

from __future__ import annotations

import math
import threading
from typing import Any

from serl.errors import UserError


class RatioLimiter:
    """Says who may go on; thread-safe.

    Args:
        updates_per_step: r, critic updates per training env step.
        error_buffer_steps: b, how far [steps] either side may be ahead.
        start_records: s0, training steps before the first update.
    """

    def __init__(
        self, updates_per_step: float, error_buffer_steps: float, start_records: int = 0
    ) -> None:
        if updates_per_step <= 0 or error_buffer_steps < 1 or start_records < 0:
            raise UserError(
                f"updates_per_step {updates_per_step}, error_buffer_steps {error_buffer_steps}, "
                f"start_records {start_records}; allowed are > 0, >= 1 and >= 0."
            )
        self.updates_per_step = updates_per_step
        self.error_buffer_steps = error_buffer_steps
        self.start_records = start_records
        self._steps = 0
        self._updates = 0
        self._changed = threading.Condition()

    @property
    def steps(self) -> int:
        """Training env steps so far."""
        return self._steps

    @property
    def updates(self) -> int:
        """Critic updates so far."""
        return self._updates

    def may_update(self, n: int = 1) -> bool:
        """Whether n more updates keep the learner within its bound."""
        self._refuse_deadlock(n)
        with self._changed:
            return self._allows(n)

    def wait_may_update(self, n: int, timeout_s: float) -> bool:
        """Wait until n more updates are allowed; False when `timeout_s` passed before."""
        self._refuse_deadlock(n)
        with self._changed:
            return self._changed.wait_for(lambda: self._allows(n), timeout_s)

    def step_allowance(self) -> int:
        """Training env steps that may have been taken in total; never shrinks."""
        with self._changed:
            return self._allowance()

    def on_steps(self, n: int = 1) -> None:
        """n training steps were taken. In real time these may pass the allowance."""
        with self._changed:
            self._steps += n
            self._changed.notify_all()

    def on_updates(self, n: int = 1) -> None:
        """n updates were done."""
        with self._changed:
            self._updates += n
            self._changed.notify_all()

    @property
    def shortfall(self) -> float:
        """Updates missing from the ratio; 0 when the learner keeps up or is ahead."""
        with self._changed:
            owed = self.updates_per_step * (self._steps - self.start_records)
            return max(0.0, owed - self._updates)

    @property
    def ratio(self) -> float:
        """Updates per step achieved since learning began; 0 before."""
        with self._changed:
            steps = self._steps - self.start_records
            return self._updates / steps if steps > 0 else 0.0

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        with self._changed:
            return {"steps": self._steps, "updates": self._updates}

    def restore(self, state: dict[str, Any]) -> None:
        """Inverse of `state`."""
        with self._changed:
            self._steps, self._updates = int(state["steps"]), int(state["updates"])
            self._changed.notify_all()

    def _allows(self, n: int) -> bool:
        steps = self._steps - self.start_records
        bound = self.updates_per_step * (steps + self.error_buffer_steps)
        return steps >= 0 and self._updates + n <= bound

    def _allowance(self) -> int:
        ahead = self.error_buffer_steps + self._updates / self.updates_per_step
        return math.floor(self.start_records + ahead)

    def _refuse_deadlock(self, n: int) -> None:
        """Both sides can go on in turn only if one call's updates fit between the two bounds."""
        most = self.updates_per_step * (2 * self.error_buffer_steps - 1)
        if n > most:
            raise UserError(
                f"{n} updates per call with {self.updates_per_step:g} updates per step need an "
                f"error buffer of at least {math.ceil((n / self.updates_per_step + 1) / 2)} steps; "
                f"it is {self.error_buffer_steps:g}. Raise it, or do fewer updates per call."
            )
