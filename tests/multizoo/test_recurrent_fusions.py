"""Recurrent fusions against slow loops from the papers' equations: one row, one step, one modality, one gate a time.

The loops are numpy in float64 and share nothing with the implementations but the weights. A row's loop ends at the
row's own last step, and nothing in it knows of padding.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from braidbench.errors import UsageError
from braidbench.specs import Modality, Task
from braidbench_multizoo.fusions.recurrent.gated import GMELSTM
from braidbench_multizoo.fusions.recurrent.marn import MARN
from braidbench_multizoo.fusions.recurrent.memory import MFN, GraphMFN
from braidbench_multizoo.fusions.recurrent.multiview import MVLSTM
from braidbench_multizoo.fusions.recurrent.raven import RAVEN
from braidbench_multizoo.fusions.recurrent.rmfn import RMFN
from braidbench_multizoo.fusions.recurrent.stacked import ContextualLSTM, EarlyLSTM
from braidbench_multizoo.fusions.recurrent.steps import Stepwise

Array = NDArray[np.float64]
Weights = dict[str, Array]
Row = list[list[Array]]
"""steps × modalities × numbers"""

DIMS = [3, 2, 4]
LONGEST = 6
LENGTHS = [[6, 4, 1, 0, 5], [5, 6, 2, 0, 0], [6, 1, 3, 0, 2]]
"""Of three modalities, by row: full, ended early, all but one empty, and a row without any step."""


def draw(dims: list[int] = DIMS, rows: int = 5, seed: int = 0) -> tuple[list[Tensor], list[Tensor | None]]:
    """Sequences with garbage in the padding, infinities and NaN included."""
    generator = torch.Generator().manual_seed(seed)
    values, spans = [], []
    for index, width in enumerate(dims):
        x = torch.randn(rows, LONGEST, width, dtype=torch.float64, generator=generator)
        length = torch.tensor(LENGTHS[index % 3][:rows])
        for row, end in enumerate(length.tolist()):
            x[row, end:] = (math.nan, math.inf, 1e6)[row % 3]
        values.append(x)
        spans.append(length)
    return values, list(spans)


def row_of(values: list[Tensor], spans: list[Tensor | None], row: int) -> Row:
    """One row's steps: a modality that ended gives zeros, and the longest one decides how many there are."""
    ends = [x.shape[1] if span is None else int(span[row]) for x, span in zip(values, spans, strict=True)]
    return [
        [x[row, t].numpy() if t < end else np.zeros(x.shape[2]) for x, end in zip(values, ends, strict=True)]
        for t in range(max(ends))
    ]


def weights_of(module: nn.Module) -> Weights:
    return {name: parameter.detach().numpy() for name, parameter in module.named_parameters()}


def sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def softmax(x: Array) -> Array:
    e = np.exp(x - x.max())
    return np.asarray(e / e.sum())


def relu(x: Array) -> Array:
    return np.maximum(x, 0)


def linear(w: Weights, name: str, x: Array) -> Array:
    """A torch.nn.Linear by its weight (out, in) and bias."""
    return np.asarray(w[f"{name}.weight"] @ x + w[f"{name}.bias"])


def gate(gates: Array, index: int) -> Array:
    """One of four: input, forget, output, proposal."""
    size = len(gates) // 4
    return gates[index * size : (index + 1) * size]


def cell(gates: Array, memory: Array) -> tuple[Array, Array]:
    """Equations 8.7–8.12, from the gates before activation."""
    i, f, o = (sigmoid(gate(gates, index)) for index in range(3))
    memory = f * memory + i * np.tanh(gate(gates, 3))
    return o * np.tanh(memory), memory


def hybrid(w: Weights, m: int, x: Array, h: Array, z: Array | None, memory: Array) -> tuple[Array, Array]:
    """An LSTHM of modality m, or an LSTM without z."""
    gates = x @ w[f"cells.inputs.{m}"] + h @ w[f"cells.recurrent.{m}"] + w[f"cells.biases.{m}"]
    if z is not None:
        gates = gates + z @ w[f"cells.cross.{m}"]
    return cell(gates, memory)


def torch_lstm(w: Weights, name: str, inputs: list[Array]) -> list[Array]:
    """A torch.nn.LSTM layer: its gates are in the order input, forget, proposal, output."""
    size = len(w[f"{name}.bias_hh_l0"]) // 4
    h = memory = np.zeros(size)
    given = []
    for x in inputs:
        gates = (
            w[f"{name}.weight_ih_l0"] @ x
            + w[f"{name}.bias_ih_l0"]
            + w[f"{name}.weight_hh_l0"] @ h
            + w[f"{name}.bias_hh_l0"]
        )
        i, f, proposal, o = (gate(gates, index) for index in range(4))
        memory = sigmoid(f) * memory + sigmoid(i) * np.tanh(proposal)
        h = sigmoid(o) * np.tanh(memory)
        given.append(h)
    return given


# --- the loops --------------------------------------------------------------------------------------------------------


def loop_rmfn(module: RMFN, w: Weights, row: Row) -> Array:
    widths = module.cells.hidden
    h = [np.zeros(size) for size in widths]
    c = [np.zeros(size) for size in widths]
    process = module.process
    z = np.zeros(module.code) if process is not None else None
    for xs in row:
        new = [hybrid(w, m, x, h[m], z, c[m]) for m, x in enumerate(xs)]
        h, c = [one for one, _ in new], [one for _, one in new]
        if process is None:
            continue
        together = np.concatenate(h)
        size = len(together)
        memory, output, attention = np.zeros(0), np.zeros(size), np.zeros(size)
        if process.highlight is not None:
            memory = np.tanh(linear(w, "process.highlight.memory", together))
        fuse_memory = w["process.fuse.memory"][0]
        s: list[Array] = []
        for k in range(process.stages):
            signals = together
            if process.highlight is not None:
                gates = w["process.highlight.bias"]
                if k:
                    recurrent = w["process.highlight.recurrent"]
                    gates = gates + attention @ recurrent[:size] + output @ recurrent[size:]
                output, memory = cell(gates, memory)
                attention = softmax(output)
                signals = together * attention
            gates = signals @ w["process.fuse.weight"] + w["process.fuse.bias"]
            if k:
                gates = gates + s[-1] @ w["process.fuse.recurrent"]
            result, fuse_memory = cell(gates, fuse_memory)
            s.append(result)
        z = np.tanh(linear(w, "process.summarize", np.concatenate(s)))
    return np.concatenate([*h, *([z] if z is not None else [])])


def loop_marn(module: MARN, w: Weights, row: Row) -> Array:
    widths, count = module.cells.hidden, module.attentions
    h = [np.zeros(size) for size in widths]
    c = [np.zeros(size) for size in widths]
    z = np.zeros(module.code)
    for xs in row:
        new = [hybrid(w, m, x, h[m], z, c[m]) for m, x in enumerate(xs)]
        h, c = [one for one, _ in new], [one for _, one in new]
        together = np.concatenate(h)
        scores = linear(w, "attend", together).reshape(count, -1)
        attended = [together * softmax(scores[k]) for k in range(count)]
        reduced = []
        start = 0
        for m, size in enumerate(widths):
            left = np.concatenate([one[start : start + size] for one in attended])
            reduced.append(relu(linear(w, f"reduce.{m}", left)))
            start += size
        z = np.tanh(linear(w, "encode", np.concatenate(reduced)))
    return np.concatenate([*h, z])


def remember(w: Weights, x: Array, u: Array, gates_see_memory: bool) -> Array:
    """The multi-view gated memory's move."""

    def network(index: int, read: Array) -> Array:
        return linear(w, f"gated.second.{index}", relu(linear(w, f"gated.first.{index}", read)))

    seen = np.concatenate([x, u]) if gates_see_memory else x
    return np.asarray(sigmoid(network(1, seen)) * u + sigmoid(network(2, seen)) * np.tanh(network(0, x)))


def loop_mfn(module: MFN, w: Weights, row: Row) -> Array:
    widths = module.cells.hidden
    h = [np.zeros(size) for size in widths]
    c = [np.zeros(size) for size in widths]
    u = np.zeros(module.memory)
    for xs in row:
        new = [hybrid(w, m, x, h[m], None, c[m]) for m, x in enumerate(xs)]
        delta = np.concatenate([*c, *(one for _, one in new)])
        h, c = [one for one, _ in new], [one for _, one in new]
        attention = softmax(linear(w, "attend.3", relu(linear(w, "attend.0", delta))))
        u = remember(w, delta * attention, u, module.gated.gates_see_memory)
    return np.concatenate([*h, u])


def loop_graph_mfn(module: GraphMFN, w: Weights, row: Row) -> Array:
    widths = module.cells.hidden
    h = [np.zeros(size) for size in widths]
    c = [np.zeros(size) for size in widths]
    u = np.zeros(module.memory)
    everyone = range(len(widths))
    for xs in row:
        new = [hybrid(w, m, x, h[m], None, c[m]) for m, x in enumerate(xs)]
        vertices: dict[tuple[int, ...], Array] = {
            (m,): relu(linear(w, f"singletons.{m}", np.concatenate([c[m], new[m][1]]))) for m in everyone
        }
        h, c = [one for one, _ in new], [one for _, one in new]
        hidden = relu(linear(w, "graph.efficacies.0", np.concatenate([vertices[(m,)] for m in everyone])))
        efficacies = iter(sigmoid(linear(w, "graph.efficacies.2", hidden)))
        number = 0
        for size in range(2, len(widths) + 1):
            for subset in itertools.combinations(everyone, size):
                below = [s for k in range(1, size) for s in itertools.combinations(subset, k)]
                read = np.concatenate([vertices[s] * next(efficacies) for s in below])
                vertices[subset] = relu(linear(w, f"graph.networks.{number}", read))
                number += 1
        top = linear(w, "graph.out", np.concatenate([vertex * next(efficacies) for vertex in vertices.values()]))
        assert next(efficacies, None) is None, "every efficacy belongs to an edge"
        u = remember(w, top, u, module.gated.gates_see_memory)
    return np.concatenate([*h, u])


def loop_mv_lstm(module: MVLSTM, w: Weights, row: Row, alpha: float = 1.0, beta: float = 1.0) -> Array:
    widths = module.cells.hidden
    h = [np.zeros(size) for size in widths]
    c = [np.zeros(size) for size in widths]
    for xs in row:
        new = []
        for m, x in enumerate(xs):
            seen = np.concatenate(
                [
                    one[: math.ceil(alpha * len(one))] if n == m else one[len(one) - math.ceil(beta * len(one)) :]
                    for n, one in enumerate(h)
                ]
            )
            gates = x @ w[f"cells.inputs.{m}"] + seen @ w[f"cells.recurrent.{m}"] + w[f"cells.biases.{m}"]
            new.append(cell(gates, c[m]))
        h, c = [one for one, _ in new], [one for _, one in new]
    return np.concatenate(h)


def loop_early(module: EarlyLSTM, w: Weights, row: Row) -> Array:
    if not row:
        return np.zeros(module.out_dim)
    ahead = [np.concatenate(xs) for xs in row]
    last = np.zeros(0)
    for layer in range(len(module.lstm.forwards)):
        below = ahead
        ahead = torch_lstm(w, f"lstm.forwards.{layer}", below)
        last = ahead[-1]
        if module.lstm.backwards:
            behind = torch_lstm(w, f"lstm.backwards.{layer}", below[::-1])[::-1]
            last = np.concatenate([last, behind[0]])
            ahead = [np.concatenate(pair) for pair in zip(ahead, behind, strict=True)]
    return last


def loop_bc_lstm(module: ContextualLSTM, w: Weights, row: Row) -> Array:
    if not row:
        return np.zeros(module.out_dim)

    def both(name: str, inputs: list[Array]) -> tuple[list[Array], list[Array]]:
        ahead = torch_lstm(w, f"{name}.forwards.0", inputs)
        return ahead, torch_lstm(w, f"{name}.backwards.0", inputs[::-1])[::-1]

    dense = []
    for m in range(len(row[0])):
        ahead, behind = both(f"contexts.{m}", [xs[m] for xs in row])
        dense.append([np.tanh(linear(w, f"dense.{m}", np.concatenate(p))) for p in zip(ahead, behind, strict=True)])
    ahead, behind = both("fused", [np.concatenate(xs) for xs in zip(*dense, strict=True)])
    return np.concatenate([ahead[-1], behind[0]])


def loop_gme_lstm(module: GMELSTM, w: Weights, row: Row) -> Array:
    if not row:
        return np.zeros(module.out_dim)
    inputs = []
    for xs in row:
        gated = []
        for m, x in enumerate(xs):
            if m == module.language:
                gated.append(x)
                continue
            odds = linear(w, f"controllers.{m}.2", relu(linear(w, f"controllers.{m}.0", x)))
            gated.append(x * (sigmoid(odds) if module.gate == "soft" else odds > 0))
        inputs.append(np.concatenate(gated))
    states = torch_lstm(w, "lstm.forwards.0", inputs)
    scores = np.array([(w["score.2.weight"] @ np.tanh(linear(w, "score.0", h)))[0] for h in states])
    return np.asarray(sum(a * h for a, h in zip(softmax(scores), states, strict=True)))


def loop_raven(module: RAVEN, w: Weights, row: Row) -> Array:
    if not row:
        return np.zeros(module.out_dim)
    others = [m for m in range(len(row[0])) if m != module.language]
    states = [torch_lstm(w, f"nonverbal.{n}.forwards.0", [xs[m] for xs in row]) for n, m in enumerate(others)]
    shifted = []
    for t, xs in enumerate(row):
        word = xs[module.language]
        mixed = [sigmoid(linear(w, f"weights.{n}", np.concatenate([h[t], word]))) * h[t] for n, h in enumerate(states)]
        shift = linear(w, "shift", np.concatenate(mixed))
        alpha = min(float(np.linalg.norm(word) / np.linalg.norm(shift)) * module.beta, 1.0)
        shifted.append(word + alpha * shift)
    return torch_lstm(w, "lstm.forwards.0", shifted)[-1]


Case = tuple[type[Stepwise], dict[str, Any], Callable[..., Array]]

MODELS: dict[str, Case] = {
    "rmfn": (RMFN, {"hidden": (3, 5, 2), "fuse": 4, "code": 3}, loop_rmfn),
    "rmfn-even": (RMFN, {"hidden": 3, "fuse": 2, "code": 5, "stages": 2}, loop_rmfn),
    "rmfn-one-stage": (RMFN, {"hidden": (3, 5, 2), "fuse": 4, "code": 3, "stages": 1}, loop_rmfn),
    "rmfn-six-stages": (RMFN, {"hidden": 2, "fuse": 4, "code": 3, "stages": 6}, loop_rmfn),
    "rmfn-no-mfp": (RMFN, {"hidden": (3, 5, 2), "multistage": False}, loop_rmfn),
    "rmfn-no-highlight": (RMFN, {"hidden": (3, 5, 2), "fuse": 4, "code": 3, "highlight": False}, loop_rmfn),
    "lsthm-plain-fuse": (RMFN, {"hidden": 3, "fuse": 4, "code": 3, "stages": 1, "highlight": False}, loop_rmfn),
    "marn": (MARN, {"hidden": (3, 5, 2), "attentions": 2, "reduced": 3, "code": 4}, loop_marn),
    "marn-even": (MARN, {"hidden": 3, "attentions": 4, "reduced": 5, "code": 2}, loop_marn),
    "mfn": (MFN, {"hidden": (3, 5, 2), "memory": 4, "inner": 6}, loop_mfn),
    "mfn-released": (MFN, {"hidden": 3, "memory": 4, "inner": 6, "gates_see_memory": True}, loop_mfn),
    "graph-mfn": (GraphMFN, {"hidden": (3, 5, 2), "vertex": 4, "memory": 3, "inner": 5}, loop_graph_mfn),
    "graph-mfn-released": (GraphMFN, {"hidden": 3, "vertex": 6, "gates_see_memory": True}, loop_graph_mfn),
    "mv-lstm": (MVLSTM, {"hidden": (3, 5, 2)}, loop_mv_lstm),
    "ef-lstm": (EarlyLSTM, {"hidden": 4}, loop_early),
    "ef-slstm": (EarlyLSTM, {"hidden": 4, "layers": 3}, loop_early),
    "ef-blstm": (EarlyLSTM, {"hidden": 4, "bidirectional": True}, loop_early),
    "ef-sblstm": (EarlyLSTM, {"hidden": 4, "layers": 2, "bidirectional": True}, loop_early),
    "bc-lstm": (ContextualLSTM, {"hidden": (3, 5, 2), "dense": 4, "fused": 3}, loop_bc_lstm),
    "gme-lstm": (GMELSTM, {"hidden": 4, "inner": 3}, loop_gme_lstm),
    "gme-lstm-soft": (GMELSTM, {"hidden": 4, "inner": 3, "gate": "soft", "language": 2}, loop_gme_lstm),
    "gme-lstm-all-gated": (GMELSTM, {"hidden": 4, "inner": 3, "language": None}, loop_gme_lstm),
    "raven": (RAVEN, {"hidden": 4, "nonverbal": 3}, loop_raven),
    "raven-last": (RAVEN, {"hidden": 4, "nonverbal": 3, "language": 2, "beta": 0.3}, loop_raven),
}  # fmt: skip

NAMES = list(MODELS)


def make(name: str, dims: list[int] = DIMS, **changes: Any) -> tuple[Stepwise, Callable[..., Array]]:
    """The module in float64 with every weight redrawn at a scale at which each part of it matters."""
    kind, parameters, loop = MODELS[name]
    torch.manual_seed(7)
    module = kind(list(dims), **{**parameters, **changes}).double().eval()
    with torch.no_grad():
        for parameter in module.parameters():
            nn.init.normal_(parameter, std=0.8)
    return module, loop


@pytest.mark.parametrize("name", NAMES)
def test_against_the_loop(name: str) -> None:
    """Rows of all lengths at once, one without any step; the padding is full of NaN and infinities."""
    module, loop = make(name)
    values, spans = draw()
    given = module(values, spans).detach().numpy()
    w = weights_of(module)
    for row in range(5):
        expected = loop(module, w, row_of(values, spans, row))
        assert given.shape == (5, len(expected))
        np.testing.assert_allclose(given[row], expected, rtol=1e-9, atol=1e-12, err_msg=f"row {row}")


@pytest.mark.parametrize("name", NAMES)
def test_without_lengths_every_step_counts(name: str) -> None:
    """No lengths at all, and one modality that is a single step without lengths, as a vector is handed over."""
    module, loop = make(name)
    values, _ = draw()
    full = [x.nan_to_num(0.5, 0.5).clamp(-3, 3) for x in values]
    w = weights_of(module)
    for given, spans in ((full, [None] * 3), ([full[0], full[1][:, :1], full[2]], [None] * 3)):
        result = module(given, spans).detach().numpy()
        for row in (0, 4):
            np.testing.assert_allclose(result[row], loop(module, w, row_of(given, spans, row)), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", ["rmfn", "mv-lstm", "ef-blstm", "raven"])
def test_frames_are_consecutive_steps_side_by_side(name: str) -> None:
    """Four steps as one: six become two, the second half zeros; a row's steps are rounded up."""
    module, loop = make(name, frames=4)
    values, spans = draw()
    given = module(values, spans).detach().numpy()
    w = weights_of(module)
    for row in range(5):
        steps = row_of(values, spans, row)
        steps += [[np.zeros(width) for width in DIMS]] * (-len(steps) % 4)
        framed = [
            [np.concatenate([one[m] for one in steps[at : at + 4]]) for m in range(3)] for at in range(0, len(steps), 4)
        ]
        np.testing.assert_allclose(given[row], loop(module, w, framed), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_padding_and_company_change_nothing(name: str) -> None:
    """A row alone, cut to its own steps, has the representation that it has in a batch; so with more padding."""
    module, _ = make(name)
    values, spans = draw()
    together = module(values, spans)
    assert together.isfinite().all()
    more = [torch.cat([x, torch.full_like(x, math.nan)], 1) for x in values]
    torch.testing.assert_close(module(more, spans), together, rtol=1e-10, atol=1e-12)
    for row in range(5):
        ends = [int(span[row]) for span in spans if span is not None]
        alone = [x[row : row + 1, : max(end, 1)] for x, end in zip(values, ends, strict=True)]
        own = [torch.tensor([end]) for end in ends]
        torch.testing.assert_close(module(alone, list(own)), together[row : row + 1], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_after_its_last_step_a_row_is_frozen(name: str) -> None:
    """A batch that goes on for other rows leaves it as it was, and so do the gradients of what comes later."""
    module, _ = make(name)
    generator = torch.Generator().manual_seed(3)
    values = [torch.randn(2, LONGEST, width, dtype=torch.float64, generator=generator) for width in DIMS]
    short = torch.tensor([2, 2])
    first = module([x[:, :2] for x in values], [short] * 3)
    for x in values:
        x.requires_grad_()
    long = module(values, [torch.tensor([2, LONGEST])] * 3)
    torch.testing.assert_close(long[0], first[0], rtol=1e-12, atol=1e-14)
    assert (long[1] != first[1]).any()
    long[0].sum().backward()
    for x in values:
        assert x.grad is not None
        assert not x.grad[0, 2:].any()
        assert not x.grad[1].any()
    assert any(x.grad is not None and x.grad[0, :2].any() for x in values)


@pytest.mark.parametrize("name", NAMES)
def test_every_parameter_is_registered_and_trained(name: str) -> None:
    """Graph-MFN's published code hides its vertices' networks from the optimiser, RAVEN's cuts its shift off."""
    module, _ = make(name)
    module.train()
    values, spans = draw()
    assert set(dict(module.named_parameters())) == set(module.state_dict())
    for _ in range(4):
        module(values, spans).square().sum().backward()
    for parameter_name, parameter in module.named_parameters():
        assert parameter.grad is not None, parameter_name
        assert parameter.grad.isfinite().all(), parameter_name
        assert parameter.grad.any(), f"{parameter_name} has no influence"


@pytest.mark.parametrize("name", ["rmfn", "marn", "mfn", "graph-mfn", "mv-lstm"])
def test_units_that_fill_narrow_cells_are_no_parameters(name: str) -> None:
    """An LSTM of D inputs and d units has 4 d (D + d + 1) numbers; a code of Z numbers adds 4 d Z."""
    module, _ = make(name)
    cells = module.cells
    assert isinstance(cells, nn.Module)
    widths = [3, 5, 2]
    code = {"rmfn": 3, "marn": 4}.get(name, 0)
    seen = [sum(widths) if name == "mv-lstm" else own for own in widths]
    expected = sum(4 * d * (D + s + 1 + code) for D, d, s in zip(DIMS, widths, seen, strict=True))
    assert sum(p.numel() for p in cells.parameters()) == expected


# --- what each model is -----------------------------------------------------------------------------------------------


def test_rmfn_without_code_is_separate_lstms() -> None:
    """No MFP: torch.nn.LSTM with the same weights, one a modality."""
    module, _ = make("rmfn-no-mfp")
    w = dict(module.named_parameters())
    values, _ = draw()
    full = [x.nan_to_num(0.5, 0.5).clamp(-3, 3) for x in values]
    expected = []
    for m, (x, size) in enumerate(zip(full, (3, 5, 2), strict=True)):
        reference = nn.LSTM(x.shape[2], size, batch_first=True).double()

        def order(weight: Tensor) -> Tensor:
            i, f, o, proposal = weight.detach().chunk(4, -1)
            return torch.cat([i, f, proposal, o], -1)

        with torch.no_grad():
            reference.weight_ih_l0.copy_(order(w[f"cells.inputs.{m}"]).t())
            reference.weight_hh_l0.copy_(order(w[f"cells.recurrent.{m}"]).t())
            reference.bias_ih_l0.copy_(order(w[f"cells.biases.{m}"]))
            reference.bias_hh_l0.zero_()
        expected.append(reference(x)[0][:, -1])
    torch.testing.assert_close(module(full, [None] * 3), torch.cat(expected, 1), rtol=1e-10, atol=1e-12)


def test_mv_lstm_of_one_modality_is_an_lstm_and_view_specific_ones_are_separate() -> None:
    specific, _ = make("mv-lstm", beta=0.0)
    alone, _ = make("rmfn-no-mfp")
    alone.load_state_dict(specific.state_dict())
    values, spans = draw()
    torch.testing.assert_close(specific(values, spans), alone(values, spans), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(("alpha", "beta"), [(1.0, 0.0), (0.0, 1.0), (2 / 3, 1 / 3), (0.5, 0.1), (0.0, 0.0)])
def test_mv_lstm_shares(alpha: float, beta: float) -> None:
    module, loop = make("mv-lstm", alpha=alpha, beta=beta)
    values, spans = draw()
    w = weights_of(module)
    given = module(values, spans).detach().numpy()
    for row in range(5):
        expected = loop(module, w, row_of(values, spans, row), alpha, beta)
        np.testing.assert_allclose(given[row], expected, rtol=1e-9, atol=1e-12)


def test_mv_lstm_rounds_shares_in_decimal() -> None:
    """0.1 of 30 units is three, though 0.1 · 30 is a little more in floating point."""
    module = MVLSTM([2, 2], hidden=30, alpha=0.1, beta=0.7)
    assert [len(places) for places in module.cells.seen] == [3 + 21, 3 + 21]


def test_rmfn_starts_as_the_thesis_says() -> None:
    """FUSE's memory is a row of an orthogonal matrix: of length one."""
    torch.manual_seed(0)
    module = RMFN([4, 3], fuse=16)
    assert module.process is not None
    assert module.process.fuse.memory.norm().item() == pytest.approx(1.0, abs=1e-6)


def test_rmfn_highlights_are_distributions() -> None:
    module, _ = make("rmfn")
    assert isinstance(module, RMFN)
    weights = module.highlights(*draw())
    assert weights.shape == (5, LONGEST, 3, 10)
    torch.testing.assert_close(weights.sum(-1), torch.ones(5, LONGEST, 3, dtype=torch.float64))
    assert (weights[0, 0, 0] - weights[0, 0, 2]).abs().max() > 1e-3, "stages attend to different things"
    without, _ = make("rmfn-no-highlight")
    assert isinstance(without, RMFN)
    with pytest.raises(UsageError, match="highlights nothing"):
        without.highlights(*draw())


def test_rmfn_code_reaches_the_next_step_only() -> None:
    """z_1 is fed back at step 2: a model of one step is the same whatever its cross weights are."""
    module, _ = make("rmfn")
    values, _ = draw()
    full = [x.nan_to_num(0.5, 0.5).clamp(-3, 3) for x in values]
    one = [x[:, :1] for x in full]
    before_one, before_all = module(one, [None] * 3), module(full, [None] * 3)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if "cross" in name:
                parameter.zero_()
    assert torch.equal(module(one, [None] * 3), before_one)
    assert (module(full, [None] * 3) - before_all).abs().max() > 1e-3


def test_gme_gates_are_drawn_in_training_and_pass_the_gradient_of_their_probability() -> None:
    module = GMELSTM([2, 3], hidden=4, inner=3).double().train()
    open_ = module._open
    probability = torch.full((200, 5, 1), 0.3, dtype=torch.float64, requires_grad=True)
    torch.manual_seed(0)
    gate = open_(probability)
    assert set(gate.detach().round(decimals=9).unique().tolist()) == {0.0, 1.0}
    assert gate.mean().item() == pytest.approx(0.3, abs=0.06)
    gate.sum().backward()
    assert probability.grad is not None
    assert (probability.grad == 1).all()
    assert not module.eval()._open(probability).any()
    assert module._open(probability + 0.3).all()


def test_gme_shuts_a_modality_out() -> None:
    module, _ = make("gme-lstm")
    assert isinstance(module, GMELSTM)
    with torch.no_grad():
        for controller in module.controllers.values():
            controller[2].weight.zero_()  # type: ignore[index]
            controller[2].bias.fill_(-1.0)  # type: ignore[index]
    values, spans = draw()
    other = [values[0], values[1] + 1, values[2] - 2]
    assert torch.equal(module(values, spans), module(other, spans))
    assert not torch.equal(module(values, spans), module([values[0] + 1, *values[1:]], spans))


def test_raven_never_shifts_further_than_beta_words() -> None:
    """An LSTM that gives the word back would see it move by at most β of its length; a word of zeros stays."""
    module, _ = make("raven", beta=0.25)
    assert isinstance(module, RAVEN)
    values, _ = draw()
    full = [x.nan_to_num(0.5, 0.5).clamp(-3, 3) for x in values]
    full[0][1] = 0
    seen: list[Tensor] = []
    module.dropout.register_forward_hook(lambda _module, inputs, _output: seen.append(inputs[0]))
    module(full, [None] * 3)
    moved = (seen[0] - full[0]).norm(dim=2)
    words = full[0].norm(dim=2)
    assert (moved <= 0.25 * words + 1e-12).all()
    assert moved[0].max() > 0.01
    assert not moved[1].any()


def test_raven_without_a_shift_has_finite_gradients() -> None:
    """Words of zeros and a shift of length zero: both norms are 0."""
    module = RAVEN([2, 2], hidden=3, nonverbal=2)
    nn.init.zeros_(module.shift.weight)
    nn.init.zeros_(module.shift.bias)
    words = torch.zeros(2, 4, 2, requires_grad=True)
    module([words, torch.randn(2, 4, 2)], [None, None]).sum().backward()
    assert words.grad is not None
    assert words.grad.isfinite().all()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in module.parameters())


# --- what they take ---------------------------------------------------------------------------------------------------

TASK = Task("y", "classification", ("accuracy",), classes=("a", "b"))
KINDS = sorted({kind for kind, _, _ in MODELS.values()}, key=lambda kind: kind.__name__)


@pytest.mark.parametrize("kind", KINDS)
def test_skip_wants_one_clock(kind: type[Stepwise]) -> None:
    def modality(name: str, length: int | None) -> Modality:
        return Modality(name, "time_series", (2,), length=length)

    assert kind.skip((modality("a", 5), modality("b", 5)), TASK) is None
    for lengths in ((5, 6), (5, None), (None, None)):
        reason = kind.skip((modality("a", lengths[0]), modality("b", lengths[1])), TASK)
        assert reason is not None
        for part in ("same declared length", "word-align", "ctc"):
            assert part in reason


@pytest.mark.parametrize(
    ("kind", "wrong", "message"),
    [
        (RMFN, {"stages": 0}, "stages=0"),
        (RMFN, {"hidden": (3,)}, "one for each of the 2 modalities"),
        (RMFN, {"frames": 0}, "frames=0"),
        (MARN, {"attentions": 0}, "attentions=0"),
        (MFN, {"memory": 0}, "memory=0"),
        (GraphMFN, {"vertex": 0}, "vertex=0"),
        (MVLSTM, {"alpha": 1.5}, "alpha=1.5"),
        (EarlyLSTM, {"layers": 0}, "layers=0"),
        (ContextualLSTM, {"dense": 0}, "dense=0"),
        (GMELSTM, {"language": 2}, "language=2"),
        (GMELSTM, {"gate": "hard"}, "gate='hard'"),
        (RAVEN, {"language": -1}, "language=-1"),
        (RAVEN, {"beta": 0.0}, "beta=0.0"),
    ],
)
def test_refusals_name_what_is_wrong(kind: type[Stepwise], wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        kind([2, 2], **wrong)


def test_graph_mfn_refuses_too_many_modalities_and_raven_a_single_one() -> None:
    with pytest.raises(UsageError, match="at most 6 modalities"):
        GraphMFN([2] * 7)
    with pytest.raises(UsageError, match="another one to shift it"):
        RAVEN([2])


def test_graph_mfn_of_four_modalities() -> None:
    """Eleven larger subsets: six of two, four of three, one of four, and T; against the loop."""
    module, loop = make("graph-mfn", dims=[2, 3, 2, 4], hidden=(2, 3, 1, 2))
    values, spans = draw([2, 3, 2, 4])
    given = module(values, spans).detach().numpy()
    for row in range(5):
        expected = loop(module, weights_of(module), row_of(values, spans, row))
        np.testing.assert_allclose(given[row], expected, rtol=1e-9, atol=1e-12)
