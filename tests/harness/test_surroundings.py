"""What surrounds a command: users, homes, locks, codings, streams, launchers, plugins that print. Real processes."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from braidbench import environment, paths, sources
from braidbench.errors import StorageError
from braidbench.files import locked, write_text

RUN = ("run", "toy/pair", "toy/join", "--device", "cpu", "--epochs", "1")

LOUD = """
    import ctypes, logging, os, subprocess, sys
    import braidbench

    def shout(way):
        print("noise: print", way)
        os.write(1, b"noise: descriptor\\n")
        ctypes.CDLL(None).puts(b"noise: C")
        subprocess.run(["echo", "noise: a child"])
        sys.__stdout__.write("noise: __stdout__\\n")

    logging.basicConfig(stream=sys.stdout, force=True)
    logging.warning("noise: logging")
    import atexit
    atexit.register(lambda: print("noise: at exit"))
    shout("import")

    @braidbench.hookimpl
    def register_fusions():
        shout("hook")
        yield braidbench.Fusion("loud/join", "loud_parts:Join", summary="old text")

    @braidbench.hookimpl
    def register_methods():
        yield braidbench.Method("loud/join", fusion="loud/join")

    @braidbench.hookimpl
    def register_commands():
        yield braidbench.Command("speak", "loud_parts:speak")
"""
PARTS = """
    import click, torch
    from torch import nn
    from loud import shout
    shout("target")

    class Join(nn.Module):
        def __init__(self, in_dims: list[int], out_dim: int = 8):
            super().__init__()
            shout("build")
            self.out_dim = out_dim
            self.linear = nn.Linear(sum(in_dims), out_dim)
        def forward(self, x):
            return self.linear(torch.cat(x, 1))
        @staticmethod
        def skip(modalities, task):
            shout("skip")

    @click.command()
    def speak():
        print("the command's own")
"""


def shell(cli, line: str, **env: str) -> subprocess.CompletedProcess[str]:
    """A command line with ``braidbench`` in it, by a real shell."""
    path = os.pathsep.join([str(Path(cli.command[0]).parent), os.environ["PATH"]])
    return subprocess.run(
        ["bash", "-c", line], cwd=cli.folder, capture_output=True, text=True, timeout=120,
        env={**os.environ, "PATH": path, **env},
    )  # fmt: skip


# --- standard output --------------------------------------------------------------------------------------------------


def test_standard_output_is_the_commands_whatever_a_plugin_prints(cli, plugin):
    _, env = plugin("loud", "1.0", loud=LOUD, loud_parts=PARTS)
    for arguments in (
        ("list", "fusions", "--json"), ("list", "fusions", "--json"), ("plugins", "--json"),
        ("describe", "fusion:loud/join", "--json"), ("plan", "toy/pair", "loud/join", "--json"),
        ("run", "toy/pair", "loud/join", "--device", "cpu", "--epochs", "1", "--json"),
        ("check", "fusion:loud/join", "--json"),
    ):  # fmt: skip
        done = cli(*arguments, **env)
        assert json.loads(done.stdout), arguments
        assert "Traceback" not in done.stderr
    done = cli("speak", **env)
    assert done.stdout == "the command's own\n"
    for way in ("print import", "print hook", "print target", "descriptor", "C", "a child", "__stdout__", "logging"):
        assert f"noise: {way}" in done.stderr


@pytest.mark.parametrize("arguments", ["list datasets", "describe toy/pair", "run --help", "table", "plugins"])
def test_no_coding_is_too_small(done, arguments):
    for coding in ("ascii", "latin-1") if arguments in ("table", "list datasets") else ("ascii",):
        # Twice: a listing is printed from its snapshot then.
        for _ in range(2 if arguments.startswith("list") else 1):
            ran = subprocess.run(
                [*done.command, *arguments.split()], cwd=done.folder, capture_output=True, timeout=60,
                env={**os.environ, "PYTHONIOENCODING": coding},
            )  # fmt: skip
            assert ran.returncode == 0, ran.stderr
            assert ran.stdout.decode(coding)


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A folder with a result in it, and the command."""
    folder = tmp_path_factory.mktemp("done")
    command = [str(Path(sys.executable).with_name("braidbench"))]
    subprocess.run([*command, *RUN, "--seeds", "2"], cwd=folder, check=True, capture_output=True)

    class Done:
        pass

    found = Done()
    found.folder, found.command = folder, command
    return found


@pytest.mark.parametrize("arguments", ["table --format csv", "list fusions"])
def test_a_full_disk_under_standard_output_is_one_line(done, arguments):
    ran = shell(done, f"braidbench {arguments} >/dev/full")
    assert ran.returncode == 3
    assert ran.stderr.splitlines() == [
        line for line in ran.stderr.splitlines() if line.startswith("error: standard ou")
    ]
    assert "No space left on device" in ran.stderr


@pytest.mark.parametrize("arguments", ["list fusions", "describe toy/pair --json"])
@pytest.mark.parametrize("streams", [">&-", "2>&-", ">&- 2>&-", "2>/dev/full", "| head -c 1"])
def test_closed_streams_and_readers_that_leave(done, arguments, streams):
    ran = shell(done, f"set -o pipefail; braidbench {arguments} {streams}")
    assert ran.returncode == 0, ran.stderr
    assert not ran.stderr


# --- files and users --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mask", [0o002, 0o077])
def test_files_have_what_the_umask_leaves(cli, tmp_path, mask):
    done = shell(cli, f"umask {mask:03o}; braidbench {' '.join(RUN)}", BRAIDBENCH_DATA=str(tmp_path / "data"))
    assert done.returncode == 0, done.stderr
    files = [path for folder in ("results", "data") for path in (tmp_path / folder).rglob("*")]
    assert len(files) > 10
    for path in files:
        full = 0o777 if path.is_dir() else 0o666
        assert stat.S_IMODE(path.stat().st_mode) == full & ~mask, path


def test_a_long_name_of_the_folder_for_temporary_files_stops_no_process(cli, tmp_path):
    """A socket's name has at most 107 bytes."""
    place = tmp_path / ("long" * 40)
    place.mkdir()
    found = cli(*RUN[:2], "toy/join", "toy/tuned", *RUN[3:], "--jobs", "2", TMPDIR=str(place))
    assert found.returncode == 0, found.stderr
    assert "2 cells: 2 ok" in found.stderr + found.stdout
    assert not list(place.glob("pymp-*"))


def test_something_that_is_no_regular_file_is_not_replaced(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real" / "file")
    write_text(tmp_path / "link", "content")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real" / "file").read_text() == "content"
    write_text(Path("/dev/null"), "content")
    assert not Path("/dev/null").is_file()


@pytest.mark.skipif(os.getuid() != 0, reason="to become another user needs root")
def test_another_users_lock_can_be_held_by_reading_it(tmp_path):
    path = tmp_path / "lock"
    path.write_text("")
    path.chmod(0o644)
    for folder in (tmp_path, *tmp_path.parents[:3]):
        folder.chmod(folder.stat().st_mode | 0o011)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.setuid(54321)
            with locked(path, wait=False) as held:
                code = 0 if held and not os.access(path, os.W_OK) else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.parametrize("home", [None, "", "~", "relative"])
def test_no_folder_is_called_tilde(cli, tmp_path, home):
    variables = {"BRAIDBENCH_DATA": "", "XDG_CACHE_HOME": "~/cache"}
    line = "unset HOME; " if home is None else ""
    done = shell(cli, f"{line}braidbench data where toy/pair --json && braidbench list fusions >/dev/null", **{
        **variables, **({} if home is None else {"HOME": home}),
    })  # fmt: skip
    assert done.returncode == 0, done.stderr
    [row] = json.loads(done.stdout)
    assert os.path.isabs(row["prepared_below"])
    assert not [path for path in tmp_path.iterdir() if path.name in ("~", "relative", "cache")]


def test_a_tilde_that_no_shell_expanded_is_the_home_folder(cli, tmp_path):
    (tmp_path / "home").mkdir()
    env = {"HOME": str(tmp_path / "home"), "BRAIDBENCH_DATA": "~/data"}
    assert cli(*RUN, "--results=~/r", **env).returncode == 0
    assert list(tmp_path.glob("home/r/*/result.json"))
    assert (tmp_path / "home" / "data" / "prepared").is_dir()
    assert not (tmp_path / "~").exists()
    refused = cli(*RUN, "--results=~no-such-user/r", **env)
    assert (refused.returncode, len(refused.stderr.splitlines())) == (3, 1)


def test_a_user_without_a_home_is_told_what_to_set(monkeypatch):
    for name in ("BRAIDBENCH_DATA", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(paths, "home", lambda: None)
    assert paths.cache_root() is None
    with pytest.raises(StorageError, match="BRAIDBENCH_DATA"):
        paths.data_root()


@pytest.mark.skipif(not shutil.which("gcc"), reason="no compiler to make a flock that fails")
@pytest.mark.parametrize("number", ["ENOLCK"])
def test_without_locks_it_goes_on_and_says_so_once(cli, tmp_path, number):
    (tmp_path / "f.c").write_text(f"#include <errno.h>\nint flock(int fd, int op) {{ errno = {number}; return -1; }}")
    subprocess.run(["gcc", "-shared", "-fPIC", "f.c", "-o", "f.so"], cwd=tmp_path, check=True)
    done = cli(*RUN, LD_PRELOAD=str(tmp_path / "f.so"))
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("has no locks") == 1


# --- launchers --------------------------------------------------------------------------------------------------------

WHOLE = {"RANK": "1", "LOCAL_RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}


@pytest.mark.parametrize(
    "variables",
    [{"RANK": "1"}]
    + [{**WHOLE, **wrong} for wrong in ({"WORLD_SIZE": "1"}, {"RANK": "x"}, {"RANK": "2"}, {"LOCAL_RANK": "-1"})]
    + [{key: value for key, value in WHOLE.items() if key != left} for left in WHOLE],
    ids=str,
)  # fmt: skip
def test_only_a_whole_launch_is_one(monkeypatch, variables):
    for name in WHOLE:
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert environment.launch() is None
    assert environment.is_main_process()
    for name, value in WHOLE.items():
        monkeypatch.setenv(name, value)
    assert environment.launch() == environment.Launch(1, 2)
    assert not environment.is_main_process()


@pytest.mark.parametrize(
    "variables",
    [{"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "3"}, {"OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_RANK": "1"}],
)
def test_what_is_left_of_a_launch_loses_no_result(cli, tmp_path, variables):
    done = cli(*RUN, **variables)
    assert done.returncode == 0, done.stderr
    assert len(list(tmp_path.glob("results/*/result.json"))) == 1
    assert ("runs alone" in done.stderr) == ("RANK" in variables)


# --- source code and listings -----------------------------------------------------------------------------------------


@pytest.fixture
def module(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))

    def write(name: str, content: bytes) -> str:
        path = tmp_path / f"{name.replace('.', '/')}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
        sources._hash_module.cache_clear()
        return sources.source_hash(f"{name}:f")

    return write


def test_source_is_hashed_as_python_reads_it(module):
    plain = "def f():\n    return 'é'\n"
    expected = module("surround_a", plain.encode())
    assert module("surround_a", b"\xef\xbb\xbf" + plain.encode()) == expected
    assert module("surround_a", plain.replace("\n", "\r\n").encode()) == expected
    assert module("surround_a", b"# coding: latin-1\n" + plain.encode("latin-1")) == expected
    assert module("surround_a", plain.replace("é", "e").encode()) != expected


def test_a_form_feed_moves_no_comment(module):
    first = module("surround_b", b"X = '''a\x0cb'''  # why\nY = 1  # one\n")
    assert module("surround_b", b"X = '''a\x0cb'''\nY = 1\n") == first
    assert module("surround_b", b"X = '''a\x0cb'''\nY = 2\n") != first


def test_namespace_packages_zip_files_and_compiled_modules(module, tmp_path, monkeypatch):
    first = module("surround_ns.part", b"def f():\n    return 1\n")
    assert module("surround_ns.part", b"def f():\n    return 2\n") != first
    import py_compile
    import zipfile

    hashes = set()
    for value in (1, 2):
        source = tmp_path / "source.py"
        source.write_text(f"def f():\n    return {value}\n")
        for name in (f"surround_c{value}.pyc",):
            py_compile.compile(str(source), cfile=str(tmp_path / name))
        with zipfile.ZipFile(tmp_path / f"z{value}.zip", "w") as archive:
            archive.write(source, f"surround_z{value}.py")
        monkeypatch.syspath_prepend(str(tmp_path / f"z{value}.zip"))
        hashes |= {sources.source_hash(f"surround_c{value}:f"), sources.source_hash(f"surround_z{value}:f")}
    assert len(hashes) == 4


@pytest.mark.parametrize("entry", ["late:plugin", "late [gpu]", "late.inner", "late"])
def test_a_listing_follows_its_declarations(cli, tmp_path, entry):
    site = tmp_path / "site"
    (site / "late").mkdir(parents=True)
    (site / "late" / "table.json").write_text('["late/from-a-file"]')
    hooks = """
        import json, pathlib, sys
        import braidbench
        @braidbench.hookimpl
        def register_fusions():
            yield braidbench.Fusion("late/join", "late.parts:Join", summary="old text")
            for name in json.loads((pathlib.Path(__file__).parent / "table.json").read_text()):
                yield braidbench.Fusion(name, "late.parts:Join")
        plugin = sys.modules[__name__]
    """
    declared = site / "late" / ("inner.py" if "inner" in entry else "__init__.py")
    declared.write_text(textwrap.dedent(hooks))
    info = site / "late-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: late\nVersion: 1.0\nProvides-Extra: gpu\n")
    (info / "entry_points.txt").write_text(f"[braidbench.v1]\nlate = {entry}\n")
    env = {
        "PYTHONPATH": os.pathsep.join([str(site), os.environ["PYTHONPATH"]]),
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
    }
    first = cli("list", "fusions", **env).stdout
    assert "old text" in first
    assert cli("list", "fusions", **env).stdout == first
    assert list(tmp_path.glob("cache/braidbench/snapshots/*"))
    declared.write_text(declared.read_text().replace("old text", "new text"))
    assert "new text" in cli("list", "fusions", **env).stdout
    (site / "late" / "table.json").write_text('["late/from-a-tab1e"]')
    assert "late/from-a-tab1e" in cli("list", "fusions", **env).stdout


@pytest.mark.parametrize(
    "statement",
    [
        "raise KeyboardInterrupt",
        "class Odd(BaseException): pass\nraise Odd('x')",
        "def (",
        "import no_such_package_here",
    ],
)
def test_a_plugin_that_cannot_be_imported_is_one_line(cli, plugin, statement):
    folder, env = plugin("odd", "1.0", odd="")
    (folder / "odd.py").write_text(f"{statement}\n")
    done = cli("list", "fusions", **env)
    assert done.returncode == 0
    [line] = done.stderr.splitlines()
    assert "plugin 'odd' of odd 1.0 is quarantined" in line
    assert "toy/join" in done.stdout
