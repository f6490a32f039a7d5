"""Faults that really happen: kill -9, two runs at once, a full disk, a read-only disk, damaged files, Ctrl-C."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest


def predictions(results: Path) -> np.ndarray:
    [path] = results.glob("*/predictions.parquet")
    return np.array(pq.read_table(path)["prediction"].to_pylist(), np.float32)


def wait_for(condition, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def no_traceback(process) -> None:
    assert "Traceback" not in process.stderr, process.stderr
    assert len([line for line in process.stderr.splitlines() if line.startswith("error:")]) == 1, process.stderr


SLOW = ("run", "toy/pair", "toy/slow", "--epochs", "12", "--set", "procedure.seconds=0.3", "--device", "cpu")


@pytest.mark.parametrize("options", [(), ("--executor", "process")], ids=["serial", "process"])
def test_kill_9_in_the_middle_then_the_same_command_ends_with_the_same_bits(cli, tmp_path, options):
    whole = cli(*SLOW, "--results", "whole")
    assert whole.returncode == 0, whole.stderr
    run = cli.start(*SLOW, *options, "--results", "killed")
    wait_for(lambda: list(tmp_path.glob("killed/*/checkpoint.pt")))
    time.sleep(0.7)
    children = subprocess.run(["pgrep", "-P", str(run.pid)], capture_output=True, text=True).stdout.split()
    for process in [*children, str(run.pid)]:
        os.kill(int(process), signal.SIGKILL)
    run.wait()
    for pipe in (run.stdout, run.stderr):
        pipe.close()
    wait_for(lambda: not subprocess.run(["pgrep", "-f", str(tmp_path)], capture_output=True).stdout)
    assert not list(tmp_path.glob("killed/*/result.json"))
    again = cli(*SLOW, *options, "--results", "killed")
    assert again.returncode == 0, again.stderr
    [history] = tmp_path.glob("killed/*/history.json")
    resumed_at = json.loads(history.read_text())["resumed_at"]
    assert resumed_at is not None, "it began again instead of going on"
    assert 1 <= resumed_at < 12
    assert np.array_equal(predictions(tmp_path / "whole"), predictions(tmp_path / "killed"))
    assert not list(tmp_path.glob("killed/*/checkpoint.pt"))


def test_the_cells_of_a_driver_that_is_killed_end_at_once_and_none_of_them_has_failed(cli, tmp_path):
    command = (*SLOW, "--seeds", "3", "--jobs", "2")
    run = cli.start(*command)
    wait_for(lambda: len(list(tmp_path.glob("results/*/checkpoint.pt"))) >= 2)
    children = subprocess.run(["pgrep", "-P", str(run.pid)], capture_output=True, text=True).stdout.split()
    children += subprocess.run(["pgrep", "-P", ",".join(children)], capture_output=True, text=True).stdout.split()
    assert len(children) >= 4, "a tracker, a server, and two cells"
    run.kill()
    run.wait()

    def alive() -> list[str]:
        states = subprocess.run(["ps", "-o", "stat=", "-p", ",".join(children)], capture_output=True, text=True).stdout
        return [state for state in states.split() if not state.startswith("Z")]

    wait_for(lambda: not alive(), 20)
    _, stderr = run.communicate()
    assert "Traceback" not in stderr
    assert not list(tmp_path.glob("results/*/result.json")), "nothing that has not happened is stored"
    assert not list(tmp_path.glob("results/*/.*.tmp"))
    assert "Error" not in "".join(path.read_text() for path in tmp_path.glob("results/*/log.txt"))
    again = cli(*command, "--json")
    assert again.returncode == 0, again.stderr
    assert [row["status"] for row in json.loads(again.stdout)] == ["ok"] * 3
    resumed = [json.loads(path.read_text())["resumed_at"] for path in tmp_path.glob("results/*/history.json")]
    assert sum(at is not None for at in resumed) >= 2, "they go on from their checkpoints"


def test_a_cell_whose_process_somebody_ends_is_a_failed_row_and_its_siblings_go_on(cli, tmp_path):
    run = cli.start(*SLOW, "--seeds", "2", "--jobs", "2", "--json")
    wait_for(lambda: len(list(tmp_path.glob("results/*/checkpoint.pt"))) >= 2)
    server = subprocess.run(["pgrep", "-P", str(run.pid)], capture_output=True, text=True).stdout.split()
    cells = subprocess.run(["pgrep", "-P", ",".join(server)], capture_output=True, text=True).stdout.split()
    os.kill(int(cells[0]), signal.SIGTERM)
    stdout, stderr = run.communicate(timeout=120)
    assert run.returncode == 1, stderr
    rows = json.loads(stdout)
    assert sorted(row["status"] for row in rows) == ["failed", "ok"]
    [reason] = [row["reason"] for row in rows if row["status"] == "failed"]
    assert reason == "the process was ended by SIGTERM"


def test_a_damaged_checkpoint_costs_time_and_nothing_else(cli, tmp_path):
    assert cli(*SLOW, "--results", "whole").returncode == 0
    run = cli.start(*SLOW, "--results", "killed")
    wait_for(lambda: list(tmp_path.glob("killed/*/checkpoint.pt")))
    run.kill()
    run.communicate()
    [path] = tmp_path.glob("killed/*/checkpoint.pt")
    content = path.read_bytes()
    shutil.copytree(tmp_path / "killed", tmp_path / "flipped")
    path.write_bytes(content[: len(content) // 2])
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        weight = archive.read("archive/data/4")
    # Every weight is a number all the same.
    assert len(weight) > 100
    [flipped] = tmp_path.glob("flipped/*/checkpoint.pt")
    flipped.write_bytes(content.replace(weight, weight[::-1]))
    for results in ("killed", "flipped"):
        again = cli(*SLOW, "--results", results)
        assert again.returncode == 0, again.stderr
        assert np.array_equal(predictions(tmp_path / "whole"), predictions(tmp_path / results))


def test_ctrl_c_says_how_to_go_on(cli, tmp_path):
    run = cli.start(*SLOW)
    wait_for(lambda: list(tmp_path.glob("results/*/checkpoint.pt")))
    run.send_signal(signal.SIGINT)
    _, stderr = run.communicate(timeout=60)
    assert run.returncode == 130
    assert "interrupted; the same command goes on" in stderr
    assert "Traceback" not in stderr
    assert cli(*SLOW).returncode == 0


def test_two_runs_of_one_plan_share_the_work(cli, tmp_path):
    (tmp_path / "plan.toml").write_text(
        'datasets = ["toy/pair"]\nmethods = ["toy/slow"]\nseeds = 4\nepochs = 3\nset.procedure.seconds = 0.2\n'
    )
    runs = [cli.start("run", "plan.toml", "--jobs", "1", "--device", "cpu", "--json") for _ in range(2)]
    ended = [(run.communicate(timeout=240), run.returncode) for run in runs]
    assert [code for _, code in ended] == [0, 0], ended
    lists = [json.loads(out) for (out, _), _ in ended]
    for rows in lists:
        assert [row["seed"] for row in rows] == [0, 1, 2, 3]
        assert all(row["status"] == "ok" for row in rows), "none is lost"
    assert lists[0][0]["scores"] == lists[1][0]["scores"]
    finished = {(row["seed"], row["finished"]) for rows in lists for row in rows}
    assert len(finished) == 4, "a cell that ran twice would have ended twice"
    assert len(list(tmp_path.glob("results/*/result.json"))) == 4


def test_a_crash_fails_one_row_and_its_siblings_go_on(cli, tmp_path):
    done = cli("run", "toy/pair", "toy/crash", "toy/join", "toy/raises", "--device", "cpu", "--json")
    assert done.returncode == 1, done.stderr
    rows = {row["method"]: row for row in json.loads(done.stdout)}
    assert (rows["toy/crash"]["status"], rows["toy/crash"]["failure"]) == ("failed", "crash")
    assert "SIGSEGV" in rows["toy/crash"]["reason"]
    assert rows["toy/join"]["status"] == "ok"
    assert rows["toy/raises"]["failure"] == "plugin"
    assert json.loads((Path(tmp_path / rows["toy/crash"]["path"]) / "result.json").read_text())["status"] == "failed"
    shown = cli("show", rows["toy/raises"]["cell"][:10])
    assert "the fusion has a bug" in shown.stdout
    assert "faults.py" in shown.stdout, "the end of the log says where"


def test_a_cell_that_takes_too_long_is_stopped(cli):
    done = cli(*SLOW, "--timeout", "1", "--json")
    assert done.returncode == 1, done.stderr
    [row] = json.loads(done.stdout)
    assert (row["status"], row["failure"]) == ("failed", "timeout")


def test_an_unwritable_results_folder_is_found_before_training(cli, tmp_path):
    (tmp_path / "file").write_text("")
    done = cli("run", "toy/pair", "toy/join", "--results", "file/results")
    assert done.returncode == 3
    no_traceback(done)
    assert "cannot be written" in done.stderr
    done = cli("run", "toy/pair", "toy/join", "--results", "/proc/results")
    assert done.returncode == 3
    no_traceback(done)


@pytest.fixture
def tmpfs(tmp_path):
    """Mounts a real small file system; skipped where that is not allowed."""
    mounted: list[Path] = []

    def mount(options: str) -> Path:
        folder = tmp_path / f"disk{len(mounted)}"
        folder.mkdir()
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], capture_output=True)
        if done.returncode:
            pytest.skip(f"mounting a tmpfs is not allowed here: {done.stderr.decode().strip()}")
        mounted.append(folder)
        return folder

    yield mount
    for folder in mounted:
        subprocess.run(["umount", "-l", str(folder)], check=False)


def test_a_read_only_disk(cli, tmpfs):
    done = cli("run", "toy/pair", "toy/join", "--results", str(tmpfs("ro,size=1m")))
    assert done.returncode == 3
    no_traceback(done)
    assert "cannot be written" in done.stderr


@pytest.mark.parametrize("executor", ["serial", "process"])
def test_a_full_disk_is_said_and_the_same_command_goes_on_when_there_is_space(cli, tmpfs, executor):
    disk = tmpfs("size=64k")
    filler = disk / "filler"
    # Room for the first files of the cell (the lock, the log, a checkpoint) and not for all of them.
    filler.write_bytes(b"\0" * (shutil.disk_usage(disk).free - 20 * 1024))
    command = ("run", "toy/pair", "toy/join", "--results", str(disk), "--executor", executor, "--device", "cpu")
    full = cli(*command)
    assert full.returncode == 3, (full.stdout, full.stderr)
    no_traceback(full)
    assert "disk is full" in full.stderr
    assert not list(disk.glob("*/result.json"))
    filler.unlink()
    subprocess.run(["mount", "-o", "remount,size=4m", str(disk)], check=True)
    assert cli(*command).returncode == 0


def test_a_full_disk_while_preparing_data(cli, tmpfs):
    disk = tmpfs("size=16k")
    done = cli("run", "toy/pair", "toy/join", BRAIDBENCH_DATA=str(disk))
    assert done.returncode == 3, done.stderr
    no_traceback(done)
    assert "disk is full" in done.stderr


def test_a_corrupt_result_is_set_aside_and_made_again(cli, tmp_path):
    command = ("run", "toy/pair", "toy/join", "toy/steps", "--device", "cpu")
    assert cli(*command).returncode == 0
    path = next(tmp_path.glob("results/*toy_join*/result.json"))
    whole = path.read_text()
    path.write_text(whole[: len(whole) // 2])
    table = cli("table", "results")
    assert table.returncode == 0, table.stderr
    assert "result.json" in table.stderr
    assert "toy/steps" in table.stdout, "the rest goes on"
    again = cli(*command, "--json")
    assert again.returncode == 0, again.stderr
    assert "sets it aside as result.json.corrupt-1" in again.stderr
    assert path.with_name("result.json.corrupt-1").read_text() == whole[: len(whole) // 2], "nothing is lost"
    assert [row["cached"] for row in json.loads(again.stdout)] == [False, True]


@pytest.mark.parametrize(
    ("arguments", "code", "parts"),
    [
        (("run", "toy/pare", "toy/join"), 2, ["Did you mean 'toy/pair'"]),
        (("run", "toy/pair", "toy/jion"), 2, ["Did you mean 'toy/join'"]),
        (("run", "toy/pair", "toy/join", "--set", "fusion.widht=3"), 2, ["Did you mean 'width'", "accepts width"]),
        (("run", "toy/pair", "toy/join", "--set", "fusion.width=wide"), 2, ["width: int = 8 got 'wide'"]),
        (("run", "toy/pair", "toy/each[vectr]"), 2, ["Did you mean 'vector'"]),
        (("run", "toy/pair", "toy/three"), 2, ["takes at least 3 modalities; there are 2"]),
        (("run", "toy/pair", "toy/absent"), 3, ["needs the package", "pip install"]),
        (("run", "toy/official", "toy/join"), 3, ["official files are missing: data.npy", "Put them in"]),
        (("run", "toy/packaged", "toy/join"), 3, ["pip install 'no-such-distribution==3'"]),
        (("run", "toy/pair"), 2, ["name a dataset and one method or more"]),
        (("run", "toy/pair", "toy/join", "--seed", "1", "--seeds", "2"), 2, ["not both"]),
        (("run", "toy/pair", "toy/join", "--seeds", "0"), 2, ["give 1 or more"]),
        (("run", "toy/pair", "toy/join", "--seeds", "999999999999"), 2, ["at most 100,000"]),
        (("run", "toy/pair", "toy/join", "--set", "training.lr=nan"), 2, ["'lr' has to be finite"]),
        (("run", "toy/pair", "toy/join", "--set", "training.lr=true"), 2, ["lr: float", "got true, not a number"]),
        (("run", "toy/pair", "toy/join", "--threads", "9" * 11), 2, ["give 1 to 1024"]),
        (("plan", "toy/pair", "toy/join", "--set", "training.lr=1e999"), 2, ["'lr' has to be finite"]),
        (("run", "toy/pair", "toy/join", "--set", f"fusion.width={10**30}"), 2, ["'width'", "64 bits"]),
        (("run", "toy/pair", "toy/join", "--set", f"training.lr={'9' * 5000}"), 2, ["'lr' has to be finite"]),
        (("run", "toy/pair", "toy/join", "--jobs", "0"), 2, ["give 1 or more"]),
        (("run", "toy/pair", "toy/join", "--executor", "slrum"), 2, ["no executor 'slrum'"]),
        (("run", "toy/pair", "toy/join", "--device", "cuda"), 2, ["no CUDA device"]),
        (("run", "absent.toml"), 2, ["absent.toml: there is no such plan file"]),
        (("rnu",), 2, ["Did you mean 'run'"]),
        (("run", "--sed", "1"), 2, ["--sed"]),
        (("list", "dataset"), 2, ["'dataset' is not one of"]),
        (("describe", "toy/jion"), 2, ["Did you mean"]),
        (("show", "abc"), 2, ["no cell 'abc'"]),
        (("data", "verify", "toy/packaged"), 3, ["no-such-distribution"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_bad_input_is_one_line_that_says_how_to_mend_it(cli, arguments, code, parts):
    done = cli(*arguments)
    assert done.returncode == code, done.stderr
    no_traceback(done)
    for part in parts:
        assert part in done.stderr


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("datasets = [", "not a TOML file"),
        ("datasets = " + "[" * 5000 + "]" * 5000, "not a TOML file"),
        (f"seeds = {'9' * 5000}", "not a TOML file"),
        ('datasets = ["toy/pair"]\nmethods = ["toy/join"]\nset.training.lr = nan', "finite"),
        ('datasets = ["toy/pair"]', "methods: Field required"),
        ('datasets = ["toy/pair"]\nmethods = ["toy/join"]\nseed = 3', "seed"),
        ('datasets = ["toy/pair"]\nmethods = ["toy/jion"]', "Did you mean 'toy/join'"),
    ],
)
def test_bad_plan_files(cli, tmp_path, text, message):
    (tmp_path / "plan.toml").write_text(text)
    done = cli("run", "plan.toml")
    assert done.returncode == 2
    no_traceback(done)
    assert message in done.stderr


def test_a_plan_skips_with_reasons_what_a_direct_run_refuses(cli, tmp_path):
    (tmp_path / "plan.toml").write_text(
        '[[run]]\ndatasets = ["toy/pair", "toy/official"]\nmethods = ["toy/join", "toy/three"]\n'
    )
    done = cli("run", "plan.toml", "--json", "--device", "cpu")
    assert done.returncode == 0, done.stderr
    rows = [(row["dataset"], row["method"], row["status"], row["reason"] or "") for row in json.loads(done.stdout)]
    assert [row[:3] for row in rows] == [
        ("toy/pair", "toy/join", "ok"),
        ("toy/pair", "toy/three", "skipped"),
        ("toy/official", "toy/join", "skipped"),
        ("toy/official", "toy/three", "skipped"),
    ]
    assert "at least 3 modalities" in rows[1][3]
    assert "official files are missing" in rows[2][3]
    planned = cli("plan", "plan.toml")
    assert "4 cells: 1 cached, 0 to run, 3 skipped" in planned.stdout


def test_a_component_that_breaks_before_there_is_a_cell_is_a_failed_row_that_names_its_plugin(cli, tmp_path, plugin):
    source = """
        import braidbench


        @braidbench.hookimpl
        def register_fusions():
            yield braidbench.Fusion("brittle/skip", "brittle_parts:Skip")


        @braidbench.hookimpl
        def register_methods():
            yield braidbench.Method("brittle/skip", fusion="brittle/skip", objective="toy/loss", procedure="toy/fit")
    """
    parts = """
        from braid_toy.parts import Join


        class Skip(Join):
            @staticmethod
            def skip(modalities, task):
                raise KeyError("words\\nand more")
    """
    _, environment = plugin("brittle", "1.0", brittle=source, brittle_parts=parts)
    done = cli("run", "toy/pair", "toy/join", "brittle/skip", "--device", "cpu", "--json", **environment)
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    rows = {row["method"]: row for row in json.loads(done.stdout)}
    assert rows["toy/join"]["status"] == "ok"
    assert (rows["brittle/skip"]["status"], rows["brittle/skip"]["failure"]) == ("failed", "plugin")
    assert rows["brittle/skip"]["reason"] == (
        "fusion 'brittle/skip': its skip failed: KeyError: 'words\\nand more' (in brittle_parts, of brittle 1.0)"
    )
    alone = cli("run", "toy/pair", "brittle/skip", "--device", "cpu", **environment)
    assert alone.returncode != 0
    no_traceback(alone)
    assert "its skip failed" in alone.stderr


def test_infinite_inputs_are_a_data_error(cli, tmp_path):
    from braidbench.preparation import official_folder
    from braidbench.registry import registry

    spec = registry().find("datasets", "toy/official").spec
    data = tmp_path / "data"
    folder = data / "official" / official_folder(spec).name
    (folder / "parts").mkdir(parents=True)
    table = np.random.default_rng(0).normal(size=(40, 3))
    table[:, 2] = 0
    table[35, 1] = np.inf
    np.save(folder / "data.npy", table)
    np.save(folder / "parts" / "a.npy", table)
    done = cli("run", "toy/official", "toy/join", BRAIDBENCH_DATA=str(data))
    assert done.returncode == 3
    no_traceback(done)
    assert "split 'test', modality 'x': inf at row 5" in done.stderr


def test_the_interpreter_is_the_one_under_test():
    assert Path(sys.executable).with_name("braidbench").exists()
