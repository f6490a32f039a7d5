"""Every method in bfloat16, through the real life of a cell: trained, validated, tested, stored."""

from __future__ import annotations

import math
import os
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

import braidbench
from braid_toy.shapes import serving
from braidbench.assembly import build, preprocessing
from braidbench.data import open_split
from braidbench.precision import as_float32, computing_in
from braidbench.preparation import prepare
from braidbench.recipe import resolve
from braidbench.registry import registry
from braidbench.specs import Task
from braidbench_multizoo import register_methods
from braidbench_multizoo.ensembles import vote

METHODS = sorted(method.name for method in register_methods())

QUICK = {"mfas": {"procedure.levels": 1, "procedure.iterations": 1, "procedure.samples": 2}}
"""What a search leaves out where one training run is the matter."""


@pytest.mark.parametrize("method", METHODS)
def test_every_method_ends_ok_in_bfloat16(method, tmp_path):
    dataset, row = serving(method)
    options = {"overrides": {"training.epochs": 1, **QUICK.get(method, {})}, "results": tmp_path, "device": "cpu"}
    result = braidbench.run(dataset, row, precision="bf16", **options)
    assert (result.status, result.reason) == ("ok", None), "\n".join(result.log_tail)
    assert all(score is not None and math.isfinite(score) for score in result.scores.values())
    column = pq.read_table(f"{result.path}/predictions.parquet")["prediction"]
    assert column.type == pa.list_(pa.float32())
    prediction = np.array(column.to_pylist())
    assert np.isfinite(prediction).all()
    np.testing.assert_allclose(prediction.sum(1), 1, atol=1e-5, err_msg="rounded after the softmax")


@pytest.mark.parametrize("method", METHODS)
def test_every_loss_is_taken_in_float32(method):
    """From an output in bfloat16, the task's loss has the very bits that the objective gives outside of autocast."""
    dataset, row = serving(method)
    recipe = resolve(registry(), dataset, row, {})
    torch.manual_seed(0)
    model, objective = build(recipe)
    split = preprocessing(recipe)(open_split(prepare(recipe.dataset), "train", recipe.task))
    batch = split.batch(torch.arange(16))
    with computing_in("bf16", torch.device("cpu")):
        output = model.train()(batch.inputs, batch.lengths)
        terms = objective(output, batch, model)
    assert {name: term.dtype for name, term in terms.items()} == dict.fromkeys(terms, torch.float32)
    assert all(term.isfinite() for term in terms.values())
    plain = objective(as_float32(output), batch, model)
    assert torch.equal(terms["task"], plain["task"])


def test_a_vote_in_bfloat16_is_decided_by_the_mean_probability():
    """Two voters, one vote each, and a lead in the mean probability that bfloat16 cannot hold beside the votes."""
    task = Task("y", "classification", ("toy/accuracy",), classes=("a", "b"))
    logits = torch.tensor([[[2.0, 0.0]], [[0.0, 2.015625]]], dtype=torch.bfloat16)
    assert vote(logits, task).argmax(1).tolist() == [1]


def test_recurrent_layers_in_bfloat16_on_a_cpu_without_avx512():
    """oneDNN refuses them there; a variable of its own makes this CPU one of those."""
    program = (
        "import torch\n"
        "from braidbench.precision import computing_in\n"
        "with computing_in('bf16', torch.device('cpu')):\n"
        "    assert torch.nn.LSTM(3, 4)(torch.randn(5, 2, 3))[0].isfinite().all()\n"
        "assert torch.backends.mkldnn.enabled\n"
    )
    environment = {**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX2"}
    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True, timeout=120, env=environment)
