"""Locks with leases, queues and fencing tokens.

A lock is a queue of claims. The first claim holds the lock, and the others wait in the order in which they came. When a
claim leaves the queue, for whatever reason, the next one moves up. A lock without claims does not exist, so clients do
not create or delete locks.

Commands, each with its result:
```
["acquire", name, owner, lease_ms]   [ticket, token]: `ticket` identifies the claim; `token` is 0 while the claim waits
["try", name, owner, lease_ms]       the token; refused as "held"
["resume", name, token, owner, lease_ms]   the new token; the claim that holds the lock goes to this session and owner
["renew", name, token]               None; renews the lease
["release", name, token]             None
["give_up", name, owner]             True if there was a claim to drop, waiting or holding
```
Questions, each with its answer:
```
["granted", name, ticket]            the token; waits while the claim waits; refused as "not_waiting" if the claim is gone
["holder", name]                     [owner, token, number of waiting claims], or None
```
A claim belongs to a session and an owner. If the same session and owner acquire again, the claim keeps its place and
its token, and its lease is renewed. A waiting claim has a lease, too, so that a client that has vanished does not block
the queue. A client that waits therefore acquires again before that lease ends.

A claim gets a **fencing token** when it gets the lock. Tokens only rise, over all locks and for ever. So a resource
that remembers the highest token that it has seen can refuse a former holder (Kleppmann, *How to do distributed
locking*, 2016). Nothing else protects the resource: a holder that is suspended past the end of its lease does not know
that it has lost the lock.

A client that knows the token of a holder may **resume** the lock in a session of its own, such as a process that has
restarted. It is a new holder with a new token, so the resource can refuse the former one if that lives on after all. The
token with which a lock was resumed last still resumes it: its client may have gone again without having seen the new one.

Refused, without a change: "held"; "not_held", the lock has no holder; "stale_token", the holder has another token;
"not_yours", the holder has this token, in another session; "not_waiting", "bad_ttl", "bad_name", "no_session", "full".
"""

from collections.abc import Mapping
from dataclasses import dataclass
from operator import attrgetter
from typing import Self

from node.machine import Command, Machine, Moment, NotYet, Plain, Refusal, no_such_operation, risen
from node.machines.leases import Leases, check_lease, check_name, check_session, lease_ends_ms
from node.tuning import SHIPPED, Tuning


@dataclass(slots=True)
class Claim:
    """A place in the queue of the lock `name`.

    `due_ms` is the log's time at which its lease ends. `token` is 0 while the claim waits. `resumed` is the token with which it
    was resumed last, or 0.
    """

    ticket: int
    name: str
    session: int
    owner: str
    lease_ms: int
    due_ms: int
    token: int = 0
    resumed: int = 0


_claim_fields = attrgetter(
    *Claim.__slots__
)  # a tuple, as of `astuple`, which copies each field, and takes sixty times as long


class LocksMachine(Machine):
    """Queues of claims, by the names of locks. `tickets` and `tokens` are the highest numbers given so far."""

    name = "locks"

    def __init__(self, tuning: Tuning = SHIPPED) -> None:
        self._most, self._lease_ms_max = tuning.claims_max, tuning.lease_ms_max
        self.changed: dict[str, None] = {}
        self.tickets = 0
        self.tokens = 0
        self.claims: dict[int, Claim] = {}  # by ticket, in order
        #: By lock; each queue maps session and owner to a claim, in order. No queue is empty.
        self.queues: dict[str, dict[tuple[int, str], Claim]] = {}
        self.leases: Leases[int] = Leases()

    @classmethod
    def made_with(cls, tuning: Tuning) -> Self:
        return cls(tuning)

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
                        f"{name!r} is held by {holder.owner!r} with token {holder.token}: wait for the lock, or try later",
                    )
                return self._claim(at, name, owner, lease_ms).token
            case ["resume", str(name), int(token), str(owner), int(lease_ms)]:
                return self._resume(at, name, token, owner, lease_ms)
            case ["renew", str(name), int(token)]:
                self._renew(at, self._holding_claim(at, name, token))
                return None
            case ["release", str(name), int(token)]:
                self._remove(at, self._holding_claim(at, name, token))
                return None
            case ["give_up", str(name), str(owner)]:
                given_up = self.queues.get(name, {}).get((at.session, owner))
                if given_up is not None:
                    self._remove(at, given_up)
                return given_up is not None
        raise no_such_operation(self, command)

    def _claim(self, at: Moment, name: str, owner: str, lease_ms: int) -> Claim:
        """Return the claim of this session and owner, with a renewed lease. A new claim goes to the end of the queue."""
        check_session(at.session)
        check_name(name, "lock")
        check_name(owner, "lock's owner")
        check_lease(lease_ms, self._lease_ms_max)
        claim = self.queues.get(name, {}).get((at.session, owner))
        if claim is None:
            if len(self.claims) >= self._most:
                raise Refusal("full", f"there are {self._most:,} claims to locks already")
            self.tickets += 1
            claim = self._enqueue(Claim(self.tickets, name, at.session, owner, lease_ms, 0))
        claim.lease_ms = lease_ms
        self._renew(at, claim)
        if claim.token == 0 and self._holder(name) is claim:
            self._grant(claim)
        return claim

    def _holding_claim(self, at: Moment, name: str, token: int) -> Claim:
        """Return the claim that holds the lock with this token.

        Raises:
            Refusal: the lock has no holder, or the holder has another token or another session.
        """
        holder = self._holder_with(name, token)
        if holder.session != at.session:
            raise Refusal("not_yours", f"{name!r} is held by {holder.owner!r} in another session")
        return holder

    def _holder_with(self, name: str, *tokens: int) -> Claim:
        """Return the claim that holds the lock. Raises Refusal if there is none, or if it has another token."""
        holder = self._holder(name)
        if holder is None:
            raise Refusal(
                "not_held", f"{name!r} has no holder: it was released, or the holder's lease or session has ended"
            )
        if holder.token not in tokens:
            raise Refusal(
                "stale_token", f"{name!r} is held by {holder.owner!r} with token {holder.token}, not with {tokens[0]}"
            )
        return holder

    def _resume(self, at: Moment, name: str, token: int, owner: str, lease_ms: int) -> int:
        """Give the claim that holds the lock with `token` to this session and owner, with a new token."""
        check_session(at.session)
        check_name(owner, "lock's owner")
        check_lease(lease_ms, self._lease_ms_max)
        present = self._holder(name)
        again = present is not None and 0 < token == present.resumed
        holder = self._holder_with(name, token, *([present.token] if again and present is not None else []))
        waiting = self.queues[name].get((at.session, owner))
        if waiting is not None and waiting is not holder:
            self._remove(at, waiting)
        others = {key: claim for key, claim in self.queues[name].items() if claim is not holder}
        holder.session, holder.owner, holder.lease_ms, holder.resumed = at.session, owner, lease_ms, token
        self.queues[name] = {(at.session, owner): holder, **others}
        self._grant(holder)
        self._renew(at, holder)
        return holder.token

    # --- the queue --------------------------------------------------------------------------------------------------

    def _holder(self, name: str) -> Claim | None:
        for claim in self.queues.get(name, {}).values():
            return claim
        return None

    def _enqueue(self, claim: Claim) -> Claim:
        self.claims[claim.ticket] = claim
        self.queues.setdefault(claim.name, {})[claim.session, claim.owner] = claim
        return claim

    def _renew(self, at: Moment, claim: Claim) -> None:
        claim.due_ms = lease_ends_ms(at, claim.lease_ms)
        self.leases.renew(claim.ticket, claim.session, claim.due_ms)

    def _grant(self, claim: Claim) -> None:
        self.tokens += 1
        claim.token = self.tokens
        self.changed[_topic(claim.ticket)] = None

    def _remove(self, at: Moment, claim: Claim) -> None:
        """Remove a claim from its queue. If it held the lock, the next claim gets the lock, and its lease begins."""
        queue = self.queues[claim.name]
        del queue[claim.session, claim.owner], self.claims[claim.ticket]
        self.leases.drop(claim.ticket)
        self.changed[_topic(claim.ticket)] = None
        first = self._holder(claim.name)
        if first is None:
            del self.queues[claim.name]
        elif first.token == 0:
            self._grant(first)
            self._renew(at, first)

    # --- time -------------------------------------------------------------------------------------------------------

    def due_ms(self) -> int | None:
        return self.leases.due_ms()

    def expire(self, at: Moment) -> None:
        for ticket in self.leases.drop_ended(at.time_ms):
            self._remove(at, self.claims[ticket])

    def session_ended(self, at: Moment) -> None:
        for ticket in self.leases.of_session(at.session):
            self._remove(at, self.claims[ticket])

    # --- questions --------------------------------------------------------------------------------------------------

    def query(self, question: Command) -> Plain | NotYet:
        match question:
            case ["granted", str(name), int(ticket)]:
                claim = self.claims.get(ticket)
                if claim is None or claim.name != name:
                    raise Refusal(
                        "not_waiting",
                        f"ticket {ticket} is not in the queue of {name!r}: its lease or session has ended",
                    )
                return claim.token or NotYet(_topic(ticket))
            case ["holder", str(name)]:
                holder = self._holder(name)
                return None if holder is None else [holder.owner, holder.token, len(self.queues[name]) - 1]
        raise no_such_operation(self, question)

    def figures(self) -> Mapping[str, int]:
        return {"locks": len(self.queues)}

    # --- snapshots --------------------------------------------------------------------------------------------------

    def snapshot(self) -> Plain:
        return [self.tickets, self.tokens, [list(_claim_fields(claim)) for claim in self.claims.values()]]

    def restore(self, state: Plain) -> None:
        self.tickets, self.tokens, claims = state
        self.claims, self.queues, self.leases = {}, {}, Leases()
        for claim in claims:
            restored = self._enqueue(Claim(*claim))
            self.leases.renew(restored.ticket, restored.session, restored.due_ms)

    def rise(self, floor: int) -> None:
        self.tickets = self.tokens = risen(floor, max(self.tickets, self.tokens))


def _topic(ticket: int) -> str:
    """Return the topic of what becomes of a claim. No topic begins with another one."""
    return f"{ticket}."
