"""Steps a second of the recurrent fusions against torch.nn.LSTM as wide as all their cells together."""

from __future__ import annotations

import statistics
import time

import pytest
import torch
from torch import nn

from braidbench_multizoo.fusions.recurrent.marn import MARN
from braidbench_multizoo.fusions.recurrent.memory import MFN, GraphMFN
from braidbench_multizoo.fusions.recurrent.multiview import MVLSTM
from braidbench_multizoo.fusions.recurrent.rmfn import RMFN

ROWS, STEPS, WIDTHS, HIDDEN = 32, 50, [300, 74, 35], 32
"""A batch of word-aligned sequences of MOSI's sizes."""

MODELS = {
    "separate LSTMs": lambda: RMFN(WIDTHS, HIDDEN, multistage=False),
    "mv-lstm": lambda: MVLSTM(WIDTHS, HIDDEN),
    "rmfn of 1 stage, no highlight": lambda: RMFN(WIDTHS, HIDDEN, stages=1, highlight=False),
    "marn": lambda: MARN(WIDTHS, HIDDEN),
    "mfn": lambda: MFN(WIDTHS, HIDDEN),
    "graph-mfn": lambda: GraphMFN(WIDTHS, HIDDEN),
    "rmfn of 3 stages": lambda: RMFN(WIDTHS, HIDDEN),
}


def inputs():
    generator = torch.Generator().manual_seed(0)
    values = [torch.randn(ROWS, STEPS, width, generator=generator) for width in WIDTHS]
    return values, [torch.randint(1, STEPS + 1, (ROWS,), generator=generator) for _ in WIDTHS]


@pytest.mark.parametrize("name", MODELS)
def test_steps_a_second_against_torch_lstm(ratio, note, name):
    torch.set_num_threads(1)
    values, lengths = inputs()
    module = MODELS[name]()
    lstm = nn.LSTM(sum(WIDTHS), HIDDEN * len(WIDTHS), batch_first=True)
    joined = torch.cat(values, 2)

    def ours():
        module.zero_grad()
        module(values, lengths).sum().backward()

    def theirs():
        lstm.zero_grad()
        lstm(joined)[0][:, -1].sum().backward()

    ratio(ours, theirs, 15, "forward and backward, of one LSTM of equal width; no target")
    spent = []
    for _ in range(15):
        start = time.perf_counter()
        ours()
        spent.append(time.perf_counter() - start)
    note(f"{name}: {STEPS / statistics.median(spent):,.0f} steps a second in training, {ROWS} rows a step")


def test_inputs_projected_before_the_loop_against_in_it(ratio):
    """The same cells with each step's inputs projected at its turn, one modality after the other."""
    torch.set_num_threads(1)
    values, _ = inputs()
    module = MODELS["separate LSTMs"]()
    cells = [nn.LSTMCell(width, HIDDEN) for width in WIDTHS]

    def ours():
        module.zero_grad()
        module(values, [None] * 3).sum().backward()

    def step_by_step():
        total = torch.zeros(())
        for cell, x in zip(cells, values, strict=True):
            cell.zero_grad()
            state = None
            for one in x.unbind(1):
                state = cell(one, state)
            assert state is not None
            total = total + state[0].sum()
        total.backward()

    ratio(ours, step_by_step, 15, "below 1")
