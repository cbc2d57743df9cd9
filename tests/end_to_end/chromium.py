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

#: Returns the chips of the nodes, by their text: how well it stands out from what is below it, as WCAG 2 measures contrast.
_CONTRASTS: Final = """() => {
  const pen = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const luminance = (colour) => {
    pen.fillStyle = colour;
    pen.fillRect(0, 0, 1, 1);
    const shares = [...pen.getImageData(0, 0, 1, 1).data].map((one) => one / 255);
    const [r, g, b] = shares.map((one) => (one <= 0.04045 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  return Object.fromEntries([...document.querySelectorAll(".ring .chip-text")].map((text) => {
    const both = [text, text.previousElementSibling].map((one) => luminance(getComputedStyle(one).fill));
    const [low, high] = both.sort((a, b) => a - b);
    return [text.textContent, (high + 0.05) / (low + 0.05)];
  }));
}"""
#: The least contrast that WCAG 2 asks of symbols and of large texts.
_CONTRAST_MIN: Final = 3.0


def readable_chips(page: Page) -> set[str]:
    """Return the texts of the chips in the picture, all of which must be readable in light and in dark."""
    for scheme in ("light", "dark", None):
        page.emulate_media(color_scheme=scheme)
        contrasts = page.evaluate(_CONTRASTS)
        assert all(found >= _CONTRAST_MIN for found in contrasts.values()), (scheme, contrasts)
    return set(contrasts)


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
