"""Algorithms as users would write them, for tests: named to a cluster as `tests.own_algorithms:Refusing`."""

import time

from node.contract import Algorithm, Message, NodeId, Request, Status, Value


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


class Raising(Refusing):
    """Its author has made a mistake."""

    def propose(self, request: Request, value: Value) -> None:
        raise ZeroDivisionError("the author's mistake")
