"""The ``batch`` estimator: a network that aligns samples of two modalities, amortised over batches (thesis 3.2.2).

For a batch of m rows the network scores every pair (x1[a], x2[b]) for every label y; Sinkhorn's algorithm scales the
scores to a joint distribution q[a, b, y] whose marginals q(a, y) and q(b, y) are the batch's p(y | x1) / m and
p(y | x2) / m; the network learns to make I_q(X1, X2; Y) small, which is to make the redundancy I_q(X1; X2; Y) large
(equation 3.1). Since it scores rows one by one, a trained network serves batches of any size.

Three things keep it sound where the released code fails: both tables of a batch are first given one and the same p(y),
without which no q has both marginals; Sinkhorn's algorithm runs on logarithms; and what is reported is the value of a
repaired q that has its marginals exactly, an upper bound on the batch's union information. The network reads
the log posteriors, not the features: by sufficiency (:mod:`braidbench_interactions.posterior`) nothing is lost.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from braidbench_interactions.certificate import feasible_coupling
from braidbench_interactions.join import union_information
from braidbench_interactions.joint import FloatArray, entropy, mutual_information
from braidbench_interactions.posterior import match_marginals

_FLOOR = 1e-9
_SWEEPS = 30  # of Sinkhorn in a training step; gradients pass through all
_FINAL_SWEEPS = 300
_TOLERANCE = 1e-6


class Alignment(nn.Module):
    """Scores of pairs of rows: an inner product of two embeddings a label, of any scale.

    The scale is learned. Embeddings standardised a row, as in the released code, bound the ratio of two scores, and a
    coupling that is nearly deterministic is out of reach.
    """

    def __init__(self, classes: int, hidden: int = 32, dimensions: int = 10) -> None:
        super().__init__()
        self.shape = (classes, dimensions)
        self.first, self.second = (
            nn.Sequential(
                nn.Linear(classes, hidden),
                nn.ReLU(),
                nn.Linear(hidden, hidden),
                nn.ReLU(),
                nn.Linear(hidden, classes * dimensions),
            )
            for _ in range(2)
        )

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Posteriors (m1, C) and (m2, C) → scores (C, m1, m2)."""
        embedded = [
            encoder(_inputs(posterior)).unflatten(1, self.shape).transpose(0, 1)
            for encoder, posterior in ((self.first, first), (self.second, second))
        ]
        scores: Tensor = embedded[0] @ embedded[1].transpose(1, 2)
        return scores


def _inputs(posterior: Tensor) -> Tensor:
    logs = posterior.clamp_min(_FLOOR).log()
    return logs - logs.mean(dim=1, keepdim=True)


def sinkhorn(scores: Tensor, first: Tensor, second: Tensor, sweeps: int, tolerance: float = 0.0) -> Tensor:
    """ln q (C, m1, m2): exp(scores) scaled to the row sums ``first`` (m1, C) and the column sums ``second`` (m2, C).

    Rows are exact, columns to within ``tolerance`` of total mass or whatever ``sweeps`` leave. Both tables must have
    the same column sums over their rows, p(y).
    """
    rows, columns = first.T.clamp_min(_FLOOR).log(), second.T.clamp_min(_FLOOR).log()
    left = torch.zeros_like(rows)
    for sweep in range(sweeps):
        right = columns - torch.logsumexp(scores + left.unsqueeze(2), dim=1)
        left = rows - torch.logsumexp(scores + right.unsqueeze(1), dim=2)
        if tolerance and sweep % 10 == 9:
            off = torch.logsumexp(scores + left.unsqueeze(2) + right.unsqueeze(1), dim=1).exp() - columns.exp()
            if float(off.abs().sum()) < tolerance:
                break
    return scores + left.unsqueeze(2) + right.unsqueeze(1)


def information(log_q: Tensor) -> Tensor:
    """I_q(X1, X2; Y) in nats of ln q (C, m1, m2), up to the constant H(Y): −H_q(Y | X1, X2)."""
    pair = torch.logsumexp(log_q, dim=0)
    return (log_q.exp() * (log_q - pair)).sum()


def train_alignment(
    first: FloatArray, second: FloatArray, steps: int = 200, batch: int = 128, lr: float = 5e-3, seed: int = 0
) -> Alignment:
    """The network fitted to minimise the union information of batches of the rows.

    Args:
        first, second: tables p(row, y) of both modalities, (n, C), with the same p(y).
        steps: gradient steps, each on ``batch`` rows drawn without replacement.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = Alignment(first.shape[1])
    generator = np.random.default_rng(seed)
    optimiser = torch.optim.Adam(network.parameters(), lr=lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for _ in range(steps):
        rows = generator.permutation(len(first))[:batch]
        tables = [torch.from_numpy(table).float() for table in batch_tables(first, second, rows)]
        scores = network(*(table * len(rows) for table in tables))
        loss = information(sinkhorn(scores, tables[0], tables[1], _SWEEPS))
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        schedule.step()
    return network.eval()


def batch_tables(first: FloatArray, second: FloatArray, rows: NDArray[np.intp]) -> list[FloatArray]:
    """p(row, y) of some rows, (m, C) each, scaled to uniform rows and a common p(y): the mean of both."""
    posteriors = [table[rows] / table[rows].sum(axis=1, keepdims=True) for table in (first, second)]
    frequency = (posteriors[0].mean(axis=0) + posteriors[1].mean(axis=0)) / 2
    share = np.full(len(rows), 1.0 / len(rows))
    return [match_marginals(posterior, share, frequency) for posterior in posteriors]


def batch_union(network: Alignment, first: FloatArray, second: FloatArray) -> tuple[float, float, float, float]:
    """(I1, I2, primal, dual) in nats of one batch's tables p(row, y), (m, C).

    ``primal`` is I_q(X1, X2; Y) of the network's coupling with its marginals made exact; ``dual`` is the batch's union
    information itself for two classes, and max(I1, I2), which it is never below, for more.
    """
    with torch.no_grad():
        tables = [torch.from_numpy(table) for table in (first, second)]
        scores = network(*((table * len(table)).float() for table in tables)).double()
        log_q = sinkhorn(scores, tables[0], tables[1], _FINAL_SWEEPS, _TOLERANCE)
    q = feasible_coupling(log_q.exp().permute(1, 2, 0).numpy(), first, second, sweeps=1)
    info1, info2 = float(mutual_information(first)), float(mutual_information(second))
    label = float(entropy(first.sum(axis=0), 1))
    primal = label + float(entropy(q.sum(axis=-1), 2) - entropy(q, 3))
    dual = union_information([first, second]) if first.shape[1] == 2 else max(info1, info2)
    return info1, info2, primal, dual
