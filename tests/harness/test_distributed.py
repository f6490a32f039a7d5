"""Two processes under a distributed launcher: one set of weights, one result."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq


def test_two_processes_train_what_one_trains(cli, tmp_path):
    """Without dropout, halves of every batch averaged over two processes are the whole batch, up to rounding."""
    arguments = ("run", "toy/pair", "toy/join", "--set", "encoder.series.dropout=0", "--device", "cpu")
    alone = cli(*arguments, "--results", "alone")
    assert alone.returncode == 0, alone.stderr
    # accelerate's own launcher starts several processes on GPUs only; torchrun sets the same variables on the CPU.
    launch = [str(Path(sys.executable).with_name("torchrun")), "--nproc-per-node", "2"]
    done = subprocess.run(
        [*launch, *cli.command, *arguments, "--results", "two", "--json"],
        cwd=tmp_path, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    [row] = json.loads(done.stdout)
    assert row["status"] == "ok"
    tables = []
    for name in ("alone", "two"):
        [path] = tmp_path.glob(f"{name}/*/predictions.parquet")
        tables.append(np.array(pq.read_table(path)["prediction"].to_pylist()))
    assert np.allclose(*tables, atol=1e-4)
    assert not np.array_equal(*tables), "sums of halves round otherwise; equal bits would mean that one process trained"
