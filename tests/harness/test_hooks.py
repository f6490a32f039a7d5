"""The hooks that few plugins use: a stranger's command, executor and measure, called through the real command line."""

from __future__ import annotations

import importlib.metadata
import json
import sys

import pytest

from braidbench.registry import Registry
from braidbench.specs import Command, Executor, Measure

PLUGIN = """
    import braidbench

    @braidbench.hookimpl
    def register_commands():
        yield braidbench.Command("shout", "rare_parts:shout", summary="say it loud")

    @braidbench.hookimpl
    def register_executors():
        yield braidbench.Executor("rare/backwards", "rare_parts:Backwards", summary="the last cell first")

    @braidbench.hookimpl
    def register_measures():
        yield braidbench.Measure("rare/rows", "rare_parts:rows", summary="how many rows there are", title="Rows")
    """

PARTS = """
    import click

    @click.command()
    @click.argument("word")
    def shout(word):
        "Say WORD loud."
        click.echo(word.upper())

    class Backwards:
        def __init__(self, jobs=1):
            pass

        def run(self, cells, execute, progress, wait=False):
            for cell in reversed(cells):
                yield cell, execute(cell.request, lambda *point, cell=cell: progress(cell, *point), wait)

    def rows(data, scale=1.0):
        if scale == 0:
            raise ZeroDivisionError("no scale")
        if scale < 0:
            return {"label": "rows", "unit": "rows", "bars": [{"name": "all", "parts": []}]}
        sizes = {name: scale * len(split) for name, split in data.splits.items()}
        parts = [{"name": name, "value": size, "low": size, "high": size} for name, size in sizes.items()]
        return {"label": data.task.name, "unit": "rows", "bars": [{"name": "rows", "parts": parts}]}
    """


@pytest.fixture
def env(plugin) -> dict[str, str]:
    return plugin("rare", "2.0", rare=PLUGIN, rare_parts=PARTS)[1]


def test_they_are_registered_with_their_kind(plugin, monkeypatch):
    folder, _ = plugin("rare", "2.0", rare=PLUGIN, rare_parts=PARTS)
    monkeypatch.syspath_prepend(str(folder))
    found = Registry(importlib.metadata.entry_points(group="braidbench.v1"))
    for kind, name, spec in (
        ("commands", "shout", Command),
        ("executors", "rare/backwards", Executor),
        ("measures", "rare/rows", Measure),
    ):
        registered = found.find(kind, name)
        assert type(registered.spec) is spec
        assert registered.plugin.owner == "rare 2.0"
    for name in ("rare", "rare_parts"):
        sys.modules.pop(name, None)


def test_a_measure_is_called_kept_and_shown(cli, env, tmp_path):
    done = cli("measure", "toy/pair", "rows", "--set", "scale=2", "--json", **env)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert (document["measure"], document["title"], document["unit"]) == ("rare/rows", "Rows", "rows")
    values = {part["name"]: part["value"] for part in document["bars"][0]["parts"]}
    assert values == {"train": 480.0, "valid": 160.0, "test": 160.0}
    assert document["command"].endswith("rare/rows --set scale=2")
    [kept] = (tmp_path / "results" / "measurements").glob("*.json")
    assert json.loads(kept.read_text()) == document
    assert cli("run", "toy/pair", "toy/join", "--epochs", "1", **env).returncode == 0
    assert cli("leaderboard", "build", "results", "-o", "site", **env).returncode == 0
    [page] = (tmp_path / "site" / "task").glob("*.html")
    assert "Rows</h2>" in page.read_text()


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("rows", "--set", "scal=2"), 2, "no parameter 'scal'. Did you mean 'scale'?"),
        (("rows", "--set", "scale"), 2, "write PARAMETER=VALUE"),
        (("rows", "--set", "scale=-1"), 2, "bars.0.parts"),
        (("rows", "--set", "scale=0"), 2, "measure 'rare/rows' failed on 'toy/pair' (ZeroDivisionError: no scale)"),
        (("row",), 2, "Did you mean 'rare/rows'"),
    ],
)
def test_a_measure_that_cannot_be_had_says_why(cli, env, arguments, code, said):
    done = cli("measure", "toy/pair", *arguments, **env)
    assert (done.returncode, said in done.stderr) == (code, True), done.stderr
    assert "Traceback" not in done.stderr


def test_a_command_is_listed_and_called(cli, env):
    assert "say it loud" in cli("--help", **env).stdout
    assert cli("shout", "gate", **env).stdout == "GATE\n"
    assert cli("shout", "gate").returncode == 2


def test_an_executor_runs_the_cells(cli, env):
    done = cli(
        "run", "toy/pair", "toy/join", "--seeds", "2", "--epochs", "1", "--executor", "backwards", "--json", **env
    )
    assert done.returncode == 0, done.stderr
    assert [row["status"] for row in json.loads(done.stdout)] == ["ok", "ok"]
    first, second = (line for line in done.stderr.splitlines() if line.startswith("["))
    assert "seed 1" in first
    assert "seed 0" in second


def test_they_pass_the_kit(cli, env):
    done = cli("check", "--plugin", "rare", **env)
    assert done.returncode == 0, done.stdout
    assert "3 components: ran 9 checks, 0 failed" in done.stdout
