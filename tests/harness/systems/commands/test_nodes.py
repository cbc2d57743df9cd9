"""The processes of a system of commands, without a proxy: what starts, what does not, and that nothing is left running."""

import contextlib
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from cluster.errors import BootFailed
from cluster.processes import ProcessState
from harness.network.stream_network import StreamNetwork
from harness.systems.commands.description import Description, ReadyWhen
from harness.systems.commands.nodes import CommandNodes
from harness.systems.node_logs import LOG_BYTES_MAX, NodeLogs

SOON_S = 20.0
PYTHON = (sys.executable, "-I", "-S", "-c")
SERVER = """
import socket, sys, time
server = socket.create_server(("127.0.0.1", int(sys.argv[1])))
print("listening", flush=True)
while True:
    server.accept()[0].close()
"""


class NoProxy:
    """Stands in for the network: each node is reached at a made-up port."""

    def __init__(self) -> None:
        self.up: list[tuple[str, int]] = []

    def port(self, dialer: str, node: str, name: str) -> int:
        return 1

    def client_port(self, node: str, name: str) -> int:
        return 1

    def node_up(self, node: str, ports: dict[str, int], group: int) -> None:
        self.up.append((node, group))


Start = Callable[..., CommandNodes]


@pytest.fixture
def nodes_of(tmp_path: Path) -> Iterator[Start]:
    found: list[CommandNodes] = []

    def make(script: str, *words: str, nodes: tuple[str, ...] = ("n1",), **about: Any) -> CommandNodes:
        about = {"ready": ReadyWhen(port="client"), **about}
        command = (*PYTHON, script, *(words or ("{client_port}",)))
        described = Description(
            file=tmp_path / "it.toml", name="it", command=command, ports=("client",), client="", serving=None, **about
        )
        network = cast(StreamNetwork, NoProxy())
        found.append(CommandNodes(described, nodes, tmp_path, network, NodeLogs(tmp_path / "logs", nodes)))
        return found[-1]

    yield make
    for each in found:
        each.end()
    assert running(tmp_path) == []


def running(folder: Path) -> list[str]:
    """The processes that work in this test's folder."""
    found = []
    for entry in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):  # it has ended
            if os.readlink(f"/proc/{entry}/cwd").startswith(str(folder)):
                found.append(entry)
    return found


def wait(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SOON_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_a_node_is_killed_suspended_and_started_again_in_its_folder_at_its_port(nodes_of: Start) -> None:
    nodes = nodes_of(SERVER, nodes=("n1", "n2"))
    nodes.start()
    assert nodes.kill("n1")[0]["wait_status"] == -9
    assert nodes.state("n1") is ProcessState.DOWN
    assert nodes.restart("n1") == [{"node": "n1", "incarnation": 2}]
    assert nodes.suspend("n2")[0]["process_state"] == "T"
    nodes.resume("n2")
    assert nodes.terminate("n2")[0]["wait_status"] == -15
    assert nodes.look() == []  # no end that no fault has caused


@pytest.mark.parametrize(
    "ready", [ReadyWhen(log="^listening$"), ReadyWhen(port="client")], ids=["a line of its log", "a port"]
)
def test_a_node_is_ready(nodes_of: Start, ready: ReadyWhen) -> None:
    nodes_of(SERVER, ready=ready).start()


def test_a_node_is_ready_when_a_url_answers_with_200(nodes_of: Start) -> None:
    script = """
import socket, sys
server = socket.create_server(("127.0.0.1", int(sys.argv[1])))
for answer in (b"HTTP/1.1 503 no\\r\\n", b"HTTP/1.1 200 yes\\r\\n"):
    one, _ = server.accept()
    one.recv(999)
    one.sendall(answer + b"Content-Length: 0\\r\\n\\r\\n")
    one.close()
server.accept()
"""
    nodes_of(script, ready=ReadyWhen(http="http://127.0.0.1:{client_port}/health")).start()


def test_a_url_that_answers_otherwise_is_said_with_its_status(nodes_of: Start) -> None:
    script = """
import socket, sys
server = socket.create_server(("127.0.0.1", int(sys.argv[1])))
while True:
    one, _ = server.accept()
    one.recv(999)
    one.sendall(b"HTTP/1.1 404 no\\r\\nContent-Length: 0\\r\\n\\r\\n")
    one.close()
"""
    ready = ReadyWhen(http="http://127.0.0.1:{client_port}/health", within_s=2.0)
    with pytest.raises(
        BootFailed, match=r"http://127\.0\.0\.1:\d+/health answers with status 200, and it answers with 404"
    ):
        nodes_of(script, ready=ready).start()


def test_a_command_that_ends_at_once_is_said_with_its_last_words(nodes_of: Start) -> None:
    nodes = nodes_of("import sys; sys.exit('no such option: --port')")
    with pytest.raises(
        BootFailed,
        match=r"n1 ended with status 1 before it was ready\. Its last words: no such option: --port\. Its last words say why",
    ):
        nodes.start()


def test_a_command_with_a_port_of_its_own_choice_is_told_so(nodes_of: Start) -> None:
    nodes = nodes_of("import sys; sys.exit('address in use')", "24999")
    with pytest.raises(BootFailed, match=r"does not name \{client_port\}: each node needs ports of its own"):
        nodes.start()


def test_a_command_that_goes_to_the_background_is_said_and_ended(nodes_of: Start, tmp_path: Path) -> None:
    nodes = nodes_of("import os, time\nif os.fork(): os._exit(0)\nos.setsid()\ntime.sleep(60)")
    with pytest.raises(BootFailed, match="has to stay in the foreground"):
        nodes.start()
    wait(lambda: running(tmp_path) == [])


def test_a_command_that_listens_elsewhere_is_said_with_both_ports(nodes_of: Start) -> None:
    script = SERVER.replace("int(sys.argv[1])", "0")
    nodes = nodes_of(script, ready=ReadyWhen(port="client", within_s=0.5))
    with pytest.raises(BootFailed) as caught:
        nodes.start()
    assert "its port client accepts a connection" in str(caught.value)
    assert "It listens on " in str(caught.value)
    assert "let the command name {client_port}" in str(caught.value)


def test_a_command_that_does_not_exist_is_said(nodes_of: Start) -> None:
    nodes = nodes_of(SERVER)
    object.__setattr__(nodes.description, "command", ("/no/such/command",))
    with pytest.raises(BootFailed, match="/no/such/command cannot be started: No such file"):
        nodes.start()


def test_children_end_with_their_node_also_those_that_have_left_its_group(nodes_of: Start, tmp_path: Path) -> None:
    script = SERVER.replace(
        "server = ",
        "import os\nif not os.fork(): time.sleep(60)\nif not os.fork(): os.setsid(); time.sleep(60)\nserver = ",
    )
    nodes = nodes_of(script)
    nodes.start()
    wait(lambda: len(running(tmp_path)) == 3)
    nodes.kill("n1")
    wait(lambda: running(tmp_path) == [])


def test_a_node_that_fills_its_standard_error_goes_on_and_its_log_is_bounded(nodes_of: Start, tmp_path: Path) -> None:
    script = SERVER.replace(
        "print(", f"sys.stderr.write('x' * 80 + chr(10) + 'y' * {LOG_BYTES_MAX + 1_000_000} + chr(10))\nprint("
    )
    nodes_of(script, ready=ReadyWhen(log="^listening")).start()
    log = tmp_path / "logs" / "n1.log"
    wait(lambda: "the log ends here" in log.read_text()[-300:])
    assert log.stat().st_size < LOG_BYTES_MAX + 1_000_000


def test_a_node_that_ends_by_itself_is_noted_once(nodes_of: Start) -> None:
    nodes = nodes_of(SERVER.replace("while True:", "for _ in range(2):"))
    nodes.start()  # the look at its port was the first connection
    port = nodes._ports["n1"]["client"]
    socket.create_connection(("127.0.0.1", port)).close()
    wait(lambda: nodes.state("n1") is ProcessState.DOWN)
    assert nodes.look() == [("n1", "ended with status 0")]
    assert nodes.look() == []


def test_files_environment_and_peers_are_filled_in(nodes_of: Start, tmp_path: Path) -> None:
    script = SERVER.replace("import socket", "import os, socket").replace(
        '"listening"', "os.environ['WHO'], open('it.conf').read()"
    )
    nodes = nodes_of(
        script,
        nodes=("n1", "n2"),
        environment={"WHO": "{id}"},
        files={"it.conf": "{number} of {peers}"},
        peers="{id}@{client_via}",
        ready=ReadyWhen(log="^n[12] [12] of n[12]@1$"),
    )
    nodes.start()
    assert (tmp_path / "nodes" / "n2" / "it.conf").read_text() == "2 of n1@1"


def test_only_what_is_kept_is_left_of_a_folder(nodes_of: Start, tmp_path: Path) -> None:
    nodes = nodes_of(SERVER, files={"a/b.conf": "", "a/c.data": "", "d.data": ""}, keep=("a/*.conf",))
    nodes.start()
    nodes.end()
    kept = sorted(
        str(path.relative_to(tmp_path / "nodes")) for path in (tmp_path / "nodes").rglob("*") if path.is_file()
    )
    assert kept == ["n1/a/b.conf"]
