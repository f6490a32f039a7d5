"""Methods that are defined by how they train: blending, searching, translating, aligning, voting."""

from __future__ import annotations

from braidbench.specs import Encoder, Fusion, Method, Objective, Preprocessing, Procedure

ENCODERS: tuple[Encoder, ...] = ()

FUSIONS: tuple[Fusion, ...] = ()

OBJECTIVES: tuple[Objective, ...] = ()

PROCEDURES: tuple[Procedure, ...] = ()

PREPROCESSINGS: tuple[Preprocessing, ...] = ()

METHODS: tuple[Method, ...] = ()
