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
    listing = snapshot.eligible(arguments)
    if listing and snapshot.replay(arguments):
        return
    _run(arguments, listing)


def _run(arguments: list[str], listing: bool) -> None:
    # Not even the import of what handles Ctrl-C is a place for it. (signal itself imports more than all of this.)
    import _signal  # type: ignore[import-not-found]

    _signal.pthread_sigmask(_signal.SIG_BLOCK, (_signal.SIGINT, _signal.SIGTERM))
    from braidbench import interruption
    from braidbench.capture import claim, release
    from braidbench.errors import StorageError

    interruption.install()
    recorder = None
    if listing:
        from braidbench.cli.recording import Recorder

        # Before standard output is led elsewhere: how wide it is counts.
        recorder = Recorder(arguments)
    claim()
    code: str | int | None = 0
    try:
        interruption.listen()
        from braidbench.cli.app import run

        if recorder is None:
            run(arguments)
        else:
            with recorder:
                run(arguments)
    except SystemExit as stop:
        code = stop.code
    except BaseException:
        # An interruption, whatever it has become on its way; anything else is a fault of ours and shown.
        if interruption.received() is None:
            raise
    try:
        release()
    except StorageError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        code = error.exit_code
    sys.exit(interruption.end(code if isinstance(code, int) else 0))
