"""Algorithms as users would write them, for tests: named to a cluster as `tests.own_algorithms:Refusing`."""

from node.contract import Algorithm, Message, NodeId, Request, Value


class Refusing(Algorithm):
    """Does nothing for anybody."""

    def propose(self, request: Request, value: Value) -> None:
        self.node.refuse(request, "not today")

    def query(self, request: Request) -> None:
        self.node.refuse(request, "not today either")

    def receive(self, sender: NodeId, message: Message) -> None:
        pass


class Raising(Refusing):
    """Its author has made a mistake."""

    def propose(self, request: Request, value: Value) -> None:
        raise ZeroDivisionError("the author's mistake")
