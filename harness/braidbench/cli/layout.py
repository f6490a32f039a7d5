"""A table of results on a terminal, as Markdown, as LaTeX or as CSV: one function a format, each with its own escaping.

What a reader must know beside the numbers (why a row stands apart, why a score is undefined, what was left out) stands
below the table and is numbered at the row; in CSV, which has no below, it has columns of its own.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import click

from braidbench.text import csv_cell, latex, markdown, plain

if TYPE_CHECKING:
    from braidbench.stats import Estimate
    from braidbench.summary import Row, Table

ARROWS = {"higher": "↑", "lower": "↓"}


@dataclass
class Layout:
    """A table as texts, none of them escaped for anything yet."""

    title: str
    head: list[str]
    rows: list[list[str]]
    notes: list[list[str]]
    """Of each row: why it stands apart first, then the others."""
    below: list[str] = field(default_factory=list)
    """What is said of the table as a whole."""
    aside: list[int] = field(default_factory=list)
    """Columns that a narrow terminal can do without, the first to go first."""

    def numbered(self) -> tuple[list[list[str]], list[str]]:
        """The rows with a number at the name of each that has notes, and the notes by number; equal ones share it."""
        numbers: dict[str, int] = {}
        marked = []
        for row, notes in zip(self.rows, self.notes, strict=True):
            own = [numbers.setdefault(note, len(numbers) + 1) for note in notes]
            mark = f" ({', '.join(map(str, own))})" if own else ""
            marked.append([row[0] + mark, *row[1:]])
        return marked, [*(f"({number}) {note}" for note, number in numbers.items()), *self.below]


def layout(found: Table) -> Layout:
    """What a table shows, column by column."""
    metrics = sorted(found.directions, key=lambda name: name != found.metric)
    head = ["method", *(f"{name} {ARROWS[found.directions[name]]}" for name in metrics), "rank", "seeds", "params"]
    head.append("train s")
    rows = [
        [row.label, *(score(row.scores.get(name), found.decimals(name)) for name in metrics), *_tail(row)]
        for row in found.rows
    ]
    notes = [[*([f"apart, not ranked: {row.apart}"] if row.apart else []), *row.notes] for row in found.rows]
    last = len(head) - 1
    aside = [last, last - 1, last - 2, *range(len(metrics), 1, -1), last - 3]
    return Layout(found.name, head, rows, notes, found.notes, aside)


def print_table(found: Table, form: str) -> None:
    """Write a table to stdout; ``form`` is rich, github, latex or csv."""
    made = layout(found)
    if form == "csv":
        print_csv(made, found)
    elif form == "latex":
        print_latex(made)
    elif form == "github":
        print_markdown(made)
    elif sys.stdout.isatty():
        print_terminal(made)
    else:
        print_text(made)


def print_text(made: Layout) -> None:
    """Columns of plain text, for a pipe or a file."""
    import tabulate

    rows, below = made.numbered()
    click.echo(f"{plain(made.title)}\n")
    # Numbers are formatted already; tabulate must not read "1" and "0.9130 ± 0.0096" as numbers of its own.
    cells = [[plain(cell) for cell in row] for row in rows]
    click.echo(tabulate.tabulate(cells, [plain(name) for name in made.head], tablefmt="simple", disable_numparse=True))
    for note in below:
        click.echo(plain(note))


def print_markdown(made: Layout) -> None:
    """A table of GitHub's Markdown."""
    import tabulate

    rows, below = made.numbered()
    click.echo(f"{markdown(made.title)}\n")
    cells = [[markdown(row[0]), *row[1:]] for row in rows]
    head = [markdown(name) for name in made.head]
    click.echo(tabulate.tabulate(cells, head, tablefmt="github", disable_numparse=True))
    for note in below:
        click.echo(f"\n{markdown(note)}")


def print_latex(made: Layout) -> None:
    """A tabular of the booktabs package, its notes below it in small print."""
    rows, below = made.numbered()
    # A comment ends with its line, and plain text has no second one.
    click.echo(f"% {plain(made.title)}")
    click.echo(f"\\begin{{tabular}}{{{'l' * len(made.head)}}}\n\\toprule")
    _latex_row(made.head)
    click.echo("\\midrule")
    for row in rows:
        _latex_row(row)
    click.echo("\\bottomrule\n\\end{tabular}")
    for note in below:
        click.echo(f"\\par{{\\footnotesize {latex(note)}}}")


def _latex_row(cells: Sequence[str]) -> None:
    click.echo(f" {' & '.join(latex(cell) for cell in cells)} \\\\")


def print_csv(made: Layout, found: Table) -> None:
    """Comma-separated values; why a row stands apart, in what it differs and its notes are the last columns."""
    import csv

    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow([csv_cell(name) for name in ("task", *made.head, "apart", "differs", "notes")])
    for cells, row in zip(made.rows, found.rows, strict=True):
        told = [row.apart, ", ".join(row.differs), "; ".join([*row.notes, *found.notes])]
        # The numbers between are this module's own; a negative one is no formula.
        writer.writerow([csv_cell(made.title), csv_cell(cells[0]), *cells[1:], *map(csv_cell, told)])


def print_terminal(made: Layout) -> None:
    """A grid as wide as the terminal. Numbers are never cut: where it is narrow, columns are left out and named, and
    names of methods are broken."""
    from rich.console import Console
    from rich.table import Table as Grid
    from rich.text import Text

    console = Console(highlight=False, markup=False)
    rows, below = made.numbered()
    cells = [[plain(cell) for cell in row] for row in (made.head, *rows)]
    widths = _fitting(cells, made.aside, console.width)
    grid = Grid(title=Text(plain(made.title)), title_justify="left")
    for place, width in widths.items():
        justify: Literal["left", "right"] = "right" if place else "left"
        grid.add_column(Text(cells[0][place]), justify=justify, overflow="fold", width=width)
    for row in cells[1:]:
        grid.add_row(*(Text(row[place]) for place in widths))
    console.print(grid)
    for note in below:
        console.print(Text(plain(note)))
    left_out = [name for place, name in enumerate(cells[0]) if place not in widths]
    if left_out:
        console.print(Text(f"left out at {console.width} columns: {', '.join(left_out)} (--format csv has them)"))


NAME = 24
"""Cells that a method's name gets, if it is as long, before a column is left out for it."""

SHORTEST_NAME = 8
LONGEST_TITLE = 16
"""Cells of a column's title before it is broken; what stands below it is never broken."""


def _fitting(cells: Sequence[Sequence[str]], aside: Sequence[int], width: int) -> dict[int, int]:
    """The columns that fit into ``width`` with their numbers whole, in order, and the width of each."""
    from rich.cells import cell_len

    head, body = cells[0], cells[1:]
    widths = {
        place: max(min(cell_len(head[place]), LONGEST_TITLE), *(cell_len(row[place]) for row in body))
        for place in range(len(head))
    }
    wanted = widths[0]
    widths[0] = min(wanted, NAME)

    def free() -> int:
        # A border on the left, and a blank on both sides and a border for each column.
        return width - 1 - sum(own + 3 for own in widths.values())

    for place in aside:
        if free() >= 0:
            break
        del widths[place]
    widths[0] = min(wanted, max(SHORTEST_NAME, widths[0] + free()))
    return widths


def score(value: Estimate | None, decimals: int = 4) -> str:
    """``0.9133 ± 0.0096``: mean and half of the 95 % interval; no interval for one seed, a dash for none."""
    if value is None:
        return "–"
    if value.low is None:
        return f"{value.mean:.{decimals}f}"
    return f"{value.mean:.{decimals}f} ± {value.mean - value.low:.{decimals}f}"


def _tail(row: Row) -> list[str]:
    rank = "–" if row.rank is None else str(row.rank)
    if row.rank_interval is not None and row.rank is not None:
        rank += f" [{row.rank_interval[0]}–{row.rank_interval[1]}]"
    states = [f"{len(row.ok)}"]
    for status in ("failed", "skipped"):
        count = sum(result.status == status for _, result in row.cells)
        if count:
            states.append(f"{count} {status}")
    parameters, seconds = row.cost.get("parameters_total"), row.cost.get("train_seconds")
    return [
        rank,
        ", ".join(states),
        "–" if parameters is None else f"{parameters:,.0f}",
        "–" if seconds is None else f"{seconds:.1f}",
    ]
