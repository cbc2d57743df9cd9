"""The life of a variable under random steps, compared with the files `life_of_*.txt`: see `test_life_of_a_log.py`."""

from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from node.algorithms.failover import Failover
from node.algorithms.leader import Leader
from node.algorithms.majority import Majority
from node.algorithms.paxos import Paxos
from node.contract import Algorithm, NodeId, Status, Value
from node.wire import encode_value
from tests.node.algorithms.schedule import Schedule

STEPS = 160
COLOURS = [encode_value(colour) for colour in ("blue", "red", "green")]


def step(net: Schedule, rng: Random) -> str:  # noqa: PLR0911 - one for each kind of step
    """Take a random step, and say which."""
    up = sorted(net.running)
    node = rng.choice(up or list(net.members))
    match rng.choice(
        ("deliver",) * 8 + ("fire",) * 4 + ("propose", "propose", "query", "drop", "crash", "restart", "forget")
    ):
        case "deliver" if net.in_flight:
            packet = net.in_flight[rng.choice((0, 0, 0, rng.randrange(len(net.in_flight))))]
            net.deliver_one(packet, keep=rng.random() < 0.1)
            return f"{packet.to} receives {packet.message} of {packet.sender}"
        case "fire" if up and (timers := sorted(net.timers(node))):
            timer = rng.choice(timers)
            net.fire(node, timer)
            return f"{timer} of {node} expires"
        case "propose" if up:
            return f"{net.propose(node, Value(rng.choice(COLOURS)))} proposes at {node}"
        case "query" if up:
            return f"{net.query(node)} asks {node}"
        case "drop" if net.in_flight:
            net.in_flight.pop()
            return "a message is lost"
        case "crash" if len(up) > 1:
            net.crash(node)
            return f"{node} crashes"
        case "restart" if len(up) < len(net.members):
            down = next(name for name in net.members if name not in up)
            net.restart(down)
            return f"{down} is back"
        case "forget" if net.waiting:
            request = rng.choice(sorted(net.waiting))
            net.forget(request)
            return f"{request} waits no longer"
    return "nothing"


def life_of(algorithm: type[Algorithm], members: str) -> Iterator[str]:
    """Yield the steps, each with the messages, timers and answers that it leads to, and with what nodes say of themselves."""
    rng, net = Random(algorithm.__name__), Schedule(algorithm, members)
    statuses: dict[NodeId, Status] = {}
    timers: dict[NodeId, dict[str, tuple[float, float]]] = {}
    answers = 0
    for _ in range(STEPS):
        before = list(net.in_flight)
        yield step(net, rng)
        for packet in net.in_flight:
            if not any(packet is other for other in before):
                yield f"  {packet.sender} to {packet.to}: {packet.message}"
        for name, status in net.statuses().items():
            if statuses.get(name) != status:
                yield f"  {name} is {status}"
            if timers.get(name) != net.timers(name):
                yield f"  {name} waits: {net.timers(name)}, awaits {net.running[name].awaits()}"
            statuses[name], timers[name] = status, net.timers(name)
        for request, value in list(net.answers.items())[answers:]:
            yield f"  {request} is answered {value!r}"
        answers = len(net.answers)


@pytest.mark.parametrize(
    ("algorithm", "members"), [(Leader, "abc"), (Failover, "abc"), (Majority, "abcde"), (Paxos, "abc")]
)
def test_a_variable_lives_as_it_has_lived(algorithm: type[Algorithm], members: str, regenerate: bool) -> None:
    path = Path(__file__).with_name(f"life_of_{algorithm.__name__.lower()}.txt")
    found = "".join(f"{line}\n" for line in life_of(algorithm, members))
    if regenerate:
        path.write_text(found)
    assert found.splitlines() == path.read_text().splitlines()
