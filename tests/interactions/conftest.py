"""What the tests of interactions share: random joints as sparse and uneven as real ones."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray


def random_joint(rng: np.random.Generator, labels: int | None = None, largest: int = 12) -> NDArray[np.float64]:
    """Sizes 2 to ``largest``, Dirichlet concentration 10^-1.5 to 10^0.5, up to 60 % zeros; not all zero."""
    shape = tuple(int(n) for n in rng.integers(2, largest + 1, 3))
    if labels is not None:
        shape = (*shape[:2], labels)
    while True:
        p = rng.dirichlet(np.full(np.prod(shape), 10 ** rng.uniform(-1.5, 0.5))).reshape(shape)
        p = p * (rng.random(shape) >= rng.uniform(0, 0.6))
        if p.sum() > 0:
            return p / p.sum()


@pytest.fixture
def draw() -> Callable[..., NDArray[np.float64]]:
    """``draw(rng, labels=None, largest=12)`` gives a random joint."""
    return random_joint
