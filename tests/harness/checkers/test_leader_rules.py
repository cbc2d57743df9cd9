"""The rules about leaders' logs, by what leaders say: each is found broken, in any order of messages, and good logs pass."""

from itertools import permutations

import pytest

from harness.checkers.chosen_log import ChosenLog
from harness.checkers.evidence import RunEvidence
from harness.checkers.invariants import invariants
from harness.checkers.known_bad_leaders import KNOWN_BREAKS, A, B, KeepsBallots, Said, leads, run_of
from harness.checkers.leader_rules import COMPLETENESS, LOG_MATCHING, RULES, STATE_MACHINE_SAFETY, LeaderLogs
from harness.checkers.recorded_messages import LogReader, said_by_leaders
from harness.checkers.verdict import VerdictStatus
from harness.records.messages import readable_fields
from node.algorithms.multipaxos import MultiPaxos
from node.algorithms.multipaxos.messages import LogAccept, LogPrepare
from node.contract import Message
from node.log_contract import LeaderMessage, LogAlgorithm, Record
from node.quorum import Ballot
from node.replication.messages import Heartbeat
from node.storage.disk import Contents

#: Figure 8 of Raft's paper: leader 4 sends an entry of term 2 to a majority, and leader 5 puts one of term 3 in its place.
FIGURE_8: Said = (
    leads("n1", 2, (1, 1, A), (2, 2, A), commit=1),
    leads("n3", 3, (2, 3, B), after=(1, 1), commit=1),
    leads("n1", 4, (2, 2, A), after=(1, 1), commit=1),
    leads("n3", 5, (2, 3, B), (3, 5, A), after=(1, 1), commit=3),
)


def broken(said: Said, algorithm: type[LogAlgorithm] = KeepsBallots) -> list[str]:
    leaders = LeaderLogs(algorithm)
    return [each.rule for node, message in said for each in leaders.say(node, message)]


def test_there_is_a_case_for_each_rule() -> None:
    assert tuple(KNOWN_BREAKS) == RULES


@pytest.mark.parametrize(("rule", "said"), [(rule, said) for rule, cases in KNOWN_BREAKS.items() for said in cases])
def test_a_rule_is_found_broken_in_any_order_of_lines_and_in_a_run(rule: str, said: Said) -> None:
    for order in permutations(said):
        assert rule in broken(order) or {rule, *broken(order)} <= {COMPLETENESS, STATE_MACHINE_SAFETY}, order
    verdict = invariants(run_of(said))
    assert verdict.status is VerdictStatus.INVALID
    assert any(line.startswith(f"{rule}: ") for line in (verdict.evidence, *verdict.more)), verdict


def test_figure_8_is_a_good_run_if_the_overwritten_entry_was_not_called_chosen() -> None:
    for order in permutations(FIGURE_8):
        assert broken(order) == []
    assert invariants(run_of(FIGURE_8)).status is VerdictStatus.VALID
    called_chosen = (*FIGURE_8[:2], leads("n1", 4, (2, 2, A), after=(1, 1), commit=2), FIGURE_8[3])
    for order in permutations(called_chosen):
        assert {COMPLETENESS, STATE_MACHINE_SAFETY} & set(broken(order)), order


def test_the_chosen_batches_of_figure_8_are_those_of_the_last_leader() -> None:
    log = ChosenLog(KeepsBallots, ("n1", "n2", "n3"), {}, {}, messages=run_of(FIGURE_8).messages)
    assert log.proposed == {1: A, 2: B, 3: A}


def test_a_batch_is_known_by_the_record_that_follows_it() -> None:
    """n3 overwrites slot 1 at a minority and is never heard of again; the next leader needs to send slot 2 alone."""
    said = (
        leads("n1", 1, (1, 1, A)),
        leads("n3", 2, (1, 2, B)),
        leads("n2", 3, (2, 3, B), after=(1, 1), commit=2),
    )
    log = ChosenLog(KeepsBallots, ("n1", "n2", "n3"), {}, {}, messages=run_of(said).messages)
    assert log.proposed == {1: A, 2: B}


def test_two_disks_that_share_a_record_and_differ_below_it_break_log_matching() -> None:
    disks = {}
    for node, first in (("n1", 1), ("n2", 2)):
        disks[node] = Contents(node=node, cluster="0" * 32, incarnation=1)
        for record in (Record(1, first, "", A), Record(2, 3, "", A)):
            disks[node].log.put(record)
    run = RunEvidence(("n1", "n2", "n3"), KeepsBallots, disks=disks)
    assert invariants(run).evidence.startswith(f"{LOG_MATCHING}: ")


def test_multi_paxos_proposes_again_what_may_be_chosen() -> None:
    first, second = Ballot(1, "n1"), Ballot(1, "n2")
    sent: tuple[tuple[str, Message], ...] = (
        ("n1", LogAccept(first, 1, A, 0)),
        ("n1", Heartbeat(first, 1, 1)),
        ("n2", LogAccept(second, 1, A, 1)),
    )
    assert said_and_broken(sent) == (3, [])
    assert said_and_broken((*sent, ("n2", LogAccept(Ballot(2, "n2"), 1, B, 0)))) == (4, [COMPLETENESS])


def said_and_broken(sent: tuple[tuple[str, Message], ...]) -> tuple[int, list[str]]:
    lines = [
        {"from": node, "incarnation": 1, "type": message.type_name(), "fields": readable_fields(message)}
        for node, message in sent
    ]
    said = [*said_by_leaders(MultiPaxos, lines)]
    for (_, message), read in zip(sent, said, strict=True):
        assert read.said == MultiPaxos.leader_message(message)
    return len(said), broken(tuple((node, read) for node, _, read in said), MultiPaxos)


def test_a_reader_takes_recorded_fields_and_leaves_out_what_it_cannot_read() -> None:
    reader, ballot = LogReader(MultiPaxos), Ballot(2, "n2")
    prepare = LogPrepare(ballot, 3)
    assert reader.candidacy("Prepare", readable_fields(prepare)) == ballot
    assert reader.said("Prepare", readable_fields(prepare)) is None
    assert reader.said("Heartbeat", readable_fields(Heartbeat(ballot, 1, 7))) == LeaderMessage(ballot, (), 7)
    assert reader.candidacy("Heartbeat", readable_fields(Heartbeat(ballot, 1, 7))) is None
    for type_, fields in (("Heartbeat", {"ballot": "x"}), ("Heartbeat", {}), ("Nothing", {}), ("Accept", {"batch": 1})):
        assert reader.said(type_, fields) is None
    assert reader.said("Heartbeat", readable_fields(Heartbeat(ballot, 1, 8))) == LeaderMessage(ballot, (), 8)
