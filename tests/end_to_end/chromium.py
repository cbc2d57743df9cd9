"""The browser of the tests that read a page as a person does."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final
from weakref import WeakKeyDictionary

import pytest
from playwright.sync_api import Browser, Page

from tests.waiting import WAIT_S

#: The program, or None if no Chromium is installed.
CHROMIUM: Final = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

#: To draw without a graphics card, in the process of the browser, takes a fifth less processor time than a process for it does.
FLAGS: Final = ("--no-sandbox", "--disable-gpu", "--in-process-gpu")

#: Skips a test where no Chromium is installed.
NEEDS_CHROMIUM: Final = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed to open the page in")

#: The pages of each browser that no test uses now. They show nothing.
_IDLE: Final[WeakKeyDictionary[Browser, list[Page]]] = WeakKeyDictionary()


@contextmanager
def page_in(browser: Browser, width: int, height: int, note: Callable[[str], None]) -> Iterator[Page]:
    """Yield an empty page of this size, in pixels.

    A new page costs 0.6 s of processor time, so one that a test has left in order is used again.

    Args:
        browser: the browser.
        width: the width of the view.
        height: its height.
        note: called with each line of the console, each error, and `request URL` for each request.
    """
    idle = _IDLE.setdefault(browser, [])
    page = idle.pop() if idle else browser.new_page()
    listeners: dict[Any, Callable[[Any], None]] = {
        "console": lambda line: note(line.text),
        "pageerror": lambda error: note(str(error)),
        "request": lambda request: note(f"request {request.url}"),
    }
    try:
        page.set_default_timeout(WAIT_S * 1000)
        page.set_viewport_size({"width": width, "height": height})
        for event, listener in listeners.items():
            page.on(event, listener)
        yield page
        for event, listener in listeners.items():
            page.remove_listener(event, listener)
        page.goto("about:blank")
    except BaseException:
        page.close()
        raise
    idle.append(page)
