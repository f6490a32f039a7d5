"""The conformance kit: what every component of a kind must hold, as checks with a name each.

``test_gated = braidbench.testing.parametrize_conformance("gated/sigmoid")`` in a test file makes one pytest test a
check; ``braidbench check gated/sigmoid`` runs the same checks. Importing this package imports neither pytest nor torch.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from braidbench.testing.kit import check_component as check_component
    from braidbench.testing.kit import find_components as find_components
    from braidbench.testing.parametrize import parametrize_conformance as parametrize_conformance

KIT_VERSION = 1
"""Raised when a component that passed may fail: a check is new or stricter."""

_HOMES = {
    "check_component": "braidbench.testing.kit",
    "find_components": "braidbench.testing.kit",
    "parametrize_conformance": "braidbench.testing.parametrize",
}

__all__ = ["KIT_VERSION", *_HOMES]


def __getattr__(name: str) -> Any:
    import importlib

    if name not in _HOMES:
        raise AttributeError(f"module 'braidbench.testing' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
