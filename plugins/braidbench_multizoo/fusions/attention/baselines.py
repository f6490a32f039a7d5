"""The transformers that the multimodal transformer is compared with: one over everything, and one a modality."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from braidbench.specs import Modality, Task
from braidbench_multizoo.encoders.masking import zero_padding
from braidbench_multizoo.fusions.attention.blocks import Blocks, Residual
from braidbench_multizoo.fusions.attention.steps import Embedding, attention_bias, each, without_sequences


class LateFusionTransformer(nn.Module):
    """A self-attention transformer each, and their last real steps side by side.

    A temporal convolution brings every modality to ``width`` and a position is added; ``layers`` blocks with ``heads``
    heads follow (:class:`~.blocks.Blocks`). Rows and padding are as in :class:`~.mult.MulT`.

    Source: *Foundations of Multisensory AI*, 8.6.3, "LF-Transformer" of table 8.7. MultiBench's has a width of 9, 3
    heads, 3 layers, a kernel of 1 and normalises after each sublayer.
    """

    def __init__(
        self,
        in_dims: list[int],
        width: int = 32,
        heads: int = 4,
        layers: int = 2,
        kernel: int | tuple[int, ...] = 3,
        stride: int | tuple[int, ...] = 1,
        residual: Residual = "normalised",
        dropout: float = 0.1,
        embed_dropout: float = 0.0,
        attention_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        count = len(in_dims)
        sizes = zip(in_dims, each("kernel", kernel, count), each("stride", stride, count), strict=True)
        self.embeddings = nn.ModuleList(Embedding(size, width, k, s, embed_dropout) for size, k, s in sizes)
        self.transformers = nn.ModuleList(
            Blocks(1, width, heads, layers, dropout, attention_dropout, residual) for _ in in_dims
        )
        self.out_dim = count * width

    @staticmethod
    def skip(modalities: tuple[Modality, ...], task: Task) -> str | None:
        """Why these modalities cannot be served, or None."""
        return without_sequences(modalities)

    def forward(self, representations: list[Tensor], lengths: list[Tensor | None]) -> Tensor:
        """M tensors (B, T_i, D_i) and M lengths (B,) or None → (B, M · width)."""
        last = []
        for embed, blocks, x, own in zip(self.embeddings, self.transformers, representations, lengths, strict=True):
            z, span = embed(x, own)
            bias = attention_bias(z, span, z, span)
            last.append(blocks(z, span, bias, bias))
        return torch.cat(last, 1)


class EarlyFusionTransformer(nn.Module):
    """One self-attention transformer over all modalities, and its last real step.

    ``join="time"``: each modality's steps, embedded to ``width`` and with positions counted from its own first step,
    one modality after the other, (B, Σ T_i, width); a trained vector says which modality a step is of, and the last
    step is that of the last modality. ``join="features"``: inputs side by side at every step, (B, max T_i, Σ D_i), then
    embedded; a modality that ended before the row's longest gives zeros from there, and a vector stands at the first
    step. Blocks, rows and padding are as in :class:`LateFusionTransformer`.

    Source: *Foundations of Multisensory AI*, 8.6.3, "EF-Transformer" of table 8.7, which joins in time; MultiBench's
    joins features, with a width of 9, 3 heads, 3 layers, a kernel of 1, and normalises after each sublayer.
    """

    def __init__(
        self,
        in_dims: list[int],
        width: int = 32,
        heads: int = 4,
        layers: int = 2,
        join: Literal["time", "features"] = "time",
        kernel: int = 3,
        stride: int = 1,
        residual: Residual = "normalised",
        dropout: float = 0.1,
        embed_dropout: float = 0.0,
        attention_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.join = join
        sizes = in_dims if join == "time" else [sum(in_dims)]
        self.embeddings = nn.ModuleList(Embedding(size, width, kernel, stride, embed_dropout) for size in sizes)
        self.kinds = nn.Parameter(torch.randn(len(sizes), width) * 0.02) if join == "time" else None
        self.transformer = Blocks(1, width, heads, layers, dropout, attention_dropout, residual)
        self.out_dim = width

    @staticmethod
    def skip(modalities: tuple[Modality, ...], task: Task) -> str | None:
        """Why these modalities cannot be served, or None."""
        return without_sequences(modalities)

    def forward(self, representations: list[Tensor], lengths: list[Tensor | None]) -> Tensor:
        """M tensors (B, T_i, D_i) and M lengths (B,) or None → (B, width)."""
        if self.kinds is None:
            x, lengths = _side_by_side(representations, lengths)
            representations = [x]
        embedded: list[Tensor] = []
        biases: list[Tensor | None] = []
        end: Tensor | None = None
        for place, (embed, x, own) in enumerate(zip(self.embeddings, representations, lengths, strict=True)):
            z, span = embed(x, own)
            before = sum(part.shape[1] for part in embedded)
            end = None if span is None else span + before
            biases.append(attention_bias(z, span, z, span))
            embedded.append(z if self.kinds is None else z + self.kinds[place])
        bias = _joined(biases, embedded)
        fused: Tensor = self.transformer(torch.cat(embedded, 1), end, bias, bias)
        return fused


def _joined(biases: list[Tensor | None], parts: list[Tensor]) -> Tensor | None:
    """(B, 1, 1, Σ T_i) of (B, 1, 1, T_i) each; None where nothing is hidden."""
    if all(bias is None for bias in biases):
        return None
    rows = len(parts[0])
    return torch.cat(
        [
            part.new_zeros(rows, 1, 1, part.shape[1]) if bias is None else bias.expand(rows, -1, -1, -1)
            for bias, part in zip(biases, parts, strict=True)
        ],
        -1,
    )


def _side_by_side(representations: list[Tensor], lengths: list[Tensor | None]) -> tuple[Tensor, list[Tensor | None]]:
    """(B, max T_i, Σ D_i) with zeros where a modality has ended, and how many steps each row has."""
    longest = max(x.shape[1] for x in representations)
    padded = [
        functional.pad(zero_padding(x, own), (0, 0, 0, longest - x.shape[1]))
        for x, own in zip(representations, lengths, strict=True)
    ]
    spans = [
        torch.full((len(x),), x.shape[1], device=x.device) if own is None else own.to(x.device)
        for x, own in zip(representations, lengths, strict=True)
    ]
    return torch.cat(padded, -1), [torch.stack(spans).amax(0)]
