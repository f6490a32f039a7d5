"""Measurements of datasets: kept, read again, and refused when they are not what they should be."""

from __future__ import annotations

import json

import pytest

from braidbench.measurements import FOLDER, Bar, Measurement, Part, read, save
from braidbench.store import Store
from braidbench.store import read as read_results


def _measurement(**fields):
    parts = [Part(name="R", value=0.5, low=0.4, high=0.6), Part(name="S", value=0.0, low=0.0, high=0.1)]
    given = {
        "measure": "interactions", "title": "Interactions", "dataset": "digits", "task": "digit", "label": "digit",
        "unit": "bits", "bars": [Bar(name="image + audio", parts=parts)], "command": "braidbench quantify digits",
        "created": "2026-01-01T00:00:00+00:00",
    }  # fmt: skip
    return Measurement(**{**given, **fields})


def test_what_is_saved_is_read_again_and_is_no_result(tmp_path):
    one = _measurement(notes=["few samples"])
    path = save(tmp_path, one)
    assert path.parent == tmp_path / FOLDER
    assert read([tmp_path]).measurements == [one]
    assert Store(tmp_path).all().results == read_results([tmp_path]).results == []
    assert read_results([tmp_path]).corrupt == []
    assert one.parts == ["R", "S"]


def test_a_name_with_a_slash_stays_below_the_folder(tmp_path):
    path = save(tmp_path, _measurement(dataset="../../synthetic/and"))
    assert path.parent == tmp_path / FOLDER
    assert read([tmp_path]).measurements[0].dataset == "../../synthetic/and"


def test_names_that_look_alike_keep_their_own_files(tmp_path):
    for dataset in ("a/b", "a_b"):
        save(tmp_path, _measurement(dataset=dataset))
    assert [m.dataset for m in read([tmp_path]).measurements] == ["a/b", "a_b"]


def test_of_one_measure_the_newest_counts_wherever_it_lies(tmp_path):
    new = _measurement(created="2026-02-01T00:00:00+00:00", label="new")
    save(tmp_path / "a", new)
    save(tmp_path / "b", _measurement())
    save(tmp_path / "b", _measurement(measure="other"))
    assert [m.label for m in read([tmp_path / "a", tmp_path / "b"]).measurements] == ["new", "digit"]
    save(tmp_path / "a", _measurement(label="again"))
    assert [m.label for m in read([tmp_path / "a"]).measurements] == ["again"], "one file a measure"


@pytest.mark.parametrize(
    ("spoil", "place"),
    [
        (lambda d: d.update(schema_version=0), "schema_version"),
        (lambda d: d.update(created="9999"), "created"),
        (lambda d: d.update(surprise=1), "surprise"),
        (lambda d: d["bars"][0]["parts"][0].update(value=-1), "bars.0.parts.0.value"),
        (lambda d: d["bars"][0]["parts"][0].update(low=0.7), "bars.0.parts.0"),
        (lambda d: d["bars"][0]["parts"][0].update(high="much"), "bars.0.parts.0.high"),
        (lambda d: d.update(bars=[]), "bars"),
        (lambda d: d.update(bars=d["bars"] * 501), "bars"),
        (lambda d: d["bars"].append(d["bars"][0]), "document"),
        (lambda d: d["bars"][0]["parts"].append(d["bars"][0]["parts"][0]), "bars.0"),
        (lambda d: d.update(title="x" * 201), "title"),
        (lambda d: d.update(notes=["x" * 1001]), "notes.0"),
    ],
)
def test_corrupt_documents_are_named_and_left_where_they_are(tmp_path, spoil, place):
    path = save(tmp_path, _measurement())
    document = json.loads(path.read_text())
    spoil(document)
    path.write_text(json.dumps(document))
    found = read([tmp_path])
    [line] = found.corrupt
    assert found.measurements == []
    assert f"{path}: not a braidbench measurement (at {place}:" in line
    assert path.exists()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"bars": NaN}', "\x00"])
def test_what_is_no_document_at_all_is_reported(tmp_path, text):
    path = save(tmp_path, _measurement())
    path.write_text(text)
    assert str(path) in read([tmp_path]).corrupt[0]
