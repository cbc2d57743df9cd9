"""`System`: what is under test if it is not a cluster of our own nodes, and what the rest of the harness needs of it.

Theory of operation
-------------------
Faults, the nemesis, sessions and the live page see of any cluster a `Target` (`harness/faults/target.py`): a `NodeSet`, the rules
of a network, and receipts. `Experiment` is one on our own nodes, `SystemRun` one on others. What makes others run is a `System`.

A `System` is a description: plain data that stands in `plan.json` under "system", so that `replay`, `shrink` and `campaign` start
the same thing again. `open` makes a `RunningSystem` of it, for one run in one folder. `harness.runs.system_run.SystemRun` holds
it, records what clients ask, and gives it to the nemesis, the faults and the judges, as `Experiment` does with our own nodes.

| what the harness has to know | where it is answered |
|---|---|
| how nodes start, and how they find each other | `RunningSystem.start`, and `SystemNodes.restart` for one that was down |
| how one knows that a node is ready | both return when every node is ready, and raise `BootFailed` otherwise |
| how a client asks | `RunningSystem.begin` |
| what stands between the nodes | `RunningSystem.network`, whose rules the faults of the families "cut" and "link" use |
| what its disk and its log are | `SystemNodes.disk` and `SystemNodes.log` |
| which faults can strike it | `System.faults` |

Rules
-----
1. The proof of a fault comes from an observer other than its injector: the kernel for processes, counters for links.
2. `end` leaves no process behind, also none that a node has started itself.
3. Whatever a node does against the rules of its kind (it ends by itself, it writes what nobody can read) is a line of `failures`.
   A run with such a line is invalid: nothing of that kind counts as a pass.
4. The outcome of a call is definite only if the answer says so. A call without an answer in time is `NotKnown`.
"""

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, Final, NamedTuple, Protocol

from cluster.clients.outcomes import Outcome
from cluster.node_set import AnyProcess, NodeSet
from harness.network.rule_installer import RuleInstaller
from harness.workloads.planned_call import PlannedCall
from harness.workloads.system_workload import SystemWorkload
from node.contract import Algorithm, BadInput, Message, NodeId, Request, Value


class NotOurs(Algorithm):
    """Stands in evidence for whatever nodes run that are not ours: no message and no disk of theirs can be read here."""

    def propose(self, request: Request, value: Value) -> None:
        raise NotImplementedError

    def query(self, request: Request) -> None:
        raise NotImplementedError

    def receive(self, sender: NodeId, message: Message) -> None:
        raise NotImplementedError


class BadSystem(BadInput):
    """The system under test cannot be started, or is described wrongly. The message says what to do. Nothing was started."""


#: The most seconds within which a system can say that it answers, or that its nodes are ready.
WITHIN_S_MAX: Final = 600.0


class LinkEvent(NamedTuple):
    """Something on a link that a drawn step may wait for: the nth of a type, with n up to `nth_most`."""

    message: str
    nth_most: int
    to_clients: bool = False
    """Whether nodes send it to clients, and not to each other."""


class SystemCall(Protocol):
    """A call under way. Its outcome comes by `RunningSystem.poll`, at its deadline at the latest."""

    @property
    def outcome(self) -> Outcome | None:
        """Ok, refused or unknown; None while the call waits for its answer."""


class SystemNodes(NodeSet, ABC):
    """The nodes' processes, as faults and the nemesis use them. Signals go to a node, and to all that it has started."""

    nodes: tuple[NodeId, ...] = ()
    processes: Mapping[NodeId, AnyProcess] = MappingProxyType({})
    keeps_log: ClassVar[bool] = False

    @abstractmethod
    def disk(self, node: NodeId) -> Path:
        """Return the folder in which a node keeps what is to outlive its process."""

    @abstractmethod
    def log(self, node: NodeId) -> Path:
        """Return the file of what a node has said to people."""

    def status(self, timeout_s: float = 1.0) -> dict[NodeId, dict[str, Any]]:
        """Return nothing: such nodes report no roles. A fault that asks for a leader finds none."""
        return {}


class RunningSystem(ABC):
    """A system in one run, from `start` to `end`."""

    cluster: SystemNodes
    network: RuleInstaller
    message_types: Collection[str] | None = None
    """The types of messages that nodes can send each other; None if they are not known before they come."""

    @abstractmethod
    def start(self) -> None:
        """Start every node, and return when all are ready.

        Raises:
            BootFailed: one did not become ready. The message has its last output and what to do. Nothing is left running.
        """

    @abstractmethod
    def end(self) -> None:
        """End every process, and close the records. A second call does nothing."""

    @abstractmethod
    def begin(self, client: str, call: PlannedCall) -> SystemCall:
        """Begin a call of a client, without waiting for the answer. A client has one call open at a time.

        Args:
            client: the client's name, which is never used again after a call of unknown outcome.
            call: what to ask. If it names no node, any may answer.
        """

    @abstractmethod
    def address(self, node: NodeId) -> str | None:
        """Return where clients reach a node, through the network that has the faults; None if only the harness can."""

    @abstractmethod
    def poll(self) -> None:
        """Take in the answers that have come, and end the calls whose time is up. Does not wait."""

    @property
    @abstractmethod
    def failures(self) -> list[str]:
        """A sentence for each thing that a node has done against the rules, with what it has said last (rule 3)."""

    @property
    def notes(self) -> dict[str, Any]:
        """Further facts for the notes of the run's results."""
        return {}

    def messages(self) -> list[dict[str, Any]]:
        """Return the lines of the record of messages, after `end`; empty if the system's messages cannot be read."""
        return []


class System(ABC):
    """What is under test, as data."""

    kind: ClassVar[str]
    """What stands under "kind" in plans."""
    faults: ClassVar[tuple[str, ...]]
    """The faults, by name or family, that can strike it, and that are drawn if a user names none."""
    more_faults: ClassVar[tuple[str, ...]] = ()
    """Those that can strike it, too, and are drawn only if a user names them."""
    values_are_texts: ClassVar[bool] = False
    """Whether its clients write and read texts, and no other values."""
    message_types: ClassVar[Collection[str] | None] = None
    """What a step of a plan can wait for; None if that is not known before it comes."""

    @property
    def answers_within_s(self) -> float | None:
        """Within how many seconds it says that it answers while a majority is up and connected; None if it does not say."""
        return None

    @property
    @abstractmethod
    def name(self) -> str:
        """A short name for people and for folders: letters, digits, dots and dashes."""

    @abstractmethod
    def to_json(self) -> dict[str, Any]:
        """Return it as data for `plan.json`, with its `kind`."""

    @abstractmethod
    def check(self) -> None:
        """Raise BadSystem if it cannot be started on this machine, with what to do."""

    @abstractmethod
    def workload(self, name: str | None) -> type[SystemWorkload]:
        """Return the workload of this name, or the usual one. Raises UnknownWorkload, which names those that it can serve."""

    @abstractmethod
    def events(self, workload: str) -> tuple[LinkEvent, ...]:
        """Return what drawn steps wait for while clients do what the workload says."""

    @abstractmethod
    def open(self, folder: Path, nodes: tuple[NodeId, ...], seed: int, workload: SystemWorkload) -> RunningSystem:
        """Prepare a run in a folder that exists and is empty. Nothing is started yet."""
