"""What opens the live page of a cluster that is up: for `consensus live`, and `consensus up --live`."""

import threading
import time
import webbrowser
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cluster.errors import NotUp
from cluster.supervisor_file import SupervisorClient
from harness.cli.convention import print_json, print_stderr, shown_path
from harness.cli.judged_session import judgement, session_since
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
        serve_page(view, do, 0, show=True, as_json=False)


def serve_page(
    view: "PageView",
    do: "Do | None",
    port: int,
    *,
    show: bool,
    as_json: bool,
    boot: Callable[[], None] = lambda: None,
    beside: "tuple[PageView, Do | None] | None" = None,
) -> None:
    """Serve the page until a signal comes.

    Args:
        view: what the page shows.
        do: does its acts; None: it is only read.
        port: the port; 0 for a free one.
        show: whether to open the browser.
        as_json: whether to print the address as JSON.
        boot: is called once the page can be opened.
        beside: a second view, which is shown beside the first, and what does its acts.
    """
    from harness.page.server import PageServer  # noqa: PLC0415 - the web server is for the page alone

    server = PageServer(view, do, port, beside=beside)
    server.start()
    try:
        show_address(server.url, show=show, as_json=as_json, boot=boot)
    finally:
        server.close()


def show_address(
    url: str, *, show: bool, as_json: bool = False, without: str = "", boot: Callable[[], None] = lambda: None
) -> None:
    """Print where the page is, open it in the browser if wanted, call `boot`, and wait for a signal.

    `without` says what else helps if there is no browser.
    """
    if as_json:
        print_json(url=url)
    else:
        print(url, flush=True)
    if show and not webbrowser.open(url):
        print_stderr(f"no browser could be started: open the address above yourself{without and f', {without}'}")
    print_stderr("Ctrl-C ends the page")
    boot()
    threading.Event().wait()


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
