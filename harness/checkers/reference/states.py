"""Compares the state of a replica with that of the reference after the same slot: machines, sessions and the log's time.

An answer shows a broken machine only if a client asks for what is broken, and receives the answer. The state always shows it.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from harness.checkers.reference.groups import AssignmentReference, MembersReference
from harness.checkers.reference.kv import KvReference
from harness.checkers.reference.locks import LocksReference
from harness.checkers.reference.log import OnceReference, ReferenceLog
from harness.checkers.reference.sessions import SessionsReference
from harness.records.jsonable import shown
from node.machine import Machine
from node.machines.assignment import AssignmentMachine
from node.machines.kv import KvMachine
from node.machines.locks import LocksMachine
from node.machines.members import MembersMachine
from node.machines.once import OnceMachine
from node.wire import unpack_unchecked

_SESSIONS: Final = (
    "sessions, by number: last use in ms, lowest open number, highest number, numbers of the kept answers"
)
_DUE: Final = "time in ms at which its next lease ends"
_EVEN: Final = "truth that no member has two tasks more than another one"
_OWN_TOKENS: Final = "truth that each task has a token of its own, and none is above the last one"


def differences(packed: bytes, machines: Mapping[str, Machine], log: ReferenceLog) -> Iterator[str]:
    """Yield a sentence for each part of a state that is not the reference's.

    Args:
        packed: what `ReplicatedState.packed` returns.
        machines: the machines of this state, by name. Those that are not the shipped ones have no reference, and are left out.
        log: the reference, after the same slot.
    """
    slot, time_ms, _, _, sessions, packed_machines = unpack_unchecked(packed)
    judged = [name for name, machine in machines.items() if isinstance(machine, _SHIPPED.get(name, ()))]
    assert slot == log.slot, (slot, log.slot)
    try:
        sessions = _sessions_in(sessions)
        states = {
            name: {**_PARTS[name](state), _DUE: machines[name].due_ms()}
            for name, state in packed_machines
            if name in judged
        }
    except (TypeError, ValueError, KeyError) as error:  # a broken machine may hold anything
        yield f"after slot {slot} the state has not the form of one ({error!r})"
        return
    right = {
        "once": _once(log.once),
        "kv": _kv(log.kv),
        "locks": _locks(log.locks),
        "members": _members(log.members),
        "assignment": _assignment(log.assignment),
    }
    compared = [("the log", {"time in ms": time_ms}, {"time in ms": log.time_ms})]
    compared.append(("the sessions", sessions, _sessions(log.sessions)))
    compared += [(f"the machine {name!r}", state, right[name]) for name, state in states.items()]
    for what, state, wanted in compared:
        for part, value in wanted.items():
            if state[part] != value:
                yield (
                    f"after slot {slot} {what} has the {part} {shown(state[part], 200)}, and the commands of the log give "
                    f"{shown(value, 200)}"
                )


# --- what a reference holds -------------------------------------------------------------------------------------------


def _once(once: OnceReference) -> dict[str, Any]:
    return {"values": once.values}


def _kv(kv: KvReference) -> dict[str, Any]:
    entries = {key: [value, version] for key, (value, version) in kv.entries.items()}
    return {"version": kv.version, "entries": entries, "history": [list(change) for change in kv.kept()]}


def _locks(locks: LocksReference) -> dict[str, Any]:
    claims = [
        [
            *(claim.ticket, claim.lock, claim.session, claim.owner),
            *(claim.lease_ms, claim.ends_ms, claim.token, claim.resumed),
        ]
        for claim in locks.claims
    ]
    return {
        "last ticket and token": locks.highest,
        "claims": claims,
        _DUE: min((claim.ends_ms for claim in locks.claims), default=None),
    }


def _members(group: MembersReference) -> dict[str, Any]:
    members = [[one.name, one.details, one.session, one.lease_ms, one.ends_ms] for one in group.members.values()]
    due = min((one.ends_ms for one in group.members.values()), default=None)
    return {"view": group.number, "members": members, _DUE: due}


def _assignment(assignment: AssignmentReference) -> dict[str, Any]:
    return {
        **_members(assignment.members),
        "version": assignment.version,
        "tasks": sorted(assignment.tasks),
        _EVEN: True,
        _OWN_TOKENS: True,
        "tasks without an owner": [] if assignment.members.members else sorted(assignment.tasks),
    }


def _sessions(sessions: SessionsReference) -> dict[str, Any]:
    return {
        _SESSIONS: {
            number: [session.used_ms, session.done, session.highest, sorted(session.taken)]
            for number, session in sessions.sessions.items()
        }
    }


# --- the same, in a state ---------------------------------------------------------------------------------------------


def _kv_in(state: Any) -> dict[str, Any]:
    version, history, entries = state
    return {"version": version, "entries": dict(entries), "history": history}


def _locks_in(state: Any) -> dict[str, Any]:
    tickets, tokens, claims = state
    return {"last ticket and token": (tickets, tokens), "claims": claims}


def _members_in(state: Any) -> dict[str, Any]:
    view, members, _ = state
    return {"view": view, "members": members}


def _assignment_in(state: Any) -> dict[str, Any]:
    version, tokens, members, shares, unassigned = state
    given = [token for _, _, tasks in shares for _, token in tasks]
    numbers = [len(tasks) for _, _, tasks in shares]
    return {
        **_members_in(members),
        "version": version,
        "tasks": sorted([task for _, _, tasks in shares for task, _ in tasks] + unassigned),
        _EVEN: max(numbers, default=0) - min(numbers, default=0) <= 1,
        _OWN_TOKENS: len(given) == len(set(given)) and max(given, default=0) <= tokens,
        "tasks without an owner": sorted(unassigned),
    }


def _sessions_in(state: Any) -> dict[str, Any]:
    _, sessions = state
    return {
        _SESSIONS: {
            number: [used_ms, done, highest, sorted(answers)] for number, used_ms, done, highest, answers, _ in sessions
        }
    }


#: By name: the machines that have a reference.
_SHIPPED: Mapping[str, type[Machine]] = {
    machine.name: machine for machine in (OnceMachine, KvMachine, LocksMachine, MembersMachine, AssignmentMachine)
}
#: By machine: what shows its state as its reference has it.
_PARTS: Mapping[str, Any] = {
    "once": lambda state: {"values": state},
    "kv": _kv_in,
    "locks": _locks_in,
    "members": _members_in,
    "assignment": _assignment_in,
}
