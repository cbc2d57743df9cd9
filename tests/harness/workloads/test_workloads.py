from dataclasses import replace
from pathlib import Path

import pytest

from cluster.spec import node_names
from harness.checkers.verdict import Verdict, invalid, valid
from harness.cli.plans import not_reached
from harness.runs.plan import Plan
from harness.runs.suite import PlanResult
from harness.workloads.key_values import KeyValueWorkload
from harness.workloads.registry import UnknownWorkload, find_workload, workload_for
from harness.workloads.set_once import SetOnceWorkload
from node.algorithms import load_algorithm

NODES = node_names(5)


def calls(seed: int, time_s: float = 10.0) -> list[object]:
    workload = SetOnceWorkload(NODES, seed, time_s)
    return [workload.next_call(number % workload.clients, number * time_s / 500) for number in range(500)]


def test_the_same_seed_gives_the_same_calls() -> None:
    assert calls(7) == calls(7)
    assert calls(7) != calls(8)


def test_values_are_unique_and_rivals_propose_at_all_nodes() -> None:
    workload = SetOnceWorkload(NODES, 1, 10.0)
    planned = [workload.next_call(number % workload.clients, number / 50) for number in range(500)]
    proposed = [call.value for call in planned if call.f == "propose"]
    assert len(proposed) == len(set(proposed))
    assert {*NODES, None} == {call.node for call in planned}
    assert {"propose", "query"} == {call.f for call in planned}
    rivals = {
        key: {call.value for call in planned if call.key == key and call.f == "propose"}
        for key in {a.key for a in planned}
    }
    assert all(len(values) > 1 for values in rivals.values())


def test_the_calls_of_a_client_do_not_depend_on_other_clients() -> None:
    alone, together = SetOnceWorkload(NODES, 1, 10.0), SetOnceWorkload(NODES, 1, 10.0)
    together.next_call(1, 0.0)
    assert alone.next_call(0, 1.0) == together.next_call(0, 1.0)


def test_the_final_calls_propose_at_every_node_and_query_every_variable_at_every_node() -> None:
    workload = SetOnceWorkload(NODES, 1, 10.0)
    workload.next_call(0, 1.0)
    proposals, rivals, queries = workload.final_calls()
    assert [("after-all", len(NODES))] == [(key, len(rivals)) for key in {call.key for call in rivals}]
    assert set(NODES) == {call.node for call in proposals}
    assert {(call.key, call.node) for call in queries} >= {("x0", node) for node in NODES}
    assert {call.key for call in proposals} <= {call.key for call in queries}


def test_a_long_run_has_at_most_24_variables() -> None:
    workload = SetOnceWorkload(NODES, 1, 600.0)
    assert len({workload.next_call(0, float(second)).key for second in range(600)}) <= 24


def test_an_unknown_workload_is_refused_and_guessed() -> None:
    assert find_workload("register") is SetOnceWorkload
    with pytest.raises(UnknownWorkload, match="no workload is called 'kvs': did you mean kv\\?"):
        find_workload("kvs")


def test_a_workload_that_the_algorithm_cannot_serve_is_refused() -> None:
    assert workload_for("kv", load_algorithm("multipaxos")) is KeyValueWorkload
    with pytest.raises(UnknownWorkload, match="kv needs a replicated log, but Paxos decides each value once"):
        workload_for("kv", load_algorithm("paxos"))


def test_several_clients_use_each_key_and_values_are_unique() -> None:
    workload = KeyValueWorkload(NODES, 1, 10.0)
    planned = [workload.next_call(number % workload.clients, number / 50) for number in range(500)]
    assert {"put", "get", "delete", "cas", "range", "version"} == {call.f for call in planned}
    written = [call.value[1] if call.f == "cas" else call.value for call in planned if call.f in ("put", "cas")]  # type: ignore[index]
    assert len(written) == len(set(written))
    writers = {
        key: {str(call.value) for call in planned if call.key == key and call.f == "put"}
        for key in {a.key for a in planned if a.f not in ("range", "version")}
    }
    assert sum(len(values) > 1 for values in writers.values()) > len(writers) / 2
    assert {call.key for calls in workload.final_calls() for call in calls} >= set(writers)


def test_a_valid_run_of_an_unknown_algorithm_says_what_it_did_not_reach(tmp_path: Path) -> None:
    plan = Plan("tests.own_algorithms:Refusing", NODES, 1, "register", 1.0, ())

    def said(algorithm: str, **verdicts: Verdict) -> str | None:
        return not_reached([PlanResult(tmp_path, replace(plan, algorithm=algorithm), verdicts, (), 1.0)])

    told = said(plan.algorithm, coherence=valid(""))
    assert told is not None
    assert "consensus simulate tests.own_algorithms:Refusing" in told
    assert said(plan.algorithm, coherence=invalid("")) is None
    assert said("paxos", coherence=valid(""), invariants=valid("")) is None
    assert said("multipaxos", coherence=valid("")) is None
