"""A stored cell's model, ready to be asked again: what analyses of trained models start from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from braidbench.assembly import preprocessing, restore
from braidbench.capture import aside
from braidbench.cell import Cell, Request, command_of, differences, make_cell, seeds
from braidbench.data import Split, open_split
from braidbench.determinism import demand
from braidbench.errors import DataError
from braidbench.execution import WEIGHTS
from braidbench.files import sha256_file
from braidbench.precision import computing_in
from braidbench.recipe import Recipe, resolve
from braidbench.registry import registry
from braidbench.results import Result
from braidbench.text import plain
from braidbench.training import predict


@dataclass(frozen=True)
class Trained:
    """A result, what it was made of, and its model in evaluation mode on the CPU."""

    result: Result
    cell: Cell
    model: nn.Module

    @property
    def recipe(self) -> Recipe:
        return self.cell.recipe

    def split(self, name: str) -> Split:
        """The ``train``, ``valid`` or ``test`` split as it was prepared, with the modalities that the model reads."""
        names = tuple(modality.name for modality in self.recipe.modalities)
        return open_split(self.cell.prepared, name, self.recipe.task, names)

    @aside()
    def predict(self, split: Split) -> tuple[NDArray[Any], NDArray[Any]]:
        """(N, width) predictions as they are scored, and the (N, …) target."""
        ready = preprocessing(self.recipe)(split)
        with computing_in(self.result.precision, torch.device("cpu")):
            return predict(self.model, ready, self.recipe.task, 4 * self.recipe.training.batch_size)


def load_trained(folder: Path, result: Result) -> Trained:
    """The model of a stored cell.

    Raises DataError if the cell has no weights or other ones than its result names, or if the code, the parameters or
    the data have changed since, for then the weights belong to another model.
    """
    path = folder / WEIGHTS
    if result.status != "ok" or not path.is_file():
        raise DataError(f"{folder}: there is no trained model here; run {plain(command_of(result))}")
    if sha256_file(path) != result.files.get(WEIGHTS):
        raise DataError(
            f"{path} is not the file that its result names; delete {folder} and run {plain(command_of(result))}"
        )
    query = f"{result.dataset}/{result.task}"
    request = Request(
        query, result.method, result.seed, result.overrides, folder.parent, device="cpu", precision=result.precision
    )
    cell = make_cell(request, resolve(registry(), query, result.method, result.overrides))
    if cell.id != result.cell:
        changed = "; ".join(differences(result.identity, cell.identity)[:3])
        raise DataError(
            f"{folder} was made by something else than what is installed ({changed}); run {plain(command_of(result))}"
        )
    demand(request.threads)
    torch.manual_seed(seeds(request.seed)["init"])
    return Trained(result, cell, restore(cell.recipe, path).eval())


def without(split: Split, name: str, reference: Split) -> Split:
    """The split with one modality missing: every row has the mean of ``reference``'s rows, step by step for a sequence.

    Integers, of which there is no mean, become 0. So does everything of a modality with an observation mask: its rows
    are then as the core prepares a row of which nothing was observed.
    """
    column, known = split.columns[name], reference.columns[name]
    values, lengths = known.all(), known.lengths
    own = column.all()
    if not values.is_floating_point() or name in split.masked:
        return split.with_input(name, torch.zeros_like(own))
    mean: Tensor
    if lengths is None:
        mean = values.double().mean(0)
    else:
        real = torch.arange(values.shape[1]) < lengths[:, None]
        counts = real.sum(0).clamp(min=1).reshape(-1, *(1,) * (values.ndim - 2))
        # Steps beyond a row's end are zero already.
        mean = values.double().sum(0) / counts
        width = own.shape[1]
        padded = torch.zeros(width, *mean.shape[1:], dtype=mean.dtype)
        padded[: min(width, len(mean))] = mean[:width]
        mean = padded
    return split.with_input(name, mean.to(own.dtype).expand(own.shape).contiguous())
