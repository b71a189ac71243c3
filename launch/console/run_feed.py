"""A run seen from its folder: what its processes say of themselves, and its curves. Read only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from launch.console.curves import Curves
from launch.console.feed import NO_FRAMES
from launch.console.hand import Hand
from launch.live import STALE_S, State
from launch.runs import Run
from serl.errors import UserError

ROLES = ("recorder", "actor", "learner")


class RunFeed:
    """Follows a run's status files and metrics."""

    def __init__(self, run: Run) -> None:
        self.hand = Hand()
        self._run = run
        self._curves = Curves(run.path / "metrics.jsonl")

    def state(self) -> dict[str, Any]:
        return {"title": str(self._run.path), **health(self._run)}

    def curves(self) -> dict[str, Any]:
        return self._curves.read()

    def frames(self) -> Mapping[str, NDArray[np.uint8]]:
        return NO_FRAMES

    def look(self) -> None:
        return None

    def order(self, what: str, values: Mapping[str, Any]) -> str:
        raise UserError(
            "this console only watches a run; open the one beside its actor (serl actor "
            "--console), or use `serl robot`."
        )


def health(run: Run) -> dict[str, Any]:
    """Phase, numbers and the silence of each process, as the live view has them."""
    try:
        state = State.read(run)
    except ValueError:  # a file half written by something else
        return {}
    silent = {
        role: round(state.now_s - state.statuses[role].get("t_s", state.now_s), 1)
        for role in ROLES
        if role in state.statuses
    }
    rows = [list(pair) for both in state.rows() for pair in both]
    late = [
        f"{role} silent for {s:.0f} s"
        for role, s in silent.items()
        if s > STALE_S and role != "recorder"  # it ends when it is done
    ]
    return {"phase": state.phase, "run": rows, "silent": late}
