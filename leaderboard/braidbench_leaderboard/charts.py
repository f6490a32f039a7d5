"""Charts as Vega-Lite specifications: plain dicts, with their data in them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from braidbench.measurements import Measurement
from braidbench.summary import Robustness, Row, Table

SCHEMA = "https://vega.github.io/schema/vega-lite/v6.json"
"""An identifier that Vega reads; nothing is fetched from it."""

COSTS = {
    "parameters_total": "parameters",
    "flops_per_sample": "FLOPs a sample",
    "train_seconds": "training time (s)",
    "inference_seconds_per_sample": "inference time a sample (s)",
    "peak_host_bytes": "peak memory (bytes)",
}


def cost_plot(table: Table) -> dict[str, Any] | None:
    """Score against cost, one point a row with its interval. The page offers the other costs for the x axis."""
    # One point that cannot be compared would stretch the axes of all the others.
    drawn = [row for row in table.rows if not row.apart and row.scores.get(table.metric) and row.cost]
    points = [_point(row, table.metric) for row in drawn]
    if not points:
        return None
    x = {
        "field": "parameters_total",
        "type": "quantitative",
        "scale": {"type": "log", "nice": False, "padding": 24},
        "title": COSTS["parameters_total"],
        "axis": {"format": "~s", "labelOverlap": True, "tickCount": 5},
    }
    y = {"type": "quantitative", "title": table.metric, "scale": {"zero": False}}
    colour = _by_method(table, [point["method"] for point in points])
    shape = {key: value for key, value in colour.items() if key != "scale"}
    tooltip = [
        {"field": "method", "type": "nominal"},
        {"field": "mean", "type": "quantitative", "format": ".4f", "title": table.metric},
        *({"field": name, "type": "quantitative", "format": ".3~s", "title": title} for name, title in COSTS.items()),
    ]
    return {
        "$schema": SCHEMA,
        "description": f"{table.metric} against cost for every method on {table.name}",
        "width": "container",
        "height": 300,
        "data": {"values": points},
        "layer": [
            {
                "mark": {"type": "rule", "strokeWidth": 2, "opacity": 0.6},
                "encoding": {"x": x, "y": {**y, "field": "low"}, "y2": {"field": "high"}, "color": colour},
            },
            {
                "mark": {"type": "point", "filled": True, "size": 90, "opacity": 1},
                "encoding": {
                    "x": x,
                    "y": {**y, "field": "mean"},
                    "color": colour,
                    "shape": {**shape, "scale": {"domain": colour["scale"]["domain"]}},
                    "tooltip": tooltip,
                },
            },
        ],
    }


LEGEND = {"orient": "bottom", "labelLimit": 220, "symbolOpacity": 1}


def _by_method(table: Table, shown: Sequence[str]) -> dict[str, Any]:
    """A colour a row, the same in every chart of the page; the legend names the rows that are drawn."""
    return {
        "field": "method",
        "type": "nominal",
        "title": None,
        "scale": {"domain": [row.label for row in table.rows if not row.apart]},
        "legend": {**LEGEND, "values": list(shown)},
    }


def _point(row: Row, metric: str) -> dict[str, Any]:
    score = row.scores[metric]
    assert score is not None
    low, high = (score.mean, score.mean) if score.low is None else (score.low, score.high)
    return {"method": row.label, "mean": score.mean, "low": low, "high": high, **{n: row.cost.get(n) for n in COSTS}}


def robustness_plots(table: Table) -> list[dict[str, Any]]:
    """One plot a corruption and modality: the mean score of each method against severity."""
    found: dict[tuple[str, str], list[tuple[str, Robustness]]] = {}
    for row in table.rows:
        for curve in row.robustness:
            found.setdefault((curve.corruption, curve.modality), []).append((row.label, curve))
    return [_curves(table, *key, curves) for key, curves in sorted(found.items())]


def _curves(table: Table, corruption: str, modality: str, curves: Sequence[tuple[str, Robustness]]) -> dict[str, Any]:
    values = [
        {"method": name, "severity": severity, "score": value}
        for name, curve in curves
        for severity, value in zip(curve.severities, curve.scores, strict=True)
        if value is not None
    ]
    return {
        "$schema": SCHEMA,
        "title": f"{corruption} on {modality}",
        "description": f"{table.metric} against the severity of {corruption} on {modality} for every method",
        "width": "container",
        "height": 240,
        "data": {"values": values},
        "mark": {"type": "line", "point": {"size": 25}, "strokeWidth": 2},
        "encoding": {
            "x": {
                "field": "severity",
                "type": "quantitative",
                "axis": {"format": ".1f", "values": [0, 0.2, 0.4, 0.6, 0.8, 1]},
            },
            "y": {"field": "score", "type": "quantitative", "title": table.metric, "scale": {"zero": False}},
            "color": _by_method(table, [name for name, _ in curves]),
            "tooltip": [
                {"field": "method", "type": "nominal"},
                {"field": "severity", "type": "quantitative"},
                {"field": "score", "type": "quantitative", "format": ".4f"},
            ],
        },
    }


BAR, STEP = 18, 5
"""Height of a bar, and of the line of one whisker, in pixels."""


def stacked_bars(measurement: Measurement) -> dict[str, Any]:
    """One bar a row, its parts beside one another; below it a whisker a part, around the part's end."""
    names = measurement.parts
    values = []
    for bar in measurement.bars:
        start = 0.0
        for part in bar.parts:
            ends = {"start": start, "end": start + part.value, "from": start + part.low, "to": start + part.high}
            values.append({"bar": bar.name, "part": part.name, **part.model_dump(exclude={"name"}), **ends})
            start += part.value
    y = {"field": "bar", "type": "nominal", "sort": None, "title": None, "axis": {"labelLimit": 150, "grid": False}}
    x = {"type": "quantitative", "title": measurement.unit, "axis": {"tickCount": 6}}
    colour = {
        "field": "part",
        "type": "nominal",
        "title": None,
        "scale": {"domain": names},
        "legend": LEGEND,
    }
    tooltip = [{"field": name, "type": "nominal"} for name in ("bar", "part")]
    tooltip += [{"field": name, "type": "quantitative", "format": ".3f"} for name in ("value", "low", "high")]
    whiskers = [
        {
            # Whiskers stand apart, so that neighbours do not hide one another.
            "transform": [{"filter": {"field": "part", "equal": name}}],
            "mark": {"type": "rule", "strokeWidth": 2, "yOffset": STEP * (row + 1)},
            "encoding": {
                "x": {**x, "field": "from"},
                "x2": {"field": "to"},
                "y": y,
                "color": colour,
                "tooltip": tooltip,
            },
        }
        for row, name in enumerate(names)
    ]
    bars = {
        "mark": {"type": "bar", "height": BAR, "yOffset": -BAR / 2},
        "encoding": {"x": {**x, "field": "start"}, "x2": {"field": "end"}, "y": y, "color": colour, "tooltip": tooltip},
    }
    return {
        "$schema": SCHEMA,
        "description": f"{measurement.title} of {measurement.dataset}: {', '.join(names)}, in {measurement.unit}",
        "width": "container",
        "height": len(measurement.bars) * (BAR + 2 * STEP * (len(names) + 1)),
        "data": {"values": values},
        "layer": [bars, *whiskers],
    }
