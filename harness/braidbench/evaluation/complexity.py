"""What a model costs: parameters, floating point operations, seconds, bytes."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from braidbench.data import Split


def count_parameters(model: nn.Module) -> tuple[int, int]:
    """(trained, total) numbers in the model's parameters."""
    sizes = [(p.numel(), p.requires_grad) for p in model.parameters()]
    return sum(size for size, trained in sizes if trained), sum(size for size, _ in sizes)


@torch.no_grad()
def count_flops(model: nn.Module, split: Split) -> int:
    """Floating point operations of one forward pass of one sample, the split's longest; a multiply-add counts two.

    Matrix products, convolutions, attention and recurrent layers count, element-wise work does not.
    """
    model.eval()
    batch = split.batch(_longest(split)).to(next(model.parameters()).device)
    with FlopCounterMode(display=False, custom_mapping=_ON_THE_CPU) as counter:
        model(batch.inputs, batch.lengths)
    return int(counter.get_total_flops())


def _longest(split: Split) -> torch.Tensor:
    lengths = [column.lengths for column in split.columns.values() if column.lengths is not None]
    if not lengths:
        return torch.tensor([0])
    return torch.stack(lengths).sum(0).argmax().reshape(1)


def _recurrent_flops(gates: int) -> Callable[..., int]:
    """FLOPs of a fused recurrent layer: at each step, the input's and the hidden state's products for each gate."""

    def flops(input_shape: Any, weight_ih: Any, weight_hh: Any, *_: Any, out_shape: Any = None, **__: Any) -> int:
        steps, batch, features = input_shape
        hidden = weight_hh[1]
        return int(2 * steps * batch * gates * hidden * (features + hidden))

    return flops


def _attention_flops(query: Any, key: Any, value: Any, *_: Any, out_shape: Any = None, **__: Any) -> int:
    """FLOPs of fused attention: query times key, and the weights times value, for every head."""
    return int(sdpa_flop_count(query, key, value))


_ON_THE_CPU: dict[Any, Any] = {
    torch.ops.aten.mkldnn_rnn_layer: _recurrent_flops(4),
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention_flops,
}
"""Fused kernels of the CPU that torch's own counter does not know."""


@torch.no_grad()
def inference_seconds(model: nn.Module, split: Split, batch_size: int, repeats: int = 5) -> tuple[float, int]:
    """(seconds a sample, batch size): median over ``repeats`` timed batches after one that warms up."""
    model.eval()
    device = next(model.parameters()).device
    size = min(batch_size, len(split))
    batch = split.batch(torch.arange(size)).to(device)
    times = []
    for _ in range(repeats + 1):
        _wait(device)
        start = time.perf_counter()
        model(batch.inputs, batch.lengths)
        _wait(device)
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:]) / size, size


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


class PeakMemory:
    """Peak resident bytes of this process, and of its device, from construction on.

    On Linux the kernel's high-water mark is reset first; elsewhere it is the peak since the process began.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        try:
            with open("/proc/self/clear_refs", "w") as file:
                file.write("5")
        except OSError:
            pass

    def host(self) -> int:
        try:
            with open("/proc/self/status") as file:
                for line in file:
                    if line.startswith("VmHWM:"):
                        return int(line.split()[1]) * 1024
        except OSError:
            pass
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024

    def on_device(self) -> int | None:
        return int(torch.cuda.max_memory_allocated(self.device)) if self.device.type == "cuda" else None
