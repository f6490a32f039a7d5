"""Hashes of code, for identities: when a component's source changes, its cells are new ones."""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.util
import io
import tokenize
from pathlib import Path


def source_hash(target: str) -> str:
    """sha256 (16 hex digits) over the module of ``"module:attribute"`` and every module of the same top-level package
    that it imports, directly or through others. Nothing is imported but parent packages.

    Comments, blank lines and trailing white space do not count. Code outside the package counts through its version,
    which the environment records.
    """
    return _hash_module(target.partition(":")[0])


@functools.cache
def _hash_module(module: str) -> str:
    digest = hashlib.sha256()
    for name, path in sorted(_closure(module).items()):
        digest.update(f"{name}\n".encode())
        digest.update(normalised(path.read_text(encoding="utf-8")).encode())
    return digest.hexdigest()[:16]


def normalised(source: str) -> str:
    """Source text without comments, blank lines and trailing white space."""
    lines = source.splitlines()
    try:
        for token in tokenize.generate_tokens(io.StringIO(source).readline):
            if token.type == tokenize.COMMENT:
                row, column = token.start
                lines[row - 1] = lines[row - 1][:column]
    except (tokenize.TokenError, IndentationError):
        return source
    return "\n".join(line.rstrip() for line in lines if line.strip())


def _closure(module: str) -> dict[str, Path]:
    """Modules of the same top-level package that ``module`` reaches by static imports, with their files."""
    package = module.partition(".")[0]
    found: dict[str, Path] = {}
    queue = [module]
    while queue:
        name = queue.pop()
        if name in found or name.partition(".")[0] != package:
            continue
        path = _file(name)
        if path is None:
            continue
        # A plugin's own __init__ holds its declarations; those enter an identity by value, not as source.
        if name == package and name != module:
            continue
        found[name] = path
        queue.extend(_imports(path, name))
    return found


def _file(module: str) -> Path | None:
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        return None
    if spec is None or not spec.origin or not spec.origin.endswith(".py"):
        return None
    return Path(spec.origin)


def _imports(path: Path, module: str) -> list[str]:
    names: list[str] = []
    parent = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.extend(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                anchor = parent.rsplit(".", node.level - 1)[0] if node.level > 1 else parent
                base = f"{anchor}.{base}" if base else anchor
            names.append(base)
            names.extend(f"{base}.{alias.name}" for alias in node.names)
    return names
