"""A save, a restore and a recovery that are killed before each of their steps, and broken ones that the walk must find."""

from pathlib import Path

import pytest

from cluster.durable_files import DurableFiles
from harness.systematic.rescue_points import RescueOperation, walk_rescue


@pytest.mark.parametrize("operation", RescueOperation)
def test_a_kill_leaves_the_old_state_or_the_new_one(operation: RescueOperation) -> None:
    walk = walk_rescue(operation, every=3)
    assert walk.troubles == []
    assert len(walk.trials) >= 5
    assert walk.trials[-1].what == "end"


class NamesBeforeSyncing(DurableFiles):
    """Moves things to their places and leaves the syncs out."""

    def sync(self, path: Path) -> None:
        pass


class SavesInPlace(DurableFiles):
    """Writes a save under its own name at once."""

    def write(self, path: Path, content: bytes) -> None:
        named = path.with_name(path.name.removeprefix(".").removesuffix(".unfinished"))
        named.write_bytes(content[:-40])
        self.step("write the rest")
        named.write_bytes(content)

    def publish(self, aside: Path, path: Path) -> None:
        aside.unlink()


class MovesTwice(DurableFiles):
    """Moves the old folder away before the new one takes its place, in two steps."""

    def replace(self, new: Path, path: Path, kept: Path) -> None:
        self.step(f"move {path.name} to {kept.name}", new)
        path.rename(kept)
        self.step(f"move {new.name} to {path.name}", new)
        new.rename(path)


@pytest.mark.parametrize(
    ("operation", "broken", "says"),
    [
        (
            RescueOperation.RESTORE,
            NamesBeforeSyncing,
            "cluster.toml was not durable before 'move .new.unfinished to new'",
        ),
        (RescueOperation.SAVE, SavesInPlace, "a.save is cut short"),
        (RescueOperation.RECOVER, MovesTwice, "cluster.toml cannot be read: No such file"),
    ],
)
def test_the_walk_finds_steps_in_the_wrong_order(
    operation: RescueOperation, broken: type[DurableFiles], says: str
) -> None:
    found = "\n".join(walk_rescue(operation, files=broken, every=100).troubles)
    assert says in found
