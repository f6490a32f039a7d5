"""What was measured of a dataset rather than of a method: bars of parts with intervals, one JSON document a measure.

A plugin that measures datasets saves its findings beside the results, and the leaderboard shows them on the dataset's
page. Documents may come from strangers: they are parsed like results, and their sizes are bounded.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from braidbench.errors import DataError
from braidbench.files import readable_name, sha256_json, write_text
from braidbench.results import Moment, Name, Strict, document, instant, is_future, read_document
from braidbench.text import PAGE, plain

FOLDER = "measurements"
"""Below the results folder."""


def _check_distinct(what: str, names: list[str]) -> None:
    """Two of one name would be drawn on top of each other."""
    twice = next((name for place, name in enumerate(names) if name in names[:place]), None)
    if twice is not None:
        raise ValueError(f"two {what} are called {twice!r}")


class Part(Strict):
    """A share of a bar."""

    name: Name
    value: float = Field(ge=0)
    low: float = Field(ge=0)
    """The interval's ends; both are ``value`` where there is none."""
    high: float = Field(ge=0)

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.low > self.high:
            raise ValueError(f"the interval of {self.name!r} ends before it begins ({self.low} > {self.high})")
        return self


class Bar(Strict):
    """One bar: its parts add up."""

    name: Name
    parts: list[Part] = Field(min_length=1, max_length=20)

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        _check_distinct("parts", [part.name for part in self.parts])
        return self


class Measurement(Strict):
    """One measure of one dataset's task."""

    schema_version: Literal[1] = 1
    measure: Name
    """A short name, such as ``interactions``; with dataset and task it makes the file's name."""
    title: Name
    dataset: Name
    task: Name
    label: Name
    """What the numbers are about, in words: the task, or what it was turned into."""
    unit: Name
    bars: list[Bar] = Field(min_length=1, max_length=500)
    notes: list[Annotated[str, Field(max_length=1000)]] = Field(default=[], max_length=50)
    command: Annotated[str, Field(max_length=1000)]
    """Measures it again. It is shown through :attr:`reproducing` only."""
    created: Moment

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        _check_distinct("bars", [bar.name for bar in self.bars])
        return self

    @property
    def reproducing(self) -> str:
        """The command, if it is one of braidbench and of nothing else; empty otherwise. Readers copy commands."""
        try:
            words = shlex.split(self.command)
        except ValueError:
            return ""
        joined = shlex.join(words)
        return joined if words[:1] == ["braidbench"] and joined == plain(joined, len(joined)) else ""

    @property
    def parts(self) -> list[str]:
        """The names of all bars' parts, each once, in their order."""
        return list(dict.fromkeys(part.name for bar in self.bars for part in bar.parts))


def save(root: Path, measurement: Measurement) -> Path:
    """Write the document below a results folder, in place of an earlier one of the same measure; returns its path."""
    parts = (measurement.dataset, measurement.task, measurement.measure)
    path = root / FOLDER / f"{readable_name(*parts)}--{sha256_json(parts)[:8]}.json"
    write_text(path, measurement.model_dump_json(indent=1) + "\n")
    return path


@dataclass
class Measured:
    """What results folders hold."""

    measurements: list[Measurement] = field(default_factory=list)
    """Of one measure of one task the newest, sorted by these names."""
    corrupt: list[str] = field(default_factory=list)
    """One sentence for each file that could not be read."""


def read(roots: Iterable[Path]) -> Measured:
    """Every measurement below the results folders. Corrupt files are reported, and left where they are."""
    found = Measured()
    newest: dict[tuple[str, str, str], Measurement] = {}
    for root in roots:
        for path in sorted((root / FOLDER).glob("*.json")):
            try:
                read = document(Measurement, read_document(path), str(path), "measurement")
            except (DataError, OSError) as error:
                found.corrupt.append(plain(str(error), PAGE))
                continue
            if is_future(read.created):
                found.corrupt.append(f"{path}: created in the future ({read.created})")
                continue
            key = (read.dataset, read.task, read.measure)
            if key not in newest or instant(read.created) > instant(newest[key].created):
                newest[key] = read
    found.measurements = [newest[key] for key in sorted(newest)]
    return found
