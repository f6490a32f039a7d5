"""The multimodal transformer."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from braidbench.errors import UsageError
from braidbench.specs import Modality, Task
from braidbench_multizoo.fusions.attention.blocks import Blocks, KeysValues, Residual, Weights, normalise
from braidbench_multizoo.fusions.attention.steps import (
    Embedding,
    Mask,
    Positions,
    attention_bias,
    each,
    without_sequences,
)

LIMIT = 1 << 26
"""Weights: 0.27 GB of them, and four times that with their gradients and an optimiser's moments."""


def _weights(count: int, width: int, layers: int, depth: int, targets: int, self_pairs: bool) -> int:
    """Numbers in the matrices of a multimodal transformer of ``count`` modalities, without its embeddings and shifts:
    12 w² a block of width w, and two matrices of everything at the end."""
    sources = count if self_pairs else count - 1
    inner = sources * width
    return 12 * targets * (sources * layers * width**2 + depth * inner**2) + 2 * (targets * inner) ** 2


def _too_large(
    count: int,
    width: int,
    layers: int,
    self_layers: int | None,
    targets: tuple[int, ...] | None,
    self_pairs: bool,
    limit: int,
) -> str | None:
    depth = layers if self_layers is None else self_layers
    chosen = count if targets is None else len(targets)
    found = _weights(count, width, layers, depth, chosen, self_pairs)
    if found <= limit:
        return None
    sources = count if self_pairs else count - 1
    return (
        f"{count} modalities, of which {chosen} hear {sources} each, would take {found:,} weights, and limit is "
        f"{limit:,}; set fusion.width or fusion.targets to less, raise fusion.limit, or use late-fusion-transformer"
    )


class MulT(nn.Module):
    """Each modality hears every other one by crossmodal attention, reads what it heard by self-attention, and its last
    steps side by side are the representation.

    A temporal convolution brings every modality to ``width`` (:class:`~.steps.Embedding`). A crossmodal transformer of
    ``layers`` blocks with ``heads`` heads for each ordered pair (target i, source j) takes its queries from the target
    and its keys and values, in every block, from the source's embedding. The transformers of one target side by side,
    (B, T_i, P · width) with P sources, go through a self-attention transformer of ``self_layers`` blocks (None: as
    many as ``layers``), with positions again. The last real steps of all targets, ``out_dim`` = targets · P ·
    ``width`` numbers, go through h + W₂ dropout(relu(W₁ h)). The prediction is linear from there: the head without a
    hidden layer.

    The modalities may have any lengths, and padding is hidden from every attention. A vector is a sequence of one step;
    a row without steps is read as one step of zeros.

    Ablations (table 8.7): ``targets=(0,)`` keeps the transformers into one modality, by its place in the dataset;
    ``features="intermediate"`` takes keys and values of block l from the stream of the reversed pair after l − 1 blocks
    instead of the source's embedding; ``mask`` hides the future (:func:`~.steps.attention_bias`). ``self_pairs`` adds
    the pairs i = j, as MultiBench does. Unimodal transformers are the encoder ``transformer`` on its own.

    The paper has ``width=40, heads=8, layers=4`` on CMU-MOSEI. MultiBench's ``MULTModel`` is ``kernel=1,
    self_pairs=True, mask="released", residual="plain", scale=True`` with three self-attention blocks at least, and has
    as many parameters as that with a linear head; the released code of the paper is that without ``self_pairs``.

    The transformers over what was heard are P · ``width`` wide, one a target, so that the weights grow with the third
    power of the number of modalities: more than ``limit`` of them are refused (:func:`_weights`).

    What takes the time on a CPU: with hundreds of steps attention, two thirds, although no weight of it is ever stored;
    with fifty, attention and matrix products a third each.

    Source: Tsai et al. (2019); *Foundations of Multisensory AI*, 8.4, equations 8.14–8.17.
    """

    def __init__(
        self,
        in_dims: list[int],
        width: int = 32,
        heads: int = 4,
        layers: int = 2,
        self_layers: int | None = None,
        kernel: int | tuple[int, ...] = 3,
        stride: int | tuple[int, ...] = 1,
        targets: tuple[int, ...] | None = None,
        self_pairs: bool = False,
        features: Literal["low", "intermediate"] = "low",
        mask: Mask = "none",
        residual: Residual = "normalised",
        scale: bool = False,
        dropout: float = 0.1,
        embed_dropout: float = 0.0,
        attention_dropout: float = 0.0,
        out_dropout: float = 0.0,
        limit: int = LIMIT,
    ) -> None:
        super().__init__()
        count = len(in_dims)
        chosen = tuple(range(count)) if targets is None else targets
        if not chosen or len(set(chosen)) < len(chosen) or not set(chosen) <= set(range(count)):
            raise UsageError(f"targets={list(chosen)}: give different places of modalities, 0 to {count - 1}")
        if features == "intermediate" and len(chosen) < count:
            raise UsageError("features='intermediate' is what every modality hears: leave targets out")
        self.targets = chosen
        self.sources = [[j for j in range(count) if self_pairs or j != i] for i in chosen]
        if not self.sources[0]:
            raise UsageError("one modality has no other to hear: set self_pairs=true")
        too_large = _too_large(count, width, layers, self_layers, targets, self_pairs, limit)
        if too_large:
            raise UsageError(f"fusion 'mult': {too_large}")
        self.intermediate = features == "intermediate"
        self.mask = mask
        self.out_dropout = out_dropout
        sizes = zip(in_dims, each("kernel", kernel, count), each("stride", stride, count), strict=True)
        self.embeddings = nn.ModuleList(Embedding(size, width, k, s, embed_dropout, scale) for size, k, s in sizes)
        self.breadth = len(self.sources[0])
        inner = self.breadth * width
        depth = layers if self_layers is None else self_layers

        def blocks(streams: int, size: int, number: int) -> Blocks:
            return Blocks(streams, size, heads, number, dropout, attention_dropout, residual)

        self.crossmodal = blocks(len(chosen) * self.breadth, width, layers)
        self.memory_embedding = Positions(inner, embed_dropout, scale)
        self.memories = nn.ModuleList(blocks(1, inner, depth) for _ in chosen)
        self.out_dim = len(chosen) * inner
        self.first = nn.Linear(self.out_dim, self.out_dim)
        self.second = nn.Linear(self.out_dim, self.out_dim)

    @staticmethod
    def skip(
        modalities: tuple[Modality, ...],
        task: Task,
        width: int = 32,
        layers: int = 2,
        self_layers: int | None = None,
        targets: tuple[int, ...] | None = None,
        self_pairs: bool = False,
        limit: int = LIMIT,
    ) -> str | None:
        """Why these modalities cannot be served, or None."""
        unfit = without_sequences(modalities)
        return unfit or _too_large(len(modalities), width, layers, self_layers, targets, self_pairs, limit)

    def forward(self, representations: list[Tensor], lengths: list[Tensor | None]) -> Tensor:
        """M tensors (B, T_i, D_i) and M lengths (B,) or None → (B, out_dim)."""
        embedded: list[Tensor] = []
        spans: list[Tensor | None] = []
        for embed, x, own in zip(self.embeddings, representations, lengths, strict=True):
            z, span = embed(x, own)
            embedded.append(z)
            spans.append(span)
        heard = zip(self.targets, self._hear(embedded, spans), strict=True)
        fused = torch.cat([self._remember(place, x, spans[i]) for place, (i, x) in enumerate(heard)], 1)
        hidden = functional.dropout(functional.relu(self.first(fused)), self.out_dropout, self.training)
        result: Tensor = fused + self.second(hidden)
        return result

    def _hear(self, embedded: list[Tensor], spans: list[Tensor | None]) -> list[Tensor]:
        """The crossmodal transformers: each target's streams side by side, (B, T_i, P · width)."""
        biases = [
            [attention_bias(embedded[i], spans[i], embedded[j], spans[j], self.mask) for j in sources]
            for i, sources in zip(self.targets, self.sources, strict=True)
        ]
        streams = [embedded[i].expand(self.breadth, -1, -1, -1) for i in self.targets]
        low = [] if self.intermediate else [normalise(z) for z in embedded]
        for weights in self.crossmodal.layers():
            sources = self._intermediate(weights, streams) if self.intermediate else self._low(weights, low)
            streams = [
                self.crossmodal.cross(own, x, sources[place * self.breadth : (place + 1) * self.breadth], biases[place])
                for place, (own, x) in enumerate(zip(weights.split(self.breadth), streams, strict=True))
            ]
        normed = self.crossmodal.last_norm(streams)
        return [x.permute(1, 2, 0, 3).flatten(2) for x in normed]

    def _low(self, weights: Weights, normed: list[Tensor]) -> list[KeysValues]:
        """Keys and values for each transformer from its source's embedding: a source's for all of them at once."""
        wanted = [source for sources in self.sources for source in sources]
        found: dict[int, KeysValues] = {}
        for source, x in enumerate(normed):
            streams = [stream for stream, given in enumerate(wanted) if given == source]
            if streams:  # a single target without itself is nobody's source
                found |= zip(streams, self.crossmodal.keys_values(weights, x, streams), strict=True)
        return [found[stream] for stream in range(len(wanted))]

    def _intermediate(self, weights: Weights, streams: list[Tensor]) -> list[KeysValues]:
        """Keys and values for each transformer (target, source) from the stream of (source, target)."""
        normed = [normalise(x) for x in streams]
        found: list[KeysValues] = []
        for target, sources in zip(self.targets, self.sources, strict=True):
            for source in sources:
                place = self.targets.index(source)
                reverse = normed[place][self.sources[place].index(target)]
                found += self.crossmodal.keys_values(weights, reverse, [len(found)])
        return found

    def _remember(self, place: int, x: Tensor, span: Tensor | None) -> Tensor:
        """A target's self-attention transformer over what it heard: (B, T, P · width) → (B, P · width)."""
        x = self.memory_embedding(x)
        bias = attention_bias(x, span, x, span, self.mask)
        # A last step may see every real one under any mask.
        result: Tensor = self.memories[place](x, span, bias, attention_bias(x, span, x, span))
        return result


class MulTOfVectors(MulT):
    """MulT for modalities of which none is a sequence: each vector is one step, so that attention has nothing to choose
    and passes the other modality's value on. :class:`MulT` refuses such modalities, because a reader would take the
    result for one of crossmodal attention.

    Source: *Foundations of Multisensory AI*, 3.3.3, MULT of table 3.4, which is built so.
    """

    @staticmethod
    def skip(
        modalities: tuple[Modality, ...],
        task: Task,
        width: int = 32,
        layers: int = 2,
        self_layers: int | None = None,
        targets: tuple[int, ...] | None = None,
        self_pairs: bool = False,
        limit: int = LIMIT,
    ) -> str | None:
        """Why these modalities cannot be served, or None."""
        unfit = None
        if not without_sequences(modalities):
            unfit = "there is a sequence to attend over: use the fusion 'mult'"
        return unfit or _too_large(len(modalities), width, layers, self_layers, targets, self_pairs, limit)
