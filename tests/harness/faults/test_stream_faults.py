"""The faults of streams, on a network that counts what the test says: which rule each installs, and when it has bitten."""

from collections.abc import Callable
from random import Random
from types import SimpleNamespace
from typing import Any, cast

import pytest

from cluster.errors import NoSuchNode
from harness.checkers.evidence import LEAKED, RunEvidence
from harness.checkers.guards import PlanExecution, guards
from harness.faults.active import ActiveFault, ConditionalFault
from harness.faults.injector import Faults
from harness.faults.partitions import flapping, partition
from harness.faults.stream_faults import half_open, narrow, pause_stream, reset, slow_close
from harness.faults.target import Target
from harness.network.rule_installer import RuleInstaller
from harness.network.rules import Bandwidth, Cut, HalfOpen, Pause, Reset, SlowClose
from harness.records.links import Link
from node.algorithms.paxos import Paxos
from tests.waiting import wait_until

NODES = ("n1", "n2", "n3")


class CountingNetwork(RuleInstaller):
    """Installs nothing. Each rule has the counts that a test has set."""

    def __init__(self) -> None:
        super().__init__(NODES)
        self.added: list[dict[str, Any]] = []
        self.counted: dict[Link, dict[str, int]] = {}

    def leaves(self, node: str) -> None:
        """A node that was a member is none any more."""
        self._left.add(node)

    def request(self, verb: str, timeout_s: float = 0.0, /, **arguments: object) -> Any:
        if verb == "add":
            self.added.append(cast(dict[str, Any], arguments["rule"]))
            return None
        return [[*link, counts] for link, counts in self.counted.items()]


@pytest.fixture
def network() -> CountingNetwork:
    return CountingNetwork()


@pytest.fixture
def target(network: CountingNetwork) -> Target:
    faults = Faults(cast(Any, SimpleNamespace(nodes=NODES)), cast(Any, network))
    return cast(Target, SimpleNamespace(faults=faults, network=network, nodes=NODES))


@pytest.mark.parametrize(
    ("inject", "action", "fate"),
    [
        (partition, Cut(), "held"),
        (reset, Reset(), "reset"),
        (slow_close, SlowClose(1.0), "delayed"),
        (pause_stream, Pause(2000, 0.2), "paused"),
        (narrow, Bandwidth(50_000), "throttled"),
    ],
)
def test_a_fault_bites_when_the_proxy_has_acted(
    target: Target, network: CountingNetwork, inject: Callable[..., ActiveFault], action: Any, fate: str
) -> None:
    for counts, bit in (({}, False), ({fate: 1}, True)):
        network.counted = {("n1", "n2"): {"matched": 3, **counts}}
        active = inject(target, Random(1))
        assert isinstance(active, ConditionalFault)
        assert active.has_bitten() is bit
        active.heal()
        assert target.faults.receipts[-1].bit is bit
    assert {rule["action"] for rule in network.added} == {type(action).__name__.lower()}


@pytest.mark.parametrize("leak", ["crossed", "early"])
def test_what_the_meter_saw_leak_makes_the_run_no_test_and_is_said(
    target: Target, network: CountingNetwork, leak: str
) -> None:
    network.counted = {("n1", "n2"): {"held": 4}, ("n2", "n1"): {leak: 40}}
    partition(target, Random(1), groups=[["n1"]]).heal()
    (receipt,) = target.faults.receipts
    assert not receipt.bit
    assert receipt.evidence[LEAKED] == [f"n2->n1 40 {leak}"]
    verdict = guards(RunEvidence(NODES, Paxos, receipts=[receipt]), PlanExecution(1, 1), (), {})
    assert verdict.evidence == f"partition did not bite: its links let through what they should not: n2->n1 40 {leak}"


def test_half_open_hides_the_ends_of_the_connections_of_a_node_that_it_kills(
    target: Target, network: CountingNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    acts: list[str] = []

    def kill(*_: object, nodes: list[str]) -> SimpleNamespace:
        acts.append(f"kill {nodes}")
        return SimpleNamespace(heal=lambda: acts.append("start"))

    monkeypatch.setattr("harness.faults.stream_faults.kill", kill)
    network.counted = {("n2", "n1"): {"held": 1}}
    active = half_open(target, Random(1), node="n2")
    (rule,) = network.added
    assert rule["action"] == HalfOpen.__name__.lower()
    assert {tuple(link) for link in rule["links"]} == {("n2", "n1"), ("n2", "n3"), ("n2", "client")}
    active.heal()
    assert acts == ["kill ['n2']", "start"]
    assert target.faults.receipts[-1].bit


def test_a_fault_leaves_out_the_links_of_nodes_that_have_left(target: Target, network: CountingNetwork) -> None:
    network.leaves("n3")
    for inject in (partition, flapping):
        fault = inject(target, Random(1), groups=[["n1"], ["n2", "n3"]])
        wait_until(lambda: bool(network.added))
        assert sorted(network.added.pop()["links"]) == [["n1", "n2"], ["n2", "n1"]]
        fault.heal()
        network.added.clear()


def test_a_fault_whose_links_have_all_left_is_refused(target: Target, network: CountingNetwork) -> None:
    network.leaves("n3")
    for inject in (partition, flapping):
        with pytest.raises(NoSuchNode, match="none of these links is left: n3 has left"):
            inject(target, Random(1), groups=[["n1", "n2"], ["n3"]])
    assert not target.faults.receipts


def test_flapping_goes_on_while_its_links_leave(target: Target, network: CountingNetwork) -> None:
    fault = flapping(target, Random(1), groups=[["n1", "n2"], ["n3"]], period_s=0.001)
    wait_until(lambda: bool(network.added))
    network.leaves("n3")
    fault.heal()  # raises nothing
