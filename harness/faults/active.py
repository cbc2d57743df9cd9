"""Faults that are in force: the handles that `inject` returns, and the builder of their receipts."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, runtime_checkable

from cluster.errors import ConsensusError
from harness.checkers.evidence import LEAKED
from harness.network.installed_rule import InstalledRule
from harness.records.links import Link
from harness.records.receipts import Receipt
from node.contract import NodeId

#: The fates of messages that show that a rule has bitten.
_BITTEN_FATES: Final = (
    "dropped", "held", "duplicated", "reordered", "delayed", "corrupted", "reset", "paused", "throttled",
)  # fmt: skip
#: What the meter of streams counts where a rule has not done what it claims: what crossed a cut, what left too early.
_LEAKS: Final = ("crossed", "early")


class ActiveFault(Protocol):
    """A fault that is in force."""

    def heal(self) -> None:
        """End the fault, and complete its receipt. A second call does nothing."""


@runtime_checkable
class ConditionalFault(Protocol):
    """A fault that bites only when something happens, such as a message on a link that is cut."""

    def has_bitten(self) -> bool:
        """Return whether the fault has bitten yet."""


class EndsOnHeal:
    """An active fault that ends by a call of the function `end`. As a context manager, it ends with the block."""

    def __init__(self, end: Callable[[], None]) -> None:
        self._end: Callable[[], None] | None = end

    def heal(self) -> None:
        """End the fault. A second call does nothing."""
        end, self._end = self._end, None
        if end is not None:
            end()

    def __enter__(self) -> "EndsOnHeal":
        return self

    def __exit__(self, *_: object) -> None:
        self.heal()


class WatchedFault(EndsOnHeal):
    """An active fault that ends by a call of `end`, and whose `has_bitten` asks the observer."""

    def __init__(self, end: Callable[[], None], has_bitten: Callable[[], bool]) -> None:
        super().__init__(end)
        self.has_bitten = has_bitten


class RepeatingFault(EndsOnHeal):
    """An active fault that repeats in a thread of its own until it is healed."""

    def __init__(
        self,
        repeat: Callable[[threading.Event], None],
        end: Callable[[], None],
        has_bitten: Callable[[], bool] = lambda: True,
    ) -> None:
        """Start the thread.

        Args:
            repeat: called again and again. Its argument is an event that is set at the heal; `repeat` must then return
                soon.
            end: called at the heal, when the thread has ended.
            has_bitten: asks the observer whether the fault has bitten yet.
        """
        super().__init__(self._stop)
        self._repeat, self._at_end = repeat, end
        self.has_bitten = has_bitten
        self._healing = threading.Event()
        self._error: ConsensusError | None = None
        self._thread = threading.Thread(target=self._run, name="repeating-fault", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            while not self._healing.is_set():
                self._repeat(self._healing)
        except ConsensusError as error:
            self._error = error

    def _stop(self) -> None:
        self._healing.set()
        self._thread.join()
        self._at_end()
        if self._error is not None:
            raise self._error


@dataclass(eq=False)
class ReceiptBuilder:
    """Builds the receipt of a fault that is in force. The time of the receipt begins when the builder is made.

    So a fault makes it before it does anything. `evidence` is what the observer saw; the other fields are those of
    `Receipt`.
    """

    fault: str
    nodes_down: tuple[NodeId, ...] = ()
    links_cut: tuple[Link, ...] = ()
    links_disturbed: tuple[Link, ...] = ()
    late_s: float = 0.0
    loss: float = 1.0
    bit: bool = False
    evidence: dict[str, Any] = field(default_factory=dict)
    began_ns: int = field(default_factory=time.monotonic_ns)
    ended_ns: int | None = None

    def end(self) -> None:
        """Note the end of the fault: everything that the receipt covers is whole again. A second call does nothing."""
        if self.ended_ns is None:
            self.ended_ns = time.monotonic_ns()

    def build(self) -> Receipt:
        """Return the receipt as it is now."""
        return Receipt(
            self.fault,
            self.began_ns,
            self.ended_ns,
            self.bit,
            self.nodes_down,
            self.links_cut,
            self.links_disturbed,
            dict(self.evidence),
            self.late_s,
            self.loss,
        )


@dataclass
class LinkFault:
    """An active fault on links. It ends with `heal`, or with the block of a `with`.

    `rules` are the rules in the proxy that make the fault. If they are for some types of messages only, none may come: such a
    fault need not bite, and `forget` takes back the receipt of one that has done nothing. With `waits` it lasts longer all the
    same, so that it may bite.
    """

    rules: list[InstalledRule]
    receipt: ReceiptBuilder
    forget: Callable[[ReceiptBuilder], None] | None = None
    waits: bool = False
    crossed: Callable[[], Mapping[Link, int]] | None = None
    """Returns how many messages have crossed each link that is cut; None if the rules let some pass, or count it themselves."""
    healed: bool = field(default=False)

    def has_bitten(self) -> bool:
        """Return whether the proxy has acted on a message yet, or need not."""
        return (
            (self.forget is not None and not self.waits)
            or self.receipt.bit
            or any(rule.total(fate) for rule in self.rules for fate in _BITTEN_FATES)
        )

    def heal(self) -> None:
        """Remove the rules, and put the proxy's counters into the receipt. A second call does nothing."""
        if self.healed:
            return
        self.healed = True
        counts: dict[str, Counter[str]] = {}
        if self.crossed is not None:
            for (sender, receiver), number in self.crossed().items():
                counts[f"{sender}->{receiver}"] = Counter({"crossed": number})
        for rule in self.rules:
            rule.remove()
            for (sender, receiver), of_link in rule.counts().items():
                if of_link:
                    counts.setdefault(f"{sender}->{receiver}", Counter()).update(of_link)
        self.receipt.evidence["by link"] = counts
        leaks = [
            f"{name} {of_link[leak]} {leak}" for name, of_link in counts.items() for leak in _LEAKS if of_link[leak]
        ]
        if leaks:
            self.receipt.evidence[LEAKED] = leaks
        self.receipt.bit = not leaks and any(of_link[fate] for of_link in counts.values() for fate in _BITTEN_FATES)
        self.receipt.end()
        if self.forget is not None and not self.receipt.bit:
            self.forget(self.receipt)

    def __enter__(self) -> "LinkFault":
        return self

    def __exit__(self, *_: object) -> None:
        self.heal()
