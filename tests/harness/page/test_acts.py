"""Acts without a cluster: what is refused, and that a refusal is a sentence."""

from pathlib import Path
from typing import Any

import pytest

from cluster.errors import Unknown
from harness.page.acts import ClusterActs
from harness.page.patience import CallPatience
from tests.run_folders import HOSTILE


@pytest.mark.parametrize(
    ("act", "arguments", "reason"),
    [
        ("explode", {}, "there is no act"),
        (HOSTILE, {}, "there is no act"),
        (None, {}, "there is no act"),
        ("__init__", {}, "there is no act"),
        ("kill", {}, "kill takes nodes (str)"),
        ("kill", {"nodes": ["n1"]}, "kill takes nodes (str)"),
        ("kill", {"nodes": "n1", "more": 1}, "kill takes nodes (str)"),
        ("kill", "n1", "kill takes nodes (str)"),
        ("deliver", {"rule": "r", "indices": 7}, "deliver takes"),
        ("deliver", {"rule": "r", "indices": [True]}, "indices are a list"),
        ("deliver", {"rule": "r", "indices": []}, "indices are a list"),
        ("heal", {"all": True}, "heal takes no arguments"),
        ("cut", {"links": [], "one_way": False}, "links are a list of pairs"),
        ("cut", {"links": [["n1", 2]], "one_way": False}, "links are a list of pairs"),
        ("propose", {"name": HOSTILE, "value": "blue", "at": "", "timeout_s": 1}, "is not a name"),
        ("propose", {"name": "colour", "value": '{"broken', "at": "", "timeout_s": 1.0}, "begins like JSON"),
        ("propose", {"name": "colour", "value": "x" * 300_000, "at": "", "timeout_s": 1.0}, "the limit is 262,144"),
        (
            "propose",
            {"name": "colour", "value": "null", "at": "", "timeout_s": 1.0},
            "null (Python's None) cannot be proposed",
        ),
        ("get", {"key": "colour", "timeout_s": 0}, "the timeout is 0 seconds: give a number above 0"),
        ("get", {"key": "colour", "timeout_s": float("nan")}, "the timeout is nan seconds"),
        ("get", {"key": "colour", "timeout_s": float("inf")}, "the timeout is inf seconds"),
        ("kill", {"nodes": "n1"}, "no cluster is up"),
        ("propose", {"name": "colour", "value": "blue", "at": "", "timeout_s": 1.0}, "no cluster is up"),
    ],
)
def test_what_cannot_be_done_is_refused_with_a_sentence(tmp_path: Path, act: Any, arguments: Any, reason: str) -> None:
    done: list[str] = []
    reply = ClusterActs(tmp_path, lambda: done.append("done"), CallPatience()).do(act, arguments)
    assert not reply["ok"]
    assert reason in reply["text"]
    assert len(reply["text"]) <= 400


def test_a_call_without_an_answer_is_no_success(tmp_path: Path) -> None:
    def call() -> str:
        raise Unknown("no answer within 5 s")

    acts = ClusterActs(tmp_path, lambda: None, CallPatience())
    acts._acts = {"query": (call, {})}
    assert acts.do("query", {}) == {"ok": False, "text": "unknown: no answer within 5 s"}
