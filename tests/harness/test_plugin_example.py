"""A stranger's distribution, installed as a stranger installs it, and used through the real command line."""

from __future__ import annotations

import inspect
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from sklearn.metrics import balanced_accuracy_score

from braidbench import hookspecs
from braidbench.specs import KINDS

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "tests" / "fixtures" / "plugin_example"
PAGE = ROOT / "docs" / "writing-a-plugin.md"
COMMAND = ("run", "gated/cell-nuclei", "gated/sigmoid", "late-fusion", "--seeds", "2")
HOOKS = [name for name in dir(hookspecs) if name.startswith("register_")]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a process that has the example installed: pip has built its wheel and unpacked it."""
    pytest.importorskip("hatchling", reason="building the example needs hatchling, which braidbench[dev] brings")
    folder = tmp_path_factory.mktemp("example")
    source = shutil.copytree(EXAMPLE, folder / "source")
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--quiet", "--disable-pip-version-check"]
    done = subprocess.run(
        [sys.executable, "-m", "pip", "install", *options, "--target", str(folder / "site"), str(source)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return {"PYTHONPATH": os.pathsep.join([str(folder / "site"), os.environ["PYTHONPATH"]])}


@pytest.fixture(scope="module")
def results(installed, tmp_path_factory) -> Path:
    """A folder with the results of the page's own command, for two seeds."""
    folder = tmp_path_factory.mktemp("run")
    done = braidbench(folder, installed, *COMMAND)
    assert done.returncode == 0, done.stderr
    return folder / "results"


def braidbench(folder: Path, env: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).with_name("braidbench")), *arguments]
    environment = {**os.environ, **env}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=600)


# --- the plugin, from the outside -------------------------------------------------------------------------------------


def test_plugins_shows_who_ships_what(cli, installed):
    [row] = [row for row in json.loads(cli("plugins", "--json", **installed).stdout) if row["name"] == "gated"]
    assert (row["distribution"], row["version"], row["error"]) == ("braidbench-gated", "0.1.0", None)
    assert row["provides"] == {
        "datasets": ["gated/cell-nuclei"],
        "fusions": ["gated/sigmoid"],
        "metrics": ["gated/balanced-accuracy"],
        "methods": ["gated/sigmoid"],
    }


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("fusions", "gated/sigmoid"),
        ("methods", "gated/sigmoid"),
        ("datasets", "gated/cell-nuclei"),
        ("metrics", "gated/balanced-accuracy"),
    ],
)
def test_list_shows_it_only_where_it_is_installed(cli, installed, kind, name):
    listed = {row["name"]: row["distribution"] for row in json.loads(cli("list", kind, "--json", **installed).stdout)}
    assert listed[name] == "braidbench-gated 0.1.0"
    assert name not in cli("list", kind).stdout
    assert f"  {name.partition('/')[2]}" not in cli("list", kind).stdout


def test_a_run_ranks_it_by_its_own_metric(results):
    rows = [json.loads(path.read_text()) for path in sorted(results.rglob("result.json"))]
    assert sorted((row["method"], row["seed"], row["status"]) for row in rows) == [
        ("gated/sigmoid", 0, "ok"),
        ("gated/sigmoid", 1, "ok"),
        ("late-fusion", 0, "ok"),
        ("late-fusion", 1, "ok"),
    ]
    for row in rows:
        assert list(row["scores"]) == ["gated/balanced-accuracy", "accuracy"]
        assert row["environment"]["plugins"]["gated"].startswith("braidbench-gated 0.1.0")


def test_its_scores_can_be_recomputed_from_the_stored_predictions(results):
    for path in results.rglob("result.json"):
        row = json.loads(path.read_text())
        table = pq.read_table(path.with_name("predictions.parquet")).to_pydict()
        decided = [int(p[1] > p[0]) for p in table["prediction"]]
        expected = balanced_accuracy_score(table["target"], decided)
        assert row["scores"]["gated/balanced-accuracy"] == pytest.approx(expected, abs=1e-9)
        assert len(decided) == 100


def test_the_same_command_again_runs_nothing(results, installed):
    done = braidbench(results.parent, installed, *COMMAND, "--json")
    assert [row["cached"] for row in json.loads(done.stdout)] == [True] * 4


def test_it_runs_on_a_dataset_of_somebody_else(cli, installed):
    [state] = json.loads(cli("data", "status", "digits", "--json").stdout)
    if state["state"] == "missing":
        pytest.skip(state["note"])
    done = cli("run", "digits", "gated/sigmoid", "--epochs", "1", "--json", **installed)
    assert done.returncode == 0, done.stderr
    [row] = json.loads(done.stdout)
    assert (row["method"], row["status"]) == ("gated/sigmoid", "ok")
    assert row["scores"]["accuracy"] > 0.15


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("fusion.out_din=8", "Did you mean 'out_dim'? It accepts out_dim: int = 64"),
        ("fusion.out_dim=wide", "parameter out_dim: int = 64 got 'wide'"),
    ],
)
def test_its_parameters_are_checked_against_its_annotations(cli, installed, setting, said):
    done = cli("run", "gated/cell-nuclei", "gated/sigmoid", "--set", setting, **installed)
    assert done.returncode == 2
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("arguments", [("gated/sigmoid",), ("--plugin", "braidbench-gated")])
def test_it_passes_the_conformance_kit(cli, installed, arguments):
    done = cli("check", *arguments, **installed)
    assert done.returncode == 0, done.stdout
    assert " 0 failed" in done.stdout.splitlines()[-1]


def test_its_own_tests_pass(installed, tmp_path):
    shutil.copytree(EXAMPLE / "tests", tmp_path / "tests")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(tmp_path), "tests"]
    done = subprocess.run(command, cwd=tmp_path, env={**os.environ, **installed}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert int(re.search(r"(\d+) passed", done.stdout)[1]) > 30


def test_it_stands_on_the_leaderboard(results, installed, tmp_path):
    done = braidbench(tmp_path, installed, "leaderboard", "build", str(results), "-o", "site")
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "site" / "index.html").read_text()
    for name in ("gated/sigmoid", "gated/cell-nuclei", "late-fusion"):
        assert name in page
    assert braidbench(tmp_path, installed, "leaderboard", "check", "site").returncode == 0


# --- the page that walks through it -----------------------------------------------------------------------------------


def _blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("language", ["python", "toml"])
def test_every_block_of_the_page_stands_in_the_example(language):
    suffix = {"python": ".py", "toml": ".toml"}[language]
    files = [path.read_text() for path in EXAMPLE.rglob(f"*{suffix}")]
    assert _blocks(language)
    for block in _blocks(language):
        assert any(block.strip("\n") in text for text in files), block


def test_every_command_of_the_page_exists(cli, installed):
    lines = [line for block in _blocks("console") for line in block.splitlines() if line.startswith("$ braidbench ")]
    assert lines
    words = {line.split()[2] for line in lines}
    assert words <= {row["name"] for row in json.loads(cli("list", "commands", "--json", **installed).stdout)}


@pytest.mark.parametrize("hook", HOOKS)
def test_every_hook_is_documented_and_tested(hook):
    assert f"`{hook}`" in PAGE.read_text()
    assert inspect.getdoc(getattr(hookspecs, hook))
    implementing = [path for path in (ROOT / "tests").rglob("*.py") if f"def {hook}():" in path.read_text()]
    assert implementing, f"no test and no fixture implements {hook}"


def test_there_is_a_hook_for_every_kind():
    assert {f"register_{kind}" for kind in KINDS} == set(HOOKS)


def test_the_page_says_how_each_kind_is_built_and_called():
    text = PAGE.read_text()
    for spec in KINDS.values():
        assert f"| `{spec.__name__}` |" in text
