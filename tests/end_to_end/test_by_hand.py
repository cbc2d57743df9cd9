"""The command line, as somebody would use it by hand."""

import json
import os
import signal
import subprocess
import sys

import psutil
import pytest
import zmq

from cluster.errors import ConsensusError
from cluster.processes import is_alive, is_suspended
from cluster.supervisor_file import SupervisorClient
from tests.end_to_end.hand import Hand, QuickHand
from tests.sockets import bare_connection
from tests.waiting import WAIT_S, wait_until


def test_the_story_of_the_readme(process_hand: Hand) -> None:
    process_hand.good("up", "-d")
    assert process_hand.good("propose", "colour", "blue", "--at", "n1") == '"blue"'
    hand = QuickHand(process_hand.folder)  # what is in a process of its own is shown
    assert hand.good("propose", "colour", "red", "--at", "n4") == '"blue"'
    assert [f'n{number}  "blue"' for number in range(1, 6)] == hand.good("query", "colour", "--at", "all").splitlines()
    for node in ("n1", "n2"):
        os.kill(hand.rows()[node]["pid"], signal.SIGKILL)
    assert {node: row["how"] for node, row in hand.rows().items() if row["state"] == "down"} == {
        "n1": "down: killed by SIGKILL from outside",
        "n2": "down: killed by SIGKILL from outside",
    }
    assert hand.good("propose", "shape", "round") == '"round"'
    hand.good("kill", "n3")
    done = hand.run("propose", "size", "small", "--timeout", "1")
    assert done.returncode == 2
    assert "the proposal may be decided, now or later" in done.stderr
    assert "n3 is down: killed by SIGKILL" in done.stderr
    hand.good("restart", "n1,n2,n3")
    assert [row["boots"] for row in hand.rows().values()] == [2, 2, 2, 1, 1]
    assert hand.good("query", "shape", "--at", "n1") == '"round"'
    assert hand.good("query", "colour", "--at", "n3") == '"blue"'
    assert hand.good("propose", "size", "large") in ('"small"', '"large"')


def test_suspended_nodes_say_nothing_and_lose_nothing(hand: Hand) -> None:
    hand.good("up", "-d", "-n", "3")
    hand.good("propose", "colour", "blue")
    hand.good("suspend", "n1")
    assert hand.good("propose", "shape", "round") == '"round"'
    hand.good("suspend", "n2")
    assert hand.run("propose", "size", "small", "--timeout", "1").returncode == 2
    assert [row["state"] for row in hand.rows().values()] == ["suspended"] * 2 + ["up"]
    hand.good("resume", "all")
    assert hand.good("query", "colour", "--at", "n1") == '"blue"'
    assert hand.good("query", "shape", "--at", "n2") == '"round"'


def test_what_was_decided_outlives_down_and_up(hand: Hand) -> None:
    hand.good("up", "-d", "-n", "3")
    hand.good("propose", "pair", '{"a": [1, 2.5, null, true]}')
    hand.good("down")
    hand.fails(1, "no cluster is up", "ps")
    hand.fails(1, "holds a cluster of 3 paxos nodes", "up", "-d", "-n", "5")
    hand.good("up", "-d")
    assert hand.good("query", "pair") == '{"a": [1, 2.5, null, true]}'
    hand.good("down", "--wipe")
    hand.good("up", "-d", "-n", "1", "--algorithm", "leader")
    assert hand.good("query", "pair") == "undecided"


def test_killing_the_supervisor_leaves_no_node_behind(hand: Hand) -> None:
    hand.good("up", "-d", "-n", "3")
    hand.good("suspend", "n2")
    pids = [row["pid"] for row in hand.rows().values()]
    supervisor = hand.supervisor()
    hand.good("propose", "colour", "blue", "--at", "n1")
    os.kill(supervisor, signal.SIGKILL)
    wait_until(lambda: not any(is_alive(pid) for pid in [*pids, supervisor]))
    hand.fails(1, "has lost its supervisor", "ps")
    hand.good("up", "-d")
    assert hand.good("query", "colour", "--at", "n2") == '"blue"'


def test_a_cluster_in_the_foreground_ends_with_ctrl_c(hand: Hand) -> None:
    up = subprocess.Popen(
        [sys.executable, "-m", "harness.cli.main", "up", "-n", "3"],
        cwd=hand.folder,
        env={**os.environ, "PYTHONPATH": os.getcwd()},
        stderr=subprocess.PIPE,
        text=True,
    )
    assert up.stderr is not None
    assert "3 paxos nodes up" in up.stderr.readline()
    pids = [row["pid"] for row in hand.rows().values()]
    os.kill(pids[1], signal.SIGKILL)
    assert "n2 is down: killed by SIGKILL from outside" in up.stderr.readline()
    up.send_signal(signal.SIGINT)
    assert up.wait(WAIT_S) == 0
    up.stderr.close()
    assert [is_alive(pid) for pid in pids] == [False] * 3
    assert not (hand.folder / ".consensus" / "supervisor.json").exists()


def test_links_are_cut_and_healed(hand: Hand) -> None:
    hand.good("up", "-d")
    hand.good("partition", "n1,n2/n3,n4,n5")
    assert hand.run("propose", "colour", "blue", "--at", "n1", "--timeout", "1").returncode == 2
    assert hand.good("propose", "colour", "red", "--at", "n4") == '"red"'
    lost = {(row["from"], row["to"]): row["lost"] for row in hand.json("links")["links"]}
    assert lost["n1", "n3"] > 0
    assert lost["n1", "n2"] == 0
    hand.good("heal")
    assert hand.good("query", "colour", "--at", "n1") == '"red"'
    hand.good("isolate", "n5")
    hand.good("link", "n1", "n2", "--drop", "0.3", "--delay", "50ms", "--one-way")
    rules = {(row["from"], row["to"]): row["rules"] for row in hand.json("links")["links"]}
    assert rules["n1", "n2"] == ["drop 0.3", "delay 0.05 s"]
    assert rules["n2", "n1"] == []
    assert rules["n5", "n2"] == ["cut"]
    assert hand.good("propose", "shape", "round", "--at", "n2") == '"round"'


def test_each_verb_says_what_it_does_to_whom(shared: Hand) -> None:
    hand = shared
    assert "cut: n1,n2 from n3" in hand.good("partition", "n1,n2")
    hand.good("heal")
    assert hand.good("inject", "hold", "types=Promise", 'links=[["n1","n2"]]') == "hold is in force: n1 to n2"
    hand.fails(254, "there is no message Nope: there are Prepare, Promise,", "inject", "hold", "types=Nope")
    hand.good("heal")
    hand.good("link", "n1", "n3", "--delay", "10ms")
    again = hand.run("link", "n1", "n3", "--delay", "20ms")
    assert "there were rules before, and all apply, one after the other: delay 0.01 s" in again.stderr
    hand.good("heal")
    hand.fails(254, "by hand start with `consensus up --prepare disk`", "inject", "disk-full")
    assert hand.good("inject", "kill", 'nodes=["n2"]') == "kill is in force: n2"
    hand.fails(1, "n2 is down: killed by SIGKILL, and was not asked", "propose", "x", "1", "--at", "n2")
    hand.fails(1, "n2 is down: killed by SIGKILL, and was not asked", "query", "x", "--at", "n2")
    hand.good("heal")
    hand.good("propose", "whose", "blue")
    assert [row["node"] for row in hand.json("inspect", "all")["nodes"]] == ["n1", "n2", "n3"]
    assert "node n1 of cluster" in hand.good("inspect", "n1,n3")


def test_what_a_disk_and_a_log_say(shared: Hand) -> None:
    hand = shared
    hand.good("propose", "colour", "blue", "--at", "n1")
    wait_until(lambda: hand.json("inspect", "n2")["variables"].get("colour", {}).get("decided") == "blue")
    hand.good("kill", "n2")
    assert hand.json("inspect", "n2")["variables"]["colour"]["decided"] == "blue"
    assert "blue" in hand.good("inspect", "n2")
    assert "n2  " in hand.good("logs", "n2")
    assert "incarnation 1" in hand.good("logs", "n2")
    hand.good("restart", "n2")


def test_the_leader_can_be_named(hand: Hand) -> None:
    hand.good("up", "-d", "-n", "3", "--algorithm", "leader")
    hand.good("propose", "colour", "blue", "--at", "n3")
    assert "n1 is dead" in hand.good("kill", "leader")
    assert hand.run("query", "colour", "--timeout", "1").returncode == 2
    hand.good("restart", "n1")
    assert hand.json("query", "colour")["value"] == "blue"


def test_foreign_frames_are_counted_and_stop_no_node(shared: Hand) -> None:
    hand = shared
    address = "ipc://" + hand.good("logs", "n1").split("ipc://")[1].split()[0]
    with bare_connection(address) as stranger:
        stranger.sendall(b"GET / HTTP/1.0\r\n\r\n" * 10)
    with zmq.Context() as context, context.socket(zmq.DEALER) as dealer:
        dealer.linger = 5000
        dealer.connect(address)
        for frame in (b"", b"\xc1", b"x" * 5_000_000, os.urandom(1000)):
            dealer.send(frame)
    wait_until(lambda: hand.rows()["n1"]["bad_frames"] >= 5)
    assert "bad frames" in hand.good("ps")
    assert hand.good("propose", "strangers", "blue", "--at", "n1") == '"blue"'


def test_without_a_cluster_each_command_says_so(hand: Hand) -> None:
    hand.fails(1, "no cluster is up", "ps")
    hand.fails(1, "no cluster is up", "propose", "x", "1")
    hand.fails(1, "there is no cluster", "inspect", "n1")
    hand.fails(254, "no algorithm is called 'zab'", "up", "-d", "--algorithm", "zab")
    hand.fails(254, "is not in the range", "up", "-n", "0")


def test_bad_input_is_reported_and_changes_nothing(shared: Hand) -> None:
    hand = shared
    before = hand.rows()
    hand.fails(1, "a cluster is up", "up", "-d")
    hand.fails(254, "there is no node 'n9'", "kill", "n9")
    hand.fails(254, "there is no node 'n9'", "kill", "n1,n9")
    hand.fails(1, "no node reports that it leads", "kill", "leader")
    hand.fails(1, "n1 is up, but must be suspended", "resume", "n1")
    hand.fails(254, "null (Python's None) cannot be proposed", "propose", "x", "null")
    hand.fails(254, "the limit is 262,144", "propose", "x", "a" * 262_200)
    hand.fails(254, "nested more than 64 deep", "propose", "x", "[" * 70 + "]" * 70)
    hand.fails(254, "is not a name", "propose", "a b", "1")
    hand.fails(254, "there is no node 'n9'", "propose", "x", "1", "--at", "n9")
    hand.fails(254, "names 3 nodes", "propose", "x", "1", "--at", "all")
    hand.fails(254, "begins like JSON", "propose", "x", "{bad")
    hand.fails(254, "there is no node 'n9'", "partition", "n1,n9/n2,n3")
    hand.fails(254, "leaves out n3", "partition", "n1/n2")
    hand.fails(254, "empty group", "partition", "n1//n2")
    hand.fails(254, "give at least one of", "link", "n1", "n2")
    hand.fails(254, "is no time", "link", "n1", "n2", "--delay", "soon")
    hand.fails(254, "there is no node 'n9'", "inspect", "n9")
    hand.fails(254, "there is no command 'fly'", "fly")
    assert [row["pid"] for row in before.values()] == [row["pid"] for row in hand.rows().values()]
    for history in hand.folder.glob(
        ".consensus/runs/*/history.jsonl"
    ):  # a call that was never sent would have no outcome
        calls = map(json.loads, history.read_text().splitlines())
        assert [call for call in calls if call["f"] == "propose" and call["key"] == "x"] == []
    assert hand.good("query", "x") == "undecided"


def test_values_of_every_kind_come_back(shared: Hand) -> None:
    hand = shared
    for number, value in enumerate(("-1", "true", "2.5", "word", '"quoted"', "[1, [2]]", '{"a": {}}', "two words", "")):
        shown = hand.good("propose", f"v{number}", value)
        assert shown == hand.good("query", f"v{number}")
        assert json.loads(shown) == (value if value in ("word", "two words", "") else json.loads(value))
    large = json.dumps("x" * 200_000)
    assert hand.run("propose", "large", "-", stdin=large).stdout.strip() == large
    done = hand.run("propose", "larger", "-", stdin=json.dumps("x" * 300_000))
    assert done.returncode == 254
    assert "takes 300,005 bytes and the limit is 262,144" in done.stderr
    assert hand.good("query", "larger") == "undecided"


def test_a_broken_spec_is_reported(hand: Hand) -> None:
    hand.good("up", "-d", "-n", "1")
    hand.good("down")
    path = hand.folder / ".consensus" / "cluster.toml"
    path.write_text(path.read_text() + "speed = 3\n")
    hand.fails(254, "'speed' is not a field", "up", "-d")


def test_a_second_process_on_a_nodes_directory_is_refused(shared: Hand) -> None:
    hand = shared
    spec = hand.folder / ".consensus" / "cluster.toml"
    second = subprocess.run(
        [sys.executable, "-m", "node", "--spec", str(spec), "--id", "n1"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert second.returncode == 74
    assert "in use by another process" in second.stderr
    assert hand.good("propose", "second", "1") == "1"


def test_ctrl_c_ends_a_scorecard_and_leaves_nothing(hand: Hand) -> None:
    # The fixture that looks for processes left behind sees the rest.
    scorecard = subprocess.Popen(
        [sys.executable, "-m", "harness.cli.main", "scorecard", "--workers", "2"],
        cwd=hand.folder,
        env={**os.environ, "PYTHONPATH": os.getcwd()},
        stderr=subprocess.PIPE,
        text=True,
    )
    runs = hand.folder / ".consensus" / "runs"
    wait_until(lambda: len(list(runs.glob("*/*/nodes/n1/state.db"))) >= 2)
    children = psutil.Process(scorecard.pid).children(recursive=True)
    scorecard.send_signal(signal.SIGINT)
    _, outputs = scorecard.communicate(timeout=WAIT_S)
    assert scorecard.returncode == 130
    assert "interrupted" in outputs
    assert children
    wait_until(lambda: not any(is_alive(child.pid) for child in children))


def test_a_folder_that_cannot_be_written_is_reported(process_hand: Hand) -> None:
    (process_hand.folder / "file").write_text("")
    process_hand.fails(254, "cannot be written", "--dir", "file/below", "up", "-d")


def test_help_is_there_for_every_verb(hand: Hand) -> None:
    verbs = hand.good("--help")
    for verb in ("up", "down", "ps", "propose", "query", "kill", "partition", "inspect", "scorecard", "bench"):
        assert f"  {verb} " in verbs
        assert "Usage: consensus" in hand.good(verb, "--help")


def test_node_names_are_completed(shared: Hand) -> None:
    hand = shared
    environment = {**os.environ, "PYTHONPATH": os.getcwd(), "_CONSENSUS_COMPLETE": "bash_complete"}
    done = subprocess.run(
        [sys.executable, "-c", "from harness.cli.main import main; main()"],
        cwd=hand.folder,
        env={**environment, "COMP_WORDS": "consensus kill n1,n", "COMP_CWORD": "2"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert {"n1,n1", "n1,n2", "n1,n3"} <= {line.partition(",")[2] for line in done.stdout.split()}


def test_one_of_several_that_start_a_cluster_at_once_wins(hand: Hand) -> None:
    command = [sys.executable, "-m", "harness.cli.main", "up", "-d", "-n", "3"]
    environment = {**os.environ, "PYTHONPATH": os.getcwd()}
    rivals = [
        subprocess.Popen(command, cwd=hand.folder, env=environment, stderr=subprocess.PIPE, text=True) for _ in range(4)
    ]
    outputs = [rival.communicate(timeout=WAIT_S)[1] for rival in rivals]
    assert sorted(rival.returncode for rival in rivals) == [0, 1, 1, 1], outputs
    assert sum("a cluster is up or starting" in text for text in outputs) == 3
    assert hand.good("propose", "colour", "blue") == '"blue"'


def test_a_supervisor_whose_file_is_gone_is_named(shared: Hand) -> None:
    hand = shared
    file = hand.folder / ".consensus" / "supervisor.json"
    content, pid = file.read_text(), hand.supervisor()
    file.unlink()
    try:
        hand.fails(1, f"end process {pid}", "ps")
        hand.fails(1, f"process {pid}", "up", "-d")
    finally:
        file.write_text(content)


def test_a_supervisor_that_is_suspended_is_reported_and_does_nothing_late(shared: Hand) -> None:
    hand = shared
    pid = hand.supervisor()
    os.kill(pid, signal.SIGSTOP)
    try:
        wait_until(lambda: is_suspended(pid))
        hand.fails(1, f"kill -CONT {pid}", "kill", "n1")
        hand.fails(1, f"kill -CONT {pid}", "propose", "late", "1")
    finally:
        os.kill(pid, signal.SIGCONT)
    assert hand.good("propose", "late", "2") == "2"


def test_a_dead_proxy_is_reported_with_the_way_out(hand: Hand) -> None:
    hand.good("up", "-d", "-n", "3")
    hand.good("propose", "x", "1")
    (proxy,) = [
        child
        for child in psutil.Process(hand.supervisor()).children()
        if "harness.network.proxy" in " ".join(child.cmdline())
    ]
    proxy.kill()
    wait_until(lambda: hand.json("ps")["trouble"] is not None)
    assert "the proxy has ended" in hand.good("ps")
    hand.fails(2, "the proxy has ended", "query", "x", "--timeout", "0.5")
    hand.fails(1, "the proxy has ended", "links")
    hand.good("down")
    hand.good("up", "-d")
    assert hand.good("query", "x") == "1"


def test_a_lost_disk_does_not_keep_the_others_from_serving(hand: Hand) -> None:
    hand.good("up", "-d", "-n", "3")
    hand.good("propose", "x", "1")
    hand.good("down")
    (hand.folder / ".consensus" / "nodes" / "n1").rename(hand.folder / "elsewhere")
    done = hand.run("up", "-d")
    assert done.returncode == 0
    assert "n1 cannot start" in done.stderr
    assert [row["state"] for row in hand.rows().values()] == ["down", "up", "up"]
    assert hand.good("query", "x") == "1"
    hand.fails(1, "n1 has run before", "restart", "n1")
    (hand.folder / "elsewhere").rename(hand.folder / ".consensus" / "nodes" / "n1")
    hand.good("restart", "n1")
    assert hand.good("query", "x", "--at", "n1") == "1"


def test_the_table_keeps_what_matters_on_a_narrow_screen(shared: Hand, monkeypatch: pytest.MonkeyPatch) -> None:
    hand = shared
    monkeypatch.setenv("COLUMNS", "80")
    hand.good("propose", "v" * 60, "x" * 500)
    pid = hand.rows()["n1"]["pid"]
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: hand.rows()["n1"]["state"] == "down")
    rows = hand.rows()
    shown = hand.good("ps")
    for node, row in rows.items():
        line = next(line for line in shown.splitlines() if line.startswith(f"{node} "))
        assert str(row["pid"] or "") in line
        assert row["how"].removeprefix("down: ") in shown  # a long one stands below the table
    hand.good("restart", "n1")


def test_keys_on_a_replicated_log(hand: Hand) -> None:
    hand.good("up", "-d", "-n", "3", "--algorithm", "multipaxos")
    first = int(hand.good("put", "colour", "blue"))
    assert hand.good("get", "colour") == '"blue"'
    second = int(hand.good("put", "colour", '{"now": "red"}', "--if-version", str(first)))
    assert second > first
    hand.fails(1, "the version of 'colour' is 2, not 1", "put", "colour", "green", "--if-version", str(first))
    hand.good("kill", "leader")
    assert hand.json("get", "colour") == {
        "schema": 1, "key": "colour", "found": True, "value": {"now": "red"}, "version": second
    }  # fmt: skip
    hand.good("del", "colour")
    hand.fails(1, "there is no key 'colour'", "get", "colour")
    assert hand.good("propose", "shape", "round") == '"round"'
    hand.good("down", "--wipe")
    hand.good("up", "-d", "-n", "1")
    hand.fails(1, "paxos keeps no log, it decides values once", "put", "colour", "blue")


def test_what_the_machine_denies_is_reported_as_no_mistake(hand: Hand) -> None:
    hand.good("up", "-d", "-n", "1")

    def shell(line: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "PYTHONPATH": os.getcwd(), "CONSENSUS": f"{sys.executable} -m harness.cli.main"}
        return subprocess.run(
            ["bash", "-c", line], cwd=hand.folder, env=environment, capture_output=True, text=True, check=False
        )

    full = shell("$CONSENSUS ps >/dev/full")
    assert (full.returncode, full.stderr) == (
        254,
        "consensus: the command was carried out up to its output, and this output cannot be written: "
        "[Errno 28] No space left on device\n",
    )
    closed = shell("$CONSENSUS propose k - <&-")
    assert closed.returncode == 254
    assert "standard input is closed" in closed.stderr
    unread = shell('$CONSENSUS ps | true; exit "${PIPESTATUS[0]}"')
    assert (unread.returncode, unread.stderr) == (0, "")
    for verb in ("--help", "logs", "ps -o json"):
        unread = shell(f'$CONSENSUS {verb} | true; exit "${{PIPESTATUS[0]}}"')
        assert (unread.returncode, unread.stderr) == (0, "")
    nowhere = shell("$CONSENSUS --dir /proc/nowhere test paxos --time 1")
    assert nowhere.returncode == 254
    assert "/proc/nowhere/runs cannot be made" in nowhere.stderr


def test_no_request_ends_the_supervisor(shared: Hand) -> None:
    hand = shared
    hand.fails(254, "nan is no finite number", "propose", "colour", "blue", "--timeout", "nan")
    control = SupervisorClient(hand.folder / ".consensus")
    with pytest.raises(ConsensusError, match=r"an internal error: ValueError.*The traceback is in .*/supervisor.log"):
        control.ask("call_began", f="propose", key="k", value="v", node=None, timeout_s=float("nan"))
    assert hand.good("propose", "requests", "blue") == '"blue"'
