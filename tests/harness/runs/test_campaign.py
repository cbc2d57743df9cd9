"""What a campaign counts and reports, on evidence made by hand."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from harness.faults.catalogue import BadFault
from harness.records.receipts import Receipt
from harness.runs.campaigns.campaign import Campaign, CampaignRun, CampaignTally
from harness.runs.campaigns.grid import IDLE, GridCell, columns, hits, holes, rows, to_json
from harness.runs.campaigns.report import by_phase, page, save
from node.algorithms.majority import Majority
from node.algorithms.paxos import Paxos

MEMBERS = ("n1", "n2", "n3")
MS = 1_000_000


def line(at_ms: int, from_: str, to: str, type_: str, fate: str = "passed", rule: str | None = None) -> dict[str, Any]:
    return {"time": at_ms * MS, "from": from_, "to": to, "type": type_, "fate": fate, "rule": rule}


def kill(at_ms: int, *nodes: str, bit: bool = True) -> Receipt:
    return Receipt("kill", at_ms * MS, at_ms * MS + MS, bit, nodes)


def test_a_fault_of_a_process_hits_it_in_the_phase_of_its_last_message() -> None:
    messages = [line(10, "n1", "n2", "Prepare"), line(20, "n2", "n1", "Promise"), line(30, "n1", "n2", "Accept")]
    found = hits(Paxos, MEMBERS, [kill(15, "n2"), kill(25, "n1"), kill(35, "n1", "n3")], messages)
    assert found == Counter(
        {
            ("kill", GridCell("acceptor", "Prepare")): 1,
            ("kill", GridCell("proposer", "Promise")): 1,
            ("kill", GridCell("proposer", "Accept")): 1,
            ("kill", IDLE): 1,
        }
    )


def test_a_node_without_recent_messages_is_idle_and_a_fault_that_did_not_bite_hits_nothing() -> None:
    messages = [line(10, "n1", "n2", "Prepare")]
    assert hits(Paxos, MEMBERS, [kill(2000, "n1"), kill(11, "n1", bit=False)], messages) == Counter({("kill", IDLE): 1})


def test_a_lost_message_puts_its_receiver_in_no_phase() -> None:
    messages = [line(10, "n1", "n2", "Accept", "dropped", "partition-1-cut")]
    found = hits(Paxos, MEMBERS, [kill(11, "n2")], messages)
    assert found["kill", IDLE] == 1


def test_a_fault_of_links_hits_both_ends_of_the_messages_that_it_changes() -> None:
    messages = [
        line(10, "n1", "n2", "Vote", "dropped", "isolate-leader-12-cut"),
        line(11, "n1", "n2", "Vote"),
        line(12, "client", "n2", "Vote", "dropped", "drop-1-drop"),
        line(13, "n1", "n3", "Heard", "released", "hold-1-hold"),
    ]
    found = hits(Majority, MEMBERS, [], messages)
    assert found == Counter(
        {("isolate-leader", GridCell("sender", "Vote")): 1, ("isolate-leader", GridCell("receiver", "Vote")): 1}
    )


def test_a_hole_is_a_cell_that_was_never_hit() -> None:
    cells = columns(Majority)
    assert len(cells) == 2 * len(Majority.messages) + 1
    found = Counter({("kill", GridCell("sender", "Vote")): 3})
    left = holes(found, cells)
    assert rows(found) == ("kill",)
    assert len(left) == len(cells) - 2
    assert ("kill", GridCell("receiver", "Vote")) in left
    assert to_json(found) == [{"fault": "kill", "role": "sender", "phase": "Vote", "hits": 3}]


def run(number: int, status: str, **more: Any) -> CampaignRun:
    about = {"violated": (), "planned": ("kill", "cut"), "fired": ("kill",), "folder": None}
    found = Counter({("kill", GridCell("proposer", "Prepare")): 1})
    return CampaignRun(number, number, status, f"<{status}>", hits=found, took_s=1.0, **{**about, **more})


def test_a_campaign_is_merged_into_one_report(tmp_path: Path) -> None:
    tally = CampaignTally(Campaign(tmp_path, 5), took_s=30.0)
    for number, status in enumerate(("valid", "unknown", "invalid"), 1):
        tally.add(run(number, status))
    save(tally)
    report = json.loads((tmp_path / "campaign.json").read_text())
    assert (report["valid"], report["invalid"], report["unknown"], report["done"]) == (1, 1, 1, 3)
    assert report["runs_a_minute"] == pytest.approx(6.0)
    assert report["never_fired"] == ["cut"]
    assert report["grid"] == [{"fault": "kill", "role": "proposer", "phase": "Prepare", "hits": 3}]
    assert [each.number for each in tally.kept] == [2, 3]
    text = page(tally)
    assert "&lt;invalid&gt;" in text
    assert "&lt;valid&gt;" not in text
    assert "http://" not in text
    assert "https://" not in text
    phases, rows_by_fault = by_phase(tally)
    assert rows_by_fault == [
        ("kill", ["3+0" if phase == "Prepare" else "0" if phase == "idle" else "0+0" for phase in phases])
    ]


def test_each_run_has_a_plan_of_its_own_and_the_same_every_time(tmp_path: Path) -> None:
    campaign = Campaign(tmp_path, 3, seed=4, faults=("kill",))
    assert campaign.plan(1) == campaign.plan(1)
    assert campaign.plan(1) != campaign.plan(2)
    assert campaign.plan(2).seed == 4_000_002
    assert len(campaign.plan(1).steps) >= 3
    with pytest.raises(BadFault):
        Campaign(tmp_path, 3, faults=("kil",)).plan(1)
