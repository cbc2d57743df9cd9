"""The article's four properties, judged from evidence: see the table in the README.

What each takes for a violation
-------------------------------
*Coherence*: two answers, or disks, with different decided values of one variable.

*Conflict resolution*: (1) A decided value of a variable of the history that was not proposed before. A proposal of unknown
outcome counts as proposed, one that was refused does not: refused means never done. (2) A proposal that was refused,
unless one of these explains it: its input was bad or the node was full (`EXCUSED`); nobody else had proposed for that
variable by then; or the node that was asked was not on a majority side all the while, so it may have had to give up.

*No decoherence*: an operation that began after another had been answered with a decided value, and was answered otherwise,
be it undecided. And a disk that showed a decided value and later does not.

*Fault tolerance*: an operation that was owed an answer and got none in its time, or was refused without such an excuse. An
answer is owed where the client could reach a node, and the node was on a majority side, at the end of the call: for as long
as the client takes to ask again, and a second and a half more, or for the whole call if it was shorter. A refusal is judged
as if the client had waited for its whole time. In that time the same majority must have stayed for a second, and the time
must have been a second or more; for a call to any node, half a second more for every other node, since the client goes
from one to the next at that pace. An algorithm that keeps a log has one leader: there everybody who might lead must have been
within reach, and that must have stayed so for two seconds, in which a leader is to be found.

What it takes to be valid
-------------------------
Otherwise an empty run would pass. Each property must have been *tried*: two witnesses of one variable; two different
proposals for a variable that was decided; an operation that began after a decision was seen; an operation that was owed
an answer and got it. If faults were expected, each must have bitten, and for each an operation must have been under way or
begun while or after it lasted; for fault tolerance, one that was owed an answer and got it.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, Final

from harness.checkers.evidence import RunEvidence, SeenDecision, ended_ns, was_answered
from harness.checkers.invariants import findings
from harness.checkers.verdict import Verdict, checker, count, invalid, unknown, valid
from harness.records.history import RecordedCall
from harness.records.jsonable import canonical, shown

__all__ = ["EXCUSED", "RunEvidence", "coherence", "conflict_resolution", "fault_tolerance", "judge", "no_decoherence"]

#: What a refusal says that is the client's own fault, or the node's honest limit.
EXCUSED: Final = (
    "a name is 1 to 64 of",
    "the value cannot be proposed",
    "requests are waiting here already",
    "variables already",
    # What the client says before it sends anything.
    "None cannot be proposed",
    "is no name: use 1 to 64",
    "cannot be encoded",
    "bytes and the limit is",
    "nested more than",
    "does not fit in 64 bits",
    "NaN is not equal to itself",
    "is not valid Unicode",
    "a map's key is a",
)
#: Seconds. A shorter deadline is nobody's promise: see `cluster/clients/client.py` for how often it sends again.
OWED_TIMEOUT_S: Final = 1.0
NEXT_NODE_S: Final = 0.5
_SEND_AGAIN_S: Final = 1.0
_SLACK_S: Final = 0.5
#: In which a log has to find a leader, if it has none.
ELECTION_S: Final = 2.0
#: A client's clock and its poll may end a call this much before its time.
_EARLY: Final = 0.95


@checker
def coherence(run: RunEvidence) -> Verdict:
    """Every computer ends with the same state."""
    first: dict[str, SeenDecision] = {}
    compared: set[str] = set()
    found = []
    for answer in run.answers():
        other = first.setdefault(answer.key, answer)
        if other is answer:
            continue
        compared.add(answer.key)
        if other.same != answer.same:
            found.append(f"{other.text}, {answer.text} for {answer.key}")
    found += findings(run, "coherence")
    shown_valid = f"all answers and disks agree, for each of {count(len(compared), 'variable')} with two or more"
    nothing = None if compared else "no variable has two answers or disks to compare"
    return _verdict(run, found, nothing, shown_valid)


@checker
def conflict_resolution(run: RunEvidence) -> Verdict:
    """Many proposals are no error; one is picked."""
    answers = list(run.answers())
    found = [text for answer in answers for text in _unproposed(run, answer)]
    found += [
        f"{_asked(refused)} of {shown(refused.invoke.value)} for {refused.key} was refused at "
        f"{run.at(refused.completion)} ({refused.completion.error}), and {other.invoke.process} had proposed too"
        for refused, other in _refused_rivals(run)
        if refused.completion is not None
    ]
    decided = {answer.key for answer in answers}
    values = Counter(key for key, _ in run.proposals_of)
    contested = [key for key, different in values.items() if different > 1 and key in decided]
    nothing = None if contested else "no variable that was decided had two different proposals"
    return _verdict(run, found, nothing, f"one proposal was picked in each of {count(len(contested), 'contest')}")


def _unproposed(run: RunEvidence, answer: SeenDecision) -> Iterator[str]:
    """What is wrong with a decided value, as far as who proposed it goes."""
    if answer.key not in run.by_key:
        return  # on a disk only: a variable of before this history
    same = run.proposals_of.get((answer.key, answer.same), [])
    shown_at = answer.operation.completion if answer.operation is not None else None
    if not same or (shown_at is not None and same[0].invoke.index > shown_at.index):
        yield f"{answer.text} for {answer.key}, which nobody had proposed"
    elif all(proposal.outcome == "fail" for proposal in same):
        yield f"{answer.text} for {answer.key}, and its only proposals had been refused, as never done"


def _refused_rivals(run: RunEvidence) -> Iterator[tuple[RecordedCall, RecordedCall]]:
    """Proposals that were refused and had no excuse, each with one that had come before the refusal."""
    for operations in run.by_key.values():
        proposals = [operation for operation in operations if operation.f == "propose"]
        for refused in proposals:
            ended = refused.completion
            if ended is None or refused.outcome != "fail" or _is_excused(refused):
                continue
            if not run.timeline.owes_answer(refused.invoke.node, refused.invoke.time, ended.time):
                continue
            rival = next((other for other in proposals if other is not refused), refused)
            if rival is not refused and rival.invoke.index < ended.index:
                yield refused, rival


@checker
def no_decoherence(run: RunEvidence) -> Verdict:
    """Once anyone can see a decision, nobody ever sees another."""
    found: list[str] = []
    tried = 0
    for key, operations in run.by_key.items():
        for before, after in _seen_before([operation for operation in operations if operation.outcome == "ok"]):
            tried += 1
            if before.answer is not None and canonical(before.answer) != canonical(after.answer):
                found.append(f"{run.told(before)}, and asked later {run.told(after)} for {key}")
    found += _forgotten(run)
    found += findings(run, "no decoherence")
    nothing = None if tried else "no operation was answered that began after a decision had been seen"
    return _verdict(run, found, nothing, f"{count(tried, 'later answer')} showed what had been seen before")


def _seen_before(answered: list[RecordedCall]) -> Iterator[tuple[RecordedCall, RecordedCall]]:
    """Pairs of operations of one variable: the first that was told a decided value, and one that began after that.

    For each later operation, one earlier is enough: one that was told something else, if there is any.
    """
    told = sorted((one for one in answered if one.answer is not None), key=_end)
    earliest: dict[str, RecordedCall] = {}  # for each value that was told, who was told it first
    for one in told:
        earliest.setdefault(canonical(one.answer), one)
    for after in answered:
        before = [one for one in earliest.values() if one.ended_before(after)]
        if before:
            other = [one for one in before if canonical(one.answer) != canonical(after.answer)]
            yield (other or before)[0], after


def _forgotten(run: RunEvidence) -> Iterator[str]:
    """Disks that had decided and then had not, or otherwise."""
    last: dict[str, dict[str, Any]] = {}
    for node, decided in run.decided_on_disks:
        for key, value in last.get(node, {}).items():
            if key not in decided or canonical(decided[key]) != canonical(value):
                now = f"says {shown(decided[key])}" if key in decided else "is undecided"
                yield f"the disk of {node} said {shown(value)}, and later {now} for {key}"
        last[node] = decided


@checker
def fault_tolerance(run: RunEvidence) -> Verdict:
    """It goes on while a minority is down."""
    found = []
    kept = []
    for operation in run.calls:
        completion = operation.completion
        if completion is None:
            continue
        asked, invoke = operation.invoke.node or "any node", operation.invoke
        if was_answered(operation):
            if _is_owed(run, invoke.node, invoke.time, completion.time):
                kept.append(operation)
        elif _is_broken_promise(run, operation):
            how = f"refused ({completion.error})" if operation.outcome == "fail" else "without an answer"
            found.append(
                f"{_asked(operation)} for {operation.key} at {run.at(invoke)} to {asked} was {how} at "
                f"{run.at(completion)}, and a majority was up and connected"
                + (f". {run.failures[0]}" if run.failures else "")
            )
    nothing = None if kept else "no operation was owed an answer and got it"
    if run.faults_expected and nothing is None:
        for receipt in run.receipts:
            if not any(ended_ns(operation) >= receipt.began_ns for operation in kept):
                nothing = f"no operation was owed an answer and got it while or after {receipt.fault} lasted"
                break
    return _verdict(run, found, nothing, f"{count(len(kept), 'operation')} owed an answer got it")


def _is_broken_promise(run: RunEvidence, operation: RecordedCall) -> bool:
    """Whether an operation that was not answered had been owed an answer."""
    invoke, completion = operation.invoke, operation.completion
    assert completion is not None
    if invoke.timeout_s is None or _is_excused(operation):
        return False
    others = len(run.members) - 1 if invoke.node is None else 0
    if invoke.timeout_s < OWED_TIMEOUT_S + NEXT_NODE_S * others:
        return False
    if operation.outcome == "fail":
        until = max(completion.time, invoke.time + int(invoke.timeout_s * 1e9))
    else:
        until = completion.time
        if until - invoke.time < invoke.timeout_s * _EARLY * 1e9:
            return False  # given up for another reason than its time
    # What was broken when the call began excuses nobody once it has been whole for long enough to ask again.
    asks_again_s = _SEND_AGAIN_S if invoke.node is not None else NEXT_NODE_S * others
    of_election_s = ELECTION_S if run.algorithm.keeps_log else 0.0
    judged_s = asks_again_s + max(OWED_TIMEOUT_S, of_election_s) + _SLACK_S
    began = max(invoke.time, until - int(judged_s * 1e9))
    steady_ns = int(max(OWED_TIMEOUT_S, of_election_s) * _EARLY * 1e9)
    return _is_owed(run, invoke.node, began, until, steady_ns=steady_ns)


def _is_owed(run: RunEvidence, node: str | None, began_ns: int, ended_ns: int, *, steady_ns: int = 0) -> bool:
    owes = run.timeline.leader_owes_answer if run.algorithm.keeps_log else run.timeline.owes_answer
    return owes(node, began_ns, ended_ns, steady_ns=steady_ns)


#: Every property by the article's name.
PROPERTIES: Final[dict[str, Callable[[RunEvidence], Verdict]]] = {
    "coherence": coherence,
    "conflict resolution": conflict_resolution,
    "no decoherence": no_decoherence,
    "fault tolerance": fault_tolerance,
}


def judge(run: RunEvidence) -> dict[str, Verdict]:
    """All four."""
    return {name: check(run) for name, check in PROPERTIES.items()}


# --- what they share ------------------------------------------------------------------------------------------------


def _verdict(run: RunEvidence, found: list[str], nothing: str | None, shown_valid: str) -> Verdict:
    """Invalid if anything was found, unknown if nothing was shown, else valid."""
    if found:
        return invalid(*found)
    no_test = run.shows_nothing(run.calls)
    if no_test is not None:
        return unknown(no_test, no_test=True)
    return valid(shown_valid) if nothing is None else unknown(nothing)


def _is_excused(operation: RecordedCall) -> bool:
    error = operation.completion.error if operation.completion is not None else None
    return operation.outcome == "fail" and any(text in (error or "") for text in EXCUSED)


def _end(operation: RecordedCall) -> int:
    assert operation.completion is not None
    return operation.completion.index


def _asked(operation: RecordedCall) -> str:
    return f"{operation.invoke.process}'s {operation.f}"
