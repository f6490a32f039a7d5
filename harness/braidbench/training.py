"""The one training loop that procedures share.

Training runs through accelerate: the device, and several devices, are its business; the precision is the core's
(:mod:`braidbench.precision`). Model selection is on the validation split. A checkpoint holds everything that decides
what comes next, so that a run that was killed goes on from its last one and ends with the very result it would have
had.
"""

from __future__ import annotations

import copy
import io
import math
import os
import re
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, PartialState
from numpy.typing import NDArray
from torch import Tensor, nn

from braidbench.budget import Meter
from braidbench.data import Batch, Split, TrainingData
from braidbench.environment import LAUNCHERS, launch
from braidbench.failures import NonFiniteLossError
from braidbench.files import write_bytes
from braidbench.model import Output, activate
from braidbench.precision import in_full_precision, unchanged_weights
from braidbench.specs import Task, Training

Score = Callable[[NDArray[Any], NDArray[Any]], float]

CHECKPOINT_SHARE = 0.02
"""Largest share of the time that checkpoints may take: one is written when that many times its cost has passed."""


Rank = tuple[bool, float]
"""How good an epoch is: one whose validation score is defined beats every other, by its score; of the others the one
with the smallest validation loss is best."""

WORST: Rank = (False, -math.inf)


def rank_of(valid: float | None, loss: float | None, sign: int) -> Rank:
    """The rank of an epoch with this validation score (None: undefined) and, in its absence, validation loss."""
    if valid is not None:
        return True, sign * valid
    return False, -math.inf if loss is None else -loss


@dataclass
class History:
    """One entry an epoch; ``best`` is the epoch (from 0) whose weights the model has."""

    epochs: list[dict[str, float | None]] = field(default_factory=list)
    best: int = -1
    resumed_at: int | None = None
    defined: bool = False
    """Whether the validation score was defined in any epoch; if not, the validation loss has chosen the best."""

    def rank(self, sign: int) -> Rank:
        """The rank of the best epoch; ``sign`` is that of the score."""
        best = self.epochs[self.best]
        return rank_of(best["valid"], best.get("valid_loss"), sign)


@dataclass
class Settings:
    """What a procedure needs beside the model and the data."""

    training: Training
    task: Task
    objective: Callable[[Output, Batch, nn.Module], Mapping[str, Tensor]]
    score: Score
    """Validation score of (prediction, target) arrays, as the task's first metric."""
    sign: int
    """+1 where a higher score is better, −1 where a lower one is."""
    seeds: Mapping[str, int]
    accelerator: Accelerator
    keep: Literal["best", "last"] = "best"
    """Which epoch's weights :func:`train` leaves the model with: the best on validation, or the last."""
    checkpoint: Path | None = None
    progress: Callable[[int, int, float], None] = lambda epoch, epochs, score: None
    history: History = field(default_factory=History)
    """What :func:`train` did, in all phases."""
    meter: Meter = field(default_factory=Meter)
    """What was spent so far. The harness's own: it goes into checkpoints, and nobody else writes it."""
    parent: Settings | None = None

    def phase(self, name: str, **changes: Any) -> Settings:
        """Settings for one part of a procedure that trains more than once.

        ``train(model, data, settings.phase("audio"))``: the part has a checkpoint of its own under ``name`` (letters,
        digits, ``-``), so that an interrupted cell goes on in the right part, and its epochs are added to the cell's.
        ``changes`` replace any field.
        """
        path = self.checkpoint
        own = None if path is None else path.with_name(f"{path.stem}-{name}{path.suffix}")
        return replace(self, **{"checkpoint": own, "history": History(), **changes}, parent=self)


def _record(settings: Settings, history: History) -> None:
    """Keep what a run of :func:`train` did; in a phase, the cell's history goes on with it."""
    settings.history = history
    parent = settings.parent
    while parent is not None:
        past = len(parent.history.epochs)
        parent.history.epochs += history.epochs
        parent.history.best = past + history.best
        parent.history.defined |= history.defined
        if history.resumed_at is not None:
            parent.history.resumed_at = past + history.resumed_at
        parent = parent.parent


@dataclass
class _State:
    """Everything that decides how training goes on."""

    epoch: int = 0
    best: Rank = WORST
    best_weights: dict[str, Tensor] | None = None
    history: History = field(default_factory=History)


def make_accelerator(device: str = "auto") -> Accelerator:
    """An accelerator on the CPU (``cpu``), or on the GPUs if there are any, in full precision.

    accelerate reads variables of the environment that change predictions (mixed precision, compilation, sharding),
    which no result would show: it sees none of them. Nor those of a distributed launch, where there is none.
    """
    on_gpu = device != "cpu" and torch.cuda.is_available()
    with _without_variables("(ACCELERATE|FSDP|PARALLELISM_CONFIG)_.*" + ("" if launch() else f"|{LAUNCHERS.pattern}")):
        if PartialState._shared_state and PartialState().num_processes == 1:
            # One process may run cells on one device after another; accelerate remembers the first.
            AcceleratorState._reset_state(reset_partial_state=True)
        return Accelerator(cpu=not on_gpu, mixed_precision="no")


@contextmanager
def _without_variables(names: str) -> Iterator[None]:
    """``names``: a regular expression."""
    taken = {name: os.environ.pop(name) for name in list(os.environ) if re.fullmatch(names, name)}
    try:
        yield
    finally:
        os.environ.update(taken)


def train(model: nn.Module, data: TrainingData, settings: Settings) -> History:
    """Train ``model`` in place and leave it with the weights of its best validation epoch (or the last, as ``keep``
    says).

    Raises NonFiniteLossError after an epoch whose loss is not finite.
    """
    plan, accelerator = settings.training, settings.accelerator
    model.to(accelerator.device)
    optimizer = make_optimizer([p for p in model.parameters() if p.requires_grad], plan)
    state = _State()
    _resume(settings, state, model, optimizer)
    # Only the model is wrapped. Accelerate's optimiser and backward are there for loss scaling, which neither full
    # precision nor bfloat16 needs, and look an optional package up on disk at every step.
    wrapped = accelerator.prepare(model)
    checkpoint_due = 0.0
    for epoch in range(state.epoch, plan.epochs):
        loss = _train_epoch(wrapped, optimizer, data.train, settings, epoch)
        if not math.isfinite(loss):
            raise NonFiniteLossError(
                f"the training loss is {loss} in epoch {epoch + 1}; lower the learning rate: --set training.lr=…"
            )
        prediction, target = predict(model, data.valid, settings.task, 4 * plan.batch_size)
        score = settings.score(prediction, target)
        line: dict[str, float | None] = {"loss": loss, "valid": score if math.isfinite(score) else None}
        if line["valid"] is None:
            line["valid_loss"] = validation_loss(prediction, target, settings.task)
        rank = rank_of(line["valid"], line.get("valid_loss"), settings.sign)
        if rank > state.best or state.best_weights is None:
            state.best, state.history.best = rank, epoch
            state.best_weights = {name: value.detach().clone() for name, value in model.state_dict().items()}
        state.epoch = epoch + 1
        state.history.epochs.append(line)
        state.history.defined |= rank[0]
        settings.progress(epoch + 1, plan.epochs, score)
        if plan.patience is not None and epoch - state.history.best >= plan.patience:
            break
        if settings.checkpoint is not None and accelerator.is_main_process and time.perf_counter() >= checkpoint_due:
            before = time.perf_counter()
            _save(settings, state, model, optimizer)
            after = time.perf_counter()
            checkpoint_due = after + (after - before) / CHECKPOINT_SHARE
    if state.best_weights is not None and settings.keep == "best":
        model.load_state_dict(state.best_weights)
    _record(settings, state.history)
    return state.history


def make_optimizer(parameters: list[nn.Parameter], plan: Training) -> torch.optim.Optimizer:
    """The optimiser that a :class:`~braidbench.specs.Training` declares, by its name in ``torch.optim``."""
    options: dict[str, Any] = {"lr": plan.lr, "weight_decay": plan.weight_decay}
    if plan.optimizer in ("SGD", "RMSprop"):
        options["momentum"] = plan.momentum
    if plan.optimizer != "RMSprop" and all(p.is_floating_point() for p in parameters):
        # One kernel for all parameters instead of a dozen for each; RMSprop has none.
        options["fused"] = True
    optimizer: torch.optim.Optimizer = getattr(torch.optim, plan.optimizer)(parameters, **options)
    return optimizer


def _train_epoch(
    model: nn.Module, optimizer: torch.optim.Optimizer, split: Split, settings: Settings, epoch: int
) -> float:
    """One pass; gives the mean loss a step. The sum stays on the device until the end: reading it would wait."""
    accelerator, plan = settings.accelerator, settings.training
    bare = accelerator.unwrap_model(model)
    parameters = [p for p in bare.parameters() if p.requires_grad]
    # Dropout's chance follows from the epoch alone, so that a resumed run draws what the first one would have drawn.
    torch.manual_seed((settings.seeds["order"] + epoch) % (1 << 63))
    total = torch.zeros((), device=accelerator.device)
    steps = 0
    model.train()
    rank, world = accelerator.process_index, accelerator.num_processes
    for batch in split.shuffled(plan.batch_size, settings.seeds["order"], epoch, rank, world):
        batch = batch.to(accelerator.device)
        with unchanged_weights(accelerator.device):
            output = model(batch.inputs, batch.lengths)
            loss = torch.stack([term.float() for term in settings.objective(output, batch, bare).values()]).sum()
        optimizer.zero_grad(set_to_none=True)
        with in_full_precision(accelerator.device):
            # Gradients are computed in the precision that the forward pass recorded; autocast must not cast again.
            loss.backward()
        if plan.clip is not None:
            torch.nn.utils.clip_grad_norm_(parameters, plan.clip)
        optimizer.step()
        total += loss.detach()
        steps += 1
    return float(total) / max(steps, 1)


@torch.no_grad()
def predict(model: nn.Module, split: Split, task: Task, batch_size: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """(N, width) predictions as they are scored, and the (N, …) target, in the split's order."""
    model.eval()
    device = next(model.parameters()).device
    with unchanged_weights(device):
        parts = [
            activate(task, model(*_on(batch, device)).prediction).cpu() for batch in split.batches(max(batch_size, 1))
        ]
    return torch.cat(parts).numpy(), split.target.numpy()


def validation_loss(prediction: NDArray[Any], target: NDArray[Any], task: Task) -> float | None:
    """The mean negative log-likelihood of (N, width) predictions as they are scored, in nats, or their mean squared
    error for a regression; None where a prediction is not finite. It chooses the epoch where no score can."""
    if not np.isfinite(prediction).all():
        return None
    chance = np.clip(prediction.astype(np.float64), 1e-7, 1 - 1e-7)
    if task.kind == "classification":
        return float(-np.log(chance[np.arange(len(target)), target]).mean())
    if task.kind == "multilabel":
        return float(-np.where(target > 0.5, np.log(chance), np.log(1 - chance)).mean())
    return float(((prediction.astype(np.float64) - target.reshape(prediction.shape)) ** 2).mean())


def _on(batch: Batch, device: torch.device) -> tuple[dict[str, Tensor], dict[str, Tensor | None]]:
    moved = batch.to(device)
    return moved.inputs, moved.lengths


def _save(settings: Settings, state: _State, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    assert settings.checkpoint is not None
    buffer = io.BytesIO()
    torch.save(
        {
            "epoch": state.epoch,
            "best": list(state.best),
            "best_weights": state.best_weights,
            "history": asdict(state.history),
            "spent": settings.meter.spent(),
            "model": model.state_dict(),
            "optimizer": optimizer.state_dict(),
        },
        buffer,
    )
    write_bytes(settings.checkpoint, buffer.getvalue())


def _resume(settings: Settings, state: _State, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Take up a checkpoint, if there is one that can be read. A damaged one is no loss but time."""
    path = settings.checkpoint
    if path is None or not path.is_file():
        return
    fresh = copy.deepcopy(model.state_dict())
    fresh_optimizer = copy.deepcopy(optimizer.state_dict())
    device = next(model.parameters()).device
    try:
        with zipfile.ZipFile(path) as archive:
            # torch reads the numbers without looking at their checksums.
            if archive.testzip() is not None:
                raise ValueError("a damaged checkpoint")
        saved = torch.load(path, map_location="cpu", weights_only=True)
        history = History(**saved["history"])
        best_weights = {name: value.to(device) for name, value in saved["best_weights"].items()}
        best = bool(saved["best"][0]), float(saved["best"][1])
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        settings.meter.resume(saved["spent"])
        epoch = int(saved["epoch"])
    except Exception:
        # Each damage shows in its own way, and the remedy is one.
        model.load_state_dict(fresh)
        optimizer.load_state_dict(fresh_optimizer)
        path.unlink(missing_ok=True)
        return
    state.epoch, state.best, state.best_weights = epoch, best, best_weights
    state.history = history
    state.history.resumed_at = state.epoch
