"""The result of a cell: one JSON document, one schema, versioned.

Everything that reads a result file comes through :func:`parse`, which trusts nothing: unknown fields, wrong types,
numbers that are not finite, times without a zone, names that cannot be shown as they are and texts without end are
refused with the place they stand at. What a document *claims* is another matter: :mod:`braidbench.vetting` checks that.
"""

from __future__ import annotations

import json
import math
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, ValidationInfo

from braidbench.errors import DataError, NewerVersionError
from braidbench.text import plain

SCHEMA_VERSION: Literal[2] = 2
"""Version 1 has neither ``undefined`` nor ``robustness_failures``; files of both are read."""

FailureKind = Literal["oom", "timeout", "nan", "data", "plugin", "crash"]

LARGEST_DOCUMENT = 32 << 20
"""Bytes. The largest result of a run has some hundred kilobytes."""


def _name(text: str) -> str:
    if text != plain(text, len(text)) or text != text.strip():
        raise ValueError("a name with characters that do not show")
    return text


def _moment(text: str) -> str:
    instant(text)
    return text


def _finite(value: Any, depth: int = 0) -> Any:
    """Plain JSON of a depth and with numbers that every JSON reader and writer takes."""
    if depth > 50:
        raise ValueError("nested deeper than 50 levels")
    if isinstance(value, dict):
        for key, item in value.items():
            _of_text_length(key)
            _finite(item, depth + 1)
    elif isinstance(value, list):
        for item in value:
            _finite(item, depth + 1)
    elif isinstance(value, str):
        _of_text_length(value)
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError("a number that is not finite")
    elif isinstance(value, int) and abs(value) >= 1 << 64:
        raise ValueError("an integer of more than 64 bits")
    return value


def _text(value: str, info: ValidationInfo) -> str:
    if info.mode == "python":
        # What a run itself has to say is cut rather than lost, and so is what no file can hold: a component may raise
        # a text with half a character.
        return value[:LONGEST_TEXT].encode("utf-8", "backslashreplace").decode()[:LONGEST_TEXT]
    return _of_text_length(value)


def _of_text_length(value: str) -> str:
    if len(value) <= LONGEST_TEXT:
        return value
    raise ValueError(f"a text of more than {LONGEST_TEXT:,} characters")


LONGEST_TEXT = 100_000
Name = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_name)]
"""What identifies something: it stands in a table as it is."""
Text = Annotated[str, AfterValidator(_text)]
"""What somebody has to say: shown without its control characters, and shortened (:mod:`braidbench.text`)."""
Moment = Annotated[str, Field(max_length=40), AfterValidator(_moment)]
"""ISO 8601 with a time zone."""
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Count = Annotated[int, Field(ge=0, lt=1 << 63)]
Seconds = Annotated[float, Field(ge=0, le=1e12)]
Plain = Annotated[dict[str, Any], AfterValidator(_finite)]


def instant(text: str) -> datetime:
    """The moment that an ISO 8601 text with a time zone means; such compare as moments, whatever their zones.

    Raises ValueError for a text that is none."""
    moment = datetime.fromisoformat(text)
    if moment.utcoffset() is None:
        raise ValueError("a time without a time zone")
    return moment


SKEW = timedelta(days=1)
"""How far another machine's clock may be ahead of this one's."""


def is_future(text: str) -> bool:
    """Whether a moment of the past, as another machine wrote it, cannot have been by this one's clock."""
    return instant(text) > datetime.now(UTC) + SKEW


class Strict(BaseModel):
    """A document that trusts nothing."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Cost(Strict):
    """What a row cost. Bytes, seconds and floating point operations (a multiply-add counts two)."""

    parameters_trained: Count
    parameters_total: Count
    flops_per_sample: Count
    train_seconds: Seconds
    epochs: Count
    inference_seconds_per_sample: Seconds
    inference_batch_size: Count
    peak_host_bytes: Count
    peak_device_bytes: Count | None = None


class Curve(Strict):
    """Scores of one metric under one corruption of one modality, at rising severity.

    ``relative`` is the area under the oriented curve over the severity range (higher is better whatever the metric's
    direction). ``seed`` is the corruption axis's seed; ``source`` is the corruption's version and source hash.
    """

    corruption: Name
    modality: Name
    metric: Name
    direction: Literal["higher", "lower"]
    severities: list[float] = Field(max_length=1000)
    scores: list[float | None] = Field(max_length=1000)
    relative: float | None
    seed: int
    source: Text


class FailedCurve(Strict):
    """A corruption of one modality whose curve could not be measured, and the plugin that is to blame."""

    corruption: Name
    modality: Name
    failure: FailureKind
    reason: Text
    plugin: Text
    """The distribution that declares the corruption, with its version."""


class Environment(Strict):
    """Where and with what a cell ran. Not part of its identity."""

    braidbench: Text
    python: Text
    platform: Text
    processor: Text
    cpu_count: Count
    threads: Count
    device: Text
    precision: Text
    commit: Text | None
    dirty: bool | None
    packages: dict[Text, Text]
    plugins: dict[Text, Text]
    deterministic: bool
    """Whether every kernel that ran has a deterministic form, and ran in it."""
    nondeterministic: list[Text] = []
    """The kernels that have none, as torch names them."""
    variables: dict[Text, Text] = {}
    """Environment variables that were set and can change what torch computes."""


class Result(Strict):
    """One cell: a dataset's task, a method, its overrides and a seed."""

    schema_version: Literal[1, 2] = SCHEMA_VERSION
    cell: Digest
    dataset: Name
    task: Name
    task_kind: Literal["classification", "multilabel", "regression"] | None = None
    """What the predictions are; None for a skipped cell."""
    method: Name
    """The row's name, such as ``late-fusion`` or ``unimodal[image]``."""
    seed: int = Field(ge=0, lt=1 << 32)
    precision: Literal["fp32", "bf16"] = "fp32"
    """What it was computed in; a row in another precision stands apart from the method's own."""
    status: Literal["ok", "failed", "skipped"]
    reason: Text | None = None
    """Why it was skipped, or the last line of what went wrong."""
    failure: FailureKind | None = None
    log_tail: list[Text] = Field(default=[], max_length=1000)
    overrides: Plain = {}
    """What ``--set`` and ``--epochs`` changed; a row with overrides stands apart from the method's own."""
    deviations: list[Text] = Field(default=[], max_length=1000)
    """Where the method's own definition changes what the dataset declares (encoders, budget)."""
    scores: dict[Name, float | None] = {}
    """Metric name → test score; the first one ranks. Null: undefined."""
    valid_scores: dict[Name, float | None] = {}
    directions: dict[Name, Literal["higher", "lower"]] = {}
    cost: Cost | None = None
    undefined: dict[Name, Text] = {}
    """Metric name → why it is undefined on the test split; its score is null."""
    robustness: list[Curve] = []
    robustness_failures: list[FailedCurve] = []
    identity: Plain
    """What the cell's hash is taken over: see docs/protocol.md."""
    environment: Environment | None = None
    command: Text
    """Reproduces this cell. Nobody prints it: :func:`braidbench.cell.command_of` makes it from the other fields."""
    files: dict[Name, Digest] = {}
    """File name in the cell's folder → sha256."""
    best_epoch: Count | None = None
    started: Moment
    finished: Moment
    area: Text = ""
    modalities: list[Name] = []
    in_domain: bool = False
    """Whether the method was first proposed on this dataset."""
    citation: Text = ""

    @property
    def primary(self) -> str | None:
        """Name of the metric that ranks."""
        return next(iter(self.scores), None)


def parse(text: str | bytes, where: str) -> Result:
    """A result from JSON text. Raises DataError that names ``where`` and the first place that is wrong."""
    return document(Result, text, where, "result")


def read_document(path: Path) -> bytes:
    """The content of a JSON document that may be anybody's. Raises DataError for what is no file of a document's size,
    FileNotFoundError where there is nothing."""
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        kind = "folder" if stat.S_ISDIR(status.st_mode) else "device or a pipe"
        raise DataError(f"{path} is a {kind} where a file belongs")
    if status.st_size > LARGEST_DOCUMENT:
        raise DataError(f"{path}: {status.st_size:,} bytes are more than any document has ({LARGEST_DOCUMENT:,})")
    with path.open("rb") as file:
        # It may grow, or lie about its size as files of /proc do.
        content = file.read(LARGEST_DOCUMENT + 1)
    if len(content) > LARGEST_DOCUMENT:
        raise DataError(f"{path}: more bytes than any document has ({LARGEST_DOCUMENT:,})")
    return content


Document = TypeVar("Document", bound=Strict)


def document(schema: type[Document], text: str | bytes, where: str, kind: str) -> Document:
    """A document of ``schema`` from JSON text.

    Raises NewerVersionError for one of a schema version above the newest that is known here, and otherwise DataError;
    both name ``where``, the latter the first wrong place.
    """
    try:
        return schema.model_validate_json(text)
    except ValidationError as error:
        newest = int(schema.model_fields["schema_version"].default)
        version = _schema_version(text)
        if version is not None and version > newest:
            raise NewerVersionError(
                f"{where}: written by a newer version of braidbench ({kind} schema {version}, this one reads up to "
                f"{newest}); it is left as it is: install a newer braidbench to read it"
            ) from None
        first = error.errors(include_url=False, include_input=False)[0]
        place = plain(".".join(str(part) for part in first["loc"]), 200) or "document"
        raise DataError(f"{where}: not a braidbench {kind} (at {place}: {first['msg']})") from None


def _schema_version(text: str | bytes) -> int | None:
    """What a document says about its version, whatever else it holds."""
    try:
        version = json.loads(text)["schema_version"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    return version if type(version) is int and version.bit_length() <= 64 else None
