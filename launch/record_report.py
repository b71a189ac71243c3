"""What a set of demonstrations is like: lengths, successes, action ranges, dead time."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from serl.data.demos import list_episodes, load_episode
from serl.errors import CorruptFile
from serl.records import Records
from serl.types import Source, Spec

STILL = 0.02
"""An action whose displacements are all below this, and whose gripper is as before, asks for
nothing."""
AT_LIMIT = 0.99


@dataclass(frozen=True, kw_only=True)
class EpisodeFacts:
    """What the report needs of one episode."""

    name: str
    steps: int
    success: bool
    still: int
    """Steps that ask for nothing."""
    first_move: int
    """Steps before the first that asks for something."""
    sources: dict[str, int]
    actions: NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class SetReport:
    """A set in figures."""

    folder: Path
    period_s: float
    fields: tuple[str, ...]
    episodes: tuple[EpisodeFacts, ...]
    corrupt: tuple[str, ...] = ()

    def text(self) -> str:
        """For a person."""
        if not self.episodes:
            return f"{self.folder}: no demonstrations"
        seconds = np.array([e.steps for e in self.episodes]) * self.period_s
        wins = sum(e.success for e in self.episodes)
        longest = self.episodes[int(seconds.argmax())].name
        steps = sum(e.steps for e in self.episodes)
        still = sum(e.still for e in self.episodes)
        waits = np.array([e.first_move for e in self.episodes]) * self.period_s
        length = (
            f"{seconds.min():.1f} to {seconds.max():.1f} s, median {np.median(seconds):.1f} s, "
            f"the longest {longest}"
        )
        dead = (
            f"{still / max(1, steps):.0%} of steps ask for nothing; the first move comes after "
            f"{np.median(waits):.1f} s (median)"
        )
        lines = [
            f"{self.folder}: {len(self.episodes)} demonstrations, {wins} successes, {steps} steps",
            f"length     {length}",
            f"dead time  {dead}",
            f"moved by   {self._sources(steps)}",
            "action     lowest  highest  at its limit",
            *self._ranges(),
        ]
        lines += [f"damaged    {line}" for line in self.corrupt]
        return "\n".join(lines)

    def _sources(self, steps: int) -> str:
        total: dict[str, int] = {}
        for episode in self.episodes:
            for name, count in episode.sources.items():
                total[name] = total.get(name, 0) + count
        return ", ".join(f"{name} {count / max(1, steps):.0%}" for name, count in total.items())

    def _ranges(self) -> list[str]:
        actions = np.concatenate([e.actions for e in self.episodes])
        names = self.fields or tuple(str(k) for k in range(actions.shape[1]))
        limits = (np.abs(actions) >= AT_LIMIT).mean(axis=0)
        return [
            f"{name:<9} {low:+7.2f}  {high:+7.2f}  {limit:12.0%}"
            for name, low, high, limit in zip(
                names, actions.min(axis=0), actions.max(axis=0), limits, strict=True
            )
        ]


def report(folder: Path, spec: Spec, *, control_hz: float) -> SetReport:
    """Read a folder, one episode in memory at a time."""
    episodes, corrupt = [], []
    for path in list_episodes(folder):
        try:
            episode = load_episode(path, spec)
        except CorruptFile as error:
            corrupt.append(str(error))
            continue
        success = episode.meta.success
        episodes.append(facts(path.name, episode.records, spec, success=success))
    return SetReport(
        folder=folder,
        period_s=1.0 / control_hz,
        fields=spec.action.fields,
        episodes=tuple(episodes),
        corrupt=tuple(corrupt),
    )


def facts(name: str, records: Records, spec: Spec, *, success: bool) -> EpisodeFacts:
    """Of one episode's records; record 0 has no action."""
    actions = np.array(records["action"][1:], np.float32).reshape(len(records) - 1, -1)
    names = spec.action.fields or ("",) * actions.shape[1]
    grips = np.array([field.endswith("gripper") for field in names])
    moves = (np.abs(actions[:, ~grips]) >= STILL).any(axis=1)
    if grips.any() and len(actions):
        changes = np.abs(np.diff(actions[:, grips], axis=0, prepend=actions[:1, grips])) >= STILL
        moves |= changes.any(axis=1)
    sources, counts = np.unique(records["source"][1:], return_counts=True)
    return EpisodeFacts(
        name=name,
        steps=len(actions),
        success=success,
        still=int((~moves).sum()),
        first_move=int(np.argmax(moves)) if moves.any() else len(actions),
        sources={Source(int(s)).name.lower(): int(n) for s, n in zip(sources, counts, strict=True)},
        actions=actions,
    )
