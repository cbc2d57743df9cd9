"""`consensus tour`: the article in chapters, acted out on real processes while its reader watches."""

import sys
import threading
import webbrowser
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.cli.convention import (
    EXIT_UNKNOWN,
    ends_with_its_user,
    print_json,
    print_stderr,
    print_wrapped,
    shown_path,
    verb,
)

if TYPE_CHECKING:
    from harness.tour.story import ChapterTold, TourChapter


@verb()
@click.option("--text", is_flag=True, help="Tell it in this terminal, and open no page.")
@click.option("--chapter", "chosen", metavar="N", help="Tell one chapter: its number, or its name.")
@click.option("--list", "only_list", is_flag=True, help="List the chapters, and start nothing.")
@click.option("--yes", is_flag=True, help="Wait for nothing, and solve the challenges. Also if stdin is no terminal.")
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="The page's port on 127.0.0.1.  [default: free]")
@click.option("--open/--no-open", "show", default=None, help="Open the page in the browser, or only print its address.")
@click.pass_obj
def tour(
    root: Path,
    /,
    *,
    text: bool,
    chosen: str | None,
    only_list: bool,
    yes: bool,
    port: int,
    show: bool | None,
    as_json: bool,
) -> int:
    """Tell the article in chapters, each acted out on real processes, on a page in the browser.

    Enter goes on. Each chapter ends with a challenge at a cluster of its own: `hint` helps, `check` has the judges rule. Ctrl-C
    ends the tour and everything that it has started. Each cluster leaves a run folder, which `consensus report` draws.

    With --text, with --yes, with -o json, and where there is no browser, it is told in this terminal. With --open or --no-open
    there is a page even so, and -o json then prints its address.

    For example: consensus tour --chapter failover

    Exit code in a terminal: 0 if every act showed what it is about and every challenge ended as it can, else 2.
    """
    from harness.tour.chapters import CHAPTERS  # noqa: PLC0415 - see harness.cli.verbs

    numbered = list(enumerate(CHAPTERS, 1))
    if chosen is not None:
        numbered = [(number, chapter) for number, chapter in numbered if chosen in (str(number), chapter.name)]
        if not numbered:
            names = ", ".join(f"{number} {chapter.name}" for number, chapter in enumerate(CHAPTERS, 1))
            raise click.BadParameter(f"there is no chapter {chosen!r}: there are {names}")
    if only_list:
        _list(numbered, as_json)
        return 0
    if not (text or yes) and (show is not None or (not as_json and _can_show())):
        _serve(root, chosen and numbered[0][1].name, port, show=show is not False, as_json=as_json)
        return 0
    told = _tell(
        root, numbered, waits=not (yes or as_json) and sys.stdin is not None and sys.stdin.isatty(), quiet=as_json
    )
    if as_json:
        print_json(chapters=[chapter.to_json() for chapter in told], shown=all(chapter.shown for chapter in told))
    return 0 if all(chapter.shown for chapter in told) else EXIT_UNKNOWN


def _can_show() -> bool:
    """Return whether a reader sits at this terminal, and a browser is there. If only the browser is missing, say so."""
    if sys.stdin is None or not sys.stdin.isatty():
        return False
    try:
        webbrowser.get()
    except webbrowser.Error:
        print_stderr(
            "no browser was found, so the tour is told here; `consensus tour --no-open` prints the page's address"
        )
        return False
    return True


def _serve(root: Path, chapter: str | None, port: int, *, show: bool, as_json: bool) -> None:
    """Serve the page of the tour until Ctrl-C."""
    from harness.cli.live_page import Announcement  # noqa: PLC0415 - the web server is for the page alone
    from harness.page.address import PageAddress  # noqa: PLC0415
    from harness.page.server import PageServer  # noqa: PLC0415
    from harness.page.tour_page import TourPage  # noqa: PLC0415
    from harness.records.run_folders import new_folder  # noqa: PLC0415 - see harness.cli.verbs

    with closing(TourPage(lambda name: new_folder(root, name))) as page:
        server = PageServer(page.view, page.do, PageAddress(port))
        page.on_view = server.show
        server.start()
        with closing(server):
            ends_with_its_user()
            address = server.url + (f"#chapter={chapter}" if chapter else "")
            without = "or `consensus tour --text` tells it here"
            Announcement(address, show=show, as_json=as_json, without=without).make()
            print_stderr("Ctrl-C ends the page")
            threading.Event().wait()


def _list(numbered: "list[tuple[int, TourChapter]]", as_json: bool) -> None:
    if as_json:
        print_json(chapters=[chapter.outline(number) for number, chapter in numbered])
        return
    for number, chapter in numbered:
        print(f"{number}  {chapter.name:10} {chapter.title}")


def _tell(root: Path, numbered: "list[tuple[int, TourChapter]]", *, waits: bool, quiet: bool) -> "list[ChapterTold]":
    from harness.records.run_folders import new_folder  # noqa: PLC0415 - see harness.cli.verbs
    from harness.tour.telling import tell  # noqa: PLC0415
    from harness.tour.terminal import TerminalTeller  # noqa: PLC0415

    teller = TerminalTeller(_nothing if quiet else _show, _ask if waits else None)
    found = []
    for number, chapter in numbered:
        folder = new_folder(root, f"tour-{chapter.name}")
        found.append(tell(number, chapter, teller, folder))
        if not quiet:
            runs = ", ".join(Path(run).name for run in found[-1].runs)
            more = f" More: docs/{chapter.more}" if chapter.more else ""
            _show(
                f"\nThe runs of this chapter, in {shown_path(folder)}: {runs}. `consensus report NAME` draws one.{more}"
            )
    return found


def _nothing(_line: str) -> None:
    """Show nothing."""


def _show(line: str) -> None:
    if not line.strip():
        print(flush=True)
    for part in line.strip("\n").splitlines():
        print_wrapped(part, "      " if part.startswith("  ") else "")
    sys.stdout.flush()


def _ask(prompt: str) -> str:
    with suppress(ImportError):
        import readline  # noqa: F401, PLC0415 - so that `input` has a history and can be edited
    try:
        return input(prompt)
    except EOFError:
        raise KeyboardInterrupt from None
