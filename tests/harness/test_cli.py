"""Listing, describing, planning and looking at cells: what the commands print, for people and for scripts."""

from __future__ import annotations

import json
import subprocess

import pytest


@pytest.fixture
def done(cli):
    """A folder with one cell that is ok and one that failed."""
    assert cli("run", "toy/pair", "toy/join", "toy/raises", "--device", "cpu").returncode == 1
    return cli


def test_run_prints_a_list_with_the_promised_fields(cli, tmp_path):
    ran = cli("run", "toy/pair", "toy/join", "toy/each", "--seeds", "2", "--device", "cpu", "--json")
    assert ran.returncode == 0, ran.stderr
    rows = json.loads(ran.stdout)
    assert [(row["method"], row["seed"]) for row in rows] == [
        ("toy/join", 0), ("toy/join", 1), ("toy/each[vector]", 0), ("toy/each[vector]", 1),
        ("toy/each[series]", 0), ("toy/each[series]", 1),
    ]  # fmt: skip
    for row in rows:
        assert {"cell", "dataset", "task", "method", "seed", "status", "scores", "cost", "path", "reason"} <= set(row)
        assert (tmp_path / row["path"] / "result.json").exists()
    assert "[6/6]" in ran.stderr, "talk goes to stderr"


def test_the_reproducing_command_reproduces_the_cell(cli):
    first = cli(
        "run", "toy/pair/level", "toy/join", "--seed", "3", "--epochs", "2", "--set", "fusion.width=5",
        "--set", "training.optimizer=SGD", "--set", "training.clip=none", "--device", "cpu", "--json",
    )  # fmt: skip
    assert first.returncode == 0, first.stderr
    [row] = json.loads(first.stdout)
    import shlex

    command = shlex.split(row["command"])
    assert command[0] == "braidbench"
    again = cli(*command[1:], "--results", "other", "--device", "cpu", "--json")
    assert again.returncode == 0, again.stderr
    [other] = json.loads(again.stdout)
    assert (other["cell"], other["scores"]) == (row["cell"], row["scores"])


def test_lists_are_json_for_scripts_and_columns_for_people(cli):
    rows = json.loads(cli("list", "datasets", "--json").stdout)
    toy = next(row for row in rows if row["name"] == "toy/pair")
    assert toy["distribution"] == "braid-toy 0.1"
    assert [m["name"] for m in toy["modalities"]] == ["vector", "series"]
    text = cli("list", "metrics").stdout
    assert text.splitlines()[0].split() == ["NAME", "BETTER", "SUMMARY", "FROM"]
    assert any(line.split()[:2] == ["toy/error", "lower"] for line in text.splitlines())


def test_describe_by_name_and_by_kind(cli):
    assert "series" in cli("describe", "toy/pair").stdout
    assert json.loads(cli("describe", "method:toy/steps", "--json").stdout)["fusion"] == "toy/steps"
    both = cli("describe", "toy/steps")
    assert both.returncode == 2
    assert "fusion:toy/steps, method:toy/steps" in both.stderr


def test_plan_says_what_is_cached_to_run_and_how_long(done):
    planned = done("plan", "toy/pair", "toy/join", "toy/raises", "toy/steps", "--device", "cpu", "--json")
    states = {row["method"]: row["state"] for row in json.loads(planned.stdout)}
    assert states == {"toy/join": "cached", "toy/raises": "to run", "toy/steps": "to run"}, "a failure is tried again"
    text = done("plan", "toy/pair", "toy/steps", "--device", "cpu").stdout
    assert "1 cell: 0 cached, 1 to run, 0 skipped; about" in text


def test_show_by_the_beginning_of_a_cell(done):
    rows = {row["method"]: row for row in json.loads(done("table", "--json").stdout)[0]["rows"]}
    cell = rows["toy/join"]["cells"]["0"]["cell"]
    shown = done("show", cell[:8]).stdout
    assert "command   braidbench run toy/pair toy/join --seed 0" in shown
    assert "flops_per_sample" in shown
    assert json.loads(done("show", cell[:8], "--json").stdout)["cell"] == cell
    failed = done("show", rows["toy/raises"]["cells"]["0"]["cell"][:8]).stdout
    assert "ValueError: the fusion has a bug" in failed


def test_why_names_the_part_that_changed(done, tmp_path):
    rows = {row["method"]: row for row in json.loads(done("table", "--json").stdout)[0]["rows"]}
    cell = rows["toy/join"]["cells"]["0"]["cell"]
    assert "reused: nothing that decides its result has changed" in done("why", cell[:8]).stdout
    [path] = tmp_path.glob("results/*toy_join*/result.json")
    content = json.loads(path.read_text())
    content["identity"]["fusion"]["source"] = "0123456789abcdef"
    path.write_text(json.dumps(content))
    why = done("why", cell[:8]).stdout
    assert 'fusion.source: "0123456789abcdef" ->' in why
    assert "training" not in why
    failed = rows["toy/raises"]["cells"]["0"]["cell"]
    assert "not reused because it failed" in done("why", failed[:8]).stdout


def test_table_in_every_format(done):
    latex = done("table", "--format", "latex").stdout
    assert "\\toprule" in latex
    csv = done("table", "--format", "csv").stdout.splitlines()
    assert csv[0].startswith("task,method,toy/accuracy")
    assert any(line.startswith("toy/pair/parity,toy/join,0.9") for line in csv)
    github = done("table", "--format", "github").stdout
    assert "| toy/join" in github
    assert "1 failed" in github, "a failed cell is shown"


def test_where_official_files_belong(cli, tmp_path):
    text = cli("data", "where", "toy/official", BRAIDBENCH_DATA=str(tmp_path / "data")).stdout
    assert str(tmp_path / "data" / "official" / "toy__official") in text
    assert "https://example.org/toy" in text
    assert "restricted" in text
    rows = json.loads(cli("data", "status", "toy/official", "toy/pair", "--json").stdout)
    assert rows[0]["state"] == "missing"
    assert "official files are missing" in rows[0]["note"]


def test_a_pipe_that_closes_early_is_no_error(cli):
    done = subprocess.run(
        f"{cli.command[0]} list metrics --json | head -1", shell=True, capture_output=True, text=True, cwd=cli.folder
    )
    assert "Traceback" not in done.stderr
    assert done.stdout.strip() == "["


def test_help_names_every_command(cli):
    text = cli("--help").stdout
    for name in ("run", "plan", "show", "why", "compare", "table", "list", "describe", "plugins", "data", "check"):
        assert f"\n  {name} " in text
        assert cli(name, "--help").returncode == 0, name
