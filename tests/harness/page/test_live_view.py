"""What the live page says of the nodes, if a look at their processes and their statuses cross."""

import threading
import time
from typing import Any

import pytest

from harness.page import live_view
from harness.page.live_view import LiveView, Lookout
from tests.waiting import WAIT_S, wait_until


def never_found() -> Lookout:
    raise AssertionError("nothing looks in this test")


def test_a_look_that_is_older_than_a_status_is_shown_after_it() -> None:
    live = LiveView(never_found, {"algorithm": "paxos", "nodes": ["n1"]})
    up = {"node": "n1", "state": "up", "how": "", "pid": 7, "address": "a", "boots": 1}
    (first,) = live.take_processes(time.monotonic_ns(), [up])
    looked_ns = time.monotonic_ns()  # the supervisor sees that the node is killed; its answer is under way
    live._take_statuses({"n1": {"variables": {}, "latest": None, "role": "leader"}}, {"n1": "a"})
    (killed,) = live.take_processes(looked_ns, [{**up, "state": "down", "how": "killed", "pid": None, "address": None}])
    shown = sorted([first, *live.view.log.read(0, 10).events, killed], key=lambda event: event["t"])
    assert [event["state"] for event in shown] == ["up", "up", "down"]
    assert len({event["t"] for event in shown}) == 3


def test_a_killed_node_keeps_what_is_on_its_disk_until_the_disk_goes() -> None:
    live = LiveView(never_found, {"algorithm": "majority", "nodes": ["n1"]})
    up = {"node": "n1", "state": "up", "how": "", "pid": 7, "address": "a", "boots": 1}
    down = {**up, "state": "down", "how": "killed by SIGKILL", "pid": None, "address": None}
    live.take_processes(time.monotonic_ns(), [up])
    votes = {"role": "voter", "vote": "blue", "votes": {"n1": "blue"}, "waiting": 1}
    live._take_statuses({"n1": {"variables": {"colour": votes}, "latest": "colour"}}, {"n1": "a"})
    (killed,) = live.take_processes(time.monotonic_ns(), [down])
    assert (killed["kept"], killed["answers"], killed["vars"]) == (True, False, {"colour": {"vote": "'blue'"}})
    (again,) = live.take_processes(time.monotonic_ns(), [up])  # so it does until it answers
    assert (again["kept"], again["answers"], again["vars"]) == (True, False, {"colour": {"vote": "'blue'"}})
    live._take_statuses({"n1": {"variables": {"colour": votes}, "latest": "colour"}}, {"n1": "a"})
    answering = live.view.log.read(0, 10).events[-1]
    assert (answering["kept"], answering["vars"]["colour"]["role"]) == (False, "voter")
    (killed,) = live.take_processes(time.monotonic_ns(), [down], without_disk=["n1"])
    assert (killed["kept"], killed["vars"]) == (False, {})


class Hanging:
    """A supervisor that answers a look only once it is let go."""

    pid = 1

    def __init__(self) -> None:
        self.may_answer = threading.Event()

    def ask(self, _verb: str, _timeout_s: float, /, **_arguments: Any) -> Any:
        assert self.may_answer.wait(WAIT_S)
        return {
            "time": time.monotonic_ns(), "nodes": [], "faults": [], "folder": None, "lines": [], "left_out": 0, "next": 1,
            "in_force": [], "held": [], "held_count": 0, "trouble": None,
        }  # fmt: skip


def test_a_picture_that_is_old_says_so_until_the_supervisor_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_view, "_OLD_S", 0.0)
    supervisor = Hanging()
    live = LiveView(lambda: supervisor, {"algorithm": "paxos", "nodes": ["n1"]})
    starting = threading.Thread(target=live.start)
    starting.start()

    def trouble() -> Any:
        return (live.view.standing(-1)[1] or {}).get("trouble")

    try:
        wait_until(lambda: trouble() is not None)
        assert "s old: the cluster's supervisor has not answered since" in trouble()
        supervisor.may_answer.set()
        wait_until(lambda: trouble() is None)
    finally:
        supervisor.may_answer.set()
        starting.join()
        live.close()
