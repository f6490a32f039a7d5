"""The leaderboard: results in, a folder of static files out."""

from __future__ import annotations

from collections.abc import Iterator

from braidbench.hookspecs import hookimpl
from braidbench.specs import Command


@hookimpl
def register_commands() -> Iterator[Command]:
    yield Command(
        "leaderboard", "braidbench_leaderboard.cli:leaderboard", summary="build a static leaderboard, or check one"
    )
