"""Help and listings, printed again without looking anything up.

What ``--help`` and ``list`` print follows from the installed plugins alone. The first time, the text is kept in the
user's cache with the size and modification time of every file and folder that it was made from; as long as none of them
changes, it is printed as it is. Reading it takes no import beyond what the interpreter has loaded at start-up, because
importing the option parser alone takes three times as long as starting the interpreter. Anything unusual (a quarantined
plugin, a full disk, a damaged snapshot) falls back to the long way.
"""

import os
import sys

from braidbench.paths import cache_root

_KINDS = frozenset((
    "datasets", "encoders", "fusions", "objectives", "metrics", "procedures", "methods", "corruptions", "measures",
    "executors", "commands",
))  # fmt: skip
HEADER = "braidbench snapshot 1"
END = "--"


def eligible(arguments: list[str]) -> bool:
    """Whether what is asked for depends on the installed plugins and nothing else."""
    if not arguments or arguments in (["--help"], ["-h"], ["--version"]):
        return True
    return arguments[0] == "list" and len(arguments) > 1 and _KINDS.issuperset(set(arguments[1:]) - {"--json"})


def replay(arguments: list[str]) -> bool:
    """Print the snapshot of this very command, if it still holds."""
    try:
        with open(location(arguments), encoding="utf-8") as file:
            text = file.read()
    except (OSError, ValueError):
        return False
    head, found, body = text.partition(f"\n{END}\n")
    lines = head.split("\n")
    if not found or len(lines) < 2 or lines[0] != HEADER or lines[1] != circumstances():
        return False
    for line in lines[2:]:
        size, _, rest = line.partition(" ")
        modified, _, watched = rest.partition(" ")
        if state(watched) != (size, modified):
            return False
    sys.stdout.write(body)
    sys.stdout.flush()
    return True


def state(path: str) -> tuple[str, str]:
    try:
        status = os.stat(path)
    except OSError:
        return "-", "-"
    return str(status.st_size), str(status.st_mtime_ns)


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


def location(arguments: list[str]) -> str:
    # FNV-1a of the prefix: hashlib alone costs a tenth of the whole budget.
    value = 0xCBF29CE484222325
    for byte in sys.prefix.encode():
        value = ((value ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    name = "_".join(arguments).replace("--", "") or "help"
    return os.path.join(cache_root(), "snapshots", f"{value:016x}-{name}")
