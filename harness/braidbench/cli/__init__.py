"""The command line's entry.

A listing that was printed before is printed again from a snapshot, without importing anything that takes time; see
:mod:`braidbench.cli.snapshot`. Everything else goes to :mod:`braidbench.cli.app`.
"""

from __future__ import annotations

import sys


def main() -> None:
    """Console script ``braidbench``."""
    from braidbench.cli import snapshot

    arguments = sys.argv[1:]
    if snapshot.eligible(arguments):
        if snapshot.replay(arguments):
            return
        from braidbench.cli.recording import recorded

        with recorded(arguments):
            _run(arguments)
    else:
        _run(arguments)


def _run(arguments: list[str]) -> None:
    # Not even the import of what handles Ctrl-C is a place for it. (signal itself imports more than all of this.)
    import _signal  # type: ignore[import-not-found]

    _signal.pthread_sigmask(_signal.SIG_BLOCK, (_signal.SIGINT, _signal.SIGTERM))
    from braidbench import interruption
    from braidbench.capture import fill_standard_streams

    interruption.install()
    fill_standard_streams()
    code: str | int | None = 0
    try:
        interruption.listen()
        from braidbench.cli.app import run

        run(arguments)
    except SystemExit as stop:
        code = stop.code
    except BaseException:
        # An interruption, whatever it has become on its way; anything else is a fault of ours and shown.
        if interruption.received() is None:
            raise
    sys.exit(interruption.end(code if isinstance(code, int) else 0))
