"""Start-up: listing imports neither torch nor scipy nor pandas, snapshots hold only while nothing changes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = ("torch", "pandas", "scipy", "sklearn", "datasets", "accelerate", "numpy", "pyarrow")


def modules(code: str) -> set[str]:
    """Top-level modules that are loaded after ``code`` ran in a new interpreter."""
    text = f"import sys\n{code}\nprint('\\n'.join(sorted({{name.partition('.')[0] for name in sys.modules}})))"
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize("arguments", [["--help"], ["list", "methods"], ["list", "datasets", "--json"], ["plugins"]])
def test_listing_the_long_way_imports_nothing_heavy(arguments, tmp_path):
    code = (
        "from braidbench.cli import app\nimport contextlib, io\n"
        f"with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):\n    app.run({arguments!r})"
    )
    assert not modules(code) & set(HEAVY)


def test_importing_the_package_imports_nothing_at_all():
    assert not modules("import braidbench") & {*HEAVY, "typing", "dataclasses", "click", "pluggy"}


def test_a_snapshot_needs_neither_click_nor_pluggy(cli, tmp_path):
    env = {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    assert cli("list", "methods", **env).returncode == 0
    code = (
        f"import os\nos.environ.update({env})\nsys.argv = ['braidbench', 'list', 'methods']\n"
        "from braidbench.cli import main\nmain()"
    )
    done = subprocess.run(
        [sys.executable, "-c", f"import sys\n{code}\nprint(sorted(set(sys.modules) & {{'click', 'pluggy', 'json'}}))"],
        capture_output=True, text=True, check=True, cwd=tmp_path,
    )  # fmt: skip
    # Another command line of the interpreter is another path, so its first call records and its second replays.
    done = subprocess.run(
        [sys.executable, "-c", f"import sys\n{code}\nprint(sorted(set(sys.modules) & {{'click', 'pluggy', 'json'}}))"],
        capture_output=True, text=True, check=True, cwd=tmp_path,
    )  # fmt: skip
    assert done.stdout.splitlines()[-1] == "[]"
    assert "toy/join" in done.stdout


def test_a_snapshot_ends_when_a_plugin_comes_goes_or_changes(cli, tmp_path):
    plugin = tmp_path / "site"
    plugin.mkdir()
    env = {
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
        "PYTHONPATH": os.pathsep.join([str(plugin), os.environ["PYTHONPATH"]]),
    }

    def listed() -> str:
        return cli("list", "fusions", **env).stdout

    before = listed()
    assert listed() == before
    assert list(tmp_path.glob("cache/braidbench/snapshots/*"))
    module = plugin / "late_comer.py"
    source = (
        "import braidbench\n\n@braidbench.hookimpl\ndef register_fusions():\n"
        "    yield braidbench.Fusion('late/sum', 'a:b')\n"
    )
    module.write_text(source)
    info = plugin / "late_comer-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: late-comer\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[braidbench.v1]\nlate = late_comer\n")
    assert "late/sum" in listed()
    assert "late/sum" in listed()
    module.write_text(source.replace("late/sum", "late/summed"))
    assert "late/summed" in listed()
    (info / "entry_points.txt").unlink()
    info.joinpath("METADATA").unlink()
    info.rmdir()
    assert "late/" not in listed()


def test_a_damaged_snapshot_is_ignored(cli, tmp_path):
    env = {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    whole = cli("--help", **env).stdout
    [path] = Path(tmp_path / "cache" / "braidbench" / "snapshots").iterdir()
    for content in (b"", b"braidbench snapshot 1\n--\nwrong", path.read_bytes()[:40], b"\xff\xfe"):
        path.write_bytes(content)
        assert cli("--help", **env).stdout == whole


def test_a_cache_that_cannot_be_written_does_not_matter(cli, tmp_path):
    (tmp_path / "file").write_text("")
    done = cli("--help", XDG_CACHE_HOME=str(tmp_path / "file"))
    assert done.returncode == 0
    assert "Commands:" in done.stdout
    assert not done.stderr


def test_public_names_are_few_and_real():
    import braidbench

    assert len(braidbench.__all__) <= 20
    for name in braidbench.__all__:
        assert getattr(braidbench, name) is not None
