"""What exactly a cell is made of: names resolved, defaults and overrides applied, every parameter checked.

Precedence, later wins: the dataset's declaration, the method's own parts, the method's defaults for every dataset, its
defaults for this one, the user's overrides.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from typing import Any

from braidbench.capture import aside
from braidbench.errors import MissingPackageError, PluginError, StorageError, UsageError
from braidbench.evaluation.scores import metrics_of
from braidbench.failures import reason_of
from braidbench.registry import Registry, check_parameters, did_you_mean, load_target
from braidbench.sources import source_hash
from braidbench.specs import Dataset, Encoder, Fusion, Method, Metric, Modality, Objective, Part, Spec, Task, Training

PARTS = ("encoder", "preprocessing", "fusion", "head", "model", "objective", "procedure", "training")

_ROW = re.compile(r"(?P<method>[^\[\]]+)(\[(?P<modality>[^\[\]]+)\])?")


class CannotServeError(UsageError):
    """The method cannot serve the dataset; plans skip such a cell with this reason."""


@dataclass(frozen=True)
class Chosen:
    """A component and the checked parameters that it is built with."""

    spec: Any
    parameters: Mapping[str, Any]

    def identity(self) -> dict[str, Any]:
        return {**_named(self.spec), "parameters": _plain(self.parameters)}


@dataclass(frozen=True)
class Recipe:
    """Everything about a cell but its seed and the content of its data."""

    dataset: Dataset
    task: Task
    method: Method
    row: str
    modalities: tuple[Modality, ...]
    """As the model reads them: with an observation mask's channels, and after preprocessing."""
    preprocessing: Chosen | None
    encoders: Mapping[str, Chosen]
    fusion: Chosen
    objective: Chosen
    procedure: Chosen
    head: Mapping[str, Any]
    model: Mapping[str, Any]
    training: Training
    metrics: Mapping[str, Metric]
    overrides: Mapping[str, Any]
    deviations: tuple[str, ...]

    def identity(self) -> dict[str, Any]:
        """The recipe's share of a cell's identity: names, declared versions, source hashes, parameters."""
        return {
            "dataset": {"name": self.dataset.name, "version": self.dataset.version, "task": self.task.name},
            "modalities": [m.name for m in self.modalities],
            "method": {"name": self.method.name, "version": self.method.version},
            **self._own(),
            "encoders": {name: chosen.identity() for name, chosen in self.encoders.items()},
            "fusion": self.fusion.identity(),
            "objective": self.objective.identity(),
            "procedure": self.procedure.identity(),
            "head": _plain(self.head),
            "training": _plain(asdict(self.training)),
            "metrics": {name: _named(metric) for name, metric in self.metrics.items()},
        }

    def _own(self) -> dict[str, Any]:
        """What most methods have none of: it enters only where there is something, so that the others keep theirs."""
        parts: dict[str, Any] = {}
        if self.preprocessing is not None:
            parts["preprocessing"] = self.preprocessing.identity()
        if self.method.target != Method.target:
            # The core's own model is covered by the protocol's version.
            parts["model"] = {"source": source_hash(self.method.target), "parameters": _plain(self.model)}
        return parts


def _named(spec: Spec) -> dict[str, Any]:
    return {"name": spec.name, "version": spec.version, "source": source_hash(spec.target)}


def _plain(value: Any) -> Any:
    """A value as JSON has it."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if value is None or isinstance(value, str | int | float | bool):
        return value
    raise UsageError(f"a parameter of type {type(value).__name__} cannot be part of a cell's identity: {value!r}")


# --- names ------------------------------------------------------------------------------------------------------------


def find_task(registry: Registry, query: str) -> tuple[Dataset, Task]:
    """``DATASET`` (its first task) or ``DATASET/TASK``. Raises UsageError for an unknown one."""
    try:
        dataset = registry.find("datasets", query).spec
        return dataset, dataset.tasks[0]
    except UsageError as error:
        head, _, tail = query.rpartition("/")
        try:
            dataset = registry.find("datasets", head).spec
        except UsageError as second:
            # Neither DATASET nor DATASET/TASK: say it of the reading that has a near name.
            raise second if head and "Did you mean" in str(second) else error from None
    for task in dataset.tasks:
        if task.name == tail:
            return dataset, task
    names = [task.name for task in dataset.tasks]
    raise UsageError(
        f"dataset {dataset.name!r} has no task {tail!r}.{did_you_mean(tail, names)} It has {', '.join(names)}"
    )


def rows_of(registry: Registry, query: str, dataset: Dataset) -> list[str]:
    """The leaderboard's rows that a method's name means on a dataset: itself, or one a modality."""
    method, modality = _parse_row(registry, query)
    if not method.each_modality or modality is not None:
        return [f"{method.name}[{modality}]" if modality else method.name]
    return [f"{method.name}[{m.name}]" for m in dataset.modalities]


def _parse_row(registry: Registry, query: str) -> tuple[Method, str | None]:
    match = _ROW.fullmatch(query)
    if match is None:
        raise UsageError(f"{query!r} is not a method's name; write METHOD or METHOD[MODALITY]")
    method = registry.find("methods", match["method"]).spec
    if match["modality"] and not method.each_modality:
        raise UsageError(f"method {method.name!r} takes all modalities at once; leave out [{match['modality']}]")
    return method, match["modality"]


def parse_override(text: str) -> tuple[str, Any]:
    """``part.parameter=value``; the value as TOML writes it, or else a string."""
    key, equals, value = text.partition("=")
    key = key.strip()
    if not equals or "." not in key:
        raise UsageError(f"--set {text!r}: write PART.PARAMETER=VALUE with PART one of {', '.join(PARTS)}")
    return key, parse_value(value)


def parse_value(text: str) -> Any:
    """A value as TOML writes it, or else a string; ``none`` is None."""
    import tomllib

    try:
        return tomllib.loads(f"value = {text.strip()}")["value"]
    except (ValueError, RecursionError):
        return None if text.strip() in ("none", "None", "null") else text.strip()


# --- resolving --------------------------------------------------------------------------------------------------------


@aside()
def resolve(registry: Registry, dataset_query: str, row: str, overrides: Mapping[str, Any]) -> Recipe:
    """The recipe of a row on a dataset.

    Raises UsageError for an unknown name or parameter and CannotServeError when the method cannot serve the dataset.
    """
    dataset, task = find_task(registry, dataset_query)
    method, modality_name = _parse_row(registry, row)
    modalities = _modalities(dataset, method, modality_name)
    low, high = method.modalities
    _count(f"method {method.name!r}", len(modalities), low, high)

    given: dict[str, dict[str, Any]] = {part: {} for part in PARTS if part != "encoder"}
    given["head"] |= method.head
    given["model"] |= method.model
    before = None if method.preprocessing is None else Part.of(method.preprocessing)
    if before is not None:
        given["preprocessing"] |= before.parameters
    parts = {kind: Part.of(getattr(method, kind)) for kind in ("fusion", "objective", "procedure")}
    for kind, part in parts.items():
        given[kind] |= part.parameters
    encoders = {m.name: _encoder_part(registry, dataset, method, m) for m in modalities}
    own = {**method.defaults.get("*", {}), **method.defaults.get(dataset.name, {})}
    for key, value in own.items():
        _apply(key, value, given, encoders, dataset, "the method's defaults")
    declared = _Declared(registry, dataset, method, parts, before)
    overrides = {k: v for k, v in overrides.items() if not declared.has_already(k, v, given, encoders)}
    for key, value in overrides.items():
        _apply(key, value, given, encoders, dataset, "--set")
    if before is None and given["preprocessing"]:
        raise UsageError(f"method {method.name!r} has no preprocessing: leave preprocessing.… out")

    preprocessing = None
    if before is not None:
        preprocessing = _chosen(registry, "preprocessings", before.name, given["preprocessing"])
        _ask(preprocessing.spec, modalities, task, preprocessing.parameters)
        modalities = _preprocessed(preprocessing, modalities)
    model = check_parameters(
        load_target(method),
        given["model"],
        what=f"the model of method {method.name!r}",
        reserved=("encoders", "fusion", "head", "task", "takes", "modalities"),
    )
    objective = _chosen(registry, "objectives", parts["objective"].name, given["objective"])
    fusion = _chosen(registry, "fusions", parts["fusion"].name, given["fusion"], reserved=("in_dims",))
    chosen = {
        m.name: _chosen(registry, "encoders", name, parameters, reserved=("modality", "form"), supplied=("out_dim",))
        for m in modalities
        for name, parameters in [encoders[m.name]]
    }
    metrics = metrics_of(registry, task)
    _check_fit(task, modalities, chosen, fusion.spec, objective.spec, metrics)
    procedure = _chosen(registry, "procedures", parts["procedure"].name, given["procedure"])
    for modality in modalities:
        _ask(chosen[modality.name].spec, (modality,), task, chosen[modality.name].parameters)
    for spec, parameters in (
        (method, model),
        (procedure.spec, procedure.parameters),
        (objective.spec, objective.parameters),
    ):
        _ask(spec, modalities, task, parameters)
    present = getattr(load_target(method), "presents", None)
    if present is None:
        widths = partial(_widths, modalities, chosen, fusion.spec.takes)
        _ask(fusion.spec, modalities, task, fusion.parameters, widths)
    else:
        _ask(fusion.spec, present(modalities), task, fusion.parameters)
    training = _training(dataset, given["training"])
    from braidbench.model import Head

    return Recipe(
        dataset=dataset,
        task=task,
        method=method,
        row=f"{method.name}[{modality_name}]" if modality_name else method.name,
        modalities=modalities,
        preprocessing=preprocessing,
        encoders=chosen,
        fusion=fusion,
        objective=objective,
        procedure=procedure,
        head=check_parameters(Head, given["head"], what="the head", reserved=("in_dim", "width")),
        model=model,
        training=training,
        metrics=metrics,
        overrides=_plain(dict(sorted(overrides.items()))),
        deviations=_deviations(method, own),
    )


def _modalities(dataset: Dataset, method: Method, name: str | None) -> tuple[Modality, ...]:
    prepared = tuple(m.prepared for m in dataset.modalities)
    if name is None:
        if method.each_modality:
            raise UsageError(
                f"method {method.name!r} is one row a modality: write "
                + " or ".join(f"{method.name}[{m.name}]" for m in prepared)
            )
        return prepared
    names = [m.name for m in prepared]
    if name not in names:
        raise UsageError(
            f"dataset {dataset.name!r} has no modality {name!r}.{did_you_mean(name, names)} It has {', '.join(names)}"
        )
    return tuple(m for m in prepared if m.name == name)


def _count(what: str, count: int, low: int, high: int | None) -> None:
    if count < low or (high is not None and count > high):
        wanted = f"at least {low}" if high is None else str(low) if low == high else f"{low} to {high}"
        raise CannotServeError(f"{what} takes {wanted} modalities; there are {count}")


def _preprocessed(chosen: Chosen, modalities: tuple[Modality, ...]) -> tuple[Modality, ...]:
    found = tuple(load_target(chosen.spec)(**chosen.parameters).modalities(modalities))
    if [m.name for m in found] != [m.name for m in modalities]:
        raise PluginError(f"preprocessing {chosen.spec.name!r} must keep the modalities' names and their order")
    return found


def _ask(
    spec: Spec,
    modalities: tuple[Modality, ...],
    task: Task,
    parameters: Mapping[str, Any],
    widths: Callable[[], list[int] | None] | None = None,
) -> None:
    """Let a component say why it cannot serve these modalities and this task.

    Where its ``skip`` names more than those two, it gets its own parameters by their names, and a fusion the
    representations' widths as ``in_dims``.
    """
    skip = getattr(load_target(spec), "skip", None)
    if skip is None:
        return
    named = list(inspect.signature(skip).parameters)[2:]
    told = {name: value for name, value in parameters.items() if name in named}
    if "in_dims" in named and widths is not None and (found := widths()) is not None:
        told["in_dims"] = found
    try:
        reason = skip(modalities, task, **told)
    except (MissingPackageError, StorageError):
        raise
    except (Exception, SystemExit) as error:
        raise PluginError(f"{spec.kind} {spec.name!r}: its skip failed: {reason_of(error)}") from error
    if reason is not None and not isinstance(reason, str):
        raise PluginError(f"{spec.kind} {spec.name!r}: its skip gave {reason!r}, neither a sentence nor None")
    if reason:
        raise CannotServeError(f"{spec.kind} {spec.name!r}: {reason}")


def _widths(modalities: tuple[Modality, ...], chosen: Mapping[str, Chosen], takes: str) -> list[int] | None:
    """The representations' widths, by encoders that are built without memory for their weights. None where one cannot
    be built so: what is wrong with it is for the run to say."""
    import torch

    from braidbench.model import out_dim

    with suppress(Exception), torch.device("meta"):
        return [out_dim(encoder_of(chosen[m.name], m, takes), f"encoder of {m.name}") for m in modalities]
    return None


def encoder_of(chosen: Chosen, modality: Modality, takes: str) -> Any:
    """The encoder of a modality, untrained, for a fusion that takes ``vectors`` or ``sequences``."""
    target = load_target(chosen.spec)
    parameters = dict(chosen.parameters)
    accepted = inspect.signature(target).parameters
    if "out_dim" in accepted and accepted["out_dim"].default is inspect.Parameter.empty:
        parameters.setdefault("out_dim", 64)
    if takes == "sequences" and modality.is_sequence and "vector" in chosen.spec.gives:
        parameters["form"] = "sequence"
    return target(modality, **parameters)


def _encoder_part(
    registry: Registry, dataset: Dataset, method: Method, modality: Modality
) -> tuple[str, dict[str, Any]]:
    # A modality may be called like a kind: the method's keys are kinds, the dataset's are names.
    for sources, keys in ((method.encoders or {}, (modality.kind, "*")), (dataset.encoders, (modality.name,))):
        for key in keys:
            if key in sources:
                part = Part.of(sources[key])
                return part.name, dict(part.parameters)
    defaults = [r.spec for r in registry.all("encoders") if modality.kind in r.spec.default_for]
    if len(defaults) != 1:
        found = ", ".join(spec.name for spec in defaults) or "none"
        raise UsageError(
            f"dataset {dataset.name!r} names no encoder for {modality.name!r} and the plugins' default for kind "
            f"{modality.kind!r} is not one but: {found}; declare encoders={{'{modality.name}': …}} on the dataset"
        )
    return defaults[0].name, {}


def _apply(
    key: str,
    value: Any,
    given: dict[str, dict[str, Any]],
    encoders: dict[str, tuple[str, dict[str, Any]]],
    dataset: Dataset,
    source: str,
) -> None:
    part, _, rest = key.partition(".")
    if part not in PARTS or not rest:
        raise UsageError(f"{source} {key}: no part {part!r}.{did_you_mean(part, PARTS)} Parts are {', '.join(PARTS)}")
    if part != "encoder":
        given[part][rest] = value
        return
    name, dot, parameter = rest.partition(".")
    if not dot:
        for _, parameters in encoders.values():
            parameters[name] = value
    elif name in encoders:
        encoders[name][1][parameter] = value
    elif name not in {m.name for m in dataset.modalities}:
        names = [m.name for m in dataset.modalities]
        raise UsageError(
            f"{source} {key}: no modality {name!r}.{did_you_mean(name, names)} There are {', '.join(names)}"
        )


@dataclass(frozen=True)
class _Declared:
    """What parameters are without any override, to tell an override from a value that is there already."""

    registry: Registry
    dataset: Dataset
    method: Method
    parts: Mapping[str, Part]
    before: Part | None

    def has_already(
        self,
        key: str,
        value: Any,
        given: Mapping[str, Mapping[str, Any]],
        encoders: Mapping[str, tuple[str, Mapping[str, Any]]],
    ) -> bool:
        """Whether ``PART.PARAMETER`` has this value already, for every encoder where it is about all."""
        part, _, rest = key.partition(".")
        if part != "encoder":
            if part not in given:
                return False
            return _same(value, given[part][rest] if rest in given[part] else self._default(part, rest))
        name, dot, parameter = rest.partition(".")
        chosen = [encoders[name]] if dot and name in encoders else [] if dot else [*encoders.values()]
        parameter = parameter if dot else name
        return bool(chosen) and all(
            _same(value, own[parameter] if parameter in own else self._of_target("encoders", encoder, parameter))
            for encoder, own in chosen
        )

    def _default(self, part: str, parameter: str) -> Any:
        if part == "training":
            return getattr(self.dataset.training, parameter, _NOTHING)
        if part == "head":
            from braidbench.model import Head

            return _signature_default(Head, parameter)
        if part == "model":
            return _signature_default(load_target(self.method), parameter)
        if part == "preprocessing":
            return _NOTHING if self.before is None else self._of_target("preprocessings", self.before.name, parameter)
        return self._of_target(f"{part}s", self.parts[part].name, parameter)

    def _of_target(self, kind: str, name: str, parameter: str) -> Any:
        return _signature_default(load_target(self.registry.find(kind, name).spec), parameter)


_NOTHING = object()


def _signature_default(target: Any, parameter: str) -> Any:
    found = inspect.signature(target).parameters.get(parameter)
    return _NOTHING if found is None or found.default is found.empty else found.default


def _same(value: Any, other: Any) -> bool:
    """Equal, as a parameter is: 20 is 20.0, a list is a tuple, and True is not 1."""
    if isinstance(value, list | tuple) and isinstance(other, list | tuple):
        return len(value) == len(other) and all(map(_same, value, other))
    return isinstance(value, bool) == isinstance(other, bool) and bool(value == other)


def _chosen(
    registry: Registry,
    kind: str,
    name: str,
    parameters: Mapping[str, Any],
    reserved: tuple[str, ...] = (),
    supplied: tuple[str, ...] = (),
) -> Chosen:
    spec = registry.find(kind, name).spec
    checked = check_parameters(
        load_target(spec), parameters, what=f"{spec.kind} {spec.name!r}", reserved=reserved, supplied=supplied
    )
    return Chosen(spec, checked)


def _check_fit(
    task: Task,
    modalities: tuple[Modality, ...],
    encoders: Mapping[str, Chosen],
    fusion: Fusion,
    objective: Objective,
    metrics: Mapping[str, Metric],
) -> None:
    _count(f"fusion {fusion.name!r}", len(modalities), *fusion.modalities)
    for modality in modalities:
        encoder: Encoder = encoders[modality.name].spec
        if encoder.kinds and modality.kind not in encoder.kinds:
            raise CannotServeError(
                f"encoder {encoder.name!r} reads {', '.join(encoder.kinds)}; {modality.name!r} is {modality.kind}"
            )
        if encoder.sequences == "only" and not modality.is_sequence:
            raise CannotServeError(f"encoder {encoder.name!r} needs a sequence; {modality.name!r} is none")
        if encoder.sequences == "never" and modality.is_sequence:
            raise CannotServeError(f"encoder {encoder.name!r} reads no sequences; {modality.name!r} is one")
        if fusion.takes == "sequences" and modality.is_sequence and "sequence" not in encoder.gives:
            raise CannotServeError(
                f"fusion {fusion.name!r} needs sequences and encoder {encoder.name!r} gives one vector"
            )
    if objective.tasks and task.kind not in objective.tasks:
        raise CannotServeError(f"objective {objective.name!r} serves {', '.join(objective.tasks)}, not {task.kind}")
    for metric in metrics.values():
        if metric.tasks and task.kind not in metric.tasks:
            raise UsageError(f"metric {metric.name!r} scores {', '.join(metric.tasks)}, not {task.kind}")


def _training(dataset: Dataset, changes: Mapping[str, Any]) -> Training:
    names = {f.name for f in fields(Training)}
    for name in changes:
        if name not in names:
            raise UsageError(
                f"training has no parameter {name!r}.{did_you_mean(name, names)} It has {', '.join(sorted(names))}"
            )
    checked = check_parameters(Training, changes, what="training") if changes else {}
    training = replace(dataset.training, **checked)
    for name, least in (("epochs", 1), ("batch_size", 1), ("lr", 0.0), ("weight_decay", 0.0)):
        if getattr(training, name) < least:
            raise UsageError(f"training.{name} must be at least {least}, not {getattr(training, name)}")
    return training


def _deviations(method: Method, own: Mapping[str, Any]) -> tuple[str, ...]:
    """Where the method's own definition leaves what the dataset declares for everybody."""
    notes = []
    if method.encoders is not None:
        named = ", ".join(f"{key}: {Part.of(part).name}" for key, part in method.encoders.items())
        notes.append(f"encoders by the method's definition ({named})")
    notes += [f"{key} = {value}" for key, value in own.items() if key.startswith(("training.", "encoder."))]
    return tuple(notes)
