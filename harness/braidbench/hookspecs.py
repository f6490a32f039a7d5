"""Every hook, on one page. A plugin implements the ones it needs and yields specs (see :mod:`braidbench.specs`).

A plugin is a module that is named by an entry point of the group ``braidbench.v1``. Its hooks run whenever any
command starts, so they must import nothing heavy: a spec names its code as ``"module:attribute"``.
"""

from __future__ import annotations

from collections.abc import Iterable

import pluggy

from braidbench import specs

ENTRY_POINT_GROUP = "braidbench.v1"

hookspec = pluggy.HookspecMarker("braidbench")
hookimpl = pluggy.HookimplMarker("braidbench")


@hookspec
def register_datasets() -> Iterable[specs.Dataset]:  # type: ignore[empty-body]
    """Datasets: modalities, splits, tasks, licence, how to obtain them, citation, research area."""


@hookspec
def register_encoders() -> Iterable[specs.Encoder]:  # type: ignore[empty-body]
    """Encoders: one modality → a vector or a sequence."""


@hookspec
def register_fusions() -> Iterable[specs.Fusion]:  # type: ignore[empty-body]
    """Fusions: representations → one representation."""


@hookspec
def register_objectives() -> Iterable[specs.Objective]:  # type: ignore[empty-body]
    """Objectives: the training loss, as named terms."""


@hookspec
def register_metrics() -> Iterable[specs.Metric]:  # type: ignore[empty-body]
    """Metrics: score, direction, bounds."""


@hookspec
def register_procedures() -> Iterable[specs.Procedure]:  # type: ignore[empty-body]
    """Procedures: how training runs."""


@hookspec
def register_preprocessings() -> Iterable[specs.Preprocessing]:  # type: ignore[empty-body]
    """Preprocessings: what a method does to its inputs before any model sees them."""


@hookspec
def register_methods() -> Iterable[specs.Method]:  # type: ignore[empty-body]
    """Methods: named recipes of fusion, objective, procedure and encoders. The leaderboard's rows."""


@hookspec
def register_corruptions() -> Iterable[specs.Corruption]:  # type: ignore[empty-body]
    """Corruptions: a perturbation of one modality kind at a severity in [0, 1]."""


@hookspec
def register_measures() -> Iterable[specs.Measure]:  # type: ignore[empty-body]
    """Measures: a quantity of a dataset or of a model's predictions."""


@hookspec
def register_executors() -> Iterable[specs.Executor]:  # type: ignore[empty-body]
    """Executors: where cells run."""


@hookspec
def register_commands() -> Iterable[specs.Command]:  # type: ignore[empty-body]
    """Commands: further subcommands of ``braidbench``."""
