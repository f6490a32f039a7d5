"""Every method on a GPU and on the CPU, by the command line; the tests read the results.

``pytest -m gpu`` runs it where torch sees a CUDA device. Variables:

- ``BRAIDBENCH_GPU_REPORT``: a file that gets everything that was seen, as JSON.
- ``BRAIDBENCH_GPU_TEST_DEVICE=cpu`` rehearses the suite on a machine without a GPU: the CPU with older instructions
  (``ATEN_CPU_CAPABILITY`` and its like) stands for the GPU, so that rounding differs for real.
- ``BRAIDBENCH_GPU_TEST_METHODS``: some of the methods, with commas between.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from braidbench_multizoo import register_methods

HERE = Path(__file__).parent
DEVICE = os.environ.get("BRAIDBENCH_GPU_TEST_DEVICE", "cuda")
CHOSEN = os.environ.get("BRAIDBENCH_GPU_TEST_METHODS", "")
METHODS = sorted(m.name for m in register_methods() if not CHOSEN or m.name in CHOSEN.split(","))
EPOCHS = 2

DATASETS = ("digits", "wrist", "numerals", "cohort", "sp500-tech", "toy/timed")
"""The first that a method can serve is the one it runs on: those of few steps an epoch come first."""

BESIDE = {"late-fusion": ("cohort", "sp500-tech")}
"""Further ones: a table beside a sequence with undefined values, and a regression."""

SETTINGS: dict[str, dict[str, Any]] = {
    # One candidate: a search takes another way after the smallest difference of two scores.
    "mfas": {"procedure.levels": 1, "procedure.iterations": 1, "procedure.samples": 1, "procedure.candidate_epochs": 1},
    "gradient-blend": {"procedure.super_epochs": 1},
}

LIMIT = 270
"""Seconds for all runs of a lane; what is not there by then is missing, and its tests fail."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    own = [item for item in items if HERE in item.path.parents]
    for item in own:
        item.add_marker(pytest.mark.gpu)
    if own and DEVICE != "cpu":
        import torch

        if not torch.cuda.is_available():
            for item in own:
                item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))


@dataclass
class Run:
    """One pass over all methods: on which device, with which options, and whether chance is drawn on the CPU."""

    name: str
    device: str
    precision: str = "fp32"
    shared_noise: bool = True
    seconds: float = 0.0
    code: int | None = None
    results: dict[tuple[str, str], tuple[Path, Any]] = field(default_factory=dict)
    """(dataset, row) → the cell's folder and its result."""


class Runs:
    """Everything that was run, and what is reported of it."""

    def __init__(self) -> None:
        self.runs: dict[str, Run] = {}
        self.report: dict[str, Any] = {"methods": {}}

    def pairs(self, method: str) -> list[tuple[str, str]]:
        """Every (dataset, row) of a method, whether or not it ended."""
        return [pair for pair in self.planned if pair[1].partition("[")[0] == method]

    planned: list[tuple[str, str]]

    def result(self, run: str, pair: tuple[str, str]) -> Any:
        """The result, or a failure of the test that asks for one that is not there."""
        if pair not in self.runs[run].results:
            pytest.fail(f"{' '.join(pair)}: the run {run!r} has no result (exit code {self.runs[run].code})")
        result = self.runs[run].results[pair][1]
        if result.status != "ok":
            pytest.fail(f"{' '.join(pair)}: the run {run!r} {result.status}: {result.reason}")
        return result

    def prediction(self, run: str, pair: tuple[str, str]) -> np.ndarray:
        import pyarrow.parquet as pq

        self.result(run, pair)
        table = pq.read_table(self.runs[run].results[pair][0] / "predictions.parquet")
        return np.array(table["prediction"].to_pylist(), np.float64)

    def history(self, run: str, pair: tuple[str, str]) -> list[dict[str, float | None]]:
        self.result(run, pair)
        return json.loads((self.runs[run].results[pair][0] / "history.json").read_text())["epochs"]

    def note(self, pair: tuple[str, str], **seen: Any) -> None:
        self.report["methods"].setdefault(" ".join(pair), {}).update(seen)


def plan(path: Path) -> list[tuple[str, str]]:
    """Write the plan file, one block for each method; returns the (dataset, row) pairs that it runs."""
    from braidbench.registry import registry

    blocks, pairs = [], []
    for method in METHODS:
        rows = {dataset: served(registry(), method, dataset) for dataset in (*DATASETS, *BESIDE.get(method, ()))}
        first = next(dataset for dataset in DATASETS if rows[dataset])
        chosen = [first, *BESIDE.get(method, ())]
        pairs += [(dataset, row) for dataset in chosen for row in rows[dataset]]
        lines = [f"datasets = {json.dumps(chosen)}", f"methods = {json.dumps([method])}", f"epochs = {EPOCHS}"]
        lines += [f"set.{key} = {value}" for key, value in SETTINGS.get(method, {}).items()]
        blocks.append("\n".join(["[[run]]", *lines, ""]))
    path.write_text("\n".join(blocks))
    return pairs


def served(found: Any, method: str, dataset: str) -> list[str]:
    """The method's rows that can serve the dataset."""
    from braidbench.recipe import CannotServeError, resolve, rows_of

    rows = []
    for row in rows_of(found, method, found.find("datasets", dataset).spec):
        try:
            resolve(found, dataset, row, SETTINGS.get(method, {}))
        except CannotServeError:
            continue
        rows.append(row)
    return rows


BRAIDBENCH = [sys.executable, "-c", "from braidbench.cli import main; main()"]


def environment(run: Run) -> dict[str, str]:
    found = {**os.environ, "OMP_NUM_THREADS": "1"}
    if run.shared_noise:
        found["PYTHONPATH"] = os.pathsep.join([str(HERE / "shared_noise"), os.environ["PYTHONPATH"]])
    # oneDNN computes recurrent layers in bfloat16 with the CPU's newest instructions only.
    if DEVICE == "cpu" and run.name == "device":
        found |= {"ATEN_CPU_CAPABILITY": "default", "MKL_ENABLE_INSTRUCTIONS": "SSE4_2", "ONEDNN_MAX_CPU_ISA": "SSE41"}
    return found


def execute(run: Run, folder: Path, jobs: int, deadline: float) -> None:
    """Run the plan and read what came of it, whatever did. A cell that hangs is stopped after a while."""
    start = time.monotonic()
    command = [
        *BRAIDBENCH, "run", str(folder / "plan.toml"), "--device", run.device, "--precision", run.precision,
        "--jobs", str(jobs), "--timeout", "150", "--results", str(folder / run.name),
    ]  # fmt: skip
    with (folder / f"{run.name}.log").open("w") as log:
        process = subprocess.Popen(
            command, cwd=folder, env=environment(run), stdout=log, stderr=log, start_new_session=True
        )
        try:
            run.code = process.wait(max(deadline - start, 1))
        except subprocess.TimeoutExpired:
            # As Ctrl-C: what has ended is stored, and the cells' processes go with it.
            os.killpg(process.pid, signal.SIGINT)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    run.seconds = time.monotonic() - start
    from braidbench.store import Store

    found = Store(folder / run.name).all()
    run.results = {(result.dataset, result.method): (place, result) for place, result in found.results}
    ended = sum(result.status == "ok" for _, result in run.results.values())
    # Seen at once with pytest -s, which is the way to watch runs of minutes.
    print(f"[gpu] {run.name}: {ended} cells ok in {run.seconds:.0f} s", file=sys.__stderr__, flush=True)


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
    """The CPU's run beside the GPU's, which are: as on the CPU, in bfloat16, and twice with its own chance."""
    folder = tmp_path_factory.mktemp("gpu")
    found = Runs()
    found.planned = plan(folder / "plan.toml")
    names = sorted({dataset for dataset, _ in found.planned})
    done = subprocess.run(
        [*BRAIDBENCH, "data", "prepare", *names], capture_output=True, text=True, cwd=folder, check=False
    )
    print(f"[gpu] prepared {', '.join(names)} (exit code {done.returncode}) {done.stderr}", file=sys.__stderr__)
    lanes = [
        [Run("cpu", "cpu")],
        [
            Run("device", DEVICE), Run("device-bf16", DEVICE, "bf16"),
            Run("own-chance", DEVICE, shared_noise=False), Run("own-chance-again", DEVICE, shared_noise=False),
        ],
    ]  # fmt: skip
    cores = len(os.sched_getaffinity(0))
    # The GPU's lane has four times the cells; each is a process that keeps a core busy.
    shares = [max(1, cores * 3 // 10), max(1, cores - cores * 3 // 10)]
    deadline = time.monotonic() + float(os.environ.get("BRAIDBENCH_GPU_LIMIT", LIMIT))

    def lane(which: list[Run], jobs: int) -> None:
        for run in which:
            execute(run, folder, jobs, deadline)

    threads = [threading.Thread(target=lane, args=pair) for pair in zip(lanes, shares, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found.runs = {run.name: run for which in lanes for run in which}
    # At once, and again with what the tests compare: a suite that is stopped halfway has told the most already.
    write_report(found)
    yield found
    write_report(found)


def write_report(found: Runs) -> None:
    where = os.environ.get("BRAIDBENCH_GPU_REPORT")
    if where:
        Path(where).write_text(json.dumps({**summary(found), **found.report}, indent=1, default=str) + "\n")


def summary(found: Runs) -> dict[str, Any]:
    """The machine, how long each run took, and each cell's own figures."""
    import torch

    for pair in found.planned:
        for name, run in found.runs.items():
            result = run.results[pair][1] if pair in run.results else None
            seen: dict[str, Any] = {"status": "missing" if result is None else result.status}
            if result is not None:
                seen |= {"reason": result.reason, "scores": result.scores}
                if result.cost is not None:
                    seen["cost"] = result.cost.model_dump()
                if result.environment is not None:
                    seen |= {
                        "device": result.environment.device,
                        "nondeterministic": result.environment.nondeterministic,
                    }
            found.note(pair, **{name: seen})
    return {
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "card": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "epochs": EPOCHS,
        "runs": {name: {"seconds": run.seconds, "exit code": run.code} for name, run in found.runs.items()},
    }


@pytest.fixture
def each(runs: Runs, method: str) -> Callable[[Callable[[tuple[str, str]], None]], None]:
    """``each(check)`` calls ``check((dataset, row))`` for everything that the method runs on, whatever fails."""

    def call(check: Callable[[tuple[str, str]], None]) -> None:
        wrong = []
        for pair in runs.pairs(method):
            try:
                check(pair)
            except (AssertionError, pytest.fail.Exception) as error:
                wrong.append(f"{' '.join(pair)}: {error}")
        if wrong:
            pytest.fail("\n".join(wrong), pytrace=False)

    return call
