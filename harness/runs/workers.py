"""Pools of worker processes or threads for long work.

Rules
-----
1. Worker processes are spawned, not forked: a fork would copy the parent's threads and sockets in part.
2. Ctrl-C reaches every process of a terminal. A worker ignores it; the parent process handles it.
3. A worker process ends when its parent ends, in whatever way, and the processes that a worker has launched end with the
   worker. The kernel does both.
"""

import gc
import multiprocessing
import os
import signal
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import Final, TypeVar

from node.launcher import die_with

_MOMENT_S: Final = 0.2
#: How many more containers a worker process makes than it frees before the collector looks at them. A run's record alone has tens
#: of thousands, which live until the run is judged; with Python's 700 the collector visits them again and again.
_COLLECT_AFTER: Final = 50_000

T = TypeVar("T")  # what a future returns


@contextmanager
def pool_of(workers: int) -> Iterator[ProcessPoolExecutor]:
    """Yield a pool of `workers` processes. At the end of the block they are killed, even in the middle of their work."""
    context = multiprocessing.get_context("spawn")
    before = {child.pid for child in multiprocessing.active_children()}
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_begin, initargs=(os.getpid(),))
    try:
        yield pool
    finally:
        for child in multiprocessing.active_children():
            if child.pid not in before:
                child.kill()
        pool.shutdown(wait=True, cancel_futures=True)


@contextmanager
def threads_of(workers: int, name: str) -> Iterator[ThreadPoolExecutor]:
    """Yield a pool of `workers` threads. The end of the block waits for the work that has begun, except after Ctrl-C."""
    pool = ThreadPoolExecutor(workers, thread_name_prefix=name)
    try:
        yield pool
    except BaseException as error:
        pool.shutdown(wait=not isinstance(error, KeyboardInterrupt), cancel_futures=True)
        raise
    pool.shutdown()


def as_done(futures: Iterable[Future[T]]) -> Iterator[Future[T]]:
    """Yield each future as it is done, as `concurrent.futures.as_completed` does, and let Ctrl-C interrupt the wait.

    The kernel may deliver a signal to another thread than the main one, for instance to one that starts a process just then.
    A main thread that waits without a time limit would then never handle the signal. So it waits for a moment at a time.
    """
    left = set(futures)
    while left:
        done, left = wait(left, _MOMENT_S, FIRST_COMPLETED)
        yield from done


def _begin(parent: int) -> None:
    """Prepare a worker process."""
    die_with(parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    gc.set_threshold(_COLLECT_AFTER)
