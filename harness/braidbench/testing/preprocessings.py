"""Checks of preprocessings: a split in, a split with the same rows out."""

from __future__ import annotations

from typing import Any

import torch

from braidbench.data import Split
from braidbench.registry import load_target
from braidbench.sealing import SealedError, test_split_sealed
from braidbench.specs import Modality
from braidbench.testing.kit import Failed, Subject, check, require
from braidbench.testing.synthetic import combinations, make_split, tasks


def cases(subject: Subject) -> list[tuple[Any, tuple[Modality, ...], Split]]:
    """(built, declared modalities, a new split) for each combination of made-up modalities that it can serve."""
    target = load_target(subject.spec)
    skip = getattr(target, "skip", None)
    task = tasks()[0]
    served = [declared for declared in combinations() if skip is None or not skip(declared, task)]
    if not served:
        raise Failed("it can serve none of the kit's combinations of modalities")
    return [(target(), declared, make_split(declared, task)) for declared in served]


@check("preprocessings")
def builds_from_its_parameters(subject: Subject) -> None:
    """With its defaults, for at least one combination of modalities."""
    cases(subject)


@check("preprocessings", needs=("builds_from_its_parameters",))
def leaves_the_test_split_alone(subject: Subject) -> None:
    """It works on the split that it is given, whichever that is."""
    for built, _, split in cases(subject):
        try:
            with test_split_sealed(f"preprocessing {subject.spec.name!r}"):
                built(split)
        except SealedError as error:
            raise Failed(str(error)) from error


@check("preprocessings", needs=("builds_from_its_parameters", "leaves_the_test_split_alone"))
def gives_what_it_declares(subject: Subject) -> None:
    """The same rows, in the shapes that ``modalities`` says, finite, with the same target."""
    for built, declared, split in cases(subject):
        after = built(split)
        require(len(after) == len(split), f"of {len(split)} rows it leaves {len(after)}: keep every row")
        require(torch.equal(after.target, split.target), "it changes the target or the order of the rows")
        for modality in built.modalities(declared):
            x, lengths = after.columns[modality.name].take(torch.arange(len(after)))
            step = tuple(x.shape[2:] if modality.is_sequence else x.shape[1:])
            require(
                step == modality.shape,
                f"modality {modality.name!r} has shape {step} where modalities() says {modality.shape}",
            )
            require(
                (lengths is not None) == modality.is_sequence, f"modality {modality.name!r}: lengths and length differ"
            )
            require(
                modality.length is None or x.shape[1] <= modality.length,
                f"modality {modality.name!r} has {x.shape[1]} steps where modalities() says {modality.length} at most",
            )
            require(bool(x.isfinite().all()), f"modality {modality.name!r} is not finite afterwards")


@check("preprocessings", needs=("builds_from_its_parameters",))
def input_is_not_modified(subject: Subject) -> None:
    """The split is used again, with a corruption for instance."""
    for built, declared, split in cases(subject):
        before = {m.name: split.columns[m.name].all().clone() for m in declared}
        built(split)
        for name, old in before.items():
            require(torch.equal(split.columns[name].all(), old), f"it changes {name!r} in place: work on a copy")


@check("preprocessings", needs=("gives_what_it_declares",))
def same_input_same_output(subject: Subject) -> None:
    """It draws nothing: the test split has to come out the same every time."""
    for built, declared, split in cases(subject):
        first, second = built(split), built(split)
        for modality in declared:
            same = torch.equal(first.columns[modality.name].all(), second.columns[modality.name].all())
            require(same, f"{modality.name!r} differs from call to call")
