"""The client of Redis, before a server of this test: what it makes of each answer, and when it asks the sentinel again."""

import socket
import threading
from collections.abc import Callable, Iterator

import pytest

from cluster.clients.outcomes import NotDone, NotKnown, Ok, Outcome
from harness.systems.commands.client import Call
from harness.systems.commands.shipped.redis import RedisClient
from harness.systems.commands.shipped.resp import RedisError, Resp


class Server:
    """Answers each command with the next of its answers; "" closes the connection. It is sentinel and master at once."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self.listener.getsockname()[1]}"
        self.asked: list[str] = []
        self.answers: list[str] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                one, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(one,), daemon=True).start()

    def _serve(self, one: socket.socket) -> None:
        with one, one.makefile("rb") as file:
            while line := file.readline():
                words = []
                for _ in range(int(line[1:])):
                    size = int(file.readline()[1:])
                    words.append(file.read(size + 2)[:-2].decode())
                self.asked.append(" ".join(words[:2]))
                answer = self._answer(words)
                if not answer:
                    return
                one.sendall(answer.encode())

    def _answer(self, words: list[str]) -> str:
        match words:
            case ["SENTINEL", *_]:
                host, port = self.address.split(":")
                return f"*2\r\n${len(host)}\r\n{host}\r\n${len(port)}\r\n{port}\r\n"
            case ["ROLE"]:
                return "*3\r\n$6\r\nmaster\r\n:7\r\n*0\r\n"
        return self.answers.pop(0)


@pytest.fixture
def server() -> Iterator[Server]:
    one = Server()
    yield one
    one.listener.close()


@pytest.fixture
def ask(server: Server) -> Iterator[Callable[..., Outcome]]:
    client = RedisClient({"n1": {"client": "127.0.0.1:1", "sentinel": server.address}})

    def ask(f: str, value: object, answer: str) -> Outcome:
        server.answers.append(answer)
        return client.perform(Call(f, "k", value, "n1", 20.0))

    yield ask
    client.close()


@pytest.mark.parametrize(
    ("f", "value", "answer", "outcome"),
    [
        ("put", "v", "+OK\r\n", Ok(None)),
        ("get", None, "$1\r\nv\r\n", Ok("v")),
        ("get", None, "$-1\r\n", Ok(None)),
        ("delete", None, ":1\r\n", Ok(True)),
        ("delete", None, ":0\r\n", Ok(False)),
        ("cas", ["a", "b"], ":1\r\n", Ok(True)),
        ("cas", [None, "b"], ":0\r\n", NotDone("", "mismatch")),
    ],
)
def test_an_answer_is_an_outcome(
    ask: Callable[..., Outcome], f: str, value: object, answer: str, outcome: Outcome
) -> None:
    assert ask(f, value, answer) == outcome


def test_only_an_error_that_says_that_nothing_was_done_is_a_refusal(
    ask: Callable[..., Outcome], server: Server
) -> None:
    assert isinstance(ask("put", "v", "-READONLY You can't write against a read only replica.\r\n"), NotDone)
    assert isinstance(ask("put", "v", "-ERR something\r\n"), NotKnown)
    assert isinstance(ask("put", "v", ""), NotKnown)
    assert ask("put", "v", "+OK\r\n") == Ok(None)
    assert ask("put", "v", "+OK\r\n") == Ok(None)
    # After each error the sentinel is asked again; after an answer it is not.
    assert [command.split()[0] for command in server.asked] == ["SENTINEL", "ROLE", "SET"] * 4 + ["SET"]


def test_a_sentinel_that_is_not_there_is_a_refusal_since_nothing_was_sent() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        address = f"127.0.0.1:{closed.getsockname()[1]}"
    client = RedisClient({"n1": {"client": address, "sentinel": address}})
    outcome = client.perform(Call("put", "k", "v", "n1", 20.0))
    assert isinstance(outcome, NotDone)
    assert outcome.reason.startswith("nothing was sent: ConnectionRefusedError")


def test_an_error_has_its_code(server: Server) -> None:
    server.answers.append("-LOADING Redis is loading the dataset in memory\r\n")
    connection = Resp(server.address, 20.0)
    with pytest.raises(RedisError) as caught:
        connection.ask("GET", "k")
    assert caught.value.code == "LOADING"
    connection.close()
