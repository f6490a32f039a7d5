"""The grid that robustness is measured on, and the area under a curve on it. numpy: what reads results comes through
here."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

SEVERITIES = tuple(step / 10 for step in range(11))
"""The grid of the published protocol: 0, 0.1, …, 1."""


def relative_robustness(severities: Sequence[float], scores: Sequence[float | None], sign: int) -> float | None:
    """Area under ``sign`` × score over the severity range, divided by the range (trapezoids). None if a score is."""
    if any(value is None for value in scores) or len(scores) < 2:
        return None
    area = np.trapezoid(np.asarray(scores, np.float64), np.asarray(severities, np.float64))
    return float(sign * area / (severities[-1] - severities[0]))
