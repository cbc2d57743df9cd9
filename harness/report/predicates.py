"""Promises that a page watches while things happen, or goes through in a record: each turns red at the step that breaks it.

They are few and simple, for people who look. The judges of `harness/checkers` decide about a run at its end, from all evidence.

Agreement is the article's coherence, and "a decision stays" is its no decoherence. Clients' answers count for both.

`ABOUT` says what each promises. "A promise never goes back" is watched in the statuses of nodes and, in Paxos, in their messages;
of a record, the judge itself says which message broke it (`recorded_events.py`). An acceptance that crosses no wire, such as a
proposer's own, may be seen in no status either, if its node dies. So what a node announces as decided counts as chosen.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

from harness.checkers.protocols import chooses_by_majority, keeps_promises
from harness.records.jsonable import from_jsonable
from harness.report.events import Event, cut, value_text
from node.contract import Algorithm
from node.quorum import majority

AGREEMENT: Final = "agreement"
STAYS: Final = "a decision stays"
CHOSEN: Final = "one value chosen"
PROMISES: Final = "a promise never goes back"
REPLICAS: Final = "replicas agree"
TOKENS: Final = "tokens rise"
#: What each of them promises.
ABOUT: Final[Mapping[str, str]] = {
    AGREEMENT: "no two nodes, and no two answers to clients, show different decided values (the article's coherence)",
    STAYS: "a call that begins after a decision was answered gets no other value (the article's no decoherence)",
    CHOSEN: "no two values of one variable have been accepted, or voted for, by majorities, or announced as decided by nodes",
    PROMISES: "no node promises or accepts below a ballot that it has promised",
    REPLICAS: "two replicas that have applied the same number of slots have the same log",
    TOKENS: "a lock is given with a token above the last one",
}
#: The requests that an acceptor answers under a ballot, each with its answer.
_ANSWERS: Final[Mapping[str, str]] = {"Prepare": "Promise", "Accept": "Accepted"}
#: How many values, ballots or positions of one kind are remembered.
_REMEMBERED_MAX: Final = 50_000
#: How a status shows a value that is too large for it.
_LARGE: Final = re.compile(r"^'[\d,]+ bytes(, [0-9a-f]{8})?'$")


class Predicates:
    """Watches one cluster or run. Each method takes in what was seen, at a time in microseconds; `broken` collects the events."""

    def __init__(self, algorithm: type[Algorithm], nodes: int, *, sets_once: bool | None = None) -> None:
        """Watch from the beginning.

        Args:
            algorithm: what every node runs.
            nodes: how many nodes there are.
            sets_once: whether clients propose and query. None: if the algorithm keeps no log.
        """
        self._nodes = nodes
        keeps_log = algorithm.keeps_log
        self.names = [
            *([AGREEMENT, STAYS] if sets_once or (sets_once is None and not keeps_log) else []),
            *([REPLICAS, TOKENS] if keeps_log else []),
            *([CHOSEN] if chooses_by_majority(algorithm) and not keeps_log else []),
            *([PROMISES] if keeps_log or keeps_promises(algorithm) else []),
        ]
        #: Those that cannot be known if some messages were not seen.
        self.of_messages = [name for name in (CHOSEN, PROMISES) if name in self.names and not keeps_log]
        self.broken: list[Event] = []
        self._found: set[str] = set()
        self._decided: dict[str, tuple[str, str]] = {}  # by variable: the value, and who showed it
        self._answered: dict[str, dict[str, tuple[int, str]]] = {}  # by variable and value: when first, and by whom
        self._ballots: dict[tuple[str, str], list[Any]] = {}
        self._votes: dict[str, dict[Any, set[str]]] = {}  # by variable and ballot or value: who has accepted
        self._proposed: dict[str, dict[Any, str]] = {}  # by variable and ballot: the value
        self._promised: dict[str, dict[str, Any]] = {}  # by variable and acceptor: the highest ballot of its messages
        self._floors: dict[
            str, dict[Any, Any]
        ] = {}  # by variable, and acceptor, answer and ballot: what it had promised
        self._chosen: dict[str, tuple[str, str]] = {}
        self._chains: dict[int, tuple[str, str]] = {}
        self._tokens: dict[str, int] = {}

    def take_broken(self) -> list[Event]:
        """Return what was found broken since the last call."""
        broken, self.broken = self.broken, []
        return broken

    # --- what was seen ------------------------------------------------------------------------------------------------

    def status(self, t: int, node: str, variables: Mapping[str, Mapping[str, Any]]) -> None:
        """Take in a node's status: the facts of its variables, as `events.variable_facts` returns them."""
        for variable, facts in variables.items():
            if facts.get("decided") is not None and not _LARGE.search(str(facts["decided"])):
                self._decides(t, variable, str(facts["decided"]), node)
            if "ballot" in facts:
                self._ballot(t, variable, node, facts["ballot"])
            if "accepted" in facts and "applied" not in facts:
                self._accepts(t, variable, tuple(facts["accepted"]), node)
            if facts.get("vote") is not None and not _LARGE.search(str(facts["vote"])):
                self._accepts(t, variable, str(facts["vote"]), node)
            if facts.get("chain") is not None:
                self._applied(t, node, facts["applied"], str(facts["chain"]))

    def message(self, t: int, sender: str, type_: str, variable: str | None, fields: Mapping[str, Any]) -> None:
        """Take in a message that `sender` has sent."""
        if variable is None or CHOSEN not in self.names:
            return
        match type_, fields:
            case "Promise" | "Accepted", {"ballot": [int(round_), str(node)]} if PROMISES in self.names:
                self._promises(t, sender, type_, variable, (round_, node))
        value = fields.get("value")
        if isinstance(value, dict) and set(value) == {"bytes"}:
            return  # a value that was cut short could be taken for another one
        match type_, fields:
            case "Accept", {"ballot": [round_, node], "value": value}:
                self._remember(self._proposed, variable)[round_, node] = value_text(from_jsonable(value))
            case "Accepted", {"ballot": [round_, node]}:
                self._accepts(t, variable, (round_, node), sender)
            case "Vote", {"value": value}:
                self._accepts(t, variable, value_text(from_jsonable(value)), sender)
            case "Decided", {"value": value}:
                self._chooses(t, variable, value_text(from_jsonable(value)), f"announced as decided by {sender}")

    def delivered(self, receiver: str, type_: str, variable: str | None, fields: Mapping[str, Any]) -> None:
        """Take in that a message has left for its receiver.

        All that the receiver had sent until then, it had sent before it received this. So an answer to this under a lower ballot
        than it had promised by then breaks that promise, in whatever order its own messages arrive.
        """
        match fields:
            case {"ballot": [int(round_), str(node)]} if variable is not None and type_ in _ANSWERS:
                had = self._promised.get(variable, {}).get(receiver)
                floors = self._remember(self._floors, variable)
                floors.setdefault((receiver, _ANSWERS[type_], (round_, node)), had)

    def answer(self, began: int, t: int, f: str, key: str, value: Any, node: str | None) -> None:
        """Take in a client's answer."""
        if f in ("propose", "query") and STAYS in self.names:
            text, who = "undecided" if value is None else value_text(value), node or "a node"
            answered = self._remember(self._answered, key)
            for first, (since, by) in answered.items():
                if first != text and since < began:
                    self._break(t, STAYS, f"{key}: {by} answered {first}, and {who} answers {text} to a later call")
            if value is not None:
                self._decides(t, key, text, f"the answer of {who}")
                answered.setdefault(text, (t, who))
        elif f == "acquire" and isinstance(value, int):
            if value <= self._tokens.get(key, 0):
                self._break(t, TOKENS, f"{key}: token {value} is given after token {self._tokens[key]}")
            self._tokens[key] = max(value, self._tokens.get(key, 0))

    # --- what follows ---------------------------------------------------------------------------------------------------

    def _decides(self, t: int, variable: str, value: str, who: str) -> None:
        first, by = self._decided.setdefault(variable, (value, who))
        if first != value:
            self._break(t, AGREEMENT, f"{variable}: {by} shows {first}, and {who} shows {value}")

    def _ballot(self, t: int, variable: str, node: str, ballot: list[Any]) -> None:
        before = self._ballots.get((variable, node), ballot)
        self._ballots[variable, node] = ballot
        if ballot < before:
            self._break(t, PROMISES, f"{node} has promised ballot {_text(before)}, and now reports {_text(ballot)}")

    def _promises(self, t: int, node: str, type_: str, variable: str, ballot: tuple[int, str]) -> None:
        had = self._floors.get(variable, {}).get((node, type_, ballot))
        if had is not None and ballot < had:
            self._break(
                t, PROMISES, f"{node} has promised ballot {_text(had)}, and then sent {type_} of ballot {_text(ballot)}"
            )
        promised = self._remember(self._promised, variable)
        promised[node] = max(promised.get(node, ballot), ballot)

    def _accepts(self, t: int, variable: str, what: Any, node: str) -> None:
        voters = self._remember(self._votes, variable).setdefault(what, set())
        voters.add(node)
        if len(voters) < majority(self._nodes):
            return
        value = what if isinstance(what, str) else self._proposed.get(variable, {}).get(what)
        if value is None:
            return
        how = "by votes" if isinstance(what, str) else f"under ballot {_text(what)}"
        self._chooses(t, variable, value, f"chosen {how} by {', '.join(sorted(voters))}")

    def _chooses(self, t: int, variable: str, value: str, how: str) -> None:
        first, before = self._chosen.setdefault(variable, (value, how))
        if first != value:
            self._break(t, CHOSEN, f"{variable}: {first} was {before}, and {value} was {how}")

    def _applied(self, t: int, node: str, slot: int, chain: str) -> None:
        if len(self._chains) > _REMEMBERED_MAX:
            self._chains.clear()
        first, by = self._chains.setdefault(slot, (chain, node))
        if first != chain:
            self._break(t, REPLICAS, f"{by} and {node} have applied {slot} slots, and their logs differ")

    def _remember(self, where: dict[str, dict[Any, Any]], variable: str) -> dict[Any, Any]:
        if len(where) > _REMEMBERED_MAX:
            where.clear()
        return where.setdefault(variable, {})

    def _break(self, t: int, name: str, evidence: str) -> None:
        if name not in self._found:
            self._found.add(name)
            self.broken.append({"k": "predicate", "t": t, "name": name, "evidence": cut(evidence)})


def _text(ballot: Any) -> str:
    return f"{ballot[0]}·{ballot[1]}"
