"""The virtual twin without a browser: its acts, its branches, what it refuses, and what it keeps."""

import json
import runpy
from pathlib import Path
from typing import Any

import pytest

from harness.page.twin_page import VirtualTwin
from harness.replay.schedule import load
from harness.report.events import Event
from node.algorithms import load_algorithm
from tests.run_folders import HOSTILE


class Clicked:
    """A twin, and what a browser would have of it."""

    def __init__(self, algorithm: str, nodes: int, root: Path) -> None:
        self.twin = VirtualTwin(load_algorithm(algorithm), nodes, root)

    def do(self, act: str, **arguments: Any) -> str:
        reply = self.twin.do(act, arguments)
        assert reply["ok"], reply["text"]
        return str(reply["text"])

    def refused(self, act: str, **arguments: Any) -> str:
        before = self.stand, self.events
        reply = self.twin.do(act, arguments)
        assert not reply["ok"], reply["text"]
        assert (self.stand, self.events) == before
        return str(reply["text"])

    def propose(self, node: str, value: str) -> str:
        return self.do("propose", name="colour", value=value, at=node, timeout_s=1.0)

    @property
    def stand(self) -> dict[str, Any]:
        standing = self.twin.view.standing(-1)[1]
        assert standing is not None
        json.dumps(standing)
        return standing

    @property
    def now(self) -> dict[str, Any]:
        twin: dict[str, Any] = self.stand["twin"]
        return twin

    @property
    def events(self) -> list[Event]:
        return self.twin.view.log.read(0, 10**6).events

    def broken(self) -> set[str]:
        return {event["name"] for event in self.events if event["k"] == "predicate"}

    def chances(self) -> dict[str, str]:
        return {one["value"]: one["can"] for one in self.now["chances"]["values"]}

    def message(self, **data: str) -> int:
        return next(
            int(one["index"]) for one in self.stand["held"] if all(one[name] == item for name, item in data.items())
        )


def test_going_back_and_on_gives_the_same_and_another_click_begins_a_branch(tmp_path: Path) -> None:
    clicked = Clicked("majority", 3, tmp_path)
    clicked.propose("n1", "blue")
    clicked.propose("n2", "red")
    fork = clicked.now["position"]
    first = clicked.do("deliver", rule="", indices=[clicked.message(**{"from": "n1", "to": "n3"})])
    assert first.startswith("n3 learns that n1 votes 'blue'")
    blue, events = clicked.now["position"], clicked.events
    place = clicked.twin.view.log.end

    clicked.do("back")
    assert clicked.now["position"] == fork
    assert clicked.twin.view.log.read(place, 10).is_anew  # a browser that had more forgets it
    clicked.do("deliver", rule="", indices=[clicked.message(**{"from": "n2", "to": "n3"})])
    red = clicked.now["position"]
    assert red not in (fork, blue)
    assert [(one["position"], one["parent"]) for one in clicked.now["tree"]] == [
        (0, None), (fork, 0), (blue, fork), (red, fork),
    ]  # fmt: skip

    clicked.do("go", position=blue)
    assert clicked.events == events
    clicked.do("go_to_step", step=2)
    clicked.do("deliver", rule="", indices=[clicked.message(**{"from": "n1", "to": "n3"})])
    assert clicked.now["position"] == blue  # the same click leads to the position that is there
    clicked.do("back")
    clicked.do("forward")
    assert clicked.now["position"] == red
    assert "no position" in clicked.refused("go", position=99)
    assert "no step" in clicked.refused("go_to_step", step=99)


def test_a_split_brain_under_failover_can_be_seen_coming(tmp_path: Path) -> None:
    clicked = Clicked("failover", 3, tmp_path)
    clicked.do("partition", groups="n1/n2,n3")
    clicked.propose("n1", "blue")
    clicked.propose("n2", "red")
    clicked.do("ask", boots=False, crashes=0)
    assert clicked.chances() == {"'blue'": "yes", "'red'": "yes"}  # though blue is decided
    assert clicked.broken() == set()
    clicked.do("follow", value="'red'")
    assert clicked.broken() == {"agreement", "a decision stays"}
    assert clicked.now["tree"][-1]["broken"] == ["agreement"]
    clicked.do("query", name="colour", at="n3", timeout_s=1.0)
    clicked.do("pass", seconds=2.0)
    nodes = {event["node"]: event for event in clicked.events if event["k"] == "node"}
    assert {node: event["vars"]["colour"]["decided"] for node, event in nodes.items()} == {
        "n1": "'blue'", "n2": "'red'", "n3": "'red'",
    }  # fmt: skip
    clicked.do("heal")
    assert clicked.stand["in_force"] == []


def test_what_is_cut_suspended_or_down_takes_in_nothing(tmp_path: Path) -> None:
    clicked = Clicked("majority", 3, tmp_path)
    clicked.do("cut", links=[["n1", "n2"]], one_way=True)
    clicked.do("suspend", nodes="n3")
    clicked.propose("n1", "blue")
    assert [(one["from"], one["to"], one["ready"]) for one in clicked.stand["held"]] == [("n1", "n3", False)]
    waits = clicked.message(to="n3")
    assert "n3 is suspended" in clicked.refused("deliver", rule="", indices=[waits])
    assert clicked.do("deliver_all") == "0 messages delivered"
    assert "n3 is suspended, and was not asked" in clicked.refused(
        "propose", name="colour", value="red", at="n3", timeout_s=1.0
    )
    clicked.do("kill", nodes="n3")
    assert "n3 is down" in clicked.refused("deliver", rule="", indices=[waits])
    assert "n3 is down, but must be up" in clicked.refused("kill", nodes="n3")
    clicked.do("restart", nodes="n3")
    assert "n3 is not suspended" in clicked.refused("resume", nodes="n3")  # the new process is another one
    clicked.do("repeat", rule="", indices=[waits])
    assert clicked.message(to="n3")
    clicked.do("deliver_all")
    clicked.do("lose_disk", nodes="n2")
    assert "refuses to boot" in clicked.refused("restart", nodes="n2")
    clicked.do("take", step="r1")
    lost = clicked.stand["held"][-1]["index"]
    clicked.do("lose", rule="", indices=[lost])
    assert [event["fate"] for event in clicked.events if event["k"] == "fate" and event["of"] == lost] == ["discarded"]


@pytest.mark.parametrize(
    ("act", "arguments", "reason"),
    [
        ("kill", {"nodes": HOSTILE}, "there is no node"),
        ("kill", {"nodes": "n9"}, "there are n1, n2, n3"),
        ("partition", {"groups": "n1,n1"}, "names a node twice"),
        ("partition", {"groups": "n8/n1,n2,n3"}, "there is no node 'n8'"),
        ("cut", {"links": [], "one_way": False}, "links are a list of pairs"),
        ("take", {"step": HOSTILE}, "cannot happen now"),
        ("deliver", {"rule": "", "indices": [9]}, "not on its way"),
        ("repeat", {"rule": "", "indices": [9]}, "not on its way"),
        ("resume", {"nodes": "n1"}, "not suspended"),
        ("pass", {"seconds": 1e9}, "up to 60"),
        ("propose", {"name": "other", "value": "blue", "at": "", "timeout_s": 1.0}, "one variable, colour"),
        ("propose", {"name": "colour", "value": "x" * 300_000, "at": "", "timeout_s": 1.0}, "the limit is 262,144"),
        ("put", {"key": "k", "value": "blue", "timeout_s": 1.0}, "keeps no log"),
        ("ask", {"boots": False, "crashes": 0}, "no client has proposed"),
        ("ask", {"boots": False, "crashes": 99}, "give 0 to 3"),
        ("follow", {"value": HOSTILE}, "no schedule to"),
        ("back", {}, "nothing has happened"),
        ("forward", {}, "nothing has followed"),
        ("replay", {}, "nothing has happened"),
        ("explode", {}, "there is no act"),
    ],
)
def test_what_cannot_be_done_is_refused_with_a_sentence(
    tmp_path: Path, act: str, arguments: dict[str, Any], reason: str
) -> None:
    assert reason in Clicked("paxos", 3, tmp_path).refused(act, **arguments)
    assert list(tmp_path.iterdir()) == []


def test_time_passes_only_when_it_is_asked_to(tmp_path: Path) -> None:
    clicked = Clicked("paxos", 3, tmp_path)
    clicked.propose("n1", "blue")
    assert clicked.now["now_s"] == 0
    clicked.do("pass", seconds=0.5)
    assert clicked.now["now_s"] == 0.5
    answers = [event["answer"] for event in clicked.events if event["k"] == "call"]
    assert answers == [None, "'blue'"]
    depth = clicked.now["depth"]
    clicked.do("pass", seconds=0.01)
    assert clicked.now["depth"] == depth + 1  # that nothing happens is a step, too


def test_a_schedule_is_saved_opened_again_and_kept_as_a_test(tmp_path: Path) -> None:
    clicked = Clicked("failover", 3, tmp_path)
    clicked.do("partition", groups="n1/n2,n3")
    clicked.propose("n1", 'b"""\n\'blue')  # no text of a client may break the file
    clicked.propose("n2", "red")
    clicked.do("ask", boots=False, crashes=0)
    clicked.do("follow", value="'red'")
    clicked.do("save")
    clicked.do("keep_test")
    (folder,) = (tmp_path / "runs").iterdir()
    schedule = load(folder / "schedule.json")
    assert schedule.found_by == "twin"
    assert schedule.kinds == ("agreement",)
    (test,) = folder.glob("test_*.py")
    namespace = runpy.run_path(str(test))
    namespace["test_in_virtual_time"]()
    assert "test_on_real_processes" in namespace

    again = Clicked("failover", 3, tmp_path)
    again.twin.open(schedule)
    assert again.broken() == {"agreement", "a decision stays"}
    assert again.twin._twin.schedule() == schedule


def test_a_log_is_put_and_got(tmp_path: Path) -> None:
    clicked = Clicked("multipaxos", 3, tmp_path)
    clicked.do("pass", seconds=0.5)
    clicked.do("put", key="k", value="blue", timeout_s=1.0)
    clicked.do("pass", seconds=0.1)
    clicked.do("get", key="k", timeout_s=1.0)
    clicked.do("pass", seconds=0.1)
    answers = {event["asked"]: event["answer"] for event in clicked.events if event["k"] == "call"}
    assert answers == {"put 'blue'": "1", "get": "'blue'"}
    assert clicked.broken() == set()
    clicked.do("keep_test")
    (folder,) = (tmp_path / "runs").iterdir()
    assert folder.name.endswith("-multipaxos-twin")
    schedule = load(folder / "schedule.json")
    assert schedule.why_no_replay() is None
    again = Clicked("multipaxos", 3, tmp_path)
    again.twin.open(schedule)
    assert again.twin._twin.schedule() == schedule
    (test,) = folder.glob("test_*.py")
    runpy.run_path(str(test))["test_in_virtual_time"]()
    assert "decides without end" in clicked.refused("ask", boots=False, crashes=0)
