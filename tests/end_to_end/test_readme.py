"""The front page and the packages' READMEs: what they show runs as it stands there, and every link leads to a file."""

import re
from pathlib import Path

import pytest

from tests.docs.pages import ROOT, Page, blocks

READMES = ("README.md", "node/README.md", "cluster/README.md", "harness/README.md")


@pytest.mark.parametrize("readme", READMES)
def test_what_it_shows_runs(readme: str, tmp_path: Path) -> None:
    Page(tmp_path).run(ROOT / readme)


def test_the_front_page_is_short_and_has_a_picture() -> None:
    text = (ROOT / "README.md").read_text()
    assert len(text.encode()) < 8 * 1024
    assert re.search(r"!\[[^\]]+\]\(docs/img/report\.png\)", text)


def test_the_lock_is_ten_lines() -> None:
    (lock,) = (block.text for block in blocks(ROOT / "README.md") if "try_acquire_lock" in block.text)
    assert len([line for line in lock.splitlines() if line.strip()]) <= 10


@pytest.mark.parametrize("page", [*READMES, "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"])
def test_each_link_leads_to_a_file(page: str) -> None:
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", (ROOT / page).read_text()):
        assert (ROOT / page).parent.joinpath(target).exists(), (page, target)
