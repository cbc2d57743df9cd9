"""`MaelstromSystem`: the description of a system of nodes that speak Maelstrom's protocol, as it stands in a plan."""

import os
import re
import shlex
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Final, Self

from harness.faults.trigger import ANY_MESSAGE
from harness.systems.maelstrom.requests import CHANGES, WORKLOADS
from harness.systems.maelstrom.running import RunningMaelstrom
from harness.systems.system import WITHIN_S_MAX, BadSystem, LinkEvent, System
from harness.workloads.registry import UnknownWorkload
from harness.workloads.system_registry import system_workload
from harness.workloads.system_workload import SystemWorkload
from node.contract import NodeId
from node.wording import nearest

#: How long a node may take until it is ready, in seconds.
READY_S: Final = 10.0
DURABLE: Final = "durable"
VOLATILE: Final = "volatile"

#: What runs a program, by its ending.
_RUNS: Final = {".py": "python3", ".pl": "perl", ".js": "node", ".rb": "ruby", ".sh": "sh"}


@dataclass(frozen=True, slots=True)
class MaelstromSystem(System):
    """A command that starts one node.

    Attributes:
        command: its words. Words that name files are absolute paths, since each node runs in a folder of its own.
        disk: what a kill leaves in that folder: "durable" all, "volatile" nothing.
        ready_s: how long a node may take until it is ready, in seconds.
        answers_within_s: within how many seconds its nodes answer while a majority is up and connected; None: that is not asked.
    """

    kind: ClassVar[str] = "maelstrom"
    faults: ClassVar[tuple[str, ...]] = (
        "kill", "suspend", "kill-all", "starve", "rolling-restart",
        "partition", "halves", "isolate", "one-way", "ring", "flapping",
        "drop", "delay", "jitter", "reorder", "hold",
    )  # fmt: skip
    # A request that comes twice, or as other bytes, is more than Maelstrom's own network does to a node.
    more_faults: ClassVar[tuple[str, ...]] = (
        "terminate",
        "kill-at",
        "duplicate",
        "corrupt",
        "memory-limit",
        "descriptor-limit",
        "file-limit",
    )

    command: tuple[str, ...]
    disk: str = DURABLE
    ready_s: float = READY_S
    answers_within_s: float | None = None

    @classmethod
    def of_command(
        cls, text: str, *, volatile: bool = False, ready_s: float = READY_S, answers_within_s: float | None = None
    ) -> Self:
        """Return the system of a command as people write it, such as "./raft.py" or "python3 raft.py". Raises BadSystem."""
        try:
            words = shlex.split(text)
        except ValueError as error:
            raise BadSystem(f"the command {text!r} cannot be read: {error}") from None
        if not words:
            raise BadSystem("the command is empty: write, for example, ./raft.py or 'python3 raft.py'")
        found = cls(_located_words(words), VOLATILE if volatile else DURABLE, ready_s, answers_within_s)
        found.check()
        return found

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Return the system that stands as data in a plan. Raises BadSystem."""
        match data:
            case {"command": [str(), *_] as words, **more} if words[0] and all(isinstance(word, str) for word in words):
                unknown = set(more) - {"kind", "disk", "ready_s", "answers_within_s"}
                disk, ready_s, within_s = (
                    more.get("disk", DURABLE),
                    more.get("ready_s", READY_S),
                    more.get("answers_within_s"),
                )
                answers = within_s is None or (_is_number(within_s) and 0 < within_s <= WITHIN_S_MAX)
                if not unknown and disk in (DURABLE, VOLATILE) and _is_number(ready_s) and ready_s > 0 and answers:
                    return cls(_located_words(words), disk, float(ready_s), within_s)
        raise BadSystem(
            f"a maelstrom system has a command (a list of words), and may have disk ({DURABLE} or {VOLATILE}), ready_s "
            f"(seconds above 0) and answers_within_s (the same, up to {WITHIN_S_MAX:g}); this is {dict(data)!r}"
        )

    def to_json(self) -> dict[str, Any]:
        within = {} if self.answers_within_s is None else {"answers_within_s": self.answers_within_s}
        return {"kind": self.kind, "command": list(self.command), "disk": self.disk, "ready_s": self.ready_s, **within}

    @property
    def name(self) -> str:
        program = next((word for word in reversed(self.command) if os.sep in word), self.command[0])
        return re.sub(r"[^A-Za-z0-9_.-]+", "-", Path(program).name).strip("-.") or "node"

    def check(self) -> None:
        within_s = self.answers_within_s
        if within_s is not None and not 0 < within_s <= WITHIN_S_MAX:
            raise BadSystem(f"answers_within_s is more than 0 and at most {WITHIN_S_MAX:g} seconds, not {within_s:g}")
        program = self.command[0]
        if os.sep not in program:
            if shutil.which(program) is None:
                raise BadSystem(
                    f"there is no command {program!r} here: install it, or write a path such as ./{program}"
                )
            return
        if not Path(program).exists():
            raise BadSystem(f"there is no file {program}: from where is the command to be started?")
        if Path(program).is_dir() or not os.access(program, os.X_OK):
            if Path(program).suffix == ".go":
                name = shlex.quote(Path(program).name)
                built = shlex.quote(Path(program).stem)
                raise BadSystem(f"{program} cannot be executed: build it first, such as by go build -o {built} {name}")
            runs = _RUNS.get(Path(program).suffix, "python3")
            run_by = shlex.quote(shlex.join([runs, Path(program).name]))
            how = f"chmod +x {shlex.quote(program)}, or name what runs it, such as {run_by}"
            raise BadSystem(f"{program} cannot be executed: {how}")

    def workload(self, name: str | None) -> type[SystemWorkload]:
        found = system_workload(name or "lin-kv")
        if found.name.partition("/")[0] not in WORKLOADS:
            raise UnknownWorkload(
                f"Maelstrom's protocol has no requests for the workload {found.name}: {nearest(found.name, WORKLOADS)}"
            )
        return found

    def events(self, workload: str) -> tuple[LinkEvent, ...]:
        changes = CHANGES.get(workload.partition("/")[0], ())
        return (LinkEvent(ANY_MESSAGE, 20), *(LinkEvent(f"{name}_ok", 5, to_clients=True) for name in changes))

    def open(self, folder: Path, nodes: tuple[NodeId, ...], seed: int, workload: SystemWorkload) -> RunningMaelstrom:
        asked = workload.name.partition("/")[0]  # without the level of isolation, which is for the judge
        return RunningMaelstrom(
            folder, nodes, seed, asked, self.command, volatile=self.disk == VOLATILE, ready_s=self.ready_s
        )


def _is_number(item: Any) -> bool:
    return isinstance(item, int | float) and not isinstance(item, bool)


def _located_words(words: Sequence[str]) -> tuple[str, ...]:
    """Return words that name files as absolute paths, and the others as they are. A command that is installed comes first."""
    first, *more = words
    is_installed = os.sep not in first and shutil.which(first) is not None
    return (first if is_installed else _located(first), *map(_located, more))


def _located(word: str) -> str:
    return str(Path(word).absolute()) if Path(word).is_file() else word
