"""Lets the threads of one process share a blocking client, and keeps other processes away from it.

Theory of operation
-------------------
ZeroMQ's sockets are for one thread at a time, and a thread that waits for a reply may wait for long. So one of the threads that
wait **drives** the sockets of the client, for all of them: it sends what is due and takes in what arrives. The other threads
begin calls and sleep. A thread whose call has its outcome stops driving, and another thread that still waits takes over.

Rules
-----
1. Only the driving thread uses the sockets and the poller. While it waits for messages, it does not hold `mutex`.
2. A thread that looks at or changes anything else of the client holds `mutex`. A callback runs with it held, and may use the
   client.
3. A thread that begins a call while another one drives wakes the driver, which sends it.
4. A child process that was forked owns none of this: its parent goes on to use the same connections. It gets a Mistake at once.
"""

import os
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from cluster.errors import Mistake


class OwnProcess:
    """Belongs to the process that made it. A child process that was forked must not use it."""

    def __init__(self, what: str, instead: str) -> None:
        """Note the process.

        Args:
            what: names the object in the error, such as "this client".
            instead: says what the child process has to do.
        """
        self._pid: Final = os.getpid()
        self._what, self._instead = what, instead

    @property
    def is_here(self) -> bool:
        """Whether this is the process that made the object."""
        return os.getpid() == self._pid

    def check(self) -> None:
        """Raise Mistake in a child process that was forked."""
        if not self.is_here:
            raise Mistake(
                f"{self._what} belongs to process {self._pid}, of which this process ({os.getpid()}) was forked, and its "
                f"connections cannot be shared: {self._instead}. Nothing was sent"
            )


class ThreadSharing:
    """Which thread drives the sockets of one client."""

    def __init__(self, *, wakes: bool = True) -> None:
        """Make the sharing of a client that no thread drives.

        Args:
            wakes: whether there is a `wake_up`. It takes a descriptor. Without it, the threads of a client sleep longer.
        """
        self.process = OwnProcess("this client", "make a client in this process")
        self.mutex = threading.RLock()
        self._changed = threading.Condition(self.mutex)
        self._driver: int | None = None
        self._sleepers = 0
        #: Readable when the driver is to look for new calls. The client's poller watches it. -1: there is none.
        self.wake_up = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC) if wakes else -1

    def until(self, done: Callable[[], bool], step: Callable[[], None]) -> None:
        """Return when `done()` is true. This thread drives with `step()` meanwhile, or sleeps while another one does.

        Raises:
            Mistake: this is a forked child process.
        """
        self.process.check()
        me = threading.get_ident()
        while not done():
            if self._driver == me:  # a callback of `step` waits
                step()
            elif self._becomes_driver(me, done):
                try:
                    while not done():
                        step()
                        if self._sleepers:
                            self._notify()
                finally:
                    self._stop_driving()

    def try_driving(self, step: Callable[[], None]) -> None:
        """Call `step()` as the driver, or wake the driver if there is one. Raises Mistake in a forked child process."""
        self.process.check()
        me = threading.get_ident()
        with self.mutex:
            if self._driver not in (None, me):
                self._wake_driver()
                return
            nested, self._driver = self._driver == me, me
        try:
            step()
        finally:
            if not nested:
                self._stop_driving()

    def woken(self) -> None:
        """Note that the driver has seen `wake_up`."""
        with suppress(BlockingIOError):
            os.eventfd_read(self.wake_up)

    def close(self, close: Callable[[], None]) -> None:
        """Wait until no other thread drives, and call `close()`. Every call has an outcome, so the driver stops soon."""
        me = threading.get_ident()
        with self._changed:
            while self._driver not in (None, me):
                self._wake_driver()
                self._changed.wait()
            close()
            if self.wake_up >= 0:
                os.close(self.wake_up)
                self.wake_up = -1

    def _becomes_driver(self, me: int, done: Callable[[], bool]) -> bool:
        """Sleep while another thread drives. Returns True if this thread is the driver now, False if `done()`."""
        with self._changed:
            if self._driver is not None:
                self._wake_driver()
            self._sleepers += 1
            try:
                while self._driver is not None and not done():
                    self._changed.wait()
            finally:
                self._sleepers -= 1
            if done():
                return False
            self._driver = me
            return True

    def _stop_driving(self) -> None:
        with self._changed:
            self._driver = None
            self._changed.notify_all()

    def _notify(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def _wake_driver(self) -> None:
        if self.wake_up >= 0:
            os.eventfd_write(self.wake_up, 1)
