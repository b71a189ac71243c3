"""What is in a set of demonstrations, in lines for a person."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from serl.data.demos import Episode
from serl.data.formats.native import DemoSet
from serl.pixels import images
from serl.types import Source, Spec

STILL = 0.02
"""A step hardly moves when no displacement of its action is beyond this share of its range."""
AT_LIMIT = 0.999
GRIPPER = "gripper"


@dataclass(frozen=True)
class Facts:
    """What is counted of an episode."""

    steps: int
    reward: float
    dead: int
    """Steps that hardly move."""
    dead_begin: int
    dead_end: int
    low: NDArray[np.float64]
    """Smallest of each action element."""
    high: NDArray[np.float64]
    at_limit: NDArray[np.int64]
    """Steps at a bound, by element."""
    sources: Counter[str]


def facts(episode: Episode, still: float = STILL) -> Facts:
    """Count one episode."""
    rows = episode.records[1:]
    actions = rows["action"].reshape(len(rows), -1).astype(np.float64)
    low, high = bounds(episode.spec)
    edge = AT_LIMIT * (high - low) / 2
    at_limit = np.abs(actions - (low + high) / 2) >= edge
    dead = dead_steps(episode, still)
    begin, end = dead_ends(dead)
    names = Counter(Source(int(s)).name.lower() for s in rows["source"])
    return Facts(
        steps=len(rows),
        reward=float(rows["reward"].sum()),
        dead=int(dead.sum()),
        dead_begin=begin,
        dead_end=end,
        low=actions.min(0),
        high=actions.max(0),
        at_limit=at_limit.sum(0),
        sources=names,
    )


def dead_steps(episode: Episode, still: float = STILL) -> NDArray[np.bool_]:
    """(n,): steps whose action hardly moves the arm and leaves the gripper's command as it was."""
    rows = episode.records[1:]
    actions = rows["action"].reshape(len(rows), -1).astype(np.float64)
    low, high = bounds(episode.spec)
    fields = action_names(episode.spec)
    gripper = np.array([name.rpartition("/")[2] == GRIPPER for name in fields])
    moves = np.abs(actions / ((high - low) / 2)) > still
    before = np.concatenate([actions[:1], actions[:-1]])
    moves[:, gripper] = (actions != before)[:, gripper]
    return np.asarray(~moves.any(axis=1))


def dead_ends(dead: NDArray[np.bool_]) -> tuple[int, int]:
    """How many dead steps an episode begins and ends with; one that is all dead only begins so."""
    moving = np.flatnonzero(~dead)
    if not len(moving):
        return len(dead), 0
    return int(moving[0]), int(len(dead) - 1 - moving[-1])


def bounds(spec: Spec) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Of each element of the action; -1 and 1 where the spec has none."""
    size = int(np.prod(spec.action.shape))
    low = -1.0 if spec.action.low is None else spec.action.low
    high = 1.0 if spec.action.high is None else spec.action.high
    lows, highs = (np.broadcast_to(np.asarray(b, float), (size,)) for b in (low, high))
    return lows, np.maximum(highs, lows + 1e-9)


def action_names(spec: Spec) -> tuple[str, ...]:
    size = int(np.prod(spec.action.shape))
    return spec.action.fields or tuple(f"[{k}]" for k in range(size))


def report(demos: DemoSet, *, each: bool = False) -> Iterator[str]:
    """The lines."""
    counted = [facts(episode) for episode in demos]
    lengths = np.array([f.steps for f in counted])
    metas = [header.meta for header in demos.headers]
    total = int(lengths.sum())
    yield (
        f"{demos.path}: {len(demos)} episodes, {total} steps; lengths {lengths.min()} to "
        f"{lengths.max()}, median {np.median(lengths):g}"
    )
    outcomes = Counter(meta.outcome or "not said" for meta in metas)
    yield f"success: {sum(m.success for m in metas)} of {len(metas)}; " + _counts(outcomes)
    yield f"reward of an episode: {_range([f.reward for f in counted])}"
    yield "recorded: " + "; ".join(_recorded(demos))
    sources: Counter[str] = sum((f.sources for f in counted), Counter())
    yield "actions by: " + ", ".join(f"{name} {n / total:.0%}" for name, n in sources.most_common())
    rate = demos.control_hz
    yield "control rate: " + (f"{rate:g} Hz" if rate else "not said")
    yield from _spec_lines(demos.spec)
    yield from _action_lines(demos.spec, counted, total)
    dead = sum(f.dead for f in counted)
    begin, end = sum(f.dead_begin for f in counted), sum(f.dead_end for f in counted)
    yield (
        f"dead time: {dead / total:.1%} of steps hardly move (no displacement beyond {STILL:g} of "
        f"its range); {begin} at the beginnings, {end} at the ends"
    )
    size = sum(header.path.stat().st_size for header in demos.headers)
    yield f"disk: {size / 1e6:.2f} MB, {size / (total + len(demos)) / 1e3:.2f} kB a record"
    for error in demos.damaged:
        yield f"left out: {error}"
    if each:
        for header, f in zip(demos.headers, counted, strict=True):
            meta = header.meta
            yield (
                f"  {header.path.name}: {f.steps} steps, {meta.outcome or 'outcome not said'}, "
                f"reward {f.reward:g}, dead {f.dead} ({f.dead_begin} + {f.dead_end} at the ends), "
                f"by {meta.actor or 'nobody named'}"
            )


def _recorded(demos: DemoSet) -> Iterator[str]:
    metas = [header.meta for header in demos.headers]
    yield "by " + _counts(Counter(meta.actor or "nobody named" for meta in metas))
    tasks = sorted({meta.task or meta.experiment for meta in metas} - {""})
    yield "task " + (", ".join(tasks) or "not said")
    days = sorted(meta.created[:10] for meta in metas if meta.created)
    if days:
        yield days[0] if days[0] == days[-1] else f"{days[0]} to {days[-1]}"


def _spec_lines(spec: Spec) -> Iterator[str]:
    cameras = images(spec)
    sizes = [f"{a.name} {a.shape[1]} x {a.shape[0]}" for a in cameras]
    yield "cameras: " + (", ".join(sizes) or "none")
    for array in spec.observation:
        if array not in cameras:
            named = f": {', '.join(array.fields)}" if array.fields else ""
            yield f"observation {array.name}: {array.dtype} {list(array.shape)}{named}"
    if spec.extras:
        yield "extras: " + ", ".join(f"{a.name} {list(a.shape)}" for a in spec.extras)


def _action_lines(spec: Spec, counted: list[Facts], total: int) -> Iterator[str]:
    low, high = np.min([f.low for f in counted], 0), np.max([f.high for f in counted], 0)
    share = np.sum([f.at_limit for f in counted], 0) / total
    for k, name in enumerate(action_names(spec)):
        yield f"action {name}: {low[k]:.3g} to {high[k]:.3g}, at a limit {share[k]:.1%} of steps"


def _counts(counter: Counter[str]) -> str:
    return ", ".join(f"{name} {n}" for name, n in counter.most_common())


def _range(values: list[float]) -> str:
    return f"{min(values):g} to {max(values):g}, mean {np.mean(values):.3g}"
