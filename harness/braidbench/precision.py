"""Full precision, and bfloat16 where it is asked for.

With ``bf16`` everything that is computed of a cell runs under one autocast: training with its objective in every phase
of a procedure, validation, test, robustness, inference time. Parameters, optimiser and gradients stay float32.
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from braidbench.data import Batch
from braidbench.errors import UsageError
from braidbench.model import Output

Objective = Callable[[Output, Batch, nn.Module], Mapping[str, Tensor]]


def check_device(precision: str, device: torch.device) -> None:
    """Raise UsageError for a precision that the device does not compute in."""
    if precision == "bf16" and device.type == "cuda" and not torch.cuda.is_bf16_supported():
        name = torch.cuda.get_device_name(device)
        raise UsageError(f"--precision bf16: {name} does not compute in bfloat16; leave the option out")


@contextmanager
def computing_in(precision: str, device: torch.device) -> Iterator[None]:
    """Everything inside, forward and loss, is computed in ``precision`` on ``device``.

    A weight is cast each time it is used: a cache of cast weights would outlive the step that changes them. Where it is
    known that nothing changes, :func:`unchanged_weights` caches.
    """
    half = precision == "bf16"
    with torch.autocast(device.type, torch.bfloat16, enabled=half, cache_enabled=False), ExitStack() as stack:
        if half and device.type == "cpu" and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
            # oneDNN's recurrent layers are refused in bfloat16 by a CPU without AVX-512; torch's own are not.
            with warnings.catch_warnings():
                # Setting oneDNN's switches warns of Intel GPUs that are not there.
                warnings.simplefilter("ignore", UserWarning)
                stack.enter_context(torch.backends.mkldnn.flags(enabled=False))
        yield


def autocasts(device: torch.device) -> bool:
    """Whether autocast is on for the device. Some kinds, ``meta`` for one, have none."""
    return torch.amp.is_autocast_available(device.type) and torch.is_autocast_enabled(device.type)


@contextmanager
def unchanged_weights(device: torch.device) -> Iterator[None]:
    """Inside, no weight changes, so that autocast (if it is on) casts each once: of use to loops over steps."""
    if not autocasts(device):
        yield
        return
    try:
        with torch.autocast(device.type, torch.get_autocast_dtype(device.type), cache_enabled=True):
            yield
    finally:
        torch.clear_autocast_cache()


@contextmanager
def in_full_precision(device: torch.device) -> Iterator[None]:
    """Autocast is off inside."""
    with torch.autocast(device.type, enabled=False):
        yield


class InFullPrecision:
    """An objective that needs float32 (:attr:`braidbench.specs.Objective.full_precision`): called outside of autocast,
    with every floating tensor of the model's output in float32. Its attributes are the objective's."""

    def __init__(self, objective: Objective) -> None:
        self.objective = objective

    def __getattr__(self, name: str) -> Any:
        # Looked for here only when it is no attribute of the wrapper; a copy in the making has no objective yet.
        if name == "objective":
            raise AttributeError(name)
        return getattr(self.objective, name)

    def __call__(self, output: Output, batch: Batch, model: nn.Module) -> Mapping[str, Tensor]:
        device = output.prediction.device
        if not autocasts(device):
            return self.objective(output, batch, model)
        with in_full_precision(device):
            return self.objective(as_float32(output), batch, model)


def as_float32(value: Any) -> Any:
    """A value with every half-precision tensor in it, at any depth of dataclasses, mappings, lists and tuples, in
    float32. Containers are copied, other things are passed on as they are."""
    if isinstance(value, Tensor):
        return value.float() if value.dtype in (torch.bfloat16, torch.float16) else value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: as_float32(getattr(value, f.name)) for f in dataclasses.fields(value) if f.init}
        return dataclasses.replace(value, **fields)
    if isinstance(value, dict):
        return {key: as_float32(item) for key, item in value.items()}
    if isinstance(value, list):
        return [as_float32(item) for item in value]
    if type(value) is tuple:
        return tuple(as_float32(item) for item in value)
    return value
