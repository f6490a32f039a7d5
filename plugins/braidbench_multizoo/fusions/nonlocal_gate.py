"""The non-local gate: one modality asks, the others answer."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from braidbench.errors import UsageError
from braidbench.specs import Modality, Task
from braidbench_multizoo.encoders.masking import mean_pool, valid_steps, zero_padding


class NonLocalGate(nn.Module):
    """Every step of one modality attends to all steps of the others, adds what it finds to itself; then the mean.

    With Q the query modality's steps, K and V the others' steps, each mapped to ``width`` (the query's own by default)
    by a linear layer without bias of its modality: Y = Q + softmax(Q Kᵀ) V, and z is the mean of Y over the query's
    real steps. Scores are not divided by √width, as in the source; ``scaled=True`` does. The other modalities are one
    memory: a step's weights sum to one over all of them. Padding is no key and no part of the mean; where the others
    have no step at all, nothing is added, and a query without steps gives zeros. ``query`` is the index of the query
    modality, the first by default. Two modalities of which the second has one step are skipped: there is nothing to
    choose from.

    MultiBench's code flattens Y, whose width then is the number of steps; the mean serves sequences of any length.

    Source: Wang et al. (2018), 3.1–3.3, the embedded Gaussian, as Wang, Tran & Feiszli (2020) gate one modality by
    another; *Foundations of Multisensory AI*, 7.4.2. Raises UsageError.
    """

    def __init__(self, in_dims: list[int], width: int | None = None, query: int = 0, scaled: bool = False) -> None:
        super().__init__()
        if len(in_dims) < 2:
            raise UsageError("fusion 'nl-gate' needs 2 modalities or more: one that asks and one that answers")
        count = len(in_dims)
        if not -count <= query < count:
            raise UsageError(
                f"fusion 'nl-gate': query={query}, and the {count} modalities are numbered 0 to {count - 1}"
            )
        self.query = query % count
        width = in_dims[self.query] if width is None else width
        if width < 1:
            raise UsageError(f"fusion 'nl-gate': width must be 1 or more, not {width}")
        others = [size for index, size in enumerate(in_dims) if index != self.query]
        self.queries = nn.Linear(in_dims[self.query], width, bias=False)
        self.keys = nn.ModuleList(nn.Linear(size, width, bias=False) for size in others)
        self.values = nn.ModuleList(nn.Linear(size, width, bias=False) for size in others)
        self.scale = 1 / math.sqrt(width) if scaled else 1.0
        self.out_dim = width

    @staticmethod
    def skip(modalities: Sequence[Modality], task: Task) -> str | None:
        """Why it cannot serve these modalities, or None."""
        if len(modalities) == 2 and not modalities[1].is_sequence:
            first, second = (modality.name for modality in modalities)
            return (
                f"{first!r} would attend to {second!r}, which is one step, with weight 1 whatever both are; it needs a "
                "sequence there, or three modalities"
            )
        return None

    def forward(self, sequences: list[Tensor], lengths: list[Tensor | None]) -> Tensor:
        """M tensors (B, T_i, D_i) and their lengths, (B,) or None → (B, width)."""
        # Padding is zeroed first: a product with what stands there, an infinity say, would reach the gradient.
        steps = [zero_padding(x, n) for x, n in zip(sequences, lengths, strict=True)]
        spans = list(lengths)
        asking, span = steps.pop(self.query), spans.pop(self.query)
        query: Tensor = self.queries(asking)
        key = torch.cat([layer(x) for layer, x in zip(self.keys, steps, strict=True)], dim=1)
        value = torch.cat([layer(x) for layer, x in zip(self.values, steps, strict=True)], dim=1)
        mask = None
        if any(n is not None for n in spans):
            real = torch.cat([valid_steps(x, n) for x, n in zip(steps, spans, strict=True)], dim=1)
            # A softmax over no key is not a number, so a row without any keeps all: their values are zero.
            real = real | ~real.any(dim=1, keepdim=True)
            mask = real[:, None, None, :]
        # One head of its own axis: without it the kernel that keeps no (B, T, T') scores is not chosen.
        found = functional.scaled_dot_product_attention(
            query.unsqueeze(1), key.unsqueeze(1), value.unsqueeze(1), attn_mask=mask, scale=self.scale
        )
        return mean_pool(query + found.squeeze(1), span)
