"""Fusions of vectors that multiply, gate and attend, and the encoders that feed them."""

from __future__ import annotations

from braidbench.specs import Encoder, Fusion, Method, Objective, Preprocessing, Procedure

ENCODERS: tuple[Encoder, ...] = ()

FUSIONS: tuple[Fusion, ...] = ()

OBJECTIVES: tuple[Objective, ...] = ()

PROCEDURES: tuple[Procedure, ...] = ()

PREPROCESSINGS: tuple[Preprocessing, ...] = ()

METHODS: tuple[Method, ...] = ()
