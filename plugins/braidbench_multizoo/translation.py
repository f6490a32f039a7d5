"""Cyclic translation between modalities: a joint representation that needs one of them only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from braidbench.data import Batch
from braidbench.errors import DataError, UsageError
from braidbench.model import Head, Output
from braidbench.precision import as_float32
from braidbench.specs import Modality, Task
from braidbench_multizoo.encoders.masking import features, mean_pool, valid_steps, zero_padding
from braidbench_multizoo.encoders.recurrent import GRU

Sequences = tuple[Tensor, Tensor | None]
"""Values (B, T, D), zero beyond each row's length, and lengths (B,) or None."""


class Translator(nn.Module):
    """A sequence → hidden states → another sequence: a bidirectional GRU, attention, and a GRU that decodes.

    The states of both directions are added. Each decoding step attends over the real steps' states (additive scores),
    reads the step before (its own, or with probability ``teacher_forcing`` in training the true one, from torch's
    global generator) and the context, and a linear layer on both gives the next step. Inputs and outputs are ``width``
    numbers wide; narrower ones are filled with zeros.

    Source: Pham et al. (2019), 3.1; Bahdanau, Cho & Bengio (2015), A.1.2. The released code takes the softmax of the
    scores over time for each hidden unit, and the logarithm of a softmax as the output of real-valued features.
    """

    def __init__(self, width: int, hidden: int, teacher_forcing: float) -> None:
        super().__init__()
        self.width, self.teacher_forcing = width, teacher_forcing
        steps = Modality("steps", "time_series", (width,))
        self.encoder = GRU(steps, 2 * hidden, bidirectional=True, form="sequence")
        self.of_state = nn.Linear(hidden, hidden, bias=False)
        self.of_step = nn.Linear(hidden, hidden)
        self.score = nn.Linear(hidden, 1, bias=False)
        self.start = nn.Linear(hidden, hidden)
        self.cell = nn.GRUCell(width + hidden, hidden)
        self.give = nn.Linear(2 * hidden, width)

    def encode(self, x: Tensor, lengths: Tensor | None) -> Tensor:
        """(B, T, ≤ width) → hidden states (B, T, hidden), zero beyond a row's length."""
        forwards, backwards = self.encoder(self.fill(x), lengths).chunk(2, dim=2)
        result: Tensor = forwards + backwards
        return result

    def decode(self, states: Tensor, lengths: Tensor | None, target: Tensor) -> Tensor:
        """As many steps as ``target`` (B, T', width) has, which is looked at only to be taught by, in training."""
        keys = self.of_step(states)
        hidden_away = ~valid_steps(states, None if lengths is None else lengths.clamp(min=1))
        state = torch.tanh(self.start(mean_pool(states, lengths)))
        step = target.new_zeros(len(target), self.width)
        given = []
        for place in range(target.shape[1]):
            scores = self.score(torch.tanh(keys + self.of_state(state).unsqueeze(1))).squeeze(2)
            weights = scores.masked_fill(hidden_away, -torch.inf).softmax(1)
            context = (weights.unsqueeze(1) @ states).squeeze(1)
            state = self.cell(torch.cat([step, context], 1), state)
            step = self.give(torch.cat([state, context], 1))
            given.append(step)
            if self.training and float(torch.rand(())) < self.teacher_forcing:
                step = target[:, place]
        return torch.stack(given, 1)

    def fill(self, x: Tensor) -> Tensor:
        """(B, T, D) → (B, T, width)."""
        return functional.pad(x, (0, self.width - x.shape[2]))


class MCTN(nn.Module):
    """Multimodal cyclic translation network: the joint representation is made of the source modality alone.

    The source is translated into the first target and back by one translator; its hidden states are the joint
    representation E_1. Of further targets each is translated into from the representation before, whose translator's
    hidden states are the next one (the hierarchical form). A GRU over the last representation's steps and the head give
    the prediction. Other modalities are read in training only, by the objective ``mctn``; evaluation takes the same
    path as training, through the hidden states (the released code predicts from something else there).

    ``source`` names the source modality; the first text when empty, or the first modality. Sequences longer than
    ``steps`` are averaged in windows to that many steps, as the paper's are cut; a vector is a sequence of one step. It
    reads the inputs themselves: encoders and fusion are not used.

    Source: Pham et al. (2019), Found in translation, 3.2–3.4; *Foundations of Multisensory AI*, 7.4.3. Raises
    UsageError.
    """

    def __init__(
        self,
        encoders: Mapping[str, nn.Module],
        fusion: nn.Module,
        head: Head,
        task: Task,
        takes: str = "vectors",
        *,
        modalities: Sequence[Modality],
        source: str = "",
        hidden: int = 32,
        steps: int = 20,
        teacher_forcing: float = 0.5,
    ) -> None:
        super().__init__()
        if min(hidden, steps) < 1 or not 0 <= teacher_forcing <= 1:
            raise UsageError(
                f"method 'mctn': hidden={hidden} and steps={steps} must be 1 or more, teacher_forcing="
                f"{teacher_forcing} in [0, 1]"
            )
        by_name = {modality.name: modality for modality in modalities}
        if source and source not in by_name:
            raise UsageError(f"method 'mctn': source={source!r} is no modality; there are {', '.join(by_name)}")
        self.source = source or next((m.name for m in modalities if m.kind == "text"), modalities[0].name)
        self.targets = [name for name in by_name if name != self.source]
        self.windows = {m.name: -(-(m.length or 1) // steps) for m in modalities}
        self.task = task
        sizes = {m.name: features(m) for m in modalities}
        widths = [max(sizes[self.source], sizes[self.targets[0]])]
        widths += [max(hidden, sizes[name]) for name in self.targets[1:]]
        self.translators = nn.ModuleList(Translator(width, hidden, teacher_forcing) for width in widths)
        self.summary = GRU(Modality("joint", "time_series", (hidden,)), hidden)
        self.head = head.resized(hidden)

    @staticmethod
    def skip(modalities: tuple[Modality, ...], task: Task) -> str | None:
        """Why it cannot serve these modalities, or None."""
        return None if len(modalities) > 1 else "it translates one modality into others; there is one"

    def forward(self, inputs: Mapping[str, Tensor], lengths: Mapping[str, Tensor | None]) -> Output:
        """``representations`` is the joint one, by the source's name; of ``inputs`` only the source is read."""
        states, spans = self.joint(self.steps(self.source, inputs, lengths))[-1]
        fused = self.summary(states, spans)
        return Output(self.head(fused), fused, {self.source: states})

    def joint(self, source: Sequences) -> list[Sequences]:
        """E_1, E_2, …: the hidden states of every translator, from the source alone."""
        found, (x, spans) = [], source
        for translator in self.translators:
            assert isinstance(translator, Translator)
            x = translator.encode(x, spans)
            found.append((x, spans))
        return found

    def translations(self, batch: Batch) -> dict[str, Tensor]:
        """Mean squared errors over the real steps' numbers: ``to-<target>`` each, and ``back`` to the source."""
        source = self.steps(self.source, batch.inputs, batch.lengths)
        errors = {}
        for index, (name, (states, spans)) in enumerate(zip(self.targets, self.joint(source), strict=True)):
            translator = self.translators[index]
            assert isinstance(translator, Translator)
            target, own = self.steps(name, batch.inputs, batch.lengths)
            given = translator.decode(states, spans, translator.fill(target))
            errors[f"to-{name}"] = _mean_squared(given, target, own)
            if index == 0:
                there = translator.encode(zero_padding(given, own), own)
                back = translator.decode(there, own, translator.fill(source[0]))
                errors["back"] = _mean_squared(back, *source)
        return errors

    def steps(self, name: str, inputs: Mapping[str, Tensor], lengths: Mapping[str, Tensor | None]) -> Sequences:
        """A modality as (B, T, D) with T of at most ``steps``, averaged in windows, and the windows' lengths."""
        x, own = inputs[name], lengths[name]
        if not x.is_floating_point():
            raise DataError(f"method 'mctn' translates numbers; modality {name!r} holds integers")
        if own is None:
            return x.flatten(1).unsqueeze(1), None
        x, window = zero_padding(x.flatten(2), own), self.windows[name]
        if window == 1:
            return x, own
        x = functional.pad(x, (0, 0, 0, -x.shape[1] % window))
        real = valid_steps(x, own).unflatten(1, (-1, window)).sum(2, keepdim=True)
        return x.unflatten(1, (-1, window)).sum(2) / real.clamp(min=1), -(-own // window)


def _mean_squared(given: Tensor, x: Tensor, lengths: Tensor | None) -> Tensor:
    """Over the numbers of real steps; what stands beyond x's width is filling, and not compared."""
    # In float32, whatever the translator has computed in: it is a sum over thousands of numbers.
    error = zero_padding((as_float32(given)[..., : x.shape[2]] - x).square(), lengths)
    count = x.shape[2] * (x.shape[0] * x.shape[1] if lengths is None else lengths.sum().clamp(min=1))
    return error.sum() / count
