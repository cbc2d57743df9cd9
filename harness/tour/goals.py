"""The goals of the challenges: each looks at what the reader has brought about, and rules by the judges and by receipts."""

import time
from typing import Final

from cluster.clients.outcomes import NotKnown, Ok
from cluster.processes import ProcessState
from harness.checkers.linearizable import linearizable
from harness.checkers.models import KvModel
from harness.checkers.properties import coherence
from harness.checkers.verdict import VerdictStatus
from harness.records.jsonable import shown
from harness.tour.stage import NO_ANSWER_S, Stage, in_words
from harness.tour.story import GoalRuling
from node.quorum import majority
from node.wording import count

#: The faults that end or stop a process.
_ON_PROCESSES: Final = ("kill", "terminate", "suspend")
#: How long a decision has to be held off.
_HELD_OFF_S: Final = 2.0


def other_answer(stage: Stage) -> GoalRuling:
    """A proposer was answered with another value than it had proposed."""
    for call in stage.run.recorder.history.operations:
        done = call.completion
        if call.invoke.f == "propose" and done is not None and done.type == "ok" and done.value != call.invoke.value:
            return GoalRuling(True, f"{shown(call.invoke.value)} was proposed, and the answer was {shown(done.value)}")
    return GoalRuling(False, "so far every proposer was answered with its own value, or nobody has proposed")


def two_decisions(stage: Stage) -> GoalRuling:
    """The judge of coherence finds two decided values."""
    verdict = coherence(stage.evidence())
    if verdict.status is VerdictStatus.INVALID:
        return GoalRuling(True, f"the judge of coherence finds: {verdict.evidence}")
    return GoalRuling(False, f"the judge of coherence finds no two decisions so far: {verdict.evidence}")


def stuck(stage: Stage, crashes: int) -> GoalRuling:
    """Every node that is up leaves a proposal without an answer, and no more nodes were struck than allowed."""
    run = stage.run
    struck = sorted(
        {node for receipt in run.faults.receipts if receipt.fault in _ON_PROCESSES for node in receipt.nodes_down}
    )
    if len(struck) > crashes:
        allowed = "none may be" if crashes == 0 else f"at most {crashes} may be"
        return GoalRuling(
            False, f"{count(len(struck), 'node')} of {len(run.nodes)} were struck ({', '.join(struck)}), and {allowed}"
        )
    if any(receipt.ended_ns is None and receipt.links_cut for receipt in run.faults.receipts):
        return GoalRuling(
            False, "links are cut, and nobody promises a decision across a cut: heal first, and it must still be stuck"
        )
    if any(receipt.ended_ns is None and receipt.links_disturbed for receipt in run.faults.receipts):
        return GoalRuling(False, "messages are held: heal first, and it must still be stuck")
    up = [node for node in run.nodes if run.cluster.state(node) is ProcessState.UP]
    calls = {node: run.begin_propose("colour", "violet", node, 2 * NO_ANSWER_S) for node in up}
    outcomes = {node: run.client.wait(call) for node, call in calls.items()}
    answered = {node: outcome for node, outcome in outcomes.items() if isinstance(outcome, Ok)}
    if answered:
        node, outcome = next(iter(answered.items()))
        return GoalRuling(False, f"it decides: {node} answers a proposal with {in_words(outcome)}")
    who = f"with {', '.join(struck)} struck" if struck else "and every node is up"
    return GoalRuling(True, f"{', '.join(up)} leave a proposal without an answer for {2 * NO_ANSWER_S:g} s, {who}")


def stuck_with_no_crash(stage: Stage) -> GoalRuling:
    """The cluster is stuck, and no process was touched."""
    return stuck(stage, 0)


def stuck_with_one_crash(stage: Stage) -> GoalRuling:
    """The cluster is stuck, and at most one process was touched."""
    return stuck(stage, 1)


def held_off(stage: Stage) -> GoalRuling:
    """Two values were proposed, nothing was lost or struck, and for two seconds nothing is decided. Then all goes on."""
    run = stage.run
    proposed = [call for call in run.recorder.history.operations if call.invoke.f == "propose"]
    if len({shown(call.invoke.value) for call in proposed}) < 2:
        return GoalRuling(False, "two different values have to be proposed")
    if struck := [receipt.fault for receipt in run.faults.receipts if receipt.fault in (*_ON_PROCESSES, "partition")]:
        return GoalRuling(
            False, f"nothing may be lost and no process struck, and there was a {struck[0]}: hold messages instead"
        )
    first_ns = min(call.invoke.time for call in proposed)
    time.sleep(max(_HELD_OFF_S - (time.monotonic_ns() - first_ns) / 1e9, 0))
    decided = {node: status.get("decided") for node, status in stage.variable_status().items()}
    if any(one is not None for one in decided.values()):
        return GoalRuling(False, "it is decided: " + ", ".join(f"{node} {shown(one)}" for node, one in decided.items()))
    waited_s = (time.monotonic_ns() - first_ns) / 1e9
    told = stage.heal()
    began = time.monotonic()
    outcome, _ = stage.query_until(run.nodes[0], lambda value: value is not None)
    after_ms = (time.monotonic() - began) * 1000
    return GoalRuling(
        True,
        f"for {waited_s:.1f} s {len(decided)} nodes knew of no decision; then {'; '.join(told)}; and {after_ms:.0f} ms later "
        f"{run.nodes[0]} says {in_words(outcome)}",
    )


def lost_put(stage: Stage) -> GoalRuling:
    """The answers fit no order of the calls: an acknowledged value is gone."""
    history = stage.run.recorder.history
    verdict = linearizable(stage.evidence(), KvModel())
    acknowledged = sum(call.outcome == "ok" for call in history.operations)
    if verdict.status is VerdictStatus.INVALID:
        return GoalRuling(True, f"the judge of linearizability finds: {verdict.evidence}")
    return GoalRuling(
        False, f"nothing is lost: the judge of linearizability has {count(acknowledged, 'answer')}: {verdict.evidence}"
    )


def fewest_crashes(stage: Stage) -> GoalRuling:
    """The service is stopped by as few crashes as can stop it."""
    run = stage.run
    down = [node for node in run.nodes if run.cluster.state(node) is not ProcessState.UP]
    fewest = len(run.nodes) - majority(len(run.nodes)) + 1
    if len(down) > fewest:
        return GoalRuling(False, f"{len(down)} nodes are down, and fewer would do: restart some")
    outcome, line = stage.put("probe", len(down), 2 * NO_ANSWER_S)
    if isinstance(outcome, NotKnown):
        return GoalRuling(True, f"{line}, with {', '.join(down)} of {len(run.nodes)} down")
    return GoalRuling(False, f"it goes on with {count(len(down), 'node')} down: {line}")
