"""What a model costs: parameters, floating point operations, seconds, bytes."""

from __future__ import annotations

import statistics
import sys
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from braidbench.data import Split


def count_parameters(model: nn.Module) -> tuple[int, int]:
    """(trained, total) numbers in the model's parameters."""
    sizes = [(p.numel(), p.requires_grad) for p in model.parameters()]
    return sum(size for size, trained in sizes if trained), sum(size for size, _ in sizes)


@torch.no_grad()
def count_flops(model: nn.Module, split: Split) -> int:
    """Floating point operations of one forward pass of one sample, the split's longest; a multiply-add counts two.

    Matrix products, convolutions, attention and recurrent layers count, element-wise work does not. It is a number of
    the model's: fused kernels, of which every device has others, are switched off while it is counted.
    """
    model.eval()
    batch = split.batch(_longest(split)).to(next(model.parameters()).device)
    return flops_of(model, batch.inputs, batch.lengths)


def flops_of(model: nn.Module, inputs: Mapping[str, Tensor], lengths: Mapping[str, Tensor | None]) -> int:
    """The same of one call with these inputs, on whatever device they and the model are."""
    with _without_fused_kernels(), FlopCounterMode(display=False) as counter:
        model(inputs, lengths)
    return int(counter.get_total_flops())


@contextmanager
def _without_fused_kernels() -> Iterator[None]:
    """Recurrent layers and attention come apart into the matrix products that they are, on every device alike."""
    with ExitStack() as stack:
        stack.enter_context(warnings.catch_warnings())
        # Setting oneDNN's switches warns of Intel GPUs that are not there.
        warnings.simplefilter("ignore", UserWarning)
        stack.enter_context(torch.backends.cudnn.flags(enabled=False))
        stack.enter_context(torch.backends.mkldnn.flags(enabled=False))
        stack.enter_context(sdpa_kernel(SDPBackend.MATH))
        stack.callback(torch.backends.mha.set_fastpath_enabled, torch.backends.mha.get_fastpath_enabled())
        torch.backends.mha.set_fastpath_enabled(False)
        yield


def _longest(split: Split) -> torch.Tensor:
    lengths = [column.lengths for column in split.columns.values() if column.lengths is not None]
    if not lengths:
        return torch.tensor([0])
    return torch.stack(lengths).sum(0).argmax().reshape(1)


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
