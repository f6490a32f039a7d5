"""The conformance kit's own cases of every encoder and fusion, with real tensors of the GPU."""

from __future__ import annotations

import pytest
import torch

from braidbench.errors import MissingPackageError
from braidbench.registry import registry
from braidbench.testing import components, find_components
from braidbench_multizoo import register_encoders, register_fusions

from .conftest import DEVICE

NAMES = [f"encoder:{spec.name}" for spec in register_encoders()] + [
    f"fusion:{spec.name}" for spec in register_fusions()
]


@pytest.mark.parametrize("name", NAMES)
def test_output_and_gradients_are_the_cpus(name):
    """In evaluation mode, for one case of each form of input and output: to 1e-3 of the largest number. What is further
    apart in float32 (normalising three numbers multiplies rounding by a thousand) has to agree in float64, to 1e-6."""
    (subject,) = find_components(registry(), [name])
    try:
        cases = components._representative(subject)
    except MissingPackageError as missing:
        pytest.skip(str(missing))
    for case in cases:
        module = case.make()
        gap = _apart(case, module, torch.float32)
        if gap > 1e-3:
            assert _apart(case, module, torch.float64) <= 1e-6, f"{case.label}: {gap:.2g} apart in float32"


def _apart(case, module: torch.nn.Module, kind: torch.dtype) -> float:
    """The largest gap of the output and of any gradient between the CPU and the device."""
    found = []
    for device in ("cpu", DEVICE):
        for part in module.to(device, kind).train().modules():
            if isinstance(part, torch.nn.modules.dropout._DropoutNd):
                part.p = 0.0
        # cuDNN has no backward pass of a recurrent layer in evaluation mode, and draws of dropout differ in training.
        module.eval() if _draws(module) else module.train()
        module.zero_grad(set_to_none=True)
        moved = [
            (x.to(device, kind) if x.is_floating_point() else x.to(device), None if n is None else n.to(device))
            for x, n in components._own_pairs(case, 7)
        ]
        with torch.backends.cudnn.flags(enabled=module.training, allow_tf32=False):
            output = case.real(case.call(module, moved), moved)
            assert output.device.type == device
            if output.requires_grad:
                output.square().sum().backward()
        gradients = [p.grad.cpu().clone() for p in module.parameters() if p.grad is not None]
        found.append([output.detach().cpu(), *gradients])
    assert len(found[0]) == len(found[1])
    return max(components._gap(one, other) for one, other in zip(*found, strict=True))


def _draws(module: torch.nn.Module) -> bool:
    """Whether the module draws from a generator in training: its two passes would not be comparable."""
    samples = ("ProductOfExperts", "GMELSTM", "DeepAveraging", "TimeSeriesVAE")
    functional = ("Blocks",)
    return any(type(part).__name__ in (*samples, *functional) for part in module.modules())
