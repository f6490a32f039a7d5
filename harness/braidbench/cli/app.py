"""The click group: subcommands come from plugins and are imported when they are called."""

from __future__ import annotations

import os
import sys
from typing import Any

import click

from braidbench.errors import BraidbenchError
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

        return load_target(self.registry.find("commands", name).spec)  # type: ignore[no-any-return]

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
    warn()
    try:
        code = command.main(arguments, prog_name=name, standalone_mode=False)
    except click.exceptions.Exit as stop:
        code = stop.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
        code = 2
    except click.ClickException as error:
        where = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx else name
        click.echo(f"error: {error.format_message()} (see {where} --help)", err=True)
        code = 2
    except click.Abort:
        click.echo("interrupted; the same command goes on where this one stopped", err=True)
        code = 130
    except KeyboardInterrupt:
        click.echo("interrupted; the same command goes on where this one stopped", err=True)
        code = 130
    except BraidbenchError as error:
        click.echo(f"error: {error}", err=True)
        code = error.exit_code
    except BrokenPipeError:
        # The reader has enough: 'braidbench list methods | head'.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    sys.exit(code if isinstance(code, int) else 0)


def warn() -> None:
    """Say on stderr what is wrong with the installed plugins."""
    found = registry()
    for plugin in found.quarantined:
        click.echo(
            f"warning: plugin {plugin.name!r} of {plugin.owner} is quarantined: {plugin.error} "
            f"(braidbench plugins --explain {plugin.name})",
            err=True,
        )
    for sentence in found.collisions:
        click.echo(f"warning: {sentence}", err=True)
