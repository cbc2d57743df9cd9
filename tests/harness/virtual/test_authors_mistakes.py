"""Each mistake of an algorithm's author is a broken contract, with the line of the author's code."""

import inspect
import re
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from harness.checkers.verdict import VerdictStatus
from harness.records.disks import status_failures
from harness.replay import schedule_replay
from harness.replay.schedule import Schedule
from harness.virtual import explorer, simulator, watchdog
from harness.virtual.bounds import Bounds
from harness.virtual.explorer import NoBallotField, run_explore, unbounded_numbers
from harness.virtual.first_try import broken_contract
from harness.virtual.search import Budget
from harness.virtual.simulation_settings import SimulationSettings
from harness.virtual.simulator import run_simulate
from node.algorithms import UnknownAlgorithm, load_algorithm
from node.storage.disk import Contents
from node.wire import encode_value
from tests import own_algorithms

#: By class: what is said of it, before the place.
MISTAKES = {
    "SendsWrongField": "the field Say.term is the str '3', and it is declared as int",
    "SendsDictionary": "the field Say.value is the dict {'n1': b'\\xa4blue'}, and it is declared as Value",
    "StoresDictionary": "a disk stores int, bool, str, bytes, None, and tuples of these, but not a dict, as under 'votes'",
    "StoresUnderNumber": "a key of a disk is a str, but not the int 3",
    "SendsToUnknownNode": "Say was sent to 'n9', which is no node: the members are n1, n2, n3",
    "SendsText": "the str 'hello' was sent, which is no message: send an object of a subclass of Message",
    "SendsClass": "the class Say was sent, which is no message: send an object of a subclass of Message",
    "SendsWhatIsNotListed": "Other is not in the `messages` of the algorithm: add the class there",
    "AnswersText": "a request was answered with the str 'blue': give the bytes of a Value, or None",
    "AnswersNobody": "'c1' was answered, which is no Request: give the one that the call came with",
    "SetsTimerToText": "timer 'later' from '1' to 2 seconds: give a name and 0 <= least_s <= most_s",
    "StatusIsDictionary": "status() of StatusIsDictionary returned a dict: return a node.contract.Status",
    "StatusHasWrongField": "status() of StatusHasWrongField has the int 3 as its ballot: see node.contract.Status",
    "AwaitsText": "awaits() returned 'again', where a tuple is wanted: ('again',)",
    "Raising": "ZeroDivisionError: the author's mistake",
    "CannotSayHowItIs": "ZeroDivisionError: the author's mistake",
    "Exiting": "SystemExit: 3",
}


def line_of(name: str) -> str:
    """Return the pattern of the place of a mistake: a line within the class."""
    lines, first = inspect.getsourcelines(getattr(own_algorithms, name))
    among = "|".join(str(first + number) for number in range(len(lines)))
    return rf" \((in \w+, )?own_algorithms\.py, line ({among})\)"


@pytest.mark.parametrize("name", MISTAKES)
def test_the_explorer_names_the_mistake_and_its_line(name: str) -> None:
    report = run_explore(getattr(own_algorithms, name), Bounds(), Budget(seconds=30))
    assert report.verdict.status == VerdictStatus.INVALID
    said = MISTAKES[name].replace("purple", "blue")
    assert re.fullmatch(rf"contract: n1 fails: {re.escape(said)}{line_of(name)}", report.verdict.evidence)


@pytest.mark.parametrize("name", MISTAKES)
def test_the_simulator_names_the_mistake_and_its_line(name: str) -> None:
    report = run_simulate(getattr(own_algorithms, name), range(5), SimulationSettings(values=1))
    assert report.verdict.status == VerdictStatus.INVALID
    assert report.shrunk is not None
    said = str(report.shrunk.violations[0])
    assert re.fullmatch(
        rf"contract: n\d fails: {re.escape(MISTAKES[name])}{line_of(name)}", said.replace("'c2'", "'c1'")
    )


def test_the_explorer_names_an_attribute_that_it_cannot_keep() -> None:
    """Only the search keeps attributes, so the replayed schedule shows no violation: the one of the search counts."""
    report = run_explore(own_algorithms.HoldsFunction, Bounds(proposals=1))
    assert report.verdict.evidence == (
        "contract: n1 fails: the attribute 'seen' of HoldsFunction cannot be kept: a function is not plain data: hold int, "
        "str, bytes, tuple, list, dict, set or dataclasses"
    )
    assert len(report.story) == 1


def fails(*_arguments: object, **_more: object) -> None:
    raise AssertionError("nobody can tell this")


def test_a_violation_counts_though_its_schedule_cannot_be_replayed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(explorer, "follow", fails)
    report = run_explore(own_algorithms.Raising, Bounds(proposals=1))
    assert report.verdict.status == VerdictStatus.INVALID
    assert "its steps cannot be taken again: the same inputs gave other outputs" in report.story[0]


def test_a_seed_counts_as_failed_though_its_run_cannot_be_shrunk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulator, "shrink_schedule", fails)
    report = run_simulate(own_algorithms.Raising, range(3))
    assert report.verdict.status == VerdictStatus.INVALID
    assert "the run of seed 0 could not be shrunk: AssertionError: nobody can tell this" in "\n".join(report.lines())


def test_a_status_that_fails_later_is_found_on_the_disk() -> None:
    contents = Contents(node="n1", cluster="0" * 32, incarnation=1, variables={"x": {}})
    assert status_failures(own_algorithms.RaisesInStatusLater, ("n1",), contents) == []
    contents.variables["x"]["decided"] = encode_value("blue")
    (line,) = status_failures(own_algorithms.RaisesInStatusLater, ("n1",), contents)
    assert re.fullmatch(
        "the status of n1 for x cannot be read: ZeroDivisionError: the author's mistake"
        + line_of("RaisesInStatusLater"),
        line,
    )


@pytest.fixture
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watchdog, "TICK_S", 0.02)


@pytest.mark.usefixtures("_impatient")
@pytest.mark.parametrize("name", ["Looping", "LoopsAtAMessage"])
def test_an_endless_loop_ends_and_its_line_is_named(name: str) -> None:
    said = re.escape("EndlessLoop: one turn took more than 0.1 s. Is it an endless loop?") + line_of(name)
    explored = run_explore(getattr(own_algorithms, name), Bounds())
    assert re.fullmatch(rf"contract: n1 fails: {said}", explored.verdict.evidence)
    simulated = run_simulate(getattr(own_algorithms, name), range(1, 3))
    assert re.fullmatch(rf"seed 1: contract: n\d fails: {said}", simulated.verdict.evidence)
    assert "  the run was not shrunk, since every try would take as long as the loop" in simulated.lines()
    assert re.fullmatch(rf"n\d fails: {said}", broken_contract(f"tests.own_algorithms:{name}") or "")


@pytest.mark.usefixtures("_impatient")
def test_the_replay_of_an_endless_loop_goes_on_to_real_processes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The schedule is first played without processes, where the loop is ended."""

    class Reached(Exception):
        """In the place of the nodes that would be started."""

    monkeypatch.setattr(schedule_replay, "Experiment", Mock(side_effect=Reached))
    explored = run_explore(own_algorithms.Looping, Bounds())
    schedule = Schedule.explored(explored, own_algorithms.Looping)
    schedule = replace(schedule, algorithm="tests.own_algorithms:Looping")
    with pytest.raises(Reached):
        schedule_replay.replay(schedule, tmp_path / "run")


def test_a_turn_that_is_only_slow_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """It meets a signal, and ends before the next ones."""
    monkeypatch.setattr(watchdog, "TICK_S", 0.05)
    with watchdog.watching():
        for _ in range(5):
            until = time.monotonic() + 0.07
            with watchdog.one_turn:
                while time.monotonic() < until:
                    pass


def test_numbers_that_may_be_ballots_are_told_at_once() -> None:
    told = unbounded_numbers(own_algorithms.CountsTerms, Bounds())
    assert told is not None
    assert "--ballots holds nothing back" in told
    assert 'ballot_fields = ("term",) in the class, or --ballot-fields term' in told
    assert unbounded_numbers(own_algorithms.CountsTerms, Bounds(ballot_fields=("term",))) is None
    assert unbounded_numbers(own_algorithms.NamesItsTerms, Bounds()) is None
    for name in ("leader", "failover", "majority", "paxos"):
        assert unbounded_numbers(load_algorithm(name), Bounds()) is None


@pytest.mark.parametrize("named", [("trem",), ("value",), "term"])
def test_a_field_that_cannot_count_as_ballots_is_refused(named: Any) -> None:
    with pytest.raises(NoBallotField, match=r"no integer field|has an integer field|must be a tuple"):
        run_explore(own_algorithms.CountsTerms, Bounds(ballot_fields=named))


def test_named_numbers_bound_the_states() -> None:
    bounds = Bounds(nodes=2, proposals=1, look_for=("contract",))
    without_end = run_explore(own_algorithms.CountsTerms, bounds, Budget(states=1000))
    assert not without_end.found.exhausted
    named = run_explore(own_algorithms.NamesItsTerms, bounds, Budget(states=3000))
    assert named.found.exhausted
    assert named.cut > 0
    also_named = run_explore(own_algorithms.CountsTerms, replace(bounds, ballot_fields=("term",)), Budget(states=3000))
    assert (named.found.states, named.cut) == (also_named.found.states, also_named.cut)


def test_a_search_ends_when_its_memory_is_full() -> None:
    report = run_explore("paxos", Bounds(), Budget(memory_bytes=1))
    assert not report.found.exhausted
    assert report.verdict.evidence.endswith("the memory that it may use is full")
    assert any("CUT SHORT: the memory that it may use is full (see --memory)." in line for line in report.lines())


def test_an_import_error_names_the_authors_line_and_not_pythons(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "unfrozen_mine.py").write_text(
        "from dataclasses import dataclass\n\nfrom node.contract import Message\n\n\n"
        "@dataclass(slots=True)\nclass Say(Message):\n    term: int\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "unfrozen_mine", raising=False)
    with pytest.raises(UnknownAlgorithm, match=r"cannot inherit non-frozen .*unfrozen_mine\.py, line 6\)$"):
        load_algorithm("unfrozen_mine:Mine")


def test_an_exception_is_reported_whatever_is_looked_for() -> None:
    bounds = Bounds(nodes=3, proposals=1, ballots=1, look_for=("agreement",))
    found = run_explore("tests.own_algorithms:Raising", bounds)
    assert [violation.kind for violation in found.violations] == ["contract"]
    assert "ZeroDivisionError: the author's mistake" in found.violations[0].text
    settings = SimulationSettings(nodes=3, look_for=("agreement",))
    run = settings.simulate(load_algorithm("tests.own_algorithms:Raising"), 1)
    assert [violation.kind for violation in run.violations] == ["contract"]
