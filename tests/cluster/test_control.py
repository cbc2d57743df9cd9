"""Both ends of the control socket, in one process: the server is polled by a thread of the test."""

import math
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from threading import Event, Thread

import pytest
import zmq

from cluster.control import ControlClient, ControlRequest, ControlServer, Verb
from cluster.errors import CommandRefused, ConsensusError, Mistake, NotUp, WrongState
from node.contract import BadInput
from node.settings import BadSpec
from node.transport import Poller, tuned
from node.wire import BadValue, pack_unchecked, unpack_unchecked

TOKEN = "5" * 32
WAIT_S = 10.0


class ProxyFailed(ConsensusError):
    """An exception of a floor above, which the client may know or not."""


class BadRequest(Mistake, BadInput):
    """Both a mistake and bad input, as a bad link rule is."""


class Served:
    """A server whose verbs a thread carries out."""

    def __init__(self, verbs: Mapping[str, Verb]) -> None:
        self.server = ControlServer(TOKEN)
        self._verbs, self._stopped = verbs, Event()
        self.callers: list[bytes] = []  # of each request, in order
        self._thread = Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while not self._stopped.is_set():
            self.server.wait(0.01)
            for request in self.server.requests():
                self.callers.append(request.caller)
                self.server.serve(request, self._verbs)

    def client(self, *own_errors: type[Exception]) -> ControlClient:
        return ControlClient(self.server.address, TOKEN, lambda: None, no_reply, own_errors)

    def close(self) -> None:
        self._stopped.set()
        self._thread.join()
        self.server.close()


def no_reply(verb: str, timeout_s: float) -> Exception:
    return NotUp(f"no reply to {verb} within {timeout_s:g} s")


def failing(error: Exception) -> Callable[[], None]:
    def fail() -> None:
        raise error

    return fail


@pytest.fixture
def served() -> Iterator[Served]:
    done: list[str] = []
    served = Served(
        {
            "echo": lambda **arguments: arguments,
            "do": done.append,
            "done": lambda: done,
            "pair": lambda: (1, (2, 3)),
            "refused": failing(CommandRefused("held", "held by others")),
            "state": failing(WrongState("n1 is down")),
            "spec": failing(BadSpec("no such field")),
            "rule": failing(BadRequest("no such rule")),
            "unwell": failing(ProxyFailed("not today")),
            "broken": failing(ZeroDivisionError("x\udcff")),
            "path": failing(BadInput("folder/\udcff cannot be written")),
            "set": lambda: {1, 2},
        }
    )
    yield served
    served.close()


def test_arguments_and_results_are_plain_data(served: Served) -> None:
    client = served.client()
    sent = {"timeout_s": float("inf"), "data": b"\xff", "rows": [{"n": None}, True]}
    assert client.ask("echo", WAIT_S, **sent) == sent
    assert client.ask("echo", WAIT_S, self="me", timeout_s=1) == {"self": "me", "timeout_s": 1}
    assert math.isnan(client.ask("echo", WAIT_S, value=float("nan"))["value"])
    assert client.ask("pair", WAIT_S) == [1, [2, 3]]


@pytest.mark.parametrize(
    ("verb", "error", "message"),
    [
        ("refused", CommandRefused, "held by others"),
        ("state", WrongState, "n1 is down"),
        ("spec", BadInput, "no such field"),
        ("rule", BadInput, "no such rule"),
        ("unwell", ConsensusError, "not today"),
        ("broken", ConsensusError, "an internal error: ZeroDivisionError"),
        ("path", BadInput, r"folder/\\udcff cannot be written"),
        ("set", ConsensusError, "an internal error: TypeError"),
        ("do", ConsensusError, "an internal error: TypeError"),  # without its argument
        ("nothing", BadInput, "there is no request 'nothing': there are echo, do"),
    ],
)
def test_an_error_comes_back_as_its_class_or_the_nearest_known_one(
    served: Served, verb: str, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message) as raised:
        served.client().ask(verb, WAIT_S)
    assert type(raised.value) is error
    assert served.client().ask("done", WAIT_S) == []  # and the server goes on


def test_a_refusal_keeps_its_kind(served: Served) -> None:
    with pytest.raises(CommandRefused) as refused:
        served.client().ask("refused", WAIT_S)
    assert refused.value.kind == "held"


def test_a_client_knows_the_errors_that_it_is_made_with(served: Served) -> None:
    with pytest.raises(ProxyFailed, match="not today"):
        served.client(ProxyFailed).ask("unwell", WAIT_S)


@pytest.mark.parametrize("wrong", ["\udcff", 2**70, {1, 2}, object()])
def test_arguments_that_cannot_be_sent_are_refused_before_anything_is_sent(served: Served, wrong: object) -> None:
    with pytest.raises(BadValue, match="cannot be sent") as refused:
        served.client().ask("echo", WAIT_S, value=wrong)
    assert TOKEN not in str(refused.value)


def test_requests_without_the_token_get_no_reply_and_are_counted(served: Served) -> None:
    request = pack_unchecked({"verb": "do", "arguments": {}, "deadline": time.monotonic() + WAIT_S})
    token = TOKEN.encode()
    strange = [[request], [b"", request], [b"6" * 32, request], [token], [token, b"\xc1"], [token, request, b""]]
    strange += [
        [token, pack_unchecked({"verb": "do", "arguments": {}})],
        [token, pack_unchecked([1])],
        [b"\xff" * 40, request],
    ]
    with tuned(zmq.Context.instance().socket(zmq.DEALER)) as client:
        client.connect(served.server.address)
        for frames in strange:
            client.send_multipart(frames)
        client.send_multipart(
            [token, pack_unchecked({"verb": "done", "arguments": {}, "deadline": time.monotonic() + 9.0})]
        )
        assert client.poll(int(WAIT_S * 1000))
        assert unpack_unchecked(client.recv()) == {"result": []}
        assert not client.poll(0)
    assert served.server.unauthorized == len(strange)


def test_connections_that_are_kept_are_used_again_by_every_thread_and_closed(served: Served) -> None:
    client = served.client()
    client.keep_connections()
    with ThreadPoolExecutor(4) as pool:
        echoes = list(pool.map(lambda number: client.ask("echo", WAIT_S, number=number), range(40)))
    assert echoes == [{"number": number} for number in range(40)]
    callers = set(served.callers)
    assert len(served.callers) == 40
    assert 1 <= len(callers) <= 4
    client.close()
    assert client.ask("pair", WAIT_S) == [1, [2, 3]]  # by a connection of its own
    assert served.callers[-1] not in callers


def test_a_connection_whose_reply_may_come_late_is_not_used_again() -> None:
    server = ControlServer(TOKEN)
    client = ControlClient(server.address, TOKEN, lambda: None, no_reply)
    client.keep_connections()
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(client.ask, "first", 0.05)
        server.wait(WAIT_S)
        with pytest.raises(NotUp):
            first.result()
        second = pool.submit(client.ask, "second", WAIT_S)
        requests: list[ControlRequest] = []
        while "second" not in [request.verb for request in requests]:
            server.wait(WAIT_S)
            requests += server.requests()
        for request in requests:
            server.answer(request.caller, request.verb)
        assert second.result() == "second"
    client.close()
    server.close()


def test_a_late_request_is_not_begun() -> None:
    done: list[str] = []
    server = ControlServer(TOKEN)
    client = ControlClient(server.address, TOKEN, lambda: None, no_reply)
    with pytest.raises(NotUp, match=r"no reply to do within 0\.01 s"):
        client.ask("do", 0.01, what="late")
    server.wait(WAIT_S)
    assert list(server.requests()) == []
    assert (server.late, server.unauthorized, done) == (1, 0, [])
    server.close()


def test_a_client_stops_waiting_when_the_server_is_no_more() -> None:
    def check_alive() -> None:
        raise NotUp("the server has ended")

    server = ControlServer(TOKEN)
    client = ControlClient(server.address, TOKEN, check_alive, no_reply)
    with pytest.raises(NotUp, match="the server has ended"):
        client.ask("do", WAIT_S)
    server.close()


def test_a_server_in_a_poller_replies_later_and_in_any_order() -> None:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    server, poller = ControlServer(TOKEN, context), Poller()
    poller.register(server.socket)
    client = ControlClient(server.address, TOKEN, lambda: None, no_reply)
    waiting: dict[int, ControlRequest] = {}
    with ThreadPoolExecutor(3) as threads:
        asked = [threads.submit(client.ask, "wait", WAIT_S, number=number) for number in range(3)]
        until = time.monotonic() + WAIT_S
        while len(waiting) < 3 and time.monotonic() < until:
            for _ in poller.poll(100):
                waiting |= {request.arguments["number"]: request for request in server.requests()}
        assert list(server.requests()) == []  # which does not wait
        server.refuse(waiting[2].caller, WrongState("not now"))
        server.answer(waiting[1].caller, "one")
        server.answer(waiting[0].caller, "zero")
        poller.touched(server.socket)
        assert [asked[number].result(WAIT_S) for number in (0, 1)] == ["zero", "one"]
        with pytest.raises(WrongState, match="not now"):
            asked[2].result(WAIT_S)
    server.close()
    assert not context.closed  # it is the caller's
    context.destroy(linger=0)


def test_a_caller_that_has_gone_does_not_keep_the_server() -> None:
    server = ControlServer(TOKEN)
    client = ControlClient(server.address, TOKEN, lambda: None, no_reply)
    with pytest.raises(NotUp):
        client.ask("do", 0.0)
    server.answer(b"unknown", {"any": "thing"})
    server.refuse(b"unknown", NotUp("gone"))
    server.close()
