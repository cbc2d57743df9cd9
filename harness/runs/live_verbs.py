"""The requests of the live page about a session by hand: `look` shows what is new, and messages that are held go one by one.

Theory of operation
-------------------
`look` is asked many times a second. It returns how the nodes' processes are, the receipts that have changed, the latest messages,
those that are held, and where the session's history is. It asks no node: the page does that itself, at the addresses that `look`
names, so that a node that hangs holds up no request of the command line.

`deliver`, `lose` and `repeat` decide what becomes of one message that a fault holds. `end` ends one fault, where `heal` ends all.
A fault of this module is one of the session: it has its receipt, and stands in the plan.
"""

import time
from collections.abc import Callable
from typing import Any

from harness.network.rule_installer import RuleInstaller
from harness.network.switchboard import Seen
from harness.runs.run_by_hand import RunByHand
from harness.runs.session import HandSession


class LiveVerbs:
    """What the live page asks of `run`, as acts of `session`."""

    def __init__(self, run: RunByHand, session: HandSession) -> None:
        self._run, self._session = run, session

    def trouble(self) -> str | None:
        """Notice what other programs did to the nodes, and return what is wrong with the proxy or the run's files, if so."""
        self._session.notice_signals_from_outside()
        return "; ".join(filter(None, (self._run.network.trouble(), self._session.trouble()))) or None

    def verbs(self) -> dict[str, Callable[..., Any]]:
        """Return each request by its name."""
        return {
            "look": self.look,
            "deliver": self.deliver,
            "lose": self.lose,
            "repeat": self.repeat,
            "end": self._session.end_fault,
        }

    def look(self, after: int, since_ns: int, most: int) -> dict[str, Any]:
        """Return what is new.

        Args:
            after: the `next` of the last look; 0 at first.
            since_ns: the `time` of the last look; 0 at first.
            most: how many messages to return at most.

        Returns:
            `time`: now, by the clock of all records. `folder`: the run folder, or None if it has not been made. `nodes`: a row
            for each, with its process and address. `faults`: the receipts that are open, or have ended since. `in_force`: what
            `end` can end, each with its number. `trouble`: what is wrong, or None. And what the proxy shows: see
            `harness.network.switchboard.Seen`.
        """
        trouble = self.trouble()
        seen = look_at_run(self._run, after, since_ns, most)
        return {**seen, "in_force": self._session.faults_in_force(), "trouble": trouble}

    def deliver(self, rule: str, index: int) -> None:
        """Deliver one message that a rule holds. Raises NetworkError if the rule does not hold it any more."""
        self._run.network.request("release_one", rule=rule, index=index)

    def lose(self, rule: str, index: int) -> None:
        """Lose one message that a rule holds. Raises as `deliver`."""
        self._run.network.request("discard_one", rule=rule, index=index)

    def repeat(self, rule: str, index: int) -> None:
        """Deliver a copy of one message that a rule holds, and go on holding it. Raises as `deliver`."""
        self._run.network.request("repeat", rule=rule, index=index)


def look_at_run(run: RunByHand, after: int, since_ns: int, most: int) -> dict[str, Any]:
    """Return what is new in a run, as `LiveVerbs.look` does, which adds `in_force` and `trouble`. Any thread may look."""
    now_ns = time.monotonic_ns()
    nodes = [
        {
            "node": node,
            "pid": process.pid,
            "state": str(process.look()),
            "how": "; ".join(filter(None, (process.describe(), process.why_it_ended))),
            "boots": process.ready.incarnation if process.ready else 0,
            "address": process.ready.report.get("address") if process.ready else None,
        }
        for node, process in list(run.cluster.processes.items())
    ]
    receipts = [receipt for receipt in run.faults.receipts if receipt.ended_ns is None or receipt.ended_ns >= since_ns]
    return {
        "time": now_ns,
        "folder": str(run.folder) if run.has_history else None,
        "nodes": nodes,
        "faults": [receipt.to_json() for receipt in receipts],
        **_look_at_messages(run.network, after, most),
    }


def _look_at_messages(network: RuleInstaller, after: int, most: int) -> Seen:
    """Return what the proxy shows; nothing if it cannot answer, so that no other request waits for it."""
    if network.trouble():
        return {"lines": [], "left_out": 0, "next": after, "held": [], "held_count": 0}
    return network.look(after, most)
