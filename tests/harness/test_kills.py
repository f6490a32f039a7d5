"""Kills at random points of a plan of twenty cells, robustness included: nothing is lost and no bit changes.

The suite kills a few times. ``pytest tests/harness/test_kills.py --kills 200`` kills two hundred times, on the plan of
real data as well, and takes about an hour on two cores; docs/benchmarks.md has what came of it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest

TOY = """
datasets = ["toy/pair"]
methods = ["toy/join", "toy/steps", "toy/tuned", "toy/each[vector]", "toy/each[series]"]
seeds = 4
epochs = 6
"""
DIGITS = """
datasets = ["digits"]
methods = ["unimodal", "early-fusion", "late-fusion"]
seeds = 5
epochs = 2
"""
CELLS = 20


def test_a_plan_that_is_killed_again_and_again_ends_as_if_it_never_was(cli, request):
    few = request.config.getoption("--kills") is None
    kill_again_and_again(cli, TOY, 6 if few else request.config.getoption("--kills") // 2, longest=12.0)


def test_a_plan_of_real_data_that_is_killed(cli, request):
    kills = request.config.getoption("--kills")
    if kills is None:
        pytest.skip("a longer study: pytest tests/harness/test_kills.py --kills 200")
    kill_again_and_again(cli, DIGITS, kills - kills // 2, longest=15.0)


def kill_again_and_again(cli, plan: str, kills: int, longest: float) -> None:
    """Kill runs of the plan, each after up to ``longest`` seconds, ``kills`` times in all; start anew when it is done.

    Killed are the command, all of its processes at once, or one cell's process.
    """
    (cli.folder / "plan.toml").write_text(plan)
    command = ("run", "plan.toml", "--robustness", "--device", "cpu", "--jobs", "2")
    assert cli(*command, "--results", "reference").returncode == 0
    reference = contents(cli.folder / "reference")
    assert len(reference) == CELLS
    draw = random.Random(20)
    done, batch = 0, 0
    while done < kills:
        results = cli.folder / f"killed-{batch}"
        batch += 1
        known: dict[str, dict[str, str]] = {}
        while done < kills:
            killed = run_and_kill(cli, (*command, "--results", str(results)), draw, longest)
            done += killed
            known = nothing_is_lost(known, contents(results))
            if not killed and len(known) == CELLS:
                break
        last = cli(*command, "--results", str(results), "--json")
        assert last.returncode == 0, last.stderr
        assert [row["status"] for row in json.loads(last.stdout)] == ["ok"] * CELLS
        found = contents(results)
        nothing_is_lost(known, found)
        assert found == reference
        left = {path.name for path in results.glob("[!.]*/*")}
        assert left == {"result.json", "predictions.parquet", "model.safetensors", "history.json", "log.txt"}
    print(f"{done} kills in {batch} plans of {CELLS} cells")


def run_and_kill(cli, command: tuple[str, ...], draw: random.Random, longest: float) -> bool:
    """Whether the run was killed (it may have ended before)."""
    run = subprocess.Popen(
        [*cli.command, *command], cwd=cli.folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        start_new_session=True,
    )  # fmt: skip
    whom = draw.choice(["the command", "everybody", "one cell"])
    time.sleep(draw.uniform(0.0, longest))
    killed = run.poll() is None
    if killed and whom == "everybody":
        os.killpg(run.pid, signal.SIGKILL)
    elif killed and whom == "one cell":
        cells = descendants(run.pid, depth=2)
        if cells:
            kill(draw.choice(cells))
        else:
            run.kill()
    elif killed:
        run.kill()
    said, _ = run.communicate(timeout=600)
    assert "Traceback" not in said, said
    # The cells of a dead command end by themselves, and soon.
    deadline = time.monotonic() + 30
    while group(run.pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not group(run.pid)
    return killed


def kill(process: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(process, signal.SIGKILL)


def descendants(process: int, depth: int) -> list[int]:
    """Processes that are ``depth`` generations below: those of the cells are the children of the server."""
    found = [process]
    for _ in range(depth):
        if not found:
            break
        listed = subprocess.run(["pgrep", "-P", ",".join(map(str, found))], capture_output=True, text=True)
        found = [int(line) for line in listed.stdout.split()]
    return found


def group(leader: int) -> list[int]:
    """Processes of the session that are alive."""
    listed = subprocess.run(["ps", "-o", "pid=,stat=", "-s", str(leader)], capture_output=True, text=True)
    return [int(line.split()[0]) for line in listed.stdout.splitlines() if not line.split()[1].startswith("Z")]


def contents(results: Path) -> dict[str, dict[str, str]]:
    """Cell → what decides the worth of its result, of the cells that are ok; hashes of files, scores and curves."""
    found = {}
    for path in results.glob("*/result.json"):
        result = json.loads(path.read_text())
        if result["status"] != "ok":
            # The one cell whose process was killed; it is no fault of a plugin.
            assert result["failure"] == "crash", result["reason"]
            assert "SIGKILL" in result["reason"]
            continue
        for name, digest in result["files"].items():
            assert hashlib.sha256((path.parent / name).read_bytes()).hexdigest() == digest, path.parent / name
        assert not [f for f in result["robustness_failures"] if f["failure"] != "crash"]
        curves = {f"{c['corruption']} of {c['modality']}, {c['metric']}": c for c in result["robustness"]}
        own = {"scores": result["scores"], "valid": result["valid_scores"], "best": result["best_epoch"], **curves}
        files = {name: digest for name, digest in result["files"].items() if name != "history.json"}
        found[result["cell"]] = {**files, **{name: json.dumps(value) for name, value in own.items()}}
    return found


def nothing_is_lost(before: dict[str, dict[str, str]], now: dict[str, dict[str, str]]) -> dict[str, dict[str, str]]:
    for cell, kept in before.items():
        assert kept.items() <= now[cell].items(), "what was stored is there and is the same"
    return now
