"""The transformers, against themselves written out a row at a time without padding, and against torch's own layers."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from braidbench.assembly import build
from braidbench.errors import UsageError
from braidbench.plan import read_plan
from braidbench.recipe import CannotServeError, resolve
from braidbench.registry import registry
from braidbench.specs import Modality, Task
from braidbench_multizoo.fusions.attention.baselines import EarlyFusionTransformer, LateFusionTransformer
from braidbench_multizoo.fusions.attention.blocks import Blocks
from braidbench_multizoo.fusions.attention.mult import MulT, MulTOfVectors
from braidbench_multizoo.fusions.attention.steps import Embedding, Positions, attention_bias

WIDTHS, STEPS = [5, 3, 4], [7, 4, 9]
LENGTHS = [[7, 0, 3, 5], [4, 2, 0, 1], [1, 9, 0, 4]]
METHODS = ("mult", "early-fusion-transformer", "late-fusion-transformer")


def drawn(module: nn.Module) -> Any:
    """In double precision, every parameter random: what starts as zeros or ones must count too."""
    torch.manual_seed(1)
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.4)
    return module.double().eval()


def inputs(count: int = 3) -> tuple[list[Tensor], list[Tensor | None]]:
    """M × (4, T_i, D_i) padded with what must not matter, and lengths of which some are 0."""
    generator = torch.Generator().manual_seed(0)
    values, lengths = [], []
    for width, steps, spans in zip(WIDTHS[:count], STEPS, LENGTHS, strict=False):
        x = torch.randn(4, steps, width, dtype=torch.float64, generator=generator)
        x[0, 0, 0] = 0.0  # a first feature of exactly zero is no padding
        for row, span in enumerate(spans):
            x[row, span:] = math.nan
        values.append(x)
        lengths.append(torch.tensor(spans))
    return values, lengths


# --- written out ------------------------------------------------------------------------------------------------------


def position(t: int, width: int) -> Tensor:
    angles = [t / 10_000 ** (2 * (i // 2) / width) for i in range(width)]
    return torch.tensor([math.cos(a) if i % 2 else math.sin(a) for i, a in enumerate(angles)], dtype=torch.float64)


def with_positions(steps: list[Tensor], scale: float) -> Tensor:
    return torch.stack([scale * x + position(t, len(x)) for t, x in enumerate(steps)])


def embedded(embed: Embedding, x: Tensor) -> Tensor:
    """One row's own steps (T, D) → (T', width): the convolution as a sum over its window."""
    weight = embed.convolution.weight.detach()
    x = x if len(x) else torch.zeros(1, x.shape[1], dtype=x.dtype)
    half = weight.shape[2] // 2
    steps = []
    for t in range(0, len(x), embed.stride):
        window = [(k, t + k - half) for k in range(weight.shape[2]) if 0 <= t + k - half < len(x)]
        steps.append(sum(weight[:, :, k] @ x[s] for k, s in window))
    return with_positions(steps, embed.positions.scale)


def normed(x: Tensor, gain: Tensor, shift: Tensor) -> Tensor:
    mean, variance = x.mean(1, keepdim=True), x.var(1, unbiased=False, keepdim=True)
    return (x - mean) / torch.sqrt(variance + 1e-5) * gain + shift


def attended(query: Tensor, key: Tensor, value: Tensor, heads: int, seen: Tensor | None) -> Tensor:
    """softmax(QKᵀ / √d) V head by head (equation 8.14), only over the keys that are seen."""
    size = query.shape[1] // heads
    result = torch.zeros_like(query)
    for head in range(heads):
        part = slice(head * size, (head + 1) * size)
        for t in range(len(query)):
            keys = [s for s in range(len(key)) if seen is None or seen[t, s]]
            weights = torch.softmax(query[t, part] @ key[keys][:, part].T / math.sqrt(size), 0)
            result[t, part] = weights @ value[keys][:, part]
    return result


def block(b: Blocks, at: tuple[int, int], x: Tensor, source: Tensor | None, seen: Tensor | None) -> Tensor:
    """Equation 8.17 for one row: x (T, width), source (T_k, width), or None for x itself."""
    norm = (b.norm_gain[at][0], b.norm_shift[at][0])
    y = normed(x, *norm)
    heard = y if source is None else normed(source, *norm)
    weight, shift = b.project_weight[at], b.project_shift[at][0]
    query, key, value = (given @ weight[:, i] + shift[i] for i, given in enumerate((y, heard, heard)))
    z = attended(query, key, value, b.heads, seen) @ b.merge_weight[at] + b.merge_shift[at]
    z = z + (y if b.residual == "normalised" else x)
    u = normed(z, b.second_norm_gain[at][0], b.second_norm_shift[at][0])
    hidden = torch.clamp(u @ b.expand_weight[at] + b.expand_shift[at], min=0)
    base = u if b.residual == "normalised" else z
    return base + hidden @ b.contract_weight[at] + b.contract_shift[at]


def last_norm(b: Blocks, stream: int, x: Tensor) -> Tensor:
    return normed(x, b.last_norm_gain[stream][0], b.last_norm_shift[stream][0])


def visible(queries: int, keys: int, mask: str) -> Tensor:
    rule = {
        "none": lambda t, s: True,
        "causal": lambda t, s: s / keys < (t + 1) / queries,
        "released": lambda t, s: s <= t + abs(keys - queries),
    }[mask]
    return torch.tensor([[rule(t, s) for s in range(keys)] for t in range(queries)])


def transformed(b: Blocks, x: Tensor, mask: str = "none") -> Tensor:
    """A self-attention transformer over one row; its last step."""
    for layer in range(len(b.norm_gain)):
        x = block(b, (layer, 0), x, None, visible(len(x), len(x), mask))
    return last_norm(b, 0, x)[-1]


def mult_of_row(model: MulT, values: list[Tensor]) -> Tensor:
    low = [embedded(embed, x) for embed, x in zip(model.embeddings, values, strict=True)]
    pairs = [(i, j) for i, sources in zip(model.targets, model.sources, strict=True) for j in sources]
    states = {(i, j): low[i] for i, j in pairs}
    for layer in range(len(model.crossmodal.norm_gain)):
        before = dict(states)
        for stream, (i, j) in enumerate(pairs):
            source = before[j, i] if model.intermediate else low[j]
            seen = visible(len(low[i]), len(low[j]), model.mask)
            states[i, j] = block(model.crossmodal, (layer, stream), before[i, j], source, seen)
    last = []
    for memory, target in zip(model.memories, model.targets, strict=True):
        heard = [last_norm(model.crossmodal, s, states[pair]) for s, pair in enumerate(pairs) if pair[0] == target]
        x = with_positions(list(torch.cat(heard, 1)), model.memory_embedding.scale)
        last.append(transformed(memory, x, model.mask))
    h = torch.cat(last)
    hidden = torch.clamp(model.first.weight @ h + model.first.bias, min=0)
    return h + model.second.weight @ hidden + model.second.bias


def own_steps(values: list[Tensor], lengths: list[Tensor | None], row: int) -> list[Tensor]:
    return [x[row] if n is None else x[row, : n[row]] for x, n in zip(values, lengths, strict=True)]


FORMS: dict[str, dict[str, Any]] = {
    "default": {},
    "wide heads": {"width": 40, "heads": 2},
    "odd width": {"width": 9, "heads": 3},
    "narrowest": {"width": 2, "heads": 1},
    "one target": {"targets": (2,)},
    "two targets, other order": {"targets": (2, 0)},
    "self pairs": {"self_pairs": True},
    "intermediate": {"features": "intermediate"},
    "intermediate, self pairs": {"features": "intermediate", "self_pairs": True},
    "causal": {"mask": "causal"},
    "released": {"kernel": 1, "self_pairs": True, "mask": "released", "residual": "plain", "scale": True},
    "convolutions": {"kernel": (1, 3, 5), "stride": (2, 1, 3), "self_layers": 1, "mask": "causal"},
}


@pytest.mark.parametrize("form", FORMS)
def test_mult_written_out(form: str) -> None:
    """Row by row, without padding, head by head; a row without steps is one step of zeros."""
    model: MulT = drawn(MulT(WIDTHS, **{"width": 8, "heads": 2, **FORMS[form]}))
    values, lengths = inputs()
    with torch.no_grad():
        given = model(values, lengths)
        expected = torch.stack([mult_of_row(model, own_steps(values, lengths, row)) for row in range(4)])
    assert given.shape == (4, model.out_dim)
    torch.testing.assert_close(given, expected, rtol=1e-9, atol=1e-9)


def test_mult_of_one_pair_is_plain_crossmodal_attention() -> None:
    """Two modalities, one target, one head, one block, no convolution to speak of: equations 8.14 to 8.17 in a row."""
    model: MulT = drawn(MulT([3, 2], width=4, heads=1, layers=1, kernel=1, targets=(0,)))
    generator = torch.Generator().manual_seed(2)
    alpha, beta = (torch.randn(1, t, d, dtype=torch.float64, generator=generator) for t, d in ((5, 3), (6, 2)))
    (heard,) = model._hear([e(x, None)[0] for e, x in zip(model.embeddings, (alpha, beta), strict=True)], [None, None])

    z_a, z_b = (
        x[0] @ embed.convolution.weight[:, :, 0].T + torch.stack([position(t, 4) for t in range(x.shape[1])])
        for embed, x in zip(model.embeddings, (alpha, beta), strict=True)
    )
    b = model.crossmodal
    y_a, y_b = (normed(z, b.norm_gain[0, 0, 0], b.norm_shift[0, 0, 0]) for z in (z_a, z_b))
    w_q, w_k, w_v = b.project_weight[0, 0].unbind(1)
    b_q, b_k, b_v = b.project_shift[0, 0, 0]
    weights = torch.softmax((y_a @ w_q + b_q) @ (y_b @ w_k + b_k).T / 2, dim=1)
    z = weights @ (y_b @ w_v + b_v) @ b.merge_weight[0, 0] + b.merge_shift[0, 0] + y_a
    u = normed(z, b.second_norm_gain[0, 0, 0], b.second_norm_shift[0, 0, 0])
    hidden = torch.relu(u @ b.expand_weight[0, 0] + b.expand_shift[0, 0])
    expected = last_norm(b, 0, u + hidden @ b.contract_weight[0, 0] + b.contract_shift[0, 0])
    torch.testing.assert_close(heard[0], expected, rtol=1e-10, atol=1e-10)


# --- properties -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("width", "heads", "count"), [(40, 8, 3_076_961), (9, 3, 165_007)])
def test_mult_has_the_released_number_of_parameters(width: int, heads: int, count: int) -> None:
    """MultiBench's tests count these for 20, 5 and 300 features and one output, its linear layer included."""
    model = MulT([20, 5, 300], width=width, heads=heads, layers=4, kernel=1, self_pairs=True)
    assert sum(p.numel() for p in model.parameters()) + model.out_dim + 1 == count


@pytest.mark.parametrize("self_pairs", [False, True])
@pytest.mark.parametrize("modalities", [2, 3, 5])
def test_mult_parameters_by_formula(modalities: int, self_pairs: bool) -> None:
    d, layers, kernel = 6, 3, 5
    model = MulT([4] * modalities, width=d, heads=2, layers=layers, kernel=kernel, self_pairs=self_pairs)

    def transformer(width: int) -> int:
        attention, feed_forward = 4 * width * (width + 1), 8 * width**2 + 5 * width
        return layers * (attention + feed_forward + 4 * width) + 2 * width

    sources = modalities if self_pairs else modalities - 1
    out = modalities * sources * d
    expected = modalities * 4 * d * kernel + modalities * sources * transformer(d)
    expected += modalities * transformer(sources * d) + 2 * out * (out + 1)
    assert sum(p.numel() for p in model.parameters()) == expected
    assert model.out_dim == out


@pytest.mark.parametrize("target", [MulT, EarlyFusionTransformer, LateFusionTransformer])
def test_nothing_but_weights_is_saved(target: Any) -> None:
    model = target(WIDTHS)
    model(*[[x.nan_to_num().float() for x in inputs()[0]], inputs()[1]])
    assert set(model.state_dict()) == {name for name, _ in model.named_parameters()}


FUSIONS: dict[str, Any] = {
    "mult": lambda: MulT(WIDTHS),
    "mult causal": lambda: MulT(WIDTHS, mask="causal", self_pairs=True),
    "mult released": lambda: MulT(WIDTHS, mask="released"),
    "mult intermediate": lambda: MulT(WIDTHS, features="intermediate", stride=2),
    "late": lambda: LateFusionTransformer(WIDTHS, stride=2),
    "early": lambda: EarlyFusionTransformer(WIDTHS),
    "early features": lambda: EarlyFusionTransformer(WIDTHS, join="features", stride=2),
}


@pytest.mark.parametrize("name", FUSIONS)
def test_more_padding_changes_nothing(name: str) -> None:
    model = drawn(FUSIONS[name]())
    values, lengths = inputs()
    wider = [torch.cat([x, torch.full((4, 3, x.shape[2]), math.inf, dtype=x.dtype)], 1) for x in values]
    torch.testing.assert_close(model(wider, lengths), model(values, lengths), rtol=1e-10, atol=1e-10)
    for row in range(4):
        alone = model([x[row : row + 1] for x in values], [None if n is None else n[row : row + 1] for n in lengths])
        torch.testing.assert_close(alone, model(values, lengths)[row : row + 1], rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", FUSIONS)
def test_full_lengths_are_no_lengths(name: str) -> None:
    model = drawn(FUSIONS[name]())
    values = [x.nan_to_num() for x in inputs()[0]]
    full = model(values, [torch.full((4,), x.shape[1]) for x in values])
    torch.testing.assert_close(model(values, [None] * 3), full, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", FUSIONS)
def test_rows_without_steps_have_gradients(name: str) -> None:
    """All padding, everywhere: no softmax over nothing, forward or backward."""
    torch.manual_seed(0)
    model = FUSIONS[name]().train()
    values = [torch.full((2, steps, width), math.nan) for steps, width in zip(STEPS, WIDTHS, strict=True)]
    output = model(values, [torch.zeros(2, dtype=torch.long)] * 3)
    output.square().sum().backward()
    assert output.isfinite().all()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize(("queries", "keys"), [(6, 6), (4, 9), (9, 4), (1, 5), (5, 1)])
@pytest.mark.parametrize("mask", ["none", "causal", "released"])
def test_mask_against_loops(mask: Any, queries: int, keys: int) -> None:
    """Of each row's own lengths, not of what the batch is padded to; step 0 is always seen."""
    query, key = torch.zeros(2, queries + 2, 1), torch.zeros(2, keys + 3, 1)
    spans = torch.tensor([queries, queries + 2]), torch.tensor([keys, keys + 3])
    bias = attention_bias(query, spans[0], key, spans[1], mask)
    assert bias is not None
    bias = bias.expand(2, 1, queries + 2, keys + 3)
    for row, (n, m) in enumerate([(queries, keys), (queries + 2, keys + 3)]):
        assert torch.equal(bias[row, 0, :n, :m] == 0, visible(n, m, mask))
        assert (bias[row, 0, :, m:] == -math.inf).all()
    assert (bias[..., 0] == 0).all()
    assert set(bias.unique().tolist()) <= {0.0, -math.inf}


@pytest.mark.parametrize("lengths", [(6, 6, 6), (4, 8, 6)], ids=["aligned", "unaligned"])
def test_causal_mask_hides_the_future(lengths: tuple[int, ...]) -> None:
    """What a target heard until step t has a gradient from every source step that began by then, and from no later."""
    torch.manual_seed(0)
    model = MulT([2, 2, 2], kernel=1, mask="causal").double().eval()
    values = [torch.randn(1, steps, 2, dtype=torch.float64, requires_grad=True) for steps in lengths]
    heard = model._hear([e(x, None)[0] for e, x in zip(model.embeddings, values, strict=True)], [None] * 3)
    for target, own in enumerate(lengths):
        for t in range(own):
            gradients = torch.autograd.grad(heard[target][0, t].square().sum(), values, retain_graph=True)
            for source, (gradient, steps) in enumerate(zip(gradients, lengths, strict=True)):
                touched = gradient[0].abs().amax(1) > 0
                wanted = [s == t if source == target else s / steps < (t + 1) / own for s in range(steps)]
                assert touched.tolist() == wanted


def test_no_attention_weight_is_kept_for_the_backward_pass() -> None:
    kept: list[int] = []

    def note(x: Tensor) -> Tensor:
        kept.append(x.numel())
        return x

    steps, rows, heads = 200, 4, 4
    model = MulT([2, 2], width=8, heads=heads, layers=1, dropout=0.0)
    values = [torch.randn(rows, steps, 2) for _ in range(2)]
    with torch.autograd.graph.saved_tensors_hooks(note, lambda x: x):
        model(values, [torch.full((rows,), steps)] * 2).sum().backward()
    assert max(kept) < rows * steps * steps


def test_dropouts_act_in_training_only() -> None:
    values = [x.nan_to_num().float() for x in inputs()[0]]
    for name in ("dropout", "embed_dropout", "attention_dropout", "out_dropout"):
        torch.manual_seed(0)
        model = MulT(WIDTHS, **{"dropout": 0.0, name: 0.5})
        first, second = (model.train()(values, [None] * 3) for _ in range(2))
        assert not torch.equal(first, second), name
        first, second = (model.eval()(values, [None] * 3) for _ in range(2))
        assert torch.equal(first, second), name


@pytest.mark.parametrize("width", [2, 7, 40])
def test_positions(width: int) -> None:
    """They grow with the sequences, and steps are scaled before them; a width below four is no special case."""
    for scale in (False, True):
        add = Positions(width, scale=scale).double()
        for steps in (3, 11, 5):
            x = torch.randn(2, steps, width, dtype=torch.float64)
            for row in range(2):
                expected = with_positions(list(x[row]), math.sqrt(width) if scale else 1.0)
                torch.testing.assert_close(add(x)[row], expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"width": 10, "heads": 4}, "a width of 10 cannot be shared between heads=4"),
        ({"layers": 0}, "layers=0"),
        ({"kernel": 4}, "kernel=4"),
        ({"stride": 0}, "stride=0"),
        ({"kernel": (1, 3)}, "kernel=[1, 3] is for 2 modalities; there are 3"),
        ({"targets": (3,)}, "targets=[3]: give different places of modalities, 0 to 2"),
        ({"targets": (0, 0)}, "targets=[0, 0]"),
        ({"targets": ()}, "targets=[]"),
        ({"targets": (1,), "features": "intermediate"}, "leave targets out"),
    ],
)
def test_mult_refuses(options: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=re.escape(said)):
        MulT(WIDTHS, **options)


def test_mult_of_one_modality_needs_itself() -> None:
    with pytest.raises(UsageError, match="self_pairs"):
        MulT([3])
    assert MulT([3], self_pairs=True)([torch.randn(2, 4, 3)], [None]).shape == (2, 32)


# --- early and late fusion --------------------------------------------------------------------------------------------


def torch_transformer(b: Blocks) -> nn.TransformerEncoder:
    """torch's pre-norm transformer with the same weights."""
    width = b.norm_gain.shape[-1]
    layer = nn.TransformerEncoderLayer(width, b.heads, 4 * width, 0.0, batch_first=True, norm_first=True)
    made = nn.TransformerEncoder(layer, len(b.norm_gain), nn.LayerNorm(width), enable_nested_tensor=False).double()
    with torch.no_grad():
        made.norm.weight.copy_(b.last_norm_gain[0, 0])
        made.norm.bias.copy_(b.last_norm_shift[0, 0])
        for index, own in enumerate(made.layers):
            at = (index, 0)
            for module, weight, shift in (
                (own.norm1, b.norm_gain[at][0], b.norm_shift[at]),
                (own.norm2, b.second_norm_gain[at][0], b.second_norm_shift[at]),
                (own.self_attn.out_proj, b.merge_weight[at].T, b.merge_shift[at]),
                (own.linear1, b.expand_weight[at].T, b.expand_shift[at]),
                (own.linear2, b.contract_weight[at].T, b.contract_shift[at]),
            ):
                module.weight.copy_(weight)
                module.bias.copy_(shift[0])
            own.self_attn.in_proj_weight.copy_(b.project_weight[at].flatten(1).T)
            own.self_attn.in_proj_bias.copy_(b.project_shift[at].flatten())
    return made.eval()


@pytest.mark.parametrize("residual", ["plain", "normalised"])
def test_late_fusion_transformer(residual: Any) -> None:
    model: LateFusionTransformer = drawn(LateFusionTransformer(WIDTHS, width=8, heads=2, residual=residual))
    values, lengths = inputs()
    assert model.out_dim == 24
    with torch.no_grad():
        given = model(values, lengths)
        for row in range(4):
            parts = []
            for embed, blocks, x in zip(
                model.embeddings, model.transformers, own_steps(values, lengths, row), strict=True
            ):
                z = embedded(embed, x)
                parts.append(
                    torch_transformer(blocks)(z[None])[0, -1] if residual == "plain" else transformed(blocks, z)
                )
            torch.testing.assert_close(given[row], torch.cat(parts), rtol=1e-9, atol=1e-9)


def test_early_fusion_transformer_in_time() -> None:
    """A row's real steps, one modality after the other, positions from each one's first step."""
    model: EarlyFusionTransformer = drawn(EarlyFusionTransformer(WIDTHS, width=8, heads=2))
    values, lengths = inputs()
    with torch.no_grad():
        given = model(values, lengths)
        for row in range(4):
            parts = zip(model.embeddings, own_steps(values, lengths, row), model.kinds, strict=True)
            joined = torch.cat([embedded(embed, x) + kind for embed, x, kind in parts])
            torch.testing.assert_close(given[row], transformed(model.transformer, joined), rtol=1e-9, atol=1e-9)


def test_early_fusion_transformer_of_features() -> None:
    """Side by side at every step; zeros where a modality has ended, and as many steps as the longest has."""
    model: EarlyFusionTransformer = drawn(EarlyFusionTransformer(WIDTHS, width=8, heads=2, join="features"))
    values, lengths = inputs()
    (embed,) = model.embeddings
    with torch.no_grad():
        given = model(values, lengths)
        for row in range(4):
            own = own_steps(values, lengths, row)
            joined = torch.zeros(max(len(x) for x in own), sum(WIDTHS), dtype=torch.float64)
            for x, end in zip(own, np.cumsum(WIDTHS), strict=True):
                joined[: len(x), end - x.shape[1] : end] = x
            expected = transformed(model.transformer, embedded(embed, joined))
            torch.testing.assert_close(given[row], expected, rtol=1e-9, atol=1e-9)


# --- declarations -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dataset", ["digits", "cohort", "wrist", "sp500-food", "sp500-health", "sp500-tech"])
def test_methods_build_and_every_parameter_learns(dataset: str, method: str) -> None:
    recipe = resolve(registry(), dataset, method, {})
    torch.manual_seed(0)
    model, _ = build(recipe)
    batch: dict[str, Tensor] = {}
    lengths: dict[str, Tensor | None] = {}
    for m in recipe.modalities:
        batch[m.name] = torch.rand(3, *((m.length,) if m.length else ()), *m.shape)
        lengths[m.name] = torch.tensor([m.length, 1, m.length // 2]) if m.length else None
    output = model(batch, lengths)
    assert output.prediction.shape == (3, recipe.task.width)
    output.prediction.square().sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in model.parameters())


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dataset", ["numerals", "av-mnist"])
def test_methods_need_a_sequence(dataset: str, method: str) -> None:
    with pytest.raises(CannotServeError, match="attends over the steps of sequences"):
        resolve(registry(), dataset, method, {})


def test_what_mult_declares() -> None:
    method = registry().find("methods", "mult").spec
    assert method.proposed_on == ("mosi", "mosei", "iemocap")
    assert {"mosi", "mosei", "iemocap"} <= set(method.defaults)
    for changes in method.defaults.values():
        fusion = {key.removeprefix("fusion."): value for key, value in changes.items() if key.startswith("fusion.")}
        sizes = [4, 4] if isinstance(fusion.get("kernel"), tuple) else [4, 4, 4]
        assert MulT(sizes, **fusion).out_dim


def test_ablation_plan_has_every_row_of_the_table() -> None:
    path = Path(__file__).parents[2] / "plans" / "mult-ablations.toml"
    requests = read_plan(registry(), path)
    for request in requests:
        resolve(registry(), request.dataset, request.row, request.overrides)
    first = [(r.row, dict(r.overrides)) for r in requests if r.seed == 0]
    assert first[:8] == [
        ("unimodal-transformer[accelerometer]", {}),
        ("unimodal-transformer[gyroscope]", {}),
        ("late-fusion-transformer", {}),
        ("early-fusion-transformer", {}),
        ("mult", {"fusion.targets": [0]}),
        ("mult", {"fusion.targets": [1]}),
        ("mult", {"fusion.features": "intermediate"}),
        ("mult", {}),
    ]


def test_of_vectors_attention_passes_the_other_ones_value_on():
    """With one key the weights are 1 whatever the query: the query's own projection has no say."""
    torch.manual_seed(0)
    fusion = MulTOfVectors([6, 4], width=8, heads=2).eval()
    x = [torch.randn(5, 1, 6), torch.randn(5, 1, 4)]
    before = fusion(x, [None, None])
    with torch.no_grad():
        fusion.crossmodal.project_weight[..., 0, :] *= 3.0  # the queries'
        torch.testing.assert_close(fusion(x, [None, None]), before)
        fusion.crossmodal.project_weight[..., 2, :] *= 3.0  # the values'
        assert not torch.allclose(fusion(x, [None, None]), before)
    sequence = Modality("a", "time_series", (6,), length=3)
    vector = Modality("b", "tabular", (4,))
    task = Task("c", "classification", ("accuracy",), classes=("a", "b"))
    assert MulTOfVectors.skip((sequence, vector), task) is not None
    assert MulTOfVectors.skip((vector, vector), task) is None
    assert MulT.skip((vector, vector), task) is not None
