"""Multiplicative interactions, FiLM, stack, product of experts, non-local gate: values in numpy and closed forms."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from braidbench.errors import UsageError
from braidbench.specs import Modality, Task
from braidbench_multizoo.fusions.concatenation import Concat
from braidbench_multizoo.fusions.experts import ProductOfExperts, gaussian_product
from braidbench_multizoo.fusions.interactions import FiLM, MultiplicativeInteractions
from braidbench_multizoo.fusions.nonlocal_gate import NonLocalGate
from braidbench_multizoo.fusions.stacking import Product, Stack
from braidbench_multizoo.fusions.tensor import LowRankTensorFusion, TensorFusion


def draw(widths: list[int], rows: int = 6) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(rows, width, dtype=torch.float64, generator=generator) for width in widths]


def numbers(module: nn.Module) -> dict[str, np.ndarray]:
    """Every parameter, all of them drawn anew: at its start an offset may be zero and hide a mistake."""
    generator = torch.Generator().manual_seed(1)
    for parameter in module.parameters():
        parameter.data.normal_(generator=generator)
    return {name: parameter.detach().numpy() for name, parameter in module.named_parameters()}


def interactions(widths: list[int], **parameters: Any) -> MultiplicativeInteractions:
    return MultiplicativeInteractions(widths, **parameters).double()


# --- low-rank tensor fusion: what it costs ----------------------------------------------------------------------------


def low_rank_cost(modalities: int) -> tuple[int, int, int]:
    """(floating-point operations, bytes kept for the backward pass, parameters) of one forward pass."""
    from torch.utils.flop_counter import FlopCounterMode

    fusion = LowRankTensorFusion([8] * modalities, out_dim=16, rank=4)
    values = [torch.randn(32, 8, requires_grad=True) for _ in range(modalities)]
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with FlopCounterMode(display=False) as counter, torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
        fusion(values).sum()
    return counter.get_total_flops(), sum(kept.values()), sum(p.numel() for p in fusion.parameters())


def test_low_rank_is_linear_in_the_number_of_modalities() -> None:
    """Every further modality, up to 20, costs what the one before it did, in operations, memory and parameters."""
    costs = np.array([low_rank_cost(modalities) for modalities in (2, 3, 8, 14, 20)])
    per_modality = costs[1] - costs[0]
    assert (per_modality > 0).all()
    np.testing.assert_array_equal(costs - costs[0], np.outer([0, 1, 6, 12, 18], per_modality))


# --- multiplicative interactions --------------------------------------------------------------------------------------


def test_mi_matrix_against_equation_1() -> None:
    """z = x_1 W x_2 + x_1 U + x_2 V + b."""
    fusion, (x, y) = interactions([4, 3], output="matrix", out_dim=5), draw([4, 3])
    p = numbers(fusion)
    expected = (
        np.einsum("bn,nmd,bm->bd", x, p["scale.weight"], y)
        + x.numpy() @ p["shift.weight"]
        + y.numpy() @ p["scale.offset"]
        + p["shift.offset"]
    )
    assert fusion.out_dim == 5
    np.testing.assert_allclose(fusion([x, y]).detach(), expected, rtol=1e-10)


def test_mi_matrix_is_a_linear_layer_on_the_full_tensor() -> None:
    """Tensor fusion holds every product of the interaction, the single features and the constant."""
    fusion, values = interactions([4, 3], output="matrix", out_dim=5), draw([4, 3])
    p = numbers(fusion)
    weight = np.zeros((5, 4, 5))
    weight[1:, 1:], weight[1:, 0] = p["scale.weight"], p["shift.weight"]
    weight[0, 1:], weight[0, 0] = p["scale.offset"], p["shift.offset"]
    expected = TensorFusion([4, 3])(values).numpy() @ weight.reshape(20, 5)
    np.testing.assert_allclose(fusion(values).detach(), expected, rtol=1e-10)


def test_mi_vector_and_scalar_by_hand() -> None:
    x, y = torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 5.0, 7.0]])
    vector = MultiplicativeInteractions([2, 3], output="vector")
    vector.scale.weight.data = torch.tensor([[1.0, 0.0, 2.0], [0.0, 1.0, 1.0]])
    vector.scale.offset.data = torch.tensor([0.5, 0.0, -1.0])
    vector.shift.weight.data = torch.tensor([[1.0, 1.0, 0.0], [0.0, 1.0, -1.0]])
    vector.shift.offset.data = torch.tensor([0.0, 0.0, 10.0])
    # scale (1.5, 2, 3), shift (1, 3, 8)
    assert vector([x, y]).tolist() == [[5.5, 13.0, 29.0]]
    scalar = MultiplicativeInteractions([2, 3], output="scalar")
    scalar.scale.weight.data = torch.tensor([[1.0], [0.5]])
    scalar.scale.offset.data = torch.tensor([-1.0])
    scalar.shift.weight.data = torch.tensor([[2.0], [0.0]])
    scalar.shift.offset.data = torch.tensor([0.25])
    # scale 1, shift 2.25
    assert scalar([x, y]).tolist() == [[5.25, 7.25, 9.25]]
    assert (vector.out_dim, scalar.out_dim) == (3, 3)


def generated(p: dict[str, np.ndarray], part: str, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """(B, *shape): the interaction of x and y whose values are an array, the published 3-D matrix form."""
    weight, left, right = p[f"{part}.weight"], p[f"{part}.left"], p[f"{part}.right"]
    both = np.einsum("bn,nm...->bm...", x, weight)
    rows = [
        np.tensordot(y[b], both[b], 1) + np.tensordot(x[b], left, 1) + np.tensordot(y[b], right, 1)
        for b in range(len(x))
    ]
    return np.stack(rows) + p[f"{part}.offset"]


@pytest.mark.parametrize("rows", [1, 6])
@pytest.mark.parametrize("output", ["matrix", "vector", "scalar"])
def test_mi_of_three_modalities(output: str, rows: int) -> None:
    """x_3 contracted with what x_1 and x_2 generate, row by row. The released code gives (B, B, out)."""
    widths = [4, 3, 2]
    fusion, values = interactions(widths, output=output, out_dim=5), draw(widths, rows)
    p = numbers(fusion)
    x, y, target = (value.numpy() for value in values)
    scale, shift = generated(p, "scale", x, y), generated(p, "shift", x, y)
    if output == "matrix":
        assert scale.shape == (rows, 2, 5)
        expected = np.stack([target[b] @ scale[b] for b in range(rows)]) + shift
    else:
        assert scale.shape == (rows, 2 if output == "vector" else 1)
        expected = scale * target + shift
    given = fusion(values)
    assert given.shape == (rows, fusion.out_dim) == (rows, 5 if output == "matrix" else 2)
    np.testing.assert_allclose(given.detach(), expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("output", ["matrix", "vector", "scalar"])
def test_mi_is_affine_in_each_modality(output: str) -> None:
    """f(a·x + (1 − a)·x') = a·f(x) + (1 − a)·f(x') in each argument, and in no two at once."""
    widths = [4, 3, 2]
    fusion, values, others = interactions(widths, output=output), draw(widths), draw([7, *widths])[1:]
    numbers(fusion)
    for changed in ([0], [1], [2], [0, 1], [1, 2]):
        ends = [
            [other if i in changed else value for i, (value, other) in enumerate(zip(values, others, strict=True))],
            values,
        ]
        middle = [0.3 * a + 0.7 * b for a, b in zip(*ends, strict=True)]
        gap = (fusion(middle) - 0.3 * fusion(ends[0]) - 0.7 * fusion(ends[1])).abs().max().item()
        assert (gap < 1e-10) == (len(changed) == 1), changed


@pytest.mark.parametrize("index", [0, 1, 2])
def test_mi_modulates_the_modality_that_is_named(index: int) -> None:
    widths = [4, 3, 2]
    order = [i for i in range(3) if i != index] + [index]
    named, last = (
        interactions(widths, output="vector", modulated=index),
        interactions([widths[i] for i in order], output="vector"),
    )
    last.load_state_dict(named.state_dict())
    values = draw(widths)
    assert named.out_dim == widths[index]
    torch.testing.assert_close(named(values), last([values[i] for i in order]))


def test_mi_projects_what_is_wider() -> None:
    fusion, values = interactions([9, 3], out_dim=5, project=4), draw([9, 3])
    assert fusion.scale.weight.shape == (4, 3, 5)
    layer = fusion.projections[0]
    narrow = interactions([4, 3], out_dim=5)
    narrow.load_state_dict({k: v for k, v in fusion.state_dict().items() if not k.startswith("projections")})
    torch.testing.assert_close(fusion(values), narrow([values[0] @ layer.weight.T + layer.bias, values[1]]))


@pytest.mark.parametrize("widths", [[32, 48], [32, 32, 32]])
@pytest.mark.parametrize("output", ["matrix", "vector", "scalar"])
def test_mi_starts_at_a_usable_scale(widths: list[int], output: str) -> None:
    torch.manual_seed(0)
    fusion = MultiplicativeInteractions(widths, output=output)  # type: ignore[arg-type]
    deviation = fusion([torch.randn(512, width) for width in widths]).std().item()
    assert 0.5 < deviation < 4


def test_mi_refuses() -> None:
    with pytest.raises(UsageError, match="takes 2 or 3 modalities, not 4"):
        MultiplicativeInteractions([2, 2, 2, 2])
    with pytest.raises(UsageError, match=r"would have 540,342,873 weights.*fusion\.project=16"):
        MultiplicativeInteractions([70, 200, 600], out_dim=63)
    MultiplicativeInteractions([70, 200, 600], project=16)
    with pytest.raises(UsageError, match="modulated=2, and the 2 modalities are numbered 0 to 1"):
        MultiplicativeInteractions([2, 2], modulated=2)
    with pytest.raises(UsageError, match="out_dim=0"):
        MultiplicativeInteractions([2, 2], out_dim=0)


# --- FiLM -------------------------------------------------------------------------------------------------------------


def test_film_with_linear_generators_is_mi_vector() -> None:
    film, mi = FiLM([4, 3], generator="linear").double(), interactions([4, 3], output="vector")
    numbers(mi)
    (layer,) = film.generator
    layer.weight.data = torch.cat([mi.scale.weight, mi.shift.weight], dim=1).T
    layer.bias.data = torch.cat([mi.scale.offset, mi.shift.offset])
    values = draw([4, 3])
    torch.testing.assert_close(film(values), mi(values), rtol=1e-12, atol=1e-12)
    assert sum(p.numel() for p in film.parameters()) == sum(p.numel() for p in mi.parameters())


def test_film_against_numpy() -> None:
    film, values = FiLM([4, 3, 2], hidden=(7, 6), dropout=0.4).double().eval(), draw([4, 3, 2])
    p = numbers(film)
    hidden = np.concatenate([values[0], values[1]], axis=1)
    for layer in (0, 3):
        hidden = np.maximum(hidden @ p[f"generator.{layer}.weight"].T + p[f"generator.{layer}.bias"], 0)
    found = hidden @ p["generator.6.weight"].T + p["generator.6.bias"]
    np.testing.assert_allclose(film(values).detach(), found[:, :2] * values[2].numpy() + found[:, 2:], rtol=1e-10)


def test_film_is_not_affine_in_what_it_is_modulated_by() -> None:
    film, (x, y), (other, _) = FiLM([4, 3]).double(), draw([4, 3]), draw([4, 4])
    numbers(film)
    middle = film([0.5 * x + 0.5 * (other + 3), y])
    assert (middle - 0.5 * film([x, y]) - 0.5 * film([other + 3, y])).abs().max() > 1e-3


def test_film_starts_near_the_identity_and_modulates_what_is_named() -> None:
    film, values = FiLM([4, 3], modulated=0).double(), draw([4, 3])
    assert film.out_dim == 4
    for layer in film.generator:
        if isinstance(layer, nn.Linear):
            nn.init.zeros_(layer.weight)
    assert torch.equal(film(values), values[0])


def test_film_refuses() -> None:
    with pytest.raises(UsageError, match="needs 2 modalities or more"):
        FiLM([3])
    with pytest.raises(UsageError, match="set generator=linear"):
        FiLM([3, 3], hidden=())
    with pytest.raises(UsageError, match="modulated=-3"):
        FiLM([3, 3], modulated=-3)


# --- stack ------------------------------------------------------------------------------------------------------------


def test_stack_by_hand() -> None:
    fusion = Stack([2, 2, 2])
    assert not list(fusion.parameters())
    given = fusion([torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 4.0]]), torch.tensor([[5.0, 6.0]])])
    assert given.tolist() == [[1, 3, 5, 2, 4, 6]]


def test_stack_has_the_numbers_of_concat() -> None:
    values = draw([4, 4, 4])
    assert torch.equal(Stack([4] * 3)(values).sort(1).values, Concat([4] * 3)(values).sort(1).values)


def test_stack_of_unequal_widths() -> None:
    fusion, values = Stack([4, 2]).double(), draw([4, 2])
    (name, weight), (_, bias) = fusion.named_parameters()
    assert (name, tuple(weight.shape), fusion.out_dim) == ("columns.1.weight", (4, 2), 8)
    given = fusion(values).reshape(6, 4, 2)
    assert torch.equal(given[:, :, 0], values[0])
    torch.testing.assert_close(given[:, :, 1], values[1] @ weight.T + bias)
    assert Stack([4, 2], width=3).out_dim == 6
    with pytest.raises(UsageError, match="width must be 1 or more"):
        Stack([3], width=0)


def test_product_by_hand() -> None:
    fusion, values = Product([4, 2, 3]).double(), draw([4, 2, 3])
    images = [
        x.numpy() @ f.weight.detach().numpy().T + f.bias.detach().numpy()
        for x, f in zip(values, fusion.factors, strict=True)
    ]
    np.testing.assert_allclose(fusion(values).detach().numpy(), images[0] * images[1] * images[2], rtol=1e-12)
    assert fusion.out_dim == 4
    with pytest.raises(UsageError, match="out_dim must be 1 or more"):
        Product([3], out_dim=0)


# --- product of experts -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prior", [True, False])
def test_product_by_multiplying_densities(prior: bool) -> None:
    """On a fine grid, the densities' product, normalised, has the mean and the variance of the closed form."""
    means, variances = [0.7, -1.2, 2.0], [0.5, 2.0, 1.5]
    grid = np.linspace(-20, 20, 200_001)
    density = np.ones_like(grid)
    for mean, variance in [*zip(means, variances, strict=True), *([(0.0, 1.0)] if prior else [])]:
        density *= np.exp(-((grid - mean) ** 2) / (2 * variance))
    density /= density.sum()
    expected = float((density * grid).sum())
    mean, logvar = gaussian_product(
        [torch.tensor([m], dtype=torch.float64) for m in means],
        [torch.tensor([math.log(v)], dtype=torch.float64) for v in variances],
        prior,
    )
    assert mean.item() == pytest.approx(expected, rel=1e-9)
    assert logvar.exp().item() == pytest.approx(float((density * (grid - expected) ** 2).sum()), rel=1e-8)


def test_product_of_one_and_of_extremes() -> None:
    mean, logvar = gaussian_product([torch.tensor([3.0])], [torch.tensor([0.4])], prior=False)
    assert (mean.item(), logvar.item()) == pytest.approx((3.0, 0.4))
    # Precisions e^±200 are no numbers in single precision; a sure expert decides, one that knows nothing is not heard.
    far, sure = torch.tensor([5.0, 5.0], requires_grad=True), torch.tensor([-200.0, 200.0], requires_grad=True)
    mean, logvar = gaussian_product([far], [sure])
    torch.testing.assert_close(mean, torch.tensor([5.0, 0.0]))
    torch.testing.assert_close(logvar, torch.tensor([-200.0, 0.0]))
    (mean.sum() + logvar.sum()).backward()
    assert far.grad is not None
    assert sure.grad is not None
    assert bool(far.grad.isfinite().all() & sure.grad.isfinite().all())
    with pytest.raises(UsageError, match="one expert or more"):
        gaussian_product([], [])


def test_experts_are_precision_weighted() -> None:
    """Against the formula with precisions, for projected representations."""
    fusion, values = ProductOfExperts([4, 3], out_dim=5).double().eval(), draw([4, 3])
    p = numbers(fusion)
    precision, weighted = np.ones((6, 5)), np.zeros((6, 5))
    for index, value in enumerate(values):
        found = value.numpy() @ p[f"projections.{index}.weight"].T + p[f"projections.{index}.bias"]
        precision += np.exp(-found[:, 5:])
        weighted += found[:, :5] * np.exp(-found[:, 5:])
    np.testing.assert_allclose(fusion(values).detach(), weighted / precision, rtol=1e-10)
    np.testing.assert_allclose(fusion.posterior(values)[1].detach(), -np.log(precision), rtol=1e-9, atol=1e-12)


def test_halves_are_the_experts() -> None:
    fusion, values = ProductOfExperts([6, 6], experts="halves"), draw([6, 6])
    assert fusion.out_dim == 3
    assert not list(fusion.parameters())
    for (mean, logvar), value in zip(fusion.experts(values), values, strict=True):
        assert torch.equal(mean, value[:, :3])
        assert torch.equal(logvar, value[:, 3:])
    for widths in ([6, 4], [5, 5]):
        with pytest.raises(UsageError, match="one even width"):
            ProductOfExperts(widths, experts="halves")


def test_samples_in_training_have_the_posteriors_moments() -> None:
    fusion = ProductOfExperts([4, 4], experts="halves").train()
    one = torch.tensor([[1.0, -2.0, 0.5, -1.0]])
    mean, logvar = fusion.posterior([one, one])
    torch.manual_seed(0)
    drawn = fusion([one.expand(40_000, -1)] * 2)
    torch.testing.assert_close(drawn.mean(0), mean[0], atol=0.02, rtol=0)
    torch.testing.assert_close(drawn.var(0), logvar[0].exp(), atol=0.02, rtol=0)
    torch.manual_seed(0)
    assert torch.equal(fusion([one.expand(40_000, -1)] * 2), drawn)
    assert torch.equal(fusion.eval()([one, one]), mean)


# --- non-local gate ---------------------------------------------------------------------------------------------------

LENGTHS = (torch.tensor([3, 5, 1, 4]), torch.tensor([6, 2, 7, 4]))


def sequences() -> list[Tensor]:
    generator = torch.Generator().manual_seed(2)
    return [torch.randn(4, t, d, dtype=torch.float64, generator=generator) for t, d in ((5, 4), (7, 3), (1, 2))]


@pytest.mark.parametrize("scaled", [False, True])
def test_gate_row_by_row(scaled: bool) -> None:
    """Each row alone, only its own steps, softmax written out."""
    gate, (x, y, v) = NonLocalGate([4, 3, 2], width=5, scaled=scaled).double(), sequences()
    p = numbers(gate)
    expected = []
    for row in range(4):
        a, b = x[row, : LENGTHS[0][row]].numpy(), y[row, : LENGTHS[1][row]].numpy()
        query = a @ p["queries.weight"].T
        key = np.concatenate([b @ p["keys.0.weight"].T, v[row].numpy() @ p["keys.1.weight"].T])
        value = np.concatenate([b @ p["values.0.weight"].T, v[row].numpy() @ p["values.1.weight"].T])
        scores = np.exp(query @ key.T / (math.sqrt(5) if scaled else 1.0))
        expected.append((query + scores / scores.sum(1, keepdims=True) @ value).mean(0))
    given = gate([x, y, v], [*LENGTHS, None])
    np.testing.assert_allclose(given.detach(), np.stack(expected), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("value", [1e6, math.inf, math.nan])
def test_gate_does_not_see_padding(value: float) -> None:
    gate = NonLocalGate([4, 3, 2], width=5).double()
    clean = sequences()
    spoilt = [x.clone() for x in clean]
    for x, lengths in zip(spoilt, LENGTHS, strict=False):
        x[torch.arange(x.shape[1]) >= lengths[:, None]] = value
    expected = gate(clean, [*LENGTHS, None])
    expected.sum().backward()
    gradients = [p.grad.clone() for p in gate.parameters()]
    gate.zero_grad()
    given = gate(spoilt, [*LENGTHS, None])
    given.sum().backward()
    torch.testing.assert_close(given, expected)
    for parameter, gradient in zip(gate.parameters(), gradients, strict=True):
        torch.testing.assert_close(parameter.grad, gradient)


def test_gate_without_steps() -> None:
    """Nothing to attend to adds nothing; no step of the query gives zeros; other rows and gradients are untouched."""
    gate, (x, y, _) = NonLocalGate([4, 3], width=5).double(), sequences()
    given = gate([x, y], [torch.tensor([0, 5, 1, 4]), torch.tensor([6, 0, 0, 4])])
    assert not given[0].any()
    torch.testing.assert_close(given[1], gate.queries(x[1]).mean(0))
    torch.testing.assert_close(given[2], gate.queries(x[2, 0]))
    torch.testing.assert_close(given[3], gate([x[3:], y[3:]], [torch.tensor([4]), torch.tensor([4])])[0])
    given.sum().backward()
    assert all(bool(p.grad.isfinite().all()) for p in gate.parameters())


def test_gate_asks_for_the_modality_that_is_named() -> None:
    one, other = NonLocalGate([4, 3], width=5, query=1).double(), NonLocalGate([3, 4], width=5).double()
    other.load_state_dict(one.state_dict())
    x, y, _ = sequences()
    torch.testing.assert_close(one([x, y], list(LENGTHS)), other([y, x], [LENGTHS[1], LENGTHS[0]]))
    for query, message in ((2, "query=2"), (-3, "query=-3")):
        with pytest.raises(UsageError, match=message):
            NonLocalGate([4, 3], query=query)
    with pytest.raises(UsageError, match="needs 2 modalities"):
        NonLocalGate([4])


def test_gate_is_skipped_where_there_is_nothing_to_choose_from() -> None:
    """A softmax over one key is 1, so no gradient ever reaches the query's part in it."""
    series, row = Modality("series", "time_series", (3,), length=4), Modality("row", "tabular", (3,))
    task = Task("label", "classification", ("accuracy",), classes=("a", "b"))
    assert NonLocalGate.skip((row, series), task) is None
    assert NonLocalGate.skip((series, row, row), task) is None
    for modalities in ((series, row), (row, row)):
        assert "attend to 'row', which is one step" in str(NonLocalGate.skip(modalities, task))


# --- all of them ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [
    MultiplicativeInteractions,
    lambda dims: MultiplicativeInteractions(dims, output="vector"),
    lambda dims: MultiplicativeInteractions(dims, output="scalar"),
    FiLM, Stack, ProductOfExperts,
])  # fmt: skip
@pytest.mark.parametrize("widths", [[4, 3], [4, 3, 2]])
def test_every_parameter_is_trained_and_inputs_are_left_alone(make: Any, widths: list[int]) -> None:
    torch.manual_seed(0)
    fusion, values = make(widths).double(), draw(widths)
    fusion(values).square().sum().backward()
    for name, parameter in fusion.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name
    for one, other in zip(values, draw(widths), strict=True):
        assert torch.equal(one, other)
    assert fusion.eval()(draw(widths, 1)).shape == (1, fusion.out_dim)
