"""Results as cells would store them, drawn from a fixed seed, and a site built from them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from braidbench.cell import seeds as seeds_of
from braidbench.files import sha256_json
from braidbench.measurements import Bar, Measurement, Part, save
from braidbench.results import Cost, Curve, Environment, Result

ENVIRONMENT = Environment(
    braidbench="0.1.0", python="3.12.3", platform="Linux-6.8-x86_64", processor="a processor", cpu_count=2, threads=1,
    device="cpu", precision="no", commit="0123456789abcdef0123456789abcdef01234567", dirty=False,
    packages={"torch": "2.9.0", "numpy": "2.3.0"}, plugins={"multizoo": "braidbench 0.1.0"}, deterministic=True,
)  # fmt: skip

LEVELS = {
    "early-fusion": 0.90, "late-fusion": 0.92, "tensor-fusion": 0.93, "unimodal[image]": 0.80, "unimodal[audio]": 0.74,
}  # fmt: skip


def make(method: str = "late-fusion", seed: int = 0, score: float = 0.9, **fields: Any) -> Result:
    """A cell; any field of the result can be set. Its hash and costs follow from the rest."""
    dataset = fields.get("dataset", "digits")
    base, _, modality = method.partition("[")
    identity: dict[str, Any] = {
        "dataset": {"name": dataset, "task": fields.get("task", "digit")}, "method": {"name": base}, "seed": seed,
        "seeds": seeds_of(seed), "overrides": fields.get("overrides", {}), **fields.get("identity", {}),
    }  # fmt: skip
    if modality:
        identity["modalities"] = [modality.rstrip("]")]
    digest = sha256_json(identity)
    rng = np.random.default_rng(int(digest[:8], 16))
    values: dict[str, Any] = {
        "cell": digest, "dataset": dataset, "task": "digit", "method": method, "seed": seed, "status": "ok",
        "scores": {"accuracy": score, "macro-f1": score - 0.01}, "valid_scores": {"accuracy": score},
        "directions": {"accuracy": "higher", "macro-f1": "higher"},         "environment": ENVIRONMENT,
        "command": f"braidbench run {dataset} '{method}' --seed {seed}",
        "started": "2026-01-01T00:00:00+00:00", "finished": f"2026-01-01T00:0{seed}:00+00:00", "area": "multimedia",
        "modalities": ["image", "audio"], "files": {"predictions.parquet": "a" * 64}, "best_epoch": 1,
        "cost": Cost(
            parameters_trained=int(rng.integers(10**4, 10**6)), parameters_total=int(rng.integers(10**6, 10**7)),
            flops_per_sample=int(rng.integers(10**6, 10**8)), train_seconds=float(rng.uniform(5, 50)), epochs=20,
            inference_seconds_per_sample=float(rng.uniform(1e-5, 1e-3)), inference_batch_size=32,
            peak_host_bytes=int(rng.integers(4 * 10**8, 9 * 10**8)),
        ),
        **fields, "identity": identity,
    }  # fmt: skip
    if values["status"] != "ok":
        values |= {"scores": {}, "valid_scores": {}, "cost": None, "files": {}, "best_epoch": None}
    return Result(**values)


def study(datasets: int = 2, seeds: int = 3) -> list[Result]:
    """A comparison with robustness curves, a failure, a skipped row, a row with overrides and a task of errors."""
    rng = np.random.default_rng(20260101)
    found = []
    for d in range(datasets):
        for method, level in LEVELS.items():
            for seed in range(seeds):
                score = float(level - 0.02 * d + rng.normal(0, 0.008))
                curves = []
                for corruption, modality in (("gaussian-noise", "image"), ("missing", "audio")):
                    drop = 0.2 * np.linspace(0, 1, 11) ** 2 + np.r_[0, rng.normal(0, 0.004, 10)]
                    curves.append(
                        Curve(
                            corruption=corruption, modality=modality, metric="accuracy", direction="higher",
                            severities=[step / 10 for step in range(11)], scores=[float(v) for v in score - drop],
                            relative=float(score - drop.mean()), seed=seeds_of(seed)["corruption"], source="1-abc",
                        )
                    )  # fmt: skip
                area = ("multimedia", "healthcare")[d % 2]
                found.append(make(method, seed, score, dataset=f"dataset-{d}", area=area, robustness=curves))
    log = ["Traceback (most recent call last):", "MemoryError"]
    error = {"dataset": "stocks", "area": "finance", "directions": {"mse": "lower"}}
    return [
        *found,
        make("low-rank-tensor-fusion", 0, dataset="dataset-0", status="failed", failure="oom", reason="no memory",
             log_tail=log),
        make("mult", 0, dataset="dataset-0", status="skipped", reason="needs sequences"),
        make("late-fusion", 0, 0.88, dataset="dataset-0", overrides={"fusion.rank": 8}),
        *(make("late-fusion", seed, scores={"mse": 3.1e-4 + 1e-5 * seed}, **error) for seed in range(2)),
        *(make("early-fusion", seed, scores={"mse": 4.2e-4 + 1e-5 * seed}, **error) for seed in range(2)),
    ]  # fmt: skip


def store(root: Path, results: Iterable[Result]) -> Path:
    """One folder a cell, as a run leaves them."""
    for one in results:
        folder = root / one.cell[:24]
        folder.mkdir(parents=True)
        (folder / "result.json").write_text(one.model_dump_json(indent=1))
        if one.status == "ok":
            epochs = [{"loss": 1.5, "valid": 0.5}, {"loss": 0.7, "valid": None}]
            (folder / "history.json").write_text(json.dumps({"epochs": epochs, "best": 0, "resumed_at": None}))
    return root


def measurement(**fields: Any) -> Measurement:
    """Two bars of a dataset of the study, the second without one of the parts."""
    parts = [
        Part(name="shared", value=0.5, low=0.4, high=0.6), Part(name="alone", value=0.25, low=0.2, high=0.3),
    ]  # fmt: skip
    given: dict[str, Any] = {
        "measure": "interactions", "title": "Interactions", "dataset": "dataset-0", "task": "digit", "label": "digit",
        "unit": "bits", "command": "braidbench quantify dataset-0", "created": "2026-01-02T03:04:05+00:00",
        "bars": [Bar(name="image + audio", parts=parts), Bar(name="image + text", parts=parts[:1])],
        "notes": ["few samples"], **fields,
    }  # fmt: skip
    return Measurement(**given)


@pytest.fixture(scope="session")
def make_measurement() -> Callable[..., Measurement]:
    return measurement


@pytest.fixture(scope="session")
def make_result() -> Callable[..., Result]:
    return make


@pytest.fixture(scope="session")
def make_study() -> Callable[..., list[Result]]:
    return study


@pytest.fixture(scope="session")
def store_results() -> Callable[[Path, Iterable[Result]], Path]:
    return store


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A built site; tests read it and leave it as it is."""
    from braidbench_leaderboard.build import build_site

    root = tmp_path_factory.mktemp("leaderboard")
    results = store(root / "results", study())
    save(results, measurement())
    (results / "broken").mkdir()
    (results / "broken" / "result.json").write_text('{"cell": ')
    build_site([results], root / "site", "late-fusion")
    return root / "site"
