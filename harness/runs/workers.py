"""Processes, or threads, that share long work with whoever leads it.

Theory of operation
-------------------
Processes are spawned, not forked: a fork would copy the leader's threads and sockets half. Ctrl-C reaches every process of a
terminal, and they leave it to the leader. They end with the leader, however it ends, and what they have launched ends with
them: the kernel sees to both.
"""

import multiprocessing
import os
import signal
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import Final, TypeVar

from node.__main__ import die_with

_MOMENT_S: Final = 0.2

T = TypeVar("T")


@contextmanager
def pool_of(workers: int) -> Iterator[ProcessPoolExecutor]:
    """So many workers. At the end of the block they are killed, whatever they are at."""
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
    """So many threads. The end of the block waits for what they are at, unless it was interrupted."""
    pool = ThreadPoolExecutor(workers, thread_name_prefix=name)
    try:
        yield pool
    except BaseException as error:
        pool.shutdown(wait=not isinstance(error, KeyboardInterrupt), cancel_futures=True)
        raise
    pool.shutdown()


def as_done(futures: Iterable[Future[T]]) -> Iterator[Future[T]]:
    """Each future as it is done, as of `concurrent.futures`, and Ctrl-C meanwhile.

    A signal wakes the main thread only if it is taken in there. A thread that starts a process just then may take it in
    instead, and whoever waits without an end never learns of it. So it waits for a moment at a time.
    """
    left = set(futures)
    while left:
        done, left = wait(left, _MOMENT_S, FIRST_COMPLETED)
        yield from done


def _begin(leader: int) -> None:
    """In a worker."""
    die_with(leader)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
