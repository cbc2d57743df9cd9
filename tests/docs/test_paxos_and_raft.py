"""The page that shows Paxos and Raft side by side says and draws what the two logs do."""

import sys
from importlib import import_module
from typing import Any

import pytest

from tests.docs.pages import DOCS, ROOT

sys.path.insert(0, str(DOCS / "hooks"))  # a hook is a file beside the pages, in no package
hook: Any = import_module("paxos_and_raft")

PAGE = DOCS / "explanation" / "paxos-and-raft.md"


@pytest.mark.parametrize("situation", hook.SITUATIONS)
def test_the_page_shows_what_was_sent(situation: str) -> None:
    played = hook.play(situation)
    assert hook.table(played) in PAGE.read_text(), f"run {hook.__file__} and copy its tables"
    picture = hook.drawing(played)
    assert picture == (DOCS / "img" / f"paxos-and-raft-{situation}.svg").read_text(), f"run {hook.__file__}"
    assert f"../img/paxos-and-raft-{situation}.svg" in PAGE.read_text()


def test_the_two_logs_differ_as_the_page_says() -> None:
    """The page's sentences rest on these facts."""
    unfinished = hook.play("an-unfinished-entry")
    chosen_under = [
        next(text for fact, text in one.facts.items() if "is chosen under" in fact) for one in unfinished.values()
    ]
    assert ["own ballot" in text for text in chosen_under] == [True, False]
    elections = hook.play("an-election")
    assert [one.facts["who leads then"] for one in elections.values()] == ["n3", "n2"]
    assert ROOT.joinpath("docs/hooks/paxos_and_raft.py").exists()
