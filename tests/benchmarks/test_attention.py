"""The multimodal transformer against one module a pair with attention weights written out, as released code has it.

Both have the same weights and give the same numbers, which is asserted: same embedding, positions, blocks, dropout off.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from braidbench_multizoo.fusions.attention.blocks import Blocks
from braidbench_multizoo.fusions.attention.mult import MulT

ROWS, WIDTH, HEADS, LAYERS = 16, 40, 8, 4
FEATURES = [300, 74, 35]
LENGTHS = {"unaligned": (50, 500, 375), "aligned": (50, 50, 50)}
TARGETS = {"unaligned": "at most 0.556", "aligned": "at most 1"}


class Attention(nn.Module):
    """softmax(QKᵀ / √d) V for several heads, every weight formed."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))

    def forward(self, x: Tensor, source: Tensor, hidden: Tensor | None) -> Tensor:
        rows, _, width = x.shape

        def split(values: Tensor) -> Tensor:
            return values.view(rows, -1, self.heads, width // self.heads).transpose(1, 2)

        query, key, value = split(self.query(x)), split(self.key(source)), split(self.value(source))
        scores = query / math.sqrt(width // self.heads) @ key.transpose(-1, -2)
        if hidden is not None:
            scores = scores.masked_fill(hidden, -math.inf)
        return self.out((scores.softmax(-1) @ value).transpose(1, 2).reshape(rows, -1, width))


class Block(nn.Module):
    """Equation 8.17."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm, self.second_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = Attention(width, heads)
        self.expand, self.contract = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor, source: Tensor | None, hidden: Tensor | None) -> Tensor:
        y = self.norm(x)
        u = self.second_norm(y + self.attention(y, y if source is None else self.norm(source), hidden))
        return u + self.contract(torch.relu(self.expand(u)))


class Transformer(nn.Module):
    """One pair's, or one target's; its weights are those of one stream of ``blocks``."""

    def __init__(self, blocks: Blocks, stream: int) -> None:
        super().__init__()
        width = blocks.norm_gain.shape[-1]
        self.blocks = nn.ModuleList(Block(width, blocks.heads) for _ in range(len(blocks.norm_gain)))
        self.norm = nn.LayerNorm(width)
        copy(self.norm, blocks.last_norm_gain[stream], blocks.last_norm_shift[stream])
        for layer, block in enumerate(self.blocks):
            at = (layer, stream)
            copy(block.norm, blocks.norm_gain[at], blocks.norm_shift[at])
            copy(block.second_norm, blocks.second_norm_gain[at], blocks.second_norm_shift[at])
            copy(block.expand, blocks.expand_weight[at], blocks.expand_shift[at])
            copy(block.contract, blocks.contract_weight[at], blocks.contract_shift[at])
            copy(block.attention.out, blocks.merge_weight[at], blocks.merge_shift[at])
            for part, name in enumerate(("query", "key", "value")):
                weight, shift = blocks.project_weight[at][:, part], blocks.project_shift[at][:, part]
                copy(getattr(block.attention, name), weight, shift)

    def forward(self, x: Tensor, source: Tensor | None = None, hidden: Tensor | None = None) -> Tensor:
        for block in self.blocks:
            x = block(x, source, hidden)
        return self.norm(x)


def copy(layer: nn.Module, weight: Tensor, shift: Tensor) -> None:
    with torch.no_grad():
        layer.weight.copy_(weight.squeeze(0) if isinstance(layer, nn.LayerNorm) else weight.T)
        layer.bias.copy_(shift.squeeze(0))


class Yardstick(nn.Module):
    """A crossmodal transformer for each pair and a self-attention transformer for each target, one after the other."""

    def __init__(self, ours: MulT) -> None:
        super().__init__()
        self.embeddings, self.memory_embedding = ours.embeddings, ours.memory_embedding
        self.first, self.second = ours.first, ours.second
        self.pairs = [[(i, j) for j in sources] for i, sources in zip(ours.targets, ours.sources, strict=True)]
        streams = iter(range(sum(map(len, self.pairs))))
        self.crossmodal = nn.ModuleDict(
            {f"{i}{j}": Transformer(ours.crossmodal, next(streams)) for pairs in self.pairs for i, j in pairs}
        )
        self.memories = nn.ModuleList(Transformer(memory, 0) for memory in ours.memories)

    def forward(self, representations: list[Tensor], lengths: list[Tensor | None]) -> Tensor:
        z = [embed(x, n)[0] for embed, x, n in zip(self.embeddings, representations, lengths, strict=True)]
        hidden = [
            None if n is None else (torch.arange(x.shape[1]) >= n[:, None])[:, None, None]
            for x, n in zip(z, lengths, strict=True)
        ]
        last = []
        for pairs, memory in zip(self.pairs, self.memories, strict=True):
            target = pairs[0][0]
            heard = [self.crossmodal[f"{i}{j}"](z[i], z[j], hidden[j]) for i, j in pairs]
            states = memory(self.memory_embedding(torch.cat(heard, -1)), None, hidden[target])
            n = lengths[target]
            last.append(states[:, -1] if n is None else states[torch.arange(len(n)), n - 1])
        fused = torch.cat(last, 1)
        return fused + self.second(torch.relu(self.first(fused)))


def prepared(case: str, padded: bool):
    torch.set_num_threads(1)
    torch.manual_seed(0)
    ours = MulT(FEATURES, width=WIDTH, heads=HEADS, layers=LAYERS, dropout=0.0)
    inputs = [torch.randn(ROWS, steps, size) for steps, size in zip(LENGTHS[case], FEATURES, strict=True)]
    lengths = [torch.randint(steps // 2, steps + 1, (ROWS,)) if padded else None for steps in LENGTHS[case]]
    return ours, Yardstick(ours), inputs, lengths


def step(model: nn.Module, inputs: list[Tensor], lengths: list[Tensor | None]) -> Tensor:
    model.zero_grad(set_to_none=True)
    output = model(inputs, lengths)
    output.square().mean().backward()
    return output.detach()


@pytest.mark.parametrize("padded", [False, True], ids=["full", "padded"])
@pytest.mark.parametrize("case", LENGTHS)
def test_forward_and_backward_against_a_module_a_pair(ratio, case, padded):
    ours, yardstick, inputs, lengths = prepared(case, padded)
    first, second = (step(model, inputs, lengths) for model in (ours, yardstick))
    torch.testing.assert_close(first, second, rtol=1e-3, atol=1e-4)
    for mine, other in zip(ours.embeddings, yardstick.embeddings, strict=True):
        torch.testing.assert_close(mine.convolution.weight.grad, other.convolution.weight.grad)
    rounds = 5 if case == "unaligned" else 15
    ratio(lambda: step(ours, inputs, lengths), lambda: step(yardstick, inputs, lengths), rounds, TARGETS[case])


MEMORY = """
import json, sys
sys.path.insert(0, {folder!r})
from test_attention import prepared, step
from braidbench.evaluation.complexity import PeakMemory
import torch
models = prepared({case!r}, {padded})
model, (inputs, lengths) = models[{which}], models[2:]
memory = PeakMemory(torch.device("cpu"))
before = memory.host()
step(model, inputs, lengths)
print(json.dumps([before, memory.host()]))
"""


@pytest.mark.parametrize("padded", [False, True], ids=["full", "padded"])
@pytest.mark.parametrize("case", LENGTHS)
def test_peak_memory_against_a_module_a_pair(benchmark, note, case, padded):
    def peak(which: int) -> tuple[int, int]:
        code = MEMORY.format(folder=str(Path(__file__).parent), case=case, padded=padded, which=which)
        done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
        before, after = json.loads(done.stdout.splitlines()[-1])
        return after, after - before

    (mine, grown), (other, other_grown) = peak(0), peak(1)
    benchmark.extra_info["ratio"] = mine / other
    note(
        f"peak memory {case} {'padded' if padded else 'full'}: {mine / 1e6:.0f} MB / {other / 1e6:.0f} MB = "
        f"{mine / other:.3f} of the process, {grown / 1e6:.0f} MB / {other_grown / 1e6:.0f} MB = "
        f"{grown / other_grown:.3f} of the step (at most 0.6 unaligned)"
    )
    benchmark.pedantic(lambda: None, rounds=1)
