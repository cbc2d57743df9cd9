"""A cluster that another process runs, as a program on the same machine finds it."""

import asyncio
from pathlib import Path

import pytest

from cluster import RunningCluster
from cluster.errors import CommandRefused, Mistake, NotUp, Unknown
from tests.end_to_end.hand import QuickHand
from tests.waiting import wait_until


def test_programs_share_a_cluster(hand: QuickHand, monkeypatch: pytest.MonkeyPatch) -> None:
    hand.good("up", "-d", "-n", "3", "--algorithm", "multipaxos")
    folder = hand.folder / ".consensus"
    with RunningCluster(folder) as one, RunningCluster(str(folder)) as other:
        assert one.kv.put("owner", "alice") == other.kv.get_with_version("owner")[1]  # type: ignore[index]
        assert one.propose("colour", "blue") == other.propose("colour", "red") == "blue"
        one.assignment.add("mornings")
        with one.members.joined("web"), other.assignment.joined("worker"):
            assert list(other.members.view().members) == ["web"]
            assert list(other.assignment.mine("worker").tasks) == ["mornings"]
        with one.lock("printer"), pytest.raises(CommandRefused, match="by others"):
            other.lock("printer", wait_s=0.1).acquire()

        async def put() -> int:
            async with other.async_log_client() as client:
                return await client.kv.put("owner", "bob")

        assert asyncio.run(put()) > 1
        monkeypatch.setattr("cluster.running._ASK_AGAIN_S", 0.0)
        hand.good("member", "add", "n4")  # whoever knows the cluster finds it by and by
        wait_until(lambda: "n4" in one.client_addresses())
        hand.good("down")

        def ended() -> bool:
            try:
                one.client_addresses()
            except NotUp:
                return True
            return False

        wait_until(ended)
        with pytest.raises(
            (CommandRefused, Unknown), match=r"no cluster is up|the cluster has ended|is starting or ending"
        ):
            one.kv.put("owner", "carol")
        hand.good("up", "-d")
        wait_until(lambda: not ended())
        assert one.kv.get("owner") == "bob"


def test_what_is_not_up_or_keeps_no_log_says_so(hand: QuickHand, tmp_path: Path) -> None:
    with pytest.raises(NotUp, match="no cluster is up"):
        RunningCluster(tmp_path / "nowhere")
    hand.good("up", "-d", "-n", "1")
    with RunningCluster(hand.folder / ".consensus") as cluster:
        assert cluster.propose("colour", "blue") == "blue"
        with pytest.raises(Mistake, match="paxos keeps no log"):
            cluster.kv.put("k", 1)
    assert "blue" in hand.good("query", "colour")
    ended = hand.run("down")
    assert "not judged as a run (a program that has joined the cluster made calls of its own" in ended.stderr
