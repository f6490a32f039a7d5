"""What a loader gave as columns of numpy arrays, or one sentence that says what cannot be one.

Loaders are written by many hands: lists, tuples, torch tensors, pandas columns, arrays of objects and masked arrays are
converted where there is one way to read them. Nothing is guessed: whatever else comes is refused with its place.
"""

from __future__ import annotations

import numbers
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from braidbench.errors import DataError
from braidbench.specs import SPLITS, Dataset

Array = NDArray[Any]
Columns = dict[str, "Array | list[Array]"]


def standard_splits(spec: Dataset, given: object) -> dict[str, Columns]:
    """``{split: {column: array}}`` of what a loader returned; sequences may be a list of arrays, one a row.

    Raises DataError that names dataset, split and column, and what was given instead.
    """
    where = f"dataset {spec.name!r}"
    if not isinstance(given, Mapping):
        raise DataError(f"{where}: its loader gave {_what(given)}, not a dictionary {{split: {{column: values}}}}")
    if set(given) != set(SPLITS):
        names = sorted(str(name) for name in given)
        raise DataError(f"{where}: its loader gave the splits {names}, not train, valid, test")
    found = {split: _columns(spec, split, given[split]) for split in SPLITS}
    for modality in spec.modalities:
        _of_one_kind([columns for columns in found.values() if modality.name in columns], modality.name)
    return found


def has_ids(spec: Dataset) -> bool:
    """Whether a column ``id`` would hold the samples' names: not where a modality or a target is called that."""
    return "id" not in {m.name for m in spec.modalities} | {t.target for t in spec.tasks}


def _columns(spec: Dataset, split: str, given: Any) -> Columns:
    where = f"dataset {spec.name!r}, split {split!r}"
    # A pandas frame is no Mapping and has the same items.
    if not isinstance(given, Mapping) and not (hasattr(given, "items") and hasattr(given, "to_numpy")):
        raise DataError(f"{where}: its loader gave {_what(given)}, not a dictionary {{column: values}}")
    columns = dict(given.items())
    sequences = {m.name: m.shape for m in spec.modalities if m.is_sequence}
    masked = {m.name for m in spec.modalities if m.missing == "mask"}
    known = {m.name for m in spec.modalities} | {t.target for t in spec.tasks} | {"group", "id"}
    sequences |= {f"{m.name}:times": (2,) for m in spec.modalities if m.times}
    unknown = [str(name) for name in columns if name not in known | sequences.keys()]
    if unknown:
        raise DataError(
            f"{where}: its loader gave a column {unknown[0]!r}, which no modality, target or times of the dataset "
            "reads; leave it out, or call the samples' names 'id' and what must not be split up 'group'"
        )
    names = {"group"} | ({"id"} if has_ids(spec) else set())
    found: Columns = {}
    for name, value in columns.items():
        at = f"{where}, column {name!r}"
        if name in names:
            found[name] = _names(at, value)
        elif name in sequences:
            found[name] = _sequences(at, value, name in masked, sequences[name])
        else:
            found[name] = _array(at, value, name in masked)
    return found


def _of_one_kind(splits: list[Columns], name: str) -> None:
    """Make a modality whole numbers in every row and split, or in none: a split of a table whose numbers all happen to
    be whole is still of numbers, and a row of no steps is of what the others are of."""
    arrays = [array for columns in splits for array in _arrays(columns[name])]
    kinds = {array.dtype.kind for array in arrays if array.size}
    if len({array.dtype for array in arrays}) < 2 or not kinds <= set("fiub"):
        return
    whole = "f" not in kinds
    for columns in splits:
        column = columns[name]
        columns[name] = (
            [_as_kind(array, whole) for array in column] if isinstance(column, list) else _as_kind(column, whole)
        )


def _arrays(column: Array | list[Array]) -> list[Array]:
    return column if isinstance(column, list) else [column]


def _as_kind(array: Array, whole: bool) -> Array:
    """The array, integers if ``whole`` (of which none is rounded or wraps: what is no integer then is empty)."""
    if whole:
        return array.astype(np.int64) if array.dtype.kind == "f" else array
    with np.errstate(over="ignore"):
        return array.astype(np.float64, copy=False)


def _names(at: str, value: Any) -> Array:
    """(N,) strings, of strings or integers."""
    plain = _plain(at, value)
    items = plain.tolist() if isinstance(plain, np.ndarray) else plain
    if isinstance(plain, np.ndarray) and plain.ndim != 1:
        raise DataError(f"{at}: expected one name a row, got shape {plain.shape}")
    names = np.empty(len(items), object)
    for row, item in enumerate(items):
        if isinstance(item, np.generic):
            item = item.item()
        if isinstance(item, bytes):
            try:
                item = item.decode()
            except UnicodeDecodeError:
                raise DataError(f"{at}: row {row} is {item!r}, which is not UTF-8") from None
        if isinstance(item, float) and item.is_integer():
            item = int(item)
        if isinstance(item, bool) or not isinstance(item, str | int) or item == "":
            raise DataError(f"{at}: row {row} is {item!r}; a name is a string or an integer")
        try:
            names[row] = str(item)
            names[row].encode()
        except (UnicodeEncodeError, ValueError):
            raise DataError(f"{at}: row {row} is a name that UTF-8 cannot write") from None
    return names


def _sequences(at: str, value: Any, masked: bool, shape: tuple[int, ...]) -> Array | list[Array]:
    """An array (N, steps, *shape), or a list of one array (steps, *shape) a row."""
    plain = _plain(at, value, masked)
    if isinstance(plain, np.ndarray) and plain.dtype != object:
        return plain
    found = [_array(f"{at}, row {row}", item, masked) for row, item in enumerate(plain)]
    # A list of no steps does not say of what shape they would be.
    return [array.reshape(0, *shape) if array.shape == (0,) else array for array in found]


def _array(at: str, value: Any, masked: bool = False) -> Array:
    """One array of numbers. ``masked`` says that None, or pandas' NA, stands for "not observed"."""
    plain = _plain(at, value, masked)
    if isinstance(plain, np.ndarray) and plain.dtype != object:
        return plain
    rows = plain.tolist() if isinstance(plain, np.ndarray) else list(plain)
    if all(isinstance(row, numbers.Real | np.bool_) for row in rows):
        return _numbers(at, rows)
    parts: list[Array] = []
    for row, item in enumerate(rows):
        missing = item is None or type(item).__name__ in ("NAType", "NaTType")
        if missing and masked:
            item, missing = np.nan, False
        if isinstance(item, numbers.Real | np.bool_):
            parts.append(_numbers(f"{at}, row {row}", [item])[0])
        elif missing or isinstance(item, str | bytes):
            raise DataError(f"{at}: row {row} is {item!r}, not a number")
        else:
            parts.append(_array(f"{at}, row {row}", item, masked))
    shapes = [np.shape(part) for part in parts]
    for row, shape in enumerate(shapes):
        if shape != shapes[0]:
            raise DataError(
                f"{at}: row {row} has shape {shape} and row 0 has {shapes[0]}; rows of different lengths are for a "
                "modality that declares a length"
            )
    return np.stack(parts)


def _numbers(at: str, values: list[Any]) -> Array:
    try:
        array = np.asarray(values)
    except (TypeError, ValueError, OverflowError) as error:
        raise DataError(f"{at}: not an array of numbers ({error})") from None
    integers = all(isinstance(value, numbers.Integral | np.bool_) for value in values)
    if array.dtype == object or (integers and array.dtype.kind == "f" and len(values)):
        for row, value in enumerate(values):
            if isinstance(value, numbers.Integral) and not -(1 << 63) <= int(value) < 1 << 63:
                raise DataError(f"{at}: row {row} is {value}, an integer beyond 64 bits")
        try:
            array = np.asarray(values, np.float64)
        except (TypeError, ValueError, OverflowError) as error:
            raise DataError(f"{at}: not an array of numbers ({error})") from None
    return array


def _plain(at: str, value: Any, masked: bool = False) -> Any:
    """An array, a list or a tuple; tensors, frames, sparse and masked arrays are turned into arrays."""
    if isinstance(value, np.ma.MaskedArray):
        hidden = np.ma.getmaskarray(value)
        if not hidden.any():
            value = value.data
        elif masked and value.dtype.kind in "fiub":
            value = np.where(hidden, np.nan, value.data.astype(np.float64))
        else:
            place = ", ".join(str(int(i)) for i in np.argwhere(hidden)[0])
            raise DataError(
                f"{at}: the value at row {place} is masked; inputs must be there (or declare missing='mask')"
            )
    elif isinstance(value, list | tuple | np.ndarray):
        pass
    else:
        try:
            if hasattr(value, "detach"):
                tensor = value.detach().cpu()
                # bfloat16 and its like have no numpy type; float32 holds them exactly.
                value = (tensor.float() if "float" in str(tensor.dtype) and tensor.itemsize < 4 else tensor).numpy()
            elif hasattr(value, "toarray"):
                value = value.toarray()
            elif hasattr(value, "to_numpy"):
                value = _masked_column(value) if masked else value.to_numpy()
        except Exception as error:
            # Whatever a foreign type does when it is converted, the user needs the column.
            raise DataError(f"{at}: {_what(value)} cannot be made an array ({type(error).__name__}: {error})") from None
        if not isinstance(value, np.ndarray):
            raise DataError(f"{at}: its loader gave {_what(value)}, not an array or a list with one item a row")
    if isinstance(value, np.ndarray) and value.ndim == 0:
        raise DataError(f"{at}: its loader gave one value, {value[()]!r:.60}, not one a row")
    if isinstance(value, np.ndarray) and value.dtype == object and value.ndim > 1:
        return value.tolist()
    return value


def _masked_column(value: Any) -> Any:
    """A pandas column or frame whose missing values, of any kind, are NaN."""
    try:
        return value.to_numpy(dtype=np.float64, na_value=np.nan)
    except (TypeError, ValueError):
        return value.to_numpy()


def _what(value: object) -> str:
    return "None" if value is None else f"a value of type {type(value).__name__}"
