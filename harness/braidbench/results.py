"""The result of a cell: one JSON document, one schema, versioned.

Everything that reads a result file comes through :func:`parse`, which trusts nothing: unknown fields, wrong types and
numbers that are not finite are refused with the place they stand at.
"""

from __future__ import annotations

from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from braidbench.errors import DataError

SCHEMA_VERSION: Literal[2] = 2
"""Version 1 has neither ``undefined`` nor ``robustness_failures``; files of both are read."""

FailureKind = Literal["oom", "timeout", "nan", "data", "plugin", "crash"]


class Strict(BaseModel):
    """A document that trusts nothing."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Cost(Strict):
    """What a row cost. Bytes, seconds and floating point operations (a multiply-add counts two)."""

    parameters_trained: int
    parameters_total: int
    flops_per_sample: int
    train_seconds: float
    epochs: int
    inference_seconds_per_sample: float
    inference_batch_size: int
    peak_host_bytes: int
    peak_device_bytes: int | None = None


class Curve(Strict):
    """Scores of one metric under one corruption of one modality, at rising severity.

    ``relative`` is the area under the oriented curve over the severity range (higher is better whatever the metric's
    direction). ``seed`` is the corruption axis's seed; ``source`` is the corruption's version and source hash.
    """

    corruption: str
    modality: str
    metric: str
    direction: Literal["higher", "lower"]
    severities: list[float]
    scores: list[float | None]
    relative: float | None
    seed: int
    source: str


class FailedCurve(Strict):
    """A corruption of one modality whose curve could not be measured, and the plugin that is to blame."""

    corruption: str
    modality: str
    failure: FailureKind
    reason: str
    plugin: str
    """The distribution that declares the corruption, with its version."""


class Environment(Strict):
    """Where and with what a cell ran. Not part of its identity."""

    braidbench: str
    python: str
    platform: str
    processor: str
    cpu_count: int
    threads: int
    device: str
    precision: str
    commit: str | None
    dirty: bool | None
    packages: dict[str, str]
    plugins: dict[str, str]
    deterministic: bool
    """Whether every kernel that ran has a deterministic form, and ran in it."""
    nondeterministic: list[str] = []
    """The kernels that have none, as torch names them."""
    variables: dict[str, str] = {}
    """Environment variables that were set and can change what torch computes."""


class Result(Strict):
    """One cell: a dataset's task, a method, its overrides and a seed."""

    schema_version: Literal[1, 2] = SCHEMA_VERSION
    cell: str = Field(pattern=r"^[0-9a-f]{64}$")
    dataset: str
    task: str
    task_kind: Literal["classification", "multilabel", "regression"] | None = None
    """What the predictions are; None for a skipped cell."""
    method: str
    """The row's name, such as ``late-fusion`` or ``unimodal[image]``."""
    seed: int
    precision: Literal["fp32", "bf16"] = "fp32"
    """What it was computed in; a row in another precision stands apart from the method's own."""
    status: Literal["ok", "failed", "skipped"]
    reason: str | None = None
    """Why it was skipped, or the last line of what went wrong."""
    failure: FailureKind | None = None
    log_tail: list[str] = []
    overrides: dict[str, Any] = {}
    """What ``--set`` and ``--epochs`` changed; a row with overrides stands apart from the method's own."""
    deviations: list[str] = []
    """Where the method's own definition changes what the dataset declares (encoders, budget)."""
    scores: dict[str, float | None] = {}
    """Metric name → test score; the first one ranks. Null: undefined."""
    valid_scores: dict[str, float | None] = {}
    directions: dict[str, Literal["higher", "lower"]] = {}
    cost: Cost | None = None
    undefined: dict[str, str] = {}
    """Metric name → why it is undefined on the test split; its score is null."""
    robustness: list[Curve] = []
    robustness_failures: list[FailedCurve] = []
    identity: dict[str, Any]
    """What the cell's hash is taken over: see docs/protocol.md."""
    environment: Environment | None = None
    command: str
    """Reproduces this cell."""
    files: dict[str, str] = {}
    """File name in the cell's folder → sha256."""
    best_epoch: int | None = None
    started: str
    finished: str
    area: str = ""
    modalities: list[str] = []
    in_domain: bool = False
    """Whether the method was first proposed on this dataset."""
    citation: str = ""

    @property
    def primary(self) -> str | None:
        """Name of the metric that ranks."""
        return next(iter(self.scores), None)


def parse(text: str | bytes, where: str) -> Result:
    """A result from JSON text. Raises DataError that names ``where`` and the first place that is wrong."""
    return document(Result, text, where, "result")


Document = TypeVar("Document", bound=Strict)


def document(schema: type[Document], text: str | bytes, where: str, kind: str) -> Document:
    """A document of ``schema`` from JSON text. Raises DataError that names ``where`` and the first wrong place."""
    try:
        return schema.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "document"
        raise DataError(f"{where}: not a braidbench {kind} (at {place}: {first['msg']})") from None
