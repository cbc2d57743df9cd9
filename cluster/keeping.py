"""Holding on to something that a log gives for a while: the lease is renewed as long as a `with` block lasts.

A lease lasts at least `ttl_s` seconds from the moment at which it was asked for, since the log's time never runs faster than
real time. So its keeper is sure of it for that long after the last renewal that was answered, and in doubt from then on: see
`Kept.lost`. Whatever is kept belongs to a session of its own, which ends with it.
"""

import threading
from abc import ABC, abstractmethod
from time import monotonic
from typing import TYPE_CHECKING, Final

from cluster.acquiring import LEAST_S
from cluster.errors import CommandRefused, ConsensusError, Mistake

if TYPE_CHECKING:
    from cluster.log_client import LogClient

TTL_S: Final = 10.0
#: What a machine says of a lease that has ended.
ENDED: Final = ("not_held", "stale_token", "not_member", "not_yours")


class LeaseLost(ConsensusError):
    """A lease has ended, or may have, while somebody counted on it. What was kept may have been somebody else's meanwhile."""


class Kept(ABC):
    """What is kept for a `with` block, or from `start` to `stop`. For one thread at a time; it can be used again."""

    def __init__(self, client: "LogClient", what: str, ttl_s: float) -> None:
        """Describe it. `client` is one like the client of its own that it makes; `what` names it in errors."""
        self.what, self.ttl_s = what, ttl_s
        self.renewals = 0
        self._like = client
        self._client: LogClient | None = None
        self._stopped = threading.Event()
        self._renewer: threading.Thread | None = None
        self._refused = False
        self._sure_until = 0.0

    @abstractmethod
    def _begin(self, client: "LogClient") -> float:
        """Get it. Returns since when, by the monotonic clock, its lease lasts at least."""

    @abstractmethod
    def _renew(self, client: "LogClient", timeout_s: float) -> None:
        """Have the lease begin anew."""

    @abstractmethod
    def _finish(self, client: "LogClient") -> None:
        """Let go of it."""

    @property
    def lost(self) -> bool:
        """Whether the lease has ended, or may have: nobody could be reached to renew it, or this process did not run."""
        return self._refused or (self._client is not None and monotonic() > self._sure_until)

    def start(self) -> None:
        """Get it, and renew its lease from now on. Raises as whatever it is does."""
        if self._client is not None:
            raise Mistake(f"{self.what} is kept already: one object keeps one")
        client = self._client = self._like.another("keeper")
        self._sure_until = float("inf")
        try:
            self._sure_until = self._begin(client) + self.ttl_s
        except BaseException:
            self._end()
            raise
        self._refused = False
        self._stopped.clear()
        self._renewer = threading.Thread(target=self._go_on, args=(client,), name=f"keeps {self.what}", daemon=True)
        self._renewer.start()

    def stop(self) -> None:
        """Let go of it.

        Raises:
            LeaseLost: it was lost before that.
            Unknown: no answer came. It ends with its lease.
        """
        client = self._client
        if client is None or self._renewer is None:
            raise Mistake(f"{self.what} is not kept")
        self._stopped.set()
        self._renewer.join()
        try:
            self._finish(client)
        except CommandRefused as error:
            raise LeaseLost(f"{self.what} was lost meanwhile: {error}") from error
        except ConsensusError as error:
            if self.lost:
                raise LeaseLost(f"{self.what} was not renewed in time, so it may have been lost: {error}") from error
            raise
        finally:
            self._end()

    def _end(self) -> None:
        if self._client is not None:
            self._client.end_session(LEAST_S)
            self._client.close()
        self._client = self._renewer = None

    def _go_on(self, client: "LogClient") -> None:
        """The thread. Until it ends, the client is its own."""
        while not self._stopped.wait(self.ttl_s / 3):
            began = monotonic()
            try:
                self._renew(client, self.ttl_s / 3)
            except CommandRefused as error:
                if error.kind in ENDED:
                    self._refused = True
                    return
            except ConsensusError:
                pass  # the next one may be answered
            else:
                # Nobody else has had it meanwhile, even if that was in doubt.
                self._sure_until = began + self.ttl_s
                self.renewals += 1

    def _leave_block(self, *, quietly: bool) -> None:
        """The end of a `with` block. `quietly`: an exception is on its way already."""
        try:
            self.stop()
        except LeaseLost:
            if not quietly:
                raise
        except ConsensusError:
            pass  # it was kept to the end of the block, and goes with its lease
