"""Panels as SVG: what is drawn is where and as much as the data say."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from itertools import pairwise

import numpy as np
import pytest

from braidbench_interactions.panels import SHADES, Panel, _ticks, draw

SPACE = "{http://www.w3.org/2000/svg}"


def filled(document: str) -> dict[str, set[tuple[int, int]]]:
    """Bins (column, row from below) that are painted, by shade."""
    found = {}
    for path in ElementTree.fromstring(document).iter(f"{SPACE}path"):
        cells = set()
        for x, y, across in re.findall(r"M(\d+) (\d+)h(\d+)v4h-\d+z", path.get("d")):
            cells |= {((int(x) - 58) // 4 + k, (66 + 240 - int(y)) // 4 - 1) for k in range(int(across) // 4)}
        if path.get("fill") in SHADES:
            found[path.get("fill")] = cells
    return found


def test_a_density_paints_the_bins_that_hold_something_and_more_of_it_darker():
    rng = np.random.default_rng(0)
    x, y = rng.normal(0.5, 0.15, (2, 5000))
    document = draw("t", [Panel("a", "x", "y", (0.0, 1.0), (0.0, 1.0), (x, y))])
    columns, rows = (np.minimum((np.clip(v, 0, 1) * 60).astype(int), 59) for v in (x, y))
    counts = np.zeros((60, 60), int)
    np.add.at(counts, (columns, rows), 1)
    shades = filled(document)
    everything = set().union(*shades.values())
    assert len(everything) == sum(map(len, shades.values()))  # no bin twice
    assert everything == {(int(a), int(b)) for a, b in np.argwhere(counts)}
    ordered = [[counts[cell] for cell in shades[shade]] for shade in SHADES if shade in shades]
    assert all(max(lighter) < min(darker) for lighter, darker in pairwise(ordered))


def test_points_and_lines_are_to_scale_and_names_are_escaped():
    panel = Panel('<"&', "x", "y", (0.0, 2.0), (-1.0, 1.0), None, ((0, -1), (2, 1)), [("a<b", 1.0, 0.0), ("far", 9, 9)])
    root = ElementTree.fromstring(draw("t", [panel, panel]))
    circles = [(float(c.get("cx")), float(c.get("cy"))) for c in root.iter(f"{SPACE}circle")]
    assert circles[0] == (58 + 120, 66 + 120)
    assert circles[1] == (58 + 240, 66)  # at the edge
    assert circles[2][0] - circles[0][0] == 58 + 240 + 14
    line = next(root.iter(f"{SPACE}polyline")).get("points")
    assert line == "58.0,306.0 298.0,66.0"
    assert "a<b" in [text.text for text in root.iter(f"{SPACE}text")]


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [(0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]), (-0.04, 0.16, [0, 0.05, 0.1, 0.15]), (0, 2, [0, 0.5, 1, 1.5, 2])],
)
def test_ticks_are_round(low, high, ticks):
    assert _ticks(low, high) == pytest.approx(ticks)
