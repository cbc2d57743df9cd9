"""A system that is not ours, by the command line: `consensus up --system FILE`, or `consensus up ./raft.py`.

Rules
-----
1. A session is one run, from `up` to `down`, with nodes of its own: the next `up` begins anew. Its run folder is made at `up`.
2. `system.json` in the folder says what is up, for verbs that read no supervisor, such as `consensus logs`.
3. With a workload, clients ask from `up` to `down`, and the run is judged. Without, only what nodes did by themselves is.
"""

import contextlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, Self

from cluster.errors import Mistake, NotUp
from cluster.folder_mark import MARK_NAME, SPEC_NAME, SUPERVISOR_LOG_NAME, FolderMark, check_no_copy
from cluster.safe_output import safe_stderr
from cluster.supervisor import Supervisor
from harness.records.jsonable import read_document
from harness.records.run_folders import BY_HAND, SYSTEM_NAME, new_folder
from harness.runs.held_system import HeldSystem
from harness.runs.link_verbs import LinkVerbs
from harness.runs.plan import Plan
from harness.runs.progress import ShowLine
from harness.runs.session import HandSession
from harness.runs.system_live_verbs import SystemLiveVerbs
from harness.systems.registry import check_strikes, system_from
from harness.systems.system import System
from node.contract import NodeId


@dataclass(frozen=True)
class SystemSpec:
    """What is up, or was: the content of `system.json`."""

    system: System
    nodes: tuple[NodeId, ...]
    seed: int
    workload: str | None
    """What clients ask from `up` to `down`; None if none does."""
    folder: Path
    """The run folder."""

    @classmethod
    def new(cls, root: Path, system: System, nodes: tuple[NodeId, ...], seed: int, workload: str | None) -> Self:
        """Describe a session in the folder `root`, with a new run folder.

        Raises:
            Mistake: the folder holds a cluster of our own nodes, or is a copy.
            BadSystem, UnknownWorkload: it cannot be started.
        """
        if (root / SPEC_NAME).exists():
            raise Mistake(f"{root} holds a cluster of our own nodes: --dir names another folder")
        check_no_copy(root)
        system.check()
        name = workload and system.workload(workload).name
        found = cls(system, nodes, seed, name, new_folder(root, f"{BY_HAND}{system.name}"))
        found.save(root)
        FolderMark.of(root, found.cluster).save(root)
        return found

    @property
    def cluster(self) -> str:
        """The name of the session, which no other one has."""
        return self.folder.name

    def save(self, root: Path) -> None:
        """Write the file."""
        data = {
            "system": self.system.to_json(),
            "nodes": list(self.nodes),
            "seed": self.seed,
            "workload": self.workload,
            "folder": str(self.folder.absolute()),
        }
        (root / SYSTEM_NAME).write_text(json.dumps(data) + "\n")

    @classmethod
    def load(cls, root: Path) -> Self:
        """Read the file. Raises NotUp if there is none, BadFile, BadSystem."""
        if not (root / SYSTEM_NAME).exists():
            raise NotUp(f"there is no cluster in {root}: start one with `consensus up`")
        data = read_document(root / SYSTEM_NAME)
        nodes = tuple(data["nodes"])
        return cls(system_from(data["system"]), nodes, data["seed"], data["workload"], Path(data["folder"]))

    def log(self, node: NodeId) -> Path:
        """Return the file of what a node has said."""
        return self.folder / "logs" / f"{node}.log"


class SystemSession(HandSession):
    """What the supervisor does for the command line."""

    def __init__(self, held: HeldSystem, spec: SystemSpec) -> None:
        super().__init__(held.run)
        self._held, self._spec = held, spec

    def system_verbs(self) -> dict[str, Callable[..., Any]]:
        """Return every request of the command line that is not about processes."""
        links = LinkVerbs(self._held.run, self).verbs()
        page = SystemLiveVerbs(self._held, self).verbs()
        refused = ("where", "call_began", "call_ended", "add_learner", "remove_node")
        return {**links, **page, "inject": self.inject, **dict.fromkeys(refused, self._refuse)}

    def _refuse(self, **_: object) -> NoReturn:
        name = self._spec.system.name
        addresses = [f"{node} at {self.address(node)}" for node in self._spec.nodes if self.address(node)]
        how = f"ask {', '.join(addresses)}" if addresses else "`consensus up --workload NAME` lets clients ask them"
        raise Mistake(
            f"the nodes of {name} are not ours, so they take none of our calls: {how}. For them are live, ps, kill, suspend, "
            "resume, restart, partition, isolate, link, links, inject, heal, logs and down"
        )

    def address(self, node: NodeId) -> str | None:
        """Return where clients reach a node; None if only the harness can."""
        return self._held.run.system.address(node)

    def inject(self, name: str, arguments: dict[str, Any]) -> dict[str, Any]:
        """Inject a fault: see `HandSession.inject`. Raises BadFault, too, if it cannot strike the system."""
        check_strikes(self._spec.system, [name])
        return super().inject(name, arguments)

    def _plan(self) -> Plan:
        time_s, steps = self._steps.until_now()
        workload = self._spec.workload or self._held.workload.name
        spec = self._spec
        return Plan(spec.system.name, spec.nodes, spec.seed, workload, time_s, steps, system=spec.system)

    def _failed(self, _node: NodeId) -> bool:
        """Return True: a node that is down has ended by itself. The verdict "contract" says so, if no fault of ours did it."""
        return True

    def judge(self, _members: tuple[NodeId, ...] = ()) -> Path:
        self._held.judge(by_hand=True)
        return self._run.folder


def serve_system(root: Path, *, show: ShowLine, ready: Callable[[list[str]], None]) -> None:
    """Launch what the folder's `system.json` describes, and serve the command line until a request or a signal stops it.

    The arguments are those of `harness.runs.serve.serve`. Raises BootFailed; nothing is left running then.
    """
    with safe_stderr():
        spec = SystemSpec.load(root)
        held = HeldSystem(
            spec.folder, spec.system, spec.nodes, workload=spec.workload, seed=spec.seed, asks=spec.workload is not None
        )
        with held, contextlib.closing(SystemSession(held, spec)) as session:

            def trouble() -> str | None:
                session.notice_signals_from_outside()
                return session.trouble() or None

            supervisor = Supervisor(
                held.run.cluster,
                session.system_verbs(),
                show,
                trouble,
                session,
                root=root,
                marker=SYSTEM_NAME,
                address=session.address,
            )
            supervisor.run(lambda: ready([]))
        kept = session.judge()
        show(f"the calls and faults of this session: consensus report {kept.name}")


def forget_system(root: Path) -> None:
    """Remove from a folder what such sessions have made there, except their run folders."""
    for name in (SYSTEM_NAME, SUPERVISOR_LOG_NAME, MARK_NAME):
        (root / name).unlink(missing_ok=True)
