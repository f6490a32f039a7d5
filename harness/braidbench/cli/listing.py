"""``plugins``, ``list`` and ``describe``: what there is. None of them imports what a spec points to."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping
from typing import Any

import click

from braidbench.errors import UsageError
from braidbench.registry import did_you_mean, registry
from braidbench.specs import KINDS, Part, Spec


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--explain", metavar="PLUGIN", help="Show the traceback of a quarantined plugin.")
def plugins(as_json: bool, explain: str | None) -> None:
    """Every plugin: who ships it, how long its import takes, what it declares, why it is quarantined."""
    found = registry().plugins
    if explain is not None:
        chosen = [p for p in found if explain in (p.name, p.module, p.distribution)]
        if not chosen:
            raise UsageError(f"no plugin {explain!r}.{did_you_mean(explain, [p.name for p in found])}")
        found = chosen
    if explain is not None and not as_json:
        for plugin in chosen:
            click.echo(plugin.traceback or f"plugin {plugin.name!r} of {plugin.owner} is well")
        return
    if as_json:
        click.echo(json.dumps([dataclasses.asdict(plugin) for plugin in found], indent=1))
        return
    rows: list[tuple[str, ...]] = []
    for plugin in found:
        state = (
            f"quarantined: {plugin.error}"
            if plugin.error
            else " ".join(f"{kind}:{len(names)}" for kind, names in plugin.provides.items())
        )
        rows.append((plugin.name, plugin.owner, f"{1000 * plugin.seconds:.1f} ms", state))
    _print_rows(("PLUGIN", "DISTRIBUTION", "IMPORT", "PROVIDES"), rows)
    for plugin in found:
        if plugin.traceback:
            click.echo(f"\n{plugin.name}:\n{plugin.traceback.rstrip()}")


@click.command("list")
@click.argument("kind", type=click.Choice([*KINDS]))
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_(kind: str, as_json: bool) -> None:
    """Every spec of one KIND, with the distribution that ships it."""
    found = registry().all(kind)
    if as_json:
        rows = [{**plain(r.spec), "plugin": r.plugin.name, "distribution": r.plugin.owner} for r in found]
        click.echo(json.dumps(rows, indent=1))
        return
    _print_rows(
        ("NAME", *_EXTRA.get(kind, ("", None))[:1], "SUMMARY", "FROM"),
        [(r.spec.name, *_extra(kind, r.spec), r.spec.summary, r.plugin.owner) for r in found],
    )


def _modalities(spec: Any) -> str:
    return " ".join(f"{m.name}:{m.kind}" for m in spec.modalities[:3]) + (
        f" +{len(spec.modalities) - 3}" if len(spec.modalities) > 3 else ""
    )


_EXTRA: Mapping[str, tuple[str, Any]] = {
    "datasets": ("MODALITIES", _modalities),
    "encoders": ("READS", lambda spec: ", ".join(spec.kinds) or "any"),
    "metrics": ("BETTER", lambda spec: spec.direction),
    "corruptions": ("OF", lambda spec: ", ".join(spec.kinds) or "any"),
    "methods": ("FUSION", lambda spec: Part.of(spec.fusion).name),
}


def _extra(kind: str, spec: Spec) -> Iterable[str]:
    return (_EXTRA[kind][1](spec),) if kind in _EXTRA else ("",)


@click.command()
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def describe(name: str, as_json: bool) -> None:
    """Everything that NAME declares. Write KIND:NAME where a name is of several kinds."""
    found = registry()
    kind, colon, rest = name.partition(":")
    plural = f"{kind}s" if f"{kind}s" in KINDS else kind
    if colon and plural in KINDS:
        kind, registered = plural, found.find(plural, rest)
    else:
        kind, registered = found.find_any(name)
    content = {
        "kind": registered.spec.kind,
        **plain(registered.spec),
        "plugin": registered.plugin.name,
        "distribution": registered.plugin.owner,
    }
    if as_json:
        click.echo(json.dumps(content, indent=1))
        return
    for key, value in content.items():
        if value not in ("", None, [], {}):
            _print_field(key, value)


def _print_field(key: str, value: Any, indent: int = 0) -> None:
    pad = " " * indent
    if isinstance(value, list) and value and isinstance(value[0], dict):
        click.echo(f"{pad}{key}")
        for item in value:
            inside = "  ".join(f"{k}={v}" for k, v in item.items() if v not in ("", None, [], {}, 1) or k == "length")
            click.echo(f"{pad}  {inside}")
    elif isinstance(value, dict):
        click.echo(f"{pad}{key:<14} " + "  ".join(f"{k}={v}" for k, v in value.items()))
    elif isinstance(value, list):
        click.echo(f"{pad}{key:<14} {', '.join(str(item) for item in value)}")
    else:
        click.echo(f"{pad}{key:<14} {value}")


def plain(value: Any) -> Any:
    """A spec as JSON has it."""
    if isinstance(value, Part):
        return {"name": value.name, **{k: plain(v) for k, v in value.parameters.items()}}
    if dataclasses.is_dataclass(value):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


def _print_rows(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    keep = [i for i, title in enumerate(head) if title]
    widths = [max(len(str(row[i])) for row in [head, *rows]) for i in keep]
    for row in [head, *rows]:
        line = "  ".join(f"{row[i]!s:<{width}}" for i, width in zip(keep, widths, strict=True))
        click.echo(line.rstrip())
