"""Measures that chapter 3 compares its own with and that need no information theory: canonical correlations of the
data, Shapley values and integrated gradients of a trained model.

A decomposition is a property of data; attributions are one of a model. They are in the units of what the model says
(nats of log-probability, or the predicted value), never in bits.

Source: *Foundations of Multisensory AI*, 3.3.2, comparisons with other interaction measures.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from braidbench.errors import DataError, UsageError
from braidbench_interactions.joint import FloatArray

if TYPE_CHECKING:
    from torch import Tensor

    from braidbench.data import Batch, Split
    from braidbench.trained import Trained


# --- canonical correlations -------------------------------------------------------------------------------------------


def canonical_correlations(
    features1: ArrayLike, features2: ArrayLike, train: ArrayLike | None = None, ridge: float = 1e-3
) -> FloatArray:
    """The correlations of the two modalities' canonical variates, the largest first, (min(D1, D2),).

    Directions are found on the training rows, with ``ridge`` times the mean variance added to each modality's
    variances, and the correlations are those of the other rows: on the training rows themselves many features correlate
    by chance. They know no label: two modalities may share what the task does not ask for.

    Args:
        features1, features2: (N, …), finite, flattened a row.
        train: (N,) booleans; all rows are both unless given.

    Raises:
        DataError, UsageError: rows that differ in number, that are not finite, or too few of them.
    """
    from scipy.linalg import cholesky, solve_triangular, svd

    x, y = _matrix(features1), _matrix(features2)
    if len(x) != len(y):
        raise UsageError(f"rows differ: {len(x)} and {len(y)} of the modalities")
    fit = np.ones(len(x), dtype=bool) if train is None else np.asarray(train, dtype=bool)
    held = fit if fit.all() else ~fit
    if fit.sum() < 3 or held.sum() < 3:
        raise DataError(f"correlations need three rows or more to fit and to measure, not {fit.sum()} and {held.sum()}")
    centred = [features - features[fit].mean(0) for features in (x, y)]
    factors = []
    for features in centred:
        covariance = features[fit].T @ features[fit] / fit.sum()
        level = ridge * np.trace(covariance) / len(covariance)
        factors.append(cholesky(covariance + (level or 1.0) * np.eye(len(covariance)), lower=True))
    cross = centred[0][fit].T @ centred[1][fit] / fit.sum()
    half = solve_triangular(factors[0], cross, lower=True)
    left, _, right = svd(solve_triangular(factors[1], half.T, lower=True).T, full_matrices=False)
    first = centred[0][held] @ solve_triangular(factors[0].T, left, lower=False)
    second = centred[1][held] @ solve_triangular(factors[1].T, right.T, lower=False)
    first, second = first - first.mean(0), second - second.mean(0)
    spread = np.sqrt((first**2).sum(0) * (second**2).sum(0))
    correlations: FloatArray = np.where(spread > 1e-12, (first * second).sum(0) / np.maximum(spread, 1e-12), 0.0)
    return np.sort(correlations)[::-1]


def _matrix(features: ArrayLike) -> FloatArray:
    array = np.asarray(features, dtype=np.float64)
    if array.ndim == 0 or not len(array):
        raise UsageError("a modality has no rows")
    if not np.isfinite(array).all():
        raise DataError("features must be finite")
    return array.reshape(len(array), -1)


# --- attributions of a model ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Attribution:
    """What a model's answers owe to each of two modalities and to both together: means of absolute values over rows."""

    first: float
    second: float
    interaction: float
    rows: int


Values = Mapping[str, "Tensor"]
"""v(∅), v(1), v(2) and v(12) by the keys ``""``, ``"1"``, ``"2"`` and ``"12"``, (B,) each."""


def shapley(trained: Trained, rows: int = 512, background: int = 32, seed: int = 0) -> Attribution:
    """Shapley values of the two modalities, and their interaction index, for what the model says of test rows.

    The game: v(S) is the expected answer when the modalities outside S are those of another row, drawn from the
    training split (``background`` of them, the same for all). With two players the values are exact given these:
    φ_1 = ½ (v(1) − v(∅) + v(12) − v(2)), φ_1 + φ_2 = v(12) − v(∅), and the interaction index is
    v(12) − v(1) − v(2) + v(∅). The answer is the log-probability of the class that the model gives to the row, the
    log-odds of each label that it says holds, or the value of a regression.

    Source: Lundberg & Lee (2017); the interaction index Grabisch & Roubens (1999).
    """
    import torch

    say, test, names = _asked(trained, rows)
    train = trained.split("train")
    rng = np.random.default_rng([seed, 11])
    others = train.batch(torch.from_numpy(np.sort(rng.choice(len(train), min(background, len(train)), replace=False))))
    found = []
    for batch in test.batches(64):
        answer = say(batch)
        whole = answer(batch)
        absent: dict[str, list[Tensor]] = {"": [], "1": [], "2": []}
        for row in range(len(others)):
            for key, kept in (("", ()), ("1", names[:1]), ("2", names[1:])):
                absent[key].append(answer(_mixed(batch, others, row, kept)))
        values = {"12": whole} | {key: torch.stack(parts).mean(0) for key, parts in absent.items()}
        first, second = (
            (values[own] - values[""] + whole - values[other]) / 2 for own, other in (("1", "2"), ("2", "1"))
        )
        found.append(torch.stack([first, second, whole - values["1"] - values["2"] + values[""]]))
    return _mean(found)


def integrated_gradients(trained: Trained, rows: int = 512, steps: int = 32) -> Attribution:
    """Integrated gradients of test rows, summed over each modality's numbers, and what the modalities do together.

    From a row of training means b to the row x, a_i = Σ (x_i − b_i) ∫ ∂f/∂x_i (b + t (x − b)) dt, by Gauss–Legendre
    quadrature with ``steps`` nodes; a_1 + a_2 = f(x) − f(b) up to its error. f is as in :func:`shapley`. The
    interaction is f(x) − f(x_1, b_2) − f(b_1, x_2) + f(b): what the attributions share out between the modalities
    although neither alone gives it.

    Source: Sundararajan, Taly & Yan (2017), equation 1. Raises DataError for a modality of integers.
    """
    import torch

    from braidbench.trained import without

    say, test, names = _asked(trained, rows)
    if any(not column.all().is_floating_point() for column in test.columns.values()):
        raise DataError("integrated gradients need numbers; a modality holds integers")
    train = trained.split("train")
    bases = {names: test, names[:1]: without(test, names[1], train), names[1:]: without(test, names[0], train)}
    bases[()] = without(bases[names[:1]], names[0], train)
    nodes, weights = np.polynomial.legendre.leggauss(steps)
    found = []
    for start in range(0, len(test), 64):
        index = torch.arange(start, min(start + 64, len(test)))
        at = {kept: split.batch(index) for kept, split in bases.items()}
        answer = say(at[names])
        values = {kept: answer(batch) for kept, batch in at.items()}
        sums = [torch.zeros(len(index), dtype=torch.float64) for _ in names]
        for node, weight in zip((nodes + 1) / 2, weights / 2, strict=True):
            inputs = {
                name: (base + node * (at[names].inputs[name] - base)).requires_grad_()
                for name, base in at[()].inputs.items()
            }
            with torch.enable_grad():
                said = answer(_with(at[names], inputs), grad=True).sum()
                slopes = torch.autograd.grad(
                    said, [inputs[name] for name in names], allow_unused=True, materialize_grads=True
                )
            for place, (name, slope) in enumerate(zip(names, slopes, strict=True)):
                step = at[names].inputs[name] - at[()].inputs[name]
                sums[place] += weight * (slope * step).double().flatten(1).sum(1)
        together = values[names] - values[names[:1]] - values[names[1:]] + values[()]
        found.append(torch.stack([*sums, together.double()]))
    return _mean(found)


Answer = Callable[..., "Tensor"]


def _asked(trained: Trained, rows: int) -> tuple[Callable[[Batch], Answer], Split, tuple[str, ...]]:
    """(rows → what the model says of them, or of others in their place, (B,) float64), the test rows, the names."""
    import torch

    names = tuple(modality.name for modality in trained.recipe.modalities)
    if len(names) != 2:
        raise UsageError(f"{trained.recipe.row} reads {len(names)} modalities; attributions here are to two")
    if trained.recipe.preprocessing is not None:
        raise UsageError(f"{trained.recipe.row} has a preprocessing, and attributions are to what comes before it")
    kind = trained.recipe.task.kind
    whole = trained.split("test")
    test = whole if len(whole) <= rows else _first(whole, rows)

    def output(batch: Batch) -> Tensor:
        given: Tensor = trained.model(batch.inputs, batch.lengths).prediction.double()
        return given.log_softmax(1) if kind == "classification" else given

    def say(batch: Batch) -> Answer:
        with torch.no_grad():
            given = output(batch)
        chosen = given.argmax(1) if kind == "classification" else None

        def answer(other: Batch, grad: bool = False) -> Tensor:
            with torch.set_grad_enabled(grad):
                said = output(other)
                if chosen is not None:
                    return said.gather(1, chosen[:, None]).squeeze(1)
                return said.flatten(1).sum(1) if kind == "regression" else (said * (given > 0)).sum(1)

        return answer

    return say, test, names


def _first(split: Split, rows: int) -> Split:
    from braidbench.data import Column, Split

    columns = {
        name: Column.of(column.all()[:rows], None if column.lengths is None else column.lengths[:rows])
        for name, column in split.columns.items()
    }
    return Split(columns, split.target[:rows], split.modalities, masked=split.masked)


def _mixed(batch: Batch, others: Batch, row: int, kept: Sequence[str]) -> Batch:
    """The batch with every modality that is not kept as in one row of ``others``."""
    from dataclasses import replace

    inputs, lengths = dict(batch.inputs), dict(batch.lengths)
    for name in batch.inputs:
        if name not in kept:
            own = others.inputs[name][row]
            inputs[name] = own.expand(len(batch), *own.shape)
            span = others.lengths[name]
            lengths[name] = None if span is None else span[row].expand(len(batch))
    return replace(batch, inputs=inputs, lengths=lengths)


def _with(batch: Batch, inputs: dict[str, Tensor]) -> Batch:
    from dataclasses import replace

    return replace(batch, inputs=inputs)


def _mean(found: Sequence[Tensor]) -> Attribution:
    import torch

    values: NDArray[np.float64] = torch.cat(list(found), 1).abs().double().numpy()
    first, second, together = (float(value) for value in values.mean(1))
    return Attribution(first, second, together, values.shape[1])
