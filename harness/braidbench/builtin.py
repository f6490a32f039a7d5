"""What the core itself brings, through the hooks that everybody's plugin uses: executors and commands."""

from __future__ import annotations

from collections.abc import Iterator

from braidbench.hookspecs import hookimpl
from braidbench.specs import Command, Executor


@hookimpl
def register_executors() -> Iterator[Executor]:
    yield Executor("serial", "braidbench.executors:SerialExecutor", summary="one cell after the other, in this process")
    yield Executor(
        "process", "braidbench.executors:ProcessExecutor", summary="cells side by side, a process each", timeouts=True
    )


@hookimpl
def register_commands() -> Iterator[Command]:
    yield Command("run", "braidbench.cli.run:run", summary="train and score methods on a dataset, or run a plan file")
    yield Command("plan", "braidbench.cli.run:plan", summary="what run would do: cached, to run, skipped, time")
    yield Command("table", "braidbench.cli.table:table", summary="a comparison to read, or to paste into a paper")
    yield Command("compare", "braidbench.cli.compare:compare", summary="paired tests between methods")
    yield Command("show", "braidbench.cli.cells:show", summary="one cell: scores, cost, failure, provenance")
    yield Command("why", "braidbench.cli.cells:why", summary="which part of a cell's identity changed")
    yield Command("measure", "braidbench.cli.measure:measure", summary="a measure of a dataset, for the leaderboard")
    yield Command("list", "braidbench.cli.listing:list_", summary="datasets, methods, fusions, … of all plugins")
    yield Command("describe", "braidbench.cli.listing:describe", summary="everything that one of them declares")
    yield Command("plugins", "braidbench.cli.listing:plugins", summary="plugins, and why one is quarantined")
    yield Command("data", "braidbench.cli.data:data", summary="status, where, prepare and verify of datasets")
    yield Command("check", "braidbench.cli.check:check", summary="the conformance kit on one component or a plugin")
