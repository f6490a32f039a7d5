"""Stock volatility from the tickers of one sector (MultiBench's STOCKS datasets, after Sardelich & Manandhar 2018)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from braidbench.errors import DataError

WINDOW = 500
"""Trading days of log returns that a sample sees."""
LAST_YEAR = {"train": 2012, "valid": 2015}
"""The last year of a split's target days; the rest is the test split."""


def load_food(files: Mapping[str, Path]) -> dict[str, dict[str, NDArray[Any]]]:
    """PepsiCo's volatility from Coca-Cola, PepsiCo, Procter & Gamble and Walmart; see :func:`build`."""
    return build(*read(files), ("KO", "PEP", "PG", "WMT"), target="PEP")


def load_health(files: Mapping[str, Path]) -> dict[str, dict[str, NDArray[Any]]]:
    """UnitedHealth's volatility from Johnson & Johnson, Lilly, Merck, Pfizer and UnitedHealth; see :func:`build`."""
    return build(*read(files), ("JNJ", "LLY", "MRK", "PFE", "UNH"), target="UNH")


def load_tech(files: Mapping[str, Path]) -> dict[str, dict[str, NDArray[Any]]]:
    """Microsoft's volatility from Apple, AMD and Microsoft; see :func:`build`."""
    return build(*read(files), ("AAPL", "AMD", "MSFT"), target="MSFT")


def read(files: Mapping[str, Path]) -> tuple[list[str], NDArray[np.int64], NDArray[np.float64]]:
    """Tickers, the year of each trading day (D,), and adjusted closing prices (D, tickers)."""
    import pandas as pd

    (path,) = files.values()
    table = pd.read_csv(path, index_col=0, parse_dates=True)
    if not table.index.is_monotonic_increasing or not table.index.is_unique:
        raise DataError(f"{path}: its days are not in order; install skfolio again")
    return list(table.columns), table.index.year.to_numpy(np.int64), table.to_numpy(np.float64)


def build(
    names: list[str], years: NDArray[np.int64], prices: NDArray[np.float64], tickers: tuple[str, ...], target: str
) -> dict[str, dict[str, NDArray[Any]]]:
    """Columns: each ticker in lower case (N, 500, 1), ``volatility`` (N, 1); float32.

    r_t = log(p_t / p_{t−1}). A sample is the window r_{t−500} … r_{t−1} of each ticker and the target r_t² of one of
    them. Windows are divided by the standard deviation of the ticker's returns up to the last training target's eve,
    targets by that of the training targets. The split goes by the day of the target.
    """
    missing = sorted({*tickers, target} - set(names))
    if missing:
        raise DataError(f"the price table lacks {', '.join(missing)}; it has {', '.join(names)}. Install skfolio again")
    returns = np.diff(np.log(prices[:, [names.index(ticker) for ticker in tickers]]), axis=0)
    squared = returns[WINDOW:, tickers.index(target)] ** 2
    # Day t of the prices ends return t − 1; the target of sample i is return i + WINDOW.
    day = years[WINDOW + 1 :]
    rows = {
        "train": np.flatnonzero(day <= LAST_YEAR["train"]),
        "valid": np.flatnonzero((day > LAST_YEAR["train"]) & (day <= LAST_YEAR["valid"])),
        "test": np.flatnonzero(day > LAST_YEAR["valid"]),
    }
    seen = returns[: rows["train"][-1] + WINDOW]
    scaled = (returns / seen.std(axis=0)).astype(np.float32)
    volatility = (squared / squared[rows["train"]].std()).astype(np.float32)[:, None]
    windows = np.lib.stride_tricks.sliding_window_view(scaled[:-1], WINDOW, axis=0)
    return {
        split: {
            **{ticker.lower(): windows[index, column, :, None] for column, ticker in enumerate(tickers)},
            "volatility": volatility[index],
        }
        for split, index in rows.items()
    }
