"""The restricted unpickler reads what numpy writes and runs nothing."""

from __future__ import annotations

import collections
import io
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from braidbench.errors import DataError
from braidbench_multibench import pickles

CONTENT: dict[str, Any] = {
    "train": {"vision": np.arange(24, dtype=np.float64).reshape(2, 3, 4), "id": ["a", b"b", 3], "labels": (1.5, None)},
    "fortran": np.asfortranarray(np.arange(6, dtype=np.int32).reshape(2, 3)),
    "big-endian": np.arange(3, dtype=">f4"),
    "bool": np.array([True, False]),
    "text": np.array(["ab", "c"]),
    "bytes": np.array([b"ab", b"c"]),
    "empty": np.zeros((0, 5), np.float32),
    "nought": np.array(2.5),
    "scalar": np.float32(1.25),
    "set": {1, 2},
    "frozen": frozenset({"x"}),
    "complex": 1 + 2j,
    "ordered": collections.OrderedDict(b=np.ones(2), a=1),
    "bytearray": bytearray(b"xyz"),
}


def same(a: Any, b: Any) -> bool:
    if isinstance(a, np.ndarray):
        return isinstance(b, np.ndarray) and a.dtype == b.dtype and a.shape == b.shape and np.array_equal(a, b)
    if isinstance(a, dict):
        return type(a) is type(b) and list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    return type(a) is type(b) and bool(a == b)


def load(data: bytes, **options: Any) -> Any:
    return pickles.load(io.BytesIO(data), "file.pkl", **options)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_reads_arrays_and_plain_containers(protocol: int) -> None:
    assert same(CONTENT, load(pickle.dumps(CONTENT, protocol)))


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_reads_arrays_of_objects(protocol: int) -> None:
    array = np.empty((2, 2), object)
    array[0] = [np.arange(3), "text"]
    array[1] = [None, {"inner": np.ones(2)}]
    for given in (array, np.asfortranarray(array)):
        found = load(pickle.dumps(given, protocol))
        assert found.shape == (2, 2)
        assert np.array_equal(found[0, 0], np.arange(3))
        assert found[0, 1] == "text"
        assert found[1, 0] is None
        assert np.array_equal(found[1, 1]["inner"], np.ones(2))


def test_arrays_are_writable_and_shared_objects_stay_shared() -> None:
    array, pair = np.arange(3.0), (np.ones(2), 1)
    found = load(pickle.dumps([array, array, pair, pair]))
    assert found[0] is found[1]
    assert found[2] is found[3]
    found[0][0] = 5.0
    assert found[1][0] == 5.0


def test_a_list_that_holds_itself_is_read() -> None:
    loop: list[Any] = [np.ones(1)]
    loop.append(loop)
    found = load(pickle.dumps(loop))
    assert found[1] is found


def test_many_short_tuples_are_not_confused() -> None:
    # Replaced tuples are freed; a stand-in table by id alone would mistake a new object for an old one.
    content = [(np.array([k]), k) for k in range(2000)]
    assert [(int(a[0]), k) for a, k in load(pickle.dumps(content))] == [(k, k) for k in range(2000)]


def test_reads_what_python_2_wrote() -> None:
    # cPickle.dumps(numpy.array([1., 2.]), 2) under Python 2.7: bytes stand as a latin-1 string.
    data = (
        b"\x80\x02cnumpy.core.multiarray\n_reconstruct\nq\x01cnumpy\nndarray\nq\x02K\x00\x85U\x01b\x87Rq\x03"
        b"(K\x01K\x02\x85cnumpy\ndtype\nq\x04U\x02f8K\x00K\x01\x87Rq\x05(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff"
        b"\xffK\x00tb\x89U\x10\x00\x00\x00\x00\x00\x00\xf0?\x00\x00\x00\x00\x00\x00\x00@tb."
    )
    assert np.array_equal(load(data, encoding="latin1"), [1.0, 2.0])
    assert np.array_equal(load(data, encoding="bytes"), [1.0, 2.0])
    assert np.array_equal(load(data), [1.0, 2.0]), "0xf0 is no ASCII: read again as latin-1 without being told"


def test_text_of_python_2_is_latin_1_where_it_is_no_ascii(tmp_path: Path) -> None:
    """In a pickle by itself, behind another pickle in one file, and as the object of a .npy file."""
    data = b"\x80\x02}U\x04caf\xe9K\x07s."
    assert load(data) == {"café": 7}
    with io.BytesIO(pickle.dumps("first", 2) + data) as file:
        assert [pickles.load(file, "here"), pickles.load(file, "here")] == ["first", {"café": 7}]
    path = tmp_path / "data.npy"
    with path.open("wb") as target:
        np.lib.format.write_array_header_1_0(target, {"descr": "|O", "fortran_order": False, "shape": ()})
        target.write(data)
    assert pickles.load_npy_object(path) == {"café": 7}


def python_2(order: bytes, raw: bytes, key: bytes = b"U\x04text") -> bytes:
    """``cPickle.dumps({key: array of shape (2, 2)}, 2)`` under Python 2.7: its strings are bytes."""
    return (
        b"\x80\x02}q\x00" + key + b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
        b"(K\x01K\x02K\x02\x86cnumpy\ndtype\nU\x02f4K\x00K\x01\x87R(K\x03U\x01"
        + order
        + b"NNNJ\xff\xff\xff\xffJ\xff\xff"
        b"\xff\xffK\x00tb\x89U" + bytes([len(raw)]) + raw + b"tbs."
    )


@pytest.mark.parametrize("order", ["<", ">"])
def test_python_2_is_read_without_being_asked_for(tmp_path: Path, order: str) -> None:
    """Bytes above 127, which ASCII refuses, in a pickle of its own and inside a .npy file."""
    array = np.array([[1.5, -2.25], [3e10, 0.1]], f"{order}f4")
    assert max(array.tobytes()) > 127
    data = python_2(order.encode(), array.tobytes())
    (tmp_path / "a.pkl").write_bytes(data)
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|O", "fortran_order": False, "shape": ()})
    (tmp_path / "a.npy").write_bytes(header.getvalue() + data)
    for found in (pickles.load_path(tmp_path / "a.pkl"), pickles.load_npy_object(tmp_path / "a.npy")):
        assert list(found) == ["text"]
        assert found["text"].tolist() == array.tolist()


def test_a_name_of_python_2_is_one_character_a_byte() -> None:
    array = np.ones((2, 2), "<f4")
    assert list(load(python_2(b"<", array.tobytes(), b"U\x04caf\xe9"))) == ["café"]


def test_python_2_is_as_restricted(tmp_path: Path) -> None:
    """What is read a second time is read by the same rules."""
    mark = tmp_path / "mark"
    data = (
        b"\x80\x02(U\x01\xe9cposix\nsystem\nU" + bytes([len(f"touch {mark}")]) + f"touch {mark}".encode() + b"\x85Rl."
    )
    with pytest.raises(DataError, match=r"posix\.system"):
        load(data)
    assert not mark.exists()
    with pytest.raises(DataError, match="not a whole pickle"):
        load(python_2(b"<", np.full((2, 2), 0.1, "<f4").tobytes())[:-8])


class Malicious:
    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


def test_a_malicious_pickle_is_refused_by_name_and_runs_nothing(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    data = pickle.dumps({"train": [Malicious(os.system, f"touch {mark}")]})
    with pytest.raises(DataError, match=r"file\.pkl: not read, because it refers to (posix|nt)\.system;"):
        load(data)
    with pytest.raises(DataError, match=r"builtins\.eval"):
        load(pickle.dumps(Malicious(eval, f"open({str(mark)!r}, 'w')")))
    assert not mark.exists()
    pickle.loads(data)  # The attack is real: without the restriction it leaves its mark.
    assert mark.exists()


@pytest.mark.parametrize(
    "value", [Path("x"), np.dtype, np.load, collections.Counter("a"), slice(3), np.random.default_rng(0), ValueError()]
)
def test_other_types_are_refused(value: Any) -> None:
    with pytest.raises(DataError, match="it refers to "):
        load(pickle.dumps(value) if value is not np.dtype else pickle.dumps(np.dtypes.Float64DType))


def test_names_inside_admitted_modules_are_refused() -> None:
    for line in (
        b"cnumpy\nload\n.",
        b"cnumpy\nndarray.tofile\n.",
        b"cbuiltins\ngetattr\n.",
        b"cbuiltins\nset.__new__\n.",
    ):
        with pytest.raises(DataError, match="it refers to "):
            load(line)
    with pytest.raises(DataError, match="it refers to "):
        load(b"\x80\x04\x8c\x05numpy\x8c\x0endarray.tofile\x93.")


def forged_array(dtype: bytes, shape: bytes, raw: bytes) -> bytes:
    """Protocol 3: ``_reconstruct`` and a state of our own making."""
    return (
        b"\x80\x03cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85C\x01b\x87R"
        b"(K\x01" + shape + b"cnumpy\ndtype\n" + dtype + b"\x89" + raw + b"tb."
    )


def test_a_forged_object_dtype_never_makes_bytes_into_pointers() -> None:
    # A dtype of objects whose flags deny it: numpy's own __setstate__ would take eight bytes for a pointer.
    dtype = b"X\x02\x00\x00\x00O8K\x00K\x01\x87R(K\x03X\x01\x00\x00\x00|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    with pytest.raises(DataError, match="array of objects that numpy did not write"):
        load(forged_array(dtype, b"K\x01\x85", b"C\x08\x01\x02\x03\x04\x05\x06\x07\x08"))


@pytest.mark.parametrize(("shape", "why"), [(b"K\x03\x85", "do not fit"), (b"J\xff\xff\xff\xff\x85", "did not write")])
def test_a_shape_that_does_not_fit_its_bytes_is_refused(shape: bytes, why: str) -> None:
    dtype = b"X\x02\x00\x00\x00f8K\x00K\x01\x87R(K\x03X\x01\x00\x00\x00<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    with pytest.raises(DataError, match=why):
        load(forged_array(dtype, shape, b"C\x08\x00\x00\x00\x00\x00\x00\xf0?"))


def test_structured_arrays_are_refused() -> None:
    with pytest.raises(DataError, match=r"type 'V12'"):
        load(pickle.dumps(np.zeros(2, [("a", "f8"), ("b", "i4")])))


def test_a_few_bytes_do_not_ask_for_terabytes() -> None:
    with pytest.raises(DataError, match="bytearray"):
        load(b"\x80\x02cbuiltins\nbytearray\n\x8a\x06\x00\x00\x00\x00\x00\x10\x85R.")


def test_a_pickle_does_not_change_the_reader() -> None:
    # BUILD with slot state sets attributes of whatever stands on the stack, here of the stand-in for numpy's scalar.
    data = b"\x80\x02cnumpy.core.multiarray\nscalar\nN}X\x0c\x00\x00\x00__defaults__K\x01\x85s\x86b."
    load(data)
    assert pickles._scalar.__defaults__ is None


@pytest.mark.parametrize("cut", [1, 20, -1])
def test_a_truncated_pickle_is_an_error_that_names_the_file(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "mosi.pkl"
    path.write_bytes(pickle.dumps(CONTENT)[:cut])
    with pytest.raises(DataError, match=r"mosi\.pkl: not "):
        pickles.load_path(path)


def test_deep_nesting_is_an_error() -> None:
    with pytest.raises(DataError, match="nested too deeply"):
        load(b"N" + b"\x85" * 100_000 + b".")


def test_npy_files_that_hold_an_object(tmp_path: Path) -> None:
    path = tmp_path / "data.npy"
    np.save(path, np.array({"X": [np.ones((2, 3))], "y": np.arange(2)}, dtype=object), allow_pickle=True)
    found = pickles.load_npy_object(path)
    assert set(found) == {"X", "y"}
    assert np.array_equal(found["X"][0], np.ones((2, 3)))
    np.save(path, np.ones(3))
    with pytest.raises(DataError, match="not a pickled object"):
        pickles.load_npy_object(path)
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(DataError, match=r"not a \.npy file"):
        pickles.load_npy_object(path)
    array = np.empty((), object)
    array[()] = Malicious(os.getcwd)
    np.save(path, array, allow_pickle=True)
    with pytest.raises(DataError, match="getcwd"):
        pickles.load_npy_object(path)
