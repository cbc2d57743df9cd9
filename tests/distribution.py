"""Hooks for pytest-xdist: which worker gets which tests, in which order, and what becomes of a worker's tests when it dies.

Rules
-----
1. A module's tests run in one worker, so that they share the module's fixtures.
2. The modules that take longest run first. So no worker is left with a long one when the others have nothing more to do.
3. A test during which its worker has died has failed. pytest-xdist's own `LoadScopeScheduling` would hand it to the next
   worker with the rest of its module, and that one would die of it, too.
4. Several workers may die, one of them while another is being replaced.
"""

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
from xdist.scheduler import LoadScopeScheduling

if TYPE_CHECKING:
    from xdist.workermanage import WorkerController

#: The modules that take longest, in that order, as `pytest --durations` has it.
LONGEST_FIRST: Final = (
    "end_to_end/test_scorecard.py",
    "end_to_end/test_by_hand.py",
    "docs/test_guides.py",
    "end_to_end/test_suite.py",
    "end_to_end/test_live_page.py",
    "test_time_limits.py",  # waits, and leaves the processor to others
    "end_to_end/test_interrupted.py",
    "end_to_end/test_own_mistakes.py",
    "end_to_end/test_folder_by_hand.py",
    "harness/virtual/test_log_simulator.py",
    "harness/virtual/test_simulator.py",
    "harness/virtual/test_log_explorer.py",
    "end_to_end/test_mutants.py",
    "harness/virtual/test_explorer.py",
    "docs/test_tutorial.py",
    "node/algorithms/test_multipaxos_schedules.py",
    "node/algorithms/test_slow_networks.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the modules in the order in which workers get them. The order within a module stays."""
    items.sort(key=lambda item: _place(item.path))


@cache
def _place(module: Path) -> int:
    path = module.as_posix()
    for place, end in enumerate((*LONGEST_FIRST, "end_to_end/")):
        if path.endswith(end) or end in path:
            return place
    return len(LONGEST_FIRST) + 1


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling | None:
    """Have the scheduler below distribute the modules, in the order of the collection."""
    if config.getvalue("dist") != "loadscope":
        return None
    config.option.loadscopereorder = False
    return ModuleScheduling(config, log)


class ModuleScheduling(LoadScopeScheduling):
    """Distributes whole modules, and runs no test twice."""

    def remove_node(self, node: "WorkerController") -> str | None:
        """Take a worker out that has ended. Returns the test that it died of, if it was running one.

        This is the method of `LoadScopeScheduling`, but for rule 3.
        """
        units = self.assigned_work.pop(node)
        pending = [(scope, test) for scope, unit in units.items() for test, is_done in unit.items() if not is_done]
        if not pending:
            return None
        scope, died_of = pending[0]
        units[scope][died_of] = True
        self.workqueue.update({scope: unit for scope, unit in units.items() if not all(unit.values())})
        for other in self.assigned_work:
            self._reschedule(other)
        return died_of

    def _reschedule(self, node: "WorkerController") -> None:
        """Give a worker more to do, unless it has just replaced a dead one and has yet to collect the tests.

        `LoadScopeScheduling` fails then, if another worker dies meanwhile or finishes its collection.
        """
        if node in self.registered_collections:
            super()._reschedule(node)
