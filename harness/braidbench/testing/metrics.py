"""Checks of metrics."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from braidbench.registry import load_target
from braidbench.specs import TASK_KINDS, Metric
from braidbench.testing.kit import Skipped, Subject, check, require, require_covered

Array = NDArray[Any]
Example = tuple[str, str, Array, Array]

ROWS = 60
CLASSES = (2, 4)
CONFIDENCE = 0.97
"""Probability that a perfect prediction gives to what is right: a logarithm of 0 has no place in a check."""
NEARLY = 0.05
ORDER = 1e-6


def _examples(spec: Metric) -> Iterator[Example]:
    """(task kind, what it is, perfect prediction, target) of everything that the metric declares to score."""
    rng = np.random.default_rng(0)
    for kind in spec.tasks or TASK_KINDS:
        if kind == "classification":
            for classes in CLASSES:
                target = rng.permutation(np.arange(ROWS) % classes)
                right = np.eye(classes)[target]
                yield kind, f"{classes} classes", _probabilities(right), target
        elif kind == "multilabel":
            labels = rng.permuted(np.repeat([[0], [1], [0]], 3, axis=1).repeat(ROWS // 3, axis=0), axis=0)
            yield kind, "3 labels", CONFIDENCE * labels + (1 - CONFIDENCE) * (1 - labels), labels.astype(np.float32)
        else:
            for outputs in (1, 2):
                numbers = rng.normal(1.0, 2.0, (ROWS, outputs)).astype(np.float32)
                yield kind, f"{outputs} outputs", numbers.copy(), numbers


def _probabilities(right: Array) -> Array:
    wrong = (1 - right) * (1 - CONFIDENCE) / (right.shape[1] - 1)
    return np.asarray(CONFIDENCE * right + wrong)


def _random(kind: str, perfect: Array, seed: int) -> Array:
    rng = np.random.default_rng(100 + seed)
    if kind == "regression":
        return rng.normal(perfect.mean(), perfect.std(), perfect.shape)
    drawn = rng.random(perfect.shape)
    return np.asarray(drawn / drawn.sum(axis=1, keepdims=True) if kind == "classification" else drawn)


def _adversarial(kind: str, perfect: Array) -> Array:
    """As wrong as can be: the least probability where it is due; numbers mirrored at their mean, and far off."""
    if kind == "regression":
        mean = perfect.mean(axis=0)
        return np.asarray(mean - 3 * (perfect - mean))
    wrong = 1 - perfect
    return np.asarray(wrong / wrong.sum(axis=1, keepdims=True) if kind == "classification" else wrong)


def _score(subject: Subject, prediction: Array, target: Array) -> float:
    return float(load_target(subject.spec)(prediction.copy(), target.copy()))


@check("metrics")
def gives_a_number(subject: Subject) -> None:
    """A float for every kind of task that it declares."""
    spec: Metric = subject.spec
    function = load_target(spec)
    for kind, what, perfect, target in _examples(spec):
        value = function(_random(kind, perfect, 0).astype(np.float32), target.copy())
        require(
            isinstance(value, float | int | np.floating) and not isinstance(value, bool),
            f"for {what} it gives a {type(value).__name__}, not a float: return float(…)",
        )
        require(not math.isnan(value), f"for {what} and random predictions it is NaN, which means undefined")
        subject.covered.add(f"scores {kind}")


@check("metrics", needs=("gives_a_number",))
def direction_is_right(subject: Subject) -> None:
    """A perfect prediction is better than random ones, and those are no worse than an adversarial one."""
    spec: Metric = subject.spec
    for kind, what, perfect, target in _examples(spec):
        best = _score(subject, perfect, target)
        chance = [_score(subject, _random(kind, perfect, seed), target) for seed in range(5)]
        worst = _score(subject, _adversarial(kind, perfect), target)
        require(
            all(spec.sign * best > spec.sign * value for value in chance),
            f"direction={spec.direction!r}, but for {what} a perfect prediction scores {best:.3g} and random ones "
            f"{min(chance):.3g} to {max(chance):.3g}: declare the other direction, or turn the score round",
        )
        require(
            spec.sign * float(np.mean(chance)) >= spec.sign * worst,
            f"for {what} an adversarial prediction scores {worst:.3g}, better than random ones ({np.mean(chance):.3g})",
        )


@check("metrics", needs=("direction_is_right",))
def perfect_prediction_reaches_the_bound(subject: Subject) -> None:
    """The better end of the declared bounds is what a perfect prediction gets, or nearly."""
    spec: Metric = subject.spec
    low, high = spec.bounds
    bound = high if spec.sign > 0 else low
    if bound is None:
        raise Skipped("its better end is declared unbounded")
    width = 1.0 if low is None or high is None else high - low
    for _, what, perfect, target in _examples(spec):
        value = _score(subject, perfect, target)
        require(
            abs(value - bound) <= NEARLY * width,
            f"for {what} a perfect prediction scores {value:.4g} where bounds={spec.bounds} promise {bound:g}: declare "
            "the bound that it reaches, or None",
        )


@check("metrics", needs=("gives_a_number",))
def stays_within_its_bounds(subject: Subject) -> None:
    """Perfect, random and adversarial predictions all score within the declared bounds."""
    spec: Metric = subject.spec
    low, high = spec.bounds
    for kind, what, perfect, target in _examples(spec):
        tried = [perfect, _adversarial(kind, perfect), *(_random(kind, perfect, seed) for seed in range(20))]
        for prediction in tried:
            value = _score(subject, prediction, target)
            inside = (low is None or value >= low - 1e-9) and (high is None or value <= high + 1e-9)
            require(inside, f"for {what} it scores {value:.6g}, outside of bounds={spec.bounds}: widen them")


@check("metrics", needs=("gives_a_number",))
def order_of_samples_does_not_matter(subject: Subject) -> None:
    """The same samples in another order score the same."""
    rng = np.random.default_rng(1)
    for kind, what, perfect, target in _examples(subject.spec):
        prediction = _random(kind, perfect, 0)
        first = _score(subject, prediction, target)
        for _ in range(3):
            order = rng.permutation(ROWS)
            gap = abs(_score(subject, prediction[order], target[order]) - first)
            require(
                gap <= ORDER * max(1.0, abs(first)),
                f"for {what} its score changes by {gap:.2g} when the samples stand in another order",
            )


@check("metrics", needs=("gives_a_number",))
def inputs_are_not_modified(subject: Subject) -> None:
    """Other metrics read the same arrays after it."""
    function = load_target(subject.spec)
    for kind, what, perfect, target in _examples(subject.spec):
        prediction, truth = _random(kind, perfect, 0), target.copy()
        before = prediction.copy()
        function(prediction, truth)
        require(
            np.array_equal(prediction, before) and np.array_equal(truth, target),
            f"for {what} it changes its arguments in place: work on a copy",
        )


@check("metrics", needs=("gives_a_number",))
def one_class_or_no_variance_does_not_raise(subject: Subject) -> None:
    """Where a score is undefined it is NaN, which is stored as null; an exception would fail the whole cell."""
    function = load_target(subject.spec)
    for _, what, perfect, target in _examples(subject.spec):
        constant = np.zeros_like(target)
        flat = np.full_like(perfect, 1 / perfect.shape[1])
        for prediction, truth in ((perfect, constant), (flat, target), (flat, constant), (perfect[:1], target[:1])):
            try:
                value = float(function(prediction.copy(), truth.copy()))
            except Exception as error:
                require(
                    False,
                    f"for {what} it raises {type(error).__name__} when the target or the prediction does not vary: "
                    f"return float('nan') where it is undefined",
                )
            require(not math.isinf(value), f"for {what} it is infinite when the target does not vary: return NaN")


@check("metrics", needs=("gives_a_number",))
def what_it_declares_was_tried(subject: Subject) -> None:
    """Each kind of task that the spec promises was scored by at least one check."""
    require_covered(subject, [f"scores {kind}" for kind in subject.spec.tasks or TASK_KINDS])
