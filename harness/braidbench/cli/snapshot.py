"""Help and listings, printed again without looking anything up.

What ``--help`` and ``list`` print follows from the installed plugins alone. The first time, the text is kept in the
user's cache with the size and times of every file and folder that it was made from; as long as none of them changes, it
is printed as it is. Reading it takes no import beyond what the interpreter has loaded at start-up, because
importing the option parser alone takes three times as long as starting the interpreter. Anything unusual (a quarantined
plugin, a full disk, a damaged snapshot, a terminal that has no sign for something) falls back to the long way.
"""

import os
import sys

from braidbench.paths import cache_root

_KINDS = frozenset((
    "datasets", "encoders", "fusions", "objectives", "metrics", "procedures", "methods", "corruptions", "measures",
    "executors", "commands",
))  # fmt: skip
HEADER = "braidbench snapshot 2"
END = "--"


def eligible(arguments: list[str]) -> bool:
    """Whether what is asked for depends on the installed plugins and nothing else."""
    if not arguments or arguments in (["--help"], ["-h"], ["--version"]):
        return True
    return arguments[0] == "list" and len(arguments) > 1 and _KINDS.issuperset(set(arguments[1:]) - {"--json"})


def replay(arguments: list[str]) -> bool:
    """Print the snapshot of this very command, if it still holds."""
    path, out = location(arguments), sys.stdout
    if path is None or out is None:
        return False
    try:
        with open(path, encoding="utf-8", newline="") as file:
            text = file.read()
        head, found, body = text.partition(f"\n{END}\n")
        lines = head.split("\n")
        if not found or len(lines) < 2 or lines[0] != HEADER or lines[1] != circumstances():
            return False
        for line in lines[2:]:
            seen, _, watched = line.partition(" ")
            if state(watched) != seen:
                return False
        body.encode(out.encoding)
    except (OSError, ValueError):
        return False
    try:
        out.write(body)
        out.flush()
    except OSError as error:
        _refused(error)
    return True


def _refused(error: OSError) -> None:
    """The text has no reader, which is none of our business, or no place, which is an error."""
    from braidbench.interruption import discard

    # What is left in the buffer must not fail again when the interpreter ends.
    discard(1)
    if not isinstance(error, BrokenPipeError):
        from braidbench.errors import StorageError

        if sys.stderr is not None:
            print(f"error: standard output cannot be written ({error.strerror})", file=sys.stderr)
        sys.exit(StorageError.exit_code)


def state(path: str) -> str:
    """Size, and times of the last change of the content and of anything about it; a dash for what is not there."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return "-"
    return f"{status.st_size},{status.st_mtime_ns},{status.st_ctime_ns}"


def circumstances() -> str:
    """What else decides the text: the interpreter, where it looks for modules, and how wide the terminal is."""
    try:
        width = str(os.get_terminal_size(1).columns)
    except OSError:
        width = ""
    names = ("COLUMNS", "NO_COLOR", "FORCE_COLOR", "TERM", "LANG", "LC_ALL", "PYTHONPATH")
    return "|".join([sys.version, sys.prefix, width, *sys.path, *(os.environ.get(name, "") for name in names)]).replace(
        "\n", " "
    )


def location(arguments: list[str]) -> str | None:
    """The snapshot's file; None for a user who has no place for it."""
    root = cache_root()
    if root is None:
        return None
    # FNV-1a of the prefix: hashlib alone costs a tenth of the whole budget.
    value = 0xCBF29CE484222325
    for byte in sys.prefix.encode():
        value = ((value ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    name = "_".join(arguments).replace("--", "") or "help"
    return os.path.join(root, "snapshots", f"{value:016x}-{name}")
