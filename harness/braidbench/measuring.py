"""Measures on datasets: what a plugin's measure is called with, and what becomes of what it gives."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pydantic import ValidationError

from braidbench.capture import aside
from braidbench.data import Split, open_split
from braidbench.errors import BraidbenchError, PluginError
from braidbench.measurements import Measurement
from braidbench.preparation import prepare
from braidbench.recipe import find_task
from braidbench.registry import Registry, check_parameters, load_target
from braidbench.specs import SPLITS, Dataset, Task


@dataclass(frozen=True)
class Opened:
    """One task of a dataset, prepared and open."""

    dataset: Dataset
    task: Task
    splits: Mapping[str, Split]
    """``train``, ``valid`` and ``test``, with every modality."""


def open_task(dataset: Dataset, task: Task) -> Opened:
    """Prepares the dataset if need be. Raises DataError if it cannot be prepared."""
    prepared = prepare(dataset)
    return Opened(dataset, task, {name: open_split(prepared, name, task) for name in SPLITS})


def measure(registry: Registry, query: str, name: str, given: Mapping[str, Any]) -> Measurement:
    """What the measure ``name`` says of ``DATASET`` or ``DATASET/TASK``.

    Raises UsageError for an unknown name or parameter, DataError for a dataset that cannot be had, and PluginError for
    a measure that fails, or gives something else than its contract promises.
    """
    dataset, task = find_task(registry, query)
    spec = registry.find("measures", name).spec
    target = load_target(spec)
    what = f"measure {spec.name!r}"
    parameters = check_parameters(target, given, what=what, reserved=("data",))
    data = open_task(dataset, task)
    try:
        with aside():
            found = target(data, **parameters)
    except BraidbenchError:
        raise
    except Exception as error:
        # A stranger's code raises anything at all; the user needs the measure and the cause.
        raise PluginError(f"{what} failed on {query!r} ({type(error).__name__}: {error})") from error
    words = ["braidbench", "measure", f"{dataset.name}/{task.name}", spec.name]
    for key, value in given.items():
        words += ["--set", f"{key}={value}"]
    return measurement(dataset, task, spec.name, spec.title or spec.name, found, shlex.join(words))


def measurement(
    dataset: Dataset, task: Task, name: str, title: str, found: Mapping[str, Any], command: str
) -> Measurement:
    """The document of what a measure has given: ``label``, ``unit``, ``bars`` and, if it likes, ``notes``.

    Raises PluginError that names the first place that is wrong.
    """
    own = {
        "measure": name, "title": title, "dataset": dataset.name, "task": task.name, "command": command,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }  # fmt: skip
    try:
        return Measurement.model_validate({**found, **own})
    except (ValidationError, TypeError) as error:
        said = str(error)
        if isinstance(error, ValidationError):
            first = error.errors()[0]
            said = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
        raise PluginError(
            f"measure {name!r} gave something else than label, unit, bars and notes ({said}); "
            "braidbench.measurements documents them"
        ) from None
