"""The click group: subcommands come from plugins and are imported when they are called."""

from __future__ import annotations

import sys
from typing import Any

import click

from braidbench.cli.talk import say
from braidbench.errors import BraidbenchError, StorageError
from braidbench.paths import expanded
from braidbench.registry import Registry, registry


class Group(click.Group):
    """Subcommands by the specs of ``register_commands``."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._registry: Registry | None = None

    @property
    def registry(self) -> Registry:
        if self._registry is None:
            self._registry = registry()
        return self._registry

    def list_commands(self, context: click.Context) -> list[str]:
        return [registered.spec.name for registered in self.registry.all("commands")]

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        from braidbench.registry import load_target

        return expand_homes(load_target(self.registry.find("commands", name).spec))

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        rows = [(r.spec.name, r.spec.summary) for r in self.registry.all("commands")]
        with formatter.section("Commands"):
            formatter.write_dl(rows)


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"]}, invoke_without_command=True)
@click.option("--version", is_flag=True, help="Print the version and exit.")
@click.pass_context
def cli(context: click.Context, version: bool) -> None:
    """A benchmark harness for multimodal learning: any method on any dataset, with costs, robustness and a leaderboard.

    Exit codes: 0 ok, 1 some cells failed, 2 usage, 3 environment. Data goes to stdout, talk to stderr.
    """
    if version:
        from importlib.metadata import version as installed

        click.echo(f"braidbench {installed('braidbench')}")
    elif context.invoked_subcommand is None:
        click.echo(context.get_help())


def run(arguments: list[str], command: click.Command = cli, name: str = "braidbench") -> None:
    """Run a command line and exit with its code; every error is one line."""
    try:
        warn()
        code = command.main(arguments, prog_name=name, standalone_mode=False)
    except click.exceptions.Exit as stop:
        code = stop.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
        code = 2
    except click.ClickException as error:
        where = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx else name
        say(f"error: {error.format_message()} (see {where} --help)")
        code = 2
    except (click.Abort, KeyboardInterrupt):
        say("interrupted; the same command goes on where this one stopped")
        code = 130
    except BraidbenchError as error:
        say(f"error: {error}")
        code = error.exit_code
    except OSError as error:
        # Whatever the system refuses is no fault of the program: a folder that may not be read, a disk that fails.
        where = f"{error.filename}: " if error.filename is not None else ""
        say(f"error: {where}{error.strerror or error}")
        code = StorageError.exit_code
    sys.exit(code if isinstance(code, int) else 0)


def warn() -> None:
    """Say on stderr what is wrong with the installed plugins."""
    found = registry()
    for plugin in found.quarantined:
        say(
            f"warning: plugin {plugin.name!r} of {plugin.owner} is quarantined: {plugin.error} "
            f"(braidbench plugins --explain {plugin.name})"
        )
    for sentence in found.collisions:
        say(f"warning: {sentence}")


def expand_homes(command: click.Command) -> click.Command:
    """The command, whose paths may begin with ``~`` wherever a shell has left it (``--results=~/x``)."""
    for parameter in command.params:
        kind = parameter.type
        if isinstance(kind, click.Path | click.File) and not hasattr(kind, "_expands"):
            kind.convert = _expanding(kind.convert)  # type: ignore[method-assign]
            kind._expands = True  # type: ignore[union-attr]
    for one in getattr(command, "commands", {}).values():
        expand_homes(one)
    return command


def _expanding(convert: Any) -> Any:
    def converted(value: Any, parameter: Any, context: Any) -> Any:
        return convert(expanded(value) if isinstance(value, str) else value, parameter, context)

    return converted
