"""The results folder: one folder a cell, every file written whole or not at all.

``result.json`` is written last and makes a cell exist. A file that cannot be read is set aside under another name and
reported; nothing is deleted. A lock that the kernel drops with its process keeps two runs from doing one cell twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from braidbench.errors import DataError, StorageError, UsageError
from braidbench.files import locked, readable_name, sha256_file, storage, temporary_name, write_text
from braidbench.paths import expanded
from braidbench.results import Result, parse, read_document
from braidbench.text import PAGE, plain

RESULT = "result.json"


@dataclass
class Found:
    """What a results folder holds."""

    results: list[tuple[Path, Result]] = field(default_factory=list)
    corrupt: list[str] = field(default_factory=list)
    """One sentence for each file that could not be read, or that a newer version wrote."""

    def add(self, folder: Path, path: Path) -> None:
        """Read one result that may be anybody's."""
        try:
            self.results.append((folder, parse(read_document(path), str(path))))
        except (DataError, OSError) as error:
            self.corrupt.append(plain(str(error), PAGE))

    def find(self, prefix: str, root: Path) -> tuple[Path, Result]:
        """The one cell whose identity begins with ``prefix``. Raises UsageError if there is none, or several."""
        hits = [(folder, result) for folder, result in self.results if result.cell.startswith(prefix.lower())]
        if not hits:
            raise UsageError(f"no cell {prefix!r} in {root}; braidbench table {root} lists them")
        if len({result.model_dump_json() for _, result in hits}) == 1:
            return hits[0]
        if len({result.cell for _, result in hits}) == 1:
            where = ", ".join(str(folder) for folder, _ in hits[:5])
            raise UsageError(
                f"{len(hits)} different results claim to be cell {prefix!r}: {where}; move all but one away"
            )
        cells = ", ".join(result.cell[:12] for _, result in hits[:5])
        raise UsageError(f"{prefix!r} begins the names of {len(hits)} cells ({cells}, …): write more of it")


class Store:
    """A results folder. Creating one writes nothing."""

    def __init__(self, root: Path) -> None:
        self.root = Path(expanded(str(root)))

    def folder(self, dataset: str, task: str, method: str, seed: int, cell: str) -> Path:
        """A cell's folder: a name that people can read, made unique by the identity."""
        return self.root / f"{readable_name(dataset, task, method, f'seed{seed}')}--{cell[:12]}"

    def check_writable(self) -> None:
        """Raise StorageError now rather than after hours of training."""
        probe = self.root / ".braidbench"
        with storage(self.root):
            self.root.mkdir(parents=True, exist_ok=True)
            if probe.is_file():
                # Another user's perhaps, who alone may replace it.
                temporary = temporary_name(probe)
                try:
                    write_text(temporary, "a results folder of braidbench\n")
                finally:
                    temporary.unlink(missing_ok=True)
            else:
                write_text(probe, "a results folder of braidbench\n")
        # Said here, where there is somebody to read it, if there are no locks; a cell has but its log.
        with locked(self.root / ".locks" / "probe", wait=False):
            pass

    def load(self, folder: Path) -> Result | None:
        """The folder's result; None if there is none. Raises DataError for one that is not whole, NewerVersionError for
        one of a newer version, and StorageError where a file or another cell's result stands in the folder's place. It
        changes nothing."""
        path = folder / RESULT
        if folder.exists() and not folder.is_dir():
            raise StorageError(f"{folder} is a file where a cell's folder belongs; move it away")
        try:
            result = parse(read_document(path), str(path))
        except FileNotFoundError:
            return None
        except NotADirectoryError:
            raise StorageError(f"{self.root} is or lies below a file and cannot be written; name a folder") from None
        if not folder.name.endswith(f"--{result.cell[:12]}"):
            # A folder that was renamed or copied: neither this cell's, nor to be written over.
            raise StorageError(f"{folder} holds the result of another cell ({result.cell[:12]}); move it away")
        return result

    def all(self) -> Found:
        """Every result below the root, by folder name. Corrupt ones are reported and left where they are."""
        found = Found()
        if not self.root.is_dir():
            return found
        for path in sorted(self.root.glob(f"*/{RESULT}")):
            found.add(path.parent, path)
        return found

    def find(self, prefix: str) -> tuple[Path, Result]:
        """The one cell whose identity begins with ``prefix``. Raises UsageError if there is none, or several."""
        return self.all().find(prefix, self.root)

    @contextmanager
    def lock(self, cell: str, wait: bool) -> Iterator[bool]:
        """Hold the cell's lock; yields False at once if another process has it and ``wait`` is False."""
        with locked(self.root / ".locks" / f"{cell[:32]}.lock", wait) as held:
            yield held


def read(paths: Iterable[Path]) -> Found:
    """Results of several folders: each one's cells, and JSON files that lie in it as they are.

    Raises UsageError for a path that is not there. Corrupt files are reported, and left where they are.
    """
    found = Found()
    for path in paths:
        if not path.exists():
            raise UsageError(f"{path}: there are no results here; braidbench run writes them to ./results")
        here = Store(path).all()
        found.results += here.results
        found.corrupt += here.corrupt
        for file in [path] if path.is_file() else sorted(path.glob("*.json")):
            found.add(file, file)
    return found


def lost_files(folder: Path, result: Result) -> list[str]:
    """Names of the result's files that are not there any more, or are not what was stored."""
    return [
        name
        for name, digest in result.files.items()
        if not (folder / name).is_file() or sha256_file(folder / name) != digest
    ]


def set_aside(path: Path) -> Path:
    """Rename a damaged file so that it neither counts nor is lost."""
    target = aside(path)
    with storage(path):
        path.rename(target)
    return target


def aside(path: Path) -> Path:
    """The name under which :func:`set_aside` would keep a damaged file."""
    for number in range(1, 1000):
        target = path.with_name(f"{path.name}.corrupt-{number}")
        if not target.exists():
            return target
    raise UsageError(f"{path.parent} holds a thousand corrupt files; look into it and clear it")
