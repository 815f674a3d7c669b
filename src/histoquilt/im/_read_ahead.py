"""A thread that reads the next batches while this one is computed on."""

import threading
from collections.abc import Generator, Iterator
from contextvars import copy_context
from queue import Empty, Full, Queue
from typing import TypeVar

T = TypeVar("T")
_POLL_S = 0.05


def read_ahead(items: Iterator[T], depth: int = 2) -> Generator[T, None, None]:
    """Yield the items in order, produced in another thread, at most ``depth`` ahead.

    Decoding and resampling release Python's lock, so they run beside the encoder. What the producer raises is raised
    here; a consumer that stops early stops the producer.
    """
    queue: Queue[tuple[bool, T | BaseException | None]] = Queue(maxsize=depth)
    stop = threading.Event()

    def put(entry: tuple[bool, T | BaseException | None]) -> None:
        while not stop.is_set():
            try:
                return queue.put(entry, timeout=_POLL_S)
            except Full:
                continue

    def produce() -> None:
        try:
            for item in items:
                put((True, item))
                if stop.is_set():
                    return
            put((False, None))
        except BaseException as error:
            put((False, error))

    thread = threading.Thread(target=copy_context().run, args=(produce,), name="histoquilt-patches", daemon=True)
    thread.start()
    try:
        while True:
            more, item = queue.get()
            if more:
                yield item  # type: ignore[misc]
            elif item is None:
                return
            else:
                raise item  # type: ignore[misc]
    finally:
        stop.set()
        while True:  # wake a producer that waits for a place
            try:
                queue.get_nowait()
            except Empty:
                break
        thread.join()
