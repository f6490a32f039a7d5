"""Shared by the benchmarks: what is compared runs alternately in one session, and the ratio is what counts.

``pytest tests/benchmarks`` prints the table of pytest-benchmark; each ratio stands in its ``extra_info`` and is printed
at the end. None of it is part of the test suite: a test that fails on a noisy machine teaches nothing.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import pytest

RATIOS: list[str] = []


@pytest.fixture
def ratio(benchmark, request):
    """``ratio(ours, yardstick, rounds)`` times both alternately and records the ratio of their medians."""

    def measure(ours: Callable[[], object], yardstick: Callable[[], object], rounds: int, target: str) -> float:
        ours(), yardstick()
        times: tuple[list[float], list[float]] = ([], [])
        for _ in range(rounds):
            for function, kept in zip((ours, yardstick), times, strict=True):
                start = time.perf_counter()
                function()
                kept.append(time.perf_counter() - start)
        mine, other = statistics.median(times[0]), statistics.median(times[1])
        benchmark.extra_info["ratio"] = mine / other
        RATIOS.append(
            f"{request.node.name}: {mine * 1e3:.2f} ms / {other * 1e3:.2f} ms = {mine / other:.3f} ({target})"
        )
        benchmark.pedantic(ours, rounds=1)
        return mine / other

    return measure


@pytest.fixture
def note():
    """``note(text)`` prints a measured figure at the end."""
    return RATIOS.append


def pytest_terminal_summary(terminalreporter):
    terminalreporter.section("measured")
    for line in RATIOS:
        terminalreporter.write_line(line)
