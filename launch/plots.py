"""Line plots as inline SVG: no library, no script, readable in any browser and in the dark."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 460, 230
LEFT, RIGHT, TOP, BOTTOM = 56, 12, 12, 34
COLOURS = ("var(--line-1)", "var(--line-2)", "var(--line-3)", "var(--line-4)")


@dataclass(frozen=True, kw_only=True)
class Curve:
    """One line: points in the order of x; a y of None is a gap."""

    name: str
    x: Sequence[float]
    y: Sequence[float | None]


def plot(
    curves: Sequence[Curve],
    *,
    x_label: str,
    y_label: str,
    x_show: Sequence[float] = (),
    y_show: Sequence[float] = (),
) -> str:
    """An <svg> with axes, ticks, a legend when there are several curves, and the curves.

    Args:
        x_show, y_show: values that the axes must reach, whatever the data.
    """
    points = [(x, y) for c in curves for x, y in zip(c.x, c.y, strict=True) if y is not None]
    if not points:
        return f'<p class="empty">No data for {html.escape(y_label)}.</p>'
    x_range = _range([*(x for x, _ in points), *x_show])
    y_range = _range([*(y for _, y in points), *y_show])
    parts = [
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{html.escape(y_label)}">',
        *_axes(x_range, y_range, x_label, y_label),
        *(_path(c, x_range, y_range, COLOURS[i % 4]) for i, c in enumerate(curves)),
    ]
    if len(curves) > 1:
        parts += _legend(curves)
    return "\n".join([*parts, "</svg>"])


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers within [low, high], about so many: steps of 1, 2 or 5 times a power of ten.

    >>> ticks(0, 1)
    [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    """
    raw = (high - low) / about
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * m for m in (1, 2, 5, 10) if power * m >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(k * step, 12) for k in range(first, last + 1)]


def thinned(curve: Curve, most: int = 400) -> Curve:
    """At most `most` points, each the mean of its neighbours, so that a report stays small."""
    size = max(1, math.ceil(len(curve.x) / most))
    if size == 1:
        return curve
    x, y = [], []
    for k in range(0, len(curve.x), size):
        known = [v for v in curve.y[k : k + size] if v is not None]
        x.append(sum(curve.x[k : k + size]) / len(curve.x[k : k + size]))
        y.append(sum(known) / len(known) if known else None)
    return Curve(name=curve.name, x=x, y=y)


def _range(values: Sequence[float]) -> tuple[float, float]:
    least, most = min(values), max(values)
    if most - least < 1e-12 * max(1.0, abs(most)):
        least, most = least - 0.5 * abs(least or 1), most + 0.5 * abs(most or 1)
    return least, most


def _x(value: float, span: tuple[float, float]) -> float:
    return LEFT + (value - span[0]) / (span[1] - span[0]) * (WIDTH - LEFT - RIGHT)


def _y(value: float, span: tuple[float, float]) -> float:
    return HEIGHT - BOTTOM - (value - span[0]) / (span[1] - span[0]) * (HEIGHT - TOP - BOTTOM)


def _axes(
    x_range: tuple[float, float], y_range: tuple[float, float], x_label: str, y_label: str
) -> list[str]:
    base = HEIGHT - BOTTOM
    parts = []
    for value in ticks(*y_range):
        y = _y(value, y_range)
        parts.append(
            f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        )
        parts.append(f'<text x="{LEFT - 6}" y="{y + 3.5:.1f}" class="end">{number(value)}</text>')
    for value in ticks(*x_range):
        x = _x(value, x_range)
        parts.append(f'<text x="{x:.1f}" y="{base + 15}" class="mid">{number(value)}</text>')
    parts.append(f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{base}" y2="{base}"/>')
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(f'<text x="{middle}" y="{HEIGHT - 4}" class="mid">{html.escape(x_label)}</text>')
    return parts


def _path(
    curve: Curve, x_range: tuple[float, float], y_range: tuple[float, float], colour: str
) -> str:
    words, pen = [], "M"
    for x, y in zip(curve.x, curve.y, strict=True):
        if y is None:
            pen = "M"
            continue
        words.append(f"{pen}{_x(x, x_range):.1f} {_y(y, y_range):.1f}")
        pen = "L"
    title = f"<title>{html.escape(curve.name)}</title>"
    return f'<path d="{"".join(words)}" style="stroke:{colour}">{title}</path>'


def _legend(curves: Sequence[Curve]) -> list[str]:
    parts, x = [], LEFT + 8
    for i, curve in enumerate(curves):
        colour = COLOURS[i % 4]
        parts.append(f'<path d="M{x} {TOP + 4}h14" style="stroke:{colour}"/>')
        parts.append(f'<text x="{x + 18}" y="{TOP + 8}">{html.escape(curve.name)}</text>')
        x += 34 + 6 * len(curve.name)
    return parts


def number(value: float) -> str:
    """A tick's label: 12k, 1.5M, 0.25."""
    for size, unit in ((1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:g}{unit}"
    return f"{value:g}"
