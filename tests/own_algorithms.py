"""Algorithms as users would write them, for tests: named to a cluster as `tests.own_algorithms:Refusing`."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

from node.contract import Algorithm, Message, Node, NodeId, Request, Status, Value


class Refusing(Algorithm):
    """Does nothing for anybody."""

    def propose(self, request: Request, value: Value) -> None:
        self.node.refuse(request, "not today")

    def query(self, request: Request) -> None:
        self.node.refuse(request, "not today either")

    def receive(self, sender: NodeId, message: Message) -> None:
        pass


class Other(Message):
    """Nobody lists it."""


class SendsWhatIsNotListed(Refusing):
    """Its author has forgotten to."""

    def propose(self, request: Request, value: Value) -> None:
        self.node.broadcast(Other())


class Exiting(Refusing):
    """Ends its process."""

    def propose(self, request: Request, value: Value) -> None:
        raise SystemExit(3)


class Looping(Refusing):
    """Never comes back."""

    def propose(self, request: Request, value: Value) -> None:
        while True:
            time.sleep(0.01)  # so that the tests do not wait for a processor, too


class CannotSayHowItIs(Refusing):
    """Fails when it is asked."""

    def status(self) -> Status:
        raise ZeroDivisionError("the author's mistake")


class ListsNoMessages(Refusing):
    """Names them by a text."""

    messages = "Other"  # type: ignore[assignment]


class PlainSay(Message):
    """It was to have a field, and no decorator makes it one."""

    value = None


class UnfrozenSay(Message):
    """It has a constructor of its own."""

    def __init__(self, value: Value) -> None:
        self.value = value


class ListsAPlainMessage(Refusing):
    """Forgets the decorator."""

    messages = (PlainSay,)


class ListsAnUnfrozenMessage(Refusing):
    """Writes a constructor in its place."""

    messages = (UnfrozenSay,)


class ListsAText(Refusing):
    """One of several is no message."""

    messages = (Other, "Other")  # type: ignore[assignment]


class TakesNoNode(Refusing):
    """Its constructor lacks the node."""

    def __init__(self) -> None:
        pass


class Raising(Refusing):
    """Its author has made a mistake."""

    def propose(self, request: Request, value: Value) -> None:
        raise ZeroDivisionError("the author's mistake")


@dataclass(frozen=True, slots=True)
class Say(Message):
    """Says a value."""

    value: Value
    term: int


class Mistaken(Refusing):
    """What the classes below have in common."""

    messages = (Say,)

    def propose(self, request: Request, value: Value) -> None:
        self.mistake(request, value)
        self.node.reply(request, value)

    def mistake(self, request: Request, value: Value) -> None:
        """Do what the contract forbids. Every mistake is in a method of this name."""


class SendsWrongField(Mistaken):
    def mistake(self, request: Request, value: Value) -> None:
        self.node.broadcast(Say(value, "3"))  # type: ignore[arg-type]


class SendsDictionary(Mistaken):
    def mistake(self, request: Request, value: Value) -> None:
        self.node.broadcast(Say({"n1": value}, 3))  # type: ignore[arg-type]


class StoresDictionary(Mistaken):
    def mistake(self, request: Request, value: Value) -> None:
        self.node.disk["votes"] = {"n1": value}  # type: ignore[assignment]


class StoresUnderNumber(Mistaken):
    def mistake(self, request: Request, value: Value) -> None:
        self.node.disk[3] = value  # type: ignore[index]


class SendsToUnknownNode(Mistaken):
    def mistake(self, request: Request, value: Value) -> None:
        self.node.send("n9", Say(value, 1))


class SendsText(Mistaken):
    def mistake(self, request: Request, value: Value) -> None:
        self.node.broadcast("hello")  # type: ignore[arg-type]


class SendsClass(Mistaken):
    def mistake(self, request: Request, value: Value) -> None:
        self.node.broadcast(Say)  # type: ignore[arg-type]


class AnswersText(Mistaken):
    def mistake(self, request: Request, value: Value) -> None:
        self.node.reply(request, "blue")  # type: ignore[arg-type]


class AnswersNobody(Mistaken):
    def mistake(self, request: Request, value: Value) -> None:
        self.node.reply(request.client, value)  # type: ignore[arg-type]


class SetsTimerToText(Mistaken):
    def mistake(self, request: Request, value: Value) -> None:
        self.node.set_timer("later", "1", 2)  # type: ignore[arg-type]


class StatusIsDictionary(Mistaken):
    def status(self) -> Status:
        return {"decided": None}  # type: ignore[return-value]


class AwaitsText(Mistaken):
    def awaits(self) -> Sequence[str]:
        return "again"


class StatusHasWrongField(Mistaken):
    def status(self) -> Status:
        return Status(ballot=3)  # type: ignore[arg-type]


class HoldsFunction(Mistaken):
    def mistake(self, request: Request, value: Value) -> None:
        self.seen = {value: lambda: 3}


class RaisesInStatusLater(Mistaken):
    def mistake(self, request: Request, value: Value) -> None:
        self.node.disk["decided"] = value

    def status(self) -> Status:
        if "decided" in self.node.disk:
            raise ZeroDivisionError("the author's mistake")
        return Status()


class LoopsAtAMessage(Mistaken):
    def mistake(self, request: Request, value: Value) -> None:
        self.node.broadcast(Say(value, 1))

    def receive(self, sender: NodeId, message: Message) -> None:
        try:
            while True:
                self.spun = True
        except Exception:  # noqa: BLE001, S110 - as authors write it, and it must not swallow the end of the loop
            pass


@dataclass(frozen=True, slots=True)
class Attempt(Message):
    """Begins or joins an attempt."""

    term: int


class CountsTerms(Refusing):
    """Numbers its attempts by integers of its own, without end."""

    messages = (Attempt,)

    def __init__(self, node: Node) -> None:
        super().__init__(node)
        self.term = 0

    def propose(self, request: Request, value: Value) -> None:
        self.node.set_timer("again", 0.1, 0.2)

    def timeout(self, name: str) -> None:
        self.term += 1
        self.node.broadcast(Attempt(self.term))
        self.node.set_timer("again", 0.1, 0.2)


class NamesItsTerms(CountsTerms):
    ballot_fields = ("term",)
