"""braidbench: a plugin-based benchmark harness for multimodal learning.

Importing it imports nothing heavy: each public name is loaded when it is first used.
"""

from __future__ import annotations

# Importing typing would take as long as all the rest of start-up; type checkers know this name.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from braidbench import testing as testing
    from braidbench.api import load as load
    from braidbench.api import run as run
    from braidbench.hookspecs import hookimpl as hookimpl
    from braidbench.specs import Command as Command
    from braidbench.specs import Corruption as Corruption
    from braidbench.specs import Dataset as Dataset
    from braidbench.specs import Encoder as Encoder
    from braidbench.specs import Executor as Executor
    from braidbench.specs import Fusion as Fusion
    from braidbench.specs import Measure as Measure
    from braidbench.specs import Method as Method
    from braidbench.specs import Metric as Metric
    from braidbench.specs import Modality as Modality
    from braidbench.specs import Objective as Objective
    from braidbench.specs import PackageFile as PackageFile
    from braidbench.specs import Part as Part
    from braidbench.specs import Preprocessing as Preprocessing
    from braidbench.specs import Procedure as Procedure
    from braidbench.specs import Task as Task
    from braidbench.specs import Training as Training

_HOMES = {
    "hookimpl": "braidbench.hookspecs",
    "load": "braidbench.api",
    "run": "braidbench.api",
    **dict.fromkeys(
        (
            "Command", "Corruption", "Dataset", "Encoder", "Executor", "Fusion", "Measure", "Method", "Metric",
            "Modality", "Objective", "PackageFile", "Part", "Preprocessing",
            "Procedure", "Task", "Training",
        ),
        "braidbench.specs",
    ),
}  # fmt: skip

__all__ = [*_HOMES]


def __getattr__(name: str) -> Any:
    import importlib

    if name in _HOMES:
        value = getattr(importlib.import_module(_HOMES[name]), name)
    elif name == "testing":
        value = importlib.import_module("braidbench.testing")
    elif name == "__version__":
        from importlib.metadata import version

        value = version("braidbench")
    else:
        raise AttributeError(f"module 'braidbench' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*__all__, "testing", "__version__"])
