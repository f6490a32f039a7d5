"""What is built and shipped: the wheel's top-level names, types, style, and the map of the rooms."""

from __future__ import annotations

import ast
import importlib.util
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

PACKAGES = {
    "braidbench",
    "braidbench_interactions",
    "braidbench_leaderboard",
    "braidbench_multibench",
    "braidbench_multizoo",
}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> zipfile.ZipFile:
    """The wheel, built by the backend itself."""
    pytest.importorskip("hatchling")
    folder = tmp_path_factory.mktemp("wheel")
    code = f"import hatchling.build as b; print(b.build_wheel({str(folder)!r}))"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True)
    [path] = folder.glob("*.whl")
    return zipfile.ZipFile(path)


def test_the_wheel_holds_exactly_our_top_level_names(wheel):
    names = {name.partition("/")[0] for name in wheel.namelist()}
    assert names == PACKAGES | {next(name for name in names if name.endswith(".dist-info"))}


def test_the_wheel_ships_types_entry_points_templates_and_licence(wheel):
    names = wheel.namelist()
    assert "braidbench/py.typed" in names
    [entry_points] = [name for name in names if name.endswith("entry_points.txt")]
    text = wheel.read(entry_points).decode()
    for line in ("[console_scripts]", "braidbench = braidbench.cli:main", "[braidbench.v1]", "multizoo = "):
        assert line in text
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert any(name.startswith("braidbench_leaderboard/") and name.endswith(".html") for name in names)


def test_types():
    pytest.importorskip("mypy")
    done = subprocess.run([sys.executable, "-m", "mypy"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_style():
    if importlib.util.find_spec("ruff") is None:
        pytest.skip("ruff is not installed")
    for command in (["check"], ["format", "--check"]):
        done = subprocess.run([sys.executable, "-m", "ruff", *command, "."], cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout


def _imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


@pytest.mark.parametrize("path", sorted((ROOT / "harness").rglob("*.py")), ids=lambda path: path.stem)
def test_the_core_names_no_plugin(path):
    assert not {name for name in _imports(path) if name.startswith("braidbench_")}
    for package in PACKAGES - {"braidbench"}:
        assert package not in path.read_text()


LAYERS = [
    {"errors", "paths", "interruption"},
    {"specs", "files", "sources", "text"},
    {"capture"},
    {"hookspecs", "results", "columns", "evaluation.curves"},
    {"registry"},
    {
        "preparation",
        "environment",
        "store",
        "stats",
        "measurements",
        "determinism",
        "failures",
        "sealing",
        "predictions",
    },
    {"data"},
    {"model", "budget"},
    {"precision"},
    {"training", "evaluation.scores"},
    {"evaluation.robustness", "evaluation.complexity", "recipe", "measuring"},
    {"assembly", "cell"},
    {"vetting"},
    {"execution", "summary"},
    {"executors", "worker", "plan", "trained", "comparison"},
    {"capacity"},
    {"api"},
    {"testing", "cli", "builtin"},
]


def _layer(module: str) -> int | None:
    for level, names in enumerate(LAYERS):
        if module in names or module.partition(".")[0] in names & {"cli", "testing"}:
            return level
    return None


@pytest.mark.parametrize("path", sorted((ROOT / "harness" / "braidbench").rglob("*.py")), ids=lambda p: p.stem)
def test_arrows_point_down_only(path):
    """docs/architecture.md draws this; a module imports only from its own layer or those below."""
    own = ".".join(path.relative_to(ROOT / "harness" / "braidbench").with_suffix("").parts).removesuffix(".__init__")
    if own in ("__init__", "evaluation"):
        return
    level = _layer(own)
    assert level is not None, f"{own} has no place in the map: add it to docs/architecture.md and here"
    for name in _imports(path):
        if not name.startswith("braidbench."):
            continue
        other = name.removeprefix("braidbench.")
        below = _layer(other)
        if below is None:
            below = _layer(other.rpartition(".")[0])
        assert below is not None, f"{own} imports {name}, which has no place in the map"
        assert below <= level, f"{own} imports {name}, which stands above it"
