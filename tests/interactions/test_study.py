"""The study as a user runs it: the same numbers for the same seed, those of the documentation, and clear refusals."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from braidbench.errors import UsageError
from braidbench_interactions.study import _place, study

DOCS = Path(__file__).parents[2] / "docs"


def _run(*arguments: str) -> str:
    """In this process; errors come out as exceptions."""
    return CliRunner().invoke(study, arguments, standalone_mode=False, catch_exceptions=False).stdout


def _rows(markdown: str) -> list[str]:
    return [line for line in markdown.splitlines() if line.startswith("| ") and not line.startswith("| ---")]


def test_documented_numbers_are_what_the_commands_print(tmp_path):
    """To a unit of the last digit, which another machine's rounding may move."""
    documented = (DOCS / "interactions.md").read_text(encoding="utf-8")
    text = {re.sub(r"\d+\.\d+", "#", row): row for row in _rows(documented)}
    for row in _rows(_run("joints", "-o", str(tmp_path))) + _rows(_run("examples")):
        known = text[re.sub(r"\d+\.\d+", "#", row)]
        ours, theirs = ([float(n) for n in re.findall(r"\d+\.\d+", r)] for r in (row, known))
        assert ours == pytest.approx(theirs, abs=0.011)
    for name in ("figure-6-2.svg", "disagreement.svg"):
        drawn, committed = (ElementTree.parse(folder / name).getroot() for folder in (tmp_path, DOCS))
        assert [e.tag for e in drawn.iter()] == [e.tag for e in committed.iter()]


def test_a_seed_repeats_and_another_does_not():
    one = _run("joints", "--count", "500", "--seed", "3")
    assert one == _run("joints", "--count", "500", "--seed", "3")
    assert one != _run("joints", "--count", "500", "--seed", "4")


def test_table_6_1_and_6_3_of_a_synthetic_dataset(tmp_path):
    [_, row] = _rows(_run("synergy", "synthetic/unique1"))
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    lower, clusters, upper = float(cells[2]), float(cells[5]), float(cells[6])
    assert lower <= clusters <= upper
    [_, row] = _rows(_run("accuracy", "synthetic/unique1", "-o", str(tmp_path)))
    assert "late-fusion" in row
    assert not list(tmp_path.iterdir())  # one dataset has no correlation to draw


def test_place_of_a_measured_accuracy():
    assert _place(0.8, 0.7, 0.9, 0.01) == "yes"
    assert _place(0.92, 0.7, 0.9, 0.01) == "0.020 above (2.0 s.e.)"
    assert _place(0.66, 0.7, 0.9, 0.02) == "0.040 below (2.0 s.e.)"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["joints", "--count", "0"], "one joint or more"),
        (["joints", "--seed", "-1"], "0 or more"),
        (["joints", "--count", "many"], "not a valid integer"),
        (["synergy", "synthetic/nand"], "Did you mean 'synthetic/"),
        (["synergy", "synthetic/and", "--clusters", "1"], "x>=2"),
        (["accuracy", "numerals"], "6 modalities: models see all of them"),
        (["accuracy", "digits"], "no accuracy on 'digits': give its results"),
        (["accuracy", "--results", "nowhere"], "there are no results here"),
    ],
)
def test_bad_requests_are_refused_before_anything_is_computed(arguments, message):
    with pytest.raises((UsageError, click.UsageError), match=message):
        _run(*arguments)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["examples"], 0, ""),
        (["--help"], 0, ""),
        (["tables"], 2, "error: No such command 'tables'. (see python -m braidbench_interactions.study --help)"),
        (["accuracy", "numerals"], 2, "error: dataset 'numerals' has 6 modalities"),
        (["joints", "--count", "9", "-o", "/proc/nowhere"], 3, "cannot be written"),
    ],
)
def test_exit_codes_are_those_of_the_command_line(arguments, code, said, tmp_path):
    command = [sys.executable, "-m", "braidbench_interactions.study", *arguments]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, env=dict(os.environ))
    assert done.returncode == code, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr
