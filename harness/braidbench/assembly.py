"""From a recipe to modules: the model and its objective as they are trained, and as they are restored."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import nn

from braidbench.capture import aside
from braidbench.data import Split
from braidbench.model import Head, out_dim
from braidbench.precision import InFullPrecision
from braidbench.recipe import Recipe, encoder_of
from braidbench.registry import load_target


@aside()
def preprocessing(recipe: Recipe) -> Callable[[Split], Split]:
    """What turns a split as it was prepared into one that the recipe's model reads."""
    chosen = recipe.preprocessing
    if chosen is None:
        return lambda split: split
    function: Callable[[Split], Split] = load_target(chosen.spec)(**chosen.parameters)
    return function


@aside()
def build(recipe: Recipe) -> tuple[Any, Any]:
    """The untrained model and its objective, drawn from torch's global generator in a fixed order."""
    takes = recipe.fusion.spec.takes
    encoders = {m.name: encoder_of(recipe.encoders[m.name], m, takes) for m in recipe.modalities}
    widths = [out_dim(encoder, f"encoder {recipe.encoders[name].spec.name!r}") for name, encoder in encoders.items()]
    fusion = load_target(recipe.fusion.spec)(widths, **recipe.fusion.parameters)
    width = out_dim(fusion, f"fusion {recipe.fusion.spec.name!r}")
    head = Head(width, recipe.task.width, **recipe.head)
    target = load_target(recipe.method)
    own = dict(recipe.model)
    if "modalities" in inspect.signature(target).parameters:
        own["modalities"] = recipe.modalities
    model = target(encoders, fusion, head, recipe.task, takes, **own)
    objective = load_target(recipe.objective.spec)(**recipe.objective.parameters)
    if hasattr(objective, "bind"):
        objective.bind(model, recipe.modalities, recipe.task)
    if isinstance(objective, nn.Module):
        # Its parameters are then trained, saved and counted with the model's.
        model.objective = objective
    return model, InFullPrecision(objective) if recipe.objective.spec.full_precision else objective


@aside()
def restore(recipe: Recipe, path: Path) -> Any:
    """The recipe's model with the weights that ``path`` holds. Nothing in that file is executed."""
    from safetensors.torch import load_file

    model, _ = build(recipe)
    model.load_state_dict(load_file(path))
    return model
