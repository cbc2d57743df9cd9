"""What opens the live page of a cluster that is up: for `consensus live`, and `consensus up --live`."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cluster.errors import NotUp
from cluster.supervisor_file import SupervisorClient
from harness.cli.convention import print_json, print_stderr, shown_path
from harness.cli.judged_session import judgement, session_since
from harness.page.address import PageAddress
from harness.records.run_folders import SYSTEM_NAME

if TYPE_CHECKING:
    from cluster.spec import Spec
    from harness.page.server import Do
    from harness.page.view import PageView

_ANSWER_S: Final = 10.0
_DOWN_S: Final = 20.0


def show_page(root: Path, *, ends: bool) -> None:
    """Open the page of the cluster that is up in `root`, until Ctrl-C. `ends`: the cluster ends then."""
    with ExitStack() as ending:
        if ends:
            ending.callback(stop_cluster, root)
        view, do = ending.enter_context(page_of_cluster(root))
        address = PageAddress()
        serve_page(view, do, address, Announcement(address.url, show=True))


class Announcement:
    """Says where the page is, once, and opens it in the browser if wanted."""

    def __init__(self, url: str, *, show: bool, as_json: bool = False, without: str = "") -> None:
        """Prepare to say it. `without` says what else helps if there is no browser."""
        self._url, self._show, self._as_json, self._without = url, show, as_json, without
        self._is_made = False

    def make(self) -> None:
        """Print the address, and open it. The server may not run yet: a browser waits for it."""
        if self._is_made:
            return
        self._is_made = True
        if self._as_json:
            print_json(url=self._url)
        else:
            print(self._url, flush=True)
        if self._show:  # in a thread, since a browser in a terminal returns when it is left
            threading.Thread(target=self._open, name="browser", daemon=True).start()

    def _open(self) -> None:
        import webbrowser  # noqa: PLC0415 - only --open needs it

        if not webbrowser.open(self._url):
            other = f", {self._without}" if self._without else ""
            print_stderr(f"no browser could be started: open the address above yourself{other}")


def serve_page(
    view: "PageView",
    do: "Do | None",
    address: PageAddress,
    announcement: Announcement,
    *,
    boot: Callable[[], None] | None = None,
    beside: "tuple[PageView, Do | None] | None" = None,
) -> None:
    """Serve the page until a signal comes.

    Args:
        view: what the page shows.
        do: does its acts; None: it is only read.
        address: where the page is.
        announcement: says so, if it has not yet.
        boot: boots what the page shows. A browser that loads the page goes first: both would take twice as long at once.
        beside: a second view, which is shown beside the first, and what does its acts.
    """
    from harness.page.server import PageServer  # noqa: PLC0415 - the web server is for the page alone

    server = PageServer(view, do, address, beside)
    server.start()
    try:
        announcement.make()
        print_stderr("Ctrl-C ends the page")
        if boot is not None:
            server.wait_for_browser()
            boot()
        threading.Event().wait()
    finally:
        server.close()


@contextmanager
def page_of_cluster(root: Path, booting: "Spec | None" = None) -> "Iterator[tuple[PageView, Do]]":
    """Yield the view of the cluster that is up in `root`, and its acts. `booting`: it is not up yet, and is this one."""
    from harness.page.acts import ClusterActs  # noqa: PLC0415 - for the page alone
    from harness.page.catalogue import plain_catalogue  # noqa: PLC0415
    from harness.page.live_view import LiveView  # noqa: PLC0415
    from harness.page.patience import CallPatience  # noqa: PLC0415
    from harness.report.about import about_cluster  # noqa: PLC0415

    if booting is None and (root / SYSTEM_NAME).exists():
        with _page_of_system(root) as (view, do):
            yield view, do
        return
    if booting is None:
        control = SupervisorClient(root)
        where = control.ask("where", _ANSWER_S)
        control.ask("look", _ANSWER_S, after=0, since_ns=0, most=1)  # refused if the nodes outlive their supervisor
        algorithm, nodes, cluster = where["algorithm"], list(where["addresses"]), where["cluster"]
    else:
        algorithm, nodes = booting.settings.algorithm, list(booting.present_nodes())
        cluster = booting.settings.cluster
    about = about_cluster(algorithm, nodes, cluster=cluster, faults=plain_catalogue(), live=True)
    with ExitStack() as ending:
        live_view = LiveView(lambda: SupervisorClient(root), about)
        live_view.view.stand(booting=booting is not None)
        live_view.on_ended = lambda why: print_stderr(
            f"{why}. The page has a button that starts it again, and so does `consensus up -d`; Ctrl-C ends the page"
        )
        patience = CallPatience()
        live_view.on_look = patience.take
        acts = ClusterActs(root, live_view.hurry, patience)
        ending.callback(acts.close)
        live_view.start()
        ending.callback(live_view.close)
        yield live_view.view, acts.do


@contextmanager
def _page_of_system(root: Path) -> "Iterator[tuple[PageView, Do]]":
    """Yield the view of the nodes that are not ours and are up in `root`, and its acts."""
    from harness.page.catalogue import plain_catalogue  # noqa: PLC0415 - for the page alone
    from harness.page.live_view import LiveView  # noqa: PLC0415
    from harness.page.system_acts import SystemActs  # noqa: PLC0415

    told = SupervisorClient(root).ask("about", _ANSWER_S)
    faults = [fault for fault in plain_catalogue() if fault["name"] in told["faults"]]
    about = {
        **told,
        "algorithm": told["name"],
        "faults": faults,
        "keeps_log": False,
        "types": [],
        "promises": {},
        "live": True,
    }
    with ExitStack() as ending:
        live_view = LiveView(lambda: SupervisorClient(root), {**about, "system": True})
        live_view.view.stand(booting=False)
        live_view.on_ended = lambda why: print_stderr(
            f"{why}. The page has a button that starts it anew; Ctrl-C ends it"
        )
        acts = SystemActs(root, live_view.hurry)
        ending.callback(acts.close)
        live_view.start()
        ending.callback(live_view.close)
        yield live_view.view, acts.do


def stop_cluster(root: Path) -> None:
    """End the cluster, also if the page has started it again, and print how its supervisor has judged the session."""
    began_s = time.time()
    try:
        control = SupervisorClient(root)
        control.ask("stop", _DOWN_S)
    except NotUp:
        return
    deadline = time.monotonic() + _DOWN_S
    while control.is_alive() and time.monotonic() < deadline:
        time.sleep(0.02)
    session = session_since(root, began_s, control.born)
    if session is None:
        print_stderr("the cluster has ended; there was no call and no fault to judge")
    else:
        path = shown_path(session.path)
        print_stderr(f"the cluster has ended; {judgement(session)}")
        print_stderr(f"`consensus report {path}` shows the run, and `consensus live {path}` opens it on the page")
