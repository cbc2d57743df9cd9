"""What opens the virtual twin on the live page: for `consensus live --virtual`, and for schedules and mutants."""

from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from cluster.errors import Mistake
from harness.cli.convention import print_stderr
from harness.records.run_files import RunFiles
from harness.records.run_folders import NoSuchRun, find_run
from node.algorithms import UnknownAlgorithm, load_algorithm
from node.wording import count

if TYPE_CHECKING:
    from harness.page.server import Do
    from harness.page.view import PageView
    from harness.replay.schedule import Schedule
    from harness.virtual.fault_model import FaultModel
    from node.contract import Algorithm

_NODES: Final = 3


class WantedTwin(NamedTuple):
    """What a twin is to be of. `has_story`: a schedule is to be looked for in which the algorithm breaks a promise."""

    algorithm: "type[Algorithm]"
    nodes: int
    fault_model: "FaultModel"
    schedule: "Schedule | None" = None
    has_story: bool = False


def find_twin(root: Path, name: str | None, nodes: int | None, *, virtual: bool) -> WantedTwin | None:
    """Return the twin that a name stands for: of a schedule, a mutant, or with `virtual` of any algorithm; or None.

    Raises:
        BadSchedule: the file is no schedule.
        Mistake: there is no schedule of the run, or it is of another number of nodes.
        UnknownAlgorithm: `virtual`, and there is neither an algorithm, nor a mutant or a schedule of this name.
    """
    file = _schedule_file(root, name, virtual=virtual)
    if file is not None:
        from harness.replay.schedule import load  # noqa: PLC0415 - for schedules alone

        schedule = load(file)
        if nodes not in (None, schedule.nodes):
            raise Mistake(f"the schedule is of {count(schedule.nodes, 'node')}: leave out --nodes")
        return WantedTwin(load_algorithm(schedule.algorithm), schedule.nodes, schedule.fault_model, schedule)
    if not virtual and (name is None or not _is_mutant(name)):
        return None
    from harness.cli.searched import find_algorithm  # noqa: PLC0415 - for twins alone

    name = name or "paxos"
    found = find_algorithm(name, ())
    return WantedTwin(found.algorithm, nodes or _NODES, found.fault_model, has_story=_is_mutant(name))


def _schedule_file(root: Path, name: str | None, *, virtual: bool) -> Path | None:
    """Return the file of the schedule that a name stands for. A run on real processes has one, too, and is opened as a run."""
    if name is None or _is_algorithm(name):
        return None
    if Path(name).is_file():
        return Path(name)
    if _is_mutant(name):
        return None
    try:
        files = RunFiles(find_run(root, name))
    except NoSuchRun:
        return None
    if files.schedule.is_file() and (virtual or not files.history.is_file()):
        return files.schedule
    if virtual:
        raise Mistake(f"{files.folder} has no schedule to open in virtual time: leave out --virtual to see the run")
    return None


def _is_algorithm(name: str) -> bool:
    try:
        load_algorithm(name)
    except UnknownAlgorithm:
        return False
    return True


def _is_mutant(name: str) -> bool:
    """Return whether this is the name of a mutant, and not of an algorithm: naive failover is in both lists."""
    if _is_algorithm(name):
        return False
    from harness.mutants.catalogue import MUTANTS  # noqa: PLC0415 - takes a while

    return any(mutant.name == name for mutant in MUTANTS)


def open_twin(root: Path, wanted: WantedTwin) -> "tuple[PageView, Do]":
    """Return the view of a twin, and its acts."""
    from harness.page.twin_page import VirtualTwin  # noqa: PLC0415 - for the page alone
    from harness.replay.story import find_story  # noqa: PLC0415

    schedule = wanted.schedule
    if wanted.has_story:
        schedule = find_story(wanted.algorithm, wanted.nodes, wanted.fault_model)
        if schedule is None:
            print_stderr(
                "the explorer has found no schedule in a few seconds in which it breaks a promise: look yourself"
            )
    twin = VirtualTwin(wanted.algorithm, wanted.nodes, root, wanted.fault_model)
    if schedule is not None:
        twin.open(schedule)
    return twin.view, twin.do
