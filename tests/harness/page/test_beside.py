"""Two views side by side: which acts are done in both, and how the two go back together."""

import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from cluster.errors import Mistake
from harness.cli.live_beside import twin_beside
from harness.cli.live_twin import find_twin
from harness.page.address import PageAddress
from harness.page.beside import Beside, compare
from harness.page.event_log import EventLog
from harness.page.recorded_view import recorded_view
from harness.page.server import PageServer
from harness.page.twin_page import VirtualTwin
from harness.page.view import PageView
from node.algorithms import load_algorithm
from tests.harness.page.test_server import HTML, TOKEN
from tests.run_folders import event, lines, split_brain
from tests.waiting import WAIT_S, wait_until


class Twins:
    """Naive failover and Paxos side by side, of three nodes."""

    def __init__(self, root: Path) -> None:
        self.failover, self.paxos = (VirtualTwin(load_algorithm(name), 3, root) for name in ("failover", "paxos"))
        self.both = Beside((self.failover.view, self.paxos.view), (self.failover.do, self.paxos.do))

    def good(self, side: int, act: str, **arguments: Any) -> str:
        reply = self.both.acts[side](act, arguments)
        assert reply["ok"], reply
        return str(reply["text"])

    def decided(self, twin: VirtualTwin) -> set[str]:
        last = {event["node"]: event for event in twin.view.log.read(0, 10**6).events if event["k"] == "node"}
        facts = (facts for event in last.values() for facts in event["vars"].values())
        return {each["decided"] for each in facts if "decided" in each}

    def depths(self) -> tuple[int, int]:
        views = (self.failover.view, self.paxos.view)
        first, second = ((view.standing(-1)[1] or {})["twin"]["depth"] for view in views)
        return first, second


@pytest.fixture
def twins(tmp_path: Path) -> Iterator[Twins]:
    found = Twins(tmp_path)
    with closing(found.both):
        yield found


def test_the_same_acts_split_failover_and_not_paxos(twins: Twins) -> None:
    twins.good(0, "partition", groups="n1/n2,n3")
    for node, value in (("n1", "blue"), ("n2", "red")):
        twins.good(0, "propose", name="colour", value=value, at=node, timeout_s=1.0)
    for _ in range(5):
        twins.good(1, "pass", seconds=0.2)
    assert twins.decided(twins.failover) == {"'blue'", "'red'"}
    assert twins.decided(twins.paxos) == {"'red'"}
    told = (twins.failover.view.standing(-1)[1] or {})["beside"]
    assert (told["act"], told["ok"]) == ("pass", True)


def test_an_act_that_only_one_takes_changes_only_that_one(twins: Twins) -> None:
    twins.good(1, "kill", nodes="n3")
    twins.good(0, "propose", name="colour", value="blue", at="n2", timeout_s=1.0)
    before = twins.depths()
    held = (twins.paxos.view.standing(-1)[1] or {})["held"]
    twins.good(1, "deliver", rule="", indices=[held[0]["index"]])
    assert twins.depths() == (before[0], before[1] + 1)
    refused = twins.both.acts[0]("kill", {"nodes": "n3"})
    assert not refused["ok"]
    assert not (twins.paxos.view.standing(-1)[1] or {})["beside"]["ok"]


def test_back_takes_the_last_act_back_in_both(twins: Twins) -> None:
    twins.good(0, "propose", name="colour", value="blue", at="n2", timeout_s=1.0)
    first = twins.depths()
    twins.good(0, "deliver_all")
    second = twins.depths()
    assert second[0] > first[0] + 1
    assert second[0] != second[1]
    twins.good(1, "back")
    assert twins.depths() == first
    twins.good(0, "forward")
    assert twins.depths() == second
    assert not twins.both.acts[0]("forward", {})["ok"]
    twins.good(0, "go", position=0)
    assert twins.depths() == (0, 0)
    twins.good(1, "kill", nodes="n1")  # another branch, of both
    assert twins.depths() == (1, 1)
    assert not twins.both.acts[1]("forward", {})["ok"]


def test_a_fault_is_ended_in_both_by_its_number_in_each() -> None:
    views = tuple(PageView(EventLog(), {}) for _ in range(2))
    partition = {"fault": "partition", "arguments": {"groups": ["n1", "n2"]}}
    views[0].stand(in_force=[{"number": 4, **partition}, {"number": 5, "fault": "hold", "arguments": {}}])
    views[1].stand(in_force=[{"number": 7, "fault": "hold", "arguments": {}}, {"number": 9, **partition}])
    done: list[tuple[int, Any]] = []
    came = threading.Event()

    def do(side: int) -> Any:
        def act(_act: Any, arguments: Any) -> dict[str, Any]:
            done.append((side, arguments["number"]))
            if side:
                came.set()
            return {"ok": True, "text": ""}

        return act

    with closing(Beside((views[0], views[1]), (do(0), do(1)))) as both:
        both.acts[0]("end", {"number": 4})
        assert came.wait(WAIT_S)
        assert sorted(done) == [(0, 4), (1, 9)]
        both.acts[0]("end", {"number": HTML})
        wait_until(lambda: (1, -1) in done)


def test_twins_that_take_other_calls_are_not_put_beside_each_other(tmp_path: Path) -> None:
    twin = find_twin(tmp_path, "paxos", 3, virtual=True)
    assert twin is not None
    with pytest.raises(Mistake, match="keeps a log"):
        twin_beside(tmp_path, twin, "multipaxos", None)
    view, _ = twin_beside(tmp_path, twin, "majority", None)
    assert view.about["nodes"] == ["n1", "n2", "n3"]


# --- two runs -----------------------------------------------------------------------------------------------------------


def test_two_runs_are_told_where_they_part(tmp_path: Path) -> None:
    one, other = (split_brain(tmp_path / name) for name in ("one", "other"))
    history = [
        event(0, 0, "c1", "invoke", "propose", value="blue", node="n1"),
        event(1, 12, "c1", "ok", "propose", value="green", node="n1"),
    ]
    lines(other / "history.jsonl", history)
    views = (recorded_view(one), recorded_view(other))
    compare(views)
    calls = next(one for one in views[0].about["differences"] if one["kind"] == "calls")
    assert calls["where"] == "c1, number 1"
    assert (calls["here"], calls["there"]) == (
        "propose 'blue' (colour) at n1: 'blue'",
        "propose 'blue' (colour) at n1: 'green'",
    )
    assert (calls["t"], calls["t_there"]) == (10_000, 12_000)
    mirrored = next(one for one in views[1].about["differences"] if one["kind"] == "calls")
    assert (mirrored["here"], mirrored["t"], mirrored["t_there"]) == (calls["there"], 12_000, 10_000)
    same = (recorded_view(one), recorded_view(one))
    compare(same)
    assert same[0].about["differences"] == []


def test_the_frames_are_served_and_nothing_is_framed_elsewhere(tmp_path: Path) -> None:
    view = recorded_view(split_brain(tmp_path / "run"))
    server = PageServer(view, None, PageAddress(token=TOKEN), beside=(view, None))
    server.start()
    with closing(server):
        for path in ("", "pair.mjs", "pair.css", "a/", "b/main.mjs", "b/ring.js"):
            with urllib.request.urlopen(server.url + path, timeout=WAIT_S) as answer:  # noqa: S310 - our own server
                headers = answer.headers
            assert "frame-ancestors 'self'" in headers["content-security-policy"]
            assert headers["x-frame-options"] == "SAMEORIGIN"
        for path in ("c/", "main.mjs", "live", "a/../main.mjs"):
            with pytest.raises(urllib.error.HTTPError):
                urllib.request.urlopen(server.url + path, timeout=WAIT_S)  # noqa: S310
