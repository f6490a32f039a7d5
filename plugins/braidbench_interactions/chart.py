"""A stacked bar of interactions as SVG: one bar a pair of modalities, one segment a term, a whisker an interval."""

from __future__ import annotations

import math
from collections.abc import Sequence
from xml.sax.saxutils import escape

from braidbench_interactions.estimation import TERMS, Estimate

COLOURS = {"redundancy": "#4477aa", "unique1": "#228833", "unique2": "#ccbb44", "synergy": "#aa3377"}
"""Paul Tol's bright scheme, which colour-blind readers tell apart."""

NAMES = {"redundancy": "R", "unique1": "U1", "unique2": "U2", "synergy": "S"}


def said(term: str) -> str:
    """``"U1: unique to the first"``."""
    words = {"redundancy": "redundancy", "unique1": "unique to the first", "unique2": "unique to the second"}
    return f"{NAMES[term]}: {words.get(term, term)}"


_LABELS, _WIDTH, _BAR, _STEP, _TOP, _RIGHT = 190, 520, 22, 58, 74, 30


def stacked_bars(title: str, bars: Sequence[tuple[str, Estimate]]) -> str:
    """The SVG document. Every bar ends at I(X1, X2; Y); its whiskers lie below it, each around its segment's end.

    Args:
        title: above the bars.
        bars: a label and an estimate each, all in one unit.
    """
    unit = bars[0][1].unit
    longest = max(max(sum(term.high for term in estimate.terms.values()) for _, estimate in bars), 1e-3)
    top, ticks = _axis(longest)
    scale = _WIDTH / top
    height = _TOP + _STEP * len(bars) + 44
    full = _LABELS + _WIDTH + _RIGHT
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {full} {height}" width="{full}" height="{height}" '
        f'role="img" aria-label="{_attribute(title)}" font-family="system-ui, sans-serif" font-size="12">',
        f"<title>{escape(title)}</title>",
        f'<rect width="{full}" height="{height}" fill="#ffffff"/>',
        f'<text x="12" y="24" font-size="15" font-weight="600">{escape(title)}</text>',
    ]
    x = 12.0
    for term in TERMS:
        text = said(term)
        parts.append(f'<rect x="{x:.0f}" y="40" width="12" height="12" fill="{COLOURS[term]}"/>')
        parts.append(f'<text x="{x + 17:.0f}" y="50">{text}</text>')
        x += 30 + 7.0 * len(text)
    bottom = _TOP + _STEP * len(bars)
    for tick in ticks:
        at = _LABELS + tick * scale
        parts.append(f'<line x1="{at:.1f}" x2="{at:.1f}" y1="{_TOP - 6}" y2="{bottom}" stroke="#dddddd"/>')
        parts.append(f'<text x="{at:.1f}" y="{bottom + 16}" text-anchor="middle">{tick:g}</text>')
    parts.append(f'<text x="{_LABELS + _WIDTH / 2:.0f}" y="{bottom + 34}" text-anchor="middle">{unit}</text>')
    for row, (label, estimate) in enumerate(bars):
        parts += _bar(label, estimate, _TOP + row * _STEP, scale)
    return "\n".join([*parts, "</svg>\n"])


def _bar(label: str, estimate: Estimate, y: float, scale: float) -> list[str]:
    parts = [f'<text x="{_LABELS - 10}" y="{y + 15}" text-anchor="end">{escape(label)}</text>']
    start = 0.0
    for row, (name, term) in enumerate(estimate.terms.items()):
        left, width = _LABELS + start * scale, term.value * scale
        told = f"{NAMES[name]} {term.value:.3f} ({term.low:.3f} to {term.high:.3f}) {estimate.unit}"
        parts.append(
            f'<rect x="{left:.2f}" y="{y}" width="{width:.2f}" height="{_BAR}" fill="{COLOURS[name]}">'
            f"<title>{told}</title></rect>"
        )
        if width > 38:
            ink = "#222222" if name == "unique2" else "#ffffff"
            middle = left + width / 2
            at = f'x="{middle:.2f}" y="{y + 15}" text-anchor="middle" fill="{ink}"'
            parts.append(f"<text {at}>{term.value:.2f}</text>")
        # Whiskers stand apart, so that neighbours do not hide one another.
        line = y + _BAR + 4 + 5 * row
        low, high = (_LABELS + (start + end) * scale for end in (term.low, term.high))
        parts.append(
            f'<line x1="{low:.2f}" x2="{high:.2f}" y1="{line}" y2="{line}" stroke="{COLOURS[name]}" stroke-width="2"/>'
        )
        start += term.value
    return parts


def _axis(longest: float) -> tuple[float, list[float]]:
    """A round end of the axis at or above ``longest``, and its ticks."""
    magnitude = 10.0 ** math.floor(math.log10(longest))
    step = next(magnitude * part for part in (0.2, 0.25, 0.5, 1.0, 2.0) if longest / (magnitude * part) <= 5)
    number = math.ceil(longest / step - 1e-9)
    return number * step, [round(step * k, 10) for k in range(number + 1)]


def _attribute(text: str) -> str:
    return escape(text, {'"': "&quot;"})
