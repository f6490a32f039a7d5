"""Checks of datasets. Those that read data are skipped, with the reason, where its sources are not."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from braidbench.columns import Columns, standard_splits
from braidbench.errors import BraidbenchError, DataError, MissingPackageError
from braidbench.preparation import check_disjoint, check_split, locate, official_folder, prepare
from braidbench.recipe import CannotServeError, resolve
from braidbench.registry import load_target
from braidbench.specs import SPLITS, Dataset, Method
from braidbench.testing.kit import Failed, Skipped, Subject, check, require
from braidbench.testing.replay import in_new_process
from braidbench.testing.synthetic import Overlay, plain_method


@check("datasets")
def says_what_a_reader_needs(subject: Subject) -> None:
    """Summary, research area, licence, citation, how the columns were made, and where official files are published."""
    spec: Dataset = subject.spec
    wanted = ["summary", "area", "licence", "citation"]
    wanted += ["files", "obtain"] if spec.source == "official" else ["recipe"]
    missing = [name for name in wanted if not getattr(spec, name)]
    require(not missing, f"its declaration leaves {', '.join(missing)} empty: a reader cannot judge a score without")
    absent = [split for split in SPLITS if split not in spec.splits]
    require(not absent, f"it does not declare how many rows {', '.join(absent)} has: splits={{'train': …}}")


@check("datasets")
def its_parts_exist(subject: Subject) -> None:
    """The metrics and encoders that it names are installed and fit its tasks and modalities."""
    registry = Overlay(subject.registry)
    method: Method = plain_method("fusion", "conformance/beside")
    overlay = Overlay(registry, (("methods", method), ("datasets", subject.spec)))
    for task in subject.spec.tasks:
        try:
            resolve(overlay, f"{subject.spec.name}/{task.name}", method.name, {})
        except CannotServeError as error:
            raise Failed(f"task {task.name!r}: {error}") from error


@check("datasets", needs=("its_parts_exist",))
def loads(subject: Subject) -> None:
    """Its loader gives every split with the declared columns, shapes, rows, finite values and range of the target."""
    splits = _columns(subject)
    require(set(splits) == set(SPLITS), f"its loader gives the splits {sorted(splits)}, not train, valid and test")
    for name in SPLITS:
        try:
            check_split(subject.spec, name, splits[name])
        except DataError as error:
            raise Failed(str(error)) from error


@check("datasets", needs=("loads",))
def splits_are_disjoint(subject: Subject) -> None:
    """No row's content, and no group (subject, recording), stands in two splits."""
    try:
        check_disjoint(subject.spec, _columns(subject))
    except DataError as error:
        raise Failed(
            f"{error}: a score on it would be a score of memory; split by group, and drop duplicates"
        ) from error


@check("datasets", needs=("loads",))
def every_class_can_be_learned(subject: Subject) -> None:
    """Every class or label has a training sample, and the test target is not one value throughout."""
    splits = _columns(subject)
    for task in subject.spec.tasks:
        train, test = (np.asarray(splits[name][task.target]) for name in ("train", "test"))
        if task.kind == "classification":
            missing = sorted(set(range(task.width)) - set(np.unique(train).tolist()))
            names = ", ".join(task.classes[index] for index in missing)
            require(not missing, f"task {task.name!r}: class {names} has no training sample")
        elif task.kind == "multilabel":
            names = ", ".join(task.classes[index] for index in np.flatnonzero(~(train != 0).any(axis=0)))
            require(not names, f"task {task.name!r}: label {names} has no training sample")
        require(np.ptp(test) > 0, f"task {task.name!r}: the test target is {test.flat[0]} for every sample")


@check("datasets", needs=("loads",))
def a_batch_is_well_formed(subject: Subject) -> None:
    """Prepared and read back: finite inputs of the declared shape, lengths in range, targets of the task's type."""
    import torch

    from braidbench.data import open_split

    if subject.outcome("splits_are_disjoint").status == "failed":
        raise Skipped("splits_are_disjoint failed, so it cannot be prepared")
    prepared = prepare(subject.spec)
    for task in subject.spec.tasks:
        for name in SPLITS:
            split = open_split(prepared, name, task)
            batch = split.batch(torch.arange(min(8, len(split))))
            for modality in split.modalities:
                x, lengths = batch.inputs[modality.name], batch.lengths[modality.name]
                require(
                    not x.is_floating_point() or bool(x.isfinite().all()), f"{name}: {modality.name!r} is not finite"
                )
                require(
                    x.shape[-len(modality.shape) :] == modality.shape, f"{name}: {modality.name!r} is {tuple(x.shape)}"
                )
                require((lengths is not None) == modality.is_sequence, f"{name}: lengths of {modality.name!r}")
            wanted = torch.int64 if task.kind == "classification" else torch.float32
            require(batch.target.dtype == wanted, f"{name}: the target is {batch.target.dtype}, not {wanted}")


@check("datasets", needs=("splits_are_disjoint",))
def prepared_twice_is_the_same(subject: Subject) -> None:
    """Two new processes, with other hash seeds and an empty cache, write the same bytes."""
    hashes = []
    for seed in ("1", "2"):
        with tempfile.TemporaryDirectory(prefix="braidbench-check-") as folder:
            own = Path(folder) / "official" / official_folder(subject.spec).name
            if official_folder(subject.spec).exists():
                own.parent.mkdir()
                own.symlink_to(official_folder(subject.spec).resolve())
            environment = {"BRAIDBENCH_DATA": folder, "PYTHONHASHSEED": seed, "HF_HUB_OFFLINE": "1"}
            hashes.append(in_new_process("braidbench.testing.datasets:content", subject.spec, **environment))
    different = sorted({name.partition("/")[0] for name in hashes[0] if hashes[0][name] != hashes[1].get(name)})
    require(
        hashes[0] == hashes[1],
        f"prepared twice, {', '.join(different)} differs: seed every draw, and do not depend on the order of sets, "
        "of a folder's files, or on the time",
    )


def content(spec: Dataset) -> dict[str, str]:
    """File → sha256 of the dataset prepared below ``$BRAIDBENCH_DATA``."""
    return dict(prepare(spec).meta["content"])


def _columns(subject: Subject) -> dict[str, Columns]:
    """What the loader gives, loaded once. Raises Skipped where the sources are missing."""
    if "columns" not in subject.memo:
        try:
            files = locate(subject.spec)
        except DataError as reason:
            raise Skipped(str(reason)) from reason
        try:
            subject.memo["columns"] = standard_splits(subject.spec, load_target(subject.spec)(dict(files)))
        except MissingPackageError:
            raise
        except BraidbenchError as error:
            raise Failed(f"its loader refuses the files: {error}") from error
    found: dict[str, Any] = subject.memo["columns"]
    return found
