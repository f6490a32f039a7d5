"""What a GPU is worth here: the training loop against a bare one, MulT in two precisions, cells side by side.

    python tools/gpu/bench.py --device cuda --out bench.json      (five minutes on an H100)
    python tools/gpu/bench.py --device cpu --small --out /tmp/bench.json      (a rehearsal)

What is compared runs alternately and the median counts. Each part writes its figures as soon as it has them, so that a
part that fails, or time that runs out, takes nothing away; the exit code is 1 if a part failed.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from braidbench.assembly import build
from braidbench.cell import Request, make_cell, seeds
from braidbench.data import TrainingData, open_split
from braidbench.determinism import demand
from braidbench.precision import computing_in, in_full_precision, unchanged_weights
from braidbench.recipe import resolve
from braidbench.registry import load_target, registry
from braidbench.training import Settings, make_accelerator, train
from braidbench_multizoo.fusions.attention.mult import MulT


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--only", choices=["loops", "mult_steps", "side_by_side"], help="this part alone")
    parser.add_argument("--small", action="store_true", help="tiny sizes: a rehearsal, its figures mean nothing")
    given = parser.parse_args()
    demand(1)
    found: dict[str, Any] = {
        "card": torch.cuda.get_device_name() if given.device == "cuda" else "cpu",
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "cores": len(os.sched_getaffinity(0)),
        "small": given.small,
    }
    failed = []
    for part in (loops, mult_steps, side_by_side):
        if given.only not in (None, part.__name__):
            continue
        start = time.perf_counter()
        try:
            part(found, given.device, given.small)
        except Exception:
            failed.append(part.__name__)
            found[part.__name__] = {**found.get(part.__name__, {}), "failed": traceback.format_exc()}
        print(f"[bench] {part.__name__}: {time.perf_counter() - start:.0f} s {json.dumps(found.get(part.__name__))}")
        given.out.write_text(json.dumps(found, indent=1) + "\n")
    sys.exit(1 if failed else 0)


def alternately(functions: dict[str, Callable[[], object]], rounds: int, device: str) -> dict[str, float]:
    """The median seconds of each, after one call that warms up."""
    times: dict[str, list[float]] = {name: [] for name in functions}
    for turn in range(rounds + 1):
        for name, function in functions.items():
            wait(device)
            start = time.perf_counter()
            function()
            wait(device)
            if turn:
                times[name].append(time.perf_counter() - start)
    return {name: statistics.median(own) for name, own in times.items()}


def wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


# --- the loop ---------------------------------------------------------------------------------------------------------


def loops(found: dict[str, Any], device: str, small: bool) -> None:
    """Three epochs by the harness, and by a loop as a careful user writes it: the same batches and optimiser."""
    found["loops"] = {}
    for dataset, row in (("digits", "late-fusion"), ("cohort", "late-fusion"), ("wrist", "mult")):
        epochs = 1 if small else 3
        request = Request(dataset, row, 0, {"training.epochs": epochs, "training.patience": None}, device=device)
        cell = make_cell(request, resolve(registry(), dataset, row, request.overrides))
        splits = {name: open_split(cell.prepared, name, cell.recipe.task) for name in ("train", "valid")}
        seconds = alternately(
            {"harness": lambda: ours(cell, splits, device), "bare": lambda: bare(cell, splits, device)},  # noqa: B023
            1 if small else 3,
            device,
        )
        found["loops"][f"{row} on {dataset}"] = {**seconds, "ratio": seconds["harness"] / seconds["bare"]}


def ours(cell: Any, splits: dict[str, Any], device: str) -> None:
    torch.manual_seed(0)
    model, objective = build(cell.recipe)
    metric = load_target(next(iter(cell.recipe.metrics.values())))
    settings = Settings(
        cell.recipe.training, cell.recipe.task, objective, lambda p, t: float(metric(p, t)), 1, seeds(0),
        make_accelerator(device),
    )  # fmt: skip
    train(model, TrainingData(splits["train"], splits["valid"], cell.recipe.task, {}), settings)


def bare(cell: Any, splits: dict[str, Any], device: str) -> None:
    torch.manual_seed(0)
    model, _ = build(cell.recipe)
    model.to(device)
    plan, order = cell.recipe.training, seeds(0)["order"]
    metric = load_target(next(iter(cell.recipe.metrics.values())))
    tensors = {
        split: {name: (column.all(), column.lengths) for name, column in rows.columns.items()}
        for split, rows in splits.items()
    }

    def batch(split: str, index: torch.Tensor) -> tuple[dict[str, Any], dict[str, Any]]:
        inputs, spans = {}, {}
        for name, (values, lengths) in tensors[split].items():
            own = None if lengths is None else lengths[index]
            chosen = values[index] if own is None else values[index, : int(own.max())]
            inputs[name] = chosen.to(device, non_blocking=True)
            spans[name] = None if own is None else own.to(device, non_blocking=True)
        return inputs, spans

    optimizer = torch.optim.AdamW(model.parameters(), lr=plan.lr, weight_decay=plan.weight_decay, fused=True)
    best, kept = -1.0, None
    for epoch in range(plan.epochs):
        generator = torch.Generator().manual_seed((order + epoch * 0x9E3779B97F4A7C15) % (1 << 63))
        torch.manual_seed((order + epoch) % (1 << 63))
        model.train()
        target = splits["train"].target
        for index in torch.randperm(len(target), generator=generator).split(plan.batch_size):
            if len(index) == 1:
                continue
            own = target[index].to(device, non_blocking=True)
            loss = nn.functional.cross_entropy(model(*batch("train", index)).prediction, own)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), plan.clip)
            optimizer.step()
        model.eval()
        with torch.no_grad():
            rows = torch.arange(len(splits["valid"])).split(4 * plan.batch_size)
            said = torch.cat([model(*batch("valid", index)).prediction.softmax(-1).cpu() for index in rows])
        score = float(metric(said.numpy(), splits["valid"].target.numpy()))
        if score > best:
            best, kept = score, {name: value.clone() for name, value in model.state_dict().items()}
    model.load_state_dict(kept or {})


# --- mult -------------------------------------------------------------------------------------------------------------


def mult_steps(found: dict[str, Any], device: str, small: bool) -> None:
    """Forward and backward of 64 rows, as the paper's CMU-MOSEI model is wide, in full precision and in bfloat16."""
    found["mult_steps"] = {}
    rows, features = (2 if small else 64), (300, 74, 35)
    for name, lengths in {"50/50/50": (50, 50, 50), "50/500/375": (50, 500, 375)}.items():
        torch.manual_seed(0)
        model = MulT(list(features), width=40, heads=8, layers=1 if small else 4, dropout=0.0).to(device)
        inputs = [torch.randn(rows, steps, size, device=device) for steps, size in zip(lengths, features, strict=True)]

        def step(precision: str, model: nn.Module = model, inputs: list[torch.Tensor] = inputs) -> None:
            model.zero_grad(set_to_none=True)
            place = torch.device(device)
            with computing_in(precision, place):
                with unchanged_weights(place):
                    loss = model(inputs, [None] * 3).float().square().mean()
                with in_full_precision(place):
                    loss.backward()

        seen: dict[str, Any] = {}
        for precision in ("fp32", "bf16"):
            if device == "cuda":
                torch.cuda.reset_peak_memory_stats()
            step(precision)
            if device == "cuda":
                seen[f"{precision} bytes"] = torch.cuda.max_memory_allocated()
        found["mult_steps"][name] = seen | alternately(
            {"fp32": lambda: step("fp32"), "bf16": lambda: step("bf16")},
            1 if small else 10,
            device,
        )


# --- cells side by side -----------------------------------------------------------------------------------------------


def side_by_side(found: dict[str, Any], device: str, small: bool) -> None:
    """Wall seconds of eight cells of late fusion on digits (eight epochs), the command and its start included."""
    found["side_by_side"] = {}
    cells, epochs = (2, 1) if small else (8, 8)
    for jobs in ("8", "4", "default", "1"):
        with tempfile.TemporaryDirectory() as folder:
            command = [
                sys.executable, "-c", "from braidbench.cli import main; main()", "run", "digits", "late-fusion",
                "--seeds", str(cells), "--epochs", str(epochs), "--device", device, "--results", folder,
                *([] if jobs == "default" else ["--jobs", jobs]),
            ]  # fmt: skip
            start = time.perf_counter()
            done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
            print(f"[bench] jobs {jobs}: {time.perf_counter() - start:.1f} s", flush=True)
            found["side_by_side"][f"jobs {jobs}"] = {
                "seconds": time.perf_counter() - start,
                "exit code": done.returncode,
                "end": "" if done.returncode == 0 else (done.stdout + done.stderr)[-500:],
            }


if __name__ == "__main__":
    main()
