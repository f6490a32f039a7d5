"""Low-rank tensor fusion: time and memory by the number of modalities, and against the tensor that it never forms."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import torch

from braidbench_multizoo.fusions.tensor import LowRankTensorFusion, TensorFusion

WIDTH, BATCH = 64, 256


def step(modalities: int, batch: int = BATCH):
    """A forward and backward pass of representations of 64 numbers to 64, rank 16."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    fusion = LowRankTensorFusion([WIDTH] * modalities, out_dim=64, rank=16)
    values = [torch.randn(batch, WIDTH, requires_grad=True) for _ in range(modalities)]
    return lambda: fusion(values).sum().backward()


@pytest.mark.parametrize("modalities", [4, 10, 20])
def test_time_by_modalities(ratio, modalities):
    ratio(step(modalities), step(2), 30, f"{modalities / 2:g} is linear")


def full(modalities: int, width: int):
    """The same by the full tensor and a linear layer on it."""
    fusion = TensorFusion([width] * modalities, limit=1 << 30)
    layer = torch.nn.Linear(fusion.out_dim, 64)
    values = [torch.randn(BATCH, width, requires_grad=True) for _ in range(modalities)]
    return lambda: layer(fusion(values)).sum().backward()


@pytest.mark.parametrize(("modalities", "width"), [(2, 64), (3, 16), (4, 8)])
def test_time_against_the_full_tensor(ratio, modalities, width):
    torch.set_num_threads(1)
    low = LowRankTensorFusion([width] * modalities, out_dim=64, rank=16)
    values = [torch.randn(BATCH, width, requires_grad=True) for _ in range(modalities)]
    target = f"{(width + 1) ** modalities:,} numbers in the tensor"
    ratio(lambda: low(values).sum().backward(), full(modalities, width), 30, target)


MEMORY = """
import json, sys
sys.path.insert(0, {folder!r})
from test_low_rank import step
from braidbench.evaluation.complexity import PeakMemory
import torch
step(2)()
run = step({modalities}, 1024)
memory = PeakMemory(torch.device("cpu"))
run()
print(json.dumps(memory.host()))
"""


def test_memory_by_modalities(benchmark, note):
    """What a process needs beyond the one with two modalities, by further modality: the same at 6, 11 and 20."""
    from pathlib import Path

    def peak(modalities: int) -> int:
        code = MEMORY.format(folder=str(Path(__file__).parent), modalities=modalities)
        done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
        return int(json.loads(done.stdout.splitlines()[-1]))

    least = peak(2)
    found = {modalities: (peak(modalities) - least) / (modalities - 2) / 1e6 for modalities in (6, 11, 20)}
    benchmark.extra_info |= {f"megabytes_a_modality_at_{modalities}": size for modalities, size in found.items()}
    sizes = ", ".join(f"{size:.1f} at {modalities}" for modalities, size in found.items())
    note(f"low-rank fusion, MB for each further modality: {sizes} (equal is linear)")
    benchmark.pedantic(lambda: None, rounds=1)
