"""What `consensus live` says before anything boots."""

from pathlib import Path

import pytest

from cluster.errors import Mistake
from cluster.spec import Spec
from harness.cli.live import _new


def test_a_cluster_that_has_run_before_goes_on_and_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def said(nodes: int | None = None, algorithm: str | None = None) -> str:
        with _new(tmp_path / "lab", nodes, algorithm, None) as (spec, _):
            specs.append(spec)
        return " ".join(capsys.readouterr().err.split())  # wherever the lines are broken

    specs: list[Spec] = []
    assert said(3, "majority") == ""
    assert said() == ""  # it was made, and no node has booted
    specs[0].mark_booted("n1", 1)
    assert said() == (
        "goes on with the cluster of 3 majority nodes, which has run before, so this session is not judged; "
        f"`consensus --dir {tmp_path / 'lab'} down --wipe` makes room for a new one"
    )
    with pytest.raises(Mistake, match=r"holds a cluster of 3 majority nodes .*`consensus down --wipe` deletes it"):
        said(5, "paxos")
