"""Results → a folder of static files that opens from ``file://`` without a network request.

Names and texts come from strangers: every one loses what does not show and goes through autoescaping, page names are
hashes or cleaned, and a content security policy lets the pages run their own files only. What a page says of a result
was vetted; the command that a reader may copy is made here. The same results give the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jinja2

from braidbench.errors import DataError, UsageError
from braidbench.files import sha256_json, storage, temporary_name
from braidbench.measurements import Measurement
from braidbench.measurements import read as read_measurements
from braidbench.results import LONGEST_TEXT, Result, instant, read_document
from braidbench.stats import Estimate
from braidbench.store import Found, read
from braidbench.summary import Overall, Table, decimals, overall, tables_of
from braidbench.text import lines, plain
from braidbench.vetting import Cell, Vetted, vet
from braidbench_leaderboard.charts import COSTS, cost_plot, robustness_plots, stacked_bars

HERE = Path(__file__).parent
MARKER = ".braidbench-site"
POLICY = "default-src 'none'; script-src 'self'; style-src 'self'; base-uri 'none'; form-action 'none'"


@dataclass
class Site:
    """What was built."""

    cells: int
    tasks: int
    rows: int
    corrupt: list[str] = field(default_factory=list)
    homeless: list[str] = field(default_factory=list)
    """One sentence for each measurement of a task that has no page."""

    def summary(self) -> dict[str, Any]:
        counts = {"cells": self.cells, "tasks": self.tasks, "rows": self.rows}
        return {**counts, "corrupt": self.corrupt, "homeless": self.homeless}


def build_site(results: Sequence[Path], output: Path, reference: str | None = None) -> Site:
    """Build the site. Raises UsageError when there is nothing to show or ``output`` is somebody else's folder."""
    _check_output(results, output)
    found = read(results)
    if not found.results:
        raise UsageError(f"no results in {', '.join(str(path) for path in results)}; braidbench run makes some")
    measured = read_measurements(path for path in results if path.is_dir())
    pages = _Pages(found, reference or _declared_reference(), _commit(results), measured.measurements)
    with storage(output):
        output.parent.mkdir(parents=True, exist_ok=True)
        temporary = temporary_name(output)
        temporary.mkdir()
        try:
            pages.write(temporary)
            _replace(temporary, output)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    rows = sum(len(table.rows) for table in pages.tables)
    return Site(len(pages.cells), len(pages.tables), rows, found.corrupt + measured.corrupt, pages.homeless)


def _check_output(results: Sequence[Path], output: Path) -> None:
    # Not Path.resolve, which raises RuntimeError for a link that leads to itself.
    site = Path(os.path.realpath(output))
    for path in results:
        if Path(os.path.realpath(path)) in (site, *site.parents):
            raise UsageError(f"-o {output} lies in the results folder {path}; choose a folder beside it")
    if output.exists() and (not output.is_dir() or (any(output.iterdir()) and not (output / MARKER).exists())):
        raise UsageError(f"-o {output} exists and is no site of braidbench; choose another folder, or remove it")


def _replace(new: Path, output: Path) -> None:
    """Move the new site in, file by file and the index last, and remove what only the old one had.

    Files that no build has made (a ``CNAME``, a ``.git``) stay.
    """
    old = files_of(output)
    output.mkdir(exist_ok=True)
    names = files_of(new)
    for name in sorted(names, key=lambda name: name == "index.html"):
        target = output / name
        target.parent.mkdir(exist_ok=True)
        (new / name).replace(target)
    (new / MARKER).replace(output / MARKER)
    for name in old - names:
        (output / name).unlink(missing_ok=True)


def files_of(site: Path) -> set[str]:
    """What the marker of a built site lists, as far as it lies inside."""
    if not (site / MARKER).is_file():
        return set()
    root = site.resolve()
    names = (site / MARKER).read_text().splitlines()[1:]
    return {name for name in names if root in (root / name).resolve().parents}


def _declared_reference() -> str | None:
    from braidbench.cli.table import default_reference

    return default_reference()


def _commit(results: Sequence[Path]) -> str | None:
    """The last commit that touched the results, if they are kept in git, and whether they changed since."""
    path = results[0] if results[0].is_dir() else results[0].parent

    def git(*arguments: str) -> str:
        # Without its optional locks git writes nothing into somebody's repository.
        command = ["git", "--no-optional-locks", "-C", str(path), *arguments, "--", "."]
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip()

    try:
        commit = git("log", "-1", "--format=%H")
        if not commit:
            return None
        return commit[:12] + (" with uncommitted changes" if git("status", "--porcelain") else "")
    except (OSError, subprocess.SubprocessError):
        return None


class _Pages:
    """Everything that the templates show."""

    def __init__(
        self, found: Found, reference: str | None, commit: str | None, measurements: Sequence[Measurement]
    ) -> None:
        # The very same result may come from two folders; it is one cell with one page.
        unique = {cell_page(one.result): one for one in vet(found.results)}
        ordered = sorted(unique.items(), key=lambda item: (item[1].result.dataset, item[1].result.method, item[0]))
        self.vetted: list[Vetted] = [one for _, one in ordered]
        self.pages = {id(one.result): page for page, one in ordered}
        self.cells: list[Cell] = [one.cell for one in self.vetted]
        self.tables: list[Table] = tables_of(self.vetted, reference)
        self.overall: list[Overall] = overall(self.tables)
        self.measurements = measurements
        shown = {(table.dataset, table.task) for table in self.tables}
        self.homeless = [
            plain(f"{m.measure} of {m.dataset}/{m.task}: there is no result on it, so it has no page")
            for m in measurements
            if (m.dataset, m.task) not in shown
        ]
        self.reference = reference
        self.corrupt = found.corrupt
        self.current = {id(result) for table in self.tables for row in table.rows for _, result in row.cells}
        self.about = {
            "version": version("braidbench"),
            "commit": commit,
            "newest": self._newest(),
        }

    def _newest(self) -> str:
        """When the newest of the results that count was finished; empty if none counts."""
        counted = [one.result.finished for one in self.vetted if not one.apart]
        return max(counted, key=instant, default="")

    @cached_property
    def environment(self) -> jinja2.Environment:
        environment = jinja2.Environment(
            loader=jinja2.FileSystemLoader(HERE / "templates"),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            finalize=_shown,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        environment.filters |= {
            "score": _score,
            "pm": _pm,
            "si": _si,
            "cell_page": lambda result: self.pages[id(result)],
            "mb": _megabytes,
            "short": plain,
        }
        environment.globals |= {"policy": POLICY, "about": self.about, "task_page": task_page}
        return environment

    def write(self, folder: Path) -> None:
        shutil.copytree(HERE / "static", folder / "assets")
        for name in ("task", "cell"):
            (folder / name).mkdir()
        states = [result.status for _, result in self.cells]
        self._page(
            folder / "index.html",
            "index.html",
            root="",
            tables=self.tables,
            areas=sorted({table.area or "other" for table in self.tables}),
            overall=self.overall,
            by_task={
                table.name: {row.method: (place, row) for place, row in enumerate(table.rows) if row.own}
                for table in self.tables
            },
            tuned=sum(bool(row.differs) and not row.apart for table in self.tables for row in table.rows),
            apart=sum(bool(row.apart) for table in self.tables for row in table.rows),
            counts={state: states.count(state) for state in ("ok", "failed", "skipped")},
            digits={table.name: table.decimals(table.metric) for table in self.tables},
            corrupt=self.corrupt,
        )
        for table in self.tables:
            self._page(
                folder / task_page(table),
                "task.html",
                root="../",
                table=table,
                metrics=sorted(table.directions, key=lambda name: name != table.metric),
                digits={name: table.decimals(name) for name in table.directions},
                costs=COSTS,
                cost_plot=cost_plot(table),
                robustness_plots=robustness_plots(table),
                measurements=[
                    (m, stacked_bars(m))
                    for m in self.measurements
                    if (m.dataset, m.task) == (table.dataset, table.task)
                ],
                reference=self.reference,
            )
        template = self.environment.get_template("cell.html")
        for one in self.vetted:
            path, result = one.cell
            text = template.render(
                root="../", result=result, one=one, history=_history(path), current=id(result) in self.current,
                identity=json.dumps(result.identity, indent=1, sort_keys=True), task=task_page_of(result),
                decimals={name: decimals([value]) for name, value in result.scores.items()},
            )  # fmt: skip
            (folder / self.pages[id(result)]).write_text(text, encoding="utf-8")
        files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
        (folder / MARKER).write_text("\n".join([f"braidbench {self.about['version']}", *files, ""]))

    def _page(self, path: Path, template: str, **values: Any) -> None:
        path.write_text(self.environment.get_template(template).render(**values), encoding="utf-8")


def task_page(table: Table) -> str:
    """Path of a table's page below the site."""
    return _task_page(table.dataset, table.task)


def task_page_of(result: Result) -> str:
    return _task_page(result.dataset, result.task)


def _task_page(dataset: str, task: str) -> str:
    """A readable name, and a hash because cleaning may make two names one."""
    name = re.sub(r"[^A-Za-z0-9-]+", "-", f"{dataset}-{task}").strip("-")[:60]
    return f"task/{name}-{hashlib.sha256(f'{dataset}/{task}'.encode()).hexdigest()[:8]}.html"


def cell_page(result: Result) -> str:
    """Path of a cell's page below the site. Several results may claim one identity, so all that they say counts too."""
    told = sha256_json(result.model_dump(mode="json", exclude=_FROM_THE_REGISTRY))
    return f"cell/{result.cell[:16]}-{told[:16]}.html"


_FROM_THE_REGISTRY = {"directions", "in_domain", "robustness", "command", "task_kind", "area", "citation"}
"""What vetting replaces: it differs between installations, and a cell keeps its page."""

LONGEST_HISTORY = 10_000
"""Epochs of a page."""


def _history(path: Path) -> list[dict[str, Any]]:
    """Epochs of a cell's history; none for a submission without one, or a file that cannot be read."""
    try:
        epochs = json.loads(read_document(path / "history.json"))["epochs"][:LONGEST_HISTORY]
        return [{name: None if e[name] is None else float(e[name]) for name in ("loss", "valid")} for e in epochs]
    except (OSError, DataError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return []


def _shown(value: Any) -> Any:
    """What every expression of a template goes through: text without what does not show; markup is the templates'."""
    return lines(value, LONGEST_TEXT) if type(value) is str else value


# --- numbers ----------------------------------------------------------------------------------------------------------


def _score(value: Estimate | float | None, decimals: int = 4) -> str:
    if isinstance(value, Estimate):
        value = value.mean
    # Adding zero turns a rounded −0.0000 into 0.0000.
    return "–" if value is None else f"{round(value, decimals) + 0.0:.{decimals}f}"


def _pm(value: Estimate | None, decimals: int = 4) -> str:
    """Half of the 95 % interval, or nothing for one seed."""
    return "" if value is None or value.low is None else f"± {value.mean - value.low:.{decimals}f}"


def _si(value: float | None) -> str:
    """``32.2 k``: three digits and a unit prefix."""
    if value is None:
        return "–"
    if value == 0:
        return "0"
    for factor, prefix in (
        (1e12, "T"),
        (1e9, "G"),
        (1e6, "M"),
        (1e3, "k"),
        (1, ""),
        (1e-3, "m"),
        (1e-6, "µ"),
        (1e-9, "n"),
    ):
        if abs(value) >= factor:
            return f"{value / factor:.3g} {prefix}".rstrip()
    return f"{value:.3g}"


def _megabytes(value: float | None) -> str:
    return "–" if value is None else f"{value / 1e6:,.0f} MB"
