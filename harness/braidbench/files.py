"""Writing files so that nothing is ever half there: temporary name, fsync, rename. Locks, where there are any."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import re
import secrets
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from braidbench.errors import StorageError
from braidbench.paths import expanded

_REFUSALS = frozenset(
    getattr(errno, name)
    for name in [
        "EACCES", "EPERM", "EROFS", "ENOTDIR", "EEXIST", "ENOENT", "ENAMETOOLONG", "EDQUOT", "ENOTEMPTY", "EISDIR",
        "EFBIG", "EIO", "ESTALE", "ELOOP",
    ]
)  # fmt: skip

_NO_LOCKS = frozenset(getattr(errno, name) for name in ["ENOLCK", "ENOTSUP", "EOPNOTSUPP", "ENOSYS", "EINVAL", "EBADF"])
"""What flock says on a file system that has no locks, or none for a file that is open for reading only."""

_said: set[str] = set()


@contextmanager
def storage(path: Path) -> Iterator[None]:
    """Turn the operating system's refusal to write below ``path`` into one clear line."""
    try:
        yield
    except OSError as error:
        number = error.errno
        if isinstance(error, shutil.Error):
            # The copy of a folder: a list of what went wrong, as text.
            found = re.search(r"\[Errno (\d+)\]", str(error))
            number = int(found[1]) if found else None
        if number == errno.ENOSPC:
            raise StorageError(f"{path}: the disk is full; free some space and give the same command again") from error
        if number is not None and number in _REFUSALS:
            raise StorageError(f"{path}: cannot be written ({os.strerror(number)}); choose another folder") from error
        raise


def temporary_name(path: Path) -> Path:
    """A new name beside ``path``. Not tempfile's: that makes files and folders which nobody else may read, whatever the
    user's umask says."""
    return path.with_name(f".{path.name[:40]}.{secrets.token_hex(6)}.tmp")


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Let ``write`` fill a temporary file beside ``path``; make it durable and put it in place.

    The file has the permissions that the user's umask leaves. A link is followed, and something that is no regular file
    (``/dev/null``, a pipe) is written to, and not replaced.
    """
    path = Path(expanded(os.fspath(path)))
    with storage(path):
        if path.is_symlink():
            path = Path(os.path.realpath(path))
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and not path.is_file() and not path.is_dir():
            write(path)
            return
        temporary = temporary_name(path)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        try:
            write(temporary)
            os.fsync(descriptor)
            temporary.replace(path)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise
        finally:
            os.close(descriptor)
        directory = os.open(path.parent, os.O_RDONLY)
        try:
            # Some network file systems do not do this for a folder; the file itself is safe.
            with contextlib.suppress(OSError):
                os.fsync(directory)
        finally:
            os.close(directory)


@contextmanager
def locked(path: Path, wait: bool = True) -> Iterator[bool]:
    """Hold the kernel's lock on the file ``path``, which is made if it is not there; it goes with the process.

    Yields False at once if somebody else has it and ``wait`` is False. On a file system that has no locks the block
    runs without, and standard error says so once.
    """
    with storage(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except PermissionError:
            # Another user's lock, in a folder of both: to hold it, reading is enough.
            descriptor = os.open(path, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            _say_once(
                f"warning: {path.parent}: this file system has no locks ({error.strerror}); going on without, so do "
                "not start two commands that write the same there"
            )
        yield True
    finally:
        os.close(descriptor)


def _say_once(text: str) -> None:
    # One sentence a process, for one of its folders: the next one says nothing new.
    if "locks" not in _said:
        _said.add("locks")
        with contextlib.suppress(OSError, ValueError, AttributeError):
            sys.stderr.write(f"{text}\n")
            sys.stderr.flush()


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
