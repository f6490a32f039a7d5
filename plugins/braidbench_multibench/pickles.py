"""Reads pickles from strangers: numpy arrays, numpy scalars and plain containers, and nothing else.

Official datasets are often published as a pickle on somebody's drive, and unpickling runs whatever the file says. Here
no global of the file is ever looked up: each name that numpy's own pickles use is replaced by a small recorder of this
module, and arrays are rebuilt from their bytes with ``np.frombuffer``. Numpy's own ``__setstate__`` is not called
either, because a forged dtype could make it read raw bytes as object pointers.
"""

from __future__ import annotations

import pickle
import re
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from types import FunctionType
from typing import IO, Any, Literal

import numpy as np
from numpy.typing import NDArray

from braidbench.errors import DataError

_DTYPE = r"[<>=|]?([?bBhHiIlLqQefdgFD]|[biufc](1|2|4|8|16)|[SU]\d+|O8?)"


class _DType:
    """Stands for ``numpy.dtype`` in a pickle: a plain type's name and its byte order. Fields are refused."""

    def __init__(self, name: Any, align: Any = False, copy: Any = True) -> None:
        text = name.decode("ascii", "replace") if isinstance(name, bytes) else name
        if not isinstance(text, str) or not re.fullmatch(_DTYPE, text):
            raise DataError(f"it holds an array of type {name!r}; only numbers, strings and objects are read")
        self._dtype = np.dtype("O" if text.startswith("O") else text)

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) < 5 or any(part is not None for part in state[2:5]):
            raise DataError("it holds an array with named fields or subarrays, which are not read")
        order = state[1].decode("ascii", "replace") if isinstance(state[1], bytes) else state[1]
        if order == ">":
            self._dtype = self._dtype.newbyteorder(">")
        elif order == "<":
            self._dtype = self._dtype.newbyteorder("<")

    def resolve(self) -> np.dtype[Any]:
        return self._dtype


class _Array:
    """Stands for an array in a pickle until :func:`_resolve` puts the real one in its place."""

    def __init__(self, *_: Any) -> None:
        self.value: NDArray[Any] | None = None
        self.items: list[Any] | None = None
        self.shape: tuple[int, ...] = ()

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) not in (4, 5):
            raise DataError("it holds an array that numpy did not write")
        shape, dtype, fortran, raw = state[-4:]
        if not isinstance(dtype, _DType) or not _is_shape(shape):
            raise DataError("it holds an array that numpy did not write")
        order: Literal["C", "F"] = "F" if fortran else "C"
        if dtype.resolve().hasobject:
            if not isinstance(raw, list) or len(raw) != _count(shape):
                raise DataError("it holds an array of objects that numpy did not write")
            self.items = raw
            self.value = np.empty(_count(shape), object)
            self.shape = shape
        else:
            self.value = _numbers(raw, dtype.resolve(), shape, order)

    def resolve(self, seen: dict[int, tuple[Any, Any]]) -> NDArray[Any]:
        if self.value is None:
            raise DataError("it holds an array without content")
        if self.items is not None:
            # Marked as resolved first, so that an array that holds itself ends the recursion.
            items, self.items = self.items, None
            for position, item in enumerate(items):
                self.value[position] = _resolve(item, seen)
            # Numpy lists objects in C order, whatever the order of the array's memory was.
            self.value = self.value.reshape(self.shape)
        return self.value


def _is_shape(shape: Any) -> bool:
    return isinstance(shape, tuple) and all(isinstance(size, int) and size >= 0 for size in shape)


def _count(shape: tuple[int, ...]) -> int:
    total = 1
    for size in shape:
        total *= size
    return total


def _numbers(raw: Any, dtype: np.dtype[Any], shape: tuple[int, ...], order: Literal["C", "F"]) -> NDArray[Any]:
    if isinstance(raw, str):
        raw = raw.encode("latin-1")  # Python 2 wrote bytes as text.
    if not isinstance(raw, bytes | bytearray | memoryview) or len(raw) != _count(shape) * dtype.itemsize:
        raise DataError(f"it holds an array whose bytes do not fit its shape {shape}; is the file truncated?")
    return np.frombuffer(raw, dtype).reshape(shape, order=order).copy(order=order)


def _scalar(dtype: Any, raw: Any) -> Any:
    if not isinstance(dtype, _DType) or dtype.resolve().hasobject:
        raise DataError("it holds a scalar that numpy did not write")
    return _numbers(raw, dtype.resolve(), (1,), "C")[0]


def _from_buffer(raw: Any, dtype: Any, shape: Any, order: Any, *_: Any) -> _Array:
    array = _Array()
    array.__setstate__((shape, dtype, order == "F", raw))
    return array


def _latin1(text: Any, encoding: Any = "latin1") -> bytes:
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1", "bytes"):
        raise DataError(f"it asks for the codec {encoding!r}")
    return text.encode("latin-1")


def _bytearray(*arguments: Any) -> bytearray:
    # Never a size: a few bytes of pickle must not ask for terabytes.
    if len(arguments) == 2:
        return bytearray(_latin1(*arguments))
    if arguments and not isinstance(arguments[0], bytes):
        raise DataError("it builds a bytearray of something else than bytes")
    return bytearray(*arguments)


def _empty_bytes(*arguments: Any) -> bytes:
    if arguments:
        raise DataError("it builds bytes in a way that numpy's pickles do not")
    return b""


_ADMITTED: dict[tuple[str, str], Callable[..., Any]] = {
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _DType,
    ("_codecs", "encode"): _latin1,
    ("__builtin__", "bytes"): _empty_bytes,
    ("collections", "OrderedDict"): OrderedDict,
    **{(module, name): kind for module in ("builtins", "__builtin__")
       for name, kind in (("set", set), ("frozenset", frozenset), ("complex", complex), ("bytearray", _bytearray))},
    **{(f"numpy.{core}.multiarray", name): stand_in for core in ("core", "_core")
       for name, stand_in in (("_reconstruct", _Array), ("scalar", _scalar))},
    **{(f"numpy.{core}.numeric", "_frombuffer"): _from_buffer for core in ("core", "_core")},
}  # fmt: skip


class _Restricted(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        admitted = _ADMITTED.get((module, name))
        if admitted is None:
            raise DataError(
                f"it refers to {module}.{name}; only numpy arrays and plain containers are read from pickles"
            )
        if isinstance(admitted, FunctionType):
            # A pickle may set attributes of what it looked up: it gets a function of its own.
            return lambda *arguments: admitted(*arguments)
        return admitted

    def persistent_load(self, identity: Any) -> Any:
        raise DataError("it refers to objects outside of itself")


def _resolve(value: Any, seen: dict[int, tuple[Any, Any]]) -> Any:
    """The value with every stand-in replaced. Lists and dictionaries are changed in place, so shared ones stay shared.

    ``seen`` maps an object's id to the object, which keeps the id taken, and what replaces it.
    """
    if isinstance(value, _DType):
        return value.resolve()
    if isinstance(value, _Array):
        return value.resolve(seen)
    if id(value) in seen:
        return seen[id(value)][1]
    if isinstance(value, tuple):
        seen[id(value)] = (value, tuple(_resolve(item, seen) for item in value))
    elif isinstance(value, dict | list):
        seen[id(value)] = (value, value)
        for key, item in list(value.items() if isinstance(value, dict) else enumerate(value)):
            value[key] = _resolve(item, seen)
    return seen.get(id(value), (value, value))[1]


def load(file: IO[bytes], where: str | Path, encoding: str = "ASCII") -> Any:
    """The value of one pickle in an open file. What Python 2 wrote is read as latin1 where ASCII cannot.

    Raises DataError that names ``where`` and what is refused, or that the pickle is damaged. Nothing of it is run.
    """
    start = file.tell()
    try:
        try:
            return _resolve(_Restricted(file, encoding=encoding).load(), {})
        except UnicodeDecodeError:
            # Python 2's strings are bytes: read again, one character a byte, as numpy's own reader asks for.
            file.seek(start)
            return _resolve(_Restricted(file, encoding="latin1").load(), {})
    except DataError as error:
        raise DataError(f"{where}: not read, because {error}") from None
    except (RecursionError, MemoryError):
        raise DataError(f"{where}: not read, because it is nested too deeply or asks for too much memory") from None
    except Exception as error:
        # A damaged pickle raises nearly anything; there is one remedy for all of it.
        raise DataError(
            f"{where}: not a whole pickle ({type(error).__name__}: {error}); get the file again from its publisher"
        ) from None


def load_path(path: Path, encoding: str = "ASCII") -> Any:
    """The value of the pickle in a file; see :func:`load`."""
    with path.open("rb") as file:
        return load(file, path, encoding)


def load_npy_object(path: Path) -> Any:
    """The value of a ``.npy`` file that holds one pickled object; see :func:`load`."""
    with path.open("rb") as file:
        try:
            version = np.lib.format.read_magic(file)
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            _, _, dtype = read(file)
        except ValueError as error:
            raise DataError(f"{path}: not a .npy file ({error}); get the file again from its publisher") from None
        if not dtype.hasobject:
            raise DataError(f"{path}: holds an array of {dtype}, not a pickled object")
        value = load(file, path)
    return value.item() if isinstance(value, np.ndarray) and value.shape == () else value
