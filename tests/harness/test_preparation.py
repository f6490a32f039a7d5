"""Preparing: what is checked, normalised, masked, fingerprinted, verified."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch

from braidbench import preparation
from braidbench.data import open_split
from braidbench.errors import DataError, MissingPackageError
from braidbench.preparation import fingerprint, locate, official_folder, prepare, verify
from braidbench.registry import registry
from braidbench.specs import Dataset, Modality, Task


def toy(name: str = "toy/pair") -> Dataset:
    return registry().find("datasets", name).spec


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("BRAIDBENCH_DATA", str(tmp_path / "data"))
    return tmp_path / "data"


def raw():
    from braid_toy.data import load

    return load({})


def test_statistics_come_from_the_training_split_alone(folder):
    spec = toy()
    train = raw()["train"]["vector"].astype(np.float64)
    prepared = prepare(spec)
    assert np.allclose(prepared.meta["statistics"]["vector"]["mean"], np.nanmean(train, axis=0), atol=1e-12)
    assert np.allclose(prepared.meta["statistics"]["vector"]["std"], np.nanstd(train, axis=0), atol=1e-12)
    test = open_split(prepared, "test", spec.tasks[0]).columns["vector"].all().numpy()
    source = raw()["test"]["vector"].astype(np.float64)
    expected = (source - np.nanmean(train, axis=0)) / np.nanstd(train, axis=0)
    assert np.allclose(test[:, :4], np.nan_to_num(expected), atol=1e-6)
    assert np.array_equal(test[:, 4:], ~np.isnan(source)), "the mask says what was observed"


def test_sequences_come_back_whole_with_their_lengths(folder):
    spec = toy()
    prepared = prepare(spec)
    split = open_split(prepared, "valid", spec.tasks[0])
    series = raw()["valid"]["series"]
    batch = split.batch(torch.tensor([3, 0, 41]))
    assert batch.lengths["series"].tolist() == [len(series[3]), len(series[0]), len(series[41])]
    for row, source in enumerate((3, 0, 41)):
        steps = len(series[source])
        assert torch.equal(batch.inputs["series"][row, :steps], torch.from_numpy(series[source]))
        assert not batch.inputs["series"][row, steps:].any()
    assert batch.inputs["series"].shape[1] == int(batch.lengths["series"].max())
    assert batch.index.tolist() == [3, 0, 41]


def test_targets_of_each_task(folder):
    spec = toy()
    prepared = prepare(spec)
    assert open_split(prepared, "test", spec.tasks[0]).target.dtype == torch.int64
    level = open_split(prepared, "test", spec.tasks[1]).target
    assert level.shape == (80, 1)
    assert np.array_equal(level[:, 0].numpy(), raw()["test"]["level"].astype(np.float32))


def test_a_column_in_blocks_gathers_like_one_in_memory(folder, monkeypatch):
    import braidbench.data

    spec = dataclasses.replace(toy(), target="big_loader:load", splits={}, version=2)
    monkeypatch.setattr(preparation, "load_target", lambda _: big)
    prepared = prepare(spec)
    index = torch.tensor([5, 2399, 1000, 999, 0, 2001])
    memory = open_split(prepared, "train", spec.tasks[0]).batch(index)
    monkeypatch.setattr(braidbench.data, "LARGE", 0)
    mapped = open_split(prepared, "train", spec.tasks[0])
    assert len(mapped.columns["vector"]._blocks) > 1, "the split must stand in several blocks for this test to tell"
    assert torch.equal(mapped.batch(index).inputs["vector"], memory.inputs["vector"])
    assert torch.equal(mapped.columns["vector"].all()[index], memory.inputs["vector"])


def big(files):
    parts = raw()
    rng = np.random.default_rng(0)
    rows = 2400
    parts["train"] = {
        "vector": rng.normal(size=(rows, 4)),
        "series": [rng.normal(size=(2, 3)) for _ in range(rows)],
        "parity": rng.integers(0, 2, rows),
        "level": rng.normal(size=rows),
    }
    return parts


def spoiled(change):
    """A loader of the toy data after ``change(splits)``."""

    def load(files):
        splits = raw()
        change(splits)
        return splits

    return load


CASES = {
    "infinite": (
        lambda s: s["test"]["series"][7].__setitem__((0, 1), np.inf),
        r"'test', modality 'series', row 7: inf",
    ),
    "nan in a sequence": (lambda s: s["train"]["series"][2].__setitem__((0, 0), np.nan), "missing='mask'"),
    "infinite under a mask": (lambda s: s["valid"]["vector"].__setitem__((4, 2), -np.inf), "must be finite"),
    "leak": (
        lambda s: [
            s["test"]["series"].__setitem__(0, s["train"]["series"][5]),
            s["test"]["vector"].__setitem__(0, s["train"]["vector"][5]),
        ],
        "row 0 of 'test' stands in 'train' too",
    ),
    "too long": (
        lambda s: s["train"]["series"].__setitem__(0, np.zeros((13, 3), np.float32)),
        "13 steps where at most 12",
    ),
    "wrong width": (lambda s: s["train"]["series"].__setitem__(0, np.zeros((2, 4), np.float32)), "is declared"),
    "label": (lambda s: s["train"]["parity"].__setitem__(0, 2), r"labels 0..2 where 0..1"),
    "text": (lambda s: s["train"].__setitem__("vector", np.full((240, 4), "x")), "are not numbers"),
    "rows": (lambda s: s["train"].__setitem__("level", np.zeros(3)), "columns differ in rows"),
    "column": (lambda s: s["train"].pop("series"), "column 'series' is missing"),
    "truncated": (
        lambda s: s["train"].update({k: v[:100] for k, v in s["train"].items()}),
        "100 rows where 240 are declared; is the package the right version",
    ),
    "split": (lambda s: s.pop("valid"), "not train, valid, test"),
    "target": (lambda s: s["test"]["level"].__setitem__(9, np.nan), "row 9 is not finite"),
}


@pytest.mark.parametrize("case", CASES)
def test_what_a_loader_gives_is_checked(folder, monkeypatch, case):
    change, message = CASES[case]
    monkeypatch.setattr(preparation, "load_target", lambda _: spoiled(change))
    with pytest.raises(DataError, match=message):
        prepare(toy())
    assert not list(folder.glob("prepared/*/[0-9a-f]*")), "nothing half-made stays"


def test_a_group_in_two_splits_is_refused(folder, monkeypatch):
    def change(splits):
        for number, split in enumerate(splits.values()):
            split["group"] = np.array([f"person {number}"] * len(split["parity"]))
        splits["test"]["group"][3] = "person 0"

    monkeypatch.setattr(preparation, "load_target", lambda _: spoiled(change))
    with pytest.raises(DataError, match="group 'person 0' is in both 'train' and 'test'"):
        prepare(toy())


def test_a_loader_that_trips_is_one_line(folder, monkeypatch):
    def load(files):
        raise ZeroDivisionError("oops")

    monkeypatch.setattr(preparation, "load_target", lambda _: load)
    with pytest.raises(DataError, match=r"cannot be read \(ZeroDivisionError: oops\)"):
        prepare(toy())


def test_missing_official_files_say_which_where_and_whether_access_is_restricted(folder):
    spec = toy("toy/official")
    with pytest.raises(DataError) as error:
        locate(spec)
    message = str(error.value)
    for part in ("data.npy, parts/*.npy (2 of 2)", "access is restricted", "https://example.org/toy", str(folder)):
        assert part in message


def official(seed: int = 0) -> None:
    place = official_folder(toy("toy/official"))
    (place / "parts").mkdir(parents=True, exist_ok=True)
    table = np.random.default_rng(seed).normal(size=(40, 3))
    table[:, 2] = np.arange(40) % 2
    np.save(place / "data.npy", table)
    np.save(place / "parts" / "a.npy", np.zeros(1))


def test_the_fingerprint_follows_content_and_not_place_or_time(folder, tmp_path, monkeypatch):
    spec = toy("toy/official")
    official()
    first = fingerprint(spec, locate(spec))
    monkeypatch.setenv("BRAIDBENCH_DATA", str(tmp_path / "elsewhere"))
    official()
    assert fingerprint(spec, locate(spec)) == first
    official(seed=1)
    assert fingerprint(spec, locate(spec)) != first
    assert fingerprint(dataclasses.replace(spec, version=2), locate(spec)) != first


def test_truncated_official_files_are_one_line(folder):
    official()
    path = official_folder(toy("toy/official")) / "data.npy"
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(DataError, match="cannot be read"):
        prepare(toy("toy/official"))


def test_a_missing_package_says_what_to_install():
    with pytest.raises(MissingPackageError, match="pip install 'no-such-distribution==3'"):
        locate(toy("toy/packaged"))


def test_a_damaged_cache_is_found_and_named(folder):
    spec = toy()
    prepared = prepare(spec)
    assert verify(spec)["splits"] == {"train": 240, "valid": 80, "test": 80}
    [arrow] = (prepared.folder / "test").glob("*.arrow")
    content = bytearray(arrow.read_bytes())
    content[len(content) // 2] ^= 1
    arrow.write_bytes(content)
    with pytest.raises(DataError, match=r"test/.*\.arrow is damaged"):
        verify(spec)
    arrow.write_bytes(b"")
    with pytest.raises(DataError, match="braidbench data prepare toy/pair"):
        open_split(prepared, "test", spec.tasks[0])


def test_a_damaged_meta_file_is_prepared_again(folder):
    prepared = prepare(toy())
    (prepared.folder / "meta.json").write_text("{")
    assert json.loads((prepare(toy()).folder / "meta.json").read_text())["fingerprint"] == prepared.fingerprint


def test_images_share_one_mean_a_channel():
    modality = Modality("image", "image", (3, 4, 4), normalise="standard")
    values = np.random.default_rng(0).normal(5, 2, (10, 3, 4, 4))
    found = preparation._statistics(modality, values)
    assert np.allclose(found["mean"], values.mean(axis=(0, 2, 3)))
    normal = preparation.transform(modality, values, found)
    assert np.allclose(normal.mean(axis=(0, 2, 3)), 0, atol=1e-6)
    assert np.allclose(normal.std(axis=(0, 2, 3)), 1, atol=1e-6)


def test_a_constant_feature_becomes_zero():
    modality = Modality("table", "tabular", (2,), normalise="standard")
    values = np.array([[3.0, 1.0], [3.0, 2.0]])
    found = preparation._statistics(modality, values)
    assert preparation.transform(modality, values, found)[:, 0].tolist() == [0.0, 0.0]


def test_tokens_stay_integers():
    modality = Modality("words", "text", (1,), length=5)
    assert preparation.transform(modality, np.array([[3], [4]], np.int32), None).dtype == np.int64


def test_specs_refuse_nonsense():
    from braidbench.errors import PluginError

    task = Task("y", "classification", ("accuracy",), classes=("a", "b"))
    with pytest.raises(PluginError, match="kind 'smell' is not one of"):
        Modality("x", "smell", (1,))
    with pytest.raises(PluginError, match="two classes or more"):
        Task("y", "classification", ("accuracy",))
    with pytest.raises(PluginError, match="declares a modality twice"):
        Dataset("d", "m:f", modalities=(Modality("x", "tabular", (1,)),) * 2, tasks=(task,))
    with pytest.raises(PluginError, match="is no modality of it"):
        Dataset("d", "m:f", modalities=(Modality("x", "tabular", (1,)),), tasks=(task,), encoders={"z": "mlp"})
