"""Checks of corruptions."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from braidbench.registry import load_target
from braidbench.specs import MODALITY_KINDS, Corruption
from braidbench.testing.kit import Skipped, Subject, check, require, require_covered
from braidbench.testing.synthetic import blank, examples, lengths_of, values

ROWS = 32
GRID = (0.2, 0.4, 0.6, 0.8, 1.0)
SLACK = 0.02
"""Share by which the mean deviation may fall from one severity to the next, by chance."""


def _examples(spec: Corruption) -> Iterator[tuple[str, str, Tensor]]:
    """(kind, what it is, x) for every kind that it declares, as a sequence and not."""
    for kind in spec.kinds or MODALITY_KINDS:
        for is_sequence, modality in examples(kind).items():
            x = values(modality, ROWS, torch.Generator().manual_seed(0))
            if is_sequence:
                x = blank(x, lengths_of(ROWS, x.shape[1]))
            yield kind, f"{'a sequence' if is_sequence else 'one sample'} of {kind} {modality.shape}", x


def _corrupt(subject: Subject, x: Tensor, severity: float, seed: int = 0) -> Tensor:
    changed: Tensor = load_target(subject.spec)(x.clone(), severity, torch.Generator().manual_seed(seed))
    return changed


@check("corruptions")
def keeps_shape_and_type(subject: Subject) -> None:
    """The same shape and type of number at every severity."""
    for kind, what, x in _examples(subject.spec):
        for severity in (0.0, *GRID):
            changed = _corrupt(subject, x, severity)
            require(isinstance(changed, Tensor), f"for {what} it gives a {type(changed).__name__}, not a tensor")
            require(
                changed.shape == x.shape and changed.dtype == x.dtype,
                f"for {what} it turns {tuple(x.shape)} {x.dtype} into {tuple(changed.shape)} {changed.dtype}",
            )
        subject.covered.add(f"corrupts {kind}")


@check("corruptions", needs=("keeps_shape_and_type",))
def severity_zero_changes_nothing(subject: Subject) -> None:
    """At severity 0 the output is the input, bit for bit."""
    for _, what, x in _examples(subject.spec):
        gap = float((_corrupt(subject, x, 0.0) - x).abs().max())
        require(
            torch.equal(_corrupt(subject, x, 0.0), x),
            f"at severity 0 it changes {what} by up to {gap:.2g}: return x.clone() when severity is 0",
        )


@check("corruptions", needs=("keeps_shape_and_type",))
def input_is_not_modified(subject: Subject) -> None:
    """The clean values are needed again for the next severity."""
    function = load_target(subject.spec)
    for _, what, x in _examples(subject.spec):
        given = x.clone()
        function(given, 1.0, torch.Generator().manual_seed(0))
        require(torch.equal(given, x), f"it changes its input in place for {what}: work on x.clone()")


@check("corruptions", needs=("keeps_shape_and_type",))
def is_finite_at_full_severity(subject: Subject) -> None:
    """No NaN and no infinity at severity 1."""
    for _, what, x in _examples(subject.spec):
        require(bool(_corrupt(subject, x, 1.0).isfinite().all()), f"at severity 1 {what} is not finite any more")


@check("corruptions", needs=("keeps_shape_and_type",))
def same_generator_same_output(subject: Subject) -> None:
    """The generator is the only source of chance."""
    for _, what, x in _examples(subject.spec):
        first = _corrupt(subject, x, 0.5, seed=1)
        with torch.random.fork_rng():
            torch.manual_seed(987654321)
            second = _corrupt(subject, x, 0.5, seed=1)
        require(
            torch.equal(first, second),
            f"for {what} one generator seed gives two outputs: pass generator=generator to every draw, and use neither "
            "numpy's nor Python's random",
        )


@check("corruptions", needs=("same_generator_same_output",))
def another_seed_another_output(subject: Subject) -> None:
    """Where there is chance, the seed decides it."""
    if not any(_draws(subject, x) for _, _, x in _examples(subject.spec)):
        raise Skipped("it draws nothing: it is deterministic")
    for _, what, x in _examples(subject.spec):
        same = all(torch.equal(_corrupt(subject, x, 0.5, 0), _corrupt(subject, x, 0.5, seed)) for seed in (1, 2, 3))
        require(not same, f"for {what} four generator seeds give one output: do not seed the generator again")


@check("corruptions", needs=("is_finite_at_full_severity",))
def grows_with_severity(subject: Subject) -> None:
    """The mean deviation from the clean values does not fall as the severity rises, and is something at 1."""
    for _, what, x in _examples(subject.spec):
        means = [
            sum(float((_corrupt(subject, x, severity, seed) - x).abs().mean()) for seed in range(3)) / 3
            for severity in GRID
        ]
        require(means[-1] > 0, f"at severity 1 it changes nothing of {what}")
        for index in range(1, len(GRID)):
            require(
                means[index] >= means[index - 1] * (1 - SLACK),
                f"for {what} severity {GRID[index]} deviates less ({means[index]:.3g}) than {GRID[index - 1]} "
                f"({means[index - 1]:.3g})",
            )


@check("corruptions", needs=("keeps_shape_and_type",))
def what_it_declares_was_tried(subject: Subject) -> None:
    """Each kind of modality that the spec promises was corrupted by at least one check."""
    require_covered(subject, [f"corrupts {kind}" for kind in subject.spec.kinds or MODALITY_KINDS])


def _draws(subject: Subject, x: Tensor) -> bool:
    """Whether the component takes anything from its generator."""
    generator = torch.Generator().manual_seed(0)
    before = generator.get_state()
    load_target(subject.spec)(x.clone(), 0.5, generator)
    return not torch.equal(before, generator.get_state())
