"""The server of the live page, over real sockets: who gets in, and what 200 hostile requests change."""

import json
import os
import re
import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Origin

from cluster.errors import Mistake
from harness.cli.verbs import cli
from harness.page.address import PageAddress
from harness.page.event_log import EventLog
from harness.page.report_maker import ReportMaker
from harness.page.server import ASSETS, PageServer
from harness.page.view import PageView
from harness.report.scripts import ASSETS as REPORT_ASSETS
from tests.run_folders import HOSTILE, split_brain
from tests.waiting import WAIT_S

TOKEN = "the-token-of-this-test"  # noqa: S105 - it opens nothing
HTML = "<script>alert(1)</script>"


class Served:
    """A page whose acts are noted and not done."""

    def __init__(self, *, read_only: bool = False) -> None:
        self.acts: list[tuple[Any, Any]] = []
        self.log = EventLog(events_max=1000)
        self.view = PageView(self.log, {"nodes": ["n1"], "name": HOSTILE}, lambda: 7)
        self.server = PageServer(self.view, None if read_only else self._do, PageAddress(token=TOKEN))
        self.server.start()
        self.own = f"127.0.0.1:{self.server.port}"

    def _do(self, act: Any, arguments: Any) -> dict[str, Any]:
        self.acts.append((act, arguments))
        return {"ok": True, "text": "done"}

    def send(self, raw: bytes, *, ends: bool = False) -> str:
        """Send bytes, which nothing follows if `ends`, and return the first line of the answer; empty if there is none."""
        with socket.create_connection(("127.0.0.1", self.server.port), WAIT_S) as sock:
            try:
                sock.sendall(raw)
                if ends:
                    sock.shutdown(socket.SHUT_WR)
                return sock.makefile("rb").readline().decode("latin-1").strip()
            except OSError:  # it closes while we still send
                return ""

    def get(self, path: str, method: str = "GET", **headers: str) -> str:
        lines = {"Host": self.own, **{name.replace("_", "-"): value for name, value in headers.items()}}
        text = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        return self.send(
            f"{method} {path} HTTP/1.1\r\n{text}Connection: close\r\n\r\n".encode("utf-8", "surrogateescape")
        )

    def handshake(self, path: str = f"/{TOKEN}/live", **headers: str) -> str:
        given = {"Origin": f"http://{self.own}", **headers}
        upgrade = {
            "Upgrade": "websocket",
            "Sec_WebSocket_Version": "13",
            "Sec_WebSocket_Key": "AAAAAAAAAAAAAAAAAAAAAA==",
        }
        lines = {"Host": self.own, **given, **{name.replace("_", "-"): value for name, value in upgrade.items()}}
        text = "".join(f"{name}: {value}\r\n" for name, value in lines.items() if value)
        return self.send(f"GET {path} HTTP/1.1\r\n{text}Connection: Upgrade\r\n\r\n".encode("utf-8", "surrogateescape"))

    @contextmanager
    def browser(self) -> Iterator[ClientConnection]:
        url = f"ws://{self.own}/{TOKEN}/live"
        with connect(url, origin=Origin(f"http://{self.own}"), max_size=None, open_timeout=WAIT_S) as browser:
            yield browser

    def send_until_disconnected(self, frame: bytes) -> None:
        with self.browser() as browser:
            browser.send(frame)
            while True:
                browser.recv(WAIT_S)

    def works(self) -> bool:
        """Return whether a page still opens, gets events, and acts."""
        with self.browser() as browser:
            assert json.loads(browser.recv(WAIT_S))["m"] == "about"
            browser.send(json.dumps({"id": 1, "act": "probe", "arguments": {}}))
            while (message := json.loads(browser.recv(WAIT_S)))["m"] != "reply":
                pass
        return bool(message["ok"] and self.acts.pop() == ("probe", {}) and " 200 " in self.get(f"/{TOKEN}/"))


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    page = Served()
    with closing(page.server):
        yield page


def test_the_page_and_its_files_are_served_with_a_strict_policy(served: Served) -> None:
    for path in ("", "main.mjs", "page.css", "theme.css", "ring.js"):
        with socket.create_connection(("127.0.0.1", served.server.port), WAIT_S) as sock:
            sock.sendall(f"GET /{TOKEN}/{path} HTTP/1.1\r\nHost: {served.own}\r\nConnection: close\r\n\r\n".encode())
            answer = sock.makefile("rb").read().decode().lower()
        head = answer.partition("\r\n\r\n")[0]
        assert head.startswith("http/1.1 200"), path
        assert "default-src 'none'; script-src 'self'" in head
        assert "unsafe" not in head
        assert "nosniff" in head
        assert "<script>" not in answer
        assert " onclick=" not in answer


def test_the_page_asks_for_all_its_modules_at_once() -> None:
    needed = ["main.mjs"]
    for name in needed:  # it grows meanwhile
        source = next(folder / name for folder in (ASSETS, REPORT_ASSETS) if (folder / name).exists()).read_text()
        needed += set(re.findall(r'from "\./([\w.]+)"', source)) - set(needed)
    asked = re.findall(r'<link rel="modulepreload" href="([\w.]+)">', (ASSETS / "page.html").read_text())
    assert sorted(asked) == sorted(needed[1:])


def requests_without_the_right(served: Served) -> Iterator[str]:
    """Send requests that must not get in, one by one, and yield each answer's first line."""
    page = f"/{TOKEN}/"
    wrong = [
        "",
        "/",
        "/live",
        "/x/",
        f"/{TOKEN}",
        f"/{TOKEN}x/",
        f"/{TOKEN[:-1]}/",
        f"/{TOKEN.upper()}/",
        f"//{TOKEN}/",
        f"/x/{TOKEN}/",
    ]
    wrong += [
        f"/%2e%2e/{TOKEN}/",
        "/%00/",
        f"/{TOKEN}%00/",
        f"/{HTML}/",
        f"/\udcff{TOKEN}/",
        f"/{'a' * 2000}/",
        f"/?{TOKEN}",
        f"/;{TOKEN}/",
    ]
    for path in wrong:
        for method in ("GET", "POST", "HEAD", "OPTIONS"):
            yield served.get(path or "*", method)
        yield served.handshake(f"{path or '/'}live")
        yield served.get(path or "/", Origin=f"http://{served.own}")
    for host in (
        "evil.example",
        f"evil.example:{served.server.port}",
        "127.0.0.1",
        "localhost",
        f"127.0.0.1.evil.example:{served.server.port}",
        "[::1]",
        f"127.0.0.1:{served.server.port + 1}",
        f"{served.own}@evil.example",
        "",
        HTML,
        f"{served.own}, evil.example",
    ):
        yield served.get(page, Host=host)
        yield served.handshake(Host=host)
    for origin in (
        "http://evil.example",
        "null",
        "https://127.0.0.1",
        f"https://{served.own}",
        "http://127.0.0.1",
        f"http://{served.own}.evil.example",
        HTML,
        f"http://localhost:{served.server.port}",
        f"file://{served.own}",
        f"http://{served.own}/",
    ):
        yield served.get(page, Origin=origin)
        yield served.handshake(Origin=origin)
    for site in ("cross-site", "same-site"):
        yield served.get(page, Sec_Fetch_Site=site)
    yield served.handshake(Origin="")  # a browser sends one with each handshake
    yield from (
        served.handshake(path)
        for path in ("/live", "/x/live", f"/{TOKEN}x/live", f"/{TOKEN}/live/x", f"/{TOKEN}/", f"/{TOKEN}/page.html")
    )
    for escape in (
        "../page.html",
        "..%2f..%2fpyproject.toml",
        "%2e%2e/%2e%2e/etc/passwd",
        "....//server.py",
        "/etc/passwd",
        "server.py",
        "page.html%00",
        "main.mjs/../../server.py",
        "assets/main.mjs",
        "..\\server.py",
        HTML,
        "report/../../x",
        "main.mjs%3fx",
        "a" * 2000,
    ):
        yield served.get(page + escape)
    for method in ("POST", "PUT", "DELETE", "PATCH", "TRACE", "CONNECT", "OPTIONS"):
        yield served.get(page, method)
        yield served.get(page, method, Origin=f"http://{served.own}")
    doubled = f"Host: {served.own}\r\nHost: evil.example\r\n"
    for raw in (
        f"GET {page} HTTP/1.1\r\n\r\n",
        f"GET {page} HTTP/1.1\r\n{doubled}\r\n",
        f"GET {page}\r\n\r\n",
        f"GET {page} HTTP/9.9\r\nHost: {served.own}\r\n\r\n",
        "\r\n\r\n",
        "\x00" * 64,
        "GET",
        f"GET {page} HTTP/1.1\r\nHost {served.own}\r\n\r\n",
        "\x16\x03\x01\x02\x00\x01",
        f"GET {page} HTTP/1.1\r\nHost: {served.own}\r\nX: {'x' * 200_000}\r\n\r\n",
        f"GET /{'x' * 200_000} HTTP/1.1\r\n\r\n",
        f"POST {page} HTTP/1.1\r\nHost: {served.own}\r\nContent-Length: -1\r\n\r\n",
        f"POST {page} HTTP/1.1\r\nHost: {served.own}\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ):
        yield served.send(raw.encode("latin-1"), ends=True)


def test_hostile_requests_get_nothing_and_change_nothing(served: Served) -> None:
    answers = list(requests_without_the_right(served))
    assert len(answers) >= 200
    assert len([answer for answer in answers if answer]) >= 190
    for number, answer in enumerate(answers):
        assert answer == "" or answer.split()[1][0] == "4", f"request {number} was answered {answer!r}"
    assert served.acts == []
    assert served.works()


MALFORMED = [
    "",
    "{",
    "[]",
    "null",
    "0",
    '"kill"',
    "{}",
    '{"id": 1}',
    '{"id": 1, "act": "kill"}',
    '{"act": "kill", "arguments": {}}',
    "[" * 100_000,
    "\x00",
    '{"id": 1, "act": "kill", "arguments": ',
    "NaN",
    "\u2028",
    HTML,
]
STRANGE: list[tuple[Any, Any]] = [
    ("kill", None),
    ("kill", []),
    (None, {}),
    (["kill"], {}),
    ({"kill": 1}, {}),
    (HTML, {HTML: HTML}),
    ("a" * 100_000, {}),
    ("__class__", {}),
    (1e308, {}),
    ("_kill", {"self": 1}),
    ("do", {}),
    ("kill", {"nodes": {"$tuple": []}}),
]


def test_malformed_and_strange_acts_are_answered_and_break_no_browser(served: Served) -> None:
    with served.browser() as browser:
        for text in MALFORMED:
            browser.send(text)
        for number, (act, arguments) in enumerate(STRANGE):
            browser.send(json.dumps({"id": number, "act": act, "arguments": arguments}))
        replies: list[Any] = []
        while len(replies) < len(MALFORMED) + len(STRANGE):
            message = json.loads(browser.recv(WAIT_S))
            replies += [message] if message["m"] == "reply" else []
    assert [reply["ok"] for reply in replies if reply["id"] is None] == [False] * len(MALFORMED)
    assert {reply["id"] for reply in replies} == {None, *range(len(STRANGE))}
    assert len(served.acts) == len(STRANGE)
    served.acts.clear()
    for frame in (b"\xff\x00", b"x" * 4_000_000):  # bytes, and more than any act needs
        with pytest.raises((ConnectionClosed, OSError)):
            served.send_until_disconnected(frame)
    assert served.acts == []
    assert served.works()


def test_a_page_that_is_only_read_acts_on_nothing() -> None:
    page = Served(read_only=True)
    with closing(page.server), page.browser() as browser:
        assert json.loads(browser.recv(WAIT_S))["read_only"]
        browser.send(json.dumps({"id": 3, "act": "kill", "arguments": {"nodes": "n1"}}))
        while (message := json.loads(browser.recv(WAIT_S)))["m"] != "reply":
            pass
        assert message == {"m": "reply", "id": 3, "ok": False, "text": "this page is only to be read"}
    assert page.acts == []


def test_every_browser_sees_the_same_and_one_that_comes_back_catches_up(served: Served) -> None:
    def seen(browser: ClientConnection, last: int) -> list[int]:
        numbers: list[int] = []
        while not numbers or numbers[-1] < last:
            message = json.loads(browser.recv(WAIT_S))
            if message.get("anew"):
                numbers = []
            numbers += [event["t"] for event in message.get("events", [])]
        return numbers

    with served.browser() as one, served.browser() as other:
        served.log.add({"k": "msg", "t": number} for number in range(10))
        assert seen(one, 9) == seen(other, 9) == list(range(10))
    served.log.add({"k": "msg", "t": number} for number in range(10, 5000))  # more than the log holds
    with served.browser() as back:
        assert seen(back, 4999) == list(range(4000, 5000))


def test_the_second_of_two_messages_does_not_wait_for_the_first_to_be_acknowledged() -> None:
    address = PageAddress()  # asyncio switches Nagle's algorithm off for connections of such a socket alone
    with closing(address.socket), closing(socket.create_connection(("127.0.0.1", address.port))):
        accepted, _ = address.socket.accept()
        with closing(accepted):
            assert accepted.proto == socket.IPPROTO_TCP


def test_a_port_that_is_in_use_is_a_sentence(served: Served) -> None:
    with pytest.raises(Mistake, match=f"port {served.server.port} of 127.0.0.1 cannot be used: .* --port"):
        PageAddress(served.server.port)


def test_a_port_that_is_in_use_is_refused_before_a_cluster_is_started(served: Served, tmp_path: Path) -> None:
    arguments = ["--dir", str(tmp_path / "c"), "live", "--no-open", "--port", str(served.server.port)]
    result = CliRunner().invoke(cli, arguments)
    assert isinstance(result.exception, Mistake)
    assert not (tmp_path / "c").exists()


def test_a_server_that_ends_says_so_by_the_code_of_its_closing() -> None:
    page = Served()
    with page.browser() as browser:
        browser.recv(WAIT_S)
        page.server.close()
        with pytest.raises(ConnectionClosed):
            list(browser)
        assert browser.close_code == 1012  # connection.mjs looks for it


def answer_of(page: Served, path: str) -> str:
    with socket.create_connection(("127.0.0.1", page.server.port), WAIT_S) as sock:
        sock.sendall(f"GET /{TOKEN}/{path} HTTP/1.1\r\nHost: {page.own}\r\nConnection: close\r\n\r\n".encode())
        return sock.makefile("rb").read().decode()


def test_the_report_says_that_it_is_being_made_and_does_not_hold_up_the_end(tmp_path: Path) -> None:
    page = Served()
    with closing(page.server):
        assert " 404 " in answer_of(page, "report").splitlines()[0]
        folder = split_brain(tmp_path / "run")
        page.view.folder = lambda: folder
        page.server._panes[0].reports = ReportMaker(patience_s=WAIT_S)
        assert "Space-time diagram" in answer_of(page, "report")

        results = folder / "results.json"
        results.rename(folder / "results")
        assert "this run was not judged" in answer_of(page, "report")
        page.view.about["live"] = True
        answer = answer_of(page, "report")
        assert "This session is still running" in answer
        assert "There is no results.json yet: the session is still running, and is judged when it ends." in answer
        assert "not judged" not in answer
        assert "seed ?" not in answer
        page.view.stand(ended="it was stopped")
        assert "this run was not judged" in answer_of(page, "report")

        record = folder / "messages.jsonl"
        record.unlink()
        os.mkfifo(record)  # a reader of it waits
        page.server._panes[0].reports = ReportMaker(patience_s=0.05)
        for _ in range(2):
            answer = answer_of(page, "report")
            assert "refresh: 1" in answer
            assert "is being made" in answer
        making = page.server._panes[0].reports._making
    assert making is not None
    assert making.cancelled()  # and its process has been waited for
