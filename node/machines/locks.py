"""Locks with leases, lines and fencing tokens.

A lock is a line of claims. The first of the line holds the lock, the others wait in the order in which they came; whoever
leaves the line, for whatever reason, makes room. There is no lock without a claim, so there is nothing to create or delete.

Commands, each with its result:
```
["acquire", name, owner, lease_ms]   [ticket, token]: the place in line, and the token, or 0 while somebody else holds it
["try", name, owner, lease_ms]       the token; refused as "held"
["renew", name, token]               None: the lease begins anew
["release", name, token]             None
["give_up", name, owner]             whether there was a claim to drop: it waited, or it held the lock
```
Questions:
```
["granted", name, ticket]            the token; waits as long as the claim does; refused as "not_waiting" if it is gone
["holder", name]                     [owner, token, how many wait], or None
```
A claim is a session's and an owner's: who acquires again keeps place and token, and its lease begins anew. One who waits has
a lease too, so that who vanishes from the line holds up nobody: it acquires again before that lease ends.

A **token** is given with the lock. Tokens only rise, over all locks and for ever, so a resource that remembers the highest
token it has seen can refuse whoever held the lock before (Kleppmann, *How to do distributed locking*, 2016). Nothing else
protects it: a holder that is suspended past its lease does not know that it holds nothing any more.

Refused, and nothing has changed: "held"; "not_held", nobody holds the lock; "stale_token", it is held with another token;
"not_yours", it is held with this token, by another session; "bad_ttl", "bad_name", "no_session", "full".
"""

from collections.abc import Mapping
from dataclasses import astuple, dataclass
from typing import Final

from node.machine import NOT_YET, Command, Machine, Moment, NotYet, Plain, Refusal, no_such_operation
from node.machines.leases import Leases, check_lease, check_name, check_session, lease_ends_ms

CLAIMS_MAX: Final = 100_000


@dataclass(slots=True)
class Claim:
    """Somebody's place in the line of a lock. `token` is 0 as long as it waits."""

    ticket: int
    name: str
    session: int
    owner: str
    lease_ms: int
    due_ms: int
    token: int = 0


class LocksMachine(Machine):
    """Lines of claims, by the names of locks."""

    name = "locks"

    def __init__(self) -> None:
        self.tickets = 0
        self.tokens = 0
        self.claims: dict[int, Claim] = {}  # by ticket, in order
        self.lines: dict[str, dict[tuple[int, str], Claim]] = {}  # by session and owner, in order; none is empty
        self.leases: Leases[int] = Leases()

    # --- commands ---------------------------------------------------------------------------------------------------

    def apply(self, at: Moment, command: Command) -> Plain:
        match command:
            case ["acquire", str(name), str(owner), int(lease_ms)]:
                claim = self._claim(at, name, owner, lease_ms)
                return [claim.ticket, claim.token]
            case ["try", str(name), str(owner), int(lease_ms)]:
                holder = self._holder(name)
                if holder is not None and (holder.session, holder.owner) != (at.session, owner):
                    raise Refusal(
                        "held",
                        f"{name!r} is held by {holder.owner!r} with token {holder.token}: wait for it, or try later",
                    )
                return self._claim(at, name, owner, lease_ms).token
            case ["renew", str(name), int(token)]:
                self._keep(at, self._held(at, name, token))
                return None
            case ["release", str(name), int(token)]:
                self._leave(at, self._held(at, name, token))
                return None
            case ["give_up", str(name), str(owner)]:
                given_up = self.lines.get(name, {}).get((at.session, owner))
                if given_up is not None:
                    self._leave(at, given_up)
                return given_up is not None
        raise no_such_operation(self, command)

    def _claim(self, at: Moment, name: str, owner: str, lease_ms: int) -> Claim:
        """The claim of this session and owner: the one it has, or one at the end of the line."""
        check_session(at.session)
        check_name(name, "lock")
        check_name(owner, "lock's owner")
        check_lease(lease_ms)
        claim = self.lines.get(name, {}).get((at.session, owner))
        if claim is None:
            if len(self.claims) >= CLAIMS_MAX:
                raise Refusal("full", f"there are {CLAIMS_MAX:,} claims to locks already")
            self.tickets += 1
            claim = self._put_in_line(Claim(self.tickets, name, at.session, owner, lease_ms, 0))
        claim.lease_ms = lease_ms
        self._keep(at, claim)
        if claim.token == 0 and self._holder(name) is claim:
            self._grant(claim)
        return claim

    def _held(self, at: Moment, name: str, token: int) -> Claim:
        """The claim that holds the lock with this token. Raises CommandRefused if it is not this session's, or there is none."""
        holder = self._holder(name)
        if holder is None:
            raise Refusal("not_held", f"nobody holds {name!r}: it was released, or its lease or session has ended")
        if holder.token != token:
            raise Refusal(
                "stale_token", f"{name!r} is held by {holder.owner!r} with token {holder.token}, not with {token}"
            )
        if holder.session != at.session:
            raise Refusal("not_yours", f"{name!r} is held by {holder.owner!r} in another session than yours")
        return holder

    # --- the line ---------------------------------------------------------------------------------------------------

    def _holder(self, name: str) -> Claim | None:
        for claim in self.lines.get(name, {}).values():
            return claim
        return None

    def _put_in_line(self, claim: Claim) -> Claim:
        self.claims[claim.ticket] = claim
        self.lines.setdefault(claim.name, {})[claim.session, claim.owner] = claim
        return claim

    def _keep(self, at: Moment, claim: Claim) -> None:
        claim.due_ms = lease_ends_ms(at, claim.lease_ms)
        self.leases.keep(claim.ticket, claim.session, claim.due_ms)

    def _grant(self, claim: Claim) -> None:
        self.tokens += 1
        claim.token = self.tokens

    def _leave(self, at: Moment, claim: Claim) -> None:
        """Out of the line. If it held the lock, the next one does now, and its lease begins."""
        line = self.lines[claim.name]
        del line[claim.session, claim.owner], self.claims[claim.ticket]
        self.leases.drop(claim.ticket)
        following = self._holder(claim.name)
        if following is None:
            del self.lines[claim.name]
        elif following.token == 0:
            self._grant(following)
            self._keep(at, following)

    # --- time -------------------------------------------------------------------------------------------------------

    def due_ms(self) -> int | None:
        return self.leases.due_ms()

    def expire(self, at: Moment) -> None:
        for ticket in self.leases.ended(at.time_ms):
            self._leave(at, self.claims[ticket])

    def session_ended(self, at: Moment) -> None:
        for ticket in self.leases.of(at.session):
            self._leave(at, self.claims[ticket])

    # --- questions --------------------------------------------------------------------------------------------------

    def query(self, question: Command) -> Plain | NotYet:
        match question:
            case ["granted", str(name), int(ticket)]:
                claim = self.claims.get(ticket)
                if claim is None or claim.name != name:
                    raise Refusal(
                        "not_waiting", f"ticket {ticket} is in no line for {name!r}: its lease or session has ended"
                    )
                return claim.token or NOT_YET
            case ["holder", str(name)]:
                holder = self._holder(name)
                return None if holder is None else [holder.owner, holder.token, len(self.lines[name]) - 1]
        raise no_such_operation(self, question)

    def figures(self) -> Mapping[str, int]:
        return {"locks": len(self.lines)}

    # --- snapshots --------------------------------------------------------------------------------------------------

    def snapshot(self) -> Plain:
        return [self.tickets, self.tokens, [list(astuple(claim)) for claim in self.claims.values()]]

    def restore(self, state: Plain) -> None:
        self.tickets, self.tokens, claims = state
        self.claims, self.lines, self.leases = {}, {}, Leases()
        for claim in claims:
            restored = self._put_in_line(Claim(*claim))
            self.leases.keep(restored.ticket, restored.session, restored.due_ms)
