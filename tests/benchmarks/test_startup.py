"""``braidbench --help`` and ``list`` against the bare interpreter."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

COMMAND = str(Path(sys.executable).with_name("braidbench"))


@pytest.mark.parametrize(
    ("arguments", "target"),
    [(["--help"], "at most 2"), (["list", "methods"], "at most 3"), (["list", "datasets", "--json"], "at most 3")],
    ids=["help", "list", "list-json"],
)
def test_startup(ratio, arguments, target):
    def run(command):
        return lambda: subprocess.run(command, check=True, stdout=subprocess.DEVNULL)

    ratio(run([COMMAND, *arguments]), run([sys.executable, "-c", "pass"]), 40, target)
