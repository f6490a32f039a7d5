"""sp500: windows and targets from the prices by hand, time order, statistics of the training days only."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from braidbench.errors import DataError
from braidbench_multibench.loaders import sp500

Loaded = Callable[[str], Any]
SECTORS = {
    "food": (("KO", "PEP", "PG", "WMT"), "PEP"),
    "health": (("JNJ", "LLY", "MRK", "PFE", "UNH"), "UNH"),
    "tech": (("AAPL", "AMD", "MSFT"), "MSFT"),
}
sectors = pytest.mark.parametrize("sector", SECTORS)


@pytest.fixture(scope="module")
def prices(sources: Loaded) -> pd.DataFrame:
    (path,) = sources("sp500-food").values()
    return pd.read_csv(path, index_col="Date", parse_dates=["Date"])


@sectors
def test_every_target_and_some_windows_by_hand(sector: str, prices: pd.DataFrame, loaded: Loaded) -> None:
    tickers, target = SECTORS[sector]
    splits = loaded(f"sp500-{sector}")
    returns = np.log(prices / prices.shift(1)).iloc[1:]
    squared = returns[target].iloc[500:] ** 2
    parts = {"train": squared[:"2012-12-31"], "valid": squared["2013-01-01":"2015-12-31"], "test": squared["2016":]}
    scale = parts["train"].std(ddof=0)
    for split, expected in parts.items():
        np.testing.assert_allclose(splits[split]["volatility"][:, 0], expected / scale, rtol=1e-5)
        # The newest return that any training target sees, or is followed by, belongs to 2012.
        known = returns[: parts["train"].index[-1]].iloc[:-1]
        for row in (0, len(expected) // 2, len(expected) - 1):
            end = returns.index.get_loc(expected.index[row])
            for ticker in tickers:
                window = returns[ticker].iloc[end - 500 : end] / known[ticker].std(ddof=0)
                np.testing.assert_allclose(splits[split][ticker.lower()][row, :, 0], window, rtol=1e-5, atol=1e-7)


@sectors
def test_the_splits_follow_each_other_in_time(sector: str, loaded: Loaded) -> None:
    tickers, target = SECTORS[sector]
    splits = loaded(f"sp500-{sector}")
    scale = np.concatenate([splits[split][target.lower()] for split in ("train", "valid", "test")])
    # Each window is the one before, shifted by a day, through all three splits.
    np.testing.assert_array_equal(scale[1:, :-1], scale[:-1, 1:])
    assert set(splits["train"]) == {*(ticker.lower() for ticker in tickers), "volatility"}


def test_later_prices_do_not_reach_the_training_split(prices: pd.DataFrame, loaded: Loaded) -> None:
    years = prices.index.year.to_numpy(np.int64)
    changed = prices.to_numpy(np.float64).copy()
    changed[years > 2012] *= np.linspace(1, 5, (years > 2012).sum())[:, None] ** np.arange(1, 21)
    splits = sp500.build(list(prices.columns), years, changed, *SECTORS["food"])
    for name, column in loaded("sp500-food")["train"].items():
        np.testing.assert_array_equal(splits["train"][name], column)
    assert not np.array_equal(splits["test"]["volatility"], loaded("sp500-food")["test"]["volatility"])


def test_targets_are_not_quantised(loaded: Loaded) -> None:
    volatility = loaded("sp500-food")["test"]["volatility"]
    assert len(np.unique(volatility)) > 0.95 * len(volatility)


def test_a_table_without_a_ticker_is_an_error() -> None:
    with pytest.raises(DataError, match="lacks PEP"):
        sp500.build(["KO"], np.array([2000]), np.ones((1, 1)), ("KO", "PEP"), target="KO")


def test_days_out_of_order_are_an_error(tmp_path: Any) -> None:
    path = tmp_path / "prices.csv"
    path.write_text("Date,KO\n2001-01-02,1.0\n2001-01-01,1.0\n")
    with pytest.raises(DataError, match="not in order"):
        sp500.read({"prices.csv": path})
