"""What the live page asks of nodes that are not ours, before anything is sent to them."""

from pathlib import Path
from typing import Any, cast

import pytest

from harness.runs.held_system import HeldSystem
from harness.runs.session import HandSession
from harness.runs.system_live_verbs import SystemLiveVerbs
from harness.systems.commands.described import CommandSystem
from node.contract import BadInput
from tests.harness.systems.store import store_in_memory


@pytest.fixture
def verbs(tmp_path: Path) -> SystemLiveVerbs:
    held = HeldSystem(tmp_path / "run", CommandSystem(str(store_in_memory(tmp_path))), ("n1", "n2"))
    return SystemLiveVerbs(held, cast(HandSession, None))


def test_a_page_is_told_what_can_be_done(verbs: SystemLiveVerbs) -> None:
    about = verbs.about()
    assert (about["name"], about["nodes"], about["functions"]) == ("store", ["n1", "n2"], ["put", "get"])
    assert {"kill", "reset", "hold"} <= set(about["faults"])
    assert "duplicate" not in about["faults"]
    assert about["streams"]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"f": "delete"}, "clients of the workload put-get cannot be asked for 'delete' by hand: they call put, get"),
        ({"key": ""}, "the key is empty"),
        ({"timeout_s": 0.0}, "the timeout is 0.0 seconds"),
        ({"timeout_s": 61.0}, "up to 60"),
        ({"value": "[1,"}, "begins like JSON and is not"),
    ],
)
def test_a_call_that_cannot_be_is_refused(verbs: SystemLiveVerbs, changed: dict[str, Any], said: str) -> None:
    call = {"f": "put", "key": "k", "value": "v", "at": None, "timeout_s": 1.0, **changed}
    with pytest.raises((BadInput, ValueError), match=said.replace("(", r"\(")):
        verbs.call(**call)
