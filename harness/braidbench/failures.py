"""What went wrong, in one line that names who is to blame."""

from __future__ import annotations

import sys
from types import TracebackType

from braidbench.errors import BraidbenchError, DataError
from braidbench.registry import registry
from braidbench.results import FailureKind
from braidbench.specs import KINDS

LONGEST = 500
"""Characters of a reason; what a plugin raises may be of any length."""


class NonFiniteLossError(BraidbenchError):
    """The training loss is NaN or infinite."""

    exit_code = 1


def kind_of(error: BaseException) -> FailureKind:
    """The kind of failure that an exception means."""
    name, text = type(error).__name__, str(error).lower()
    if isinstance(error, MemoryError) or name == "OutOfMemoryError" or "can't allocate memory" in text:
        return "oom"
    if isinstance(error, NonFiniteLossError) or (isinstance(error, DataError) and "not finite" in text):
        return "nan"
    return "data" if isinstance(error, DataError) else "plugin"


def reason_of(error: BaseException) -> str:
    """The first line of what an exception says; of one that is none of ours with its type and the plugin it came from:
    ``RuntimeError: shapes differ (in gated.model, of braidbench-gated 0.1.0)``."""
    text = (str(error).strip().splitlines() or ["no message"])[0][:LONGEST]
    if isinstance(error, BraidbenchError):
        return text
    module, owner = blamed(error.__traceback__)
    return f"{type(error).__name__}: {text}" + (f" (in {module}, of {owner})" if owner else "")


def blamed(trace: TracebackType | None) -> tuple[str, str]:
    """(module, distribution with its version) of the innermost frame that is a plugin's code; empty if none is."""
    found = "", ""
    while trace is not None:
        module = str(trace.tb_frame.f_globals.get("__name__", ""))
        owner = owner_of(module)
        if owner:
            found = module, owner
        trace = trace.tb_next
    return found


def owner_of(module: str) -> str:
    """The distribution, with its version, whose plugin has this module; empty for the core's and everybody else's."""
    for plugin in registry().plugins:
        declared = plugin.module.partition(":")[0].partition("[")[0].strip()
        package = declared.partition(".")[0]
        # A namespace package has no file of its own and may be shared by several distributions.
        root = package if getattr(sys.modules.get(package), "__file__", None) else declared
        if package != __package__ and (module == root or module.startswith(f"{root}.")):
            return plugin.owner
    # A plugin's code may stand in modules beside its package: those that its specs name.
    for kind in KINDS:
        for registered in registry().all(kind):
            if module and str(getattr(registered.spec, "target", "")).partition(":")[0] == module:
                return "" if module.partition(".")[0] == __package__ else registered.plugin.owner
    return ""
