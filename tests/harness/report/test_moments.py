"""What the page shows of the nodes at any moment, and the step at which a predicate breaks."""

import json
from pathlib import Path

from harness.report.changes import SHOWS, changes
from harness.report.predicates import AGREEMENT, CHOSEN, PROMISES, STAYS
from harness.report.reading import read_run
from harness.report.recorded_events import recorded_events
from harness.report.scripts import MODULES, script
from node.algorithms import load_algorithm
from tests.run_folders import MS, event, lines, message, receipt, results, split_brain


def shown(folder: Path) -> list[tuple[float, str, str, object]]:
    return [(change.time / MS, change.node, change.field, change.value) for change in changes(read_run(folder))]


def broken(folder: Path) -> tuple[list[str], list[tuple[str, int, str]]]:
    """Return the predicates that a run can show, and those that it breaks: with the time in milliseconds, and the evidence."""
    recorded = recorded_events(read_run(folder))
    events = [event for event in recorded.events if event["k"] == "predicate"]
    return recorded.predicates, [(event["name"], event["t"] // 1000, event["evidence"]) for event in events]


def run_of(folder: Path, algorithm: str, *messages: dict[str, object], nodes: int = 3) -> Path:
    folder.mkdir()
    data = results(algorithm=algorithm, nodes=[f"n{number}" for number in range(1, nodes + 1)], verdicts={})
    (folder / "results.json").write_text(json.dumps(data))
    lines(folder / "history.jsonl", [event(0, 0, "c1", "invoke", "propose", value="blue", node="n1")])
    lines(folder / "receipts.jsonl", [])
    lines(folder / "messages.jsonl", messages)
    return folder


def paxos(index: int, at_ms: float, sender: str, receiver: str, type_: str, **fields: object) -> dict[str, object]:
    return message(index, at_ms, sender, receiver, type=type_, fields=fields)


def test_messages_and_answers_show_what_a_node_holds(tmp_path: Path) -> None:
    found = shown(split_brain(tmp_path / "run"))
    assert (-5.0, "n1", "role", "leader") in found  # a node with an empty disk reports it
    assert (2.0, "n1", "holds", "blue") in found
    assert (10.0, "n1", "decided", "blue") in found
    assert (500.0, "n3", "decided", "red") in found
    assert found == sorted(found, key=lambda each: each[0])
    assert [each for each in found if each[1:3] == ("n1", "holds")] == [
        (2.0, "n1", "holds", "blue")
    ]  # and no repetition


def test_an_acceptance_has_the_value_of_its_ballot(tmp_path: Path) -> None:
    accept = paxos(0, 1, "n1", "n2", "Accept", ballot=[3, "n1"], value="green")
    found = shown(run_of(tmp_path / "run", "paxos", accept, paxos(1, 2, "n2", "n1", "Accepted", ballot=[3, "n1"])))
    assert found == [
        (1.0, "n1", "ballot", "3·n1"),
        (1.0, "n1", "role", "proposing"),
        (2.0, "n2", "ballot", "3·n1"),
        (2.0, "n2", "holds", "green"),
    ]


def test_messages_of_a_log_share_names_with_those_about_one_value(tmp_path: Path) -> None:
    accept = paxos(0, 1, "n2", "n1", "Accept", ballot=[3, "n2"], slot=5, batch="00", commit=4)
    accepted = paxos(1, 2, "n1", "n2", "Accepted", ballot=[3, "n2"], slots=[5])
    assert shown(run_of(tmp_path / "run", "multipaxos", accept, accepted)) == [
        (1.0, "n2", "ballot", "3·n2"),
        (1.0, "n2", "role", "leader"),
        (1.0, "n2", "log", "slot 4"),
        (2.0, "n1", "ballot", "3·n2"),
        (2.0, "n1", "role", "follower"),
    ]


def test_every_message_that_shows_something_is_sent_by_an_algorithm() -> None:
    algorithms = [load_algorithm(name) for name in ("leader", "failover", "majority", "paxos", "multipaxos")]
    sent = {message.type_name() for algorithm in algorithms for message in algorithm.messages}
    assert set(SHOWS) - sent == set()


def test_replies_are_no_decisions_of_one_variable(tmp_path: Path) -> None:
    """A reply names no variable, and clients number their requests alike."""
    replies = [
        message(number, number, "n1", "client", type="Reply", variable="", fields={"number": 1, "value": value})
        for number, value in enumerate(("blue", "red"), 1)
    ]
    folder = run_of(tmp_path / "run", "multipaxos", *replies)
    assert changes(read_run(folder)) == []
    assert broken(folder)[1] == []


def test_a_restart_takes_the_role_and_leaves_what_is_on_the_disk(tmp_path: Path) -> None:
    folder = run_of(tmp_path / "run", "multipaxos", message(0, 1, "n2", "n1", type="Heartbeat", fields={"commit": 4}))
    lines(folder / "receipts.jsonl", [receipt("kill", 2, 3, nodes_down=["n2"])])
    assert shown(folder) == [(1.0, "n2", "role", "leader"), (1.0, "n2", "log", "slot 4"), (3.0, "n2", "role", "")]


def test_a_clock_that_stood_still_takes_nothing(tmp_path: Path) -> None:
    folder = run_of(tmp_path / "run", "multipaxos", message(0, 1, "n2", "n1", type="Heartbeat", fields={"commit": 4}))
    lines(folder / "receipts.jsonl", [receipt("clock-skew", 2, 3, nodes_down=["n2"], evidence={"rate": 0})])
    assert shown(folder) == [(1.0, "n2", "role", "leader"), (1.0, "n2", "log", "slot 4")]
    (fault,) = read_run(folder).faults
    assert fault.mark == "clock stopped"


def test_agreement_breaks_at_the_second_decision(tmp_path: Path) -> None:
    names, found = broken(split_brain(tmp_path / "run"))
    assert {AGREEMENT, STAYS} <= set(names)
    assert found == [(AGREEMENT, 500, "colour: n1 shows 'blue', and n3 shows 'red'")]


def test_two_majorities_break_one_value_chosen_and_one_majority_does_not(tmp_path: Path) -> None:
    votes = [message(number, number, f"n{number}", "n1", fields={"value": "blue"}) for number in (1, 2)]
    assert broken(run_of(tmp_path / "kept", "majority", *votes)) == ([CHOSEN], [])
    again = [message(number, number, f"n{number - 2}", "n3", fields={"value": "red"}) for number in (3, 4)]
    _, found = broken(run_of(tmp_path / "broken", "majority", *votes, *again))
    assert found == [
        (CHOSEN, 4, "colour: 'blue' was chosen by votes by n1, n2, and 'red' was chosen by votes by n1, n2")
    ]


def test_the_step_that_breaks_a_promise_is_found(tmp_path: Path) -> None:
    late = (
        paxos(0, 1, "n1", "n3", "Prepare", ballot=[1, "n1"]),
        paxos(1, 2, "n3", "n1", "Promise", ballot=[1, "n1"], accepted=None, value=None),
        paxos(2, 3, "n2", "n3", "Prepare", ballot=[2, "n2"]),
        paxos(3, 4, "n3", "n2", "Promise", ballot=[2, "n2"], accepted=None, value=None),
        paxos(4, 5, "n1", "n3", "Accept", ballot=[1, "n1"], value="blue"),
    )
    rejected = paxos(5, 6, "n3", "n1", "Rejected", ballot=[1, "n1"], promised=[2, "n2"])
    assert broken(run_of(tmp_path / "kept", "paxos", *late, rejected)) == ([PROMISES], [])
    accepted = paxos(5, 6, "n3", "n1", "Accepted", ballot=[1, "n1"])
    _, found = broken(
        run_of(tmp_path / "broken", "paxos", *late, accepted, paxos(6, 7, "n1", "n2", "Decided", value="blue"))
    )
    ((name, ms, evidence),) = found
    assert (name, ms) == (PROMISES, 6)
    assert "n3 sent Accepted of ballot 1 of n1 after it had promised ballot 2 of n2" in evidence


def test_the_script_of_the_page_has_every_module_and_imports_nothing() -> None:
    text = script()
    assert all(f'modules["{name}"] = ' in text for name in MODULES)
    assert "\nimport " not in text
    assert "\nexport " not in text
