"""Hashes of code, for identities: when a component's source changes, its cells are new ones."""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.machinery
import importlib.util
import io
import tokenize
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from braidbench.errors import PluginError

_HEADER = 16
"""Bytes at the beginning of a compiled file that say when it was compiled, from what."""


def source_hash(target: str) -> str:
    """sha256 (16 hex digits) over the module of ``"module:attribute"`` and every module of the same top-level package
    that it imports, directly or through others. Nothing is imported but parent packages.

    Comments, blank lines and trailing white space do not count. Of a module that comes without its source, as an
    extension or compiled, the file counts as it is. Code outside the package counts through its version, which the
    environment records. Raises PluginError where its file cannot be read.
    """
    return _hash_module(target.partition(":")[0])


@functools.cache
def _hash_module(module: str) -> str:
    digest = hashlib.sha256()
    for name, code in sorted(_closure(module).items()):
        digest.update(f"{name}\n".encode())
        digest.update(normalised(code.text).encode() if code.text is not None else code.content)
    return digest.hexdigest()[:16]


def normalised(source: str) -> str:
    """Source text without comments, blank lines and trailing white space."""
    # Not splitlines, which also splits at a form feed and other signs that end no line of Python.
    lines = source.split("\n")
    try:
        for token in tokenize.generate_tokens(io.StringIO(source).readline):
            if token.type == tokenize.COMMENT:
                row, column = token.start
                lines[row - 1] = lines[row - 1][:column]
    except (tokenize.TokenError, SyntaxError):
        return source
    return "\n".join(line.rstrip() for line in lines if line.strip())


@dataclass(frozen=True)
class _Code:
    text: str | None
    """The source as Python reads it: without a byte order mark, in the coding that it declares, lines ended by LF."""
    content: bytes = b""
    """What there is of a module without source."""
    package: bool = False


def _closure(module: str) -> dict[str, _Code]:
    """Modules of the same top-level package that ``module`` reaches by static imports, with their code."""
    package = module.partition(".")[0]
    found: dict[str, _Code] = {}
    queue = [module]
    while queue:
        name = queue.pop()
        if name in found or name.partition(".")[0] != package:
            continue
        code = _code(name, needed=name == module)
        if code is None:
            continue
        # A plugin's own __init__ holds its declarations; those enter an identity by value, not as source.
        if name == package and name != module:
            continue
        found[name] = code
        queue.extend(_imports(code, name))
    return found


def _code(module: str, needed: bool) -> _Code | None:
    """A module's code, from wherever Python would import it: a folder, a zip file, a finder of somebody's own. None for
    one that is not there, that Python has built in, or that is a folder without code."""
    try:
        spec = importlib.util.find_spec(module)
    except ModuleNotFoundError:
        # What is no module may be something in one; that a target is not there is said when it is loaded.
        return None
    except Exception as error:
        # A parent package may raise anything.
        if needed:
            raise PluginError(f"{module}: its code cannot be found ({type(error).__name__}: {error})") from None
        return None
    if spec is None:
        return None
    if spec.origin in ("built-in", "frozen") or (spec.loader is None and spec.submodule_search_locations is not None):
        return None
    loader: Any = spec.loader
    package = spec.submodule_search_locations is not None
    try:
        if isinstance(loader, importlib.machinery.NamespaceLoader):
            return None
        text = loader.get_source(module)
        if text is not None:
            return _Code(_universal(text), package=package)
    except (AttributeError, ImportError, SyntaxError, UnicodeDecodeError):
        pass
    try:
        content = loader.get_data(spec.origin) if hasattr(loader, "get_data") else Path(str(spec.origin)).read_bytes()
    except (OSError, TypeError) as error:
        raise PluginError(f"{module}: its code cannot be read ({error}), and cells are known by it") from None
    compiled = isinstance(loader, importlib.machinery.SourcelessFileLoader)
    return _Code(None, content[_HEADER:] if compiled else content, package)


def _universal(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _imports(code: _Code, module: str) -> list[str]:
    if code.text is None:
        return []
    try:
        tree = ast.parse(code.text)
    except (SyntaxError, ValueError, RecursionError):
        # One that is there for another Python, behind a condition. Its text counts all the same.
        return []
    names: list[str] = []
    parent = module if code.package else module.rpartition(".")[0]
    for node in ast.walk(tree):
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
