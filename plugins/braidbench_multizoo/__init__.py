"""MultiZoo's methods and what they are made of: encoders, fusions, objectives, procedures, methods."""

from __future__ import annotations

from collections.abc import Iterator

from braidbench.hookspecs import hookimpl
from braidbench.specs import Encoder, Fusion, Method, Objective, Preprocessing, Procedure
from braidbench_multizoo.catalogue import attention, basic, objectives, recurrent, training, vectors

_FAMILIES = (basic, vectors, attention, recurrent, objectives, training)


@hookimpl
def register_encoders() -> Iterator[Encoder]:
    for family in _FAMILIES:
        yield from family.ENCODERS


@hookimpl
def register_fusions() -> Iterator[Fusion]:
    for family in _FAMILIES:
        yield from family.FUSIONS


@hookimpl
def register_objectives() -> Iterator[Objective]:
    for family in _FAMILIES:
        yield from family.OBJECTIVES


@hookimpl
def register_procedures() -> Iterator[Procedure]:
    for family in _FAMILIES:
        yield from family.PROCEDURES


@hookimpl
def register_preprocessings() -> Iterator[Preprocessing]:
    for family in _FAMILIES:
        yield from family.PREPROCESSINGS


@hookimpl
def register_methods() -> Iterator[Method]:
    for family in _FAMILIES:
        yield from family.METHODS
