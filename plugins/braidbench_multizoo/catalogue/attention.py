"""The multimodal transformer, its ablations, and the early- and late-fusion transformers."""

from __future__ import annotations

from braidbench.specs import Encoder, Fusion, Method, Objective, Preprocessing, Procedure

ENCODERS: tuple[Encoder, ...] = ()

FUSIONS: tuple[Fusion, ...] = ()

OBJECTIVES: tuple[Objective, ...] = ()

PROCEDURES: tuple[Procedure, ...] = ()

PREPROCESSINGS: tuple[Preprocessing, ...] = ()

METHODS: tuple[Method, ...] = ()
