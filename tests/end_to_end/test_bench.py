"""Every benchmark, in a tiny size: its rows have the stated fields, and their figures agree with each other."""

import importlib.util
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from cluster import Cluster
from cluster.processes import is_alive
from harness.bench import compare
from harness.bench.etcd import Etcd
from harness.bench.load import Figures, Load, Shape, figures
from harness.bench.peers import Peer
from harness.bench.tracked import ReadBack, Tracked
from harness.cli.bench import bench as bench_group
from harness.cli.main import run
from node.machine import BEAT_MS
from node.replication.election import tick_s
from node.tuning import SHIPPED
from tests.end_to_end.chromium import NEEDS_CHROMIUM

STATED = {
    "in_flight", "connections", "ours_per_s", "peer", "peer_per_s", "ratio", "floor_per_s", "p50_ms", "p99_ms",
    "fsyncs_per_decision",
}  # fmt: skip


#: Voters canvass in their sixth tick without a message of the leader. The first may come at once, and the last message may have
#: come a beat before the fault.
SILENCE_MS = 5 * 1000 * tick_s(SHIPPED)[0] - BEAT_MS


def bench(capsys: pytest.CaptureFixture[str], *arguments: str, exit_code: int = 0) -> dict[str, Any]:
    """Run a benchmark, and return the JSON that it prints."""
    assert run(["bench", *arguments, "-o", "json"]) == exit_code
    out = capsys.readouterr().out
    found: dict[str, Any] = json.loads(out) if out else {}
    assert found.get("schema", 1) == 1
    return found


def load_rows(capsys: pytest.CaptureFixture[str], *arguments: str, seconds: float = 0.15) -> list[dict[str, Any]]:
    """Run a benchmark of a load, and check its rows. If a busy machine has done next to nothing, it runs again and longer."""
    for at_least_s in (seconds, 3.0, 20.0):
        rows: list[dict[str, Any]] = bench(capsys, *arguments, "--time", str(at_least_s))["rows"]
        if all(row["done"] >= 20 for row in rows):
            break
    check_load_rows(rows, at_least_s)
    return rows


def check_load_rows(rows: Sequence[dict[str, Any]], seconds: float) -> None:
    for row in rows:
        assert row.keys() >= STATED
        assert row["done"] > 0
        assert row["failed"] == 0
        assert (
            seconds <= row["done"] / row["ours_per_s"] < seconds + 30
        )  # the load may run a little longer on a busy machine
        assert row["p50_ms"] <= row["p90_ms"] <= row["p99_ms"] <= row["max_ms"]
        assert sum(bucket["calls"] for bucket in row["histogram"]) == row["done"]
        assert row["times_floor"] == row["floor_per_s"] / row["ours_per_s"]
        assert row["ours_mb_per_s"] == pytest.approx(row["ours_per_s"] * row["value_bytes"] / 1e6)


def test_throughput(capsys: pytest.CaptureFixture[str]) -> None:
    rows = load_rows(capsys, "throughput", "--shapes", "64:4,1:1")
    assert [(row["in_flight"], row["connections"]) for row in rows] == [(64, 4), (1, 1)]
    many, alone = rows
    assert 2 <= alone["fsyncs_per_decision"] <= 4  # three nodes; one may lag, and one may save something else
    assert many["fsyncs_per_decision"] < 1  # calls share batches
    assert alone["peer"] is alone["ratio"] is alone["peer_per_s"] is None


def test_reads(capsys: pytest.CaptureFixture[str]) -> None:
    rows = load_rows(capsys, "reads", "--shapes", "16:2", "--value-bytes", "9000")
    alone, mixed = rows
    assert alone["reads"] == 1
    assert alone["fsyncs_per_decision"] < 0.05 < mixed["fsyncs_per_decision"]  # a read writes nothing


def test_scale(capsys: pytest.CaptureFixture[str]) -> None:
    rows = load_rows(capsys, "scale", "-n", "1,2", "--value-bytes", "8000")
    assert [(row["nodes"], row["value_bytes"]) for row in rows] == [(1, 8000), (2, 8000)]


class Half(Peer):
    """A peer that does a thousand calls per second."""

    not_durable = "all of it"

    def find(self) -> str:
        return "half 1.0"

    def start(self) -> None:
        pass

    def measure(self, load: Load) -> Figures:
        return figures([0.001] * 1000, 1.0)


def test_a_row_has_the_figures_of_the_peer(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(compare.PEERS, "etcd", Half)
    (row,) = load_rows(capsys, "latency", "--in-flight", "16", "--against", "etcd")
    assert (row["peer"], row["peer_per_s"], row["peer_p99_ms"]) == ("half 1.0", 1000, 1.0)
    assert row["ratio"] == row["ours_per_s"] / 1000
    assert row["peer_not_durable"] == "all of it"


@pytest.mark.parametrize("peer", ["etcd", "pysyncobj"])
def test_a_peer_that_is_not_installed_is_an_error_before_any_measurement(
    peer: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    assert run(["bench", "throughput", "--against", peer]) == 1
    printed = capsys.readouterr()
    assert "is not installed" in printed.err
    assert "multipaxos" not in printed.err
    assert printed.out == ""


@pytest.mark.parametrize(
    ("peer", "is_there"),
    [
        ("etcd", bool(shutil.which("etcd") and shutil.which("h2load"))),
        ("pysyncobj", importlib.util.find_spec("pysyncobj") is not None),
    ],
)
def test_a_real_peer(peer: str, is_there: bool) -> None:
    if not is_there:
        pytest.skip(f"{peer} is not installed")
    with compare.PEERS[peer](3) as other:
        processes = other.processes
        found = other.measure(Load(Shape(16, 4), 0.3))
        assert found is not None
        assert found.done > 0
        assert found.p50_ms <= found.p99_ms
        assert found.per_s == pytest.approx(found.done / 0.3)
        if isinstance(other, Etcd):
            assert other.failover_s("kill") > 0
            assert (
                len({process.pid for process in other.processes if process.poll() is None}) == 3
            )  # the leader runs again
    assert not other.folder.exists()
    assert processes == []


def test_watchers(capsys: pytest.CaptureFixture[str]) -> None:
    for seconds in ("0.2", "3", "20"):  # a busy machine may do nothing in so short a time
        arguments = (
            "--watchers",
            "0,300",
            "--rounds",
            "2",
            "--shape",
            "16:2",
            "--time",
            seconds,
            "--per-client",
            "150",
            "--hold",
            "0.2",
        )
        found = bench(capsys, "watchers", *arguments)
        rows = found["rows"]
        if all(row["puts_per_s_lowest"] > 0 for row in rows):
            break
    assert [(row["watchers"], row["woken"], row["ended"]) for row in rows] == [(0, 0, 0), (300, 0, 0)]
    for row in rows:
        assert 0 < row["puts_per_s_lowest"] <= row["puts_per_s"]
        assert 0 < row["leader_us"] < row["nodes_us"]
        assert row["idle_ms_per_s"] > 0
        assert row["ratio_low"] <= row["ratio"] <= row["ratio_high"]
    assert rows[0]["ratio"] == rows[0]["processor_ratio"] == 1
    verdicts = {"shown", "not shown", "refuted"}
    assert {found["within_a_tenth"], found["processor_within_a_tenth"]} <= verdicts


@NEEDS_CHROMIUM
def test_page(capsys: pytest.CaptureFixture[str]) -> None:
    (row,) = bench(capsys, "page", "-n", "3", "--rounds", "1", "--seconds", "0.3", "--acts", "2")["rows"]
    assert row["acts"] == 2
    assert 0 < row["start_ms"] < row["nodes_up_ms"]
    assert 0 < row["act_p50_ms"] <= row["act_p99_ms"]
    assert min(row[f"{part}_puts_per_s"] for part in ("alone", "server", "browser")) > 0
    assert row["server_loss"] == pytest.approx(1 - row["server_puts_per_s"] / row["alone_puts_per_s"], abs=0.02)
    assert min(row["offered_puts_per_s"], row["browser_ms_per_frame"]) > 0
    for part in ("alone", "server", "browser"):
        assert 0 < row[f"{part}_offered_p50_ms"] <= row[f"{part}_offered_p99_ms"]
        assert row[f"{part}_cluster_core_share"] > 0


@pytest.mark.parametrize("how", ["kill", "suspend", "cut-out", "cut-in", "hand-over"])
def test_failover(how: str, capsys: pytest.CaptureFixture[str]) -> None:
    (row,) = bench(capsys, "failover", "--how", how, "--rounds", "1")["rows"]
    assert (row["how"], row["nodes"], row["rounds"], row["lost"]) == (how, 3, 1, 0)
    assert 0 < row["p50_ms"] == row["p99_ms"] == row["max_ms"]  # there is one round only
    if how in ("suspend", "cut-out", "cut-in"):
        # No message announces that the leader has gone, so the voters wait for it in silence. A busy machine only adds to that.
        assert row["p50_ms"] > max(row["usual_ms"], SILENCE_MS)


def test_failover_behind_slow_links(capsys: pytest.CaptureFixture[str]) -> None:
    fast, slow = bench(capsys, "failover", "--rtt", "0,100", "--rounds", "1", "-n", "3")["rows"]
    assert (fast["round_trip_ms"], slow["round_trip_ms"]) == (0, 200)
    assert (fast["bound_ms"], slow["bound_ms"]) == (1000, 3000)
    assert slow["usual_ms"] >= 200  # so the proxy did delay what a put needs
    assert slow["p50_ms"] > 3 * 200  # phase 1, the leader's first batch and the put take a round trip each
    assert slow["lost"] == 0
    assert slow["beyond_bound"] == (slow["max_ms"] > slow["bound_ms"])  # as it may be on a busy machine


def test_a_rolling_restart(capsys: pytest.CaptureFixture[str]) -> None:
    (row,) = bench(capsys, "failover", "--how", "rolling", "-n", "3", "--calm", "0.5", "--per-second", "100")["rows"]
    assert (row["restarts"], row["lost"], row["twice"], row["unknown"]) == (3, 0, 0, 0)
    seconds = row["restart_s"] + row["calm_s"]
    # As many per second as requested, or fewer on a busy machine.
    assert 5 * seconds < row["acknowledged"] < 100 * (seconds + 5)
    assert 0 < row["longest_gap_ms"] <= row["out_of_service_ms"] + row["usual_gap_ms"]
    assert row["usual_gap_ms"] <= row["calm_longest_gap_ms"]
    assert 0 <= row["beyond_any_calm_gap_ms"] <= row["out_of_service_ms"]


def test_memory(capsys: pytest.CaptureFixture[str]) -> None:
    (row,) = bench(capsys, "memory", "--puts", "4000", "--keys", "800", "--sessions", "40")["rows"]
    assert (row["puts"], row["keys"], row["lost"], row["twice"], row["unknown"]) == (4000, 800, 0, 0, 0)
    assert row["sessions"] >= 40
    assert row["agree"]
    assert row["slot"] > 0
    replaced = row["replaced"]
    assert row["hashes"].keys() == {"n1", "n2", "n3", replaced["by"]} - {replaced["node"]}
    assert len(set(row["hashes"].values())) == 1
    assert row["samples"][0]["puts"] < row["samples"][-1]["puts"] == 4000
    for what in ("memory_mb", "disk_mb"):
        assert max(max(sample[what].values()) for sample in row["samples"]) <= row[f"{what}_max"]


def test_a_put_that_is_lost_or_done_twice_is_counted() -> None:
    tracked = Tracked(Shape(4, 2), keys=20)
    with Cluster(nodes=1, algorithm="multipaxos") as cluster, cluster.log_client() as client:
        calls = [call for number in (0, 1, 0, 1) if (call := tracked.begin(client, number))]
        client.wait(calls)
        for call in calls:
            tracked.acknowledge(call)
        assert tracked.read_back(client) == ReadBack(keys=4, lost=0, twice=0)
        client.call("kv", ["delete", "0-0"])
        client.call("kv", ["put", "1-1", calls[3].command[2]])
        assert tracked.read_back(client) == ReadBack(keys=3, lost=1, twice=2)


def test_an_interrupted_benchmark_leaves_no_process_and_no_file(tmp_path: Path) -> None:
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    command = [sys.executable, "-m", "harness.cli.main", "bench", "memory", "--puts", "20000", "--sessions", "200"]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as child:
        assert child.stderr is not None
        for line in child.stderr:
            if "takes its place" in line:  # the load runs, and so does the replacement
                break
        tasks = Path(f"/proc/{child.pid}/task").glob("*/children")  # a thread of the benchmark starts them
        nodes = [int(pid) for task in tasks for pid in task.read_text().split()]
        child.send_signal(signal.SIGINT)
        child.stderr.read()
    assert child.returncode == 130
    assert len(nodes) >= 3
    assert not any(is_alive(pid) for pid in nodes)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("scale", "-n", "3,x"), "3,5,7"),
        (("scale", "-n", "99"), "not from 1 to 15"),
        (("reads", "--shapes", "5:2"), "evenly"),
        (("failover", "--how", "rolling", "--rtt", "20"), "rolling restart"),
    ],
)
def test_impossible_sizes_are_refused(
    arguments: tuple[str, ...], error: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["bench", *arguments]) == 254
    assert error in capsys.readouterr().err


def test_the_page_names_every_benchmark(capsys: pytest.CaptureFixture[str]) -> None:
    text = (Path(__file__).parents[2] / "docs" / "explanation" / "benchmarks.md").read_text()
    commands = {match.split("#")[0].strip() for match in re.findall(r"consensus (bench \w+[^`\n|]*)", text)}
    assert {command.split()[1] for command in commands} == set(bench_group.commands)
    for command in sorted(commands):
        assert run([*shlex.split(command), "--help"]) == 0, command
    capsys.readouterr()
