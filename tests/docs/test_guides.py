"""The commands and programs of the guides do what their pages say. See `tests/docs/pages.py` for how a page is run."""

from pathlib import Path

import pytest

from tests.docs.pages import Page, pages


@pytest.mark.timeout(300)
@pytest.mark.parametrize("page", pages("guides"), ids=lambda page: page.stem)
def test_the_page_runs(page: Path, tmp_path: Path) -> None:
    Page(tmp_path).run(page)
