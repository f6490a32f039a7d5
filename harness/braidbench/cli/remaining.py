"""How long a run still takes: from earlier cells, and from the epochs of this one as they come."""

from __future__ import annotations

import heapq
import statistics
from collections.abc import Hashable
from dataclasses import dataclass


@dataclass
class _Work:
    dataset: str
    row: str
    epochs: int
    expected: float | None
    began: float | None = None
    first: tuple[int, float] | None = None
    """The first epoch that was heard of, and when; a cell that goes on from a checkpoint begins in the middle."""
    last: tuple[int, float] | None = None
    took: float | None = None

    def whole(self) -> float | None:
        """Seconds from its beginning to its end, as far as it can be told from the cell itself."""
        if self.took is not None:
            return self.took
        if self.began is None or self.first is None or self.last is None:
            return None
        if self.last[0] > self.first[0]:
            rate = (self.last[1] - self.first[1]) / (self.last[0] - self.first[0])
        elif self.expected is None:
            rate = self.first[1] - self.began
        else:
            # One epoch with the start-up in it says less than earlier cells do.
            return None
        return self.last[1] - self.began + rate * max(self.epochs - self.last[0], 0)


class Remaining:
    """Keeps the time of a run; every time is in seconds, on one clock of the caller's."""

    def __init__(self, jobs: int) -> None:
        self._jobs = jobs
        self._cells: dict[Hashable, _Work] = {}

    def add(self, cell: Hashable, dataset: str, row: str, epochs: int, expected: float | None) -> None:
        """A cell that is to run, in the order of running; ``expected`` is what earlier cells took, if there are any."""
        self._cells[cell] = _Work(dataset, row, epochs, expected)

    def begin(self, cell: Hashable, now: float) -> None:
        self._cells[cell].began = now

    def epoch(self, cell: Hashable, epoch: int, epochs: int, now: float) -> None:
        work = self._cells[cell]
        if work.began is None:
            work.began = now
        if work.last is not None and epoch <= work.last[0]:
            # A procedure that trains again: another count of epochs begins.
            work.first = None
        work.epochs, work.last = epochs, (epoch, now)
        work.first = work.first or work.last

    def end(self, cell: Hashable, now: float) -> None:
        work = self._cells[cell]
        work.took = 0.0 if work.began is None else now - work.began

    def seconds(self, now: float) -> float | None:
        """Seconds until the last cell ends; None while nothing is known of one of them."""
        slots: list[float] = []
        for work in self._cells.values():
            if work.took is None and work.began is not None:
                whole = self._estimate(work)
                if whole is None:
                    return None
                slots.append(max(whole - (now - work.began), 0.0))
        slots += [0.0] * max(self._jobs - len(slots), 0)
        heapq.heapify(slots)
        for work in self._cells.values():
            if work.took is None and work.began is None:
                whole = self._estimate(work)
                if whole is None:
                    return None
                heapq.heappush(slots, heapq.heappop(slots) + whole)
        return max(slots)

    def _estimate(self, work: _Work) -> float | None:
        """The best that is known of a cell's time: itself, its row here, its row before, or what an epoch takes."""
        own = work.whole()
        if own is not None:
            return own
        seen = [(other, whole) for other in self._cells.values() if (whole := other.whole())]
        same = [whole for other, whole in seen if (other.dataset, other.row) == (work.dataset, work.row)]
        if same:
            return statistics.median(same)
        if work.expected is not None:
            # Before, only training was timed, on another machine perhaps.
            ratios = [whole / other.expected for other, whole in seen if other.expected]
            return work.expected * (statistics.median(ratios) if ratios else 1.0)
        near = [(other, whole) for other, whole in seen if other.dataset == work.dataset] or seen
        rates = [whole / other.epochs for other, whole in near if other.epochs]
        return statistics.median(rates) * work.epochs if rates else None


def left(seconds: float | None, short: bool = False) -> str:
    """``about 3 min left``, or that nothing is known."""
    if seconds is None:
        return "? left" if short else "time left unknown"
    if seconds < 90:
        text = f"{max(round(seconds), 1)} s"
    elif seconds < 90 * 60:
        text = f"{seconds / 60:.0f} min"
    else:
        text = f"{seconds / 3600:.1f} h"
    return f"{text} left" if short else f"about {text} left"
