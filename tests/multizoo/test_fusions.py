"""Fusions: values by hand, with numpy's Kronecker product and with the contracted full tensor."""

from __future__ import annotations

import functools
import math
import re
import string

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from braidbench.errors import UsageError
from braidbench_multizoo.fusions.concatenation import Concat, ConcatEarly
from braidbench_multizoo.fusions.tensor import LowRankTensorFusion, TensorFusion

WIDTHS = [[4], [3, 5], [4, 2, 3], [2, 1, 3, 2]]


def draw(widths: list[int], rows: int = 6) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(rows, width, dtype=torch.float64, generator=generator) for width in widths]


def with_one(x: Tensor) -> np.ndarray:
    return np.concatenate([np.ones((len(x), 1)), x.numpy()], axis=1)


def full_tensor(values: list[Tensor]) -> np.ndarray:
    """(B, D_1 + 1, …, D_M + 1), the outer product of [1, z_m]."""
    axes = string.ascii_lowercase[: len(values)]
    return np.einsum(",".join(f"Z{a}" for a in axes) + f"->Z{axes}", *[with_one(value) for value in values])


# --- concatenation ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("widths", WIDTHS)
def test_concat(widths: list[int]) -> None:
    fusion, values = Concat(widths), draw(widths)
    assert fusion.out_dim == sum(widths)
    assert not list(fusion.parameters())
    np.testing.assert_array_equal(fusion(values), np.concatenate([v.numpy() for v in values], axis=1))


@pytest.mark.parametrize("hidden", [(), (7,), (7, 5)])
@pytest.mark.parametrize("widths", WIDTHS)
def test_concat_early_against_numpy(widths: list[int], hidden: tuple[int, ...]) -> None:
    fusion, values = ConcatEarly(widths, hidden=hidden, dropout=0.3).double().eval(), draw(widths)
    expected = np.concatenate([v.numpy() for v in values], axis=1)
    for layer in fusion.modules():
        if isinstance(layer, nn.Linear):
            expected = np.maximum(expected @ layer.weight.detach().numpy().T + layer.bias.detach().numpy(), 0)
    assert fusion.out_dim == expected.shape[1] == (hidden[-1] if hidden else sum(widths))
    np.testing.assert_allclose(fusion(values).detach(), expected, rtol=1e-10, atol=1e-12)


# --- tensor fusion ----------------------------------------------------------------------------------------------------


def test_tensor_by_hand() -> None:
    given = TensorFusion([2, 1])([torch.tensor([[2.0, 3.0]]), torch.tensor([[5.0]])])
    assert given.tolist() == [[1, 5, 2, 10, 3, 15]]


@pytest.mark.parametrize("widths", WIDTHS)
def test_tensor_against_numpy(widths: list[int]) -> None:
    fusion, values = TensorFusion(widths), draw(widths)
    given = fusion(values).numpy()
    assert fusion.out_dim == given.shape[1] == math.prod(width + 1 for width in widths)
    np.testing.assert_allclose(given, full_tensor(values).reshape(6, -1), rtol=1e-12)
    for row in range(6):
        factors = [with_one(value)[row] for value in values]
        np.testing.assert_allclose(given[row], functools.reduce(np.kron, factors), rtol=1e-12)


def test_tensor_projects_what_is_wider() -> None:
    fusion = TensorFusion([3, 2, 7], project=3).double()
    values = draw([3, 2, 7])
    assert fusion.out_dim == 4 * 3 * 4
    (name, weight), (_, bias) = fusion.named_parameters()
    assert (name, weight.shape) == ("projections.2.weight", (3, 7))
    expected = full_tensor([*values[:2], (values[2] @ weight.T + bias).detach()]).reshape(6, -1)
    np.testing.assert_allclose(fusion(values).detach(), expected, rtol=1e-12)
    fusion(values).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in fusion.parameters())


@pytest.mark.parametrize("widths", [[2000, 2000], [64, 64, 64, 64], [16, 16, 16, 900]])
def test_tensor_refuses_and_its_remedy_works(widths: list[int]) -> None:
    """The message names the size, and the projection it proposes is the widest that fits."""
    with pytest.raises(UsageError, match="would be ") as raised:
        TensorFusion(widths)
    message = str(raised.value)
    assert f"{math.prod(width + 1 for width in widths):,} numbers wide" in message
    found = re.search(r"--set fusion.project=(\d+)", message)
    assert found is not None
    project = int(found[1])
    assert TensorFusion(widths, project=project).out_dim <= 1 << 18
    with pytest.raises(UsageError):
        TensorFusion(widths, project=project + 1)


def test_tensor_refuses_too_many_modalities() -> None:
    with pytest.raises(UsageError, match="30 modalities are too many for it; use low-rank-tensor-fusion"):
        TensorFusion([8] * 30)
    with pytest.raises(UsageError, match="project must be 1 or more"):
        TensorFusion([8, 8], project=0)


# --- low-rank tensor fusion -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rank", [1, 3])
@pytest.mark.parametrize("widths", WIDTHS)
def test_low_rank_is_the_contracted_full_tensor(widths: list[int], rank: int) -> None:
    """Sum the rank-one weight tensors, contract the full outer product with them, add the bias."""
    torch.manual_seed(0)
    fusion, values = LowRankTensorFusion(widths, out_dim=4, rank=rank).double(), draw(widths)
    nn.init.normal_(fusion.bias)
    axes = string.ascii_lowercase[: len(widths)]
    factors = [factor.detach().numpy() for factor in fusion.factors]
    weight = np.einsum(",".join(f"{a}RO" for a in axes) + f",R->{axes}O", *factors, fusion.weights.detach().numpy())
    expected = np.einsum(f"Z{axes},{axes}O->ZO", full_tensor(values), weight) + fusion.bias.detach().numpy()
    np.testing.assert_allclose(fusion(values).detach(), expected, rtol=1e-10, atol=1e-12)


def test_low_rank_without_the_constant_is_the_outer_product_alone() -> None:
    fusion, values = LowRankTensorFusion([3, 4], out_dim=5, rank=2, constant=False).double(), draw([3, 4])
    first, second = (factor.detach().numpy() for factor in fusion.factors)
    weight = np.einsum("iro,jro,r->ijo", first, second, fusion.weights.detach().numpy())
    outer = np.einsum("bi,bj->bij", *(value.numpy() for value in values))
    np.testing.assert_allclose(fusion(values).detach(), np.einsum("bij,ijo->bo", outer, weight), rtol=1e-10)


@pytest.mark.parametrize("widths", WIDTHS)
def test_low_rank_factors_are_trained_saved_and_counted(widths: list[int]) -> None:
    """MultiBench's are none of it: its factors stand in a plain list."""
    torch.manual_seed(0)
    rank, out_dim = 3, 4
    fusion = LowRankTensorFusion(widths, out_dim=out_dim, rank=rank).double()
    expected = rank * out_dim * sum(width + 1 for width in widths) + rank + out_dim
    assert sum(p.numel() for p in fusion.parameters()) == expected
    names = {"weights", "bias", *(f"factors.{index}" for index in range(len(widths)))}
    assert set(dict(fusion.named_parameters())) == set(fusion.state_dict()) == names
    before = {name: value.clone() for name, value in fusion.state_dict().items()}
    optimizer = torch.optim.SGD(fusion.parameters(), lr=0.1)
    (fusion(draw(widths)) - 1).square().sum().backward()
    optimizer.step()
    for name, value in fusion.state_dict().items():
        # Every single number of a factor is in some product.
        assert (value != before[name]).all(), name


def test_low_rank_weights_survive_a_save_and_a_load() -> None:
    from safetensors.torch import load, save

    fusion, other = (LowRankTensorFusion([3, 5], out_dim=4, rank=2) for _ in range(2))
    values = [value.float() for value in draw([3, 5])]
    assert not torch.equal(fusion(values), other(values))
    other.load_state_dict(load(save(fusion.state_dict())))
    assert torch.equal(fusion(values), other(values))


def test_low_rank_never_forms_the_tensor() -> None:
    """The outer product of twelve representations would have 65**12 numbers."""
    fusion = LowRankTensorFusion([64] * 12, out_dim=8, rank=4)
    assert fusion([torch.randn(2, 64) for _ in range(12)]).shape == (2, 8)


def test_low_rank_starts_at_a_usable_scale() -> None:
    """Standard normal inputs give outputs of a deviation near one, so that neither end of the net saturates."""
    torch.manual_seed(0)
    for widths in ([32], [48, 48], [32, 32, 32]):
        fusion = LowRankTensorFusion(widths, out_dim=64, rank=16)
        deviation = fusion([torch.randn(256, width) for width in widths]).std().item()
        assert 0.2 < deviation < 5, (widths, deviation)


def test_low_rank_refuses() -> None:
    with pytest.raises(UsageError, match="rank=0"):
        LowRankTensorFusion([3], rank=0)


@pytest.mark.parametrize("make", [Concat, ConcatEarly, TensorFusion, LowRankTensorFusion])
@pytest.mark.parametrize("rows", [1, 7])
def test_inputs_are_not_modified_and_one_row_is_a_batch(make: type[nn.Module], rows: int) -> None:
    fusion = make([3, 2]).double()
    values = draw([3, 2], rows)
    assert fusion(values).shape == (rows, fusion.out_dim)
    for one, other in zip(values, draw([3, 2], rows), strict=True):
        assert torch.equal(one, other)
