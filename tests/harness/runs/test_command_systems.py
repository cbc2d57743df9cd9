"""Whole runs of systems of commands: what they lose is found, an honest client is never blamed, and a lying one is found out."""

import json
import shutil
from collections import Counter
from contextlib import chdir
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from cluster.errors import Mistake, NoSuchNode
from harness.cli.main import run
from harness.network.stream_network import StreamNetwork
from harness.records.run_files import RunFiles
from harness.runs import plan as plans
from harness.runs.held_system import HeldSystem
from harness.runs.link_verbs import LinkVerbs
from harness.runs.plan import Plan, PlanStep, When
from harness.runs.run_by_hand import RunByHand
from harness.runs.session import HandSession
from harness.runs.suite import PlanResult, run_plan
from harness.runs.system_session import SystemSpec
from harness.systems.commands.described import CommandSystem
from tests.harness.systems.store import store_in_memory


def played(folder: Path, client: str, *steps: PlanStep, time_s: float) -> PlanResult:
    described = CommandSystem(str(store_in_memory(folder, client)))
    plan = Plan("store", ("n1",), 3, "put-get", time_s, steps, system=described)
    return run_plan(plan, folder / "run")


def test_a_store_in_memory_loses_writes_under_a_kill_and_the_run_has_receipts_and_can_be_replayed(
    tmp_path: Path,
) -> None:
    at_a_connection = When.parse("12th connection from client to n1")  # each call has one of its own
    result = played(tmp_path, "Patient", PlanStep("kill", 0.0, 0.1, at_a_connection, {"nodes": ["n1"]}), time_s=2.0)
    assert result.violated == ("linearizability",)
    files = RunFiles(tmp_path / "run")
    receipts = {receipt["fault"]: receipt for receipt in map(json.loads, files.receipts.read_text().splitlines())}
    assert receipts.keys() == {"hold", "kill"}
    assert (receipts["kill"]["bit"], receipts["kill"]["evidence"]["wait_status"]) == (True, -9)
    assert result.evidence is not None
    assert sum(call.invoke.time < receipts["kill"]["began_ns"] for call in result.evidence.calls) >= 12
    again = plans.load(files.plan)
    assert again.system is not None
    assert again.system.name == "store"
    assert again.steps == result.plan.steps


def test_an_honest_client_is_not_blamed_for_a_pause_and_one_that_calls_a_timeout_a_refusal_is_found_out(
    tmp_path: Path,
) -> None:
    pause = PlanStep("suspend", 0.2, 9.0, None, {"nodes": ["n1"]})  # until the end, so that nothing hides the late puts
    for client in ("StoreClient", "Liar"):
        (tmp_path / client).mkdir()
    honest = played(tmp_path / "StoreClient", "StoreClient", pause, time_s=1.2)
    assert honest.violated == ()
    lying = played(tmp_path / "Liar", "Liar", pause, time_s=1.2)
    assert lying.violated == ("linearizability",)


@pytest.mark.skipif(shutil.which("etcd") is None, reason="etcd is not installed: apt-get install etcd-server")
def test_etcd_keeps_its_word_while_a_node_is_killed_and_another_cut_off(tmp_path: Path) -> None:
    steps = (
        PlanStep("kill", 0.2, 0.3, None, {"nodes": ["n1"]}),
        PlanStep("isolate", 0.9, 0.7, None, {"node": "n2"}),
    )
    plan = Plan("etcd", ("n1", "n2", "n3"), 1, "kv", 1.8, steps, system=CommandSystem("etcd"))
    for number in range(3):  # a busy machine may make a run that is no test
        result = run_plan(plan, tmp_path / str(number))
        assert result.violated == ()
        if result.verdict.status == "valid":
            break
    assert result.verdict.status == "valid", result.verdict.evidence
    cut = (
        next(receipt for receipt in result.evidence.receipts if receipt.fault == "isolate") if result.evidence else None
    )
    assert cut is not None
    assert {link for link, counts in cut.evidence["by link"].items() if counts["held"]} <= {
        "n1->n2", "n2->n1", "n2->n3", "n3->n2",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["paxos", "--system", "etcd"], "either an algorithm, such as paxos, or a system"),
        (["--system", "zookeeper"], "no shipped system of this name"),
        (["--system", "store.toml", "--set", "window=4"], "--set is for clusters of our own nodes"),
        (["--system", "store.toml", "--volatile"], "for a command that speaks Maelstrom's protocol"),
        (["--system", "store.toml", "--faults", "duplicate"], "duplicate cannot strike store"),
        (["--system", "store.toml", "--workload", "lock"], "store serves no workload 'lock'"),
    ],
)
def test_what_does_not_go_together_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    store_in_memory(tmp_path)
    with chdir(tmp_path):
        assert run(["test", *arguments]) == 254
    assert said in capsys.readouterr().err
    assert not (tmp_path / ".consensus").exists()


def test_a_mistake_in_a_call_by_hand_is_none_of_the_client(tmp_path: Path) -> None:
    held = HeldSystem(tmp_path / "run", CommandSystem(str(store_in_memory(tmp_path))), ("n1", "n2"))
    with pytest.raises(NoSuchNode, match="there is no node 'n9': there are n1, n2"):
        held.call("put", "k", 1, at="n9")
    with pytest.raises(Mistake, match="there is no operation 'frob': the clients of put-get call put, get"):
        held.call("frob", "k")


def test_links_of_a_system_of_commands_count_connections_and_bytes() -> None:
    counts = {("n1", "n2"): Counter(connections=2, arrived=9, bytes=900), ("n2", "n1"): Counter(bytes=50)}
    network = SimpleNamespace(rules=list, links=lambda: counts, carries_streams=StreamNetwork.carries_streams)
    verbs = LinkVerbs(cast(RunByHand, SimpleNamespace(network=network)), cast(HandSession, None))
    assert verbs.links() == [
        {"from": "n1", "to": "n2", "connections": 2, "refused": 0, "bytes": 900, "rules": []},
        {"from": "n2", "to": "n1", "connections": 0, "refused": 0, "bytes": 50, "rules": []},
    ]


def test_inspect_says_that_the_nodes_of_a_system_are_not_ours(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    SystemSpec(CommandSystem(str(store_in_memory(tmp_path))), ("n1",), 1, None, tmp_path / "run").save(tmp_path)
    assert run(["--dir", str(tmp_path), "inspect", "n1"]) == 1
    assert "the nodes of store are not ours, so no command here can read what they store" in capsys.readouterr().err
