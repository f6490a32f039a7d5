"""Results → rows: what counts, what is ranked, robustness and generalisation by hand."""

from __future__ import annotations

import hashlib
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.stats

from braidbench.cell import seeds
from braidbench.files import sha256_json
from braidbench.results import Cost, Curve, Result
from braidbench.summary import Table, decimals, label, newest, overall, tables
from braidbench.vetting import Cell

COST = Cost(
    parameters_trained=10, parameters_total=12, flops_per_sample=100, train_seconds=2.0, epochs=3,
    inference_seconds_per_sample=1e-4, inference_batch_size=8, peak_host_bytes=1000,
)  # fmt: skip


def cell(method: str = "a", seed: int = 0, score: float | None = 0.5, **fields: Any) -> Cell:
    """A cell of accuracy ``score``, or of what its curves begin at; any field can be set, ``identity`` in parts."""
    metric, direction = fields.pop("metric", "accuracy"), fields.pop("direction", "higher")
    curves = fields.get("robustness", [])
    scores = {metric: curves[0].scores[0] if curves else score}
    values = {
        "dataset": "d", "task": "t", "method": method, "seed": seed, "status": "ok", "scores": scores,
        "directions": {metric: direction}, "command": "braidbench run", "started": "2026-01-01T00:00:00+00:00",
        "finished": "2026-01-02T00:00:00+00:00", "cost": COST, **fields,
    }  # fmt: skip
    if values["status"] != "ok":
        values |= {"scores": {}, "cost": None, "reason": "because"}
    identity: dict[str, Any] = {
        "dataset": {"name": values["dataset"], "task": values["task"]}, "method": {"name": method}, "seed": seed,
        "seeds": seeds(seed), "overrides": values.get("overrides", {}), **fields.get("identity", {}),
    }  # fmt: skip
    if values["status"] == "skipped":
        identity["skipped"] = "because"
    values["identity"] = identity
    name = sha256_json(identity)
    where = hashlib.sha256(repr(sorted(values.items(), key=str)).encode()).hexdigest()
    return Path(where), Result(cell=name, **values)


GRID = [step / 10 for step in range(11)]


def curve(scores: list[float | None], **fields: Any) -> Curve:
    """A curve through evenly spaced points, on the protocol's grid."""
    points = [float(v) for v in np.interp(GRID, np.linspace(0, 1, len(scores)), scores)]
    values = {
        "corruption": "noise", "modality": "image", "metric": "accuracy", "direction": "higher", "relative": None,
        "severities": GRID, "seed": seeds(0)["corruption"], "source": "1-a", **fields,
    }  # fmt: skip
    return Curve(scores=points, **values)


def one_table(cells: list[Cell], **options: Any) -> Table:
    [table] = tables(cells, **options)
    return table


def test_a_row_is_the_mean_over_its_seeds():
    cells = [cell("a", seed, score) for seed, score in enumerate((0.7, 0.8, 0.9))]
    [row] = one_table(cells).rows
    low, high = scipy.stats.t.interval(0.95, 2, loc=0.8, scale=scipy.stats.sem([0.7, 0.8, 0.9]))
    found = row.scores["accuracy"]
    assert (found.mean, found.sd, found.n) == (pytest.approx(0.8), pytest.approx(0.1), 3)
    assert (found.low, found.high) == (pytest.approx(low), pytest.approx(high))
    assert row.cost["parameters_total"] == 12


def test_overrides_stand_apart_even_where_they_look_alike():
    cells = [cell(), *(cell(overrides={"model.x": value}) for value in (1, "1", "one"))]
    rows = one_table(cells).rows
    assert sorted(row.label for row in rows) == ["a", 'a {model.x="1"}', "a {model.x=1}", "a {model.x=one}"]
    impostor = cell("a {model.x=1}")
    assert [row.label for row in one_table([*cells, impostor]).rows if row.apart] == ["a {model.x=1} (apart)"]
    assert label("a", {}) == "a"


def test_ranks_follow_the_direction_and_ties_share():
    errors = [cell(name, 0, value, metric="mse", direction="lower") for name, value in (("a", 3), ("b", 1), ("c", 1))]
    assert [(row.label, row.rank) for row in one_table(errors).rows] == [("b", 1), ("c", 1), ("a", 3)]


def test_what_failed_is_there_and_not_ranked():
    table = one_table([cell("a"), cell("b", 0, status="failed", failure="oom"), cell("c", 0, status="skipped")])
    states = {row.label: (row.rank, [result.status for _, result in row.troubles]) for row in table.rows}
    assert states == {"a": (1, []), "b": (None, ["failed"]), "c": (None, ["skipped"])}
    assert table.rows[0].label == "a"


def test_an_undefined_score_is_left_out_of_the_mean_and_counted():
    [row] = one_table([cell("a", 0, 0.6), cell("a", 1, None)]).rows
    assert (row.scores["accuracy"].mean, row.scores["accuracy"].n, len(row.ok)) == (0.6, 1, 2)


def test_a_mean_never_mixes_cells_of_different_makes():
    old = [cell("a", seed, 0.9, identity={"code": 1}, finished="2026-01-01T00:00:00+00:00") for seed in range(3)]
    new = cell("a", 0, 0.5, identity={"code": 2}, finished="2026-02-01T00:00:00+00:00")
    [row] = one_table([*old, new]).rows
    assert (row.scores["accuracy"].mean, row.scores["accuracy"].n) == (0.5, 1)


def test_a_failure_counts_until_its_seed_succeeds():
    failed = cell("a", 0, status="failed", failure="oom", finished="2026-03-01T00:00:00+00:00")
    assert [result.status for _, result in newest([failed])] == ["failed"]
    assert [result.status for _, result in newest([failed, cell("a", 0)])] == ["ok"]
    kept = {result.seed: result.status for _, result in newest([failed, cell("a", 1)])}
    assert kept == {0: "failed", 1: "ok"}


def test_the_same_cell_twice_is_one():
    assert len(newest([cell("a"), cell("a")])) == 1


def test_rows_measured_on_other_data_are_shown_and_not_ranked():
    cells = [cell(name, 0, score, identity={"fingerprint": "x"}) for name, score in (("a", 0.6), ("b", 0.7))]
    table = one_table([*cells, cell("c", 0, 0.99, identity={"fingerprint": "y"})])
    assert [(row.label, row.rank) for row in table.rows] == [("b", 1), ("a", 2), ("c (apart)", None)]
    assert [row.apart.partition(" than")[0] for row in table.rows] == ["", "", "other version of the data"]


def test_one_odd_row_does_not_decide_which_metrics_are_shown():
    both = {"scores": {"accuracy": 0.5, "macro-f1": 0.4}}
    odd = {"scores": {"mse": 1.0}}
    table = one_table([cell("0", **odd), cell("a", **both), cell("b", **both)])
    assert (table.metric, list(table.directions)) == ("accuracy", ["accuracy", "macro-f1", "mse"])
    assert one_table([cell("a", **both)], metric="macro-f1").metric == "macro-f1"


def test_a_metric_that_no_plugin_declares_sets_apart():
    table = one_table([cell("a"), cell("b", scores={"own": 1.0}, directions={"own": "lower"})])
    assert [(row.label, row.rank, row.apart) for row in table.rows] == [
        ("a", 1, ""), ("b (apart)", None, "metric own is not known here"),
    ]  # fmt: skip
    assert table.directions == {"accuracy": "higher"}


# --- robustness -------------------------------------------------------------------------------------------------------


def test_effective_robustness_is_the_gain_over_the_reference_beyond_the_clean_gap():
    # f = .9 .8 .5, LF = .8 .6 .4: f(t) − (LF(t) + f(0) − LF(0)) = 0, .1, 0 at 0, 0.5 and 1, and straight between.
    own, reference = [0.9, 0.8, 0.5], [0.8, 0.6, 0.4]
    cells = [cell("a", 0, robustness=[curve(own, relative=0.99)]), cell("lf", 0, robustness=[curve(reference)])]
    rows = {row.label: row.robustness[0] for row in one_table(cells, reference="lf").rows}
    assert rows["a"].effective.mean == pytest.approx(0.5 / 11)
    assert rows["lf"].effective.mean == pytest.approx(0, abs=1e-12)
    # The area under .9 .8 .5, whatever the result says of it.
    assert rows["a"].relative.mean == pytest.approx((0.85 + 0.65) / 2)


def test_effective_robustness_of_an_error_is_oriented():
    # The same numbers as errors: growing less than the reference is a gain.
    cells = [
        cell(name, 0, scores[0], metric="mse", direction="lower",
             robustness=[curve(scores, metric="mse", direction="lower")])
        for name, scores in (("a", [1.0, 1.2, 1.5]), ("lf", [2.0, 2.5, 3.0]))
    ]  # fmt: skip
    rows = {row.label: row.robustness[0] for row in one_table(cells, reference="lf").rows}
    assert rows["a"].effective.mean == pytest.approx(np.interp(GRID, [0, 0.5, 1], [0, 0.3, 0.5]).mean())


@pytest.mark.parametrize(
    "other",
    [
        {"seed": 8},
        {"source": "1-b"},
        {"modality": "audio"},
        {"corruption": "blur"},
        {"severities": [0, *GRID[2:], 1.1]},
    ],
)
def test_effective_robustness_compares_like_with_like_or_not_at_all(other):
    cells = [
        cell("a", robustness=[curve([0.9, 0.8, 0.5])]),
        cell("lf", robustness=[curve([0.8, 0.6, 0.4], **other)]),
    ]
    rows = {row.label: row for row in one_table(cells, reference="lf").rows}
    assert rows["a"].robustness[0].effective is None
    assert one_table(cells[:1]).rows[0].robustness[0].effective is None


def test_the_reference_is_the_method_without_overrides():
    cells = [
        cell("lf", robustness=[curve([0.9, 0.8, 0.5])], overrides={"model.x": 1}),
        cell("lf", robustness=[curve([0.8, 0.6, 0.4])]),
    ]
    rows = {row.label: row.robustness[0] for row in one_table(cells, reference="lf").rows}
    assert rows["lf {model.x=1}"].effective.mean == pytest.approx(0.5 / 11)


# --- over all tasks ---------------------------------------------------------------------------------------------------


def study(scores: dict[str, dict[str, float]], **fields: Any) -> list[Table]:
    return tables(
        [
            cell(method, seed, score + 0.001 * seed, dataset=dataset, area=dataset, **fields)
            for dataset, row in scores.items() for method, score in row.items() for seed in range(2)
        ]
    )  # fmt: skip


def test_complete_methods_are_ranked_among_each_other_and_the_rest_is_not():
    found = overall(
        study({
            "x": {"a": 0.9, "b": 0.8, "c": 0.99},
            "y": {"a": 0.6, "b": 0.7},
            "z": {"a": 0.6, "b": 0.5},
            "own": {"c": 1.0},
        })
    )  # fmt: skip
    lines = {line.method: line for line in found}
    # c is best where it ran, but it did not run everywhere; its private task compares nothing.
    assert [line.method for line in found] == ["a", "b", "c"]
    assert (lines["a"].rank, lines["a"].mean_rank) == (1, pytest.approx(4 / 3))
    assert (lines["b"].rank, lines["b"].mean_rank) == (2, pytest.approx(5 / 3))
    assert (lines["c"].rank, lines["c"].mean_rank, lines["c"].tasks, lines["c"].of_tasks) == (None, None, 1, 3)
    assert lines["a"].rank_interval == (1, 2)


def test_generalisation_by_hand():
    scores = {"x": {"a": 0.9, "b": 0.5, "c": 0.7}, "y": {"a": 0.2, "b": 0.4, "c": 0.3}}
    made = study(scores, in_domain=True)
    assert not any(r.in_domain for table in made for row in table.rows for _, r in row.cells), "by the registry alone"
    for table in made:
        for row in table.rows:
            row.cells = [(p, r.model_copy(update={"in_domain": r.dataset == "x"})) for p, r in row.cells]
    c = {line.method: line for line in overall(made)}["c"]
    a = {line.method: line for line in overall(made)}["a"]
    assert c.relative == pytest.approx({"x/t": 0.5, "y/t": 0.5})
    assert (a.in_domain, a.out_domain) == (pytest.approx(1), pytest.approx(0))
    assert a.by_area == pytest.approx({"x": 1.0, "y": 0.0})
    assert a.variance == pytest.approx(np.var([1, 0], ddof=1))
    assert c.variance == pytest.approx(0)


def test_relative_scores_survive_negative_scores_and_errors():
    found = overall(study({"x": {"a": -0.1, "b": -0.5, "c": -0.3}}, metric="pearson"))
    assert {line.method: line.relative["x/t"] for line in found} == pytest.approx({"a": 1.0, "b": 0.0, "c": 0.5})
    found = overall(study({"x": {"a": 0.1, "b": 0.5, "c": 0.3}}, metric="mse"))
    assert {line.method: line.relative["x/t"] for line in found} == pytest.approx({"a": 1.0, "b": 0.0, "c": 0.5})


def test_nothing_to_compare_is_nothing():
    assert overall([]) == []
    assert overall(tables([cell("a", status="failed", failure="oom")])) == []
    [line] = overall(tables([cell("a")]))
    assert (line.rank, line.relative, line.variance) == (None, {}, None)


# --- numbers and speed ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "expected"),
    [([0.91, 0.02], 4), ([0.0312], 5), ([0.00031, 0.0002], 7), ([12.0], 4), ([None, 0.0], 4), ([], 4)],
)
def test_small_numbers_get_more_decimals(values, expected):
    assert decimals(values) == expected


def test_the_order_of_results_does_not_matter():
    cells = [
        cell(m, s, 0.5 + 0.01 * s, robustness=[curve([0.5, 0.4], seed=seeds(s)["corruption"])])
        for m in "abc"
        for s in range(3)
    ]
    shuffled = cells.copy()
    random.Random(0).shuffle(shuffled)
    assert all(row.robustness for row in one_table(cells).rows)
    assert [row.__dict__ for row in one_table(cells).rows] == [row.__dict__ for row in one_table(shuffled).rows]
