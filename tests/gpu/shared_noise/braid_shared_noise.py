"""A plugin that declares nothing: where it is installed, chance is drawn on the CPU, whatever device a tensor is on.

Every device has a generator of its own, so that two devices drop out other units and draw other samples from one seed.
To compare their arithmetic both get the same draws. Tests alone install it, by PYTHONPATH.
"""

import torch
from torch import Tensor
from torch.nn import functional


def dropout(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    if not training or p == 0:
        return input
    kept = torch.empty(input.shape).bernoulli_(1 - p)
    return input * kept.to(input.device, input.dtype) / (1 - p)


def randn_like(input: Tensor, **options: object) -> Tensor:
    return torch.randn(input.shape).to(input.device, input.dtype)


def bernoulli(input: Tensor, **options: object) -> Tensor:
    return (torch.rand(input.shape).to(input.device) < input).to(input.dtype)


if __name__ == "braid_shared_noise":  # as a plugin; a test that borrows the functions names the module otherwise
    functional.dropout = dropout
    torch.randn_like = randn_like
    torch.bernoulli = bernoulli
