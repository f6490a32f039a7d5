"""digits: fixed pairs, a PCA and noise that know the training split only, and the announced amounts of both."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.decomposition import PCA
from sklearn.svm import SVC

from braidbench_multibench.loaders import digits

Loaded = Callable[[str], Any]
FRAME_DEVIATION = np.array([144, 51, 39, 29, 30, 25, 19, 15, 16, 15, 14, 13, 13])
"""Of each coefficient over all clean frames, rounded."""


@pytest.fixture(scope="module")
def raw(sources: Loaded) -> tuple[Any, Any, Any, Any]:
    """Images (5000, 784) in [0, 1], their digits, 3000 recordings, their digits; read without the loader."""
    files = {name.rpartition("/")[2]: path for name, path in sources("digits").items()}
    table = pd.read_csv(files["mnist_5k.csv.gz"], header=None).to_numpy()
    archive = np.load(files["digits.npz"])
    frames, lengths = archive["X"].astype(np.float64), archive["lengths"]
    recordings = [frames[end - n : end] for end, n in zip(np.cumsum(lengths), lengths, strict=True)]
    return table[:, :784] / 255.0, table[:, 784], recordings, archive["y"]


def test_each_image_and_recording_stands_in_at_most_one_pair(raw: Any) -> None:
    _, written, _, spoken = raw
    pairs = digits.pair(written, spoken)
    images = np.concatenate([pairs[split][0] for split in pairs])
    recordings = np.concatenate([pairs[split][1] for split in pairs])
    assert len(np.unique(images)) == len(images) == 3000
    assert sorted(recordings) == list(range(3000))
    assert np.array_equal(written[images], spoken[recordings])
    for split, (rows, _) in pairs.items():
        assert np.bincount(written[rows]).tolist() == [digits.PAIRS_A_CLASS[split]] * 10
        assert np.any(np.diff(written[rows]) < 0), "rows are not sorted by digit"


def test_images_keep_a_quarter_of_their_energy(raw: Any, loaded: Loaded) -> None:
    images, written, _, spoken = raw
    train = images[digits.pair(written, spoken)["train"][0]]
    pca = PCA(svd_solver="full").fit(train)
    share = pca.explained_variance_ratio_
    assert share[:3].sum() < 0.25 < share[:4].sum()
    projected = np.zeros((len(train), len(share)))
    projected[:, :3] = pca.transform(train)[:, :3]
    projected[:, 3] = pca.transform(train)[:, 3] * np.sqrt((0.25 - share[:3].sum()) / share[3])
    kept = pca.inverse_transform(projected)
    assert kept.var(axis=0).sum() / train.var(axis=0).sum() == pytest.approx(0.25, abs=1e-9)
    found = loaded("digits")["train"]["image"].reshape(-1, 784)
    np.testing.assert_allclose(found, (kept - kept.min()) / (kept.max() - kept.min()), atol=1e-5)
    assert (found.min(), found.max()) == (0.0, 1.0)


def test_the_noise_has_the_announced_ratio(raw: Any, loaded: Loaded) -> None:
    _, written, recordings, spoken = raw
    pairs = digits.pair(written, spoken)
    clean = [np.concatenate([recordings[row] for row in pairs[split][1]]) for split in ("train", "test")]
    for split, frames in zip(("train", "test"), clean, strict=True):
        noise = np.concatenate(loaded("digits")[split]["audio"]) - frames
        decibels = 10 * np.log10(clean[0].var(axis=0) / noise.var(axis=0))
        np.testing.assert_allclose(decibels, digits.NOISE_DECIBELS, atol=0.25)
        assert np.abs(np.corrcoef(noise.T) - np.eye(13)).max() < 0.05


def test_nothing_of_the_other_splits_reaches_the_training_split(raw: Any, loaded: Loaded) -> None:
    images, written, recordings, spoken = raw
    changed, longer = images.copy(), list(recordings)
    pairs = digits.pair(written, spoken)
    for split in ("valid", "test"):
        changed[pairs[split][0]] = 1.0 - changed[pairs[split][0]]
        for row in pairs[split][1]:
            longer[row] = 1000.0 + 3.0 * recordings[row]
    train = digits.build(changed, written, longer, spoken)["train"]
    expected = loaded("digits")["train"]
    assert np.array_equal(train["image"], expected["image"])
    assert all(np.array_equal(a, b) for a, b in zip(train["audio"], expected["audio"], strict=True))
    # And the test does change things: the training images do reach the others.
    assert not np.array_equal(
        digits.build(images * np.linspace(0.5, 1, 784), written, recordings, spoken)["test"]["image"],
        loaded("digits")["test"]["image"],
    )


def test_neither_modality_is_useless_and_neither_saturates(loaded: Loaded) -> None:
    """By a learner unlike those of the benchmark: support vector machines, and the product of what they give."""
    splits = loaded("digits")
    train, test = (summary(splits[split]) for split in ("train", "test"))
    answer = splits["test"]["digit"]
    probabilities = []
    for x, z in zip(train, test, strict=True):
        model = CalibratedClassifierCV(SVC(C=10), ensemble=False, cv=3).fit(x, splits["train"]["digit"])
        probabilities.append(model.predict_proba(z))
    image, audio = (float((p.argmax(axis=1) == answer).mean()) for p in probabilities)
    both = float(((probabilities[0] * probabilities[1]).argmax(axis=1) == answer).mean())
    assert 0.5 < image < 0.8
    assert 0.7 < audio < 0.93
    assert max(image, audio) + 0.02 < both < 0.97


def summary(columns: Any) -> tuple[np.ndarray, np.ndarray]:
    """Pixels, and the mean coefficients of each eighth of a recording, on a common scale."""
    clips = []
    for clip in columns["audio"]:
        ends = np.linspace(0, len(clip), 9).astype(int)
        clips.append([clip[a : max(b, a + 1)].mean(axis=0) for a, b in itertools.pairwise(ends)])
    audio = np.array(clips).reshape(len(clips), -1)
    return columns["image"].reshape(len(clips), -1), audio / np.tile(FRAME_DEVIATION, 8)
