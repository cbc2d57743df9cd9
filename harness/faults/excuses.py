"""What a fault excuses, as data: each fault of the catalogue states its `Excuse`, and its receipt carries it to the judges.

Theory of operation
-------------------
A fault excuses what it makes impossible and nothing more. There are five kinds:

| kind | what no judge may count on |
|---|---|
| nothing | - |
| down | the fault's nodes |
| cut | anything over the fault's links |
| late | a message over the fault's links sooner than so many seconds later |
| lossy | more than a share of the messages over the fault's links; they may be late as well |

Over late or lossy links an answer is owed all the same, later: `harness.records.receipts.allowance_s` says by how much. The
receipt has the kind resolved: `nodes_down`, `links_cut`, or `links_disturbed` with `late_s` and `loss`.

An error that a node logs of its own breaks the contract, whatever else happened, unless the excuse says that the fault `fails`
its nodes: a wrong clock or a slow disk explains no exception, and a disk that has failed ends a node in order.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, NamedTuple


class Kind(StrEnum):
    """What kind of thing a fault makes impossible."""

    NOTHING = "nothing"
    DOWN = "down"
    CUT = "cut"
    LATE = "late"
    LOSSY = "lossy"


class Disturbance(NamedTuple):
    """How late messages over a link are at most, in seconds, and which share of them is lost, from 0 to 1."""

    late_s: float = 0.0
    loss: float = 0.0


#: Nothing that crosses the links can be counted on.
UNRELIABLE: Final = Disturbance(loss=1.0)
#: Every message arrives, in its time.
HARMLESS: Final = Disturbance()


@dataclass(frozen=True, slots=True)
class Excuse:
    """What a fault excuses, and why it is no less."""

    kind: Kind
    because: str
    """Why the fault makes this much impossible, in one clause."""
    late: tuple[str, ...] = ()
    """The arguments of the fault, in seconds, whose sum is the most by which a message is late."""
    times: float = 1.0
    """Multiplies that sum."""
    loss: str | float = 0.0
    """The share of messages that is lost, or the fault's argument that holds it."""
    fails: str = ""
    """Why the fault's nodes may fail with any error of their own, in one clause; empty if they may not."""

    def disturbance(self, arguments: Mapping[str, Any]) -> Disturbance:
        """Return what the fault does to links with these arguments."""
        late_s = self.times * sum(float(arguments[name]) for name in self.late)
        return Disturbance(late_s, float(arguments[self.loss]) if isinstance(self.loss, str) else self.loss)

    def __str__(self) -> str:
        """Return what it excuses, for people."""
        if self.kind not in (Kind.LATE, Kind.LOSSY):
            what = {"nothing": "nothing", "down": "its nodes", "cut": "its links"}[self.kind]
            return f"{what}, and any error of theirs" if self.fails else what
        late = " + ".join(self.late)
        late = f"{self.times:g} x ({late})" if len(self.late) > 1 and self.times != 1 else late
        late = f"{self.times:g} x {late}" if len(self.late) == 1 and self.times != 1 else late
        parts = [f"messages lost: {self.loss}"] if self.loss else []
        return "; ".join([*parts, *([f"messages late by {late}"] if late else [])])


NO_EXCUSE: Final = Excuse(Kind.NOTHING, "it makes nothing impossible")
