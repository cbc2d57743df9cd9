"""Maelstrom's protocol without processes: messages, errors, requests, answers, services and the network."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from cluster.clients.outcomes import NotDone, NotKnown, Ok
from harness.network.rules import BadRule
from harness.records import messages
from harness.systems.maelstrom.channel import Channel
from harness.systems.maelstrom.clients import MaelstromCall, MaelstromClients
from harness.systems.maelstrom.protocol import DEFINITE, JsonLine, Misread, outcome_of_error, parse
from harness.systems.maelstrom.requests import BadAnswer, answer_of, request_of, setup_of
from harness.systems.maelstrom.router import Listener, Router
from harness.systems.maelstrom.services import SERVICES, Services
from harness.workloads.planned_call import PlannedCall
from harness.workloads.system_registry import SYSTEM_WORKLOADS
from tests.waiting import wait_until

# --- messages and errors ------------------------------------------------------------------------------------------------


def test_a_message_is_read_as_it_was_written() -> None:
    line = JsonLine("n1", "c2", {"type": "read_ok", "value": None, "in_reply_to": 3})
    assert parse(line.to_bytes()) == line


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (b"hello", "it is not JSON"),
        (b"[" * 100_000, "it is not JSON"),
        (b"[1]", "it is no JSON object"),
        (b'{"src": "n1", "dest": "n2"}', "it lacks"),
        (b'{"src": "n1", "dest": 2, "body": {"type": "x"}}', "it lacks"),
        (b'{"src": "n1", "dest": "n2", "body": {"type": "x", "msg_id": true}}', "its msg_id is True"),
        (b'{"src": "n1", "dest": "n2", "body": {"type": "x", "in_reply_to": "7"}}', "its in_reply_to is '7'"),
    ],
)
def test_a_line_that_is_no_message_says_why(line: bytes, why: str) -> None:
    with pytest.raises(Misread, match=why):
        parse(line)


def test_only_errors_that_are_known_to_be_definite_are() -> None:
    definite = {code for code in range(2000) if isinstance(outcome_of_error({"code": code}), NotDone)}
    assert definite == set(DEFINITE) == {1, 10, 11, 12, 14, 20, 21, 22, 30}
    assert isinstance(outcome_of_error({"text": "it has no code"}), NotKnown)


# --- requests and answers -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("workload", "call", "request_", "answer", "value"),
    [
        ("echo", PlannedCall("echo", "", "hi"), {"type": "echo", "echo": "hi"}, {"echo": "hi"}, "hi"),
        ("unique-ids", PlannedCall("generate", ""), {"type": "generate"}, {"id": [1]}, [1]),
        ("broadcast", PlannedCall("broadcast", "", 5), {"type": "broadcast", "message": 5}, {}, None),
        ("broadcast", PlannedCall("read", ""), {"type": "read"}, {"messages": None}, []),
        ("g-set", PlannedCall("add", "", 5), {"type": "add", "element": 5}, {}, None),
        ("g-set", PlannedCall("read", ""), {"type": "read"}, {"value": [5]}, [5]),
        ("pn-counter", PlannedCall("add", "", -5), {"type": "add", "delta": -5}, {}, None),
        ("g-counter", PlannedCall("read", ""), {"type": "read"}, {"value": 5.0}, 5),
        ("lin-kv", PlannedCall("read", "7"), {"type": "read", "key": 7}, {"value": 1}, 1),
        ("lin-kv", PlannedCall("write", "x", 1), {"type": "write", "key": "x", "value": 1}, {}, None),
        ("lin-kv", PlannedCall("cas", "7", [1, 2]), {"type": "cas", "key": 7, "from": 1, "to": 2}, {}, None),
        ("kafka", PlannedCall("send", "", ["k", 1]), {"type": "send", "key": "k", "msg": 1}, {"offset": 3}, 3),
    ],
)
def test_a_call_becomes_a_request_and_its_answer_a_value(
    workload: str, call: PlannedCall, request_: dict[str, Any], answer: dict[str, Any], value: object
) -> None:
    assert request_of(workload, call) == request_
    assert answer_of(workload, call, answer) == value


@pytest.mark.parametrize(
    ("workload", "f", "body"),
    [
        ("g-set", "read", {"value": 5}),
        ("g-counter", "read", {"value": "5"}),
        ("lin-kv", "read", {}),
        ("kafka", "poll", {"msgs": []}),
    ],
)
def test_an_answer_of_another_form_is_refused(workload: str, f: str, body: dict[str, Any]) -> None:
    with pytest.raises(BadAnswer):
        answer_of(workload, PlannedCall(f, ""), body)


def test_the_topology_of_a_broadcast_connects_all_nodes_both_ways() -> None:
    for number in range(1, 8):
        nodes = tuple(f"n{each}" for each in range(1, number + 1))
        (body,) = setup_of("broadcast", nodes)
        near = body["topology"]
        reached, edge = {"n1"}, ["n1"]
        while edge:
            edge = [other for node in edge for other in near[node] if other not in reached]
            reached.update(edge)
        assert reached == set(nodes)
        assert all(node in near[other] for node in nodes for other in near[node])
    assert setup_of("lin-kv", ("n1",)) == []


def test_each_workload_has_a_judge_of_its_own_and_values_that_are_unique() -> None:
    for name, kind in SYSTEM_WORKLOADS.items():
        workload = kind(("n1", "n2"), 7, 4.0)
        assert workload.name == name
        assert len(workload.judges) == 1
        calls = [workload.next_call(client, 1.0) for client in range(workload.clients) for _ in range(40)]
        assert {call.f for call in calls} >= set(workload.functions)
        if name in ("lin-kv", "g-set", "broadcast"):
            changes = [str(call.value) for call in calls if call.f in ("write", "add", "broadcast")]
            assert len(set(changes)) == len(changes)


# --- clients ------------------------------------------------------------------------------------------------------------


class Asked:
    """Clients of one workload without nodes: what they send, and what they find wrong."""

    def __init__(self, workload: str = "lin-kv", *, may_repeat: bool = False) -> None:
        self.sent: list[JsonLine] = []
        self.wrong: list[str] = []
        self.clients = MaelstromClients(
            workload, self.sent.append, lambda _node, what: self.wrong.append(what), lambda: may_repeat
        )

    def call(self, f: str = "read", value: object = None, timeout_s: float = 60.0) -> MaelstromCall:
        return self.clients.begin("c1", PlannedCall(f, "7", value, "n1", timeout_s))

    def answered(self, body: dict[str, Any], to: str = "c1") -> None:
        self.clients.take_in("n2", JsonLine("n2", to, {"in_reply_to": 1, **body}))


def test_an_answer_may_come_from_another_node_than_the_one_that_was_asked() -> None:
    asked = Asked()
    call = asked.call()
    asked.answered({"type": "read_ok", "value": 5})
    assert (call.outcome, asked.wrong) == (Ok(5, "n2"), [])
    assert asked.sent[0].body == {"type": "read", "key": 7, "msg_id": 1}


def test_that_a_key_does_not_exist_is_what_a_read_has_read() -> None:
    asked = Asked()
    read, write = asked.call(), asked.call("cas", [1, 2])
    asked.answered({"type": "error", "code": 20, "text": "no"})
    asked.answered({"type": "error", "code": 20, "text": "no", "in_reply_to": 2})
    assert read.outcome == Ok(None, "n2")
    assert isinstance(write.outcome, NotDone)
    assert write.outcome.kind == "not found"


def test_an_answer_after_its_time_changes_nothing() -> None:
    asked = Asked()
    call = asked.call("write", 5, timeout_s=0.0)
    asked.clients.poll()
    asked.answered({"type": "write_ok"})
    assert isinstance(call.outcome, NotKnown)
    assert (asked.wrong, asked.clients.late["n2"]) == ([], 1)


@pytest.mark.parametrize(
    ("bodies", "to", "problem"),
    [
        ([{"type": "read_ok", "value": 1}, {"type": "read_ok", "value": 2}], "c1", "answered twice, and differently"),
        ([{"type": "read_ok", "value": 1, "in_reply_to": 9}], "c1", "answered what no client has asked"),
        ([{"type": "read_ok", "value": 1}], "c2", "answered c2, and c1 had asked"),
        ([{"type": "hello", "in_reply_to": None}], "c1", "sent a client what is no answer"),
        ([{"type": "write_ok"}], "c1", "gave an answer to read that cannot be read"),
        ([{"type": "read_ok"}], "c1", "value is missing"),
    ],
)
def test_an_answer_that_breaks_the_rules_is_said(bodies: list[dict[str, Any]], to: str, problem: str) -> None:
    asked = Asked()
    asked.call()
    for body in bodies:
        asked.answered(body, to)
    assert len(asked.wrong) == 1
    assert problem in asked.wrong[0]


def test_a_second_answer_is_innocent_if_it_is_the_same_or_the_network_repeats() -> None:
    for may_repeat, second in ((False, 1), (True, 2)):
        asked = Asked(may_repeat=may_repeat)
        asked.call()
        asked.answered({"type": "read_ok", "value": 1})
        asked.answered({"type": "read_ok", "value": second})
        assert (asked.wrong, asked.clients.again["n2"]) == ([], 1)


# --- services -----------------------------------------------------------------------------------------------------------


def test_the_linearizable_store_and_the_oracle() -> None:
    services = Services(1)

    def ask(service: str, **body: Any) -> Any:
        return services.handle(JsonLine("n1", service, {**body, "msg_id": 1}))

    assert ask("lin-kv", type="read", key="x")["code"] == 20
    assert ask("lin-kv", type="cas", key="x", **{"from": 0, "to": 1}, create_if_not_exists=True)["type"] == "cas_ok"
    assert ask("lin-kv", type="cas", key="x", **{"from": 0, "to": 2})["code"] == 22
    assert ask("lin-kv", type="read", key="x")["value"] == 1
    assert ask("lin-kv", type="sing")["code"] == 10
    assert [ask("lin-tso", type="ts")["ts"] for _ in range(3)] == [1, 2, 3]
    assert services.handle(JsonLine("n1", "lin-tso", {"type": "ts"})) is None


def test_the_sequential_store_may_be_behind_and_never_goes_back() -> None:
    services = Services(3)
    seen, behind = 0, 0
    for value in range(1, 60):
        services.handle(JsonLine("n1", "seq-kv", {"type": "write", "key": "x", "value": value, "msg_id": 1}))
        answer = services.handle(JsonLine("n2", "seq-kv", {"type": "read", "key": "x", "msg_id": 1})) or {}
        assert answer.get("value", 0) >= seen
        seen = answer.get("value", 0)
        behind += seen < value
        own = services.handle(JsonLine("n1", "seq-kv", {"type": "read", "key": "x", "msg_id": 1})) or {}
        assert own["value"] == value  # what a node has written, it sees
    assert behind


def test_the_store_whose_last_write_wins_forgets_and_agrees() -> None:
    services = Services(5)
    services.handle(JsonLine("n1", "lww-kv", {"type": "write", "key": "x", "value": 1, "msg_id": 1}))
    read = JsonLine("n1", "lww-kv", {"type": "read", "key": "x", "msg_id": 1})
    values = [(services.handle(read) or {}).get("value") for _ in range(100)]
    assert None in values[:20]
    assert values[-10:] == [1] * 10


# --- the network --------------------------------------------------------------------------------------------------------


class Net:
    """A router with nodes that are pipes of this process."""

    def __init__(self, folder: Path, *nodes: str) -> None:
        self.to_clients: list[JsonLine] = []
        self.wrong: list[str] = []
        services = Services(1)
        listener = Listener(
            to_client=lambda _node, line: self.to_clients.append(line),
            to_service=services.handle,
            services=SERVICES,
            misread=lambda _node, _line, why: self.wrong.append(why),
            wrote=lambda _node, _text: None,
            started=lambda _node, _line: False,
        )
        self.record = folder / "messages.jsonl"
        self.router = Router(nodes, self.record, 1, listener)
        self.ends: dict[str, tuple[int, int]] = {}
        self.nodes = nodes

    def connect(self, node: str) -> None:
        in_read, in_write = os.pipe()
        out_read, out_write = os.pipe()
        err_read, err_write = os.pipe()
        os.close(err_write)
        os.set_blocking(in_read, False)
        self.ends[node] = (in_read, out_write)
        self.router.starts(
            node, Channel(os.fdopen(in_write, "wb", 0), os.fdopen(out_read, "rb", 0), os.fdopen(err_read, "rb", 0))
        )

    def writes(self, node: str, dest: str, kind: str = "hello", **body: Any) -> None:
        os.write(self.ends[node][1], JsonLine(node, dest, {"type": kind, **body}).to_bytes() + b"\n")

    def read(self, node: str) -> list[JsonLine]:
        try:
            return [parse(line) for line in os.read(self.ends[node][0], 1 << 16).splitlines()]
        except BlockingIOError:
            return []

    def read_types(self, node: str, least: int = 1) -> list[str]:
        found: list[str] = []

        def enough() -> bool:
            found.extend(line.type for line in self.read(node))
            return len(found) >= least

        wait_until(enough, "the node got no message")
        return found


@contextmanager
def network(folder: Path, *nodes: str, up: tuple[str, ...] | None = None) -> Iterator[Net]:
    net = Net(folder, *nodes)
    net.router.start()
    try:
        for node in nodes if up is None else up:
            net.connect(node)
            net.router.opens(node)
        yield net
    finally:
        net.router.close()
        for ends in net.ends.values():
            for end in ends:
                os.close(end)


def fates(record: Path) -> list[tuple[str, str, str, str]]:
    return [(line["from"], line["to"], line["type"], line["fate"]) for line in messages.load(record)]


def test_messages_between_nodes_clients_services_and_oneself(tmp_path: Path) -> None:
    with network(tmp_path, "n1", "n2") as net:
        net.writes("n1", "n2")
        net.writes("n1", "n1", "note")
        net.writes("n1", "lin-tso", "ts", msg_id=4)
        net.writes("n1", "c3", "read_ok", in_reply_to=1)
        net.router.from_client(JsonLine("c3", "n2", {"type": "read", "key": 7, "msg_id": 1}))
        assert sorted(net.read_types("n2", 2)) == ["hello", "read"]
        assert net.read_types("n1", 2) == ["note", "ts_ok"]
        wait_until(lambda: net.to_clients)
        assert net.to_clients == [JsonLine("n1", "c3", {"type": "read_ok", "in_reply_to": 1})]
    assert sorted(fates(net.record)) == [
        ("client", "n2", "read", "passed"),
        ("lin-tso", "n1", "ts_ok", "passed"),
        ("n1", "client", "read_ok", "passed"),
        ("n1", "lin-tso", "ts", "passed"),
        ("n1", "n1", "note", "passed"),
        ("n1", "n2", "hello", "passed"),
    ]


def test_the_rules_of_our_own_network_hold_for_messages_of_any_type(tmp_path: Path) -> None:
    with network(tmp_path, "n1", "n2") as net:
        with net.router.cut_one_way("n1", "n2") as cut:
            net.writes("n1", "n2", "lost")
            cut.wait_matched(1)
            net.writes("n2", "n1", "heard")
            assert net.read_types("n1") == ["heard"]
        with net.router.duplicate([("n1", "n2")]) as copies:
            net.writes("n1", "n2", "copied")
            assert net.read_types("n2", 2) == ["copied", "copied"]
            assert copies.total("duplicated") == 1
            assert net.router.has_repeated
        held = net.router.hold([("n1", "n2")], types=["append_entries"])
        for kind in ("append_entries", "vote", "append_entries"):
            net.writes("n1", "n2", kind)
        held.wait_held(2)
        assert net.read_types("n2") == ["vote"]
        held.release(1)
        assert net.read_types("n2") == ["append_entries"]
        held.remove()
        assert net.read_types("n2") == ["append_entries"]
        with pytest.raises(BadRule):
            net.router.node_joins("n9")
    assert ("n1", "n2", "lost", "dropped") in fates(net.record)


def test_a_node_gets_nothing_before_it_is_ready_or_after_its_end_and_its_last_words_leave(tmp_path: Path) -> None:
    with network(tmp_path, "n1", "n2", up=("n1",)) as net:
        net.connect("n2")
        for number, kind in enumerate(("early", "later"), 1):
            net.writes("n1", "n2", kind)
            wait_until(lambda number=number: net.router.flush() == number)  # type: ignore[misc]  # the loop's own number
            net.router.opens("n2")
        assert net.read_types("n2") == ["later"]
        net.writes("n2", "c1", "read_ok", in_reply_to=1)
        os.write(net.ends["n2"][1], b"half a li")
        net.router.ends("n2")
        assert [line.type for line in net.to_clients] == ["read_ok"]
        net.router.from_client(JsonLine("c1", "n2", {"type": "read", "msg_id": 2}))
    assert [each[3] for each in fates(net.record)] == ["undeliverable", "passed", "passed", "undeliverable"]


def test_lines_that_are_no_messages_are_dropped_and_said(tmp_path: Path) -> None:
    with network(tmp_path, "n1") as net:
        os.write(net.ends["n1"][1], b"hello\n\n")
        net.writes("n1", "n7")
        net.writes("n1", "n1", "note")
        assert net.read_types("n1") == ["note"]
    assert net.wrong[0] == "it is not JSON"
    assert net.wrong[1].startswith("there is no node 'n7'; there are n1, lin-kv")
