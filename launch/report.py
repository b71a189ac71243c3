"""`report.html`: one self-contained page of a run: result, curves, video, settings."""

from __future__ import annotations

import base64
import html
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from launch.live import minutes
from launch.plots import Curve, plot, thinned
from launch.result import tells_success
from launch.runs import Run
from serl.errors import writing
from serl.metrics import read_metrics

MAX_EMBEDDED_BYTES = 8_000_000
"""A larger video is linked instead, so that the page stays quick to open."""


@dataclass(frozen=True)
class Figure:
    """One plot: curves over time, each a (process, key in metrics.jsonl, name)."""

    title: str
    unit: str
    curves: tuple[tuple[str, str, str], ...]
    y_show: tuple[float, ...] = ()
    """Values that the y axis reaches, whatever the data."""


FIGURES = (
    Figure(
        "Success, last 20 episodes",
        "share",
        (("actor", "episode/success_last_20", "training"),),
        (0, 1),
    ),
    Figure(
        "Steps that a person made",
        "share of an episode",
        (
            ("actor", "episode/intervention_rate", "one episode"),
            ("actor", "episode/intervention_rate_last_20", "last 20"),
        ),
        (0, 1),
    ),
    Figure("Cycle time of successes", "seconds", (("actor", "episode/cycle_s", "cycle"),), (0,)),
    Figure("Return of training episodes", "return", (("actor", "episode/return", "return"),)),
    Figure("Episode length", "steps", (("actor", "episode/steps", "steps"),), (0,)),
    Figure(
        "Speed",
        "per second",
        (("learner", "updates_per_s", "critic updates"), ("actor", "env_steps_per_s", "env steps")),
        (0,),
    ),
    Figure("Critic loss", "loss", (("learner", "critic/loss", "critic"),), (0,)),
    Figure(
        "Value",
        "Q",
        (("learner", "critic/q_mean", "Q"), ("learner", "critic/target_mean", "target")),
    ),
    Figure("Policy entropy", "nats", (("learner", "actor/entropy", "entropy"),)),
    Figure("Policy age at the actor", "seconds", (("actor", "policy/age_s", "age"),), (0,)),
    Figure("Replay", "records", (("learner", "replay_records", "records"),), (0,)),
)


def write_report(run: Run, result: dict[str, Any], video: Path | None) -> Path:
    """Write the page and return where it is."""
    rows = list(read_metrics(run.path))
    body = "\n".join(
        [
            f"<h1>{html.escape(result['experiment'])}</h1>",
            f"<p class=sub>{html.escape(_subtitle(run, result))}</p>",
            _headline(result),
            _video(video),
            "<h2>Training</h2>",
            '<div class="plots">' + "\n".join(_figures(rows)) + "</div>",
            "<h2>Numbers</h2>",
            table(_flat({k: v for k, v in result.items() if k not in ("per_episode", "machine")})),
            "<h2>Machine</h2>",
            table(_flat(result.get("machine", {}))),
            "<details><summary>Settings</summary>" + table(_settings(run)) + "</details>",
        ]
    )
    with writing(run.report):
        run.report.write_text(page(result["experiment"], body))
    return run.report


def page(title: str, body: str) -> str:
    """A self-contained page around a body of ours."""
    return PAGE.replace("@TITLE@", html.escape(title)).replace("@BODY@", body)


def table(rows: Sequence[tuple[str, Any]]) -> str:
    """Names and values."""
    lines = (
        f"<tr><th>{html.escape(name)}</th><td>{html.escape(_text(value))}</td></tr>"
        for name, value in rows
    )
    return "<table>" + "\n".join(lines) + "</table>"


def _figures(rows: list[dict[str, Any]]) -> list[str]:
    """Each of FIGURES that the run has data for."""
    stamps = [row["t_s"] for row in rows] or [0.0]
    start_s, span = min(stamps), (0.0, (max(stamps) - min(stamps)) / 60)
    figures = []
    for figure in FIGURES:
        curves = [c for s in figure.curves if (c := _curve(rows, *s, start_s)).x]
        if curves:
            svg = plot(
                [thinned(c) for c in curves],
                x_label="minutes",
                y_label=figure.title,
                x_show=span,
                y_show=figure.y_show,
            )
            caption = f"{html.escape(figure.title)} <span>[{figure.unit}]</span>"
            figures.append(f"<figure><figcaption>{caption}</figcaption>{svg}</figure>")
    return figures or ["<p class=empty>The run logged no metrics.</p>"]


def _curve(rows: list[dict[str, Any]], process: str, key: str, name: str, start_s: float) -> Curve:
    found = [row for row in rows if row.get("name") == process and key in row]
    return Curve(
        name=name, x=[(row["t_s"] - start_s) / 60 for row in found], y=[row[key] for row in found]
    )


def _subtitle(run: Run, result: dict[str, Any]) -> str:
    when = time.strftime("%Y-%m-%d %H:%M", time.localtime(run.about["created_s"]))
    return f"{when}, seed {result['seed']}, version {result['version']}, {run.path}"


def _headline(result: dict[str, Any]) -> str:
    """The three numbers that matter, large."""
    tiles = []
    if result.get("episodes") and not tells_success(result):
        tiles.append(
            (f"{result['mean_return']:.4g}", f"mean return of {result['episodes']} episodes")
        )
    elif result.get("episodes"):
        low, high = result["wilson_95"]
        tiles.append(
            (
                f"{result['successes']} / {result['episodes']}",
                f"successes; 95 % interval {low:.3f} to {high:.3f}",
            )
        )
    if result.get("mean_cycle_s") is not None:
        tiles.append((f"{result['mean_cycle_s']:.2f} s", "mean cycle time of the successes"))
    if steps := result.get("training_human_steps"):
        share = steps / max(1, result["env_steps"] or 0)
        words = f"of training steps by a person, {result['training_interventions']} interventions"
        tiles.append((f"{share:.1%}", words))
    tiles.append((minutes(result["wall_s"]), "first demonstration to last test episode"))
    cells = (
        f"<div><b>{html.escape(big)}</b><small>{html.escape(small)}</small></div>"
        for big, small in tiles
    )
    return '<div class="tiles">' + "".join(cells) + "</div>"


def _video(video: Path | None) -> str:
    if video is None:
        return ""
    if video.stat().st_size > MAX_EMBEDDED_BYTES:
        name = html.escape(video.name)
        return f'<p><a href="videos/{name}">{name}</a></p>'
    data = base64.b64encode(video.read_bytes()).decode()
    return f'<video controls loop muted autoplay src="data:video/mp4;base64,{data}"></video>'


def _settings(run: Run) -> list[tuple[str, Any]]:
    if not run.config.is_file():
        return []
    config = run.read(run.config)
    return _flat({k: config[k] for k in ("contract", "settings") if k in config})


def _flat(value: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """Nested JSON as dotted names; a list of plain values stays one value."""
    rows = []
    for key, item in value.items():
        if isinstance(item, dict):
            rows += _flat(item, f"{prefix}{key}.")
        else:
            rows.append((f"{prefix}{key}", item))
    return rows


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    return value if isinstance(value, str) else json.dumps(value)


PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>@TITLE@</title>
<style>
:root { --ink:#1c2024; --soft:#60646c; --paper:#fff; --rule:#e3e5e8;
  --line-1:#2563c9; --line-2:#d9730d; --line-3:#2f9e62; --line-4:#9a4fc4; color-scheme:light dark }
@media (prefers-color-scheme: dark) { :root { --ink:#edeef0; --soft:#a0a5ad; --paper:#16181b;
  --rule:#2f3338; --line-1:#6ea8ff; --line-2:#ffa057; --line-3:#5fd39a; --line-4:#c792ea } }
body { font:15px/1.5 system-ui,sans-serif; color:var(--ink); background:var(--paper);
  max-width:980px; margin:2rem auto; padding:0 1rem }
h1 { margin:0; font-size:1.6rem } h2 { margin:2rem 0 .6rem; font-size:1.1rem }
.sub, .empty { color:var(--soft); margin:.2rem 0 1.2rem }
.tiles { display:flex; flex-wrap:wrap; gap:1rem; margin-bottom:1.2rem }
.tiles div { border:1px solid var(--rule); border-radius:8px; padding:.7rem 1.1rem }
.tiles b { display:block; font-size:1.7rem; line-height:1.2 } .tiles small { color:var(--soft) }
.plots { display:grid; grid-template-columns:repeat(auto-fit,minmax(400px,1fr)); gap:1rem 1.5rem }
figure { margin:0 } figcaption { font-weight:600 }
figcaption span { font-weight:400; color:var(--soft) }
svg { width:100%; height:auto } svg text { font-size:11px; fill:var(--soft) }
svg .end { text-anchor:end } svg .mid { text-anchor:middle }
svg path { fill:none; stroke-width:1.6; stroke-linejoin:round }
svg .grid { stroke:var(--rule) } svg .axis { stroke:var(--soft) }
video { max-width:720px; width:100%; border-radius:8px }
table { border-collapse:collapse; font-size:.9rem }
th, td { text-align:left; padding:.15rem 1.2rem .15rem 0; border-bottom:1px solid var(--rule);
  vertical-align:top; word-break:break-word }
th { font-weight:400; color:var(--soft) }
summary { cursor:pointer; margin:2rem 0 .6rem; font-weight:600 }
</style></head><body>
@BODY@
</body></html>
"""
