"""Several policies tested on the same seeds: a few lines, and one page that shows them together."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
from math import comb
from pathlib import Path
from typing import TYPE_CHECKING, Any

from launch.report import page
from launch.result import test_line
from serl.errors import writing
from serl.types import first_difference

if TYPE_CHECKING:
    from serl.experiment import Experiment


@dataclass(frozen=True)
class Trial:
    """One policy and what came of it."""

    name: str
    experiment: Experiment
    version: int
    result: dict[str, Any]
    """As `EvaluationResult.to_json`, with `mean_cycle_s`."""

    @property
    def agent(self) -> str:
        return type(self.experiment.agent).__name__.removesuffix("Config")


def compared(tested: Sequence[Trial]) -> list[str]:
    """Each against the first, in lines for a terminal."""
    first, lines = tested[0], []
    for other in tested[1:]:
        better, worse, both = paired(first.result, other.result)
        lines.append(
            f"{other.name} against {first.name} on {both} shared seeds: succeeds on {better} where "
            f"that fails, fails on {worse} where that succeeds (p = {sign_test(better, worse):.2g})"
        )
        difference = first_difference(first.experiment.env.contract(), _env(other))
        if difference:
            lines.append(f"warning: they were tested in different envs ({difference})")
    return lines


def paired(first: dict[str, Any], other: dict[str, Any]) -> tuple[int, int, int]:
    """Seeds on which only `other` succeeds, only `first` does, and how many they share."""
    ours, theirs = ({e["seed"]: _won(e) for e in r["per_episode"]} for r in (first, other))
    shared = ours.keys() & theirs.keys()
    better = sum(theirs[s] and not ours[s] for s in shared)
    worse = sum(ours[s] and not theirs[s] for s in shared)
    return better, worse, len(shared)


def sign_test(better: int, worse: int) -> float:
    """Two-sided probability of a split at least as uneven, were both equally good: McNemar's exact
    test, on the seeds where they differ.

    >>> sign_test(0, 0), sign_test(5, 0), sign_test(3, 3)
    (1.0, 0.0625, 1.0)
    """
    n, least = better + worse, min(better, worse)
    return min(1.0, 2 * sum(comb(n, k) for k in range(least + 1)) / 2**n)


def write_comparison(path: Path, tested: Sequence[Trial]) -> Path:
    """One self-contained page: a table, the intervals as bars, and every episode by its seed."""
    body = [
        "<h1>Policies side by side</h1>",
        f"<p class=sub>{len(tested)} tested, on the same seeds where those are in both rows</p>",
        _table(tested),
        *(f"<p>{html.escape(line)}</p>" for line in compared(tested)),
        "<h2>Episodes</h2>",
        _episodes(tested),
    ]
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(page("Policies side by side", "\n".join(body)))
    return path


def _table(tested: Sequence[Trial]) -> str:
    head = ("policy", "agent", "version", "success", "95 % interval", "", "cycle", "helped")
    rows = ["<tr>" + "".join(f"<th>{text}</th>" for text in head) + "</tr>"]
    for one in tested:
        result = one.result
        low, high = result["wilson_95"]
        cycle = result.get("mean_cycle_s")
        cells = (
            html.escape(one.name),
            html.escape(one.agent),
            str(one.version),
            f"{result['successes']} / {result['episodes']}",
            f"{low:.3f} to {high:.3f}",
            _bar(low, result["successes"] / max(1, result["episodes"]), high),
            "-" if cycle is None else f"{cycle:.2f} s",
            f"{result.get('assisted_episodes', 0)} episodes, {result.get('human_steps', 0)} steps",
        )
        rows.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    lines = "".join(f"<p class=sub>{html.escape(test_line(one.result))}</p>" for one in tested)
    return "<table>" + "\n".join(rows) + "</table>" + (lines if len(tested) == 1 else "")


def _bar(low: float, value: float, high: float) -> str:
    """An interval on a scale from 0 to 1, the value a mark on it."""
    x0, x, x1 = (2 + 156 * v for v in (low, value, high))
    return (
        '<svg viewBox="0 0 160 16" style="width:160px" role="img">'
        '<path class="axis" d="M2 8H158"/>'
        f'<path d="M{x0:.1f} 8H{x1:.1f}" style="stroke:var(--line-1);stroke-width:5"/>'
        f'<path d="M{x:.1f} 2V14" style="stroke:var(--ink);stroke-width:2"/></svg>'
    )


def _episodes(tested: Sequence[Trial]) -> str:
    """A column per seed: steps of a success, a dash for a failure, * where a person helped."""
    seeds = list(dict.fromkeys(e["seed"] for one in tested for e in one.result["per_episode"]))
    found = [{e["seed"]: e for e in one.result["per_episode"]} for one in tested]
    rows = ["<tr><th>seed</th>" + "".join(f"<th>{html.escape(t.name)}</th>" for t in tested)]
    for seed in seeds:
        cells = "".join(f"<td>{_episode(episodes.get(seed))}</td>" for episodes in found)
        rows.append(f"<tr><th>{seed}</th>{cells}</tr>")
    return "<table>" + "\n".join(rows) + "</table>"


def _episode(episode: dict[str, Any] | None) -> str:
    if episode is None:
        return ""
    text = f"{episode['steps']} steps" if _success(episode) else "-"
    return text + (" *" if episode.get("human_steps") else "")


def _success(episode: dict[str, Any]) -> bool:
    true = episode.get("true_success")
    return bool(episode["success"] if true is None else true)


def _won(episode: dict[str, Any]) -> bool:
    """By the policy alone."""
    return _success(episode) and not episode.get("human_steps")


def _env(tested: Trial) -> dict[str, Any]:
    return tested.experiment.env.contract()
