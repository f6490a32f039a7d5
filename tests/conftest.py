"""What all tests share: a cache and a data folder of their own, and the toy plugin on the path."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TOY = ROOT / "tests" / "fixtures" / "toy"

# Before anything asks for the registry. Child processes find the toy plugin through PYTHONPATH.
sys.path.insert(0, str(TOY))
os.environ["PYTHONPATH"] = os.pathsep.join([str(TOY), *filter(None, [os.environ.get("PYTHONPATH")])])
os.environ["HF_HUB_OFFLINE"] = "1"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--kills", type=int, metavar="N", help="longer studies too: N kills in test_kills.py")


@pytest.fixture(scope="session", autouse=True)
def _folders(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Prepared data is shared by the session; nothing of the user's own caches is read or written."""
    root = tmp_path_factory.mktemp("home")
    os.environ["XDG_CACHE_HOME"] = str(root / "cache")
    os.environ["BRAIDBENCH_DATA"] = str(root / "data")


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    """The suite runs on few cores; a pool of threads a test would only wait for itself."""
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)


class Cli:
    """The installed command, run as a user runs it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.command = [str(Path(sys.executable).with_name("braidbench"))]

    def __call__(self, *arguments: str, timeout: float = 300, **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self.command, *arguments], cwd=self.folder, capture_output=True, text=True, timeout=timeout,
            env={**os.environ, **env},
        )  # fmt: skip

    def start(self, *arguments: str, **env: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*self.command, *arguments], cwd=self.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env={**os.environ, **env},
            # A suite that a shell has put in the background ignores Ctrl-C, and so would everything that it starts.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )  # fmt: skip


@pytest.fixture
def plugin(tmp_path: Path) -> Callable[..., tuple[Path, dict[str, str]]]:
    """A function that writes a distribution as an installer would leave it: (its folder, an environment that has it).

    ``plugin("rare", "2.0", rare="…", rare_parts="…")``: its name, its version, and the source of its modules, of which
    the one that is called like the distribution has the hooks.
    """

    def write(name: str, version: str, **modules: str) -> tuple[Path, dict[str, str]]:
        folder = tmp_path / f"site-{name}"
        info = folder / f"{name}-{version}.dist-info"
        info.mkdir(parents=True)
        for module, source in modules.items():
            (folder / f"{module}.py").write_text(textwrap.dedent(source))
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        (info / "entry_points.txt").write_text(f"[braidbench.v1]\n{name} = {name}\n")
        return folder, {"PYTHONPATH": os.pathsep.join([str(folder), os.environ["PYTHONPATH"]])}

    return write


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    """The ``braidbench`` command in an empty folder."""
    return Cli(tmp_path)
