"""What can be known of a GPU without one: models and losses on a device that holds no numbers.

On torch's ``meta`` device every operation is checked for the devices, shapes and types of what it reads, and none can
look at a value: whatever would be made on the CPU, or would make a GPU wait for an answer, shows.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

from braid_toy.shapes import serving
from braidbench.assembly import build, preprocessing
from braidbench.data import Batch, open_split
from braidbench.evaluation.complexity import flops_of
from braidbench.preparation import prepare
from braidbench.recipe import resolve
from braidbench.registry import registry
from braidbench_multizoo import register_methods

METHODS = sorted(method.name for method in register_methods())


def built(method: str):
    """The model, its objective, and a training batch of a dataset that it serves; all drawn from the same seed."""
    dataset, row = serving(method)
    recipe = resolve(registry(), dataset, row, {})
    torch.manual_seed(0)
    model, objective = build(recipe)
    split = preprocessing(recipe)(open_split(prepare(recipe.dataset), "train", recipe.task))
    return model, objective, split.batch(torch.arange(16))


class OnOneDevice(TorchDispatchMode):
    """Notes every tensor that is made elsewhere than on the device. A single number is no burden: kernels take it
    along."""

    def __init__(self, device: str) -> None:
        super().__init__()
        self.device = device
        self.elsewhere: list[str] = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        found = function(*args, **(kwargs or {}))
        for value in tree_flatten(found)[0]:
            if isinstance(value, Tensor) and value.ndim and value.device.type != self.device:
                self.elsewhere.append(f"{function}: {tuple(value.shape)} on {value.device}")
        return found


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("method", METHODS)
def test_a_pass_makes_nothing_on_another_device(method, training):
    """Forward, loss and backward (in training), or forward alone."""
    model, objective, batch = built(method)
    model, batch = model.to("meta").train(training), batch.to(torch.device("meta"))
    with OnOneDevice("meta") as seen:
        output = model(batch.inputs, batch.lengths)
        if training and method.startswith("ctc-"):
            # torch has no kernel of the CTC loss for this device; what the loss reads is made in the forward pass.
            (output.prediction.sum() + sum(found.logits.sum() for found in output.positions.values())).backward()
        elif training:
            torch.stack(list(objective(output, batch, model).values())).sum().backward()
    assert output.prediction.device.type == "meta"
    assert not seen.elsewhere


@pytest.mark.parametrize("method", METHODS)
def test_operations_are_the_models_and_not_the_devices(method):
    model, _, batch = built(method)
    model.eval()
    one = Batch(
        {name: x[:1] for name, x in batch.inputs.items()},
        {name: n if n is None else n[:1] for name, n in batch.lengths.items()},
        batch.target[:1],
        batch.index[:1],
    )
    with torch.no_grad():
        here = flops_of(model, one.inputs, one.lengths)
        there = one.to(torch.device("meta"))
        assert flops_of(model.to("meta"), there.inputs, there.lengths) == here > 0


def test_what_is_made_elsewhere_is_seen():
    with OnOneDevice("meta") as seen:
        torch.ones(3, device="meta") + torch.arange(3).to("meta")
    assert len(seen.elsewhere) == 1
    assert "arange" in seen.elsewhere[0]
