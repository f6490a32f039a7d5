"""Corruptions: identity at zero, chance from the generator only, the declared effect in size."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from braidbench.errors import UsageError
from braidbench_multibench import corruptions

SHAPES: dict[str, tuple[int, ...]] = {
    "image_noise": (40, 1, 28, 28),
    "audio_noise": (40, 92, 13),
    "series_drop": (40, 50, 4),
    "tabular_drop": (200, 20),
    "missing_modality": (400, 3, 2),
}
ALL = sorted(SHAPES)


def sample(name: str) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    if name == "image_noise":
        return torch.rand(SHAPES[name], generator=generator)
    return torch.randn(SHAPES[name], generator=generator)


def corrupt(name: str, x: Tensor, severity: float, seed: int = 0) -> Tensor:
    function: Callable[..., Tensor] = getattr(corruptions, name)
    return function(x, severity, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("name", ALL)
def test_severity_zero_is_the_identity_bit_for_bit(name: str) -> None:
    x = sample(name)
    x.view(-1)[0] = -0.0
    assert torch.equal(corrupt(name, x, 0.0).view(torch.int32), x.view(torch.int32))


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("severity", [0.0, 0.3, 1.0])
def test_the_input_is_not_modified_nor_returned(name: str, severity: float) -> None:
    x = sample(name)
    before = x.clone()
    changed = corrupt(name, x, severity)
    changed.fill_(7.0)
    assert torch.equal(x, before)


@pytest.mark.parametrize("name", ALL)
def test_the_generator_is_the_only_source_of_chance(name: str) -> None:
    x = sample(name)
    torch.manual_seed(1)
    first = corrupt(name, x, 0.5, seed=5)
    torch.manual_seed(2)
    state = torch.get_rng_state()
    assert torch.equal(corrupt(name, x, 0.5, seed=5), first)
    assert torch.equal(torch.get_rng_state(), state)
    assert not torch.equal(corrupt(name, x, 0.5, seed=6), first)
    assert first.shape == x.shape
    assert first.dtype == x.dtype


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("severity", [-0.1, 1.1, float("nan")])
def test_a_severity_out_of_range_is_an_error(name: str, severity: float) -> None:
    with pytest.raises(UsageError, match=r"\[0, 1\]"):
        corrupt(name, sample(name), severity)


def test_image_noise_has_the_severity_as_its_deviation_and_keeps_the_range() -> None:
    x = torch.full((50, 1, 28, 28), 0.5)
    x[0, 0, 0, 0], x[0, 0, 0, 1] = 0.0, 1.0
    added = corrupt("image_noise", x, 0.05) - x
    assert added.std().item() == pytest.approx(0.05, rel=0.02)
    heavy = corrupt("image_noise", x, 1.0)
    assert (heavy.min().item(), heavy.max().item()) == (0.0, 1.0)


def test_audio_noise_is_relative_to_each_recordings_own_power() -> None:
    loud = torch.randn(2, 5000, 3, generator=torch.Generator().manual_seed(0))
    loud[1] *= 100
    loud[:, 2500:] = 0.0  # padding, which has no power
    added = (corrupt("audio_noise", loud, 0.1) - loud)[:, :2500]
    signal = loud[:, :2500]
    decibels = 10 * torch.log10((signal**2).mean((1, 2)) / (added**2).mean((1, 2)))
    assert decibels.tolist() == pytest.approx([20.0, 20.0], abs=0.2)


def test_audio_noise_leaves_silence_silent() -> None:
    assert torch.equal(corrupt("audio_noise", torch.zeros(2, 10, 3), 1.0), torch.zeros(2, 10, 3))


@pytest.mark.parametrize(
    ("name", "unit"), [("series_drop", (0, 1)), ("tabular_drop", (0, 1)), ("missing_modality", (0,))]
)
def test_drops_zero_whole_units_at_the_declared_rate(name: str, unit: tuple[int, ...]) -> None:
    x = sample(name)
    changed = corrupt(name, x, 0.3)
    zero = (changed == 0).flatten(len(unit)) if x.ndim > len(unit) else (changed == 0)[..., None]
    kept = (changed == x).reshape(zero.shape)
    assert bool((zero.all(-1) | kept.all(-1)).all())
    units = zero[..., 0].numel()
    rate = zero.all(-1).float().mean().item()
    assert abs(rate - 0.3) < 4 * (0.3 * 0.7 / units) ** 0.5
    assert torch.count_nonzero(corrupt(name, x, 1.0)) == 0


@pytest.mark.parametrize("name", ["series_drop", "tabular_drop", "missing_modality"])
def test_what_is_dropped_at_a_low_severity_is_dropped_at_a_higher_one(name: str) -> None:
    x = sample(name)
    low, high = corrupt(name, x, 0.3), corrupt(name, x, 0.6)
    assert bool((high[low == 0] == 0).all())
    assert torch.count_nonzero(high) < torch.count_nonzero(low)


def test_a_missing_modality_of_tokens_stays_whole_numbers() -> None:
    x = torch.arange(1, 25).reshape(4, 6)
    changed = corrupt("missing_modality", x, 0.5)
    assert changed.dtype == torch.int64
    assert torch.equal(corrupt("missing_modality", x, 0.0), x)
