"""``run`` and ``plan``."""

from __future__ import annotations

import contextlib
import json
import math
from pathlib import Path
from typing import Any

import click

from braidbench.capture import aside
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
    click.option("--jobs", "-j", type=int, metavar="N", help="Cells side by side.  [default: what fits]"),
    click.option("--threads", type=int, default=1, show_default=True, help="Threads a cell; they change last bits."),
    click.option("--timeout", type=float, metavar="SECONDS", help="Longest time of one cell."),
    click.option("--executor", metavar="NAME", help="Where cells run.  [default: process if there are several]"),
    click.option("--robustness", is_flag=True, help="Score against severity, for every corruption that applies."),
    click.option(
        "--results", type=click.Path(path_type=Path), default=Path("results"), show_default=True, metavar="DIR"
    ),
    click.option("--json", "as_json", is_flag=True, help="Print JSON."),
]  # fmt: skip


MOST_THREADS = 1024
"""Of one cell; more than any machine has cores for are a slip of the keyboard, and torch takes any number."""


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
    _check_executor(found, o)
    if o["only_seed"] is not None and o["seeds"] is not None:
        raise UsageError("give --seed N (one seed) or --seeds N (the seeds 0 to N-1), not both")
    _check_device(o["device"])
    if not 1 <= o["threads"] <= MOST_THREADS:
        raise UsageError(f"--threads {o['threads']}: give 1 to {MOST_THREADS}")
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


def _executor(o: dict[str, Any]) -> str | None:
    """The executor's name, if it does not depend on how many cells there are to run."""
    from braidbench.environment import launch

    if o["executor"] is not None:
        return str(o["executor"])
    if launch() is not None:
        # A distributed launch has spread this very process already.
        return "serial"
    return "process" if o["timeout"] is not None else None


def _check_executor(found: Any, o: dict[str, Any]) -> None:
    """Refuse, before anything is looked at, what the executor cannot do."""
    timeout, name = o["timeout"], _executor(o)
    if o["jobs"] is not None and o["jobs"] < 1:
        raise UsageError(f"--jobs {o['jobs']}: give 1 or more")
    if timeout is not None and not (math.isfinite(timeout) and timeout > 0):
        raise UsageError(f"--timeout {timeout:g}: give a number of seconds above 0")
    if name is None:
        return
    spec = found.find("executors", name).spec
    if timeout is not None and not spec.timeouts:
        able = [f"--executor {each.spec.name}" for each in found.all("executors") if each.spec.timeouts]
        instead = f"use {' or '.join(able)}" if able else "leave it out"
        if o["executor"] is None:
            instead = "leave it out in a distributed launch, or launch one process and " + instead
        raise UsageError(f"--timeout: the executor {spec.name!r} cannot stop a cell; {instead}")


def _jobs(o: dict[str, Any], plan: Any) -> tuple[str, int]:
    """(executor, jobs): a process a cell where there are several, and as many at once as fit."""
    cells = len(plan.of("to run"))
    name = _executor(o) or ("process" if cells > 1 else "serial")
    if o["jobs"] is not None:
        return name, o["jobs"] if name != "serial" or o["executor"] else 1
    if name == "serial" or cells < 2:
        return name, 1
    from torch import cuda

    from braidbench import capacity

    on_device = o["device"] != "cpu" and cuda.is_available()
    return name, capacity.jobs(capacity.demands(plan, on_device), capacity.machine(on_device), o["threads"])


def _skips(plan: Any) -> list[str]:
    """``12 skipped: fusion 'x' needs … (digits, cohort)``, a line a reason; ``failed`` where a component broke."""
    groups: dict[tuple[str, str], list[Any]] = {}
    for planned in plan.of("skipped"):
        groups.setdefault((planned.result.status, planned.result.reason), []).append(planned)
    return [
        f"{len(group)} {status}: {reason} ({', '.join(dict.fromkeys(planned.dataset for planned in group))})"
        for (status, reason), group in groups.items()
    ]


def _unranked(plan: Any) -> dict[int, str]:
    """Why a stored result that counts as done is not to be believed, by the id of its planned cell: somebody may have
    changed the file."""
    from braidbench.vetting import vet

    cached = plan.of("cached")
    vetted = vet((planned.cell.folder, planned.result) for planned in cached)
    return {id(planned): one.apart for planned, one in zip(cached, vetted, strict=True) if one.refused}


@click.command(no_args_is_help=True)
@click.argument("what", nargs=-1, required=True, metavar="DATASET[/TASK] METHOD… | PLAN.toml…")
@_with_options
def run(what: tuple[str, ...], as_json: bool, **options: Any) -> None:
    """Train and score METHODs on a DATASET, or run plan files. What is done already is not done again; a method that
    cannot serve the dataset is skipped with its reason, and the others run.

    \b
    braidbench run digits late-fusion
    braidbench run digits unimodal early-fusion late-fusion --seeds 3 --robustness
    braidbench run cohort low-rank-tensor-fusion --set fusion.rank=8 --epochs 5
    braidbench run plan.toml --jobs 2
    """
    from braidbench.cli.progress import Progress
    from braidbench.cli.talk import say
    from braidbench.environment import is_main_process, not_a_launch
    from braidbench.plan import run_plan
    from braidbench.store import lost_files

    incomplete = False
    rows = []
    with aside(), Progress() as progress:
        if sentence := not_a_launch():
            progress.say(f"note: {sentence}")
        found, plan = _plan(what, options)
        skips = _skips(plan)
        prepared = {p.cell.prepared.spec.name: p.cell.prepared for p in plan.cells if p.cell}
        for sentence in plan.notes:
            progress.say(f"warning: {sentence}")
        for name, data in prepared.items():
            for line in data.deviations:
                progress.say(f"warning: dataset {name!r}: {line}; its results say so")
        for sentence in skips:
            progress.say(sentence)
        executor, jobs = _jobs(options, plan)
        progress.begin(plan, jobs)
        ended: Any = run_plan(found, plan, executor, jobs, progress.epoch)
        # Closed here, not by the garbage collector: that is what ends the children of an interrupted run.
        with contextlib.closing(ended):
            for planned, result in ended:
                progress.done(planned, result)
                if planned.cell is not None and planned.state == "to run" and result.status == "ok":
                    missing = lost_files(planned.cell.folder, result)
                    if missing:
                        incomplete = True
                        progress.say(f"  {', '.join(missing)} could not be made again, see log.txt; the scores stay")
                folder = str(planned.cell.folder) if planned.cell else None
                rows.append((planned, {**result.model_dump(), "path": folder, "cached": planned.state == "cached"}))
        unranked = _unranked(plan)
    order = {id(planned): place for place, planned in enumerate(plan.cells)}
    rows.sort(key=lambda row: order[id(row[0])])
    for planned, row in rows:
        row["apart"] = unranked.get(id(planned), "")
    if not is_main_process():
        return
    if as_json:
        click.echo(json.dumps([row for _, row in rows], indent=1))
    else:
        from braidbench.cli.show import print_results

        print_results([row for _, row in rows])
        for sentence in skips:
            say(sentence)
    # A curve that was asked for and could not be measured is a failure too, and so is a lost file; the scores stand.
    curves = any(planned.request.robustness and row["robustness_failures"] for planned, row in rows)
    if incomplete or curves or unranked or any(row["status"] == "failed" for _, row in rows):
        raise click.exceptions.Exit(1)


@click.command(no_args_is_help=True)
@click.argument("what", nargs=-1, required=True, metavar="DATASET[/TASK] METHOD… | PLAN.toml…")
@_with_options
def plan(what: tuple[str, ...], as_json: bool, **options: Any) -> None:
    """What run would do with the same words: cells cached, to run, skipped with reasons, and a time estimate."""
    from braidbench.cli.show import count
    from braidbench.cli.talk import say
    from braidbench.plan import estimate_text

    with aside():
        _, made = _plan(what, options, prepare=False)
        todo = made.of("to run")
        _, jobs = _jobs(options, made)
    for sentence in made.notes:
        say(f"warning: {sentence}")
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
        if row["state"] != "skipped":
            click.echo(f"{row['state']:<8} {row['dataset']}/{row['task']} {row['method']} seed {row['seed']}")
    for sentence in _skips(made):
        click.echo(sentence)
    cached, left_out = len(made.of("cached")), len(made.of("skipped"))
    click.echo(
        f"{count(len(rows), 'cell')}: {cached} cached, {len(todo)} to run, {left_out} skipped"
        + (f"; {estimate_text([p.seconds for p in todo], jobs)} with {count(jobs, 'job')}" if todo else "")
    )
