"""The reference of locks: a list of claims in the order in which they came."""

from dataclasses import dataclass
from typing import Any

from harness.checkers.reference.terms import BEAT_MS, LogInstant, No, check_lease, check_name, unknown_command


@dataclass
class QueuedClaim:
    """A place in the queue of a lock. `token` is 0 while it waits; `resumed` is the token with which it was resumed last."""

    ticket: int
    lock: str
    session: int
    owner: str
    lease_ms: int
    ends_ms: int = 0
    token: int = 0
    resumed: int = 0


class LocksReference:
    """All claims to all locks. The first claim to a lock holds it."""

    def __init__(self) -> None:
        self.claims: list[QueuedClaim] = []
        self._tickets = self._tokens = 0

    @property
    def highest(self) -> tuple[int, int]:
        """The highest ticket and the highest token that were given out."""
        return self._tickets, self._tokens

    def queue(self, lock: str) -> list[QueuedClaim]:
        """Return the claims to a lock: the holder's first."""
        return [claim for claim in self.claims if claim.lock == lock]

    def do(self, at: LogInstant, command: Any) -> Any:
        """Do one command, and return its result. Raises No."""
        match command:
            case ["acquire", str(lock), str(owner), int(lease_ms)]:
                claim = self._acquire(at, lock, owner, lease_ms)
                return [claim.ticket, claim.token]
            case ["try", str(lock), str(owner), int(lease_ms)]:
                queue = self.queue(lock)
                if queue and (queue[0].session, queue[0].owner) != (at.session, owner):
                    raise No("held")
                return self._acquire(at, lock, owner, lease_ms).token
            case ["resume", str(lock), int(token), str(owner), int(lease_ms)]:
                return self._resume(at, lock, token, owner, lease_ms)
            case ["renew", str(lock), int(token)]:
                self._begin_lease(at, self._own(at, lock, token))
                return None
            case ["release", str(lock), int(token)]:
                self._remove(at, self._own(at, lock, token))
                return None
            case ["give_up", str(lock), str(owner)]:
                own = [claim for claim in self.queue(lock) if (claim.session, claim.owner) == (at.session, owner)]
                for claim in own:
                    self._remove(at, claim)
                return bool(own)
        raise unknown_command(command)

    def _acquire(self, at: LogInstant, lock: str, owner: str, lease_ms: int) -> QueuedClaim:
        check_lease(at, lease_ms)
        check_name(lock)
        check_name(owner)
        own = [claim for claim in self.queue(lock) if (claim.session, claim.owner) == (at.session, owner)]
        if not own:
            self._tickets += 1
            own = [QueuedClaim(self._tickets, lock, at.session, owner, lease_ms)]
            self.claims += own
        own[0].lease_ms = lease_ms
        self._begin_lease(at, own[0])
        self._hand_over(at, lock)
        return own[0]

    def _resume(self, at: LogInstant, lock: str, token: int, owner: str, lease_ms: int) -> int:
        check_lease(at, lease_ms)
        check_name(owner)
        queue = self.queue(lock)
        if not queue:
            raise No("not_held")
        holder = queue[0]
        if token != holder.token and not 0 < token == holder.resumed:
            raise No("stale_token")
        for claim in queue[1:]:
            if (claim.session, claim.owner) == (at.session, owner):
                self.claims.remove(claim)
        self._tokens += 1
        holder.session, holder.owner, holder.lease_ms = at.session, owner, lease_ms
        holder.resumed, holder.token = token, self._tokens
        self._begin_lease(at, holder)
        return holder.token

    def _own(self, at: LogInstant, lock: str, token: int) -> QueuedClaim:
        queue = self.queue(lock)
        if not queue:
            raise No("not_held")
        if queue[0].token != token:
            raise No("stale_token")
        if queue[0].session != at.session:
            raise No("not_yours")
        return queue[0]

    def _begin_lease(self, at: LogInstant, claim: QueuedClaim) -> None:
        claim.ends_ms = at.time_ms + BEAT_MS + claim.lease_ms

    def _remove(self, at: LogInstant, claim: QueuedClaim) -> None:
        self.claims.remove(claim)
        if self._hand_over(at, claim.lock):
            self._begin_lease(at, self.queue(claim.lock)[0])

    def _hand_over(self, at: LogInstant, lock: str) -> bool:
        """Give the lock to its first claim. Returns whether this one had waited."""
        queue = self.queue(lock)
        if not queue or queue[0].token:
            return False
        self._tokens += 1
        queue[0].token = self._tokens
        return True

    def expire(self, time_ms: int) -> None:
        """End the leases that are over: the one that ended first is the first."""
        ended = sorted((claim.ends_ms, claim.ticket) for claim in self.claims if claim.ends_ms <= time_ms)
        for _, ticket in ended:
            self._remove(LogInstant(time_ms, 0), next(claim for claim in self.claims if claim.ticket == ticket))

    def session_ended(self, at: LogInstant) -> None:
        """End the claims of a session."""
        for claim in [claim for claim in self.claims if claim.session == at.session]:
            self._remove(at, claim)
