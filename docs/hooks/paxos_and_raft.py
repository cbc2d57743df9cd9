"""The figures of *Paxos and Raft side by side*: five situations in virtual time, under both logs, drawn from what was sent.

`python docs/hooks/paxos_and_raft.py` plays them, prints the table of each, and writes the drawings to docs/img/. A test plays
them again and compares (`tests/docs/test_paxos_and_raft.py`), so page and drawings cannot go out of date.
"""

import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

from harness.virtual.log_script import LogWorld
from node.algorithms import LOGS, load_algorithm
from node.contract import Message, NodeId
from node.log_contract import LogAlgorithm
from node.quorum import Ballot

IMAGES: Final = Path(__file__).resolve().parent.parent / "img"
_NODES: Final = ("n1", "n2", "n3")
#: What every log sends while nothing happens, which says nothing about a situation.
_QUIET: Final = ("Heartbeat", "HeartbeatAck")


class Sent(NamedTuple):
    """A message that a node sent in a situation."""

    sender: NodeId
    to: NodeId
    type: str
    about: str
    arrives: bool


class Played(NamedTuple):
    """What came of a situation under one log: its messages, and what is to be said of it, as cells of a table."""

    sent: tuple[Sent, ...]
    facts: dict[str, str]


class Stage(LogWorld):
    """Three nodes with a log, the messages that they have sent since `begin_scene`, and which of them are to be lost."""

    def __init__(self, log: str) -> None:
        cls = load_algorithm(log)
        assert issubclass(cls, LogAlgorithm)
        super().__init__(3, 1, cls)
        self.sent: list[Sent] = []
        self.loses: Callable[[NodeId, NodeId, Message], bool] = lambda _sender, _to, _message: False
        self.drop_rules.append(self._note)
        self.first = self.wait_leader()
        if self.first != "n1":
            self.elect("n1")
        self.do("c", "put", "k", b"0")
        self.settle()

    def settle(self) -> None:
        """Wait until all nodes that are up have applied the same slots."""

        def equal() -> bool:
            replicas = [self._replica(name) for name in _NODES]
            return len({replica.state.applied for replica in replicas if replica is not None}) == 1

        self.wait(equal, "equal replicas")
        self.pass_s(0.2)

    def begin_scene(self) -> None:
        """Forget what was sent until now."""
        self.sent.clear()

    def record(self, node: NodeId) -> LogAlgorithm:
        """Return the replica of a node that is up."""
        replica = self._replica(node)
        assert replica is not None
        return replica

    def played(self, **facts: str) -> Played:
        """Return what was sent in this scene, without what says nothing, and its facts."""
        seen = [sent for sent in self.sent if sent.type not in _QUIET]
        return Played(tuple(seen), {name.replace("_", " "): text for name, text in facts.items()})

    def _note(self, sender: NodeId, to: NodeId, message: Message) -> bool:
        lost = self.loses(sender, to, message) or (sender, to) in self.cut_off
        arrives = not lost and self.cluster.nodes[to].up
        self.sent.append(Sent(sender, to, message.type_name(), _about(message, self._algorithm), arrives))
        return lost


def _about(message: Message, log: type[LogAlgorithm]) -> str:
    """Return what tells messages of one type apart: the ballot or term, and the records with their own."""
    said = log.leader_message(message)
    if said is None:
        ballot = getattr(message, "ballot", None)
        return f"{ballot.round}" if isinstance(ballot, Ballot) else ""
    records = ", ".join(f"{record.slot}·{record.round}" for record in said.records[:2])
    more = f" and {len(said.records) - 2} more" if len(said.records) > 2 else ""
    return f"{said.ballot.round}: {records}{more}" if records else f"{said.ballot.round}"


def counted(sent: tuple[Sent, ...]) -> str:
    """Return how many messages of each type were sent."""
    return ", ".join(f"{number} {type_}" for type_, number in Counter(each.type for each in sent).items()) or "none"


# --- the situations ---------------------------------------------------------------------------------------------------


def a_put(log: str) -> Played:
    """A client puts a key at a leader that has served for a while."""
    stage = Stage(log)
    stage.begin_scene()
    stage.do("c", "put", "k", b"1")
    sent = stage.played().sent
    return Played(sent, {"messages until the client has its answer": counted(sent)})


def _unfinished(log: str) -> Stage:
    """Return a stage on which the leader n1 has crashed, and the record that it had proposed last is on n2 and not on n3."""
    stage = Stage(log)
    record = stage.record("n1").state.applied + 1
    stage.loses = lambda _sender, to, _message: (
        to == "n3" or (to == "n1" and stage.record("n2").node.log.get(record) is not None)
    )
    stage.begin("c", "put", "k", b"unfinished", for_s=30.0)
    stage.wait(lambda: stage.record("n2").node.log.get(record) is not None, "the record is on n2")
    stage.crash("n1")
    stage.loses = lambda _sender, _to, _message: False
    return stage


def an_unfinished_entry(log: str) -> Played:
    """The leader has crashed in the middle of a put: n2 has the record, and n3 has not. n2 leads next."""
    stage = _unfinished(log)
    slot = stage.record("n2").progress().commit + 1
    stage.begin_scene()
    stage.take_over("n2")
    stage.wait(lambda: stage.leader() == "n2", "n2 serves")
    played = stage.played()
    stage.settle()
    kept = stage.record("n2").node.log.get(slot)
    assert kept is not None
    old = stage.record("n2").promised.round - kept.round
    again = (
        "the new leader's own ballot: it has proposed the record again"
        if old == 0
        else "the old leader's term: it stands as it was"
    )
    return Played(
        played.sent,
        {
            "messages until n2 serves": counted(played.sent),
            f"slot {slot} is chosen under": again,
            "the put": str(stage.do("d", "get", "k")[0].decode()) + " is read",
        },
    )


def an_election_without_the_entry(log: str) -> Played:
    """The same crash, and n3, which lacks the record, tries to lead first."""
    stage = _unfinished(log)
    stage.begin_scene()
    stage.take_over("n3")
    led = stage.pass_s(0.02, lambda: stage.leader() == "n3")
    sent = stage.played().sent
    leader = stage.wait_leader()
    stage.settle()
    value = stage.do("d", "get", "k")[0].decode()
    first = (
        "yes: it learns the record with n2's promise, and proposes it"
        if led
        else "no: n2's log is more up to date, and n2 votes against it"
    )
    return Played(sent, {"n3 leads": first, "who leads then": leader, "the put": f"{value} is read"})


def a_node_comes_back(log: str) -> Played:
    """A follower is cut off for ten seconds, tries to be elected all the time, and comes back."""
    stage = Stage(log)
    before = {node: stage.record(node).promised.round for node in _NODES}
    stage.begin_scene()
    stage.isolate("n3")
    stage.pass_s(10.0)
    tried = Counter(sent.type for sent in stage.sent if sent.sender == "n3")
    alone = stage.record("n3").promised.round - before["n3"]
    stage.begin_scene()
    stage.heal()
    stage.do("c", "put", "k", b"2")
    stage.settle()
    played = stage.played()
    rose = max(stage.record(node).promised.round for node in _NODES) - max(before.values())
    return Played(
        played.sent,
        {
            "n3 sends in vain": ", ".join(f"{number} {type_}" for type_, number in tried.items()),
            "its ballot or term rises by": str(alone),
            "after it is back": f"{stage.leader()} leads still, and the ballot or term of all has risen by {rose}",
        },
    )


def a_node_is_behind(log: str) -> Played:
    """A follower has missed ten slots, and comes back."""
    stage = Stage(log)
    stage.isolate("n3")
    for number in range(10):
        stage.do("c", "put", "k", f"missed {number}".encode())
    slots = stage.record("n1").state.applied - stage.record("n3").state.applied
    stage.begin_scene()
    stage.heal()
    stage.wait(lambda: stage.record("n3").state.applied == stage.record("n1").state.applied, "n3 has caught up")
    played = stage.played()
    return Played(played.sent, {"slots behind": str(slots), "messages until it has caught up": counted(played.sent)})


#: The situations, by the name of their drawings.
SITUATIONS: Final[dict[str, Callable[[str], Played]]] = {
    "a-put": a_put,
    "an-unfinished-entry": an_unfinished_entry,
    "an-election": an_election_without_the_entry,
    "a-node-comes-back": a_node_comes_back,
    "a-node-is-behind": a_node_is_behind,
}


def play(situation: str) -> dict[str, Played]:
    """Return what came of a situation under each log, by its name."""
    return {log: SITUATIONS[situation](log) for log in LOGS}


def table(played: dict[str, Played]) -> str:
    """Return the facts of a situation as Markdown, with a column for each log."""
    lines = [f"| | {' | '.join(played)} |", f"|---|{'---|' * len(played)}"]
    facts = dict.fromkeys(fact for one in played.values() for fact in one.facts)
    lines += [f"| {fact} | {' | '.join(one.facts[fact] for one in played.values())} |" for fact in facts]
    return "\n".join(lines) + "\n"


# --- drawings ---------------------------------------------------------------------------------------------------------

_WIDTH, _LEFT, _GAP, _TOP, _STEP = 460, 60, 170, 60, 30
_SHOWN_MAX: Final = 12


def drawing(played: dict[str, Played]) -> str:
    """Return a picture of the messages of a situation, as SVG: a panel for each log, a line down for each node."""
    rows = max(min(len(one.sent), _SHOWN_MAX) for one in played.values())
    height = _TOP + _STEP * (rows + 1)
    panels = "".join(
        f'<g transform="translate({_WIDTH * number} 0)">{_panel(log, one.sent, height)}</g>'
        for number, (log, one) in enumerate(played.items())
    )
    width = _WIDTH * len(played)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12">'
        '<defs><marker id="head" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" markerHeight="8" orient="auto">'
        '<path d="M0 0 8 4 0 8z" fill="#234"/></marker></defs>'
        f'<rect width="{width}" height="{height}" fill="#fff"/>{panels}</svg>\n'
    )


def _panel(log: str, sent: tuple[Sent, ...], height: int) -> str:
    parts = [f'<text x="{_LEFT}" y="18" font-size="15" font-weight="bold" fill="#111">{log}</text>']
    for number, node in enumerate(_NODES):
        x = _LEFT + _GAP * number
        parts.append(f'<text x="{x}" y="42" text-anchor="middle" fill="#111">{node}</text>')
        parts.append(f'<path d="M{x} 48V{height - 8}" stroke="#999"/>')
    for row, one in enumerate(sent[:_SHOWN_MAX]):
        y = _TOP + _STEP * row + 14
        start, end = (_LEFT + _GAP * _NODES.index(node) for node in (one.sender, one.to))
        dashes = "" if one.arrives else ' stroke-dasharray="4 3"'
        parts.append(f'<path d="M{start} {y}H{end}" stroke="#234"{dashes} marker-end="url(#head)"/>')
        label = f"{one.type} {one.about}".strip()
        parts.append(f'<text x="{(start + end) / 2:g}" y="{y - 4}" text-anchor="middle" fill="#234">{label}</text>')
    if len(sent) > _SHOWN_MAX:
        parts.append(f'<text x="{_LEFT}" y="{height - 8}" fill="#555">and {len(sent) - _SHOWN_MAX} more</text>')
    return "".join(parts)


def main() -> None:
    """Play every situation, print its table, and write its drawing."""
    for situation in SITUATIONS:
        played = play(situation)
        sys.stdout.write(f"{situation}\n\n{table(played)}\n")
        (IMAGES / f"paxos-and-raft-{situation}.svg").write_text(drawing(played))


if __name__ == "__main__":
    main()
