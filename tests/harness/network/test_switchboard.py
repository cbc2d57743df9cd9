"""The switchboard without sockets: what it decodes when nothing is recorded, or no longer."""

from pathlib import Path
from random import Random
from typing import Any

import pytest

from cluster.control import ControlRequest
from harness.network.in_transit import InTransit
from harness.network.rules import Drop, Rule
from harness.network.switchboard import Switchboard
from harness.records.messages import MessageRecorder
from node.algorithms.paxos import Accepted, Prepare
from node.contract import Message
from node.quorum import Ballot
from node.wire import Envelope


class Sockets:
    """Keeps what was sent."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []

    def send(self, message: InTransit) -> bool:
        self.sent.append(message.payload)
        return True

    def __getattr__(self, name: str) -> Any:
        return lambda *_: 0


def decode(payload: bytes) -> Envelope:
    message: Message = Prepare(Ballot(1, "n1")) if payload == b"prepare" else Accepted(Ballot(1, "n1"))
    return Envelope("n1", 1, "colour", message)


@pytest.mark.parametrize("bytes_max", [0, 10_000])
def test_a_rule_for_a_type_also_strikes_when_the_record_is_full(tmp_path: Path, bytes_max: int) -> None:
    recorder, sockets = MessageRecorder(tmp_path / "record", bytes_max), Sockets()
    switchboard = Switchboard(("n1", "n2"), decode, {"Prepare", "Accepted"}, recorder, Random(0), sockets)
    switchboard.arrive(("n1", "n2"), b"prepare")
    recorder.flush()  # with a limit of nothing, the record ends here
    assert recorder.writes == (bytes_max > 0)
    rule = Rule("lose", Drop(), frozenset({("n1", "n2")}), frozenset({"Prepare"}))
    switchboard.serve(ControlRequest(b"", "add", {"rule": rule.to_plain()}))
    for payload in (b"prepare", b"accepted"):
        switchboard.arrive(("n1", "n2"), payload)
    assert sockets.sent == [b"prepare", b"accepted"]
