"""Sets put together, taken apart and cut: always into a new folder, which appears whole."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from launch.data_info import dead_ends, dead_steps
from serl.data.demos import Episode
from serl.data.formats.native import DemoSet, check_one_spec, open_set, write_episode
from serl.data.formats.target import check_free, whole
from serl.data.records import Records, field_names
from serl.errors import UserError
from serl.types import Source

Change = Callable[[Episode], Episode | None]

FIRST_HAS_NONE = ("action", "requested_action", "reward", "terminated", "truncated", "success")
"""What record 0 of an episode says nothing of: it is the result of no action."""


def merge(sets: Sequence[Path], into: Path) -> tuple[str, ...]:
    """All episodes of several sets, in order, renumbered; returns what was left out, a line each.

    Raises SpecMismatch when they differ, naming the first difference.
    """
    opened = [open_set(path) for path in sets]
    check_one_spec([demos.headers[0] for demos in opened])
    rates = {demos.control_hz for demos in opened if demos.control_hz is not None}
    if len(rates) > 1:
        said = " and ".join(f"{rate:g} Hz" for rate in sorted(rates))
        raise UserError(
            f"these sets were recorded at {said}; an action is a displacement per control period, "
            "so they are not one set."
        )
    with whole(into) as folder:
        folder.mkdir()
        for demos in opened:
            for episode in demos:
                write_episode(folder, episode.records, episode.spec, episode.meta)
    return tuple(str(error) for demos in opened for error in demos.damaged)


def split(
    path: Path,
    into: tuple[Path, Path],
    *,
    first: float | int | tuple[int, ...],
    seed: int | None = None,
) -> tuple[int, int]:
    """One set as two; returns how many episodes each has.

    Args:
        first: the share (float) or number (int) of episodes in the first, or their numbers.
        seed: shuffles them; None keeps their order.
    """
    demos = open_set(path)
    order = list(range(len(demos)))
    if seed is not None:
        np.random.default_rng(seed).shuffle(order)
    if isinstance(first, tuple):
        chosen = _places(demos, first)
    else:
        count = round(first * len(order)) if isinstance(first, float) else first
        chosen = sorted(order[:count])
    rest = [k for k in range(len(demos)) if k not in set(chosen)]
    if not chosen or not rest:
        raise UserError(
            f"that leaves {len(chosen)} and {len(rest)} of {len(demos)} episodes; each part needs "
            "at least one."
        )
    check_free(into[0])
    check_free(into[1])
    for target, part in zip(into, (chosen, rest), strict=True):
        copy(demos.only(part), target, lambda episode: episode)
    return len(chosen), len(rest)


def trim(
    path: Path, into: Path, *, steps: tuple[int | None, int | None] | None, still: float
) -> tuple[str, ...]:
    """Cut steps off both ends of each episode; returns what is worth knowing, a line each.

    An end that says how the episode ended is not cut by dead time: the pay would go with it.

    Args:
        steps: which to keep, as a slice's bounds; None cuts dead time.
        still: what counts as dead (`launch.data_info.STILL`).
    """
    demos = open_set(path)
    cut = gone = 0

    def shorter(episode: Episode) -> Episode | None:
        nonlocal cut, gone
        n = len(episode.records) - 1
        begin, end, _ = slice(*(steps or (None, None))).indices(n)
        if steps is None:
            dead_begin, dead_end = dead_ends(dead_steps(episode, still))
            over = bool(episode.records[-1]["terminated"] or episode.records[-1]["success"])
            begin, end = dead_begin, n if over else n - dead_end
            begin = min(begin, n - 1)
        if end <= begin:
            gone += 1
            return None
        cut += n - (end - begin)
        return dataclasses.replace(episode, records=cut_out(episode.records, begin, end))

    copy(demos, into, shorter)
    lost = (f"{gone} episodes had no step left and are not there.",) if gone else ()
    return (f"{cut} steps cut off.", *lost, *map(str, demos.damaged))


def cut_out(records: Records, begin: int, end: int) -> Records:
    """Steps begin ... end - 1 as an episode of their own, its record 0 a result of no action."""
    rows = records[begin : end + 1].copy()
    rows["index"] = np.arange(len(rows))
    for name in field_names(rows.dtype):
        if begin and (name in FIRST_HAS_NONE or name.startswith("extra/")):
            rows[name][0] = 0
    rows["source"][0] = Source.NONE
    return rows


def copy(demos: DemoSet, into: Path, change: Change) -> None:
    """Every episode that `change` returns, into a new set."""
    with whole(into) as folder:
        folder.mkdir()
        count = 0
        for episode in demos:
            changed = change(episode)
            if changed is not None:
                write_episode(folder, changed.records, changed.spec, changed.meta)
                count += 1
        if not count:
            raise UserError(f"nothing of {demos.path} is left; {into} was not made.")


def _places(demos: DemoSet, numbers: tuple[int, ...]) -> list[int]:
    """Places of episodes in the set by the numbers of their files."""
    known = {_number(header.path): k for k, header in enumerate(demos.headers)}
    absent = next((n for n in numbers if n not in known), None)
    if absent is not None:
        raise UserError(
            f"{demos.path} has no episode {absent}; it has {min(known)} to {max(known)}."
        )
    return [known[n] for n in numbers]


def _number(path: Path) -> int:
    digits = path.stem.rpartition("_")[2]
    return int(digits) if digits.isdigit() else 0
