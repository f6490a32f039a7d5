"""The supervised objective against formulas in numpy."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import log_expit, log_softmax
from torch import Tensor

from braidbench.data import Batch
from braidbench.errors import UsageError
from braidbench.model import Output
from braidbench.specs import Task
from braidbench_multizoo.objectives import Supervised

CLASSES = Task("kind", "classification", ("accuracy",), classes=("a", "b", "c"))
LABELS = Task("tags", "multilabel", ("macro-f1",), classes=("a", "b", "c"))
VALUES = Task("level", "regression", ("mse",), outputs=2)

PREDICTION = torch.tensor([[2.0, -1.0, 0.5], [0.1, 0.2, -3.0], [-2.0, 4.0, 1.0], [0.0, 0.0, 0.0]], dtype=torch.float64)
PICKED = torch.tensor([0, 2, 1, 1])
TAGGED = torch.tensor([[1, 0, 1], [0, 0, 0], [1, 1, 1], [0, 1, 0]], dtype=torch.float32)


def loss(task: Task, prediction: Tensor, target: Tensor, **parameters: Any) -> Tensor:
    batch = Batch({}, {}, target, torch.arange(len(target)))
    terms = Supervised(**parameters)(Output(prediction, prediction, {}), batch, SimpleNamespace(task=task))
    assert list(terms) == ["task"]
    assert terms["task"].ndim == 0
    return terms["task"]


def test_cross_entropy() -> None:
    expected = -log_softmax(PREDICTION.numpy(), axis=1)[np.arange(4), PICKED].mean()
    assert loss(CLASSES, PREDICTION, PICKED).item() == pytest.approx(expected, rel=1e-12)


def test_label_smoothing() -> None:
    target = 0.8 * np.eye(3)[PICKED] + 0.2 / 3
    expected = -(target * log_softmax(PREDICTION.numpy(), axis=1)).sum(1).mean()
    assert loss(CLASSES, PREDICTION, PICKED, label_smoothing=0.2).item() == pytest.approx(expected, rel=1e-12)


def test_class_weights() -> None:
    """The weighted mean: divided by the sum of the weights, not by the number of samples."""
    weights = np.array([1.0, 2.0, 5.0])
    terms = -log_softmax(PREDICTION.numpy(), axis=1)[np.arange(4), PICKED]
    expected = (weights[PICKED] * terms).sum() / weights[PICKED].sum()
    assert loss(CLASSES, PREDICTION, PICKED, class_weights=(1.0, 2.0, 5.0)).item() == pytest.approx(expected)


@pytest.mark.parametrize("weights", [None, (1.0, 2.0, 5.0)])
def test_binary_cross_entropy(weights: tuple[float, ...] | None) -> None:
    x, y = PREDICTION.numpy(), TAGGED.numpy()
    expected = -(y * np.array(weights or (1, 1, 1)) * log_expit(x) + (1 - y) * log_expit(-x)).mean()
    assert loss(LABELS, PREDICTION, TAGGED, class_weights=weights).item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("name", "power"), [("mse", 2), ("mae", 1)])
def test_regression(name: str, power: int) -> None:
    prediction, target = PREDICTION[:, :2], TAGGED[:, 1:]
    expected = (np.abs(prediction.numpy() - target.numpy()) ** power).mean()
    assert loss(VALUES, prediction, target, regression=name).item() == pytest.approx(expected, rel=1e-12)


def test_a_flat_target_is_not_broadcast() -> None:
    task = Task("level", "regression", ("mse",))
    prediction, target = PREDICTION[:, :1], torch.tensor([1.0, 2.0, 3.0, 4.0])
    expected = ((prediction[:, 0].numpy() - target.numpy()) ** 2).mean()
    assert loss(task, prediction, target).item() == pytest.approx(expected, rel=1e-12)


def test_gradient_reaches_the_prediction() -> None:
    for task, target in ((CLASSES, PICKED), (LABELS, TAGGED), (VALUES, TAGGED[:, 1:])):
        prediction = PREDICTION[:, : task.width].clone().requires_grad_()
        loss(task, prediction, target).backward()
        assert prediction.grad is not None
        assert prediction.grad.abs().sum() > 0


@pytest.mark.parametrize(("task", "parameters", "message"), [
    (CLASSES, {"label_smoothing": 1.0}, r"label_smoothing must be in \[0, 1\), not 1.0"),
    (LABELS, {"label_smoothing": 0.1}, "label_smoothing is for classification; 'tags' is not one"),
    (VALUES, {"class_weights": (1.0, 2.0)}, "class_weights are for classes; 'level' is a regression"),
    (CLASSES, {"class_weights": (1.0, 2.0)}, "class_weights has 2 numbers; 'kind' has 3 classes"),
])  # fmt: skip
def test_refuses(task: Task, parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        loss(task, PREDICTION[:, : task.width], PICKED if task is CLASSES else TAGGED, **parameters)
