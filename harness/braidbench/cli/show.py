"""Results as lines for a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from braidbench.cli.talk import say
from braidbench.text import PAGE, plain

if TYPE_CHECKING:
    from braidbench.vetting import Vetted


def print_results(rows: list[dict[str, Any]]) -> None:
    """One line a cell that ran: what it is, its scores, where it lies. Skipped cells are counted."""
    for row in rows:
        name = f"{row['dataset']}/{row['task']} {row['method']} seed {row['seed']}"
        if row["apart"]:
            again = f"remove {plain(row['path'], PAGE)} to make it again"
            click.echo(f"{row['cell'][:12]}  {name:<48} not to be believed: {plain(row['apart'])}; {again}")
        elif row["status"] == "ok":
            text = "  ".join(f"{metric} {format_score(value)}" for metric, value in row["scores"].items())
            click.echo(f"{row['cell'][:12]}  {name:<48} {text}{'  (cached)' if row['cached'] else ''}")
        elif row["status"] == "failed":
            click.echo(f"{row['cell'][:12]}  {name:<48} failed: {plain(str(row['reason']))}")
    refused = sum(bool(row["apart"]) for row in rows)
    counts = {status: sum(row["status"] == status for row in rows) for status in ("ok", "failed", "skipped")}
    counts["ok"] -= refused
    cached = sum(row["cached"] for row in rows) - refused
    say(
        f"{count(len(rows), 'cell')}: {counts['ok']} ok ({cached} cached), {counts['failed']} failed, "
        f"{counts['skipped']} skipped" + (f", {refused} not to be believed" if refused else "")
    )


def print_cell(one: Vetted) -> None:
    """Everything about one cell. Texts of the result lose what a terminal would obey."""
    result, folder = one.result, one.path
    click.echo(plain(f"{result.dataset}/{result.task}  {result.method}  seed {result.seed}  {result.status}"))
    if result.precision != "fp32":
        click.echo(f"precision {result.precision}: a row of its own")
    if one.apart:
        click.echo(f"apart     not ranked: {plain(one.apart)}")
    command = result.command or "none: no plugin can declare such names"
    click.echo(f"cell      {result.cell}\nfolder    {plain(str(folder), PAGE)}\ncommand   {command}")
    for name, value in result.scores.items():
        reason = plain(result.undefined.get(name, "")) if value is None else ""
        told = f"{format_score(value)} test, {format_score(result.valid_scores.get(name))} validation"
        click.echo(f"{plain(name):<9} {told}{f' ({reason})' if reason else ''}")
    if result.scores:
        origin = "computed again from its predictions" if one.verified else "as the result says"
        click.echo(f"scores    {'not to be believed' if one.refused else origin}")
    if result.cost is not None:
        for name, number in result.cost.model_dump().items():
            click.echo(f"{name:<29} {number}")
    for curve in result.robustness:
        points = " ".join(format_score(value) for value in curve.scores)
        click.echo(f"{curve.corruption} on {curve.modality}, {curve.metric}: {points}")
    for failed in result.robustness_failures:
        why = f"{failed.failure} (of {failed.plugin}): {failed.reason}"
        click.echo(plain(f"{failed.corruption} on {failed.modality} failed: {why}", PAGE))
    for note in (*result.deviations, *one.notes):
        click.echo(f"differs   {plain(note)}")
    if result.environment is not None:
        e = result.environment
        dirty = " (dirty)" if e.dirty else ""
        click.echo(plain(f"ran on    {e.processor}, {e.device}, {e.threads} threads, torch {e.packages.get('torch')}"))
        click.echo(plain(f"code      braidbench {e.braidbench}, commit {e.commit or 'unknown'}{dirty}"))
    if result.reason:
        click.echo(f"{result.status:<9} {result.failure}: {plain(result.reason, PAGE)}")
        for line in result.log_tail:
            click.echo(plain(line, PAGE))


def count(number: int, noun: str) -> str:
    """``1 cell``, ``2 cells``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def format_score(value: float | None) -> str:
    """Four decimals, or that it is undefined."""
    return "undefined" if value is None else f"{value:.4f}"
