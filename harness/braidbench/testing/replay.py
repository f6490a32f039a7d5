"""Asks a new Python process for what this one has computed.

A new process has another hash seed, another import order and nothing cached, so what it computes alike is computed from
the component and the seed alone.
"""

from __future__ import annotations

import importlib
import json
import os
import pickle
import subprocess
import sys
from typing import Any

from braidbench.testing.kit import Failed

TIMEOUT = 600.0
"""Seconds that a new process may take."""


def in_new_process(function: str, *arguments: Any, **environment: str) -> Any:
    """The JSON value of ``"module:function"`` called with ``arguments`` in a new process. Raises Failed if it dies.

    ``environment`` is added to this process's; modules are found on the same path as here.
    """
    env = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(entry or os.getcwd() for entry in sys.path),
        "PYTHONHASHSEED": "20240503",
        **environment,
    }
    done = subprocess.run(
        [sys.executable, "-m", "braidbench.testing.replay", function],
        input=pickle.dumps(arguments), capture_output=True, timeout=TIMEOUT, env=env,
    )  # fmt: skip
    if done.returncode:
        lines = done.stderr.decode(errors="replace").strip().splitlines()
        raise Failed(f"in a new process it ends with: {lines[-1] if lines else f'exit code {done.returncode}'}")
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    """Read arguments on stdin, print the value. Only ever fed by :func:`in_new_process`."""
    module, _, name = sys.argv[1].partition(":")
    arguments = pickle.loads(sys.stdin.buffer.read())
    value = getattr(importlib.import_module(module), name)(*arguments)
    sys.stdout.write(f"\n{json.dumps(value)}\n")


if __name__ == "__main__":
    main()
