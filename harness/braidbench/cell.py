"""One cell: its identity before it runs, and running it.

A cell is one dataset's task, one row (a method, or a method on one modality), its overrides and one seed. Its identity
is a sha256 over names, declared versions, source hashes, parameters, the data's fingerprint and the seeds; never over
the device, the number of workers, the order of arguments, the host or the time.
"""

from __future__ import annotations

import contextlib
import inspect
import json
import logging
import shlex
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from braidbench.environment import environment, is_main_process
from braidbench.errors import BraidbenchError, DataError, StorageError, UsageError
from braidbench.files import sha256_file, sha256_json, write_bytes, write_text
from braidbench.preparation import Prepared, prepare
from braidbench.recipe import Recipe
from braidbench.registry import Registry, load_target, registry
from braidbench.results import FailureKind, Result
from braidbench.store import RESULT, Store

if TYPE_CHECKING:
    from braidbench.data import Split

IDENTITY_VERSION = 1
PROTOCOL_VERSION = 1
"""Raised when the core's own loop, seeding or scoring changes what a cell's result is."""

SEED_AXES = ("data", "init", "order", "corruption")

LOG_LINES = 20
CHECKPOINT = "checkpoint.pt"
WEIGHTS = "model.safetensors"


@dataclass(frozen=True)
class Request:
    """What to run and how, as names and plain values: it travels between processes."""

    dataset: str
    row: str
    seed: int
    overrides: Mapping[str, Any] = field(default_factory=dict)
    results: Path = Path("results")
    device: str = "auto"
    threads: int = 1
    robustness: bool = False
    timeout: float | None = None
    """Seconds; only an executor with a process a cell can keep it."""


@dataclass(frozen=True)
class Cell:
    """A resolved request: the recipe, the prepared data and the identity that follows from them."""

    request: Request
    recipe: Recipe
    prepared: Prepared
    identity: Mapping[str, Any]

    @property
    def id(self) -> str:
        return sha256_json(self.identity)

    @property
    def folder(self) -> Path:
        r = self.recipe
        return Store(self.request.results).folder(r.dataset.name, r.task.name, r.row, self.request.seed, self.id)

    @property
    def name(self) -> str:
        return f"{self.recipe.dataset.name} {self.recipe.row} seed {self.request.seed}"


def seeds(seed: int) -> dict[str, int]:
    """One seed an axis, each a hash of the cell's seed and the axis's name: changing one leaves the others."""
    import hashlib

    return {
        axis: int.from_bytes(hashlib.sha256(f"{axis}:{seed}".encode()).digest()[:8], "big") >> 1 for axis in SEED_AXES
    }


def make_cell(request: Request, recipe: Recipe) -> Cell:
    """The cell of a request. Prepares the dataset if it is not; raises DataError when that cannot be."""
    prepared = prepare(recipe.dataset)
    identity = {
        "identity_version": IDENTITY_VERSION,
        "protocol_version": PROTOCOL_VERSION,
        **recipe.identity(),
        "fingerprint": prepared.fingerprint,
        "seed": request.seed,
        "seeds": seeds(request.seed),
    }
    return Cell(request, recipe, prepared, identity)


# --- running ----------------------------------------------------------------------------------------------------------


def execute(
    request: Request, progress: Callable[[int, int, float], None] | None = None, wait: bool = True
) -> Result | None:
    """The cell's result: the stored one if it is there and ok, or one that is made and stored now.

    Whatever goes wrong inside the cell becomes a ``failed`` result. StorageError and KeyboardInterrupt go through: the
    disk or the user has to act first. None if another process holds the cell and ``wait`` is False.
    """
    from braidbench.recipe import resolve

    found = registry()
    cell = make_cell(request, resolve(found, request.dataset, request.row, request.overrides))
    store = Store(request.results)
    with store.lock(cell.id, wait) if is_main_process() else contextlib.nullcontext(True) as held:
        if not held:
            return None
        stored = store.load(cell.folder)
        if stored is not None and stored.status == "ok":
            if not request.robustness or robustness_current(found, cell, stored):
                return stored
            if _weights_intact(cell, stored):
                return _keep(cell, add_robustness(found, cell, stored))
            # Without its weights the cell has to be trained again; that gives the very same scores.
        started = _now()
        try:
            with _log(cell.folder / "log.txt"):
                result = _run(found, cell, started, progress)
        except StorageError:
            raise
        except Exception as error:
            # A cell's failure is a row of the table, whatever a plugin raised.
            result = failure(cell, started, kind_of(error), _reason(error), traceback.format_exc())
        return _keep(cell, result)


def _run(found: Registry, cell: Cell, started: str, progress: Callable[[int, int, float], None] | None) -> Result:
    import torch

    from braidbench.data import TrainingData, open_split
    from braidbench.evaluation.complexity import PeakMemory, count_flops, count_parameters, inference_seconds
    from braidbench.evaluation.scores import score
    from braidbench.results import Cost
    from braidbench.training import Settings, make_accelerator, predict

    recipe, request = cell.recipe, cell.request
    axes = seeds(request.seed)
    _make_deterministic(request.threads)
    accelerator = make_accelerator(request.device)
    names = tuple(m.name for m in recipe.modalities)
    before = preprocessing(recipe)
    splits = {name: before(open_split(cell.prepared, name, recipe.task, names)) for name in ("train", "valid")}
    primary = next(iter(recipe.metrics.values()))
    primary_score = load_target(primary)
    memory = PeakMemory(accelerator.device)
    torch.manual_seed(axes["init"])
    model, objective = build(recipe)
    procedure = load_target(recipe.procedure.spec)(**recipe.procedure.parameters)
    settings = Settings(
        training=recipe.training,
        task=recipe.task,
        objective=objective,
        score=lambda prediction, target: float(primary_score(prediction, target)),
        sign=primary.sign,
        seeds=axes,
        accelerator=accelerator,
        checkpoint=cell.folder / CHECKPOINT,
        progress=progress or (lambda epoch, epochs, value: None),
    )
    data = TrainingData(splits["train"], splits["valid"], recipe.task, cell.prepared.meta["statistics"])
    model = procedure.fit(model, data, settings)
    peak = memory.host(), memory.on_device()

    # The test split is opened here, after selection, and read once.
    raw = open_split(cell.prepared, "test", recipe.task, names)
    test = before(raw)
    batch_size = 4 * recipe.training.batch_size
    prediction, target = predict(model, test, recipe.task, batch_size)
    scores = score(recipe.metrics, prediction, target)
    valid_scores = score(recipe.metrics, *predict(model, data.valid, recipe.task, batch_size))
    trained, total = count_parameters(model)
    seconds, size = inference_seconds(model, test, recipe.training.batch_size)
    cost = Cost(
        parameters_trained=trained,
        parameters_total=total,
        flops_per_sample=count_flops(model, test),
        train_seconds=settings.history.seconds,
        epochs=len(settings.history.epochs),
        inference_seconds_per_sample=seconds,
        inference_batch_size=size,
        peak_host_bytes=peak[0],
        peak_device_bytes=peak[1],
    )
    files = _write_files(cell, model, prediction, target, settings.history, raw.ids) if is_main_process() else {}
    result = Result(
        **_common(cell, started),
        status="ok",
        scores=scores,
        valid_scores=valid_scores,
        cost=cost,
        environment=environment(request.threads, str(accelerator.device), accelerator.mixed_precision),
        files=files,
        best_epoch=settings.history.best,
    )
    accelerator.free_memory()
    if request.robustness:
        result = result.model_copy(update={"robustness": _curves(found, cell, model, raw)})
    return result


def preprocessing(recipe: Recipe) -> Callable[[Split], Split]:
    """What turns a split as it was prepared into one that the recipe's model reads."""
    chosen = recipe.preprocessing
    if chosen is None:
        return lambda split: split
    function: Callable[[Split], Split] = load_target(chosen.spec)(**chosen.parameters)
    return function


def build(recipe: Recipe) -> tuple[Any, Any]:
    """The untrained model and its objective, drawn from torch's global generator in a fixed order."""
    from torch import nn

    from braidbench.model import Head, out_dim

    takes = recipe.fusion.spec.takes
    encoders: dict[str, Any] = {}
    for modality in recipe.modalities:
        chosen = recipe.encoders[modality.name]
        target = load_target(chosen.spec)
        parameters = dict(chosen.parameters)
        accepted = inspect.signature(target).parameters
        if "out_dim" in accepted and accepted["out_dim"].default is inspect.Parameter.empty:
            parameters.setdefault("out_dim", 64)
        if takes == "sequences" and modality.is_sequence and "vector" in chosen.spec.gives:
            parameters["form"] = "sequence"
        encoders[modality.name] = target(modality, **parameters)
    widths = [out_dim(encoder, f"encoder {recipe.encoders[name].spec.name!r}") for name, encoder in encoders.items()]
    fusion = load_target(recipe.fusion.spec)(widths, **recipe.fusion.parameters)
    width = out_dim(fusion, f"fusion {recipe.fusion.spec.name!r}")
    head = Head(width, recipe.task.width, **recipe.head)
    target = load_target(recipe.method)
    own = dict(recipe.model)
    if "modalities" in inspect.signature(target).parameters:
        own["modalities"] = recipe.modalities
    model = target(encoders, fusion, head, recipe.task, takes, **own)
    objective = load_target(recipe.objective.spec)(**recipe.objective.parameters)
    if hasattr(objective, "bind"):
        objective.bind(model, recipe.modalities, recipe.task)
    if isinstance(objective, nn.Module):
        # Its parameters are then trained, saved and counted with the model's.
        model.objective = objective
    return model, objective


def _write_files(cell: Cell, model: Any, prediction: Any, target: Any, history: Any, ids: Any = None) -> dict[str, str]:
    from safetensors.torch import save

    weights = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    write_bytes(cell.folder / WEIGHTS, save(weights))
    write_bytes(cell.folder / "predictions.parquet", predictions_parquet(prediction, target, ids))
    write_text(
        cell.folder / "history.json",
        json.dumps({"epochs": history.epochs, "best": history.best, "resumed_at": history.resumed_at}),
    )
    names = (WEIGHTS, "predictions.parquet", "history.json")
    return {name: sha256_file(cell.folder / name) for name in names}


def predictions_parquet(prediction: Any, target: Any, ids: tuple[str, ...] | None = None) -> bytes:
    """Columns index (row of the test split), prediction (list of float32), target (integer, or list of float32), and id
    where the dataset names its samples."""
    import io

    import pyarrow as pa
    import pyarrow.parquet as pq

    integers = target.ndim == 1 and target.dtype.kind == "i"
    table = pa.table(
        {
            "index": pa.array(range(len(target)), pa.int64()),
            **({} if ids is None else {"id": pa.array(ids, pa.string())}),
            "prediction": pa.array(list(prediction), pa.list_(pa.float32())),
            "target": pa.array(target) if integers else pa.array(list(target), pa.list_(pa.float32())),
        }
    )
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    return buffer.getvalue()


# --- robustness on a trained cell -------------------------------------------------------------------------------------


def _curves(found: Registry, cell: Cell, model: Any, test: Split) -> list[Any]:
    from braidbench.evaluation.robustness import curves

    return curves(
        found,
        model,
        test,
        {m.name: m for m in cell.recipe.dataset.modalities},
        cell.recipe.task,
        cell.recipe.metrics,
        seed=seeds(cell.request.seed)["corruption"],
        batch_size=4 * cell.recipe.training.batch_size,
        preprocessing=preprocessing(cell.recipe),
    )


def add_robustness(found: Registry, cell: Cell, stored: Result) -> Result:
    """The stored result with curves measured on its stored weights; nothing is trained again."""
    from braidbench.data import open_split
    from braidbench.training import make_accelerator

    model = restore(cell, cell.folder / WEIGHTS)
    model.to(make_accelerator(cell.request.device).device)
    names = tuple(m.name for m in cell.recipe.modalities)
    test = open_split(cell.prepared, "test", cell.recipe.task, names)
    return stored.model_copy(update={"robustness": _curves(found, cell, model, test)})


def restore(cell: Cell, path: Path) -> Any:
    """The cell's model with the weights that ``path`` holds. Nothing in that file is executed."""
    import torch
    from safetensors.torch import load_file

    _make_deterministic(cell.request.threads)
    torch.manual_seed(seeds(cell.request.seed)["init"])
    model, _ = build(cell.recipe)
    model.load_state_dict(load_file(path))
    return model


def _weights_intact(cell: Cell, stored: Result) -> bool:
    """Whether the stored weights are the ones that the result was computed with."""
    path = cell.folder / WEIGHTS
    return path.is_file() and sha256_file(path) == stored.files.get(path.name)


def robustness_current(found: Registry, cell: Cell, stored: Result) -> bool:
    """Whether the stored curves are those that would be measured now."""
    from braidbench.evaluation.robustness import applicable
    from braidbench.sources import source_hash

    wanted = {
        (m.name, c.name, f"{c.version}-{source_hash(c.target)}")
        for m in cell.recipe.modalities
        for c in applicable(found, m)
    }
    return wanted == {(c.modality, c.corruption, c.source) for c in stored.robustness}


# --- the result around the scores -------------------------------------------------------------------------------------


def _common(cell: Cell, started: str) -> dict[str, Any]:
    recipe = cell.recipe
    return {
        "cell": cell.id,
        "dataset": recipe.dataset.name,
        "task": recipe.task.name,
        "task_kind": recipe.task.kind,
        "method": recipe.row,
        "seed": cell.request.seed,
        "overrides": dict(recipe.overrides),
        "deviations": [*recipe.deviations, *cell.prepared.deviations],
        "directions": {name: metric.direction for name, metric in recipe.metrics.items()},
        "identity": dict(cell.identity),
        "command": command(recipe, cell.request),
        "started": started,
        "finished": _now(),
        "area": recipe.dataset.area,
        "modalities": [m.name for m in recipe.modalities],
        "in_domain": recipe.dataset.name in recipe.method.proposed_on,
        "citation": recipe.method.citation,
    }


def command(recipe: Recipe, request: Request) -> str:
    """The command that reproduces a cell."""
    dataset = recipe.dataset.name
    if recipe.task != recipe.dataset.tasks[0]:
        dataset += f"/{recipe.task.name}"
    parts = ["braidbench", "run", dataset, recipe.row, "--seed", str(request.seed)]
    for key, value in recipe.overrides.items():
        parts += ["--set", f"{key}={value if isinstance(value, str) else json.dumps(value)}"]
    if request.robustness:
        parts.append("--robustness")
    return shlex.join(parts)


def failure(cell: Cell, started: str, kind: FailureKind, reason: str, log: str) -> Result:
    """A failed cell as a row, with the end of its log."""
    fields = _common(cell, started)
    return Result(
        **fields,
        status="failed",
        failure=kind,
        reason=reason,
        log_tail=log.strip().splitlines()[-LOG_LINES:],
        environment=environment(cell.request.threads, cell.request.device, "no"),
    )


def kind_of(error: Exception) -> FailureKind:
    """The kind of failure that an exception means."""
    from braidbench.training import NonFiniteLossError

    name, text = type(error).__name__, str(error).lower()
    if isinstance(error, MemoryError) or name == "OutOfMemoryError" or "can't allocate memory" in text:
        return "oom"
    if isinstance(error, NonFiniteLossError) or "not finite" in text:
        return "nan"
    return "data" if isinstance(error, DataError) else "plugin"


def _reason(error: Exception) -> str:
    text = (str(error).strip().splitlines() or ["no message"])[0]
    return text if isinstance(error, BraidbenchError) else f"{type(error).__name__}: {text}"


def _keep(cell: Cell, result: Result) -> Result:
    if is_main_process():
        write_text(cell.folder / RESULT, result.model_dump_json(indent=1) + "\n")
        if result.status == "ok":
            for path in cell.folder.glob(f"{Path(CHECKPOINT).stem}*"):
                path.unlink(missing_ok=True)
    return result


def _make_deterministic(threads: int) -> None:
    import os

    import torch

    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.backends.cudnn.benchmark = False


@contextlib.contextmanager
def _log(path: Path) -> Iterator[None]:
    """Log records and warnings of the block go to the cell's own log."""
    from braidbench.files import storage

    with storage(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handler = logging.FileHandler(path)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger()
    root.addHandler(handler)
    logging.captureWarnings(True)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("default")
            yield
    finally:
        logging.captureWarnings(False)
        root.removeHandler(handler)
        handler.close()


def _now() -> str:
    return datetime.fromtimestamp(time.time(), UTC).isoformat(timespec="seconds")


def differences(stored: Mapping[str, Any], current: Mapping[str, Any], at: str = "") -> list[str]:
    """Where two identities differ, one line each: ``fusion.source: a1b2 -> c9d4``."""
    lines: list[str] = []
    for key in sorted({*stored, *current}):
        old, new = stored.get(key), current.get(key)
        place = f"{at}.{key}" if at else str(key)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            lines += differences(old, new, place)
        elif old != new:
            lines.append(f"{place}: {json.dumps(old)} -> {json.dumps(new)}")
    return lines


def skipped(request: Request, dataset: str, task: str, reason: str) -> Result:
    """A cell that was not run, as a row. It has no data, so its identity is the request's."""
    identity = {
        "dataset": dataset,
        "task": task,
        "method": request.row,
        "seed": request.seed,
        "overrides": dict(request.overrides),
        "skipped": reason,
    }
    now = _now()
    return Result(
        cell=sha256_json(identity),
        dataset=dataset,
        task=task,
        method=request.row,
        seed=request.seed,
        status="skipped",
        reason=reason,
        overrides=dict(request.overrides),
        identity=identity,
        command=shlex.join(["braidbench", "run", f"{dataset}/{task}", request.row, "--seed", str(request.seed)]),
        started=now,
        finished=now,
    )


def check_seed(seed: int) -> int:
    """A seed that every generator takes."""
    if not 0 <= seed < 1 << 32:
        raise UsageError(f"--seed {seed}: a seed is between 0 and 4294967295")
    return seed
