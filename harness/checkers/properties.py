"""The checkers of the article's four properties: coherence, conflict resolution, no decoherence, fault tolerance.

`docs/index.md` has them in a table.

What is a violation
-------------------
*Coherence*: two answers, or two disks, or an answer and a disk, with different decided values of one variable.

*Conflict resolution*: (1) A decided value, of a variable in the history, that no client proposed before. A proposal of
unknown outcome counts as proposed. A refused proposal does not, since refused means never done. (2) A refused proposal,
unless one of these explains it: its input was bad or the node was full (`EXCUSED`); no other client had proposed for that
variable by then; or the node that the client asked was not on a majority side all the time, so it may have had to give up.

*No decoherence*: an operation that began after another had been answered with a decided value, and whose answer differs, even
if it is "undecided". And a disk that showed a decided value and later does not.

*Fault tolerance*: an operation that was owed an answer and received none in its time, or was refused without such an excuse.

When an answer is owed
----------------------
1. At the end of the call the client could reach a node that was on a majority side. "At the end" means for as long as the
   client takes to send again, and 1.5 seconds more, or for the whole call if it was shorter.
2. A refusal is judged as if the client had waited for its whole timeout.
3. In that time the same majority stayed for a second, and the call's timeout was a second or more. For a call to any node, the
   timeout must be half a second longer for every further node, since the client goes from one to the next at that pace.
4. An algorithm that keeps a log has one leader. There, every node that might lead must have been within reach, and that
   must have stayed so for two seconds, in which the nodes can elect a leader.
5. Over links that are late or lossy the same is owed, later: every time above is longer by the allowance of
   `harness.records.receipts.allowance_s`, which is ten round trips of what the receipts say. So they are if the machine stalls:
   if it lets the harness rest for longer than it has asked for, each process waits for its turn as long.
6. Calls may be too short for that. So the cluster must not be silent, either: if clients were asking all the time and an answer
   was owed all the time, some call must be answered within the judged end of a call and the allowance.

What a valid verdict needs
--------------------------
Without these, an empty run would pass. Each property must have been *tried*. Coherence: two answers or disks of one variable.
Conflict resolution: two different proposals for a variable that was decided. No decoherence: an operation that began after a
decision was seen. Fault tolerance: an operation that was owed an answer and received it. If faults were expected, each must
have bitten, and for each an operation must have been in flight, or have begun, during or after it; for fault tolerance, one
that was owed an answer and received it.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple

from harness.checkers.evidence import COHERENCE, NO_DECOHERENCE, RunEvidence, SeenDecision, ended_ns, was_answered
from harness.checkers.invariants import findings
from harness.checkers.owed_answers import EXCUSED, OWED_TIMEOUT_S, is_broken_promise, is_excused, is_owed, silences
from harness.checkers.verdict import Found, Verdict, checker, invalid, unknown, valid
from harness.checkers.wording import call_clause
from harness.records.history import RecordedCall
from harness.records.jsonable import canonical, shown, wording
from node.wording import count

__all__ = ["EXCUSED", "RunEvidence", "coherence", "conflict_resolution", "fault_tolerance", "judge", "no_decoherence"]


@checker
def coherence(run: RunEvidence) -> Verdict:
    """Check that every computer ends with the same state: all answers and disks show one decided value of a variable."""
    first: dict[str, SeenDecision] = {}
    compared: set[str] = set()
    with Found() as found:
        for answer in run.seen_decisions():
            other = first.setdefault(answer.key, answer)
            if other is answer:
                continue
            compared.add(answer.key)
            if other.canonical_value != answer.canonical_value:
                found.append(f"{other.text} and {answer.text} for {answer.key}")
        found.extend(findings(run, COHERENCE))
    untried = None if compared else "no variable has two answers or disks to compare"
    kept = f"all answers and disks agree for each of {count(len(compared), 'variable')} that has two or more"
    return _verdict(run, found, untried, kept)


@checker
def conflict_resolution(run: RunEvidence) -> Verdict:
    """Check that rival proposals are no error, and that one of the proposed values is decided."""
    decisions = list(run.seen_decisions())
    with Found() as found:
        found.extend(text for decision in decisions for text in _unproposed(run, decision))
        found.extend(_refusal_text(run, refused, rival) for refused, rival in _refused_rivals(run))
    decided = {decision.key for decision in decisions}
    values = Counter(key for key, _ in run.proposals_of)
    contested = [key for key, different in values.items() if different > 1 and key in decided]
    untried = None if contested else "no variable that was decided had two different proposals"
    kept = f"one proposal was picked for each of {count(len(contested), 'variable')} with different proposals"
    return _verdict(run, found, untried, kept)


@wording
def _refusal_text(run: RunEvidence, refused: RecordedCall, rival: RecordedCall) -> str:
    assert refused.completion is not None
    return (
        f"{refused.invoke.process}'s {refused.f} of {shown(refused.invoke.value)} for {refused.key} was refused at "
        f"{run.time_of(refused.completion)} ({refused.completion.error}), and {rival.invoke.process} had proposed a value too"
    )


def _unproposed(run: RunEvidence, decision: SeenDecision) -> Iterator[str]:
    """Yield a sentence if a decided value was not proposed before, or if all its proposals were refused."""
    if decision.key not in run.operations_by_variable:
        return  # it stands on a disk only, so the variable may be older than this history
    proposals = run.proposals_of.get((decision.key, decision.canonical_value), [])
    completion = decision.operation.completion if decision.operation is not None else None
    if not proposals or (completion is not None and proposals[0].invoke.index > completion.index):
        yield f"{decision.text} for {decision.key}, and no client had proposed that value"
    elif all(proposal.outcome == "fail" for proposal in proposals):
        yield f"{decision.text} for {decision.key}, and every proposal of that value had been refused as never done"


class _RefusedRival(NamedTuple):
    """A proposal that was refused without an excuse, and one of another client that began before the refusal."""

    refused: RecordedCall
    rival: RecordedCall


def _refused_rivals(run: RunEvidence) -> Iterator[_RefusedRival]:
    for operations in run.operations_by_variable.values():
        proposals = [operation for operation in operations if operation.f == "propose"]
        for refused in proposals:
            ended = refused.completion
            if ended is None or refused.outcome != "fail" or is_excused(refused):
                continue
            if not run.timeline.owes_answer(refused.invoke.node, refused.invoke.time, ended.time):
                continue
            rival = next((other for other in proposals if other is not refused), refused)
            if rival is not refused and rival.invoke.index < ended.index:
                yield _RefusedRival(refused, rival)


@checker
def no_decoherence(run: RunEvidence) -> Verdict:
    """Check that once a client can see a decision, no client ever sees another one."""
    tried = 0
    with Found() as found:
        for key, operations in run.operations_by_variable.items():
            for before, after in _pairs_after_decision([one for one in operations if one.outcome == "ok"]):
                tried += 1
                if before.answer is not None and canonical(before.answer) != canonical(after.answer):
                    answers = f"{run.describe_answer(before)}, but in a later operation {run.describe_answer(after)}"
                    found.append(f"{answers} for {key}")
        found.extend(_forgotten_decisions(run))
        found.extend(findings(run, NO_DECOHERENCE))
    untried = None if tried else "no operation that began after a decision had been seen was answered"
    kept = f"{count(tried, 'later answer')} showed the decision that had been seen before"
    return _verdict(run, found, untried, kept)


class _AnsweredPair(NamedTuple):
    """Two answered operations on one variable; `after` began when `before` had returned a decided value."""

    before: RecordedCall
    after: RecordedCall


def _pairs_after_decision(answered: list[RecordedCall]) -> Iterator[_AnsweredPair]:
    """Yield, for each operation that began after a decision had been seen, one earlier operation that had seen it.

    If an earlier operation saw another value, the pair has that one.
    """
    decided = sorted((one for one in answered if one.answer is not None), key=_end)
    first_with: dict[str, RecordedCall] = {}  # for each decided value, the operation that returned it first
    for one in decided:
        first_with.setdefault(canonical(one.answer), one)
    for after in answered:
        before = [one for one in first_with.values() if one.ended_before(after)]
        if before:
            different = [one for one in before if canonical(one.answer) != canonical(after.answer)]
            yield _AnsweredPair((different or before)[0], after)


def _forgotten_decisions(run: RunEvidence) -> Iterator[str]:
    """Yield a sentence for each decision that a disk showed and later did not, or showed differently."""
    last: dict[str, dict[str, Any]] = {}
    for node, decided in run.decided_on_disks:
        for key, value in last.get(node, {}).items():
            if key not in decided or canonical(decided[key]) != canonical(value):
                now = shown(decided[key]) if key in decided else "no decision"
                yield f"the disk of {node} showed {shown(value)} and later showed {now} for {key}"
        last[node] = decided


@checker
def fault_tolerance(run: RunEvidence) -> Verdict:
    """Check that the cluster answers while a minority is down."""
    answered = []
    with Found() as found:
        for operation in run.calls:
            invoke, completion = operation.invoke, operation.completion
            if completion is None:
                continue
            if was_answered(operation):
                if is_owed(run, invoke.node, invoke.time, completion.time):
                    answered.append(operation)
            elif is_broken_promise(run, operation):
                seconds, ended_at = run.history.seconds(invoke.time), run.time_of(completion)
                call = call_clause(invoke.process, operation.f, operation.key, invoke.node, seconds)
                refused = f"was refused at {ended_at} ({completion.error})"
                how = refused if operation.outcome == "fail" else f"had no answer by {ended_at}"
                found.append(
                    f"{call}, {how}, although a majority was up and connected"
                    + (f". {run.failures[0]}" if run.failures else "")
                )
        if not found:
            for text in silences(run):
                found.append(text)
    untried = None if answered else "no operation that was owed an answer received one"
    if run.faults_expected and untried is None:
        for receipt in run.receipts:
            if not any(ended_ns(operation) >= receipt.began_ns for operation in answered):
                untried = f"no operation that was owed an answer received one during or after {receipt.fault}"
                break
    kept = f"{count(len(answered), 'operation')} received the answer that was owed{_not_owed_text(run)}"
    return _verdict(run, found, untried, kept)


@wording
def _not_owed_text(run: RunEvidence) -> str:
    """Return the end of a sentence on the calls that waited long and were owed nothing; the empty text if there are none."""
    waited = [
        one
        for one in run.calls
        if one.completion is not None
        and one.completion.time - one.invoke.time >= OWED_TIMEOUT_S * 1e9
        and not is_owed(run, one.invoke.node, one.invoke.time, one.completion.time)
    ]
    during = [
        receipt.fault
        for receipt in run.receipts
        if any(
            receipt.began_ns < ended_ns(one) and (receipt.ended_ns is None or receipt.ended_ns > one.invoke.time)
            for one in waited
        )
    ]
    if not during:
        return ""
    longest_s = max(ended_ns(one) - one.invoke.time for one in waited) / 1e9
    faults = ", ".join(dict.fromkeys(during))
    return (
        f"; none was owed to {count(len(waited), 'other')}, which waited for up to {longest_s:.1f} s while faults were in "
        f"force: {faults}"
    )


#: The checker of each property, by the article's name.
PROPERTIES: Final[dict[str, Callable[[RunEvidence], Verdict]]] = {
    "coherence": coherence,
    "conflict resolution": conflict_resolution,
    "no decoherence": no_decoherence,
    "fault tolerance": fault_tolerance,
}


def contract_verdict(run: RunEvidence) -> dict[str, Verdict]:
    """Return the verdict "contract" by its name if nodes failed by themselves; nothing if none did."""
    return {"contract": invalid(*run.failures)} if run.failures else {}


def judge(run: RunEvidence) -> dict[str, Verdict]:
    """Return the verdict on each of the four properties, by name."""
    return {name: check(run) for name, check in PROPERTIES.items()}


# --- shared helpers -------------------------------------------------------------------------------------------------


def _verdict(run: RunEvidence, found: list[str], untried: str | None, kept: str) -> Verdict:
    """Return a property's verdict.

    Args:
        run: the evidence.
        found: one sentence for each violation.
        untried: why the run did not try the property; None if it did.
        kept: the sentence of a valid verdict.
    """
    if found:
        return invalid(*found)
    no_test = run.why_untested(run.calls)
    if no_test is not None:
        return unknown(no_test, no_test=True)
    return valid(kept) if untried is None else unknown(untried)


def _end(operation: RecordedCall) -> int:
    assert operation.completion is not None
    return operation.completion.index
