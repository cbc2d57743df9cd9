"""`CommandSystem`: any command that listens on ports, as it stands in a plan: the TOML file that describes it."""

import os
import shutil
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar, Self

from harness.network.stream_rules import BYTE, CONNECTION, EVENTS
from harness.systems.commands.client import load_client
from harness.systems.commands.description import Description, fill, find, read
from harness.systems.commands.running import RunningCommands
from harness.systems.system import BadSystem, LinkEvent, System
from harness.workloads.registry import UnknownWorkload
from harness.workloads.system_registry import system_workload
from harness.workloads.system_workload import SystemWorkload
from node.contract import NodeId
from node.wording import nearest


@dataclass(frozen=True)
class CommandSystem(System):
    """A system that a TOML file describes. `file` is its path, or the name of one that is shipped."""

    kind: ClassVar[str] = "command"
    faults: ClassVar[tuple[str, ...]] = (
        "kill", "suspend", "kill-all", "starve", "rolling-restart",
        "partition", "halves", "isolate", "one-way", "ring",
        "drop", "delay", "jitter", "reset", "half-open", "narrow", "pause-stream",
    )  # fmt: skip
    more_faults: ClassVar[tuple[str, ...]] = (
        "terminate",
        "flapping",
        "hold",
        "corrupt",
        "slow-close",
        "memory-limit",
        "descriptor-limit",
        "file-limit",
    )

    values_are_texts: ClassVar[bool] = True
    message_types: ClassVar[Collection[str]] = EVENTS

    file: str

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Return the system that stands as data in a plan. Raises BadSystem."""
        match data:
            case {"kind": "command", "file": str(file)} if len(data) == 2:
                return cls(file)
        raise BadSystem(f"a system of commands has a file, and nothing else; this is {dict(data)!r}")

    def to_json(self) -> dict[str, Any]:
        path = Path(self.file)
        return {"kind": self.kind, "file": str(path.resolve()) if path.is_file() else self.file}

    @cached_property
    def description(self) -> Description:
        """What the file says. Raises BadSystem."""
        return read(find(self.file))

    @property
    def answers_within_s(self) -> float | None:
        return self.description.answers_within_s

    @property
    def name(self) -> str:
        return self.description.name

    def check(self) -> None:
        described = self.description
        load_client(described.client, described.file.parent)
        how = f": {described.install}" if described.install else ""
        for module in described.needs_modules:
            if find_spec(module) is None:
                raise BadSystem(f"{described.name} needs the Python module {module}, which is not installed here{how}")
        values = {"python": "", "here": described.file.parent}
        program = fill(described.command[0], values)
        for name in (*([program] if program else []), *described.needs):
            found = os.access(name, os.X_OK) if os.sep in name else shutil.which(name) is not None
            if not found and os.sep in name and os.path.isfile(name):
                raise BadSystem(f"{described.name} needs the command {name}, which is not executable: chmod +x {name}")
            if not found:
                raise BadSystem(f"{described.name} needs the command {name}, which is not installed here{how}")

    def workload(self, name: str | None) -> type[SystemWorkload]:
        served = self.description.workloads
        name = name or served[0]
        if name not in served and ":" not in name:
            raise UnknownWorkload(
                f"{self.name} serves no workload {name!r}: {nearest(name, served)}. Its file says which"
            )
        return system_workload(name)

    def events(self, workload: str) -> tuple[LinkEvent, ...]:
        return (LinkEvent(CONNECTION, 3), LinkEvent(BYTE, 5_000))

    def open(self, folder: Path, nodes: tuple[NodeId, ...], seed: int, workload: SystemWorkload) -> RunningCommands:
        described = self.description
        return RunningCommands(described, load_client(described.client, described.file.parent), folder, nodes, seed)
