"""Interactions: how much redundant, unique and synergistic information a dataset holds about its task.

Importing it imports nothing heavy; each public name is loaded when it is first used.
"""

from __future__ import annotations

from braidbench.hookspecs import hookimpl
from braidbench.specs import Command, Measure

# Importing typing would take as long as all the rest of this module; type checkers know this name.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from braidbench.specs import Dataset
    from braidbench_interactions.decomposition import PID as PID
    from braidbench_interactions.decomposition import PIDBatch as PIDBatch
    from braidbench_interactions.decomposition import pid as pid
    from braidbench_interactions.decomposition import pid_batch as pid_batch
    from braidbench_interactions.estimation import Estimate as Estimate
    from braidbench_interactions.estimation import estimate as estimate
    from braidbench_interactions.reference import pid_cvx as pid_cvx
    from braidbench_interactions.several import estimate_pairs as estimate_pairs
    from braidbench_interactions.several import estimate_union as estimate_union

_HOMES = {
    "Estimate": "braidbench_interactions.estimation",
    "PID": "braidbench_interactions.decomposition",
    "PIDBatch": "braidbench_interactions.decomposition",
    "estimate": "braidbench_interactions.estimation",
    "estimate_pairs": "braidbench_interactions.several",
    "estimate_union": "braidbench_interactions.several",
    "pid": "braidbench_interactions.decomposition",
    "pid_batch": "braidbench_interactions.decomposition",
    "pid_cvx": "braidbench_interactions.reference",
}

__all__ = [*_HOMES]


@hookimpl
def register_datasets() -> Iterator[Dataset]:
    from braidbench_interactions.catalogue_synthetic import DATASETS

    yield from DATASETS


@hookimpl
def register_measures() -> Iterator[Measure]:
    yield Measure(
        "interactions",
        "braidbench_interactions.panel:interactions",
        summary="redundant, unique and synergistic information of every pair of modalities about the label",
        title="Interactions",
    )


@hookimpl
def register_commands() -> Iterator[Command]:
    yield Command(
        "quantify",
        "braidbench_interactions.cli:quantify",
        summary="how much redundant, unique and synergistic information a dataset holds",
    )
    yield Command(
        "advise",
        "braidbench_interactions.cli:advise",
        summary="which methods to try on a dataset, by its interactions",
    )
    yield Command(
        "agreement",
        "braidbench_interactions.cli_models:agreement",
        summary="what trained models learned, and whether it is what their datasets need",
    )


def __getattr__(name: str) -> Any:
    import importlib

    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
