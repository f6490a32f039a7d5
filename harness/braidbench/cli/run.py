"""``run`` and ``plan``."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import click

from braidbench.errors import UsageError

_OPTIONS = [
    click.option("--seed", "only_seed", type=int, metavar="N", help="Run this one seed.  [default: 0]"),
    click.option("--seeds", type=int, metavar="N", help="Run the seeds 0 to N-1."),
    click.option(
        "--set", "settings", multiple=True, metavar="PART.PARAMETER=VALUE",
        help="Override a parameter: fusion.rank=8, training.lr=0.01, encoder.image.channels=12. Repeatable.",
    ),
    click.option("--epochs", type=int, metavar="N", help="Short for --set training.epochs=N."),
    click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True),
    click.option(
        "--precision", type=click.Choice(["fp32", "bf16"]), default="fp32", show_default=True,
        help="bf16 runs everything of a cell under autocast; such rows stand apart.",
    ),
    click.option("--jobs", "-j", type=int, metavar="N", help="Cells side by side.  [default: one a core]"),
    click.option("--threads", type=int, default=1, show_default=True, help="Threads a cell; they change last bits."),
    click.option("--timeout", type=float, metavar="SECONDS", help="Longest time of one cell."),
    click.option("--executor", metavar="NAME", help="Where cells run.  [default: process if there are several]"),
    click.option("--robustness", is_flag=True, help="Score against severity, for every corruption that applies."),
    click.option(
        "--results", type=click.Path(path_type=Path), default=Path("results"), show_default=True, metavar="DIR"
    ),
    click.option("--json", "as_json", is_flag=True, help="Print JSON."),
]  # fmt: skip


def _with_options(command: Any) -> Any:
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def _plan(what: tuple[str, ...], o: dict[str, Any], prepare: bool = True) -> tuple[Any, Any]:
    """(registry, plan) of the words on the command line: a dataset and methods, or plan files. ``prepare``: whether the
    data are prepared, or nothing is written."""
    from braidbench.plan import make_plan, read_plan, requests, seed_list
    from braidbench.recipe import parse_override
    from braidbench.registry import registry

    found = registry()
    if o["only_seed"] is not None and o["seeds"] is not None:
        raise UsageError("give --seed N (one seed) or --seeds N (the seeds 0 to N-1), not both")
    _check_device(o["device"])
    if o["threads"] < 1:
        raise UsageError(f"--threads {o['threads']}: give 1 or more")
    overrides = dict(parse_override(text) for text in o["settings"])
    if o["epochs"] is not None:
        overrides["training.epochs"] = o["epochs"]
    options = {key: o[key] for key in ("results", "device", "threads", "timeout", "robustness", "precision")}
    if what[0].endswith(".toml"):
        if overrides or o["only_seed"] is not None or o["seeds"] is not None:
            raise UsageError("a plan file says its seeds, epochs and settings itself; leave those options out")
        wanted = [request for path in what for request in read_plan(found, Path(path), **options)]
        return found, make_plan(found, wanted, lenient=True, prepare=prepare)
    if len(what) < 2:
        raise UsageError(f"name a dataset and one method or more: braidbench run {what[0]} METHOD …")
    seeds = seed_list(o["seeds"]) if o["seeds"] is not None else seed_list([o["only_seed"] or 0])
    wanted = requests(found, what[:1], what[1:], seeds, overrides, **options)
    return found, make_plan(found, wanted, lenient=False, prepare=prepare)


def _check_device(device: str) -> None:
    if device == "cuda":
        from torch import cuda

        if not cuda.is_available():
            raise UsageError("--device cuda: torch sees no CUDA device here; use --device auto or cpu")


def _jobs(o: dict[str, Any], cells: int) -> tuple[str, int]:
    """(executor, jobs): a process a cell where there are several, as many as cores, one where there is a GPU."""
    jobs = o["jobs"]
    if jobs is not None and jobs < 1:
        raise UsageError(f"--jobs {jobs}: give 1 or more")
    if jobs is None:
        from torch import cuda

        on_gpu = o["device"] != "cpu" and cuda.is_available()
        jobs = 1 if on_gpu or o["executor"] == "serial" else max(1, min(len(os.sched_getaffinity(0)), cells))
    distributed = "LOCAL_RANK" in os.environ
    several = (cells > 1 or o["timeout"] is not None) and not distributed
    return o["executor"] or ("process" if several else "serial"), jobs if several or o["executor"] else 1


@click.command(no_args_is_help=True)
@click.argument("what", nargs=-1, required=True, metavar="DATASET[/TASK] METHOD… | PLAN.toml…")
@_with_options
def run(what: tuple[str, ...], as_json: bool, **options: Any) -> None:
    """Train and score METHODs on a DATASET, or run plan files. What is done already is not done again.

    \b
    braidbench run digits late-fusion
    braidbench run digits unimodal early-fusion late-fusion --seeds 3 --robustness
    braidbench run cohort low-rank-tensor-fusion --set fusion.rank=8 --epochs 5
    braidbench run plan.toml --jobs 2
    """
    from braidbench.cli.progress import Progress
    from braidbench.environment import is_main_process
    from braidbench.plan import run_plan

    found, plan = _plan(what, options)
    for sentence in plan.notes:
        click.echo(f"warning: {sentence}", err=True)
    prepared = {p.cell.prepared.spec.name: p.cell.prepared for p in plan.cells if p.cell}
    for name, data in prepared.items():
        for sentence in data.deviations:
            click.echo(f"warning: dataset {name!r}: {sentence}; its results say so", err=True)
    executor, jobs = _jobs(options, len(plan.of("to run")))
    rows = []
    with Progress(plan) as progress:
        for planned, result in run_plan(found, plan, executor, jobs, progress.epoch):
            progress.done(planned, result)
            folder = str(planned.cell.folder) if planned.cell else None
            rows.append((planned, {**result.model_dump(), "path": folder, "cached": planned.state == "cached"}))
    order = {id(planned): place for place, planned in enumerate(plan.cells)}
    rows.sort(key=lambda row: order[id(row[0])])
    if not is_main_process():
        return
    if as_json:
        click.echo(json.dumps([row for _, row in rows], indent=1))
    else:
        from braidbench.cli.show import print_results

        print_results([row for _, row in rows])
    failed = sum(row["status"] == "failed" for _, row in rows)
    if failed:
        raise click.exceptions.Exit(1)


@click.command(no_args_is_help=True)
@click.argument("what", nargs=-1, required=True, metavar="DATASET[/TASK] METHOD… | PLAN.toml…")
@_with_options
def plan(what: tuple[str, ...], as_json: bool, **options: Any) -> None:
    """What run would do with the same words: cells cached, to run, skipped with reasons, and a time estimate."""
    from braidbench.cli.show import count
    from braidbench.plan import estimate_text

    _, made = _plan(what, options, prepare=False)
    for sentence in made.notes:
        click.echo(f"warning: {sentence}", err=True)
    todo = made.of("to run")
    _, jobs = _jobs(options, len(todo))
    rows = [
        {
            "cell": planned.cell.id if planned.cell else None,
            "dataset": planned.dataset,
            "task": planned.task,
            "method": planned.request.row,
            "seed": planned.request.seed,
            "state": planned.state,
            "reason": planned.result.reason if planned.state == "skipped" and planned.result else None,
            "seconds": planned.seconds,
        }
        for planned in made.cells
    ]
    if as_json:
        click.echo(json.dumps(rows, indent=1))
        return
    for row in rows:
        note = f"  {row['reason']}" if row["reason"] else ""
        click.echo(f"{row['state']:<8} {row['dataset']}/{row['task']} {row['method']} seed {row['seed']}{note}")
    cached, left_out = len(made.of("cached")), len(made.of("skipped"))
    click.echo(
        f"{count(len(rows), 'cell')}: {cached} cached, {len(todo)} to run, {left_out} skipped"
        + (f"; {estimate_text([p.seconds for p in todo], jobs)} with {count(jobs, 'job')}" if todo else "")
    )
