"""A real node, started as a launcher would: its ready line, its clients, its signals and its exit status."""

import json
import os
import resource
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import apsw
import pytest
import zmq

from node.algorithms.paxos import Paxos
from node.client_messages import ProposeRequest, QueryRequest, Reply, StatusReply, StatusRequest
from node.contract import Message, Value
from node.storage.disk import FILE_NAME, inspect
from node.transport import tuned
from node.wire import Codec, Envelope, encode_value, unpack
from tests.node.conftest import ROOT
from tests.sockets import bare_connection
from tests.waiting import WAIT_S

CLUSTER = "0123456789abcdef" * 2
BLUE, RED = encode_value("blue"), encode_value("red")


def write_spec(folder: Path, **changes: object) -> Path:
    fields = {"cluster": CLUSTER, "algorithm": "paxos", "nodes": ["n1"], "seed": 7, "data": "nodes", **changes}
    path = folder / "cluster.toml"
    path.write_text("".join(f"{key} = {json.dumps(value)}\n" for key, value in fields.items()))
    return path


def ran_before(folder: Path) -> tuple[str, str]:
    """Return the flag that says that the node has run before."""
    (folder / "booted").touch()
    return "--booted", str(folder / "booted")


class NodeProcess:
    """One `python -m node`, its pipes, and a client's connection to it."""

    def __init__(
        self, stack: ExitStack, spec: Path, *arguments: str, name: str = "n1", parent: int | None = None
    ) -> None:
        ready, ready_writer = os.pipe()
        self.log_path = spec.parent / f"{name}.log"
        with self.log_path.open("ab") as log:
            self.popen = subprocess.Popen(
                [
                    *(sys.executable, "-m", "node", "--spec", str(spec), "--id", name),
                    *("--ready-fd", str(ready_writer), "--parent", str(parent or os.getpid()), *arguments),
                ],
                stdin=subprocess.PIPE,
                stderr=log,
                pass_fds=[ready_writer],
                cwd=ROOT,
            )
        os.close(ready_writer)
        stack.callback(self.popen.wait)
        stack.callback(self.popen.kill)
        assert self.popen.stdin is not None
        self.stdin = self.popen.stdin
        stack.callback(self.close_stdin)
        with os.fdopen(ready, "rb") as reader:
            self.ready: dict[str, Any] = json.loads(reader.readline() or b"{}")
        self._context = stack.enter_context(zmq.Context())
        self._codec = Codec(CLUSTER, Paxos.messages)
        self._number = 0

    def close_stdin(self) -> None:
        with suppress(BrokenPipeError):
            self.stdin.close()

    def send_peers(self, addresses: dict[str, str]) -> None:
        self.stdin.write(json.dumps({"peers": addresses}).encode() + b"\n")
        self.stdin.flush()

    def wait(self) -> int:
        return self.popen.wait(WAIT_S)

    @property
    def log(self) -> str:
        return self.log_path.read_text()

    @contextmanager
    def sent(self, message: Callable[[int], Message], variable: str = "x") -> Iterator["zmq.Socket[bytes]"]:
        """Send a client's message, and hold the connection on which its reply will come."""
        self._number += 1
        with tuned(self._context.socket(zmq.DEALER)) as dealer:
            dealer.connect(self.ready["address"])
            client = f"client of {self.popen.pid}"
            dealer.send(self._codec.encode(Envelope(client, 0, variable, message(self._number))))
            yield dealer

    def ask(self, message: Callable[[int], Message]) -> Message:
        """Send a client's message and wait for the reply."""
        with self.sent(message) as dealer:
            assert dealer.poll(int(WAIT_S * 1000)), "no reply"
            return self._codec.decode(dealer.recv()).message

    def propose(self, value: Value = BLUE) -> Message:
        return self.ask(lambda number: ProposeRequest(number, 60_000, value))

    def query(self) -> Message:
        return self.ask(lambda number: QueryRequest(number, 60_000))

    def status(self) -> dict[str, Any]:
        reply = self.ask(StatusRequest)
        assert isinstance(reply, StatusReply)
        status: dict[str, Any] = unpack(reply.status)
        return status


Start = Callable[..., NodeProcess]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts a node of the spec in `tmp_path`; whatever was started is killed and reaped at the end."""
    with ExitStack() as stack:

        def begin(*arguments: str, spec: Path | None = None, **options: Any) -> NodeProcess:
            return NodeProcess(stack, spec or write_spec(tmp_path), *arguments, **options)

        yield begin


# --- at work --------------------------------------------------------------------------------------------------------


def test_a_node_reports_that_it_is_ready_and_serves_clients(start: Start) -> None:
    node = start()
    assert list(node.ready) == ["address", "incarnation"]
    assert node.ready["address"].startswith("ipc://@")  # a Unix socket, which no other machine reaches
    assert node.ready["incarnation"] == 1
    assert node.query() == Reply(1, None, None)
    assert node.propose(BLUE) == Reply(2, BLUE, None)
    assert node.propose(RED) == Reply(3, BLUE, None)
    assert node.query() == Reply(4, BLUE, None)
    status = node.status()
    assert (status["pid"], status["node"], status["malformed"]) == (node.popen.pid, "n1", 0)
    assert status["variables"]["x"]["decided"] == "blue"


def test_three_nodes_agree_and_a_killed_node_restarts_with_its_state(start: Start, tmp_path: Path) -> None:
    spec = write_spec(tmp_path, nodes=["n1", "n2", "n3"])
    nodes = {name: start(spec=spec, name=name) for name in ("n1", "n2", "n3")}
    addresses = {name: node.ready["address"] for name, node in nodes.items()}
    for node in nodes.values():
        node.send_peers(addresses)
    assert nodes["n1"].propose(BLUE) == Reply(1, BLUE, None)
    assert nodes["n3"].query() == Reply(1, BLUE, None)

    nodes["n2"].popen.kill()
    assert nodes["n2"].wait() == -signal.SIGKILL
    back = start(*ran_before(tmp_path), spec=spec, name="n2")
    assert back.ready["incarnation"] == 2
    addresses["n2"] = back.ready["address"]
    for node in (nodes["n1"], nodes["n3"], back):
        node.send_peers(addresses)
    assert back.propose(RED) == Reply(1, BLUE, None)


def test_many_clients_can_connect_before_the_node_takes_the_first_in(start: Start) -> None:
    node = start()
    node.popen.send_signal(signal.SIGSTOP)
    with ExitStack() as connections:
        for _ in range(256):
            # The kernel answers for the node while there is room in the queue; without room this would fail.
            connections.enter_context(bare_connection(node.ready["address"]))
        node.popen.send_signal(signal.SIGCONT)
    assert node.query() == Reply(1, None, None)


# --- the end --------------------------------------------------------------------------------------------------------


def test_sigterm_is_an_orderly_end(start: Start, tmp_path: Path) -> None:
    node = start()
    node.propose(BLUE)
    node.popen.send_signal(signal.SIGTERM)
    assert node.wait() == 0
    assert "n1 stopped" in node.log
    assert inspect(tmp_path / "nodes" / "n1").variables["x"]["decided"] == BLUE
    again = start(*ran_before(tmp_path))
    assert again.query() == Reply(1, BLUE, None)


def test_closing_the_launchers_pipe_is_an_orderly_end(start: Start) -> None:
    node = start()
    node.close_stdin()
    assert node.wait() == 0
    assert "the process that launched this node has ended" in node.log


LAUNCHER = """
import os, subprocess, sys
ready, writer = os.pipe()
node = subprocess.Popen(
    [sys.executable, "-m", "node", "--spec", sys.argv[1], "--id", "n1",
     "--ready-fd", str(writer), "--parent", str(os.getpid())],
    stdin=subprocess.PIPE, pass_fds=[writer],
)
os.close(writer)
os.read(ready, 1000)
print(node.pid, flush=True)
sys.stdin.read()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel must end it")
@pytest.mark.parametrize("suspended", [False, True], ids=["running", "suspended"])
def test_a_node_ends_with_its_launcher_however_that_ends(tmp_path: Path, suspended: bool) -> None:
    launcher = subprocess.Popen(
        [sys.executable, "-c", LAUNCHER, str(write_spec(tmp_path))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=ROOT,
    )
    with launcher:
        try:
            assert launcher.stdout is not None
            pid = int(launcher.stdout.readline())
            node = os.pidfd_open(pid)
            try:
                if suspended:
                    signal.pidfd_send_signal(node, signal.SIGSTOP)
                launcher.kill()
                poller = select.poll()
                poller.register(node, select.POLLIN)
                assert poller.poll(WAIT_S * 1000) == [(node, select.POLLIN)]  # it has ended
            finally:
                with suppress(ProcessLookupError):
                    signal.pidfd_send_signal(node, signal.SIGKILL)
                os.close(node)
        finally:
            launcher.kill()


def test_a_launcher_that_has_gone_before_the_node_could_look_is_noticed(start: Start) -> None:
    node = start(parent=2**22 + 1)  # no process has this id
    assert node.ready == {}
    assert node.wait() == 70


# --- what stops a node ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"nodes": ["n1", "n1"]}, "two nodes have the same name"),
        ({"nodes": ["n2"]}, "there is no node 'n1': the nodes are n2"),
        ({"algorithm": "zab"}, "no algorithm is called 'zab': there are leader, failover, majority, paxos"),
        ({"algorithm": "tests.own_algorithms:Nothing"}, "has no 'Nothing'"),
    ],
    ids=["bad spec", "no such node", "unknown algorithm", "no such class"],
)
def test_a_node_that_cannot_start_reports_the_reason(
    start: Start, tmp_path: Path, changes: dict[str, object], reason: str
) -> None:
    node = start(spec=write_spec(tmp_path, **changes))
    assert list(node.ready) == ["error"]
    assert reason in node.ready["error"]
    assert node.wait() == 78
    assert reason in node.log.splitlines()[-1]
    assert not (tmp_path / "nodes").exists()


def test_a_spec_that_is_not_there(start: Start, tmp_path: Path) -> None:
    node = start(spec=tmp_path / "none.toml")
    assert node.ready == {"error": f"{tmp_path / 'none.toml'} cannot be read: No such file or directory"}
    assert node.wait() == 78


def test_a_second_process_on_a_directory_is_refused_and_the_first_goes_on(start: Start, tmp_path: Path) -> None:
    first = start()
    first.propose(BLUE)
    second = start()
    assert second.ready == {
        "error": f"{tmp_path / 'nodes' / 'n1'} is in use by another process: "
        "only one process at a time can use a node's directory"
    }
    assert second.wait() == 74
    assert first.query() == Reply(2, BLUE, None)


def test_a_directory_that_should_be_there(start: Start, tmp_path: Path) -> None:
    node = start(*ran_before(tmp_path))
    assert "is missing, and n1 has run before" in node.ready["error"]
    assert node.wait() == 74
    assert not (tmp_path / "nodes").exists()


def test_what_was_last_seen_of_the_disk_is_damaged(start: Start, tmp_path: Path) -> None:
    (tmp_path / "booted").write_text("[]")
    node = start("--booted", str(tmp_path / "booted"))
    assert "booted is damaged, and says how often the node has booted" in node.ready["error"]
    assert node.wait() == 78


def test_a_damaged_log_is_found_before_the_node_reports_that_it_is_ready(start: Start, tmp_path: Path) -> None:
    write_spec(tmp_path, algorithm="multipaxos")
    node = start(spec=tmp_path / "cluster.toml")
    assert node.propose(BLUE) == Reply(1, BLUE, None)
    node.popen.terminate()
    assert node.wait() == 0
    database = apsw.Connection(str(tmp_path / "nodes" / "n1" / FILE_NAME))
    database.execute("UPDATE log SET batch = zeroblob(length(batch)) WHERE slot = (SELECT max(slot) FROM log)")
    database.close()
    again = start(spec=tmp_path / "cluster.toml")
    assert list(again.ready) == ["error"]
    assert "of the log does not match its checksum" in again.ready["error"]
    assert again.wait() == 74


def test_an_exception_in_an_algorithm_stops_the_node_and_is_logged(start: Start, tmp_path: Path) -> None:
    node = start(spec=write_spec(tmp_path, algorithm="tests.own_algorithms:Raising"))
    with node.sent(lambda number: ProposeRequest(number, 60_000, BLUE)) as dealer:
        assert node.wait() == 70
        assert dealer.poll(0) == 0
    assert "ZeroDivisionError: the author's mistake" in node.log.splitlines()[-1]
    assert "own_algorithms.py" in node.log  # with its file


@pytest.mark.skipif(sys.platform != "linux", reason="prlimit is Linux's")
def test_a_commit_that_fails_stops_the_node_before_it_has_answered(start: Start, tmp_path: Path) -> None:
    node = start()
    assert node.propose(BLUE) == Reply(1, BLUE, None)
    resource.prlimit(node.popen.pid, resource.RLIMIT_FSIZE, (0, 0))
    with node.sent(lambda number: ProposeRequest(number, 60_000, RED), variable="y") as dealer:
        assert node.wait() == 74
        assert dealer.poll(0) == 0  # nothing was sent
    again = start(*ran_before(tmp_path))
    assert again.query() == Reply(1, BLUE, None)
    assert "y" not in again.status()["variables"]
