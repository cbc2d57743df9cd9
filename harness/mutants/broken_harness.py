"""Parts of the harness, broken one at a time. `part_scripts.py` has the scripts in which the harness finds each break."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from cluster.control import ControlRequest
from harness.faults.active import LinkFault, ReceiptBuilder
from harness.faults.injector import Faults
from harness.network.in_transit import Ruling
from harness.network.rules import Action, Rule
from harness.network.stream_rules import Piece, StreamRules
from harness.network.switchboard import Switchboard
from harness.records.links import Link


class CutsOneDirection(StreamRules):
    """A cut of both directions leaves one of them open."""

    def add(self, rule: Rule) -> None:
        links = rule.links and frozenset(link for link in rule.links if link[0] < link[1])
        super().add(replace(rule, links=links))


class DelaysNothing(StreamRules):
    """A delay is counted, and the piece leaves at once."""

    def _drawn(self, one: Any, piece: Piece, now_s: float) -> float:
        super()._drawn(one, piece, now_s)
        return 0.0


class CountsButLetsPass(StreamRules):
    """A cut counts what it holds, and lets it pass."""

    def _first_look(self, one: Any, piece: Piece, now_s: float) -> float:
        super()._first_look(one, piece, now_s)
        return 0.0


class CutsMessagesOneWay(Switchboard):
    """A cut of both directions between nodes that speak by lines leaves one of them open."""

    def serve(self, request: ControlRequest) -> None:
        match request.arguments:
            case {"rule": {"links": [*links], **more}}:
                rule = {**more, "links": [link for link in links if link[0] < link[1]]}
                request = ControlRequest(request.caller, request.verb, {**request.arguments, "rule": rule})
        super().serve(request)


class DeliversTwice(Switchboard):
    """Each message is delivered twice, and recorded once."""

    def _carry_out(self, rulings: list[Ruling]) -> None:
        for message, fate, _ in rulings:
            if fate == "passed":
                self._sockets.send(message)
        super()._carry_out(rulings)


class LosesReceipts(Faults):
    """The receipt of a fault on links is lost."""

    def apply_rules(
        self, name: str, actions: Iterable[Action], links: Iterable[Link], *more: Any, **about: Any
    ) -> LinkFault:
        fault = super().apply_rules(name, actions, links, *more, **about)
        self.forget(fault.receipt)
        return fault


class ReceiptsOfNothing(Faults):
    """A fault on links has its receipt, and its rules are never installed."""

    def apply_rules(
        self, name: str, actions: Iterable[Action], links: Iterable[Link], *more: Any, **about: Any
    ) -> LinkFault:
        receipt = ReceiptBuilder(name, (), tuple(links))
        self._receipts.append(receipt)
        return LinkFault([], receipt)
