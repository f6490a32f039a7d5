"""Panels side by side as SVG: a binned density, a line to hold it against, and points with names."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

import numpy as np

from braidbench_interactions.joint import FloatArray

SHADES = ("#dce8f3", "#b5cfe6", "#86afd4", "#4477aa", "#2a5585", "#12305a")
"""From few to many, in equal steps of the logarithm."""

_LINE, _POINT = "#aa3377", "#222222"

_LETTER = 6.2
"""What a letter is wide, at most, on the average."""

_BINS, _SIDE, _LEFT, _TOP, _BOTTOM, _RIGHT, _LEGEND = 60, 240, 58, 66, 46, 14, 26


@dataclass(frozen=True)
class Panel:
    """One plot. Data outside of the ranges is drawn at their edge."""

    title: str
    x: str
    y: str
    x_range: tuple[float, float]
    y_range: tuple[float, float]
    density: tuple[FloatArray, FloatArray] | None = None
    """Abscissae and ordinates of as many samples as there are, binned 60 × 60."""
    line: Sequence[tuple[float, float]] = ()
    points: Sequence[tuple[str, float, float]] = ()
    """Name, abscissa and ordinate. Points without a name are many, and let one another shine through."""


def draw(title: str, panels: Sequence[Panel]) -> str:
    """The SVG document."""
    step = _LEFT + _SIDE + _RIGHT
    width, height = step * len(panels) + 10, _TOP + _SIDE + _BOTTOM + _LEGEND
    said = escape(title, {'"': "&quot;"})
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'role="img" aria-label="{said}" font-family="system-ui, sans-serif" font-size="11">',
        f"<title>{escape(title)}</title>",
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
        f'<text x="12" y="24" font-size="15" font-weight="600">{escape(title)}</text>',
    ]
    most = 0
    for panel in panels:
        counts = _counts(panel)
        most = max(most, int(counts.max()) if counts is not None else 0)
    for column, panel in enumerate(panels):
        parts += _panel(panel, column * step + _LEFT, most)
    if most:
        parts += _legend(_LEFT, height - 14, most)
    return "\n".join([*parts, "</svg>\n"])


def _counts(panel: Panel) -> FloatArray | None:
    """How many samples a bin holds, (60, 60), abscissa first."""
    if panel.density is None:
        return None
    x, y = (
        np.clip(values, *limits) for values, limits in zip(panel.density, (panel.x_range, panel.y_range), strict=True)
    )
    return np.histogram2d(x, y, bins=_BINS, range=[panel.x_range, panel.y_range])[0]


def _shade(count: FloatArray, most: int) -> FloatArray:
    """Indices of :data:`SHADES`; −1 where there is nothing."""
    share = np.log(np.maximum(count, 1.0)) / max(math.log(most), 1e-9)
    level: FloatArray = np.where(count > 0, np.minimum(np.floor(share * len(SHADES)), len(SHADES) - 1), -1)
    return level


def _panel(panel: Panel, left: int, most: int) -> list[str]:
    def at(x: float, y: float) -> tuple[float, float]:
        shares = (
            (min(max(value, low), high) - low) / (high - low)
            for value, (low, high) in zip((x, y), (panel.x_range, panel.y_range), strict=True)
        )
        across, up = shares
        return left + across * _SIDE, _TOP + (1 - up) * _SIDE

    parts = [f'<text x="{left}" y="{_TOP - 12}" font-weight="600">{escape(panel.title)}</text>']
    counts = _counts(panel)
    if counts is not None:
        parts += _cells(_shade(counts, most), left)
    bottom, right = _TOP + _SIDE, left + _SIDE
    parts.append(f'<path d="M{left} {_TOP}V{bottom}H{right}" fill="none" stroke="#888888"/>')
    for tick in _ticks(*panel.x_range):
        x = at(tick, 0)[0]
        parts.append(f'<text x="{x:.1f}" y="{bottom + 14}" text-anchor="middle">{tick:g}</text>')
    for tick in _ticks(*panel.y_range):
        y = at(0, tick)[1]
        parts.append(f'<text x="{left - 5}" y="{y + 4:.1f}" text-anchor="end">{tick:g}</text>')
    parts.append(f'<text x="{left + _SIDE / 2:.0f}" y="{bottom + 30}" text-anchor="middle">{escape(panel.x)}</text>')
    middle = f"{left - 42} {_TOP + _SIDE / 2:.0f}"
    parts.append(f'<text transform="translate({middle}) rotate(-90)" text-anchor="middle">{escape(panel.y)}</text>')
    if panel.line:
        corners = " ".join("{:.1f},{:.1f}".format(*at(*corner)) for corner in panel.line)
        parts.append(f'<polyline points="{corners}" fill="none" stroke="{_LINE}" stroke-width="1.5"/>')
    placed: list[tuple[float, float, float]] = []
    for name, x, y in panel.points:
        across, down = at(x, y)
        if not name:
            parts.append(f'<circle cx="{across:.1f}" cy="{down:.1f}" r="3" fill="{_POINT}" fill-opacity="0.3"/>')
            continue
        parts.append(f'<circle cx="{across:.1f}" cy="{down:.1f}" r="3.5" fill="{_POINT}">')
        parts.append(f"<title>{escape(name)}</title></circle>")
        # A name stands where there is room; where there is none, the title has it.
        right = across < left + 0.6 * _SIDE
        start = across + 6 if right else across - 6 - _LETTER * len(name)
        end = start + _LETTER * len(name)
        for base in (down - 5, down + 14):
            if base > _TOP + 8 and all(abs(base - b) > 11 or start > e or end < s for s, e, b in placed):
                anchor = f'x="{across + 6:.1f}"' if right else f'x="{across - 6:.1f}" text-anchor="end"'
                parts.append(f'<text {anchor} y="{base:.1f}">{escape(name)}</text>')
                placed.append((start, end, base))
                break
    return parts


def _cells(shades: FloatArray, left: int) -> list[str]:
    """One path a shade; neighbours in a row are one rectangle."""
    size = _SIDE // _BINS
    parts = []
    for level, colour in enumerate(SHADES):
        runs = []
        for row in range(_BINS):
            here = np.concatenate([[False], shades[:, row] == level, [False]])
            starts, ends = np.flatnonzero(here[1:] & ~here[:-1]), np.flatnonzero(here[:-1] & ~here[1:])
            y = _TOP + _SIDE - size * (row + 1)
            runs += [
                f"M{left + size * a} {y}h{size * (b - a)}v{size}h{-size * (b - a)}z"
                for a, b in zip(starts, ends, strict=True)
            ]
        if runs:
            parts.append(f'<path fill="{colour}" d="{"".join(runs)}"/>')
    return parts


def _legend(left: int, y: int, most: int) -> list[str]:
    parts = [f'<text x="{left}" y="{y}">in a bin:</text>']
    edges = [math.exp(math.log(most) * level / len(SHADES)) for level in range(len(SHADES))]
    x = left + 54
    for edge, colour in zip(edges, SHADES, strict=True):
        text = f"{max(math.ceil(edge - 1e-9), 1):,}+"
        parts.append(f'<rect x="{x}" y="{y - 10}" width="11" height="11" fill="{colour}"/>')
        parts.append(f'<text x="{x + 15}" y="{y}">{text}</text>')
        x += 26 + 7 * len(text)
    return parts


def _ticks(low: float, high: float) -> list[float]:
    """Four to ten round numbers from ``low`` to ``high``."""
    step = 10.0 ** math.floor(math.log10(high - low))
    step *= next(part for part in (1.0, 0.5, 0.2, 0.1) if (high - low) / (step * part) >= 4)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(step * k, 10) + 0.0 for k in range(first, last + 1)]
