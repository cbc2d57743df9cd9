"""What is checked of a simulated log when its run is over: states, the log's time, leases that should have ended, watches.

Each function yields the violations that it finds.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from harness.checkers.reference.log import Batch, ReferenceLog
from harness.checkers.reference.states import differences
from harness.virtual.judge import Violation
from node.contract import NodeId
from node.log_contract import LogAlgorithm
from node.machine import BEAT_MS, NotYet
from node.replication.replica import LogReplica
from node.tuning import Tuning
from node.wire import unpack_unchecked

#: How much later than due a log may end a lease: a leader counts in beats, and proposes the end in a slot of its own.
LATE_MS: Final = 150

Replicas = Mapping[NodeId, LogAlgorithm]


def wrong_states(replicas: Replicas, batches: Sequence[Batch], tuning: Tuning) -> tuple[list[Violation], ReferenceLog]:
    """Find the replicas whose state is not the one that the log gives, whether a client has asked for it or not.

    Replicas that have applied the same slot are equal (`LogJudge.check_end`), so one of them is compared.

    Returns:
        The violations, and the reference after the last slot.
    """
    found = []
    by_slot = {replica.state.applied: name for name, replica in replicas.items()}
    log = ReferenceLog(tuning)
    for batch in batches:
        log.advance(batch)
        name = by_slot.get(log.slot)
        if name is not None:
            state = replicas[name].state
            texts = differences(state.packed(), state.machines, log)
            found += [Violation("state", f"{name}: {text}") for text in texts]
    return found, log


def fast_time(replicas: Replicas, now_s: float, fastest: float) -> Iterator[Violation]:
    """Find that the log's time has run faster than the fastest clock of a node, which counts a second in `fastest` seconds."""
    latest_ms = max((replica.state.time_ms for replica in replicas.values()), default=0)
    if latest_ms > now_s * 1000 / fastest + BEAT_MS:
        text = f"the log's time is {latest_ms} ms, after {now_s:.3f} s: it runs faster than the clock of any node"
        yield Violation("client", text)


def leases(log: ReferenceLog) -> dict[str, int]:
    """Return when each lease ends, in milliseconds of the log's time, by a name for people."""
    found = {f"lock {claim.lock!r} of {claim.owner!r}": claim.ends_ms for claim in log.locks.claims}
    for group in ("members", "assignment"):
        found |= {f"{group} {name!r}": member.ends_ms for name, member in log.group(group).members.items()}
    return found


def overdue_leases(log: ReferenceLog, time_ms: float) -> Iterator[Violation]:
    """Find the leases that last on though they should have ended while one node led.

    Args:
        log: the reference at the end.
        time_ms: what the log's time must have come to at that leader, at least.
    """
    for what, ends_ms in leases(log).items():
        if ends_ms + LATE_MS <= time_ms:
            text = f"the lease of {what} is overdue: it was over at {ends_ms} ms of the log's time, and nothing has ended it"
            yield Violation("client", text)


def watches_asleep(replicas: Replicas) -> Iterator[Violation]:
    """Find watches that wait at a leader that has an answer to them: no change has woken them.

    A refusal counts as no answer: the log may have dropped changes meanwhile, all of other topics.
    """
    for name, replica in replicas.items():
        if not isinstance(replica, LogReplica) or replica.leader is None:
            continue
        for question in replica.leader.watches:
            answer = replica.state.read(question.machine, question.packed, question.seen)
            if not isinstance(answer, NotYet) and not unpack_unchecked(answer)[1]:
                text = f"a watch of {question.waiter.request.client} waits at {name}, which has an answer to it"
                yield Violation("client", text)
