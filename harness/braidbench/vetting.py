"""Which results count, and why the others stand apart.

A result is a document that anybody can write. What a table says of it comes from elsewhere wherever that can be: which
metrics a task has, their directions and bounds, and who proposed a method on what from the registry; which data is the
present one from the data's own fingerprint; scores from the predictions that lie beside the result, against the targets
of the prepared data. A claim that does not agree is not mended: the result stands apart with the reason.

Nothing here writes into a results folder. What was computed from predictions is remembered in the cache folder.
"""

from __future__ import annotations

import json
import math
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from braidbench.cell import PROTOCOL_VERSION, command_of, seeds
from braidbench.errors import BraidbenchError, DataError
from braidbench.evaluation.curves import SEVERITIES, relative_robustness
from braidbench.evaluation.scores import score
from braidbench.files import canonical_json, sha256_file, sha256_json, write_text
from braidbench.interruption import is_ours
from braidbench.paths import cache_root
from braidbench.predictions import LARGEST_FILE, read_predictions
from braidbench.preparation import fingerprint, locate, prepared_folder
from braidbench.registry import Registry, registry
from braidbench.results import Curve, Result, instant, is_future
from braidbench.sources import source_hash
from braidbench.specs import Corruption, Dataset, Method, Metric, Task
from braidbench.text import plain

if TYPE_CHECKING:
    from numpy.typing import NDArray

Cell = tuple[Path, Result]

PREDICTIONS = "predictions.parquet"
TOLERANCE = 1e-6
"""Relative difference up to which a stored score is the one that its predictions give."""

LARGEST_SCORE = 1e100
"""Of a metric without bounds: means and variances of such are still finite."""

OTHER_DATA = "other version of the data"
OTHER_METRICS = "scored by another version of the metrics"
OTHER_PROTOCOL = "another version of the protocol"
VERSIONS = (OTHER_DATA, OTHER_METRICS, OTHER_PROTOCOL)
"""Reasons that time brings: newer results of the same row take the place of such."""

_SPEC = re.compile(r"[a-z0-9][a-z0-9_.+-]*(/[a-z0-9][a-z0-9_.+-]*)?")
_LOCAL = re.compile(r"[A-Za-z0-9][A-Za-z0-9_+-]*")
_ROW = re.compile(r"(?P<method>[^\[\]]+)(\[(?P<modality>[^\[\]]+)\])?")
_OVERRIDE = re.compile(r"[a-z]+(\.[\w+-]+)+")


@dataclass(frozen=True)
class Vetted:
    """One result as it may be shown."""

    path: Path
    result: Result
    """With what the registry says in place of what the file says."""
    apart: str = ""
    """Why it is not ranked; empty if it may be."""
    refused: bool = False
    """Whether its numbers are not to be believed; otherwise one that stands apart was merely measured differently."""
    verified: bool = False
    """Whether its scores were computed again from its own predictions."""
    notes: tuple[str, ...] = ()

    @property
    def cell(self) -> Cell:
        return self.path, self.result


class Known:
    """What this installation and this machine know: specs by their full names, the data that is here."""

    def __init__(self, found: Registry) -> None:
        def specs(kind: str) -> dict[str, Any]:
            return {registered.spec.name: registered.spec for registered in found.all(kind)}

        self.datasets: Mapping[str, Dataset] = specs("datasets")
        self.metrics: Mapping[str, Metric] = specs("metrics")
        self.methods: Mapping[str, Method] = specs("methods")
        self.corruptions: Mapping[str, Corruption] = specs("corruptions")
        self._registry = found
        self._fingerprints: dict[str, str | None] = {}
        self._targets: dict[tuple[str, str], NDArray[Any] | None] = {}
        self._metrics: dict[str, Any] = {}
        self._identities: dict[tuple[str, ...], str] = {}

    def task(self, dataset: str, task: str) -> Task | None:
        spec = self.datasets.get(dataset)
        return next((t for t in spec.tasks if t.name == task), None) if spec else None

    def metric(self, name: str) -> Metric | None:
        """The metric that a task calls so: its full name, or a bare one while that is unique."""
        if name not in self._metrics:
            try:
                self._metrics[name] = self._registry.find("metrics", name).spec
            except BraidbenchError:
                self._metrics[name] = None
        spec: Metric | None = self._metrics[name]
        return spec

    def metric_identity(self, name: str) -> dict[str, Any] | None:
        """What a cell's identity says of the metric as it is here."""
        spec = self.metric(name)
        return (
            None if spec is None else {"name": spec.name, "version": spec.version, "source": source_hash(spec.target)}
        )

    def metric_identities(self, names: Iterable[str]) -> str:
        """The same of several metrics, as JSON."""
        key = tuple(names)
        if key not in self._identities:
            self._identities[key] = _json({name: self.metric_identity(name) for name in key})
        return self._identities[key]

    def fingerprint(self, dataset: str) -> str | None:
        """Of the data as it is on this machine; None where it is not."""
        if dataset not in self._fingerprints:
            spec, found = self.datasets.get(dataset), None
            # Whatever keeps data from being found here, results on it can be shown.
            with suppress(BraidbenchError, OSError):
                found = fingerprint(spec, locate(spec)) if spec else None
            self._fingerprints[dataset] = found
        return self._fingerprints[dataset]

    def targets(self, dataset: str, task: str) -> NDArray[Any] | None:
        """Of the test split, as a run scores against them; None where the data is not prepared."""
        if (dataset, task) not in self._targets:
            self._targets[dataset, task] = self._read_targets(dataset, task)
        return self._targets[dataset, task]

    def _read_targets(self, dataset: str, task: str) -> NDArray[Any] | None:
        digest = self.fingerprint(dataset)
        if digest is None or self.task(dataset, task) is None:
            return None
        import pyarrow as pa

        folder = prepared_folder(self.datasets[dataset], digest) / "test"
        try:
            # Reading a column through the memory map touches no other.
            tables = [
                pa.ipc.open_stream(pa.memory_map(str(path))).read_all().column(f"target:{task}")
                for path in sorted(folder.glob("*.arrow"))
            ]
            if not tables:
                return None
            parts = [chunk for column in tables for chunk in column.chunks]
            if pa.types.is_fixed_size_list(tables[0].type):
                width = tables[0].type.list_size
                return np.concatenate([part.flatten().to_numpy(zero_copy_only=False) for part in parts]).reshape(
                    -1, width
                )
            return np.concatenate([part.to_numpy(zero_copy_only=False) for part in parts])
        except (pa.ArrowException, OSError, KeyError, ValueError):
            return None


def vet(cells: Iterable[Cell], found: Registry | None = None) -> list[Vetted]:
    """Every cell with what counts of it and whether it may be ranked, in the order given."""
    known = Known(found or registry())
    memory = _Memory()
    vetted = [_vet_one(path, result, known, memory) for path, result in cells]
    memory.save()
    by_task: dict[tuple[str, str], list[int]] = defaultdict(list)
    for place, one in enumerate(vetted):
        by_task[one.result.dataset, one.result.task].append(place)
    for places in by_task.values():
        _compare_versions(vetted, places, known)
    return vetted


def vet_one(path: Path, result: Result, found: Registry | None = None) -> Vetted:
    """One cell by itself. Where the data is not here, nothing is said of its version."""
    [one] = vet([(path, result)], found)
    return one


# --- one result -------------------------------------------------------------------------------------------------------


class _Refused(Exception):
    """The result says something that is not so."""


def _vet_one(path: Path, result: Result, known: Known, memory: _Memory) -> Vetted:
    dataset = known.datasets.get(result.dataset)
    method = known.methods.get(base_method(result.method))
    task = known.task(result.dataset, result.task)
    curves, notes = _curves(result, known) if result.status == "ok" else ([], [])
    update: dict[str, Any] = {
        "directions": {name: spec.direction for name in result.scores if (spec := known.metric(name)) is not None},
        "in_domain": method is not None and result.dataset in method.proposed_on,
        "robustness": curves,
        "command": _command(result, dataset),
    }
    if task is not None:
        update["task_kind"] = task.kind if result.status != "skipped" else None
    if dataset is not None:
        update["area"] = dataset.area
    if method is not None:
        update["citation"] = method.citation
    verified = False
    apart, refused = "", False
    try:
        _check_names(result)
        _check_identity(result)
        if is_future(result.finished):
            raise _Refused(f"finished in the future ({result.finished})")
        if dataset is not None and task is None:
            raise _Refused(f"dataset {result.dataset} has no task {result.task} here")
        if result.status == "ok":
            _check_scores(result, task, known)
            verified = _check_predictions(path, result, task, known, memory)
    except _Refused as error:
        apart, refused = str(error), True
    if not apart and dataset is not None and method is not None and result.status == "ok":
        apart = _changed_training(result, dataset, method)
    return Vetted(path, result.model_copy(update=update), apart, refused, verified, tuple(notes))


def base_method(row: str) -> str:
    """``unimodal[image]`` → ``unimodal``."""
    match = _ROW.fullmatch(row)
    return match["method"] if match else row


def _declarable(result: Result) -> bool:
    row = _ROW.fullmatch(result.method)
    return bool(
        _SPEC.fullmatch(result.dataset)
        and _LOCAL.fullmatch(result.task)
        and row
        and _SPEC.fullmatch(row["method"])
        and (row["modality"] is None or _LOCAL.fullmatch(row["modality"]))
        and all(_OVERRIDE.fullmatch(key) for key in result.overrides)
    )


def _command(result: Result, dataset: Dataset | None) -> str:
    """The command that reproduces it; nothing where there can be none, or none that shows as it is."""
    if not _declarable(result):
        return ""
    text = command_of(result, dataset.tasks[0].name if dataset else None)
    return text if text == plain(text, len(text)) else ""


def _check_names(result: Result) -> None:
    if not _declarable(result):
        raise _Refused("no plugin can declare names like its dataset's, task's, method's or parameters'")


def _check_identity(result: Result) -> None:
    """The cell is the hash of the identity, and the identity is of what the result says it is of."""
    identity = result.identity
    try:
        digest = sha256_json(identity)
    except (ValueError, TypeError):
        digest = ""
    if digest != result.cell:
        raise _Refused("its cell is not the hash of its identity")
    if result.status == "skipped":
        return
    row = _ROW.fullmatch(result.method)
    assert row is not None, "its name was checked"
    dataset, method = _mapping(identity.get("dataset")), _mapping(identity.get("method"))
    told = {
        "dataset": (dataset.get("name"), result.dataset),
        "task": (dataset.get("task"), result.task),
        "method": (method.get("name"), row["method"]),
        "seed": (identity.get("seed"), result.seed),
        "seeds": (identity.get("seeds"), seeds(result.seed)),
        "precision": (identity.get("precision", "fp32"), result.precision),
    }
    if row["modality"] is not None:
        told["modality"] = (identity.get("modalities"), [row["modality"]])
    wrong = [name for name, (inside, outside) in told.items() if inside != outside]
    if wrong:
        raise _Refused(f"its identity is of another {wrong[0]}")


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _check_scores(result: Result, task: Task | None, known: Known) -> None:
    """Metrics that are the task's, and values within their bounds."""
    unknown = next((name for name in result.scores if known.metric(name) is None), None)
    if unknown is not None:
        raise _Refused(f"metric {unknown} is not known here")
    if not result.scores:
        raise _Refused("it has no scores")
    if task is not None and set(result.scores) != set(task.metrics):
        raise _Refused(f"scored by {', '.join(result.scores)} where the task has {', '.join(task.metrics)}")
    for split, scores in (("", result.scores), ("validation ", result.valid_scores)):
        for name, value in scores.items():
            metric = known.metric(name)
            if metric is not None and value is not None and not within(metric, value):
                raise _Refused(f"{split}{name} {value:.6g} lies outside of {_bounds(metric)}")


def within(metric: Metric, value: float) -> bool:
    """Whether a score can be one of this metric."""
    low, high = metric.bounds
    slack = 1e-9
    return (
        math.isfinite(value)
        and abs(value) <= LARGEST_SCORE
        and (low is None or value >= low - slack)
        and (high is None or value <= high + slack)
    )


def _bounds(metric: Metric) -> str:
    low, high = metric.bounds
    if low is None and high is None:
        return "what can be averaged"
    return f"{'−∞' if low is None else f'{low:g}'} to {'∞' if high is None else f'{high:g}'}"


def _changed_training(result: Result, dataset: Dataset, method: Method) -> str:
    """Where the budget and optimiser that its identity names are not the declared ones with the overrides it tells."""
    told = _mapping(result.identity.get("training"))
    declared = asdict(dataset.training)
    own = {**method.defaults.get("*", {}), **method.defaults.get(dataset.name, {}), **result.overrides}
    for key, value in own.items():
        part, _, name = key.partition(".")
        if part == "training":
            declared[name] = value
    changed = [name for name in declared if name in told and told[name] != declared[name]]
    changed += [name for name in declared if name not in told]
    if "epochs" in changed and "epochs" in told:
        return f"changed epochs ({plain(str(told['epochs']), 20)} where {declared['epochs']} are due)"
    return f"changed training ({', '.join(changed)})" if changed else ""


# --- curves -----------------------------------------------------------------------------------------------------------


def _curves(result: Result, known: Known) -> tuple[list[Curve], list[str]]:
    """The curves that can be shown, their summaries computed from their points, and a sentence for each of the rest."""
    kept: list[Curve] = []
    notes: dict[str, None] = {}
    seen: set[tuple[str, str, str]] = set()
    for curve in result.robustness:
        key = (curve.corruption, curve.modality, curve.metric)
        reason = "there are two of it" if key in seen else _wrong_with(curve, result, known)
        seen.add(key)
        metric = known.metric(curve.metric)
        if reason or metric is None:
            notes[f"curve of {curve.corruption} on {curve.modality} left out: {reason}"] = None
            continue
        relative = relative_robustness(curve.severities, curve.scores, metric.sign)
        kept.append(curve.model_copy(update={"relative": relative, "direction": metric.direction}))
    return kept, list(notes)


def _wrong_with(curve: Curve, result: Result, known: Known) -> str:
    metric = known.metric(curve.metric)
    if metric is None or curve.metric not in result.scores:
        return f"{curve.metric} is no metric of the result"
    dataset, corruption = known.datasets.get(result.dataset), known.corruptions.get(curve.corruption)
    if dataset is not None:
        modality = next((m for m in dataset.modalities if m.name == curve.modality), None)
        if modality is None:
            return f"{result.dataset} has no such modality"
        if corruption is None:
            return "the corruption is not known here"
        if corruption.kinds and modality.kind not in corruption.kinds:
            return f"the corruption is not for {modality.kind}"
    if not _on_the_grid(curve.severities):
        return f"its severities are not the protocol's {len(SEVERITIES)}"
    if len(curve.scores) != len(curve.severities):
        return f"{len(curve.scores)} scores for {len(curve.severities)} severities"
    wrong = next((value for value in curve.scores if value is not None and not within(metric, value)), None)
    if wrong is not None:
        return f"{curve.metric} {wrong:.6g} lies outside of {_bounds(metric)}"
    if not _equal(curve.scores[0], result.scores[curve.metric]):
        return "it does not begin at the clean score"
    if curve.seed != seeds(result.seed)["corruption"]:
        return "it was drawn from another seed"
    return ""


def _on_the_grid(severities: Sequence[float]) -> bool:
    if len(severities) != len(SEVERITIES):
        return False
    return tuple(severities) == SEVERITIES or all(
        abs(given - due) <= 1e-9 for given, due in zip(severities, SEVERITIES, strict=True)
    )


def _equal(one: float | None, other: float | None) -> bool:
    if one is None or other is None:
        return one is other
    return math.isclose(one, other, rel_tol=TOLERANCE, abs_tol=1e-9)


# --- predictions ------------------------------------------------------------------------------------------------------


def _check_predictions(path: Path, result: Result, task: Task | None, known: Known, memory: _Memory) -> bool:
    """Score the predictions that lie beside the result again. False if there are none.

    Raises _Refused where they are not the file that the result names, are of other rows or targets than the prepared
    test split, or give other scores.
    """
    file = path / PREDICTIONS
    try:
        if path.is_file() or not file.exists():
            return False
        if not file.is_file() or file.stat().st_size > LARGEST_FILE:
            raise _Refused(f"its {PREDICTIONS} is no predictions file")
        digest = sha256_file(file)
    except OSError as error:
        raise _Refused(f"its {PREDICTIONS} cannot be read ({error.strerror})") from None
    if PREDICTIONS not in result.files:
        raise _Refused(f"it does not name the {PREDICTIONS} beside it")
    if result.files[PREDICTIONS] != digest:
        raise _Refused(f"its {PREDICTIONS} is not the file that it names")
    metrics = {name: spec for name in result.scores if (spec := known.metric(name)) is not None}
    current = known.fingerprint(result.dataset)
    here = current is not None and result.identity.get("fingerprint") == current
    targets = known.targets(result.dataset, result.task) if here else None
    key = sha256_json(
        {
            "predictions": digest,
            "targets": [current, result.task] if targets is not None else None,
            "width": task.width if task else None,
            "metrics": {name: known.metric_identity(name) for name in metrics},
        }
    )
    again = memory.get(key)
    if again is None:
        again = memory.keep(key, _score_again(file, metrics, targets, task))
    if again.problem:
        raise _Refused(again.problem)
    for name, value in result.scores.items():
        if name in again.scores and not _equal(value, again.scores[name]):
            found = again.scores[name]
            shown = "undefined" if found is None else f"{found:.6g}"
            claimed = "undefined" if value is None else f"{value:.6g}"
            raise _Refused(f"{name} {claimed} where its predictions give {shown}")
    return True


@dataclass(frozen=True)
class _Again:
    """What predictions give: scores, or why they cannot be scored."""

    scores: Mapping[str, float | None]
    problem: str = ""


def _score_again(file: Path, metrics: Mapping[str, Metric], targets: NDArray[Any] | None, task: Task | None) -> _Again:
    try:
        read = read_predictions(file)
    except DataError:
        return _Again({}, f"its {PREDICTIONS} is no predictions file")
    if not np.array_equal(read.index, np.arange(len(read.index))):
        return _Again({}, "other split: its predictions are not of every row of a test split")
    if task is not None and read.prediction.shape[1:] != (task.width,):
        return _Again({}, f"it predicts {read.prediction.shape[1]} numbers a row where the task has {task.width}")
    if targets is not None and not (read.target.shape == targets.shape and np.array_equal(read.target, targets)):
        return _Again({}, "other split: its predictions are for other targets than the test split's")
    scores: dict[str, float | None] = {}
    for name, metric in metrics.items():
        try:
            scores |= score({name: metric}, read.prediction, read.target if targets is None else targets).values
        except DataError:
            return _Again({}, "its predictions are not finite")
        except BraidbenchError:
            continue  # A package that the metric needs is not here: the claim stands as it is.
        except BaseException as error:
            # A metric is a plugin's, and the predictions are anybody's.
            if is_ours(error):
                raise
            return _Again({}, f"its predictions cannot be scored by {name} ({type(error).__name__})")
    return _Again(scores)


class _Memory:
    """Scores of predictions that were computed before, in the cache folder, by the hashes of all that decides them."""

    MOST = 50_000

    def __init__(self) -> None:
        root = cache_root()
        self._path = None if root is None else Path(root) / "scored.json"
        self._changed = False

    @cached_property
    def _entries(self) -> dict[str, Any]:
        if self._path is None:
            return {}
        try:
            found = json.loads(self._path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            return {}
        return found if isinstance(found, dict) else {}

    def get(self, key: str) -> _Again | None:
        entry: Any = self._entries.get(key)
        try:
            scores = {str(n): None if v is None else float(v) for n, v in entry["scores"].items()}
            return _Again(scores, str(entry["problem"]))
        except (TypeError, KeyError, AttributeError, ValueError, OverflowError):
            return None

    def keep(self, key: str, found: _Again) -> _Again:
        self._entries[key] = {"scores": dict(found.scores), "problem": found.problem}
        self._changed = True
        return found

    def save(self) -> None:
        """Write what is new. A cache that cannot be written is none, and no error."""
        if self._changed and self._path is not None:
            kept = dict(list(self._entries.items())[-self.MOST :])
            with suppress(BraidbenchError, OSError):
                write_text(self._path, json.dumps(kept))


# --- results beside one another ---------------------------------------------------------------------------------------


def _compare_versions(vetted: list[Vetted], places: Sequence[int], known: Known) -> None:
    """Set apart what was measured on other data, or scored by another code, than what decides on this task."""
    first = vetted[places[0]].result
    current = known.fingerprint(first.dataset)
    kept = [p for p in places if not vetted[p].apart and vetted[p].result.status != "skipped"]
    of_data = {p: _json(vetted[p].result.identity.get("fingerprint")) for p in kept}
    if current is not None:
        decides, why = _json(current), OTHER_DATA
    else:
        decides = _most(vetted, of_data)
        why = f"{OTHER_DATA} than most methods have; the data is not here, so most decide"
    for p, value in of_data.items():
        if value != decides:
            vetted[p] = replace(vetted[p], apart=why)
    kept = [p for p in kept if not vetted[p].apart]
    metrics: dict[int, str] = {}
    for p in kept:
        if vetted[p].result.status == "ok":
            here = known.metric_identities(vetted[p].result.scores)
            # Scores that the metrics here give are theirs, whatever version gave them first.
            metrics[p] = here if vetted[p].verified else _json(vetted[p].result.identity.get("metrics"))
    present = {known.metric_identities(vetted[p].result.scores) for p in metrics}
    _keep_one(vetted, metrics, present, OTHER_METRICS)
    protocol = {p: _json(vetted[p].result.identity.get("protocol_version")) for p in kept if not vetted[p].apart}
    _keep_one(vetted, protocol, {_json(PROTOCOL_VERSION)}, OTHER_PROTOCOL)


def _keep_one(vetted: list[Vetted], told: Mapping[int, str], present: set[str], reason: str) -> None:
    """Set apart the results that tell another value than the present one, or than most if none tells that."""
    decides = _most(vetted, {p: value for p, value in told.items() if value in present} or told)
    for p, value in told.items():
        if value != decides:
            vetted[p] = replace(vetted[p], apart=reason)


def _most(vetted: Sequence[Vetted], values: Mapping[int, str]) -> str:
    """The value that most methods have; of equals that which more verified results have, then the newest."""
    methods: dict[str, set[str]] = defaultdict(set)
    verified: dict[str, int] = defaultdict(int)
    newest: dict[str, datetime] = {}
    for place, value in values.items():
        one = vetted[place]
        if one.result.status != "ok":
            continue
        methods[value].add(base_method(one.result.method))
        verified[value] += one.verified
        finished = instant(one.result.finished)
        newest[value] = max(newest.get(value, finished), finished)
    if not methods:
        return min(values.values(), default="")
    return max(methods, key=lambda value: (len(methods[value]), verified[value], newest[value], value))


def _json(value: Any) -> str:
    try:
        return canonical_json(value)
    except (ValueError, TypeError):
        return "?"
