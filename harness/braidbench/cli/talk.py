"""What a command says to people, on standard error: it may be closed, or nobody may read it, and the work goes on."""

from __future__ import annotations

import sys

import click


def say(text: str) -> None:
    """One line on standard error, at once; nothing where that is not possible."""
    try:
        click.echo(text, err=True)
    except (OSError, ValueError):
        from braidbench.interruption import discard

        if sys.stderr is not None:
            # What is in its buffer would fail again when the interpreter ends.
            discard(2)
