"""One thread for work on small matrices: with more, every call waits for a core that is busy elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import cache, wraps
from typing import Any, ParamSpec, TypeVar

from threadpoolctl import ThreadpoolController, threadpool_limits

P = ParamSpec("P")
T = TypeVar("T")


@cache
def _controller() -> ThreadpoolController:
    return ThreadpoolController()  # finding the libraries takes milliseconds; setting their threads microseconds


def one_thread() -> AbstractContextManager[Any]:
    """BLAS on one thread inside this context; the earlier number again after it."""
    limited: AbstractContextManager[Any] = _controller().limit(limits=1, user_api="blas")
    return limited


def on_one_thread(function: Callable[P, T]) -> Callable[P, T]:
    """``function`` with BLAS and OpenMP on one thread: for what fits classifiers, clusters and small networks.

    OpenMP's threads spin while they wait, so beside one other busy process boosted trees take twenty times as long on
    two threads as on one, and on an idle machine twice as long. One thread also gives the same last bits everywhere.
    """

    @wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> T:
        import sklearn  # noqa: F401 - brings its own OpenMP, which can be limited only once it is loaded

        with threadpool_limits(1):
            return function(*args, **kwargs)

    return wrapped
