"""A session by hand is a run like any other: it has a history, receipts, verdicts, a report, a plan and replays."""

import json
import os
import signal
from pathlib import Path

from harness.records import history, receipts
from harness.runs.plan import load
from tests.end_to_end.hand import Hand
from tests.waiting import wait_until


def run_of(hand: Hand) -> Path:
    """The folder of the only session."""
    (folder,) = [path for path in (hand.folder / ".consensus" / "runs").iterdir() if "by-hand" in path.name]
    return folder


def test_a_session_by_hand_is_judged_reported_exported_and_replayed(hand: Hand) -> None:
    hand.good("up", "-d", "--algorithm", "failover", "--record")
    hand.good("partition", "n1,n2/n3,n4,n5")
    assert hand.good("propose", "colour", "blue", "--at", "n2") == '"blue"'
    assert hand.good("propose", "colour", "red", "--at", "n4") == '"red"'
    hand.good("kill", "n5")
    os.kill(hand.rows()["n3"]["pid"], signal.SIGKILL)
    wait_until(lambda: hand.rows()["n3"]["state"] == "down")
    hand.good("restart", "n5,n3")
    hand.good("heal")
    hand.good("down")
    folder = run_of(hand)
    calls = history.load(folder / "history.jsonl").operations
    assert [(call.f, call.invoke.value, call.answer) for call in calls] == [
        ("propose", "blue", "blue"),
        ("propose", "red", "red"),
    ]
    faults = receipts.load(folder / "receipts.jsonl")
    assert [receipt.fault for receipt in faults] == ["partition", "kill", "kill"]
    assert all(receipt.bit and receipt.ended_ns is not None for receipt in faults), faults
    verdicts = json.loads((folder / "results.json").read_text())["verdicts"]
    assert verdicts["coherence"]["status"] == "invalid"
    assert "'blue'" in verdicts["coherence"]["evidence"]
    assert '"Propose' in (folder / "messages.jsonl").read_text()
    hand.good("report", folder.name)
    hand.good("export", folder.name, "--to", "plan")
    plan = load(folder / "plan.json")
    assert [step.fault for step in plan.steps] == ["partition", "kill", "kill"]
    assert plan.steps[0].arguments["groups"] == [["n1", "n2"], ["n3", "n4", "n5"]]
    done = hand.run("replay", folder.name, "--times", "1")
    assert done.returncode in (0, 1, 2), done.stderr
    assert "of 1 violate" in done.stdout


def test_keys_by_hand_are_judged_too_and_any_fault_can_be_injected(hand: Hand) -> None:
    hand.good("up", "-d", "-n", "3", "--algorithm", "multipaxos", "--prepare", "clock")
    assert hand.good("put", "owner", "alice") == "1"
    hand.good("inject", "duplicate", "links=all", "probability=0.5")
    hand.good("inject", "clock-jump", "node=n2", "seconds=60")
    assert hand.good("put", "owner", "bob", "--if-version", "1") == "2"
    hand.fails(1, "the version of 'owner' is 2", "put", "owner", "carol", "--if-version", "1")
    assert hand.good("get", "owner") == '"bob"'
    hand.fails(254, "has no argument", "inject", "drop", "nodes=n1")
    for fault in ("power-cut", "disk-full"):
        hand.fails(
            254,
            f"{fault} needs a disk that can fail: by hand start with `consensus up --prepare disk`",
            "inject",
            fault,
        )
    hand.fails(254, "write, for example, node=n1", "inject", "drop", "n1")
    hand.good("heal")
    assert hand.run("del", "owner").returncode == 0
    hand.good("down")
    folder = run_of(hand)
    verdicts = json.loads((folder / "results.json").read_text())["verdicts"]
    assert verdicts["linearizability of keys"]["status"] == "valid"
    assert verdicts["durability"]["status"] == "valid"
    assert {"duplicate", "clock-jump"} == {receipt.fault for receipt in receipts.load(folder / "receipts.jsonl")}
    plan = load(folder / "plan.json")
    assert (plan.workload, plan.algorithm) == ("kv", "multipaxos")
    hand.good("check", str(folder / "history.jsonl"), "--model", "kv")


def test_heal_ends_every_fault_and_no_fault_begins_after_it(hand: Hand) -> None:
    hand.good("up", "-d", "-n", "3", "--prepare", "disk")
    hand.good("inject", "power-cut", "node=n3")
    for fault in ("suspend", "flip-bit"):
        named = "nodes" if fault == "suspend" else "node"
        value = '["n3"]' if fault == "suspend" else "n3"
        hand.fails(1, "n3 is down (power-cut is in force there): heal first", "inject", fault, f"{named}={value}")
    assert hand.good("inject", "kill-at", "node=n1", "message=Accept") == "kill-at waits for its trigger"
    hand.fails(1, "kill-at is in force on n1: heal first", "inject", "slow-sync", "node=n1")
    hand.fails(
        254, "kill-at: paxos sends no 'acept': did you mean Accept", "inject", "kill-at", "node=n2", "message=acept"
    )
    hand.good("kill", "n2")
    assert hand.good("heal").splitlines() == [
        "every link is whole; ended: power-cut n3",
        "will not begin: kill-at",
        "up again: n3",
        "n2 is down: killed by SIGKILL: `consensus restart n2`",
    ]
    hand.good("inject", "suspend", "nodes=n1,n3")
    assert hand.json("heal")["up_again"] == ["n1", "n3"]
    hand.good("restart", "n2")
    assert hand.good("propose", "colour", "blue") == '"blue"'
    assert {node: (row["boots"], row["state"]) for node, row in hand.rows().items()} == {
        "n1": (1, "up"),
        "n2": (2, "up"),
        "n3": (2, "up"),
    }
    hand.good("down")
    faults = [receipt.fault for receipt in receipts.load(run_of(hand) / "receipts.jsonl")]
    assert faults == ["power-cut", "kill", "suspend", "suspend"]
    hand.good("report", run_of(hand).name)
    assert (run_of(hand) / "messages.jsonl").exists()  # the first ones, for people: no judge has read them
    assert "invariants" not in json.loads((run_of(hand) / "results.json").read_text())["verdicts"]
    page = (run_of(hand) / "report.html").read_text()
    assert '"Accepted"' in page
    assert "There is no messages.jsonl" not in page


def test_a_session_without_calls_and_faults_leaves_no_run(hand: Hand) -> None:
    hand.good("up", "-d", "-n", "1")
    hand.good("ps")
    hand.good("down")
    assert not (hand.folder / ".consensus" / "runs").exists()
    assert list((hand.folder / ".consensus").rglob("messages.jsonl")) == []


def test_a_session_without_a_record_has_no_messages(hand: Hand) -> None:
    hand.good("up", "-d", "-n", "1", "--no-record")
    hand.good("propose", "colour", "blue")
    hand.good("down")
    assert not (run_of(hand) / "messages.jsonl").exists()


def test_a_recorded_session_without_calls_is_no_run_either(hand: Hand) -> None:
    hand.good("up", "-d", "-n", "1", "--record")
    hand.good("down")
    assert hand.json("runs")["runs"] == []


def test_a_session_on_disks_that_were_written_before_is_not_judged(hand: Hand) -> None:
    ends = []
    for _ in range(2):
        hand.good("up", "-d", "-n", "1")
        hand.good("propose", "colour", "blue")
        ends.append(hand.run("down", "-o", "json"))
    first, down = ends
    runs = hand.json("runs")["runs"]
    assert [run["status"] for run in runs] == ["not judged", "unknown"]  # the first had no contest
    notes = json.loads((Path(runs[0]["run"]) / "results.json").read_text())["notes"]
    assert notes == {"not judged": "the disks were written before this session, so it shows only a part"}
    assert (
        "not judged as a run (the disks were written before this session, so it shows only a part); "
        f"`consensus report {runs[0]['run']}` shows it\n"
    ) in down.stderr
    assert f"\njudged as a run: unknown ({runs[1]['evidence']}); `consensus report" in first.stderr
    assert json.loads(down.stdout)["session"] == runs[0]
    assert "    the disks were written before this session" in hand.good("runs")
