"""The training loop against a hand-written PyTorch loop: same model, same data, same batches, same order."""

from __future__ import annotations

import json
import subprocess
import sys
import time

import pytest
import torch

from braidbench.assembly import build
from braidbench.cell import Request, make_cell, seeds
from braidbench.data import TrainingData, open_split
from braidbench.errors import BraidbenchError
from braidbench.recipe import resolve
from braidbench.registry import load_target, registry
from braidbench.training import Settings, make_accelerator, train

EPOCHS = 3


def prepared(dataset: str, row: str = "late-fusion"):
    torch.set_num_threads(1)
    try:
        request = Request(dataset, row, 0, {"training.epochs": EPOCHS, "training.patience": None}, device="cpu")
        cell = make_cell(request, resolve(registry(), dataset, row, request.overrides))
    except BraidbenchError as error:
        pytest.skip(str(error))
    splits = {name: open_split(cell.prepared, name, cell.recipe.task) for name in ("train", "valid")}
    return cell, splits


def ours(cell, splits):
    torch.manual_seed(0)
    model, objective = build(cell.recipe)
    metric = load_target(next(iter(cell.recipe.metrics.values())))
    settings = Settings(
        cell.recipe.training, cell.recipe.task, objective, lambda p, t: float(metric(p, t)), 1, seeds(0),
        make_accelerator("cpu"),
    )  # fmt: skip
    train(model, TrainingData(splits["train"], splits["valid"], cell.recipe.task, {}), settings)
    return model


def bare(cell, splits, fused=None):
    """What a careful user writes by hand: index, forward, backward, clip, step, validate, keep the best."""
    torch.manual_seed(0)
    model, _ = build(cell.recipe)
    plan, order_seed = cell.recipe.training, seeds(0)["order"]
    metric = load_target(next(iter(cell.recipe.metrics.values())))
    tensors, lengths, targets = {}, {}, {}
    for split, rows in splits.items():
        tensors[split] = {name: column.all() for name, column in rows.columns.items()}
        lengths[split] = {name: column.lengths for name, column in rows.columns.items()}
        targets[split] = rows.target

    def batch(split, index):
        inputs, spans = {}, {}
        for name, values in tensors[split].items():
            spans[name] = None if lengths[split][name] is None else lengths[split][name][index]
            inputs[name] = values[index] if spans[name] is None else values[index, : int(spans[name].max())]
        return inputs, spans

    optimizer = torch.optim.AdamW(model.parameters(), lr=plan.lr, weight_decay=plan.weight_decay, fused=fused)
    best, kept = -1.0, None
    for epoch in range(plan.epochs):
        generator = torch.Generator().manual_seed((order_seed + epoch * 0x9E3779B97F4A7C15) % (1 << 63))
        torch.manual_seed((order_seed + epoch) % (1 << 63))
        model.train()
        for index in torch.randperm(len(targets["train"]), generator=generator).split(plan.batch_size):
            if len(index) == 1:
                continue
            loss = torch.nn.functional.cross_entropy(model(*batch("train", index)).prediction, targets["train"][index])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), plan.clip)
            optimizer.step()
        model.eval()
        with torch.no_grad():
            rows = torch.arange(len(targets["valid"])).split(4 * plan.batch_size)
            prediction = torch.cat([model(*batch("valid", index)).prediction.softmax(-1) for index in rows])
        score = float(metric(prediction.numpy(), targets["valid"].numpy()))
        if score > best:
            best, kept = score, {name: value.clone() for name, value in model.state_dict().items()}
    model.load_state_dict(kept)
    return model


@pytest.mark.parametrize("dataset", ["digits", "cohort"])
def test_loop_against_bare_pytorch(ratio, dataset):
    cell, splits = prepared(dataset)
    first, second = ours(cell, splits), bare(cell, splits, fused=True)
    for name, value in first.state_dict().items():
        assert torch.equal(value, second.state_dict()[name]), "the two loops must do the same work to be compared"
    ratio(lambda: ours(cell, splits), lambda: bare(cell, splits), 7, "at most 1.05, aim 1.02")


@pytest.mark.parametrize("dataset", ["digits", "cohort"])
def test_loading_against_a_training_step(benchmark, note, dataset):
    cell, splits = prepared(dataset)
    size = cell.recipe.training.batch_size
    start = time.perf_counter()
    batches = sum(1 for _ in splits["train"].shuffled(size, 0, 0))
    loading = (time.perf_counter() - start) / batches
    start = time.perf_counter()
    ours(cell, splits)
    step = (time.perf_counter() - start) / (EPOCHS * batches)
    benchmark.extra_info["share"] = loading / step
    share = f"{loading * 1e6:.0f} µs of a step of {step * 1e6:.0f} µs = {loading / step:.1%}"
    note(f"loading {dataset}: {share} (at most 5 %)")
    benchmark.pedantic(lambda: list(splits["train"].shuffled(size, 0, 0)), rounds=3)


MEMORY = """
import json, sys
sys.path.insert(0, {folder!r})
from test_training import bare, ours, prepared
from braidbench.evaluation.complexity import PeakMemory
import torch
cell, splits = prepared({dataset!r})
memory = PeakMemory(torch.device("cpu"))
{function}(cell, splits)
print(json.dumps(memory.host()))
"""


@pytest.mark.parametrize("dataset", ["digits", "cohort"])
def test_peak_memory_against_bare_pytorch(benchmark, note, dataset):
    from pathlib import Path

    prepared(dataset)

    def peak(function: str) -> int:
        code = MEMORY.format(folder=str(Path(__file__).parent), dataset=dataset, function=function)
        done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
        return int(json.loads(done.stdout.splitlines()[-1]))

    mine, other = peak("ours"), peak("bare")
    benchmark.extra_info["ratio"] = mine / other
    note(f"peak memory {dataset}: {mine / 1e6:.0f} MB / {other / 1e6:.0f} MB = {mine / other:.3f} (at most 1.2)")
    benchmark.pedantic(lambda: None, rounds=1)
