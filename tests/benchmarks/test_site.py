"""Building the leaderboard from 5,000 results."""

from __future__ import annotations

import json
import time

import numpy as np

from braidbench.cell import seeds
from braidbench.files import sha256_json
from braidbench.results import parse
from braidbench.store import read
from braidbench.summary import overall, tables
from braidbench_leaderboard.build import build_site

METHODS, TASKS, SEEDS = 50, 10, 10


def write_results(folder) -> None:
    rng = np.random.default_rng(0)
    quality = rng.uniform(0.6, 0.9, (METHODS, TASKS))
    for method in range(METHODS):
        for task in range(TASKS):
            for seed in range(SEEDS):
                score = float(quality[method, task] + rng.normal(0, 0.01))
                identity = {
                    "dataset": {"name": f"dataset-{task}", "task": "label"}, "seed": seed, "seeds": seeds(seed),
                    "method": {"name": f"someone/method-{method}"},
                }  # fmt: skip
                cell = sha256_json(identity)
                curves = [
                    {
                        "corruption": "noise", "modality": modality, "metric": "accuracy", "direction": "higher",
                        "severities": [s / 10 for s in range(11)], "scores": [score * (1 - s / 20) for s in range(11)],
                        "relative": score * 0.75, "seed": seeds(seed)["corruption"], "source": "1-0",
                    }
                    for modality in ("image", "audio")
                ]  # fmt: skip
                result = {
                    "cell": cell, "dataset": f"dataset-{task}", "task": "label", "method": f"someone/method-{method}",
                    "seed": seed, "status": "ok", "scores": {"accuracy": score, "macro-f1": score - 0.01},
                    "valid_scores": {"accuracy": score}, "directions": {"accuracy": "higher", "macro-f1": "higher"},
                    "cost": {
                        "parameters_trained": 1000 * (method + 1), "parameters_total": 1000 * (method + 1),
                        "flops_per_sample": 10_000 * (method + 1), "train_seconds": 3.0, "epochs": 20,
                        "inference_seconds_per_sample": 1e-5, "inference_batch_size": 32,
                        "peak_host_bytes": 500_000_000,
                    },
                    "robustness": curves, "identity": identity,
                    "command": f"braidbench run dataset-{task} someone/method-{method} --seed {seed}",
                    "started": "2026-01-01T00:00:00+00:00", "finished": "2026-01-01T00:01:00+00:00",
                    "area": ("multimedia", "healthcare")[task % 2],
                }  # fmt: skip
                place = folder / f"cell-{cell[:12]}"
                place.mkdir(parents=True)
                (place / "result.json").write_text(json.dumps(result))


def test_site_of_5000_results(benchmark, note, tmp_path):
    write_results(tmp_path / "results")
    start = time.perf_counter()
    made = build_site([tmp_path / "results"], tmp_path / "site", "someone/method-0")
    seconds = time.perf_counter() - start
    assert made.cells == METHODS * TASKS * SEEDS
    size = (tmp_path / "site" / "index.html").stat().st_size
    benchmark.extra_info |= {"seconds": seconds, "index_bytes": size}
    note(f"site of {made.cells} results: {seconds:.1f} s (under 10), index page {size / 1e6:.2f} MB (under 2)")
    benchmark.pedantic(lambda: None, rounds=1)


def test_tables_of_5000_results_by_reading_them(ratio, tmp_path):
    """What is made of the results, against parsing their JSON."""
    write_results(tmp_path)
    cells = read([tmp_path]).results
    texts = [(path / "result.json").read_text() for path, _ in cells]
    assert len(texts) == METHODS * TASKS * SEEDS
    ratio(
        lambda: overall(tables(cells, "someone/method-0")),
        lambda: [parse(text, "a result") for text in texts],
        5, "no limit: it grows with what a table says",
    )  # fmt: skip
