"""Bounds of a dataset's clusters and posteriors, and what is measured beside them."""

from __future__ import annotations

import json
from importlib.resources import files

import numpy as np
import pytest

from braidbench.errors import UsageError
from braidbench.files import sha256_json
from braidbench.registry import registry
from braidbench_interactions import pid
from braidbench_interactions.bounds import pairwise, synergy_bounds
from braidbench_interactions.measured import accuracies, best_of_each
from braidbench_interactions.samples import Samples, check_samples
from braidbench_interactions.semi_supervised import bound_clusters, performance, synergy


def of_symbols(joint: np.ndarray, rows: int = 4000, seed: int = 0) -> tuple[Samples, np.ndarray]:
    """Rows drawn from p[x1, x2, y], each symbol a distant point of the plane, and what was drawn as counts / rows."""
    rng = np.random.default_rng(seed)
    x1, x2, y = np.unravel_index(rng.choice(joint.size, rows, p=joint.ravel()), joint.shape)
    counted = np.zeros(joint.shape)
    np.add.at(counted, (x1, x2, y), 1 / rows)
    first, second = (np.stack([np.cos(2 * x), np.sin(2 * x)], axis=1) for x in (x1, x2))
    return check_samples(first, second, y, seed=seed), counted


@pytest.fixture
def noisy_and() -> np.ndarray:
    """x1 AND x2 of fair bits, told wrongly one time of ten; S 0.19 bits."""
    p = np.full((2, 2, 2), 0.025)
    for x1 in (0, 1):
        for x2 in (0, 1):
            p[x1, x2, x1 & x2] = 0.225
    return p


def test_clusters_of_distant_points_are_the_symbols(noisy_and):
    samples, counted = of_symbols(noisy_and)
    joint, found = bound_clusters(samples, clusters=2)
    assert pid(joint).synergy == pytest.approx(pid(counted).synergy, abs=1e-12)
    expected = synergy_bounds(*pairwise(counted[None]))
    for name in ("lower", "upper", "disagreement", "upper_printed"):
        assert getattr(found, name) == pytest.approx(getattr(expected, name), abs=1e-9)


def test_synergy_of_clusters_lies_between_its_bounds(noisy_and):
    found = synergy(of_symbols(noisy_and)[0], clusters=2)
    assert found.bounds.lower[0] <= found.clusters <= found.bounds.upper[0]
    assert (found.rows, found.cells) == (4000, 8)
    assert found.clusters == pytest.approx(pid(noisy_and).synergy, abs=0.02)
    assert found.estimate.synergy.value == pytest.approx(pid(noisy_and).synergy, abs=0.03)


def test_clusters_can_have_synergy_that_features_do_not_have():
    """x1 = (a, b) knows a XOR b by itself. Merged into the values of a it needs x2 = b."""
    p = np.zeros((4, 2, 2))
    for a in (0, 1):
        for b in (0, 1):
            p[2 * a + b, b, a ^ b] = 0.25
    assert pid(p).synergy == pytest.approx(0, abs=1e-12)
    assert pid(p.reshape(2, 2, 2, 2).sum(1)).synergy == pytest.approx(1)


def test_performance_encloses_the_best_accuracy(noisy_and):
    """The best accuracy is 0.9, and features are no more than their clusters."""
    found = performance(of_symbols(noisy_and)[0], clusters=2)
    assert found.clusters_accuracy == pytest.approx(0.9, abs=0.015)
    assert found.clusters.lower.item() <= found.clusters_accuracy <= found.clusters.upper.item()
    assert found.posterior.lower.item() - 0.01 <= 0.9 <= found.posterior.upper.item() + 0.01
    assert found.information == pytest.approx(float(pid(noisy_and).total), abs=0.04)
    # One modality alone is right three times of four: guess 0 (0.725) or, seeing a 1, do no better.
    assert 0.69 <= found.union <= found.posterior.lower.item() + 1e-9
    assert found.test_rows == pytest.approx(800, abs=2)


class TestMeasured:
    def test_best_of_each_kind(self):
        scores = {"unimodal[a]": 0.6, "unimodal-transformer[b]": 0.7, "late-fusion": 0.8, "ef-lstm": 0.85, "mult": 0.82}
        found = best_of_each("x", scores)
        assert (found.unimodal.method, found.simple.method) == ("unimodal-transformer[b]", "ef-lstm")
        assert (found.complex.accuracy, found.multimodal.accuracy, found.best.method) == (0.82, 0.85, "ef-lstm")

    def test_what_was_not_run_is_absent(self):
        found = best_of_each("x", {"mult": 0.8})
        assert found.unimodal is found.simple is None
        assert found.best is found.multimodal is found.complex
        with pytest.raises(UsageError, match="no accuracy on 'x': give its results"):
            best_of_each("x", {})

    def test_recorded_scores_and_a_folder_that_is_not_there(self, tmp_path):
        recorded = json.loads(files("braidbench_interactions").joinpath("synthetic_scores.json").read_text())["scores"]
        assert accuracies([]) == recorded
        # Of the best possible accuracy, 0.852, no method is above by more than three standard errors of 3,000 rows.
        assert max(max(scores.values()) for scores in recorded.values()) < 0.852 + 3 * 0.0065
        assert accuracies([tmp_path]) == accuracies([])
        with pytest.raises(UsageError, match="there are no results here"):
            accuracies([tmp_path / "nowhere"])

    def test_results_of_a_run_are_means_over_seeds(self, cli, tmp_path):
        done = cli("run", "synthetic/xor", "late-fusion", "--seeds", "2", "--set", "training.epochs=1",
                   "--results", "found")  # fmt: skip
        assert done.returncode == 0, done.stderr
        results = [json.loads(file.read_text()) for file in (tmp_path / "found").glob("*/result.json")]
        assert len(results) == 2
        # With overrides it is a row apart, and no evidence about the method as it comes.
        assert "synthetic/xor" not in accuracies([tmp_path / "found"])
        (tmp_path / "plain").mkdir()
        epochs = registry().find("datasets", "synthetic/xor").spec.training.epochs
        for result in results:
            # As if its scores were those of the declared budget.
            result["identity"]["training"]["epochs"] = epochs
            own = {"overrides": {}, "cell": sha256_json(result["identity"])}
            (tmp_path / "plain" / f"{result['seed']}.json").write_text(json.dumps({**result, **own}))
        expected = np.mean([result["scores"]["accuracy"] for result in results])
        assert accuracies([tmp_path / "plain"])["synthetic/xor"] == {"late-fusion": pytest.approx(expected)}
