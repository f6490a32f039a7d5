"""What torch computes with: one number of threads, full precision, deterministic kernels, nobody's environment.

Deterministic kernels are demanded first, and a kernel that has no deterministic form then stops the cell. It is run
again with a mere warning, and the result names the kernel: the memory-efficient attention, for one, uses its
deterministic form only when that is demanded.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch

WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"
WORKSPACES = (":4096:8", ":16:8")
"""The configurations with which cuBLAS is deterministic. Source: cuBLAS documentation, Results reproducibility."""

NEUTRALISED = (
    "DNNL_DEFAULT_FPMATH_MODE", "NVIDIA_TF32_OVERRIDE", "ONEDNN_DEFAULT_FPMATH_MODE", "PYTORCH_TUNABLEOP_ENABLED",
    "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE",
)  # fmt: skip
"""Variables that change the precision or the choice of kernels: taken out of the environment while a cell runs."""

RECORDED = re.compile(
    r"(ACCELERATE|BLIS|CUBLAS|CUBLASLT|CUDNN|DNNL|GOMP|GOTO|HIPBLAS|HIPBLASLT|KMP|MIOPEN|MKL|NCCL|ONEDNN|OMP|OPENBLAS"
    r"|PYTORCH|ROCBLAS|TORCH|TORCHDYNAMO|TORCHINDUCTOR|TRITON|VECLIB|XLA)_.*"
    r"|NVIDIA_TF32_OVERRIDE|ATEN_CPU_CAPABILITY|DISABLE_ADDMM_CUDA_LT|GLIBC_TUNABLES|PYTHONHASHSEED"
)
"""Variables that can change what torch computes: a result says which were set."""

_PLACES = re.compile(r".*(_HOME|_DIR|_PATH|_CACHE|_FILE|_LOG\w*)")
"""Of those the ones that name a place on the user's disk, which is nobody's business."""

_NO_FORM = re.compile(r"(?P<kernel>[\w.:<>~-]+) does not have a deterministic implementation")
_NOT_BY_DEFAULT = re.compile(r"(?P<kernel>\w[\w -]*) defaults to a non-deterministic algorithm")
_CUBLAS = "not deterministic because it uses CuBLAS"


def recorded_variables() -> dict[str, str]:
    """The environment variables that were set and can change what torch computes."""
    return {
        name: value[:200]
        for name, value in sorted(os.environ.items())
        if RECORDED.fullmatch(name) and not _PLACES.fullmatch(name) and name != WORKSPACE
    }


@dataclass
class Determinism:
    """What was set while a cell ran, and which kernels broke it."""

    demanded: bool = True
    kernels: list[str] = field(default_factory=list)

    @property
    def kept(self) -> bool:
        """Whether every kernel that ran was deterministic."""
        return self.demanded and not self.kernels

    def add(self, kernel: str) -> None:
        if kernel not in self.kernels:
            self.kernels.append(kernel)


def kernel_in(message: str) -> str | None:
    """The kernel that torch's error or warning says has no deterministic form, or None for another message."""
    found = _NO_FORM.search(message) or _NOT_BY_DEFAULT.search(message)
    if found:
        return found["kernel"]
    return "cuBLAS" if _CUBLAS in message else None


class NondeterministicKernelError(RuntimeError):
    """A kernel without a deterministic form was asked for while deterministic ones are demanded."""


@contextmanager
def named() -> Iterator[None]:
    """torch's refusal of a kernel inside comes out as :class:`NondeterministicKernelError`."""
    try:
        yield
    except NondeterministicKernelError:
        raise
    except RuntimeError as error:
        if kernel_in(str(error)) is None:
            raise
        raise NondeterministicKernelError(str(error)) from error


Given = TypeVar("Given")


def deterministically(run: Callable[[Determinism], Given], threads: int) -> Given:
    """What ``run`` gives, with deterministic kernels; where one has no such form, again from the start without.

    ``run`` is called with the record of what was set. Everything that is set is as it was afterwards.
    """
    with _settings(threads):
        torch.use_deterministic_algorithms(True)
        try:
            return run(Determinism())
        except RuntimeError as error:
            kernel = kernel_in(str(error))
            if kernel is None:
                raise
        torch.use_deterministic_algorithms(True, warn_only=True)
        record = Determinism()
        record.add(kernel)
        with _listening(record):
            return run(record)


def demand(threads: int) -> None:
    """Set the same for the rest of the process: for analyses of a stored model."""
    _set(threads)
    torch.use_deterministic_algorithms(True, warn_only=True)


@contextmanager
def _settings(threads: int) -> Iterator[None]:
    with ExitStack() as stack:
        for name in NEUTRALISED:
            if name in os.environ:
                stack.callback(os.environ.__setitem__, name, os.environ.pop(name))
        before = os.environ.get(WORKSPACE)
        stack.callback(_put, WORKSPACE, before)
        stack.callback(torch.set_num_threads, torch.get_num_threads())
        stack.callback(
            torch.use_deterministic_algorithms,
            torch.are_deterministic_algorithms_enabled(),
            warn_only=torch.is_deterministic_algorithms_warn_only_enabled(),
        )
        stack.callback(torch.set_warn_always, torch.is_warn_always_enabled())
        for module, name in ((torch.backends.cudnn, "benchmark"), (torch.backends.cudnn, "deterministic")):
            stack.callback(setattr, module, name, getattr(module, name))
        # A plugin may have set these for the whole process, when it was imported or in an earlier cell.
        stack.callback(torch.set_default_dtype, torch.get_default_dtype())
        stack.callback(torch.set_grad_enabled, torch.is_grad_enabled())
        if (device := torch.get_default_device()) != torch.device("cpu"):
            stack.callback(torch.set_default_device, device)
            torch.set_default_device(None)
        for part in _parts():
            stack.callback(setattr, part, "fp32_precision", part.fp32_precision)
        # torch refuses to say where both of its interfaces were used; the parts above are all there is then.
        with suppress(RuntimeError):
            stack.callback(torch.set_float32_matmul_precision, torch.get_float32_matmul_precision())
        with suppress(RuntimeError):
            stack.callback(setattr, torch.backends.cudnn, "allow_tf32", torch.backends.cudnn.allow_tf32)
        _set(threads)
        yield


def _set(threads: int) -> None:
    if os.environ.get(WORKSPACE) not in WORKSPACES:
        os.environ[WORKSPACE] = WORKSPACES[0]
    torch.set_num_threads(threads)
    torch.set_default_dtype(torch.float32)
    torch.set_grad_enabled(True)
    # Each time, and not once a process: the cells of one process each have to hear of their own kernels.
    torch.set_warn_always(True)
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
    # Full precision is float32 on every device: by default convolutions on a GPU round their inputs to 10 bits, and
    # "medium" means bfloat16 for the matrix products of a CPU.
    torch.set_float32_matmul_precision("highest")
    for part in _parts():
        part.fp32_precision = "ieee"
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False


def _parts() -> list[Any]:
    """What has a precision of its own, by torch's newer interface; nothing where torch is older than that."""
    every = (("cuda", "matmul"), *((of, what) for of in ("cudnn", "mkldnn") for what in ("conv", "rnn", "matmul")))
    found = [getattr(getattr(torch.backends, of), what, None) for of, what in every]
    return [part for part in found if hasattr(part, "fp32_precision")]


def _put(name: str, value: str | None) -> None:
    if value is None:
        os.environ.pop(name, None)
    else:
        os.environ[name] = value


@contextmanager
def _listening(record: Determinism) -> Iterator[None]:
    """Kernels that torch's warnings name go into the record. Warnings come through logging (see the cell's log)."""

    class Handler(logging.Handler):
        def emit(self, entry: logging.LogRecord) -> None:
            kernel = kernel_in(entry.getMessage())
            if kernel is not None:
                record.add(kernel)

    handler = Handler()
    logger = logging.getLogger("py.warnings")
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
