"""`consensus watch` waits for a cluster that is down, however the client learns of it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cluster.clients.kv_operations import KeyChange, KeyChanges
from cluster.errors import CommandRefused, ConsensusError, NotUp, Unknown
from harness.cli import watch
from harness.cli.convention import EXIT_VIOLATED
from harness.cli.main import run


@pytest.mark.parametrize(
    "down", [NotUp("no cluster is up"), CommandRefused("not_up", "no cluster is up")], ids=["not up", "refused"]
)
def test_a_cluster_that_is_up_again_at_once_is_watched_on(
    down: ConsensusError, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    happens: Iterator[Any] = iter(
        [
            Unknown("it ended meanwhile"),
            down,
            KeyChanges([KeyChange(3, "a", 1)], 3),
            CommandRefused("compacted", "read anew"),
        ]
    )
    asked = []

    def watched(prefix: str, after: int, wait_s: float) -> KeyChanges:
        asked.append(after)
        found: Any = next(happens)
        if isinstance(found, ConsensusError):
            raise found
        return KeyChanges(found, found.seen)

    @contextmanager
    def opened(_root: Path) -> Iterator[Any]:
        yield SimpleNamespace(kv=SimpleNamespace(watch=watched))

    monkeypatch.setattr(watch, "open_log", opened)
    monkeypatch.setattr(watch, "_is_up", lambda _: True)
    monkeypatch.setattr(watch, "_LOOK_AGAIN_S", 0.0)
    assert run(["--dir", str(tmp_path), "watch", "--after", "2"]) == EXIT_VIOLATED
    printed = capsys.readouterr()
    assert printed.out == "3 a 1\n"
    assert "waiting for the cluster, Ctrl-C ends the wait: no cluster is up" in printed.err
    assert "read anew" in printed.err
    assert asked == [2, 2, 2, 3]
