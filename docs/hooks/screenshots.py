"""Makes the pictures of the documentation, from real runs: `make screenshots`.

It runs two scenarios and a chapter of the tour in a folder of its own, writes their pages, and has Chromium draw a part of
each. The tour is drawn at a step of two chapters, and the live page while a split-brain is brought about on it with the mouse.
The virtual twin is drawn at a bivalent position.
A picture changes a little each time, since the runs do. Chromium has to be installed; no test needs it.
"""

import json
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final, Literal, NamedTuple

from harness.cli.main import run
from harness.records.run_folders import find_run
from harness.report import write_report

sys.path.insert(0, str(Path(__file__).parent))
from png_palette import with_palette

IMAGES: Final = Path(__file__).parents[1] / "img"
BYTES_MAX: Final = 150_000


class Picture(NamedTuple):
    """A picture: of which run, of which sections of its page (the first screen is `top`), and how large."""

    name: str
    run: str
    sections: tuple[str, ...]
    width: int
    height: int


PICTURES: Final = (
    Picture("report", "split-brain-failover", ("top", "moment"), 1240, 1240),
    Picture("window", "had-voted-red", ("moment",), 1240, 690),
    Picture("promise", "02-accept-ignores-promise", ("moment",), 1240, 690),
    Picture("diagram", "split-brain-failover", ("diagram",), 1240, 620),
)
#: Which step of which chapter of the tour is drawn, and how.
CHAPTER_PICTURES: "Final[tuple[tuple[str, int, Literal['light', 'dark']], ...]]" = (
    ("failover", 2, "light"),
    ("vote", 2, "dark"),
)
RUNS: Final = (
    ("scorecard", "--algorithm", "failover", "--only", "split-brain"),
    ("scorecard", "--algorithm", "majority", "--only", "window-of-vulnerability"),
    ("tour", "--yes", "--chapter", "paxos"),
)


def chromium() -> str:
    """Return the program that draws pages. Ends this one if there is none."""
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    return found or sys.exit("no Chromium is installed, and the pictures are drawn by it")


def draw(browser: str, page: Path, picture: Picture, folder: Path) -> int:
    """Draw a part of a page into the pictures of the documentation. Returns the file's size in bytes."""
    shown = [f"#{name}" for name in picture.sections if name != "top"]
    hidden = f"section:not({', '.join(shown)})" + (
        "" if "top" in picture.sections else ", header, .cards, .disks, .more"
    )
    own = re.sub(
        "<style>",
        f"<style>{hidden} {{ display: none !important; }} h2 {{ margin-top: 12px; }}",
        page.read_text(),
        count=1,
    )
    page.write_text(own, encoding="utf-8")
    target = IMAGES / f"{picture.name}.png"
    size = f"--window-size={picture.width},{picture.height}"
    options = ("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--virtual-time-budget=3000", size)
    profile = f"--user-data-dir={folder / 'profile'}"
    subprocess.run(
        [browser, *options, profile, f"--screenshot={target}", page.as_uri()], check=True, capture_output=True
    )
    with_palette(target)
    return target.stat().st_size


def draw_live_page(browser: str, folder: Path) -> int:
    """Bring about a split-brain on the live page, and draw it. Returns the size of the picture in bytes."""
    from playwright.sync_api import sync_playwright  # noqa: PLC0415 - the other pictures need no driver

    target = IMAGES / "live.png"
    command = [
        sys.executable,
        "-m",
        "harness.cli.main",
        "live",
        "failover",
        "--no-open",
        "-o",
        "json",
        "--dir",
        str(folder),
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process, sync_playwright() as playwright:
        assert process.stdout is not None
        url = json.loads(process.stdout.readline())["url"]
        opened = playwright.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        page = opened.new_page(viewport={"width": 1280, "height": 720})
        page.goto(url)
        page.wait_for_selector(".node[data-node=n5][data-state=up]")
        page.fill("#groups", "n1,n2/n3,n4,n5")
        page.click("#partition")
        page.wait_for_selector(".wall")
        for node, colour in (("n1", "blue"), ("n4", "red")):
            page.click(f".node[data-node={node}]")
            page.click(f"#selected [data-value={colour}]")
            page.click("#selected [data-act=propose]")
        page.wait_for_selector(".predicate.broken")
        page.wait_for_selector(".node[data-node=n5][data-decided]")
        page.screenshot(path=target)
        opened.close()
        process.send_signal(signal.SIGINT)
    with_palette(target)
    return target.stat().st_size


def draw_twin(browser: str, folder: Path) -> int:
    """Click three votes of each colour together in the virtual twin, look ahead, and draw it. Returns the size in bytes."""
    from playwright.sync_api import sync_playwright  # noqa: PLC0415 - the other pictures need no driver

    target = IMAGES / "twin.png"
    command = [sys.executable, "-m", "harness.cli.main", "live", "--virtual", "majority", "-n", "7", "--no-open"]
    command += ["-o", "json", "--dir", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process, sync_playwright() as playwright:
        assert process.stdout is not None
        url = json.loads(process.stdout.readline())["url"]
        opened = playwright.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        page = opened.new_page(viewport={"width": 1280, "height": 720}, reduced_motion="reduce")
        page.goto(url)
        for number in range(1, 7):
            page.click(f".node[data-node=n{number}]")
            page.click(f"#selected [data-value={'blue' if number < 4 else 'red'}]")
            page.click("#selected [data-act=propose]")
            page.wait_for_selector(f".node[data-node=n{number}][data-vote]")
        page.click(".node[data-node=n7]")
        page.click("#selected [data-act=kill]")
        page.wait_for_selector(".node[data-node=n7][data-state=down]")
        page.keyboard.press("Escape")
        page.click("#deliver-all")
        page.wait_for_selector("#holding .note.good")
        page.check("#may-boot")
        page.click("#look-ahead")
        page.wait_for_selector("#bivalent", timeout=120_000)
        page.locator("#outlook").scroll_into_view_if_needed()
        page.evaluate("document.querySelector('#outlook').scrollIntoView()")
        page.wait_for_timeout(3000)  # until the messages have arrived on the picture, too
        page.screenshot(path=target)
        opened.close()
        process.send_signal(signal.SIGINT)
    with_palette(target)
    return target.stat().st_size


def draw_chapters(browser: str, folder: Path) -> list[tuple[str, int]]:
    """Go through two chapters of the tour on its page, and draw a step of each. Returns the pictures with their sizes."""
    from playwright.sync_api import sync_playwright  # noqa: PLC0415 - the other pictures need no driver

    command = [sys.executable, "-m", "harness.cli.main", "tour", "--no-open", "--dir", str(folder)]
    made = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process, sync_playwright() as playwright:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        opened = playwright.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        for chapter, step, scheme in CHAPTER_PICTURES:
            target = IMAGES / f"tour-{chapter}.png"
            page = opened.new_page(viewport={"width": 1280, "height": 720}, color_scheme=scheme)
            page.set_default_timeout(120_000)
            page.goto(f"{url}#chapter={chapter}&step={step}")
            page.click("#tour-press[data-waits=act]")
            page.wait_for_selector("#tour > .measured")
            page.wait_for_function(
                "() => !document.querySelector('.call.waiting')"
            )  # the picture has come to its end, too
            page.screenshot(path=target)
            page.click("#tour-chapters")
            page.wait_for_selector("#chapters")
            page.close()
            with_palette(target)
            made.append((target.name, target.stat().st_size))
        opened.close()
        process.send_signal(signal.SIGINT)
    return made


def main() -> None:
    """Make every run, and every picture."""
    browser = chromium()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for arguments in RUNS:
            run(["--dir", str(folder / "lab"), *arguments])
        for picture in PICTURES:
            page = write_report(find_run(folder / "lab", picture.run), folder / f"{picture.name}.html")
            size = draw(browser, page, picture, folder)
            sys.stdout.write(f"{picture.name}.png: {size:,} bytes\n")
            if size > BYTES_MAX:
                sys.exit(f"{picture.name}.png has more than {BYTES_MAX:,} bytes")
        for name_of, size in draw_chapters(browser, folder / "tour"):
            sys.stdout.write(f"{name_of}: {size:,} bytes\n")
        sys.stdout.write(f"twin.png: {draw_twin(browser, folder / 'twin'):,} bytes\n")
        sys.stdout.write(f"live.png: {draw_live_page(browser, folder / 'live'):,} bytes\n")


if __name__ == "__main__":
    main()
