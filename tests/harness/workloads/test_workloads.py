import pytest

from cluster.spec import node_names
from harness.workloads.key_values import KeyValueWorkload
from harness.workloads.registry import UnknownWorkload, workload, workload_for
from harness.workloads.set_once import SetOnceWorkload
from node.algorithms import load_algorithm

NODES = node_names(5)


def calls(seed: int, time_s: float = 10.0) -> list[object]:
    made = SetOnceWorkload(NODES, seed, time_s)
    return [made.next_call(number % made.clients, number * time_s / 500) for number in range(500)]


def test_a_seed_gives_the_same_calls() -> None:
    assert calls(7) == calls(7)
    assert calls(7) != calls(8)


def test_values_are_unique_and_variables_are_contested_at_all_nodes() -> None:
    made = SetOnceWorkload(NODES, 1, 10.0)
    asks = [made.next_call(number % made.clients, number / 50) for number in range(500)]
    proposed = [ask.value for ask in asks if ask.f == "propose"]
    assert len(proposed) == len(set(proposed))
    assert {*NODES, None} == {ask.node for ask in asks}
    assert {"propose", "query"} == {ask.f for ask in asks}
    rivals = {
        key: {ask.value for ask in asks if ask.key == key and ask.f == "propose"} for key in {a.key for a in asks}
    }
    assert all(len(values) > 1 for values in rivals.values())


def test_one_client_draws_nothing_from_another() -> None:
    alone, together = SetOnceWorkload(NODES, 1, 10.0), SetOnceWorkload(NODES, 1, 10.0)
    together.next_call(1, 0.0)
    assert alone.next_call(0, 1.0) == together.next_call(0, 1.0)


def test_at_the_end_every_node_decides_and_every_variable_is_asked_for_at_every_node() -> None:
    made = SetOnceWorkload(NODES, 1, 10.0)
    made.next_call(0, 1.0)
    proposals, queries = made.final_calls()
    assert set(NODES) == {ask.node for ask in proposals}
    assert {(ask.key, ask.node) for ask in queries} >= {("x0", node) for node in NODES}
    assert {ask.key for ask in proposals} <= {ask.key for ask in queries}


def test_a_long_run_has_no_more_variables_than_a_short_one_could_bear() -> None:
    made = SetOnceWorkload(NODES, 1, 600.0)
    assert len({made.next_call(0, float(second)).key for second in range(600)}) <= 24


def test_a_workload_that_is_not_there_is_told() -> None:
    assert workload("register") is SetOnceWorkload
    with pytest.raises(
        UnknownWorkload, match="no workload is called 'kvs'; there are register, kv, cas-register, lock"
    ):
        workload("kvs")


def test_a_workload_that_an_algorithm_cannot_serve_is_told() -> None:
    assert workload_for("kv", load_algorithm("multipaxos")) is KeyValueWorkload
    with pytest.raises(UnknownWorkload, match="kv changes state, and Paxos decides values once"):
        workload_for("kv", load_algorithm("paxos"))


def test_keys_are_fought_over_and_values_are_unique() -> None:
    made = KeyValueWorkload(NODES, 1, 10.0)
    asks = [made.next_call(number % made.clients, number / 50) for number in range(500)]
    assert {"put", "get", "delete", "cas"} == {ask.f for ask in asks}
    written = [ask.value[1] if ask.f == "cas" else ask.value for ask in asks if ask.f in ("put", "cas")]  # type: ignore[index]
    assert len(written) == len(set(written))
    writers = {
        key: {str(ask.value) for ask in asks if ask.key == key and ask.f == "put"} for key in {a.key for a in asks}
    }
    assert sum(len(values) > 1 for values in writers.values()) > len(writers) / 2
    assert {ask.key for calls in made.final_calls() for ask in calls} >= set(writers)
