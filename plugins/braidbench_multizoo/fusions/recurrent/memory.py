"""Fusions by a gated memory beside a system of LSTMs: the memory fusion network and its graph form."""

from __future__ import annotations

from itertools import combinations

import torch
from torch import Tensor, nn

from braidbench.errors import UsageError
from braidbench_multizoo.fusions.recurrent.cells import JointLSTMs, lstm, widths_of
from braidbench_multizoo.fusions.recurrent.steps import Stepwise, after_last


class GatedMemory(nn.Module):
    """The multi-view gated memory: u_t = γ1 ⊙ u_{t−1} + γ2 ⊙ tanh(û).

    The proposal û = D_u(x) and the gates γ = σ(D_γ(x)) are networks of one layer of ``inner`` rectified units each;
    ``dropout`` follows those. With ``gates_see_memory`` the gates read [x, u_{t−1}].

    Source: Zadeh et al. (2018), Memory fusion network, equations of the multi-view gated memory.
    """

    def __init__(self, in_dim: int, memory: int, inner: int, dropout: float, gates_see_memory: bool) -> None:
        super().__init__()
        self.inner = inner
        self.gates_see_memory = gates_see_memory
        gate_in = in_dim + (memory if gates_see_memory else 0)
        self.dropout = nn.Dropout(dropout)
        self.first = nn.ModuleList([nn.Linear(in_dim, inner), nn.Linear(gate_in, inner), nn.Linear(gate_in, inner)])
        self.second = nn.ModuleList(nn.Linear(inner, memory) for _ in range(3))

    def weights(self) -> tuple[Tensor, ...]:
        """The three networks side by side, made once before the time loop."""
        first = [layer for layer in self.first if isinstance(layer, nn.Linear)]
        second = [layer for layer in self.second if isinstance(layer, nn.Linear)]
        read = first[0].in_features
        return (
            torch.cat([layer.weight[:, :read] for layer in first]).t(),
            torch.cat([layer.bias for layer in first]),
            torch.cat([layer.weight[:, read:] for layer in first[1:]]).t(),
            torch.stack([layer.weight.t() for layer in second]),
            torch.stack([layer.bias for layer in second])[:, None],
        )

    def forward(self, x: Tensor, memory: Tensor, weights: tuple[Tensor, ...]) -> Tensor:
        """x (B, in), u_{t−1} (B, memory) → u_t (B, memory)."""
        first, first_bias, recall, second, second_bias = weights
        inner = torch.addmm(first_bias, x, first)
        if self.gates_see_memory:
            inner = torch.cat([inner[:, : self.inner], torch.addmm(inner[:, self.inner :], memory, recall)], 1)
        inner = self.dropout(inner.relu())
        given = torch.baddbmm(second_bias, inner.view(len(x), 3, -1).transpose(0, 1), second)
        proposal, retain, update = given.unbind()
        return torch.addcmul(retain.sigmoid() * memory, update.sigmoid(), proposal.tanh())


class MFN(Stepwise):
    """The memory fusion network: an LSTM for each modality, and a gated memory that attends to how they change.

    The delta-memory attention network takes the LSTMs' memories of two steps, c = [c_{t−1}, c_t] (2 Σ d_m numbers):
    a = softmax(D_a(c)) over all of them, ĉ = c ⊙ a. The multi-view gated memory then moves from u_{t−1} to u_t
    (:class:`GatedMemory` of ĉ). D_a and the memory's networks have one layer of ``inner`` rectified units. The
    representation is all LSTMs' outputs and u after a row's last step, Σ d_m + memory wide.

    ``gates_see_memory=True`` is the authors' code, whose gates read the memory too; in the paper they read ĉ alone.
    The window of two steps is the paper's and the code's.

    Source: Zadeh, Liang, Mazumder, Poria, Cambria & Morency (2018), Memory fusion network for multi-view sequential
    learning, AAAI. Raises UsageError.
    """

    def __init__(
        self,
        in_dims: list[int],
        hidden: int | tuple[int, ...] = 32,
        memory: int = 32,
        inner: int = 64,
        dropout: float = 0.0,
        gates_see_memory: bool = False,
        frames: int = 1,
    ) -> None:
        super().__init__(in_dims, frames)
        if min(memory, inner) < 1:
            raise UsageError(f"fusion 'mfn': memory={memory} and inner={inner} must be 1 or more")
        widths = widths_of(hidden, len(in_dims), "fusion 'mfn'")
        seen = 2 * sum(widths)
        self.cells = JointLSTMs(self.widths, widths)
        self.attend = nn.Sequential(nn.Linear(seen, inner), nn.ReLU(), nn.Dropout(dropout), nn.Linear(inner, seen))
        self.gated = GatedMemory(seen, memory, inner, dropout, gates_see_memory)
        self.memory = memory
        self.out_dim = sum(widths) + memory

    def forward(self, representations: list[Tensor], lengths: list[Tensor | None]) -> Tensor:
        """M × (B, T_i, D_i), lengths (B,) or None → (B, Σ d_m + memory)."""
        inputs, steps = self.clock(representations, lengths)
        weight, own = self.cells.weight(), self.gated.weights()
        h = memory = self.cells.start(inputs[0])
        before = self.cells.beside(memory)
        u = h.new_zeros(h.shape[1], self.memory)
        states = [torch.cat([before, u], 1)]
        for gates in self.cells.project(inputs):
            h, memory = lstm(torch.baddbmm(gates, h, weight), memory)
            now = self.cells.beside(memory)
            both = torch.cat([before, now], 1)
            u = self.gated(both * self.attend(both).softmax(1), u, own)
            before = now
            states.append(torch.cat([self.cells.beside(h), u], 1))
        return after_last(states, steps)


class DynamicFusionGraph(nn.Module):
    """One vertex for each non-empty subset of the modalities, and one, T, that reads all of them.

    The singletons are given. The vertex of a larger subset is a rectified linear layer of the vertices of its proper
    subsets, side by side, each times the efficacy of that edge; T is a linear layer of every vertex times its
    efficacy. All efficacies are the sigmoid of one network, with one layer of ``inner`` rectified units, of the
    singletons. Subsets are in the order of their size, then of their modalities.

    The authors' code keeps the vertices' networks in a plain dictionary, where no optimiser finds them, and leaves the
    efficacies without the sigmoid that keeps them between 0 and 1.

    Source: Zadeh et al. (2018), Multimodal language analysis in the wild, ACL, section 4.1.
    """

    def __init__(self, modalities: int, width: int, inner: int) -> None:
        super().__init__()
        subsets = [subset for size in range(1, modalities + 1) for subset in combinations(range(modalities), size)]
        place = {subset: index for index, subset in enumerate(subsets)}
        self.networks = nn.ModuleList()
        edges: list[int] = []
        self.orders: list[tuple[int, int]] = []
        for subset in subsets[modalities:]:
            below = [place[s] for size in range(1, len(subset)) for s in combinations(subset, size)]
            edges += below
            self.networks.append(nn.Linear(len(below) * width, width))
        for size in range(2, modalities + 1):
            self.orders.append((sum(len(subset) == size for subset in subsets), 2**size - 2))
        self.out = nn.Linear(len(subsets) * width, width)
        edges += range(len(subsets))
        self.register_buffer("edges", torch.tensor(edges), persistent=False)
        self.efficacies = nn.Sequential(nn.Linear(modalities * width, inner), nn.ReLU(), nn.Linear(inner, len(edges)))

    edges: Tensor

    def weights(self) -> list[tuple[Tensor, Tensor]]:
        """The networks of subsets of one size as a batch, made once before the time loop."""
        layers = [layer for layer in self.networks if isinstance(layer, nn.Linear)]
        found = []
        for count, _ in self.orders:
            own, layers = layers[:count], layers[count:]
            found.append(
                (torch.stack([one.weight.t() for one in own]), torch.stack([one.bias for one in own])[:, None])
            )
        return found

    def forward(self, singletons: Tensor, weights: list[tuple[Tensor, Tensor]]) -> Tensor:
        """(B, modalities, width) → T (B, width)."""
        efficacies = self.efficacies(singletons.flatten(1)).sigmoid()
        vertices, at = singletons, 0
        for (count, below), (weight, bias) in zip(self.orders, weights, strict=True):
            edges = slice(at, at + count * below)
            read = vertices[:, self.edges[edges]] * efficacies[:, edges, None]
            read = read.view(len(read), count, -1).transpose(0, 1)
            vertices = torch.cat([vertices, torch.baddbmm(bias, read, weight).relu().transpose(0, 1)], 1)
            at = edges.stop
        result: Tensor = self.out((vertices * efficacies[:, at:, None]).flatten(1))
        return result


class GraphMFN(Stepwise):
    """The graph memory fusion network: a memory fusion network with a dynamic fusion graph in its attention's place.

    At every step each modality's two memories [c^m_{t−1}, c^m_t] become its singleton vertex, ``vertex`` numbers, by a
    rectified linear layer; the graph makes T of them (:class:`DynamicFusionGraph`), and the multi-view gated memory
    moves from u_{t−1} to u_t by T (:class:`GatedMemory`). The representation is all LSTMs' outputs and u after a row's
    last step, Σ d_m + memory wide. The graph has 2^M vertices, so it is refused above six modalities.

    ``gates_see_memory=True`` lets the memory's gates read the memory too, as the authors' code does.

    Source: Zadeh, Liang, Poria, Cambria & Morency (2018), Multimodal language analysis in the wild: CMU-MOSEI dataset
    and interpretable dynamic fusion graph, ACL, section 4. Raises UsageError.
    """

    def __init__(
        self,
        in_dims: list[int],
        hidden: int | tuple[int, ...] = 32,
        vertex: int = 16,
        memory: int = 32,
        inner: int = 32,
        dropout: float = 0.0,
        gates_see_memory: bool = False,
        frames: int = 1,
    ) -> None:
        super().__init__(in_dims, frames)
        if min(vertex, memory, inner) < 1:
            raise UsageError(f"fusion 'graph-mfn': vertex={vertex}, memory={memory}, inner={inner} must be 1 or more")
        if len(in_dims) > 6:
            raise UsageError(
                f"fusion 'graph-mfn' takes at most 6 modalities: {len(in_dims)} need 2^{len(in_dims)} vertices"
            )
        widths = widths_of(hidden, len(in_dims), "fusion 'graph-mfn'")
        self.cells = JointLSTMs(self.widths, widths)
        self.singletons = nn.ModuleList(nn.Linear(2 * size, vertex) for size in widths)
        self.graph = DynamicFusionGraph(len(in_dims), vertex, inner)
        self.gated = GatedMemory(vertex, memory, inner, dropout, gates_see_memory)
        self.memory = memory
        self.out_dim = sum(widths) + memory

    def forward(self, representations: list[Tensor], lengths: list[Tensor | None]) -> Tensor:
        """M × (B, T_i, D_i), lengths (B,) or None → (B, Σ d_m + memory)."""
        inputs, steps = self.clock(representations, lengths)
        weight, own, graph = self.cells.weight(), self.gated.weights(), self.graph.weights()
        h = memory = self.cells.start(inputs[0])
        singles, offset = self._singletons()
        u = h.new_zeros(h.shape[1], self.memory)
        states = [torch.cat([self.cells.beside(h), u], 1)]
        for gates in self.cells.project(inputs):
            before = memory
            h, memory = lstm(torch.baddbmm(gates, h, weight), memory)
            vertices = torch.baddbmm(offset, torch.cat([before, memory], 2), singles).relu().transpose(0, 1)
            u = self.gated(self.graph(vertices, graph), u, own)
            states.append(torch.cat([self.cells.beside(h), u], 1))
        return after_last(states, steps)

    def _singletons(self) -> tuple[Tensor, Tensor]:
        """The modalities' layers as a batch, (M, 2d, vertex) and (M, 1, vertex); rows of filling units are zero."""
        layers = [layer for layer in self.singletons if isinstance(layer, nn.Linear)]
        weights = []
        for layer, size in zip(layers, self.cells.hidden, strict=True):
            halves = layer.weight.t().unflatten(0, (2, size))
            weights.append(nn.functional.pad(halves, (0, 0, 0, self.cells.widest - size)).flatten(0, 1))
        return torch.stack(weights), torch.stack([layer.bias for layer in layers])[:, None]
