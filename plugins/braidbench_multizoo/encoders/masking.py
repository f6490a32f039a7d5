"""What every encoder of sequences needs: which steps are real, and pooling over them alone."""

from __future__ import annotations

import torch
from torch import Tensor


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
