"""``check``: the conformance kit on one component, several, or all that a distribution ships."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import click

from braidbench.errors import UsageError


@click.command(no_args_is_help=True)
@click.argument("names", nargs=-1, metavar="[KIND:]NAME…")
@click.option("--plugin", metavar="DISTRIBUTION", help="Everything that an installed distribution declares.")
@click.option(
    "--expect-failure", "expected", multiple=True, metavar="CHECK=REASON",
    help="A check that is known to fail, and why. It is an error when it passes. Repeatable.",
)  # fmt: skip
@click.option("-v", "--verbose", is_flag=True, help="Every check, and the traceback of each failure.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def check(names: tuple[str, ...], plugin: str | None, expected: tuple[str, ...], verbose: bool, as_json: bool) -> None:
    """Check that components keep their contract. Exit code 1 if one does not, or could not be checked at all.

    \b
    braidbench check gated/sigmoid          of every kind that has the name
    braidbench check fusion:gated/sigmoid
    braidbench check --plugin braidbench-gated
    """
    from braidbench.capture import each_aside
    from braidbench.registry import registry
    from braidbench.testing import KIT_VERSION
    from braidbench.testing.kit import Report, checks_of, find_components, outcomes, refuse_unknown

    if not names and plugin is None:
        raise UsageError("name a component, or give --plugin DISTRIBUTION")
    subjects = find_components(registry(), names, plugin)
    announced = dict(_parse(text) for text in expected)
    refuse_unknown(announced, [name for subject in subjects for name in checks_of(subject.kind)])
    reports = []
    for subject in subjects:
        own = {name: reason for name, reason in announced.items() if name in checks_of(subject.kind)}
        found = []
        if not as_json:
            click.echo(f"{subject.label}  ({subject.owner})")
        for outcome in each_aside(outcomes(subject, own)):
            found.append(outcome)
            if not as_json and (verbose or outcome.status != "passed"):
                note = f": {outcome.message}" if outcome.message else ""
                click.echo(f"  {outcome.status:<8} {outcome.check}{note}")
                if verbose and outcome.status == "failed" and outcome.traceback:
                    click.echo(outcome.traceback.rstrip())
        report = Report(subject, tuple(found))
        reports.append(report)
        if not as_json:
            click.echo(f"  {_counts([report])}" + ("" if report.ran else ": not checked, so not passed"))
    if as_json:
        click.echo(json.dumps({"kit_version": KIT_VERSION, "components": [_plain(r) for r in reports]}, indent=1))
    else:
        click.echo(f"{len(reports)} components: {_counts(reports)} (conformance kit {KIT_VERSION})")
    if not all(report.passed for report in reports):
        raise click.exceptions.Exit(1)


def _parse(text: str) -> tuple[str, str]:
    name, equals, reason = text.partition("=")
    if not equals or not reason.strip():
        raise UsageError(f"--expect-failure {text!r}: write CHECK=REASON")
    return name.strip(), reason.strip()


def _counts(reports: list[Any]) -> str:
    ran = sum(report.ran for report in reports)
    skipped, failed, expected = (
        sum(len(report.of(status)) for report in reports) for status in ("skipped", "failed", "expected")
    )
    return f"ran {ran} checks, {failed} failed; skipped {skipped}; expected failures {expected}"


def _plain(report: Any) -> Mapping[str, Any]:
    return {
        "kind": report.subject.spec.kind,
        "name": report.subject.spec.name,
        "distribution": report.subject.owner,
        "ran": report.ran,
        **{status: len(report.of(status)) for status in ("passed", "failed", "skipped", "expected")},
        "checks": [
            {"check": o.check, "status": o.status, "message": o.message, "seconds": round(o.seconds, 3)}
            for o in report.outcomes
        ],
    }
