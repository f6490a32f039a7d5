"""What every encoder of sequences needs: which steps are real, and pooling over them alone."""

from __future__ import annotations

import torch
from torch import Tensor

from braidbench.errors import DataError
from braidbench.specs import Modality


def valid_steps(x: Tensor, lengths: Tensor | None) -> Tensor:
    """(B, T) booleans: True for the steps before each row's length; all True without lengths."""
    if lengths is None:
        return torch.ones(x.shape[:2], dtype=torch.bool, device=x.device)
    return torch.arange(x.shape[1], device=x.device) < lengths[:, None]


def zero_padding(x: Tensor, lengths: Tensor | None) -> Tensor:
    """``x`` (B, T, …) with every step beyond its row's length set to zero, whatever stood there."""
    if lengths is None:
        return x
    keep = valid_steps(x, lengths)
    return x.masked_fill(~keep.reshape(*keep.shape, *(1,) * (x.ndim - 2)), 0.0)


def mean_pool(x: Tensor, lengths: Tensor | None) -> Tensor:
    """(B, D) means of (B, T, D) over the real steps; zero for a row without any."""
    if lengths is None:
        return x.mean(dim=1)
    return zero_padding(x, lengths).sum(dim=1) / lengths.clamp(min=1)[:, None].to(x.dtype)


def last_step(x: Tensor, lengths: Tensor | None) -> Tensor:
    """(B, D): the last real step of (B, T, D); zero for a row without any."""
    if lengths is None:
        return x[:, -1]
    index = (lengths - 1).clamp(min=0)
    last = x[torch.arange(len(x), device=x.device), index]
    return last.masked_fill((lengths == 0)[:, None], 0.0)


def features(modality: Modality) -> int:
    """Numbers in one time step, or in one sample that is no sequence."""
    return modality.size // (modality.length or 1)


def flat_steps(modality: Modality, x: Tensor, lengths: Tensor | None) -> Tensor:
    """``x`` (B, T, …) as (B, T, features) with zeros for padding, whatever stood there, NaN included.

    Raises DataError when there are more steps than the modality declares.
    """
    if modality.length is not None and x.shape[1] > modality.length:
        raise DataError(
            f"modality {modality.name!r} has a sequence of {x.shape[1]} steps; it declares length={modality.length}: "
            "declare the longest one, or cut the sequences when the dataset is loaded"
        )
    return zero_padding(x.flatten(2), lengths)


def reverse_steps(x: Tensor, lengths: Tensor | None) -> Tensor:
    """(B, T, D) with each row's real steps in reverse order; its padding stays where it is. Its own inverse."""
    if lengths is None:
        return x.flip(1)
    order = torch.arange(x.shape[1], device=x.device)
    index = torch.where(valid_steps(x, lengths), lengths[:, None] - 1 - order, order)
    return x.gather(1, index.unsqueeze(-1).expand_as(x))
