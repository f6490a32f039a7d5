"""Finance: the volatility of one stock from the returns of its sector."""

from __future__ import annotations

from braidbench.specs import Dataset, Modality, PackageFile, Part, Task, Training


def _sector(sector: str, tickers: tuple[str, ...], target: str, company: str) -> Dataset:
    return Dataset(
        f"sp500-{sector}",
        f"braidbench_multibench.loaders.sp500:load_{sector}",
        summary=f"500 days of returns of {', '.join(tickers)} → {company}'s volatility on the next day",
        modalities=tuple(
            Modality(ticker.lower(), "time_series", (1,), length=500, summary=f"scaled log returns of {ticker}")
            for ticker in tickers
        ),
        tasks=(
            Task(
                "volatility",
                "regression",
                ("mse", "mae"),
                summary=f"squared log return of {target} on the day after the window, over its training deviation",
            ),
        ),
        splits={"train": 5296, "valid": 756, "test": 1760},
        area="finance",
        licence="BSD-3-Clause (skfolio), the prices for testing and example purposes",
        homepage="https://skfolio.org",
        packages=(PackageFile("skfolio", "skfolio/datasets/data/sp500_dataset.csv.gz", "skfolio>=0.9"),),
        encoders={ticker.lower(): Part("lstm", out_dim=16) for ticker in tickers},
        training=Training(epochs=4, batch_size=64),
        citation=(
            "Task: Sardelich, M. & Manandhar, S. (2018). Multimodal deep learning for short-term stock volatility "
            "prediction. arXiv:1812.10479, as in Liang, P. P. et al. (2021). MultiBench. NeurIPS Datasets and "
            "Benchmarks. Prices: skfolio, https://skfolio.org."
        ),
        recipe=(
            "Adjusted closing prices of 8,313 trading days, 1990 to 2022. r_t = log(p_t / p_{t-1}); a sample is the "
            f"500 returns up to a day, one modality a ticker, and the target is {target}'s squared return of the next "
            "day. Returns are divided by the standard deviation of their ticker's returns up to the last training "
            "window's end, targets by that of the training targets; nothing is quantised. The split goes by the "
            "target's day: to 2012, 2013–2015, from 2016. Windows of a later split reach back into earlier years, "
            "as a forecaster's would. Prices are rounded to a tenth of a cent, which makes the returns of the "
            "cheapest early ones (Apple, UnitedHealth below a dollar) coarse."
        ),
    )


DATASETS = (
    _sector("food", ("KO", "PEP", "PG", "WMT"), "PEP", "PepsiCo"),
    _sector("health", ("JNJ", "LLY", "MRK", "PFE", "UNH"), "UNH", "UnitedHealth"),
    _sector("tech", ("AAPL", "AMD", "MSFT"), "MSFT", "Microsoft"),
)
