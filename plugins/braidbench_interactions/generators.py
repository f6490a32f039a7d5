"""The parameters of the synthetic datasets: what decides each of them, and nothing heavy.

:mod:`braidbench_interactions.synthetic` draws samples from these generators, :mod:`braidbench_interactions.truth`
computes how much of each interaction they hold.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

SEED = 20230223
"""Every synthetic dataset is drawn from this seed and its own name."""


@dataclass(frozen=True)
class Bitwise:
    """y = x1 ∘ x2 for two fair bits (thesis table 3.1)."""

    operator: Literal["and", "or", "xor"]


@dataclass(frozen=True)
class Mixture:
    """(x1, x2) ~ N(y μ, I) for y = ±1 with probability ½ each (thesis 3.3.1, figure 3.3).

    ``polar``: the modalities are not the coordinates but a signed length r ∈ ℝ and the angle θ ∈ [0, π) of a line
    through the origin, (x1, x2) = r (cos θ, sin θ).
    """

    norm: float
    """‖μ‖₂."""
    degrees: float
    """The angle between μ and the first axis."""
    polar: bool = False


@dataclass(frozen=True)
class Latent:
    """Latents z1, z2, zc ~ N(0, variance · I) of ``DIMENSIONS`` each; modality i shows zi and zc, linearly mixed; the
    label is the sign of a noisy sum (thesis 3.3.1, table 3.2).

    The label's score is Σ m_k z_k over the first ``from1`` dimensions of z1, ``from2`` of z2 and ``shared`` of zc,
    where each m_k is 1 with probability 1 − ``DROPOUT`` and else 0; y = 1 where the score is positive.
    """

    from1: int
    from2: int
    shared: int


DIMENSIONS = 50
"""Of each latent vector."""
FEATURES = 100
"""That each latent vector is mapped to; a modality has twice as many."""
VARIANCE = 1.5
"""Of each latent dimension."""
DROPOUT = 0.2
"""Probability that a dimension does not count in one sample's score: the only noise of the label."""

_ALL, _HALF = DIMENSIONS, DIMENSIONS // 2

BITWISE: dict[str, Bitwise] = {"and": Bitwise("and"), "or": Bitwise("or"), "xor": Bitwise("xor")}

DEGREES = (0.0, 22.5, 45.0, 67.5, 90.0)

MIXTURES: dict[str, Mixture] = {
    f"{'polar' if polar else 'cartesian'}-{norm}-{degrees:g}": Mixture(float(norm), degrees, polar)
    for polar in (False, True)
    for norm in (1, 2)
    for degrees in DEGREES
}

SPECIALISED: dict[str, Latent] = {
    "redundancy": Latent(0, 0, _ALL),
    "unique1": Latent(_ALL, 0, 0),
    "unique2": Latent(0, _ALL, 0),
    "synergy": Latent(_ALL, _ALL, 0),
}
"""D_R, D_U1, D_U2 and D_S of table 3.2."""

MIXED: dict[str, Latent] = {
    "mix1": Latent(_HALF, _HALF, _HALF),
    "mix2": Latent(_ALL, _HALF, _HALF),
    "mix3": Latent(_ALL, _ALL, _HALF),
    "mix4": Latent(_HALF, _HALF, _ALL),
    "mix5": Latent(0, _HALF, _HALF),
    "mix6": Latent(0, _HALF, _ALL),
}
"""The six mixed datasets of table 3.2, in its order."""

TEN: dict[str, Latent] = SPECIALISED | MIXED
"""The ten datasets of table 3.2, which model selection compares with (thesis 3.3.4)."""

UNSEEN: dict[str, Latent] = {
    # Shares of the 50 dimensions, drawn once from U(0, 1)³ as the thesis's were.
    "unseen1": Latent(17, 23, 47),
    "unseen2": Latent(47, 5, 0),
    "unseen3": Latent(23, 45, 41),
    "unseen4": Latent(45, 41, 8),
    "unseen5": Latent(49, 18, 0),
}
"""The five further datasets of table 3.5, on which model selection is tested."""

LATENTS: dict[str, Latent] = TEN | UNSEEN

GENERATORS: dict[str, Bitwise | Mixture | Latent] = {**BITWISE, **MIXTURES, **LATENTS}
"""Every synthetic dataset ``synthetic/NAME`` by its name."""


def attribute(name: str) -> str:
    """The dataset's name as a Python identifier, under which its loader is found."""
    return re.sub(r"\W", "_", name)
