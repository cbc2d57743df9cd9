"""The web server of a page: the page's files, and one WebSocket for each browser.

Theory of operation
-------------------
A browser loads the page and opens a WebSocket. The server sends what never changes (`about`), then how it stands and the events
from the browser's place in the log, as they come: see `event_log.py`. What the browser sends are acts, each with a number; the
reply has the same number.

Two views can be shown side by side (`beside.py`). Then the page has a frame for each, at `a/` and `b/`, and each is a whole page.

A browser that reads slowly is sent to slowly: the server waits until the last batch has left, and reads on from its place. So a
browser has one batch under way, and nothing queued.

| message to the browser | fields |
|---|---|
| `about` | what never changes, see `PageView.about`; `read_only`. A second one is of another view |
| `batch` | `place`, `events`, `anew` (forget all earlier ones), `now` in microseconds, `stand` if it has changed |
| `reply` | `id`, `ok`, `text` |
"""

import asyncio
import contextlib
import json
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from html import unescape
from pathlib import Path
from typing import Any, Final

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from harness.page.act_table import UNDER_WAY_MAX
from harness.page.address import PageAddress
from harness.page.report_maker import ReportMaker
from harness.page.safety import Guard
from harness.page.view import PageView
from harness.report.scripts import ASSETS as REPORT_ASSETS

ASSETS: Final = Path(__file__).parent / "assets"
#: The files that a browser may load, by their paths, with their types.
_FILES: Final = {
    "/": (ASSETS / "page.html", "text/html"),
    "/page.css": (ASSETS / "page.css", "text/css"),
    "/theme.css": (REPORT_ASSETS / "theme.css", "text/css"),
    "/picture.css": (REPORT_ASSETS / "picture.css", "text/css"),
    **{f"/{path.name}": (path, "text/javascript") for path in (*ASSETS.glob("*.mjs"), *REPORT_ASSETS.glob("*.js"))},
}
#: The files of a page with two frames.
_FRAME_FILES: Final = {
    "/": (ASSETS / "pair.html", "text/html"),
    "/pair.css": (ASSETS / "pair.css", "text/css"),
    "/pair.mjs": (ASSETS / "pair.mjs", "text/javascript"),
    "/theme.css": (REPORT_ASSETS / "theme.css", "text/css"),
}
#: How many events a batch has at most.
_BATCH_MAX: Final = 2_000
#: The longest message of a browser: a value of 256 KiB as JSON text, in which a character may take six bytes.
_MESSAGE_BYTES_MAX: Final = 2 * 1024 * 1024
#: How many browsers may look at once.
_BROWSERS_MAX: Final = 20
#: A browser is told the time at least so often, in seconds.
_TICK_S: Final = 0.25
#: How long to wait for the first browser to ask for the page, and then for it to show the page, in seconds.
_ASKS_S: Final = 0.1
_LOADS_S: Final = 1.0
#: What the link to the report shows while it is being made for so many seconds.
_BEING_MADE: Final = (
    '<!doctype html><html lang="en"><meta charset="utf-8"><title>The report is being made</title>'
    '<link rel="stylesheet" href="theme.css"><p>The report of this run is being made: {:.0f} s so far. It opens here by itself.'
)

#: Does an act: its name and its arguments, as a browser sent them. Returns the reply.
Do = Callable[[Any, Any], dict[str, Any]]


@dataclass(eq=False)
class _Pane:
    """One view, with what does its acts, and what wakes the browsers that look at it."""

    view: PageView
    do: Do | None
    changed: set[asyncio.Event] = field(default_factory=set)
    reports: ReportMaker = field(default_factory=ReportMaker)


class PageServer:
    """Serves a view on loopback until `close`, in a thread of its own. `url` is where, with the token."""

    def __init__(
        self,
        view: PageView,
        do: Do | None,
        address: PageAddress | None = None,
        beside: tuple[PageView, Do | None] | None = None,
    ) -> None:
        """Prepare to serve.

        Args:
            view: what the page shows.
            do: does an act; None for a page that is only read.
            address: where the page is; None for a free port and a new token.
            beside: a second view, which the page shows beside the first, and what does its acts.

        Raises:
            Mistake: no port can be used.
        """
        self._panes = [_Pane(view, do), *([] if beside is None else [_Pane(*beside)])]
        address = address or PageAddress()
        self._socket, self.port, self.url = address.socket, address.port, address.url
        self._is_asked, self._is_shown = threading.Event(), threading.Event()
        self._pool = ThreadPoolExecutor(UNDER_WAY_MAX + 1, "act")
        self._loop: asyncio.AbstractEventLoop | None = None
        if beside is None:
            routes = self._routes("", self._panes[0])
        else:
            routes = [Route(path, self._serves(*file)) for path, file in _FRAME_FILES.items()]
            routes += [*self._routes("/a", self._panes[0]), *self._routes("/b", self._panes[1])]
        application = Starlette(routes=routes, lifespan=self._lifespan)
        self.guard = Guard(application, address.token, self.port, has_frames=beside is not None)
        config = uvicorn.Config(
            self.guard,
            log_level="critical",
            access_log=False,
            server_header=False,
            date_header=False,
            ws="websockets-sansio",
            ws_max_size=_MESSAGE_BYTES_MAX,
            ws_per_message_deflate=False,
            timeout_graceful_shutdown=1,
            limit_concurrency=200,
        )
        self._server = uvicorn.Server(config)
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="page", daemon=True)

    def _routes(self, prefix: str, pane: _Pane) -> list[BaseRoute]:
        return [
            *(Route(f"{prefix}{path}", self._serves(*file)) for path, file in _FILES.items()),
            Route(f"{prefix}/report", partial(self._report, pane)),
            WebSocketRoute(f"{prefix}/live", partial(self._live, pane)),
        ]

    def start(self) -> None:
        """Begin to serve. Returns when browsers can connect."""
        self._thread.start()
        self._ready.wait()

    def close(self) -> None:
        """Serve no more. Browsers are disconnected."""
        self._server.should_exit = True
        self._thread.join()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def show(self, view: PageView) -> None:
        """Show another view from now on. Each browser is told what it is about, and begins anew."""
        pane = self._panes[0]
        before, pane.view = pane.view, view
        view.log.on_change = before.log.on_change
        before.log.on_change = lambda: None
        view.log.on_change()

    def _run(self) -> None:
        self._server.run(sockets=[self._socket])

    @contextlib.asynccontextmanager
    async def _lifespan(self, _application: Starlette) -> AsyncIterator[None]:
        loop = self._loop = asyncio.get_running_loop()

        def waker(pane: _Pane) -> Callable[[], None]:
            def wake() -> None:
                for changed in pane.changed:
                    changed.set()

            def on_change() -> None:
                with contextlib.suppress(RuntimeError):  # the loop has ended
                    loop.call_soon_threadsafe(wake)

            return on_change

        for pane in self._panes:
            pane.view.log.on_change = waker(pane)
        self._ready.set()
        yield
        for pane in self._panes:
            pane.view.log.on_change = lambda: None
            await pane.reports.close()

    def wait_for_browser(self) -> None:
        """Return when the first browser shows the page, and soon if none asks for it."""
        if self._is_asked.wait(_ASKS_S):
            self._is_shown.wait(_LOADS_S)

    # --- files ----------------------------------------------------------------------------------------------------------

    def _serves(self, path: Path, kind: str) -> Callable[[Request], Coroutine[None, None, Response]]:
        async def file(_request: Request) -> Response:
            self._is_asked.set()
            return Response(path.read_bytes(), media_type=kind)

        return file

    async def _report(self, pane: _Pane, _request: Request) -> Response:
        """Return the report of the run as it is now: a page of one file, with a policy of its own; or that it is being made."""
        folder = pane.view.folder()
        if folder is None:
            return PlainTextResponse("there is no run yet: it begins with the first call or fault", 404)
        try:
            text = await pane.reports.report(folder, is_under_way=pane.view.is_under_way)
        except OSError as error:
            return PlainTextResponse(str(error), 500)
        if not isinstance(text, str):  # the browser asks again
            return HTMLResponse(_BEING_MADE.format(text), headers={"refresh": "1"})
        own = unescape(text.partition('Content-Security-Policy" content="')[2].partition('"')[0])
        return HTMLResponse(text, headers={"content-security-policy": own})

    # --- the WebSocket --------------------------------------------------------------------------------------------------

    async def _live(self, pane: _Pane, browser: WebSocket) -> None:
        if len(pane.changed) >= _BROWSERS_MAX:
            await browser.close()
            return
        await browser.accept()
        self._is_shown.set()
        changed = asyncio.Event()
        pane.changed.add(changed)
        both = [
            asyncio.create_task(self._send(browser, changed, pane)),
            asyncio.create_task(self._receive(browser, pane)),
        ]
        try:
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)  # either ends when the browser has gone
        finally:
            pane.changed.discard(changed)
            for task in both:
                task.cancel()
            await asyncio.gather(*both, return_exceptions=True)
            with contextlib.suppress(RuntimeError, OSError):  # it is closed already
                await browser.close()

    async def _receive(self, browser: WebSocket, pane: _Pane) -> None:
        acts: set[asyncio.Task[None]] = set()
        while True:
            text = await browser.receive_text()
            act = asyncio.create_task(self._act(browser, text, pane))
            acts.add(act)
            act.add_done_callback(acts.discard)
            if len(acts) >= UNDER_WAY_MAX:  # read no more until one is done
                await asyncio.wait(acts, return_when=asyncio.FIRST_COMPLETED)

    async def _send(self, browser: WebSocket, changed: asyncio.Event, pane: _Pane) -> None:
        view: PageView | None = None
        place, version = 0, -1
        while True:
            changed.clear()
            if view is not pane.view:
                view, place, version = pane.view, 0, -1
                read_only = pane.do is None or bool(view.about.get("read_only"))
                await _send_json(browser, {"m": "about", **view.about, "read_only": read_only})
            batch = view.log.read(place, _BATCH_MAX)
            version, standing = view.standing(version)
            now_us = view.now_us() if view.now_us else None
            message = {"m": "batch", "place": batch.place, "events": batch.events, "anew": batch.is_anew, "now": now_us}
            if standing is not None:
                message["stand"] = standing
            await _send_json(browser, message)
            place = batch.place
            if place == view.log.end:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(changed.wait(), _TICK_S if view.now_us else None)

    async def _act(self, browser: WebSocket, text: str, pane: _Pane) -> None:
        try:
            asked = json.loads(text)
            number, act, arguments = asked["id"], asked["act"], asked["arguments"]
        except (ValueError, TypeError, KeyError, RecursionError):
            await _send_json(browser, {"m": "reply", "id": None, "ok": False, "text": "this message is no act"})
            return
        if pane.do is None:
            reply = {"ok": False, "text": "this page is only to be read"}
        else:
            assert self._loop is not None
            reply = await self._loop.run_in_executor(self._pool, pane.do, act, arguments)
        if isinstance(number, int):
            await _send_json(browser, {"m": "reply", "id": number, **reply})


async def _send_json(browser: WebSocket, message: dict[str, Any]) -> None:
    with contextlib.suppress(
        WebSocketDisconnect, RuntimeError
    ):  # it has gone, which the reader of its messages notices
        # In ASCII, since a text of a cluster may hold half of a surrogate pair, which UTF-8 cannot carry.
        await browser.send_text(json.dumps(message, separators=(",", ":")))
