"""Schedules as files: `explore` and `simulate` write them, and `consensus replay` runs them on real processes.

Theory of operation
-------------------
A run folder of `explore` or `simulate` holds `schedule.json`: the algorithm, the number of nodes, the fault model
(`oddities` in the file), the violations, a description of each step for people (`story`), and the steps as
`harness.virtual.steps.to_json` writes them.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Self

from harness.records.jsonable import BadFile, read_document
from harness.records.results import RecordedVerdict, RunResults
from harness.records.run_files import RunFiles
from harness.virtual.cluster import VirtualCluster
from harness.virtual.explorer import Exploration
from harness.virtual.fault_model import SOUND, FaultModel
from harness.virtual.judge import Violation
from harness.virtual.simulator import SimulationReport
from harness.virtual.steps import (
    CrashInTurn,
    DoubtDisk,
    Retire,
    Step,
    Turn,
    from_json,
    kind_name,
    to_json,
)
from node.algorithms import BUILT_IN, file_named_for, load_algorithm
from node.contract import Algorithm, BadInput
from node.wording import count

SCHEMA: Final = 1
_NODES_MAX: Final = 15
#: By the name of a step that only a virtual node takes: why a real one cannot be made to take it.
_ONLY_VIRTUAL: Final[Mapping[str, str]] = {
    kind_name(
        Turn
    ): "it gives a node several inputs in one turn, and a real node takes in one at a time when it is stepped",
    kind_name(DoubtDisk): "a disk ends in a commit that does not check, and a real disk is not damaged here",
    kind_name(Retire): "a node is asked to hand over, and a stepped node is not",
    kind_name(CrashInTurn): "a node crashes in the middle of a turn, and a real node is killed between two of them",
}
_OWN_MESSAGES_WAIT: Final = "it delays messages from a node to itself, and such messages never leave a real node"


class BadSchedule(BadInput):
    """A file holds no schedule, or a step of it cannot happen. The message names the step and the reason."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """The steps of a cluster, and the violations that they show."""

    algorithm: str
    nodes: int
    steps: tuple[Mapping[str, Any], ...]
    fault_model: FaultModel = SOUND
    violations: tuple[Violation, ...] = ()
    story: tuple[str, ...] = ()
    """A description of each step, for people."""
    found_by: str = ""
    """`explore`, `simulate`, `twin`, or empty."""

    @classmethod
    def explored(cls, report: Exploration, algorithm: type[Algorithm]) -> Self:
        """Return the schedule that an exploration has found."""
        bounds = report.bounds
        return cls._made("explore", algorithm, bounds.nodes, bounds.fault_model, report)

    @classmethod
    def simulated(cls, report: SimulationReport, algorithm: type[Algorithm]) -> Self:
        """Return the schedule that simulations have found, after it was shrunk."""
        assert report.shrunk is not None
        return cls._made("simulate", algorithm, report.settings.nodes, report.settings.fault_model, report.shrunk)

    @classmethod
    def _made(cls, by: str, algorithm: type[Algorithm], nodes: int, fault_model: FaultModel, found: Any) -> Self:
        steps = tuple(to_json(step) for step in found.schedule)
        return cls(name_of(algorithm), nodes, steps, fault_model, tuple(found.violations), tuple(found.story), by)

    @property
    def members(self) -> tuple[str, ...]:
        """The nodes' names."""
        return tuple(f"n{number}" for number in range(1, self.nodes + 1))

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of its violations, as `harness.virtual.judge` names them."""
        return tuple(dict.fromkeys(violation.kind for violation in self.violations))

    def why_no_replay(self) -> str | None:
        """Return why real processes cannot follow the schedule, or None if they can."""
        steps = {str(step.get("step")) for step in self.steps}
        reason = next((text for name, text in _ONLY_VIRTUAL.items() if name in steps), None)
        return _OWN_MESSAGES_WAIT if self.fault_model.own_messages_wait else reason

    def cluster(self) -> VirtualCluster:
        """Return a virtual cluster that has taken no step yet."""
        return VirtualCluster(load_algorithm(self.algorithm), self.members, self.fault_model)

    def read(self, cluster: VirtualCluster) -> Iterator[Step]:
        """Yield each step. The caller applies it to `cluster` before it asks for the next.

        Raises:
            BadSchedule: a step cannot happen in the state that `cluster` has then.
        """
        for number, plain_step in enumerate(self.steps, 1):
            try:
                yield from_json(plain_step, cluster.possible())
            except (KeyError, ValueError, TypeError) as error:
                raise BadSchedule(f"step {number}: {error.args[0] if error.args else error}") from None

    def decoded(self) -> list[Step]:
        """Return every step.

        Raises:
            BadSchedule: a step cannot happen after those before it.
        """
        return [done.step for done in self.played().happened]

    def played(self) -> VirtualCluster:
        """Return a virtual cluster that has taken every step.

        Raises:
            BadSchedule: a step cannot happen after those before it.
        """
        cluster = self.cluster()
        for step in self.read(cluster):
            cluster.apply(step)
        return cluster

    # --- its file ---------------------------------------------------------------------------------------------------

    def to_json(self) -> dict[str, Any]:
        """Return the file's content."""
        return {
            "schema": SCHEMA,
            "algorithm": self.algorithm,
            "nodes": self.nodes,
            "oddities": asdict(self.fault_model),
            "found_by": self.found_by,
            "violations": [asdict(violation) for violation in self.violations],
            "story": list(self.story),
            "steps": [dict(step) for step in self.steps],
        }

    def save(self, path: Path) -> None:
        """Write the schedule to `path`, with one line for each step."""
        data = self.to_json()
        story, steps = (_lines(data.pop(name)) for name in ("story", "steps"))
        head = ",\n".join(f"  {json.dumps(name)}: {json.dumps(item)}" for name, item in data.items())
        path.write_text(f'{{\n{head},\n  "story": {story},\n  "steps": {steps}\n}}\n', encoding="utf-8")

    def save_found(self, folder: Path) -> None:
        """Write the schedule and its violations to `folder`, as a run that `consensus runs` and `consensus replay` find."""
        folder.mkdir(parents=True, exist_ok=True)
        files = RunFiles(folder)
        self.save(files.schedule)
        RunResults(
            algorithm=self.algorithm,
            nodes=self.members,
            seed=0,
            about={"found_by": self.found_by},
            verdicts={found.kind: RecordedVerdict("invalid", found.text) for found in reversed(self.violations)}
            or {"schedule": RecordedVerdict("valid", f"no promise is broken in {count(len(self.steps), 'step')}")},
            notes={"story": list(self.story)},
        ).save(files.results)


def _lines(items: Sequence[Any]) -> str:
    inside = ",\n".join(f"    {json.dumps(item, ensure_ascii=False)}" for item in items)
    return f"[\n{inside}\n  ]" if items else "[]"


def name_of(algorithm: type[Algorithm]) -> str:
    """Return the name by which `load_algorithm` finds a class, also in another process that runs in the same folder."""
    module, name = algorithm.__module__, algorithm.__qualname__
    for short, known in BUILT_IN.items():
        package, _, cls = known.partition(":")
        if cls == name and f"{module}.".startswith(f"{package}."):  # a log's class stands in a module of its package
            return short
    return f"{file_named_for(module) or module}:{name}"


def load(path: Path) -> Schedule:
    """Read a schedule.

    Raises:
        BadSchedule: the file cannot be read, or holds no schedule. Whether the steps can happen is checked by
            `Schedule.decoded`.
    """
    try:
        data = read_document(path)
    except BadFile as error:
        raise BadSchedule(str(error)) from error
    match data:
        case {
            "schema": int(schema),
            "algorithm": str(algorithm),
            "nodes": int(nodes),
            "steps": [*steps],
        } if schema == SCHEMA and 1 <= nodes <= _NODES_MAX and _are_maps(steps):
            return Schedule(
                algorithm,
                nodes,
                tuple(steps),
                _fault_model(path, data.get("oddities", {})),
                tuple(_violations(path, data.get("violations", []))),
                tuple(str(line) for line in data.get("story", [])),
                str(data.get("found_by", "")),
            )
    raise BadSchedule(
        f"{path} is no schedule: it needs schema {SCHEMA}, an algorithm, nodes (1 to {_NODES_MAX}) and a list of steps, as in "
        "the files that `consensus explore` writes"
    )


def _are_maps(items: Iterable[Any]) -> bool:
    return all(isinstance(item, dict) for item in items)


def _fault_model(path: Path, data: Any) -> FaultModel:
    try:
        return FaultModel(**data)
    except TypeError:
        known = ", ".join(asdict(SOUND))
        raise BadSchedule(f"{path}: oddities must be a map of {known}, and is {data!r}") from None


def _violations(path: Path, data: Any) -> Iterator[Violation]:
    for each in data if isinstance(data, list) else [data]:
        match each:
            case {"kind": str(kind), "text": str(text)}:
                yield Violation(kind, text)
            case _:
                raise BadSchedule(f"{path}: a violation must have a kind and a text, and is {each!r}")
