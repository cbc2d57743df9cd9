"""Holding on to something that a log gives for a while: the lease is renewed as long as a `with` block lasts.

A lease lasts at least `ttl_s` seconds from the moment at which it was asked for, since the log's time never runs faster than
real time. So its keeper is sure of it for that long after the last renewal that was answered, and in doubt from then on: see
`Kept.lost`. Whatever is kept belongs to a session of its own, which ends with it.
"""

import threading
from abc import ABC, abstractmethod
from time import monotonic
from typing import TYPE_CHECKING, Final

from cluster.clients.lock_queue import LEAST_S
from cluster.errors import CommandRefused, ConsensusError, Mistake

if TYPE_CHECKING:
    from cluster.clients.log_client import LogClient

TTL_S: Final = 10.0
#: What a machine says of a lease that has ended.
_ENDED: Final = ("not_held", "stale_token", "not_member", "not_yours")


class LeaseLost(ConsensusError):
    """A lease has ended, or may have, while somebody counted on it. What was kept may have been somebody else's meanwhile."""


class Lease:
    """What its keeper knows of a lease. No I/O: every client shares it. Times are those of the monotonic clock."""

    def __init__(self, what: str, ttl_s: float, since: float) -> None:
        """It was asked for at `since`; `what` names it in errors."""
        self.what, self.ttl_s = what, ttl_s
        self.renewals = 0
        self._refused = False
        self._sure_until = since + ttl_s

    @property
    def lost(self) -> bool:
        """Whether it has ended, or may have."""
        return self._refused or monotonic() > self._sure_until

    def renewed(self, since: float) -> None:
        """A renewal that was asked for at `since` is answered. Nobody else has had it meanwhile, even if that was in doubt."""
        self._sure_until = since + self.ttl_s
        self.renewals += 1

    def refused(self, error: ConsensusError) -> bool:
        """A renewal has failed. True if there is nothing to renew any more; if not, the next one may be answered."""
        self._refused = self._refused or (isinstance(error, CommandRefused) and error.kind in _ENDED)
        return self._refused

    def ended_with(self, error: ConsensusError) -> ConsensusError:
        """What to raise if letting go of it has failed."""
        if isinstance(error, CommandRefused) and error.kind in _ENDED:
            return LeaseLost(f"{self.what} was lost meanwhile: {error}")
        if self.lost:
            return LeaseLost(f"{self.what} was not renewed in time, so it may have been lost: {error}")
        return error


class Kept(ABC):
    """What is kept for a `with` block, or from `start` to `stop`. For one thread at a time; it can be used again."""

    def __init__(self, client: "LogClient", what: str, ttl_s: float) -> None:
        """Describe it. `client` is one like the client of its own that it makes; `what` names it in errors."""
        self.what, self.ttl_s = what, ttl_s
        self._like = client
        self._client: LogClient | None = None
        self._lease: Lease | None = None
        self._stopped = threading.Event()
        self._renewer: threading.Thread | None = None

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
        return self._lease is not None and self._lease.lost

    @property
    def renewals(self) -> int:
        """How often the lease was renewed."""
        return 0 if self._lease is None else self._lease.renewals

    def start(self) -> None:
        """Get it, and renew its lease from now on. Raises as whatever it is does."""
        if self._client is not None:
            raise Mistake(f"{self.what} is kept already: one object keeps one")
        client = self._client = self._like.another("keeper")
        try:
            lease = self._lease = Lease(self.what, self.ttl_s, self._begin(client))
        except BaseException:
            self._end()
            raise
        self._stopped.clear()
        self._renewer = threading.Thread(target=self._go_on, args=(client, lease), name=self.what, daemon=True)
        self._renewer.start()

    def stop(self) -> None:
        """Let go of it.

        Raises:
            LeaseLost: it was lost before that.
            Unknown: no answer came. It ends with its lease.
        """
        client, lease = self._client, self._lease
        if client is None or lease is None or self._renewer is None:
            raise Mistake(f"{self.what} is not kept")
        self._stopped.set()
        self._renewer.join()
        try:
            self._finish(client)
        except ConsensusError as error:
            raise lease.ended_with(error) from error
        finally:
            self._end()

    def _end(self) -> None:
        if self._client is not None:
            self._client.end_session(LEAST_S)
            self._client.close()
        self._client = self._lease = self._renewer = None

    def _go_on(self, client: "LogClient", lease: Lease) -> None:
        """The thread. Until it ends, the client is its own."""
        while not self._stopped.wait(self.ttl_s / 3):
            began = monotonic()
            try:
                self._renew(client, self.ttl_s / 3)
            except ConsensusError as error:
                if lease.refused(error):
                    return
            else:
                lease.renewed(began)

    def _leave_block(self, *, quietly: bool) -> None:
        """The end of a `with` block. `quietly`: an exception is on its way already."""
        try:
            self.stop()
        except LeaseLost:
            if not quietly:
                raise
        except ConsensusError:
            pass  # it was kept to the end of the block, and goes with its lease
