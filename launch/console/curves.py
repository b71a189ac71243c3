"""A run's `metrics.jsonl` as curves, read on as it grows."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

POINTS = 300
"""A curve never has more; when it does, every second one goes."""
MAX_READ_BYTES = 4 << 20
"""Read at a time: a long run's past comes in pieces, and nothing waits for it."""
MAX_LOSSES = 6

NAMES = {
    "episode/success_last_20": ("success", "last 20"),
    "episode/true_success": ("success", "true"),
    "episode/intervention_rate_last_20": ("interventions", "share of steps"),
    "policy/age_s": ("policy age [s]", "age"),
}
"""Group and name of the metrics that are shown besides losses."""


class Curves:
    """Follows one file. The x axis is the logging process's own count: env steps or updates."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._at = 0
        self._torn = b""
        self._curves: dict[tuple[str, str], Curve] = {}

    def read(self) -> dict[str, dict[str, list[list[float]]]]:
        """Group to name to points, with what has come since."""
        for row in self._rows():
            step = row.get("step")
            for key, value in row.items():
                where = self._where(key)
                if where and isinstance(value, int | float) and isinstance(step, int):
                    self._curves.setdefault(where, Curve()).add(step, value)
        shown: dict[str, dict[str, list[list[float]]]] = {}
        for (group, name), curve in self._curves.items():
            shown.setdefault(group, {})[name] = curve.points
        return shown

    def _where(self, key: str) -> tuple[str, str] | None:
        if key in NAMES:
            return NAMES[key]
        name = key.removesuffix("/loss")
        if name == key or "/" in name:
            return None
        where = ("losses", name)
        losses = sum(group == "losses" for group, _ in self._curves)
        return where if where in self._curves or losses < MAX_LOSSES else None

    def _rows(self) -> Iterator[dict[str, Any]]:
        try:
            with self._path.open("rb") as file:
                file.seek(self._at)
                data = file.read(MAX_READ_BYTES)
        except OSError:  # not there yet
            return
        self._at += len(data)
        *lines, self._torn = (self._torn + data).split(b"\n")
        for line in lines:
            try:
                row = json.loads(line)
            except ValueError:  # torn by a kill
                continue
            if isinstance(row, dict):
                yield row


class Curve:
    """Points of one curve, thinned evenly as they become too many."""

    def __init__(self) -> None:
        self.points: list[list[float]] = []
        self._every, self._skipped = 1, 0

    def add(self, x: float, y: float) -> None:
        self._skipped += 1
        if self._skipped < self._every:
            return
        self._skipped = 0
        self.points.append([x, round(float(y), 6)])
        if len(self.points) > POINTS:
            self.points, self._every = self.points[::2], 2 * self._every
