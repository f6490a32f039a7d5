"""Running a cell: train and score it, add what is missing to a stored one, keep whatever went wrong as a row.

A result is stored as soon as it has scores. What is asked for beyond them (robustness, a file that was lost) is added
to the stored result and never takes away from it.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import traceback
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from braidbench.cell import Cell, Request, common, failure, make_cell, now, seeds
from braidbench.environment import environment, is_main_process
from braidbench.errors import DataError, NewerVersionError, StorageError
from braidbench.failures import kind_of, reason_of
from braidbench.files import sha256_file, write_bytes, write_text
from braidbench.interruption import is_ours, raise_if_received
from braidbench.recipe import resolve
from braidbench.registry import Registry, load_target, registry
from braidbench.results import FailedCurve, FailureKind, Result
from braidbench.store import RESULT, Store, lost_files, set_aside

if TYPE_CHECKING:
    import torch

    from braidbench.data import Split
    from braidbench.determinism import Determinism
    from braidbench.evaluation.robustness import Robust
    from braidbench.specs import Corruption

CHECKPOINT = "checkpoint.pt"
WEIGHTS = "model.safetensors"
PREDICTIONS = "predictions.parquet"
HISTORY = "history.json"

Stage = tuple[str, str]
"""What is being measured: a corruption and a modality."""


Progress = Callable[[int, int, float], None]
"""Told of an epoch, of how many there are, and of the validation score after it."""
Measuring = Callable[[str, str], None]
"""Told of a corruption and a modality before the curve is measured."""


def _silent(*_: Any) -> None:
    pass


def execute(
    request: Request, progress: Progress = _silent, wait: bool = True, measuring: Measuring = _silent
) -> Result | None:
    """The cell's result: the stored one if it is there and ok, with what is missing added, or one that is made now.

    Whatever goes wrong inside the cell becomes a ``failed`` result, or a failed curve of an ok one. StorageError,
    NewerVersionError and KeyboardInterrupt go through: the disk or the user has to act first. None if another process
    holds the cell and ``wait`` is False.
    """
    # A component may change the working folder; the cell's own place, and that of the next one, stay what they are.
    here = os.getcwd()
    try:
        return _executed(replace(request, results=request.results.absolute()), progress, wait, measuring)
    finally:
        os.chdir(here)


def _executed(request: Request, progress: Progress, wait: bool, measuring: Measuring) -> Result | None:
    found = registry()
    cell = make_cell(request, resolve(found, request.dataset, request.row, request.overrides))
    if request.planned is not None and cell.id != request.planned:
        return _changed(cell)
    store = Store(request.results)
    with store.lock(cell.id, wait) if is_main_process() else contextlib.nullcontext(True) as held:
        if not held:
            return None
        stored = _stored(store, cell)
        with _log(cell.folder / "log.txt"):
            if stored is None or stored.status != "ok":
                result = _keep(cell, _attempt(found, cell, progress))
            else:
                result = _with_its_files(found, cell, stored, progress, measuring)
            wanted = request.robustness and result.status == "ok" and is_main_process()
            if wanted and not robustness_current(found, cell, result):
                result = _with_robustness(found, cell, result, progress, measuring)
        return result


def _stored(store: Store, cell: Cell) -> Result | None:
    """The stored result; one that is not whole is put aside, so that the cell is made again."""
    try:
        return store.load(cell.folder)
    except NewerVersionError:
        raise
    except DataError:
        set_aside(cell.folder / RESULT)
        return None


def _changed(cell: Cell) -> Result:
    """A row that says that the cell is another one than was planned. It is not stored: nothing of it has run."""
    reason = (
        f"what decides its result changed after it was planned (now {cell.id[:12]}, planned "
        f"{str(cell.request.planned)[:12]}); give the same command again"
    )
    return failure(cell, now(), "plugin", reason, "")


# --- training and scoring ---------------------------------------------------------------------------------------------


def _attempt(found: Registry, cell: Cell, progress: Progress) -> Result:
    """The cell's result without robustness, trained now; a failed one if anything goes wrong."""
    from braidbench.determinism import deterministically

    started = now()
    try:
        return deterministically(lambda record: _run(found, cell, started, progress, record), cell.request.threads)
    except StorageError:
        raise
    except BaseException as error:
        # A cell's failure is a row of the table, whatever a plugin raised.
        if is_ours(error):
            raise
        return failure(cell, started, kind_of(error), reason_of(error), traceback.format_exc())


def _run(found: Registry, cell: Cell, started: str, progress: Progress, record: Determinism) -> Result:
    import torch

    from braidbench.assembly import build, preprocessing
    from braidbench.budget import Meter, Metered, budget_deviation, epochs_spent
    from braidbench.data import TrainingData, open_split
    from braidbench.determinism import recorded_variables
    from braidbench.evaluation.complexity import PeakMemory, count_flops, count_parameters, inference_seconds
    from braidbench.evaluation.scores import score, scorer
    from braidbench.precision import check_device, computing_in
    from braidbench.results import Cost
    from braidbench.sealing import test_split_sealed
    from braidbench.training import Settings, make_accelerator, predict

    recipe, request = cell.recipe, cell.request
    axes = seeds(request.seed)
    accelerator = make_accelerator(request.device)
    device = accelerator.device
    check_device(request.precision, device)
    names = tuple(m.name for m in recipe.modalities)
    before = preprocessing(recipe)
    batch_size = 4 * recipe.training.batch_size
    primary = next(iter(recipe.metrics.values()))
    memory = PeakMemory(device)
    torch.manual_seed(axes["init"])
    model, objective = build(recipe)
    prepared = cell.prepared
    # Nobody but the harness opens the test split, and not before selection is over; it is then read once.
    with test_split_sealed(f"method {recipe.row!r}"), computing_in(request.precision, device):
        train, valid = (before(open_split(prepared, name, recipe.task, names)) for name in ("train", "valid"))
        procedure = load_target(recipe.procedure.spec)(**recipe.procedure.parameters)
        meter = Meter()
        settings = Settings(
            training=recipe.training,
            task=recipe.task,
            objective=objective,
            score=scorer(primary),
            sign=primary.sign,
            seeds=axes,
            accelerator=accelerator,
            checkpoint=cell.folder / CHECKPOINT,
            progress=progress,
            meter=meter,
        )
        data = TrainingData(Metered(train, meter), valid, recipe.task, prepared.meta["statistics"])
        with meter.watching():
            model = procedure.fit(model, data, settings)
        seconds = meter.seconds
    peak = memory.host(), memory.on_device()
    history = settings.history
    spent = epochs_spent(meter, len(train), len(history.epochs), accelerator.num_processes)
    notes = [budget_deviation(spent, recipe.training.epochs, recipe.training.patience)]
    if history.epochs and not history.defined:
        notes.append(
            f"the validation score ({next(iter(recipe.metrics))}) was undefined in every epoch: "
            "the epoch was chosen by the validation loss"
        )

    with computing_in(request.precision, device):
        raw = open_split(prepared, "test", recipe.task, names)
        test = before(raw)
        prediction, target = predict(model, test, recipe.task, batch_size)
        scored = score(recipe.metrics, prediction, target)
        valid_scores = score(recipe.metrics, *predict(model, valid, recipe.task, batch_size)).values
        inference, size = inference_seconds(model, test, recipe.training.batch_size)
        flops = count_flops(model, test)
    trained, total = count_parameters(model)
    cost = Cost(
        parameters_trained=trained,
        parameters_total=total,
        flops_per_sample=flops,
        train_seconds=seconds,
        epochs=spent,
        inference_seconds_per_sample=inference,
        inference_batch_size=size,
        peak_host_bytes=peak[0],
        peak_device_bytes=peak[1],
    )
    files = (
        _write_files(cell, model, predictions_parquet(prediction, target, raw.ids), history)
        if is_main_process()
        else {}
    )
    fields = common(cell, started)
    fields["deviations"] += [note for note in notes if note]
    accelerator.free_memory()
    return Result(
        **fields,
        status="ok",
        scores=scored.values,
        undefined=scored.undefined,
        valid_scores=valid_scores,
        cost=cost,
        environment=environment(request.threads, str(device), request.precision, record.kernels, recorded_variables()),
        files=files,
        best_epoch=history.best if history.epochs else None,
    )


def _write_files(cell: Cell, model: torch.nn.Module, predictions: bytes, history: Any) -> dict[str, str]:
    from safetensors.torch import save

    weights = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    epochs = {"epochs": history.epochs, "best": history.best, "resumed_at": history.resumed_at}
    contents = {WEIGHTS: save(weights), PREDICTIONS: predictions, HISTORY: json.dumps(epochs).encode()}
    for name, content in contents.items():
        _put(cell.folder / name, content)
    return {name: sha256_file(cell.folder / name) for name in contents}


def _put(path: Path, content: bytes) -> None:
    """Write a file of a cell; a folder that stands in its place is put aside."""
    if path.is_dir():
        set_aside(path)
    write_bytes(path, content)


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


# --- what is added to a stored cell -----------------------------------------------------------------------------------


def robustness_current(found: Registry, cell: Cell, stored: Result) -> bool:
    """Whether every curve that would be measured now is stored."""
    from braidbench.evaluation.robustness import applicable, source_of

    wanted = {(m.name, c.name, source_of(c)) for m in cell.recipe.modalities for c in applicable(found, m)}
    return wanted <= {(c.modality, c.corruption, c.source) for c in stored.robustness}


def _with_its_files(found: Registry, cell: Cell, stored: Result, progress: Progress, measuring: Measuring) -> Result:
    """The stored result, every one of its files being there again.

    Predictions are made again from the stored weights if that gives the very same file; otherwise the cell is trained
    again, and what comes of it takes the old one's place whole. If that fails, the stored result stays as it is.
    """
    missing = lost_files(cell.folder, stored)
    if not missing:
        return stored
    logging.getLogger(__name__).warning("%s: made again", ", ".join(missing))
    if missing == [PREDICTIONS] and _weights_intact(cell, stored):
        with contextlib.suppress(Exception):
            _put(cell.folder / PREDICTIONS, _predictions_again(cell))
            if sha256_file(cell.folder / PREDICTIONS) == stored.files[PREDICTIONS]:
                return stored
    return _made_again(found, cell, stored, progress, measuring)


def _made_again(found: Registry, cell: Cell, stored: Result, progress: Progress, measuring: Measuring) -> Result:
    """The cell trained again because the stored one has lost what cannot be made otherwise."""
    result = _attempt(found, cell, progress)
    if result.status != "ok":
        logging.getLogger(__name__).warning("it could not be made again (%s); its scores stay", result.reason)
        return stored
    if result.files.get(WEIGHTS) == stored.files.get(WEIGHTS):
        # The very same model: what was measured of it still holds.
        curves = {"robustness": stored.robustness, "robustness_failures": stored.robustness_failures}
        return _keep(cell, result.model_copy(update=curves))
    if stored.robustness:
        return _with_robustness(found, cell, _keep(cell, result), progress, measuring)
    return _keep(cell, result)


def _predictions_again(cell: Cell) -> bytes:
    from braidbench.assembly import preprocessing
    from braidbench.determinism import deterministically
    from braidbench.precision import computing_in
    from braidbench.training import predict

    def again(record: Determinism) -> bytes:
        model, device = _restored(cell)
        raw = _test_split(cell)
        test = preprocessing(cell.recipe)(raw)
        with computing_in(cell.request.precision, device):
            found = predict(model, test, cell.recipe.task, 4 * cell.recipe.training.batch_size)
        return predictions_parquet(*found, raw.ids)

    return deterministically(again, cell.request.threads)


def _with_robustness(found: Registry, cell: Cell, stored: Result, progress: Progress, measuring: Measuring) -> Result:
    """The stored result with curves measured on its stored weights; without those it is trained again first.

    Curves are kept as they come. One that cannot be measured is kept as failed, and the scores as they are.
    """
    from braidbench.determinism import deterministically

    if not _weights_intact(cell, stored):
        # Nothing else than the weights decides the curves; the same training gives the same weights.
        stored = _made_again(found, cell, stored, progress, measuring)
        if not _weights_intact(cell, stored):
            reason = "its weights are lost and could not be made again"
            return _keep(cell, with_failed_curves(found, cell, stored, "crash", reason))
    try:
        return deterministically(lambda record: _measured(found, cell, stored, measuring, record), cell.request.threads)
    except StorageError:
        raise
    except BaseException as error:
        if is_ours(error):
            raise
        logging.getLogger(__name__).error("%s", traceback.format_exc())
        return _keep(cell, with_failed_curves(found, cell, stored, kind_of(error), reason_of(error)))


def _measured(found: Registry, cell: Cell, stored: Result, measuring: Measuring, record: Determinism) -> Result:
    from braidbench.assembly import preprocessing
    from braidbench.evaluation.robustness import measure
    from braidbench.precision import computing_in

    model, device = _restored(cell)

    def keep(robust: Robust) -> Result:
        update: dict[str, Any] = {"robustness": robust.curves, "robustness_failures": robust.failures}
        if record.kernels and stored.environment is not None:
            kernels = list(dict.fromkeys([*stored.environment.nondeterministic, *record.kernels]))
            own = {"nondeterministic": kernels, "deterministic": False}
            update["environment"] = stored.environment.model_copy(update=own)
        return _keep(cell, stored.model_copy(update=update))

    with computing_in(cell.request.precision, device):
        robust = measure(
            found,
            model,
            _test_split(cell),
            {m.name: m for m in cell.recipe.dataset.modalities},
            cell.recipe.task,
            cell.recipe.metrics,
            seed=seeds(cell.request.seed)["corruption"],
            batch_size=4 * cell.recipe.training.batch_size,
            preprocessing=preprocessing(cell.recipe),
            known=stored.robustness,
            failed=stored.robustness_failures,
            stage=measuring,
            keep=keep,
        )
    return keep(robust)


def with_failed_curves(
    found: Registry, cell: Cell, stored: Result, kind: FailureKind, reason: str, stage: Stage | None = None
) -> Result:
    """The stored result with a failed curve for ``stage``, or for everything that is not measured yet."""
    from braidbench.evaluation.robustness import applicable, source_of

    known = {(c.corruption, c.modality, c.source) for c in stored.robustness}

    def concerned(corruption: Corruption, modality: str) -> bool:
        if stage is not None:
            return (corruption.name, modality) == stage
        return (corruption.name, modality, source_of(corruption)) not in known

    failed = {
        (corruption.name, modality.name): FailedCurve(
            corruption=corruption.name,
            modality=modality.name,
            failure=kind,
            reason=reason,
            plugin=found.find("corruptions", corruption.name).plugin.owner,
        )
        for modality in cell.recipe.modalities
        for corruption in applicable(found, modality)
        if concerned(corruption, modality.name)
    }
    others = [f for f in stored.robustness_failures if (f.corruption, f.modality) not in failed]
    return stored.model_copy(update={"robustness_failures": [*others, *failed.values()]})


def ended(cell: Cell, started: str, kind: FailureKind, reason: str, log: str, stage: Stage | None = None) -> Result:
    """What is kept of a cell whose process is gone: a stored result stays, with the curve that was being measured as a
    failed one; without one the cell is a failed row. Where somebody else runs it by now, nothing is kept."""
    failed = failure(cell, started, kind, reason, log)
    store = Store(cell.request.results)
    with store.lock(cell.id, wait=False) as held:
        if not held:
            return failed
        try:
            stored = store.load(cell.folder)
        except NewerVersionError:
            return failed
        except DataError:
            stored = None
        if stored is None or stored.status != "ok":
            return _keep(cell, failed)
        if not cell.request.robustness:
            return stored
        return _keep(cell, with_failed_curves(registry(), cell, stored, kind, reason, stage))


def _restored(cell: Cell) -> tuple[Any, torch.device]:
    """The stored model on the device that the request names, and that device."""
    import torch

    from braidbench.assembly import restore
    from braidbench.training import make_accelerator

    torch.manual_seed(seeds(cell.request.seed)["init"])
    device = make_accelerator(cell.request.device).device
    return restore(cell.recipe, cell.folder / WEIGHTS).to(device), device


def _test_split(cell: Cell) -> Split:
    from braidbench.data import open_split

    return open_split(cell.prepared, "test", cell.recipe.task, tuple(m.name for m in cell.recipe.modalities))


def _weights_intact(cell: Cell, stored: Result) -> bool:
    """Whether the stored weights are the ones that the result was computed with."""
    path = cell.folder / WEIGHTS
    return path.is_file() and sha256_file(path) == stored.files.get(path.name)


# --- keeping ----------------------------------------------------------------------------------------------------------


def _keep(cell: Cell, result: Result) -> Result:
    raise_if_received()
    if is_main_process():
        path = cell.folder / RESULT
        if path.is_dir():
            set_aside(path)
        write_text(path, result.model_dump_json(indent=1) + "\n")
        if result.status == "ok":
            stem, suffix = os.path.splitext(CHECKPOINT)
            for checkpoint in (cell.folder / CHECKPOINT, *cell.folder.glob(f"{stem}-*{suffix}")):
                if not checkpoint.is_dir():
                    checkpoint.unlink(missing_ok=True)
    return result


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
