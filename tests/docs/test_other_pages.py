"""What holds for all pages, and the examples of those that are neither tutorial nor guide."""

import re
from pathlib import Path

import pytest

from tests.docs.pages import DOCS, ROOT, Page, as_pattern, blocks, commands, not_run, pages

#: How many blocks of each page no test runs. A block that is added here needs a reason in its `no-run`.
NOT_RUN = {
    "explanation/benchmarks.md": 1,
    "explanation/paxos-and-raft.md": 1,
    "explanation/systems-found.md": 5,
    "guides/any-language.md": 1,
    "guides/algorithm-with-quorums.md": 2,
    "guides/campaigns.md": 12,
    "guides/explore.md": 4,
    "guides/live.md": 4,
    "guides/log.md": 7,
    "guides/own-service.md": 1,
    "guides/service.md": 1,
    "guides/tour.md": 3,
    "index.md": 1,
    "reference/faults.md": 1,
    "tutorial/1-first-steps.md": 1,
    "tutorial/4-majority-vote.md": 1,
    "tutorial/6-paxos.md": 2,
}

OTHERS = [page for page in pages() if page.parent.name not in ("tutorial", "guides")]


@pytest.mark.timeout(300)
@pytest.mark.parametrize("page", OTHERS, ids=lambda page: page.stem)
def test_the_page_runs(page: Path, tmp_path: Path) -> None:
    Page(tmp_path).run(page)


def test_the_blocks_that_are_not_run_are_counted() -> None:
    counted = {page.relative_to(DOCS).as_posix(): len(not_run(page)) for page in pages()}
    assert {page: number for page, number in counted.items() if number} == NOT_RUN


def test_each_block_that_is_not_run_says_why() -> None:
    assert [block.place for page in pages() for block in not_run(page) if not (block.why_not_run or "").strip()] == []


def test_each_block_names_its_language() -> None:
    for page in pages():
        opened = re.findall(r"^ *```(\w*)", page.read_text(), re.MULTILINE)
        assert all(opened[::2]), page


def test_the_menu_names_each_page_and_nothing_else() -> None:
    named = set(re.findall(r"[\w/-]+\.md", (ROOT / "mkdocs.yml").read_text().partition("\nnav:")[2]))
    assert {page.relative_to(DOCS).as_posix() for page in pages()} == named


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.relative_to(DOCS).as_posix())
def test_each_link_leads_to_a_file(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
        assert (page.parent / target).exists(), (page, target)


# --- the runner itself ------------------------------------------------------------------------------------------------


def write(folder: Path, text: str) -> Path:
    page = folder / "page.md"
    page.write_text(text)
    return page


def test_comments_say_what_a_command_prints_and_how_it_ends(tmp_path: Path) -> None:
    Page(tmp_path).run(write(tmp_path, '```sh\necho "a  b"; exit 3  # exit code 3\necho x y z  # → x … z\n```\n'))
    with pytest.raises(AssertionError, match=r"ended with 3, and not .0"):
        Page(tmp_path).run(write(tmp_path, "```sh\nexit 3\n```\n"))
    with pytest.raises(AssertionError, match="printed"):
        Page(tmp_path).run(write(tmp_path, "```sh\necho x  # → y\n```\n"))


def test_a_command_may_be_tried_until_it_prints_what_it_should(tmp_path: Path) -> None:
    page = "```sh\necho x >> tries; cat tries | wc -l  # → 3 after a moment\n```\n"
    Page(tmp_path).run(write(tmp_path, page))
    assert (tmp_path / "tries").read_text() == "x\nx\nx\n"


def test_a_text_block_says_what_the_block_before_it_prints(tmp_path: Path) -> None:
    good = "```sh\nprintf 'one  two\\n3\\nfour five\\n'\n```\n\n```text\none two\nfour …ve\n```\n"
    Page(tmp_path).run(write(tmp_path, good))
    with pytest.raises(AssertionError, match="was to be printed"):
        Page(tmp_path).run(write(tmp_path, good.replace("one two", "two one")))
    Page(tmp_path).run(write(tmp_path, good.replace("\n```text", "\nProse.\n\n```text").replace("one two", "two one")))


def test_files_are_written_and_their_methods_replaced(tmp_path: Path) -> None:
    file = (
        "```python\n# m.py\nclass C:\n    def f(self):\n        return 1\n\n    def g(self):\n        return 2\n```\n"
    )
    mended = "```python\n# m.py: the method f\n    def f(self):\n        return 3\n```\n"
    whole = file.replace("```python", '```python whole="m.py"').replace("return 1", "return 3")
    use = "```python\nfrom m import C\nassert (C().f(), C().g()) == (3, 2)\n```\n"
    Page(tmp_path).run(write(tmp_path, file + mended + use + whole))
    with pytest.raises(AssertionError, match="AssertionError"):
        Page(tmp_path).run(write(tmp_path, file + use))
    with pytest.raises(AssertionError, match="not the file as it is"):
        Page(tmp_path).run(write(tmp_path, file + whole))


def test_other_files_are_named_by_their_title(tmp_path: Path) -> None:
    Page(tmp_path).run(write(tmp_path, '```json title="a.json"\n[1]\n```\n```sh\ncat a.json  # → [1]\n```\n'))


def test_a_block_that_is_not_run_is_listed(tmp_path: Path) -> None:
    page = write(tmp_path, '```sh no-run="takes minutes"\nexit 3\n```\n')
    Page(tmp_path).run(page)
    assert [block.why_not_run for block in not_run(page)] == ["takes minutes"]


def test_an_indented_block_is_a_block(tmp_path: Path) -> None:
    (block,) = blocks(write(tmp_path, "??? note\n\n    ```python\n    if x:\n\n        y\n    ```\n"))
    assert block.text == "if x:\n\n    y\n"


def test_a_command_may_go_on_in_the_next_line() -> None:
    assert list(commands("a \\\n  b  # why\n# nothing\n\nc\n")) == [("a    b", "why"), ("c", "")]


def test_placeholders_stand_for_anything() -> None:
    assert as_pattern("a … d\n…\ne").search("x a b\nc d z\n\ne")
    assert not as_pattern("a … d").search("a b c")
