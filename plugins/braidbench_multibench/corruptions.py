"""Corruptions of one modality at a severity in [0, 1].

Each takes ``x`` (N, …), the scale that the model sees, and gives a changed copy; severity 0 gives the same bits. Every
draw is over the whole of ``x`` and from ``generator`` alone, so one seed gives nested corruptions: what is dropped at
.3 is dropped at .4 too. Steps beyond a sequence's end are set to zero again by the caller.

The kinds follow MultiBench (Liang et al. 2021, section 4.3 and appendix). Its code corrupts lists in place, gives a
whole sample one noise value or one per step depending on how lists are nested, and silences every recording that its
audio noise does not select, even at level 0; none of that is repeated here.
"""

from __future__ import annotations

import torch
from torch import Tensor

from braidbench.errors import UsageError


def image_noise(x: Tensor, severity: float, generator: torch.Generator) -> Tensor:
    """Gaussian noise of deviation ``severity`` × the images' value range, clipped to that range.

    For images in [0, 1] the deviation is the severity. MultiBench applies ten transforms, each with probability p,
    among them this one; with its deviation of at most 1 on values to 255 it cannot be seen.
    """
    _check(severity)
    if severity == 0:
        return x.clone()
    low, high = x.amin(), x.amax()
    return (x + severity * (high - low) * _normal(x, generator)).clamp(low, high)


def audio_noise(x: Tensor, severity: float, generator: torch.Generator) -> Tensor:
    """White Gaussian noise at ``severity`` × each recording's own root mean square: 0 dB at severity 1, 20 dB at .1.

    Zeros do not count towards a recording's power, because they are padding.
    """
    _check(severity)
    if severity == 0:
        return x.clone()
    flat = x.flatten(1)
    power = (flat**2).sum(1) / (flat != 0).sum(1).clamp(min=1)
    scale = severity * power.sqrt().reshape(-1, *(1,) * (x.ndim - 1))
    return x + scale * _normal(x, generator)


def series_drop(x: Tensor, severity: float, generator: torch.Generator) -> Tensor:
    """Every time step of every sample (N, T, …) is zero with probability ``severity``, all its features at once.

    This is MultiBench's structural drop, with a draw for each step; zero is the mean of a standardised series.
    """
    _check(severity)
    return _drop(x, severity, generator, x.shape[:2])


def tabular_drop(x: Tensor, severity: float, generator: torch.Generator) -> Tensor:
    """Every feature of every row is zero, the mean of a standardised table, with probability ``severity``.

    MultiBench also copies a neighbouring feature's value over some; features of different units are left apart here.
    """
    _check(severity)
    return _drop(x, severity, generator, x.shape)


def missing_modality(x: Tensor, severity: float, generator: torch.Generator) -> Tensor:
    """The whole modality of a sample is absent (zeros) with probability ``severity``; at 1 it is for everybody."""
    _check(severity)
    return _drop(x, severity, generator, x.shape[:1])


def _check(severity: float) -> None:
    if not 0 <= severity <= 1:
        raise UsageError(f"a corruption's severity is in [0, 1], not {severity}")


def _normal(x: Tensor, generator: torch.Generator) -> Tensor:
    return torch.randn(x.shape, generator=generator, device=generator.device, dtype=x.dtype).to(x.device)


def _drop(x: Tensor, severity: float, generator: torch.Generator, shape: torch.Size) -> Tensor:
    """A copy with zeros where a uniform draw of ``shape``, broadcast over the trailing axes, is below ``severity``."""
    draw = torch.rand(shape, generator=generator, device=generator.device).to(x.device)
    return x.masked_fill((draw < severity).reshape(*shape, *(1,) * (x.ndim - len(shape))), 0)
