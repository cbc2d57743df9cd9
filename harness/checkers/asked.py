"""What a recorded call asked of a replicated log, and which states or commands of the log give the answer that it received.

Theory of operation
-------------------
A call is one of two kinds. A **command** stands in the log, and its answer is what came of it there. A **question** is answered
from some state of the log. `asked_of` returns for each answered call an `AskedCommand` or an `AskedQuestion`; the judge is
`answers.py`. The answers are those that the API gives its callers (`cluster/clients`), as plain data.

| f | key | value of the invoke | value of the ok |
|---|---|---|---|
| put, get, delete, cas; write, read | the key | as in `models.py` | as in `models.py`; of a put or a cas: the version |
| version | | | the version of the latest change |
| range | prefix | | `[[key, value, version], …]` |
| page | prefix | `{"after": key, "most": number}` | `[[[key, value, version], …], whether there are more]` |
| watch | prefix | `{"after": version}` | `{"seen": version, "changes": [[version, key, value], …]}` |
| acquire, renew, release | the lock | see `lock_leases.py` | |
| holder | the lock | | `[owner, token, waiting]`, or null |
| queue, try, resume, give_up | the lock | `{"owner", "lease_ms", "token"}`, as far as it asks | the machine's result |
| granted | the lock | `{"ticket"}` | the token; null if the claim still waits |
| join | member | `{"group", "details", "lease_s"}` | the number of a view that it is in |
| heartbeat, leave | member | `{"group"}` | the number of a view |
| view | group | | `[number, {member: details}]` |
| views | group | `{"after": [number, {member: details}]}` | `[[number, {member: details}], …]` |
| add, remove | task | | of an add: whether it is new |
| mine | member | | `[version, {task: token}]` |
| owners | | | `[version, {task: [member, token] or null}]` |
| propose, query | variable | the value | the decided value |
"""

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any, Final

from harness.checkers.reference.groups import AssignmentReference, MembersReference
from harness.checkers.reference.kv import Change
from harness.checkers.reference.log import Executed, ReferenceLog
from harness.records.history import RecordedCall
from node.wire import encode_value

#: Refusals of the client or of a node: the log did not answer, so they say nothing about its state.
_NOT_OF_THE_LOG: Final = ("refused", "not_sent", "not_up", "session_expired", "stale", "window_full", "full")


@dataclass(eq=False, slots=True)
class Asked:
    """An answered call. `slot` is the slot at which its answer was right, once the judge has found it."""

    call: RecordedCall
    slot: int | None = field(default=None, init=False)

    @property
    def began(self) -> int:
        """The place of the invoke in the order of events."""
        return self.call.invoke.index

    @property
    def ended(self) -> int:
        """The place of the answer in the order of events."""
        assert self.call.completion is not None
        return self.call.completion.index


@dataclass(eq=False, slots=True)
class AskedCommand(Asked):
    """A command: `identity` is what the command in the log has, too.

    `answer` is the result that the client received, and `refused` the kind of a machine's refusal.
    """

    identity: Hashable
    answer: Any
    refused: str | None

    def fits(self, executed: Executed) -> bool:
        """Return whether the client received what came of this command."""
        if self.refused is not None or executed.refused is not None:
            return self.refused == executed.refused
        return self.answer is ANY or bool(self.answer == executed.result)


@dataclass(eq=False, slots=True)
class AskedQuestion(Asked):
    """A question: `fits` returns whether a state gives the answer, and `right` what the state would answer, for people.

    `of_claim` says that the answer is that of a claim to a lock, which is a command: it is given in the midst of a slot.
    """

    fits: Callable[[ReferenceLog], bool]
    right: Callable[[ReferenceLog], Any] = lambda _: None
    of_claim: bool = False
    since: int | None = field(default=None, init=False)
    """The version of the keys in the first state that may have answered it. The judge notes it before it calls `fits`."""


#: The answer of a command that tells its client nothing.
ANY: Final = object()
#: A key, its encoded value, and its version.
Entry = tuple[str, bytes, int]


def identity_of(executed: Executed) -> Hashable:
    """Return what names a command, whether it stands in the log or in a history."""
    match executed.machine, executed.command:
        case "kv", ["put", key, value] | ["cas", key, _, value]:
            return "kv", "set", key, value  # the workloads write each value once
        case machine, [*words]:
            return (machine, *(word if isinstance(word, Hashable) else repr(word) for word in words))
    return None


def asked_of(call: RecordedCall) -> AskedCommand | AskedQuestion | None:
    """Return what a call asked; None if it was not answered by the log, or is of another kind."""
    if call.outcome == "info" or call.completion is None:
        return None
    refused = None
    if call.outcome == "fail":
        refused = (call.completion.error or "").partition(":")[0]
        if refused in _NOT_OF_THE_LOG:
            return None
    return _command(call, refused) or _question(call, refused)


# --- commands -------------------------------------------------------------------------------------------------------


def _command(call: RecordedCall, refused: str | None) -> AskedCommand | None:
    value: Any = call.invoke.value
    answer: Any = call.answer
    match call.f:
        case "put" | "write":
            identity: Hashable = "kv", "set", call.key, encode_value(value)
        case "cas":
            identity = "kv", "set", call.key, encode_value(value[1])
        case "delete":
            identity = "kv", "delete", call.key
        case "renew" | "release":
            identity, answer = ("locks", call.f, call.key, value["token"]), ANY
        case "join":
            details = b"" if value["details"] is None else encode_value(value["details"])
            identity = value["group"], "join", call.key, details, int(value["lease_s"] * 1000)
            answer = ANY if answer is None else answer  # a keeper reports no number
        case "heartbeat" | "leave":
            identity = value["group"], call.f, call.key
            answer = ANY if answer is None else answer
        case "queue" | "try":
            identity = "locks", "acquire" if call.f == "queue" else "try", call.key, value["owner"], value["lease_ms"]
        case "resume":
            identity = "locks", "resume", call.key, value["token"], value["owner"], value["lease_ms"]
        case "give_up":
            identity = "locks", "give_up", call.key, value["owner"]
        case "add" | "remove":
            identity = "assignment", call.f, call.key
            answer = answer if call.f == "add" else ANY
        case _:
            return None
    return AskedCommand(call, identity, answer, refused)


# --- questions ------------------------------------------------------------------------------------------------------


def _question(call: RecordedCall, refused: str | None) -> AskedQuestion | None:
    answer: Any = call.answer
    found: AskedQuestion | None = None
    match call.f:
        case "get" | "read" | "propose" | "query" | "version" | "range" | "page" | "holder" | "view" | "owners" if (
            refused is not None
        ):
            found = AskedQuestion(call, lambda _: False, lambda _: "an answer: no state refuses this question")
        case "get" | "read":
            found = _of_one(call, lambda log: log.kv.entries.get(call.key, (None, 0))[0])
        case "propose" | "query":
            found = _of_one(call, lambda log: log.once.values.get(call.key))
        case "version":
            found = AskedQuestion(call, lambda log: log.kv.version == answer, lambda log: log.kv.version)
        case "range":
            found = _range(call)
        case "page":
            found = _page(call)
        case "watch":
            found = _watch(call, refused)
        case "acquire" | "holder":
            found = _lock(call, refused)
        case "granted":
            found = _granted(call, refused)
        case "view" | "views":
            found = _view(call, refused)
        case "mine" | "owners":
            found = _tasks(call, refused)
    return found


def _of_one(call: RecordedCall, right: Callable[[ReferenceLog], bytes | None]) -> AskedQuestion:
    """Return the question whose answer is one value: that of a key or of a variable."""
    wanted = None if call.answer is None else encode_value(call.answer)
    return AskedQuestion(call, lambda log: right(log) == wanted, right)


def _range(call: RecordedCall) -> AskedQuestion:
    answer: Any = call.answer
    found = [(key, encode_value(value), version) for key, value, version in answer]
    keys = [key for key, _, _ in found]

    def right(log: ReferenceLog) -> list[Entry]:
        return _entries(log, call.key)

    def fits(log: ReferenceLog) -> bool:
        if not log.has_small_pages:
            return right(log) == found
        # Its pages are of different moments. Each entry was there at some time, keys rise, and what has not changed since the
        # beginning is there.
        assert question.since is not None
        since = question.since
        return (
            keys == sorted(set(keys))
            and all(
                0 < version <= log.kv.version and log.kv.changes[version - 1] == (version, key, value)
                for key, value, version in found
            )
            and all(key in keys for key, _, version in right(log) if version <= since)
        )

    question = AskedQuestion(call, fits, right)
    return question


def _entries(log: ReferenceLog, prefix: str, after: str = "") -> list[Entry]:
    return sorted((key, *entry) for key, entry in log.kv.entries.items() if key.startswith(prefix) and key > after)


def _page(call: RecordedCall) -> AskedQuestion:
    """Return the question of one page: the first entries after a key, of one moment."""
    value: Any = call.invoke.value
    answer: Any = call.answer
    found = [(key, encode_value(new), version) for key, new, version in answer[0]]

    def right(log: ReferenceLog) -> list[Entry]:
        return _entries(log, call.key, value["after"])

    def fits(log: ReferenceLog) -> bool:
        whole = right(log)
        has_more = len(found) < len(whole)
        return found == whole[: len(found)] and answer[1] == has_more and 0 < (len(found) or not whole) <= value["most"]

    return AskedQuestion(call, fits, right)


def _watch(call: RecordedCall, refused: str | None) -> AskedQuestion:
    value: Any = call.invoke.value
    answer: Any = call.answer
    after = value["after"]
    if refused is not None:
        return AskedQuestion(call, lambda log: refused == "compacted" and log.kv.compacted(after))
    seen = answer["seen"]
    found = [(version, key, None if new is None else encode_value(new)) for version, key, new in answer["changes"]]

    def right(log: ReferenceLog) -> list[Change]:
        return [change for change in log.kv.changes_after(call.key, after) if change[0] <= seen]

    return AskedQuestion(call, lambda log: log.kv.version >= seen and right(log) == found, right)


def _lock(call: RecordedCall, refused: str | None) -> AskedQuestion:
    value: Any = call.invoke.value
    answer: Any = call.answer

    def right(log: ReferenceLog) -> list[Any] | None:
        queue = log.locks.queue(call.key)
        return [queue[0].owner, queue[0].token, len(queue) - 1] if queue else None

    def fits(log: ReferenceLog) -> bool:
        holder = right(log)
        if call.f == "holder":
            return bool(holder == answer)
        if refused is not None:
            return refused == "held" and holder is not None and holder[0] != value["owner"]
        return holder is not None and (holder[0], holder[1]) == (value["owner"], answer)

    return AskedQuestion(call, fits, right, of_claim=call.f == "acquire")


def _granted(call: RecordedCall, refused: str | None) -> AskedQuestion:
    """Return the question of a claim whether it holds the lock by now."""
    value: Any = call.invoke.value

    def right(log: ReferenceLog) -> int | None:
        tokens = [claim.token for claim in log.locks.queue(call.key) if claim.ticket == value["ticket"]]
        return tokens[0] if tokens else None

    def fits(log: ReferenceLog) -> bool:
        if refused is not None:
            return refused == "not_waiting" and right(log) is None
        return right(log) == (call.answer or 0)

    return AskedQuestion(call, fits, right, of_claim=True)


def _view(call: RecordedCall, refused: str | None) -> AskedQuestion:
    answer: Any = call.answer

    def numbered(group: MembersReference, number: int, members: Any) -> bool:
        return 0 <= number <= group.number and list(group.views[number].items()) == _encoded(members)

    if call.f == "view":
        return AskedQuestion(
            call,
            lambda log: (group := log.group(call.key)).number == answer[0] and numbered(group, *answer),
            lambda log: (log.group(call.key).number, log.group(call.key).views[-1]),
        )
    value: Any = call.invoke.value
    after = value["after"][0]
    if refused is not None:
        return AskedQuestion(call, lambda log: refused == "compacted" and log.group(call.key).compacted(after))

    def fits(log: ReferenceLog) -> bool:
        group = log.group(call.key)
        return [number for number, _ in answer] == list(range(after + 1, after + 1 + len(answer))) and all(
            numbered(group, *view) for view in answer
        )

    return AskedQuestion(call, fits)


def _encoded(members: dict[str, Any]) -> list[tuple[str, bytes]]:
    return [(name, b"" if details is None else encode_value(details)) for name, details in members.items()]


def _tasks(call: RecordedCall, refused: str | None) -> AskedQuestion:
    """Return the question about the tasks of one member, or about all: who has which is judged by `shares_are_even`."""
    answer: Any = call.answer
    if call.f == "mine":
        if refused is not None:
            return AskedQuestion(
                call, lambda log: refused == "not_member" and call.key not in log.assignment.members.members
            )
        return AskedQuestion(
            call,
            lambda log: (
                call.key in log.assignment.members.members
                and set(answer[1]) <= log.assignment.tasks
                and len(answer[1]) in _shares(log.assignment)
            ),
            lambda log: sorted(log.assignment.members.members),
        )

    def fits(log: ReferenceLog) -> bool:
        assignment, owners = log.assignment, answer[1]
        present = assignment.members.members
        if answer[0] != assignment.version or set(owners) != assignment.tasks:
            return False
        having = [owner[0] for owner in owners.values() if owner is not None]
        if not present:
            return not having
        numbers = [having.count(name) for name in present]
        return len(having) == len(owners) == sum(numbers) and max(numbers) - min(numbers) <= 1

    return AskedQuestion(
        call,
        fits,
        lambda log: (log.assignment.version, sorted(log.assignment.tasks), sorted(log.assignment.members.members)),
    )


def _shares(assignment: AssignmentReference) -> range:
    """Return how many tasks a member may have, if tasks are spread evenly."""
    tasks, members = len(assignment.tasks), max(len(assignment.members.members), 1)
    return range(tasks // members, -(-tasks // members) + 1)
