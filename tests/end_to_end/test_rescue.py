"""Save, more work, restore and recover on real processes: numbers only rise, and nothing of the old cluster reaches the new."""

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from cluster import (
    AlreadyUp,
    Cluster,
    CommandRefused,
    LogClient,
    Ok,
    Refused,
    RunningCluster,
    Unknown,
    recover,
    restore,
)
from cluster.errors import NotUp
from harness.records.history_recorder import HistoryRecorder
from harness.workloads.key_values import KeyValueWorkload
from harness.workloads.log_calls import LogCalls
from harness.workloads.planned_call import PlannedCall
from harness.workloads.workload import Callers
from tests.end_to_end.hand import Hand
from tests.waiting import wait_until


def test_numbers_only_rise_and_old_clients_are_refused(tmp_path: Path) -> None:
    with Cluster(nodes=3, algorithm="multipaxos", directory=tmp_path / "old") as cluster:
        version = cluster.kv.put("k", "saved")
        with cluster.lock("printer") as before:
            header = cluster.save(tmp_path / "a.save")
        cluster.kv.put("k", "later")
        with cluster.lock("printer") as token, cluster.log_client() as holder:
            holder.kv.put("other", 1)
            session = holder.session
        latest = cluster.kv.put("k", "latest")
    assert session is not None
    assert header.voters == ("n1", "n2", "n3")
    assert before < token

    with Cluster(spec=restore(tmp_path / "a.save", tmp_path / "new")) as new:
        assert new.kv.get("k") == "saved"
        with new.lock("printer") as risen:
            assert token < risen
        for old_version in (version, latest):
            with new.log_client() as client, pytest.raises(CommandRefused) as refused:
                client.kv.compare_and_set("k", old_version, "from the past")
            assert refused.value.kind == "mismatch"
        with new.log_client() as client, pytest.raises(CommandRefused) as refused:
            client.locks.release("printer", token)
        assert refused.value.kind in ("not_held", "stale_token")
        with new.log_client() as client, pytest.raises(CommandRefused) as refused:
            client.kv.watch("", latest)
        assert refused.value.kind == "compacted"
        assert latest < new.kv.put("k", "new")
        _check_old_clients(new, header.cluster, session)
        _check_that_the_workload_saves(new)
        new_session = new.log_client()
        new_session.kv.put("k", "newer")
        assert session < (new_session.session or 0)
        new_session.close()
        with pytest.raises(AlreadyUp, match=r"still run: .*n1 \(process \d+\)"):
            recover(tmp_path / "new", "n3", accept_loss=True)

    for node in ("n1", "n2"):
        shutil.rmtree(tmp_path / "new" / "nodes" / node)
    recovered = recover(tmp_path / "new", "n3", accept_loss=True)
    with Cluster(spec=recovered.spec) as last:
        assert last.kv.get("k") in ("new", "newer")  # two of three are a majority without n3
        with last.lock("printer") as highest:
            assert risen < highest


def _check_old_clients(new: Cluster, old_id: str, session: int) -> None:
    """Check that neither a client of the old cluster nor its session gets anything from the new cluster's nodes."""
    frames = sum(status["malformed"] for status in new.status().values())
    with LogClient(old_id, new.client_addresses) as old, pytest.raises((Unknown, Refused)):
        old.call("kv", ["put", "k", b"from the past"], timeout_s=0.5)
    assert sum(status["malformed"] for status in new.status().values()) > frames
    resumed = LogClient(new.spec.settings.cluster, new.client_addresses, resume=session)
    with resumed, pytest.raises(CommandRefused) as refused:
        resumed.kv.put("k", "from the past")
    assert refused.value.kind == "session_expired"
    assert new.kv.get("k") == "new"


def _check_that_the_workload_saves(cluster: Cluster) -> None:
    """Check that the workload "kv" reads some values from saves, and that they are those that a client reads."""
    workload = KeyValueWorkload(cluster.nodes, 1, 1.0)
    log = LogCalls(cluster.spec.settings.cluster, cluster.client_addresses, HistoryRecorder())
    callers = cast("Callers", SimpleNamespace(log=log))

    def get() -> Any:
        call = workload.begin(callers, 0, PlannedCall("get", "k"))

        def ended() -> bool:
            log.poll()
            return call.outcome is not None

        wait_until(ended)
        return call.outcome

    while workload.saves == 0:
        outcome = get()
        assert isinstance(outcome, Ok)
        assert outcome.value.value == "new"
    log.close()


def test_a_program_notices_that_another_cluster_is_in_the_place_of_its_own(hand: Hand) -> None:
    folder = hand.folder / ".consensus"
    hand.good("up", "-d", "-n", "1", "--algorithm", "multipaxos")
    with RunningCluster(folder) as program:
        program.kv.put("k", 1)
        hand.good("save", str(hand.folder / "a.save"))
        hand.fails(1, "exists, and a save overwrites nothing", "save", str(hand.folder / "a.save"))
        hand.good("down")
        hand.fails(
            254,
            "does not begin as a save does",
            "restore",
            str(folder / "cluster.toml"),
            "--into",
            str(hand.folder / "new"),
        )
        done = hand.json("recover", "--from", "n1", "--accept-loss")
        assert done["recovered"]
        assert done["folder"] == str(folder)
        hand.good("up", "-d")
        assert hand.good("get", "k") == "1"

        def refused() -> bool:
            try:
                program.kv.get("k", timeout_s=0.2)
            except (NotUp, CommandRefused) as error:
                return "another one is up there" in str(error)
            except Unknown:
                return False
            raise AssertionError("the old client got an answer of the new cluster")

        wait_until(refused)
