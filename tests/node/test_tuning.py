"""The settings: their ranges, what runs draw of them, and how specs and disks name them."""

from pathlib import Path
from random import Random

import pytest

from cluster.spec import create, open_spec
from harness.faults.drawn_settings import draw_settings
from harness.runs.plan import BadPlan, from_json
from harness.runs.plan_generator import generate
from node.tuning import SETTINGS, SHIPPED, BadSetting, Tuning, replicated_on_disk, tuning_of


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ({"windw": 8}, r"there is no setting 'windw': did you mean window"),
        ({"window": 0}, r"the setting window is 0, but must be a whole number from 1 to 100,000 \(slots\)"),
        ({"pipeline": True}, "the setting pipeline is True"),
        ({"pipeline": "2"}, "the setting pipeline is '2'"),
        ({"session_idle_ms": 5_000}, "lease_ms_max is 600,000 ms, but must be below session_idle_ms"),
    ],
)
def test_what_no_setting_may_be_is_refused(table: dict[str, object], says: str) -> None:
    with pytest.raises(BadSetting, match=says):
        tuning_of(table)


def test_draws_are_in_range_and_reach_every_value_that_is_to_be_drawn() -> None:
    drawn = [draw_settings(Random(seed), keeps_log=True) for seed in range(200)]
    assert all(tuning_of(settings).changed() == settings for settings in drawn)
    met = {(name, value) for settings in drawn for name, value in settings.items()}
    other = [draw_settings(Random(seed), keeps_log=False) for seed in range(200)]
    assert all(tuning_of(settings).changed() == settings for settings in other)
    met |= {(name, value) for settings in other for name, value in settings.items()}
    assert met >= {(name, value) for name, each in SETTINGS.items() for value in each.drawn if value != each.default}
    assert not any("duel_pause_ms" in settings for settings in drawn)
    assert sum(settings.get("duel_pause_ms", 200) < 200 for settings in other) > 80  # rivals often beat each other
    assert all(len({"pipeline", "batch_bytes", "intake_max"} & settings.keys()) <= 1 for settings in drawn)
    assert 20 < sum(not settings for settings in drawn) < 80  # as shipped, often
    assert drawn == [draw_settings(Random(seed), keeps_log=True) for seed in range(200)]


def test_a_spec_holds_what_is_not_as_shipped(tmp_path: Path) -> None:
    create(tmp_path / "one", nodes=3, algorithm="multipaxos", settings={"window": 8, "session_window": 4})
    settings = open_spec(tmp_path / "one").settings
    assert settings.tuning == Tuning(window=8, session_window=4)
    assert settings.made_for == "multipaxos among n1, n2, n3 with session_window=4"
    assert replicated_on_disk(settings.made_for) == Tuning(session_window=4)
    create(tmp_path / "two", nodes=1, algorithm="paxos")
    assert replicated_on_disk(open_spec(tmp_path / "two").settings.made_for) == SHIPPED


def test_a_plan_holds_its_settings() -> None:
    plans = [generate("multipaxos", ("n1", "n2", "n3"), seed, settings={"window": 9}) for seed in range(8)]
    assert all(plan.settings["window"] == 9 for plan in plans)
    assert any(len(plan.settings) > 10 for plan in plans)
    assert [from_json(plan.to_json()) for plan in plans] == plans
    assert generate("multipaxos", ("n1", "n2", "n3"), 1, draws_settings=False).settings == {}
    with pytest.raises(BadPlan, match="there is no setting 'windw'"):
        from_json({"steps": [], "settings": {"windw": 8}})
    with pytest.raises(BadPlan, match=r"settings is \[\], where a map"):
        from_json({"steps": [], "settings": []})
