"""Read the next batches in a thread while the current one is computed."""

from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from typing import Any, TypeVar

T = TypeVar("T")
_END: Any = object()


def read_ahead(items: Iterator[T], depth: int = 2) -> Generator[T, None, None]:
    """Yield the items in order, produced in another thread, at most ``depth`` ahead.

    Errors of the producer are raised here; a consumer that stops early stops the producer.
    """
    context = copy_context()
    ahead: deque[Future[T]] = deque()
    with ThreadPoolExecutor(1, thread_name_prefix="histoquilt-patches") as pool:
        try:
            while True:
                while len(ahead) <= depth:
                    ahead.append(pool.submit(context.run, lambda: next(items, _END)))
                item = ahead.popleft().result()
                if item is _END:
                    return
                yield item
        finally:
            pool.shutdown(cancel_futures=True)
