"""Names, tasks, rows, defaults, overrides: what a command line resolves to, and what it refuses."""

from __future__ import annotations

import pytest

from braidbench.errors import UsageError
from braidbench.recipe import CannotServeError, find_task, parse_override, resolve, rows_of
from braidbench.registry import registry


def recipe(row="toy/join", dataset="toy/pair", **overrides):
    return resolve(registry(), dataset, row, {key.replace("__", "."): value for key, value in overrides.items()})


def test_a_dataset_with_and_without_its_task():
    assert find_task(registry(), "toy/pair")[1].name == "parity"
    assert find_task(registry(), "toy/pair/level")[1].name == "level"
    assert find_task(registry(), "pair")[0].name == "toy/pair"
    assert find_task(registry(), "pair/level")[1].name == "level"


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("toy/pare", "Did you mean 'toy/pair'"),
        ("toy/pair/levle", r"no task 'levle'. Did you mean 'level'\? It has parity, level"),
        ("nothing-like-it", "no dataset 'nothing-like-it'"),
    ],
)
def test_unknown_datasets_and_tasks(query, message):
    with pytest.raises(UsageError, match=message):
        find_task(registry(), query)


def test_one_row_a_modality():
    dataset = find_task(registry(), "toy/pair")[0]
    assert rows_of(registry(), "toy/each", dataset) == ["toy/each[vector]", "toy/each[series]"]
    assert rows_of(registry(), "toy/each[series]", dataset) == ["toy/each[series]"]
    assert rows_of(registry(), "join", dataset) == ["toy/join"]
    assert [m.name for m in recipe("toy/each[series]").modalities] == ["series"]
    with pytest.raises(UsageError, match="takes all modalities at once"):
        rows_of(registry(), "toy/join[series]", dataset)
    with pytest.raises(UsageError, match=r"no modality 'seris'. Did you mean 'series'"):
        recipe("toy/each[seris]")


def test_precedence_of_defaults_and_overrides():
    tuned = recipe("toy/tuned")
    assert tuned.fusion.parameters == {"width": 10}, "the dataset's defaults come after the method's own part"
    assert tuned.training.lr == 0.01, "and after the defaults for every dataset"
    assert tuned.training.epochs == 4, "what nobody changes is the dataset's"
    assert recipe("toy/tuned", fusion__width=3).fusion.parameters == {"width": 3}
    assert "training.lr = 0.01" in tuned.deviations


def test_overrides_reach_every_part():
    changed = recipe(
        encoder__series__dropout=0.5, objective__weight=2, head__hidden=0, training__batch_size=8, training__clip=None
    )
    assert changed.encoders["series"].parameters == {"out_dim": 8, "dropout": 0.5}
    assert changed.objective.parameters == {"weight": 2.0}
    assert changed.head == {"hidden": 0}
    assert changed.training.batch_size == 8
    assert changed.training.clip is None


def test_an_encoder_override_for_all_of_them():
    assert all(c.parameters["out_dim"] == 4 for c in recipe(encoder__out_dim=4).encoders.values())


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("fuson.width", r"no part 'fuson'. Did you mean 'fusion'\?"),
        ("fusion.widht", r"fusion 'toy/join' has no parameter 'widht'"),
        ("encoder.sries.dropout", r"no modality 'sries'. Did you mean 'series'\?"),
        ("training.epoch", r"training has no parameter 'epoch'. Did you mean 'epochs'\?"),
        ("head.hiden", r"the head has no parameter 'hiden'"),
        ("procedure.x", "has no parameter 'x'"),
        ("objective.weigth", "Did you mean 'weight'"),
    ],
)
def test_unknown_parameters_are_named_with_what_is_accepted(key, message):
    with pytest.raises(UsageError, match=message):
        resolve(registry(), "toy/pair", "toy/join", {key: 1})


@pytest.mark.parametrize("value", ["wide", 1.5, None])
def test_ill_typed_parameters(value):
    with pytest.raises(UsageError, match="parameter width: int = 8 got"):
        recipe(fusion__width=value)


@pytest.mark.parametrize(("key", "value"), [("training.epochs", 0), ("training.batch_size", -1), ("training.lr", -0.1)])
def test_impossible_budgets(key, value):
    with pytest.raises(UsageError, match="must be at least"):
        resolve(registry(), "toy/pair", "toy/join", {key: value})


def test_an_unknown_optimiser():
    with pytest.raises(UsageError, match="'AdamW', 'Adam', 'SGD' or 'RMSprop'"):
        recipe(training__optimizer="adamw9")


def test_a_method_that_cannot_serve_says_why():
    with pytest.raises(CannotServeError, match="'toy/three' takes at least 3 modalities; there are 2"):
        recipe("toy/three")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a.b=3", ("a.b", 3)),
        ("a.b=0.5", ("a.b", 0.5)),
        ("a.b=true", ("a.b", True)),
        ("a.b=[1, 2]", ("a.b", [1, 2])),
        ("a.b=relu", ("a.b", "relu")),
        ("a.b=none", ("a.b", None)),
        ('a.b="3"', ("a.b", "3")),
        ("a.b.c=1=2", ("a.b.c", "1=2")),
    ],
)
def test_settings_are_read_as_toml(text, expected):
    assert parse_override(text) == expected


@pytest.mark.parametrize("text", ["width=3", "fusion.width", ""])
def test_settings_of_the_wrong_form(text):
    with pytest.raises(UsageError, match=r"write PART.PARAMETER=VALUE"):
        parse_override(text)
