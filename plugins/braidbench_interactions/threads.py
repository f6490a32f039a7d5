"""One BLAS thread for the small matrices here: with more, on a busy machine, each call waits for a core."""

from __future__ import annotations

from contextlib import AbstractContextManager
from functools import cache
from typing import Any

from threadpoolctl import ThreadpoolController


@cache
def _controller() -> ThreadpoolController:
    return ThreadpoolController()  # finding the libraries takes milliseconds; setting their threads microseconds


def one_thread() -> AbstractContextManager[Any]:
    """BLAS on one thread inside this context; the earlier number again after it."""
    limited: AbstractContextManager[Any] = _controller().limit(limits=1, user_api="blas")
    return limited
