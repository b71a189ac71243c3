"""A classifier's report: figures, curves, and the pictures it got wrong, one page under 2 MB."""

from __future__ import annotations

import html
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from launch.plots import Curve, plot, thinned
from launch.report import PAGE, table
from serl.errors import writing
from serl.rewards.figures import curve
from serl.rewards.pictures import beside, data_uri, thumbnail

if TYPE_CHECKING:
    from serl.rewards.training import Trained

MOST_BYTES = 1_500_000
"""Of embedded pictures; what is worst comes first, the rest is counted."""

STYLE = """<style>.wrong { display:flex; flex-wrap:wrap; gap:.8rem }
.wrong figure { font-size:.8rem } .wrong img { display:block; image-rendering:pixelated }
.matrix td { text-align:right }</style>"""


def write_classifier_report(trained: Trained, path: Path, name: str) -> Path:
    """Write the page; returns its path."""
    header = trained.classifier.header
    line = trained.at_threshold
    parts = [
        STYLE,
        f"<h1>{html.escape(name)}</h1>",
        f"<p class=sub>{html.escape(', '.join((*header.view.cameras, header.trunk)))}</p>",
        _tiles(trained),
        "<h2>On held-out episodes</h2>",
        table(
            [
                ("at 0.5", trained.at_half.text()),
                ("at the threshold", line.text() if line else "no threshold is precise enough"),
                ("in a row", f"{header.consecutive} steps"),
                *[(key, value) for key, value in (header.training or {}).items()],
            ]
        ),
        "<h2>Taken for (columns) what it is (rows)</h2>",
        _matrix(trained),
        '<div class="plots">' + "\n".join(_plots(trained)) + "</div>",
        "<h2>Precision and recall</h2>",
        _precision_table(trained),
        "<h2>Misclassified</h2>",
        _wrong(trained),
    ]
    page = PAGE.replace("@TITLE@", html.escape(name)).replace("@BODY@", "\n".join(parts))
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(page)
    return path


def _tiles(trained: Trained) -> str:
    line = trained.at_threshold
    facts = [
        (f"{trained.at_half.accuracy:.1%}", "held-out accuracy at 0.5"),
        (f"{trained.classifier.header.threshold:.3f}" if line else "none", "threshold"),
        (f"{line.precision:.1%}" if line else "-", "precision there"),
        (f"{line.recall:.1%}" if line else "-", "recall there"),
    ]
    tiles = (f"<div><b>{value}</b><small>{what}</small></div>" for value, what in facts)
    return '<div class="tiles">' + "".join(tiles) + "</div>"


def _matrix(trained: Trained) -> str:
    classes = [html.escape(c) for c in trained.classifier.header.classes]
    rows = [
        f"<tr><th>{name}</th>" + "".join(f"<td>{n}</td>" for n in counts.tolist()) + "</tr>"
        for name, counts in zip(classes, trained.confusion, strict=True)
    ]
    head = "<tr><th></th>" + "".join(f"<th>{c}</th>" for c in classes) + "</tr>"
    return '<table class="matrix">' + head + "".join(rows) + "</table>"


def _plots(trained: Trained) -> list[str]:
    p = trained.probabilities[:, trained.classifier.header.success]
    points = curve(p, trained.positive)
    steps, losses, held = (list(column) for column in zip(*trained.history, strict=True))
    by_line = [
        Curve(name="precision", x=points.threshold.tolist(), y=points.precision.tolist()),
        Curve(name="recall", x=points.threshold.tolist(), y=points.recall.tolist()),
    ]
    drawn = [
        ("Precision and recall over the threshold", by_line, "threshold", (0, 1), (0, 1)),
        (
            "Precision over recall",
            [Curve(name="", x=points.recall[::-1].tolist(), y=points.precision[::-1].tolist())],
            "recall",
            (0, 1),
            (0, 1),
        ),
        (
            "Loss",
            [Curve(name="training", x=steps, y=losses), Curve(name="held out", x=steps, y=held)],
            "step",
            (0,),
            (0,),
        ),
    ]
    return [
        f"<figure><figcaption>{title}</figcaption>"
        + plot([thinned(c) for c in curves], x_label=x, y_label=title, x_show=xs, y_show=ys)
        + "</figure>"
        for title, curves, x, xs, ys in drawn
    ]


def _precision_table(trained: Trained) -> str:
    p = trained.probabilities[:, trained.classifier.header.success]
    points = curve(p, trained.positive)
    rows = []
    for wanted in (0.8, 0.9, 0.95, 0.98, 0.99, 1.0):
        good = np.flatnonzero(points.precision >= wanted)
        if len(good):
            k = int(good[0])
            rows.append(
                (f"precision {wanted:g}", f"{points.threshold[k]:.4f}, {points.recall[k]:.1%}")
            )
        else:
            rows.append((f"precision {wanted:g}", "not reached"))
    return table([("at least", "lowest threshold, recall there"), *rows])


def _wrong(trained: Trained) -> str:
    """Pictures whose side of the threshold is not their label's, the surest first."""
    header = trained.classifier.header
    p, truth = trained.probabilities[:, header.success], trained.positive
    wrong = np.flatnonzero((p >= header.threshold) != truth)
    if len(wrong) == 0:
        return "<p class=empty>No held-out frame is on the wrong side of the threshold.</p>"
    wrong = wrong[np.argsort(-np.abs(p[wrong] - header.threshold), kind="stable")]
    figures, size = [], 0
    for k in wrong.tolist():
        episode = trained.episodes[int(trained.examples.episode[k])]
        frame = int(trained.examples.frame[k])
        picture = beside([f[frame] for f in episode.frames.values()])
        image = data_uri(thumbnail(picture, max(1, picture.shape[0] // 128)))
        if size + len(image) > MOST_BYTES:
            break
        size += len(image)
        label = header.classes[int(trained.examples.label[k])]
        file = episode.path.name if episode.path else "?"
        told = f"{file} frame {frame}: {label} by {episode.by[frame]}, p = {p[k]:.3f}"
        figures.append(f'<figure><img src="{image}" alt="">{html.escape(told)}</figure>')
    rest = len(wrong) - len(figures)
    note = f"<p class=sub>{rest} more are not shown.</p>" if rest else ""
    return f'<p class=sub>{len(wrong)} of {len(p)} held-out frames.</p><div class="wrong">' + (
        "\n".join(figures) + "</div>" + note
    )
