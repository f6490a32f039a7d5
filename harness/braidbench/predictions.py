"""What a cell predicted for each row of the test split, read from a file that may be anybody's.

The file is the Parquet table that a run writes: ``index`` (row of the split), ``prediction`` (a list of numbers),
``target`` (an integer, or a list of numbers) and, where the dataset names its samples, ``id`` (a string). Sizes are
checked before anything is unpacked, because a file of some kilobytes can hold a column of billions.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from braidbench.errors import DataError

LARGEST_FILE = 2 << 30
"""Bytes."""

MOST_NUMBERS = 100_000_000
"""In one column: 100,000 rows of 1,000 classes."""


@dataclass(frozen=True)
class Predictions:
    """One cell's predictions, by row of the split."""

    index: NDArray[np.int64]
    """(N,) rows of the split, rising."""
    prediction: NDArray[Any]
    """(N, width)"""
    target: NDArray[Any]
    """(N,) integers of a classification; otherwise (N, width)."""
    ids: NDArray[Any] | None = None
    """(N,) the samples' names, all different; None where the file has none, or they were not asked for."""


def read_predictions(path: Path, ids: bool = False) -> Predictions:
    """The predictions of a cell, with the samples' names if ``ids`` asks for them.

    Raises DataError for a file that is damaged, of another form, or too large to be one.

    Values are as they are stored: whether they are finite, and of the right rows, is the reader's to ask.
    """
    try:
        return _read(path, ids)
    except (Exception, MemoryError) as error:
        # Arrow reports a damaged file in many ways; what the user needs is the file's name and the remedy.
        said = " ".join(str(error).split())[:200]
        raise DataError(f"{path}: not a predictions file ({said}); run its cell again") from None


def _read(path: Path, ids: bool) -> Predictions:
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not path.is_file() or path.stat().st_size > LARGEST_FILE:
        raise ValueError(f"no file of at most {LARGEST_FILE:,} bytes")
    with pq.ParquetFile(path) as file:
        _check_size(file.metadata)
        schema = file.schema_arrow
        for name, lists in (("index", False), ("prediction", True), ("target", None)):
            kind = schema.field(name).type
            inner = kind.value_type if pa.types.is_list(kind) or pa.types.is_large_list(kind) else kind
            if lists is not None and lists == (inner is kind):
                raise ValueError(f"column {name!r} has type {kind}")
            if not (pa.types.is_integer(inner) or pa.types.is_floating(inner)):
                raise ValueError(f"column {name!r} has type {kind}")
        table = file.read(["index", "prediction", "target"])
        names = _names(file) if ids and "id" in schema.names else None
    index, prediction, target = (_array(table.column(name)) for name in ("index", "prediction", "target"))
    if index.dtype.kind not in "iu" or len(np.unique(index)) != len(index):
        raise ValueError("its index is no list of different rows")
    order = np.argsort(index, kind="stable")
    sorted_names = None if names is None else names[order]
    return Predictions(index[order].astype(np.int64), prediction[order], target[order], sorted_names)


def _names(file: Any) -> NDArray[Any]:
    """(N,) strings of the column ``id``."""
    import pyarrow as pa

    kind = file.schema_arrow.field("id").type
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        raise ValueError(f"column 'id' has type {kind}")
    found: list[NDArray[Any]] = []
    size = 0
    # A page of some bytes can repeat one long name a billion times: bounded while it is read, not after.
    for batch in file.iter_batches(batch_size=1 << 12, columns=["id"]):
        column = batch.column(0)
        size += column.nbytes
        if size > LARGEST_FILE:
            raise ValueError(f"names of more than {LARGEST_FILE:,} bytes")
        if column.null_count:
            raise ValueError("a name is missing")
        found.append(column.to_numpy(zero_copy_only=False))
    names = np.concatenate(found) if found else np.empty(0, object)
    if len(set(names.tolist())) != len(names):
        raise ValueError("its ids are no list of different names")
    return names


def _check_size(metadata: Any) -> None:
    if metadata.num_rows > MOST_NUMBERS or metadata.num_columns > 100:
        raise ValueError(f"{metadata.num_rows:,} rows and {metadata.num_columns} columns")
    if metadata.num_row_groups > 100_000:
        raise ValueError(f"{metadata.num_row_groups:,} groups of rows")
    numbers: dict[str, int] = {}
    for group in range(metadata.num_row_groups):
        for place in range(metadata.num_columns):
            column = metadata.row_group(group).column(place)
            numbers[column.path_in_schema] = numbers.get(column.path_in_schema, 0) + column.num_values
    for name, count in numbers.items():
        if count > MOST_NUMBERS:
            raise ValueError(f"{count:,} numbers in {name!r}")


def _array(column: Any) -> NDArray[Any]:
    """(N,) numbers, or (N, width) of lists that are of one length."""
    import pyarrow as pa

    column = column.combine_chunks()
    if isinstance(column, pa.ChunkedArray):
        column = pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
    if column.null_count:
        raise ValueError("a value is missing")
    if not (pa.types.is_list(column.type) or pa.types.is_large_list(column.type)):
        return np.asarray(column.to_numpy(zero_copy_only=False))
    lengths = np.unique(np.diff(column.offsets.to_numpy()))
    if len(column) == 0 or len(lengths) != 1:
        raise ValueError(f"rows with {', '.join(map(str, lengths[:5]))} numbers" if len(column) else "no rows")
    values = column.flatten()
    if values.null_count:
        raise ValueError("a value is missing")
    return np.asarray(values.to_numpy(zero_copy_only=False)).reshape(len(column), -1)
