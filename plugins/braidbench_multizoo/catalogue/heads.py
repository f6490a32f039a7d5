"""The classifier's hidden layer in MultiBench's examples, by dataset; 0 is a linear classifier."""

from __future__ import annotations

HEADS: dict[str, dict[str, object]] = {
    "av-mnist": {"head.hidden": 100},
    "enrico": {"head.hidden": 0},
    "mimic": {"head.hidden": 40},
    "mm-imdb": {"head.hidden": 0},
    "mosi": {"head.hidden": 512},
}
