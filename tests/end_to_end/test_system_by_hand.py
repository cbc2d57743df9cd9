"""A system whose nodes are not ours, by the command line: the same verbs as for a cluster of ours."""

import json
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.supervisor_file import SupervisorClient
from harness.records import receipts
from harness.records.run_files import RunFiles
from harness.runs.plan import load
from node.contract import BadInput
from tests.end_to_end.hand import QuickHand, end
from tests.waiting import wait_until

SERVING = shlex.join([sys.executable, "-S", str(Path(__file__).parents[1] / "harness" / "systems" / "serving.py")])


@pytest.fixture(scope="module")
def hand(tmp_path_factory: pytest.TempPathFactory) -> Iterator[QuickHand]:
    """A shell in a folder in which three nodes are up, and clients ask them."""
    made = QuickHand(tmp_path_factory.mktemp("system"))
    made.good("up", SERVING, "-n", "3", "-d", "--workload", "unique-ids")
    yield made
    end(made)


def test_the_verbs_for_processes_links_and_faults_are_those_for_nodes_of_ours(hand: QuickHand) -> None:
    assert [(row["state"], row["boots"]) for row in hand.rows().values()] == [("up", 1)] * 3
    assert "role" not in hand.good("ps")
    assert "n2 is dead (signal SIGKILL" in hand.good("kill", "n2")
    assert hand.rows()["n2"]["how"] == "down: killed by SIGKILL"
    assert "n2 is up again (incarnation 2)" in hand.good("restart", "n2")
    hand.good("suspend", "n1")
    assert hand.rows()["n1"]["state"] == "suspended"
    hand.good("resume", "n1")
    assert hand.good("partition", "n1/n2,n3") == "cut: n1/n2,n3"
    hand.good("link", "n1", "client", "--delay", "1ms")
    assert hand.good("inject", "suspend", "nodes=n3") == "suspend is in force: n3"
    assert "up again: n3" in hand.good("heal")
    assert all(row["rules"] == [] for row in hand.json("links")["links"])
    assert "--- start 2, process " in hand.good("logs", "n2")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("inject", "power-cut"), "power-cut cannot strike serving.py, whose nodes are not ours"),
        (("put", "a", "1"), "the nodes of serving.py are not ours, so they take none of our calls"),
        (("logs", "n9"), "there is no node 'n9': there are n1, n2, n3"),
        (("up", SERVING, "-d"), "a cluster is up or starting in"),
        (("kill", "leader"), "no node reports that it leads"),
    ],
)
def test_what_such_nodes_do_not_do_is_said(hand: QuickHand, arguments: tuple[str, ...], said: str) -> None:
    done = hand.run(*arguments)
    assert done.returncode in (1, 254)
    assert said in done.stderr


def test_the_live_page_asks_what_is_up_and_what_is_new(hand: QuickHand) -> None:
    control = SupervisorClient(hand.folder / ".consensus")
    about = control.ask("about")
    assert (about["name"], about["nodes"], about["functions"]) == ("serving.py", ["n1", "n2", "n3"], [])
    assert {"kill", "reorder", "terminate"} <= set(about["faults"])
    assert "power-cut" not in about["faults"]
    first = control.ask("look", after=2**62, since_ns=0, most=1)
    assert [(row["state"], row["address"]) for row in first["nodes"]] == [("up", None)] * 3

    def asked() -> bool:
        seen = control.ask("look", after=first["next"], since_ns=0, most=500)
        return {"generate", "generate_ok"} <= {line["type"] for line in seen["lines"] if "of" not in line}

    wait_until(asked)
    with pytest.raises(BadInput, match="clients of the workload unique-ids cannot be asked for 'put' by hand"):
        control.ask("call", f="put", key="k", value="v", at=None, timeout_s=1.0)


def test_the_session_is_judged_as_a_run_and_can_be_replayed(hand: QuickHand) -> None:
    folder = Path(json.loads((hand.folder / ".consensus" / "system.json").read_text())["folder"])
    history = RunFiles(folder).history
    before = history.read_text().count('"ok"') if history.exists() else 0
    wait_until(lambda: history.exists() and history.read_text().count('"ok"') > before)
    session = hand.json("down")["session"]
    assert session["status"] in ("invalid", "unknown", "valid")
    results = json.loads(RunFiles(folder).results.read_text())
    # serving.py counts from 1 again after a kill, so an id comes twice.
    assert results["verdicts"]["unique-ids"]["status"] == "invalid"
    struck = {receipt.fault for receipt in receipts.load(RunFiles(folder).receipts)}
    assert {"kill", "suspend"} <= struck
    plan = load(RunFiles(folder).plan)
    assert (plan.workload, [step.fault for step in plan.steps][:2]) == ("unique-ids", ["kill", "suspend"])
    assert plan.system is not None
    hand.good("down", "--wipe")
    assert not (hand.folder / ".consensus" / "system.json").exists()


def test_a_command_that_does_not_start_leaves_nothing_up(tmp_path: Path) -> None:
    hand = QuickHand(tmp_path)
    done = hand.run("up", "sh -c 'echo broken >&2; exit 3'", "-n", "1", "-d")
    assert done.returncode != 0
    assert "n1 ended with status 3 before it had answered init. Its last words: broken" in done.stderr
    assert "no cluster is up" in hand.run("ps").stderr
