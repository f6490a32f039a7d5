"""Writing files so that nothing is ever half there: temporary name, fsync, rename."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from braidbench.errors import StorageError

_REFUSALS = frozenset(
    getattr(errno, name)
    for name in ["EACCES", "EPERM", "EROFS", "ENOTDIR", "EEXIST", "ENOENT", "ENAMETOOLONG", "EDQUOT"]
)


@contextmanager
def storage(path: Path) -> Iterator[None]:
    """Turn the operating system's refusal to write below ``path`` into one clear line."""
    try:
        yield
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise StorageError(f"{path}: the disk is full; free some space and give the same command again") from error
        if error.errno in _REFUSALS:
            raise StorageError(f"{path}: cannot be written ({error.strerror}); choose another folder") from error
        raise


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Let ``write`` fill a temporary file beside ``path``; make it durable and put it in place."""
    with storage(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        try:
            write(temporary)
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
            temporary.chmod(0o644)
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        directory = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


def write_bytes(path: Path, data: bytes) -> None:
    """Write bytes atomically. Serialise in memory and come here: libraries report a full disk each in its own way."""
    write_atomically(path, lambda temporary: temporary.write_bytes(data))


def write_text(path: Path, text: str) -> None:
    """Write text atomically, as UTF-8."""
    write_bytes(path, text.encode())


def canonical_json(value: Any) -> str:
    """One text for one value: sorted keys, no spaces, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def readable_name(*parts: str) -> str:
    """A name for a file that people can read and any file system takes: parts may be strangers', and two different
    ones may become one name, so a hash of what they are belongs behind it."""
    return re.sub(r"[^A-Za-z0-9._=-]+", "_", "--".join(parts))[:150]


def sha256_json(value: Any) -> str:
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def sha256_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
