"""Checks of objectives, procedures and methods: whole models, trained on made-up data by the way that a cell takes."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from braidbench.assembly import build, preprocessing
from braidbench.cell import seeds
from braidbench.data import Split
from braidbench.errors import BraidbenchError, MissingPackageError
from braidbench.precision import computing_in
from braidbench.recipe import CannotServeError, Recipe, find_task, resolve, rows_of
from braidbench.registry import Registry, load_target
from braidbench.sealing import SealedError, test_split_sealed
from braidbench.specs import TASK_KINDS, Method, Part
from braidbench.testing import synthetic
from braidbench.testing.kit import Failed, Skipped, Subject, check, require, require_covered
from braidbench.testing.synthetic import DATASETS, Overlay, make_split, seeded, training_data
from braidbench.training import History, Settings, make_accelerator, predict

KINDS = ("objectives", "procedures", "methods")
ENOUGH = {"classification": 1.0, "multilabel": 1.0, "regression": 0.8}
"""Share right (or of the variance explained) of sixteen samples from which they count as learned by heart."""
RATES = (0.01, 0.003, 0.03)


@dataclass(frozen=True)
class Pipeline:
    """A recipe on made-up data."""

    recipe: Recipe
    split: Split

    @property
    def label(self) -> str:
        names = " and ".join(m.kind for m in self.recipe.modalities)
        return f"{self.recipe.task.kind} of {names}"


@dataclass(frozen=True)
class Fitted:
    """What a procedure left."""

    model: Any
    before: float
    after: float
    history: History


# --- what a component is tried in -------------------------------------------------------------------------------------


def pipelines(subject: Subject) -> list[Pipeline]:
    """One recipe for each kind of task that the component serves, on the first made-up dataset that fits.

    A method is tried as it is. An objective or procedure is tried in the first method that names it, because it may
    need that method's other parts; without one, among the plainest parts there are.
    """
    if "pipelines" not in subject.memo:
        subject.memo["pipelines"] = _resolved(subject)
    found: list[Pipeline] = subject.memo["pipelines"]
    return found


def _resolved(subject: Subject) -> list[Pipeline]:
    registry, methods = _methods(subject)
    refusals: list[str] = []
    for method in methods:
        found: dict[str, Pipeline] = {}
        for dataset in DATASETS:
            for task in find_task(registry, dataset)[0].tasks:
                if task.kind in found:
                    continue
                try:
                    recipe = _recipe(registry, f"{dataset}/{task.name}", method)
                    split = _split(recipe)
                    with seeded(0):
                        # A fusion may refuse these widths, an objective this task, in their own words.
                        model, objective = build(recipe)
                        objective(model(*_inputs(split)), split.batch(torch.arange(len(split))), model)
                    if subject.kind == "procedures":
                        _try(Pipeline(recipe, split))
                except MissingPackageError:
                    raise
                except BraidbenchError as reason:
                    refusals.append(str(reason))
                else:
                    found[task.kind] = Pipeline(recipe, split)
                    subject.covered.add(f"serves {task.kind}")
        if found:
            return list(found.values())
    if not refusals:
        raise Failed("no method uses it")
    raise Failed(f"no dataset of the kit can be served: {refusals[0]}")


def _try(pipeline: Pipeline) -> None:
    """Let a procedure refuse a model: it may be for one kind, and only finds out when it meets another.

    Raises BraidbenchError, the refusal. Anything else that goes wrong is for the checks to find.
    """
    try:
        fit(pipeline, epochs=1)
    except SealedError:
        return
    except BraidbenchError:
        raise
    except Exception:
        return


def _methods(subject: Subject) -> tuple[Registry, list[Method]]:
    kind = subject.kind.removesuffix("s")
    if kind == "method":
        return Overlay(subject.registry, (("methods", subject.spec),)), [subject.spec]
    plain = synthetic.plain_method(kind, subject.spec.name)
    users = [
        registered.spec
        for registered in subject.registry.all("methods")
        if Part.of(getattr(registered.spec, kind)).name == subject.spec.name
    ]
    return Overlay(subject.registry, (("methods", plain), (subject.kind, subject.spec))), [plain, *users]


def _recipe(registry: Registry, dataset: str, method: Method) -> Recipe:
    row = rows_of(registry, method.name, find_task(registry, dataset)[0])[0]
    return resolve(registry, dataset, row, {})


def _split(recipe: Recipe) -> Split:
    """What the recipe's model reads: rows as they are prepared, then the recipe's own preprocessing."""
    names = [m.name for m in recipe.modalities]
    prepared = tuple(m.prepared for m in recipe.dataset.modalities if m.name in names)
    return preprocessing(recipe)(make_split(prepared, recipe.task))


def _inputs(split: Split) -> tuple[dict[str, Tensor], dict[str, Tensor | None]]:
    batch = split.batch(torch.arange(len(split)))
    return batch.inputs, batch.lengths


def fit(pipeline: Pipeline, epochs: int, lr: float = 0.01, seed: int = 0) -> Fitted:
    """Train on sixteen samples as :mod:`braidbench.execution` does, and score on the same ones."""
    from dataclasses import replace

    recipe, axes = pipeline.recipe, seeds(seed)
    primary = next(iter(recipe.metrics.values()))
    score = load_target(primary)
    training = replace(recipe.training, epochs=epochs, lr=lr, batch_size=synthetic.SAMPLES // 2, patience=None)
    with seeded(axes["init"]):
        model, objective = build(recipe)
        settings = Settings(
            training=training,
            task=recipe.task,
            objective=objective,
            score=lambda prediction, target: float(score(prediction, target)),
            sign=primary.sign,
            seeds=axes,
            accelerator=make_accelerator(),
        )
        before = score(*predict(model, pipeline.split, recipe.task, 64))
        procedure = load_target(recipe.procedure.spec)(**recipe.procedure.parameters)
        with test_split_sealed(f"method {recipe.row!r}"):
            model = procedure.fit(model, training_data(pipeline.split, recipe.task), settings)
        require(
            isinstance(model, nn.Module), f"fit gives a {type(model).__name__}, not the fitted model: return the model"
        )
        prediction, target = predict(model, pipeline.split, recipe.task, 64)
    finite = bool(torch.from_numpy(prediction).isfinite().all())
    require(finite, f"after {epochs} epochs its predictions are not finite for {pipeline.label}")
    return Fitted(model, before, float(score(prediction, target)), settings.history)


# --- checks -----------------------------------------------------------------------------------------------------------


@check(*KINDS)
def builds_from_its_parameters(subject: Subject) -> None:
    """With its defaults, on data made up by the kit; for a method, every part by name."""
    pipelines(subject)


@check("methods", needs=("builds_from_its_parameters",))
def resolves_on_every_dataset_it_can_serve(subject: Subject) -> None:
    """On each installed dataset it resolves, or says in one clear sentence why it cannot serve it."""
    served, refusal = 0, ""
    registry, _ = _methods(subject)
    for registered in subject.registry.all("datasets"):
        dataset = registered.spec
        if _fault(registry, dataset):
            continue
        for task in dataset.tasks:
            for row in rows_of(registry, subject.spec.name, dataset):
                try:
                    resolve(registry, f"{dataset.name}/{task.name}", row, {})
                except (CannotServeError, MissingPackageError) as reason:
                    refusal = str(reason)
                    continue
                except BraidbenchError as error:
                    raise Failed(f"on {dataset.name}/{task.name} it does not resolve: {error}") from error
                served += 1
    if not subject.registry.all("datasets"):
        raise Skipped("no dataset is installed")
    if not served:
        raise Skipped(f"it serves none of the installed datasets: {refusal}")


@check("objectives", needs=("builds_from_its_parameters",))
def terms_are_finite_scalars(subject: Subject) -> None:
    """It gives a mapping of names to scalar tensors, each finite."""
    for pipeline in pipelines(subject):
        terms, _ = _terms(pipeline)
        require(isinstance(terms, dict) and terms, f"it gives {terms!r}, not named terms: return {{'name': loss}}")
        for name, term in terms.items():
            require(
                isinstance(term, Tensor) and term.ndim == 0,
                f"its term {name!r} is no scalar tensor for {pipeline.label}: reduce it with mean() or sum()",
            )
            require(bool(term.isfinite()), f"its term {name!r} is {term.item()} for {pipeline.label}")


@check("objectives", needs=("builds_from_its_parameters",))
def batch_and_output_are_not_modified(subject: Subject) -> None:
    """The batch is read again by others, and the output is stored."""
    for pipeline in pipelines(subject):
        with seeded(0):
            model, objective = build(pipeline.recipe)
            batch = pipeline.split.batch(torch.arange(len(pipeline.split)))
            output = model(batch.inputs, batch.lengths)
            held = [*batch.inputs.values(), batch.target, output.prediction, output.fused]
            before = [value.detach().clone() for value in held]
            objective(output, batch, model)
        same = all(torch.equal(value.detach(), old) for value, old in zip(held, before, strict=True))
        require(same, f"it changes the batch or the output in place for {pipeline.label}: work on copies")


@check("objectives", needs=("terms_are_finite_scalars", "batch_and_output_are_not_modified"))
def gradient_reaches_the_model(subject: Subject) -> None:
    """The sum of the terms can be differentiated, and some of the model's weights get a gradient."""
    for pipeline in pipelines(subject):
        terms, model = _terms(pipeline)
        total = torch.stack(tuple(terms.values())).sum()
        require(total.requires_grad, f"no term depends on the model for {pipeline.label}: do not detach the output")
        total.backward()
        grads = [p.grad for p in model.parameters() if p.grad is not None]
        require(any(bool(g.any()) for g in grads), f"its gradient is zero everywhere for {pipeline.label}")
        require(all(bool(g.isfinite().all()) for g in grads), f"its gradient is not finite for {pipeline.label}")


@check("objectives", needs=("terms_are_finite_scalars", "gradient_reaches_the_model"))
def runs_in_bfloat16_or_says_that_it_cannot(subject: Subject) -> None:
    """Under the autocast of ``--precision bf16`` its terms and gradients are finite; an objective that needs float32
    declares ``full_precision`` and gets it."""
    for pipeline in pipelines(subject):
        mend = "mend it, or declare full_precision=True"
        try:
            with computing_in("bf16", torch.device("cpu")):
                terms, model = _terms(pipeline)
            total = torch.stack([term.float() for term in terms.values()]).sum()
            total.backward()
        except RuntimeError as error:
            reason = str(error).splitlines()[0]
            raise Failed(f"with --precision bf16 it raises for {pipeline.label}: {reason}: {mend}") from error
        grads = [p.grad for p in model.parameters() if p.grad is not None]
        finite = bool(total.isfinite()) and all(bool(g.isfinite().all()) for g in grads)
        require(finite, f"with --precision bf16 it is not finite for {pipeline.label}: {mend}")


@check("procedures", "methods", needs=("builds_from_its_parameters",))
def leaves_the_test_split_alone(subject: Subject) -> None:
    """It trains and selects on what it is given; the test split is opened by the harness, after it has returned."""
    for pipeline in pipelines(subject):
        try:
            fit(pipeline, epochs=1)
        except SealedError as error:
            raise Failed(str(error)) from error
        except Exception:
            # Whatever else goes wrong, the next check tells of it.
            continue


@check("procedures", "methods", needs=("builds_from_its_parameters", "leaves_the_test_split_alone"))
def runs_end_to_end(subject: Subject) -> None:
    """Two epochs for every kind of task that it serves: a model comes back and predicts finite numbers."""
    for pipeline in pipelines(subject):
        fitted = fit(pipeline, epochs=2)
        if subject.kind == "procedures":
            require(
                fitted.history.epochs,
                "settings.history is empty after fit: train with braidbench.training.train, or fill it",
            )


@check("procedures", "methods", needs=("runs_end_to_end",))
def same_seed_same_predictions(subject: Subject) -> None:
    """Trained twice from one seed, it predicts the same."""
    pipeline = pipelines(subject)[0]
    first, second = (fit(pipeline, epochs=2) for _ in range(2))
    task = pipeline.recipe.task
    a, b = (predict(fitted.model, pipeline.split, task, 64)[0] for fitted in (first, second))
    require(
        bool((a == b).all()),
        f"two runs from one seed differ by up to {abs(a - b).max():.2g} for {pipeline.label}: draw from torch's "
        "generator, or from one seeded with settings.seeds['data']",
    )


@check("methods", needs=("runs_end_to_end",))
def weights_survive_a_save_and_a_load(subject: Subject) -> None:
    """The stored weights in a newly built model give bit-identical predictions: robustness is measured on them."""
    from safetensors.torch import load, save

    pipeline = pipelines(subject)[0]
    fitted = fit(pipeline, epochs=1).model
    state = {name: value.detach().cpu().contiguous() for name, value in fitted.state_dict().items()}
    with seeded(99):
        fresh, _ = build(pipeline.recipe)
    try:
        fresh.load_state_dict(load(save(state)))
    except RuntimeError as error:
        raise Failed(f"its weights cannot be stored and loaded: {str(error).splitlines()[0]}") from error
    a, b = (predict(model.cpu(), pipeline.split, pipeline.recipe.task, 64)[0] for model in (fitted, fresh))
    require(
        bool((a == b).all()),
        "its predictions differ after its weights are stored and loaded into a newly built model: register all that it "
        "learns or draws, and return the model that was built, not another one",
    )


@check(*KINDS, needs=("builds_from_its_parameters", "gradient_reaches_the_model", "runs_end_to_end"))
def overfits_sixteen_samples(subject: Subject) -> None:
    """Trained as a cell is, it learns sixteen samples by heart."""
    for pipeline in pipelines(subject):
        epochs, enough = pipeline.recipe.training.epochs, ENOUGH[pipeline.recipe.task.kind]
        best = -math.inf
        for lr in RATES:
            best = max(best, fit(pipeline, epochs, lr).after)
            if best >= enough:
                break
        require(
            best >= enough,
            f"after {epochs} epochs it scores {best:.2f} on the sixteen samples of a {pipeline.label} that it was "
            f"trained on, where {enough:g} is due: it does not train",
        )


@check("objectives", needs=("builds_from_its_parameters",))
def what_it_declares_was_tried(subject: Subject) -> None:
    """Each kind of task that the spec promises was served at least once."""
    require_covered(subject, [f"serves {kind}" for kind in subject.spec.tasks or TASK_KINDS])


def _terms(pipeline: Pipeline) -> tuple[Any, nn.Module]:
    with seeded(0):
        model, objective = build(pipeline.recipe)
        model.train()
        batch = pipeline.split.batch(torch.arange(len(pipeline.split)))
        return objective(model(batch.inputs, batch.lengths), batch, model), model


def _fault(registry: Registry, dataset: Any) -> str | None:
    """What is wrong with a dataset's own declaration, which is no fault of a method."""
    return next(_faults(registry, dataset), None)


def _faults(registry: Registry, dataset: Any) -> Iterator[str]:
    named = [("metrics", name) for task in dataset.tasks for name in task.metrics]
    named += [("encoders", Part.of(part).name) for part in dataset.encoders.values()]
    for kind, name in named:
        try:
            registry.find(kind, name)
        except BraidbenchError as error:
            yield str(error)
