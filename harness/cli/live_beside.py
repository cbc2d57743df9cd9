"""What `consensus live --beside` shows in its second frame: another algorithm under the same acts, or another run."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from cluster.errors import Mistake
from harness.cli.live_twin import WantedTwin, find_twin, open_twin
from harness.records.run_folders import find_run
from node.wording import count

if TYPE_CHECKING:
    from harness.page.beside import Beside
    from harness.page.server import Do
    from harness.page.view import PageView
    from node.contract import Algorithm


def beside_folder(root: Path) -> Path:
    """Return the folder of the cluster that runs beside the one in `root`."""
    return root.with_name(f"{root.name}-beside")


def twin_beside(root: Path, twin: WantedTwin, name: str, nodes: int | None) -> "tuple[PageView, Do]":
    """Return the view of a twin of another algorithm, mutant or schedule, and its acts.

    Raises:
        Mistake: the two cannot be compared.
    """
    wanted = find_twin(root, name, nodes or (None if twin.schedule else twin.nodes), virtual=True)
    assert wanted is not None
    if wanted.nodes != twin.nodes:
        raise Mistake(
            f"one has {count(twin.nodes, 'node')} and the other {count(wanted.nodes, 'node')}: nothing is the same act"
        )
    check_alike(twin.algorithm, wanted.algorithm)
    return open_twin(root, wanted)


def check_alike(one: "type[Algorithm]", other: "type[Algorithm]") -> None:
    """Raise Mistake if clients ask one for what the other does not have."""
    if one.keeps_log != other.keeps_log:
        raise Mistake("one of them keeps a log and the other does not: no call is the same in both")


def run_beside(root: Path, view: "PageView", name: str) -> "PageView":
    """Return the view of another run, and note in both where they part. Raises NoSuchRun."""
    from harness.page.beside import compare  # noqa: PLC0415 - for the page alone
    from harness.page.recorded_view import recorded_view  # noqa: PLC0415

    other = recorded_view(find_run(root, name))
    compare((view, other))
    return other


@contextmanager
def shared_acts(one: "tuple[PageView, Do]", other: "tuple[PageView, Do]") -> "Iterator[Beside]":
    """Yield the acts of two views, each of which is done in both."""
    from harness.page.beside import Beside  # noqa: PLC0415 - for the page alone

    both = Beside((one[0], other[0]), (one[1], other[1]))
    try:
        yield both
    finally:
        both.close()


def both_boot(one: Callable[[], None] | None, other: Callable[[], None] | None) -> Callable[[], None]:
    """Return what boots those of two clusters that are to be booted."""

    def boot() -> None:
        for each in filter(None, (one, other)):
            each()

    return boot
