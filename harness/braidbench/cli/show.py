"""Results as lines for a terminal."""

from __future__ import annotations

from typing import Any

import click

from braidbench.cli.talk import say


def print_results(rows: list[dict[str, Any]]) -> None:
    """One line a cell that ran: what it is, its scores, where it lies. Skipped cells are counted."""
    for row in rows:
        name = f"{row['dataset']}/{row['task']} {row['method']} seed {row['seed']}"
        if row["status"] == "ok":
            text = "  ".join(f"{metric} {format_score(value)}" for metric, value in row["scores"].items())
            click.echo(f"{row['cell'][:12]}  {name:<48} {text}{'  (cached)' if row['cached'] else ''}")
        elif row["status"] == "failed":
            click.echo(f"{row['cell'][:12]}  {name:<48} failed: {row['reason']}")
    counts = {status: sum(row["status"] == status for row in rows) for status in ("ok", "failed", "skipped")}
    cached = sum(row["cached"] for row in rows)
    say(
        f"{count(len(rows), 'cell')}: {counts['ok']} ok ({cached} cached), {counts['failed']} failed, "
        f"{counts['skipped']} skipped"
    )


def count(number: int, noun: str) -> str:
    """``1 cell``, ``2 cells``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def format_score(value: float | None) -> str:
    """Four decimals, or that it is undefined."""
    return "undefined" if value is None else f"{value:.4f}"
