"""The bundled datasets as their loaders give them, read once a session from the packages that are installed."""

from __future__ import annotations

import functools
import importlib.metadata
from collections.abc import Callable
from typing import Any

import pytest

from braidbench.preparation import locate
from braidbench.registry import load_target
from braidbench.specs import Dataset
from braidbench_multibench import register_datasets


@functools.cache
def _loaded(name: str) -> Any:
    spec = next(spec for spec in register_datasets() if spec.name == name)
    return load_target(spec)(locate(spec))


def need_packages(spec: Dataset) -> None:
    """Skip the test when a package that ships the data is not installed."""
    for wanted in spec.packages:
        try:
            importlib.metadata.distribution(wanted.distribution)
        except importlib.metadata.PackageNotFoundError:
            pytest.skip(f"{wanted.requirement}, which ships the data of {spec.name}, is not installed")


@pytest.fixture(scope="session")
def specs() -> dict[str, Dataset]:
    return {spec.name: spec for spec in register_datasets()}


@pytest.fixture(scope="session")
def loaded(specs: dict[str, Dataset]) -> Callable[[str], Any]:
    """``loaded(name)`` → the splits of a bundled dataset, shared between tests: do not change them."""

    def load(name: str) -> Any:
        need_packages(specs[name])
        return _loaded(name)

    return load


@pytest.fixture(scope="session")
def sources(specs: dict[str, Dataset]) -> Callable[[str], Any]:
    """``sources(name)`` → the files of a bundled dataset."""

    def find(name: str) -> Any:
        need_packages(specs[name])
        return locate(specs[name])

    return find
