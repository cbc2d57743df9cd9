import json
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from harness.report import write_report
from harness.report.charts import nice_step
from harness.report.drawn_run import DrawnFault, DrawnMessage
from harness.report.page_data import as_json_block
from harness.report.reading import read_run
from harness.report.thinning import thin
from harness.report.wording import sides
from tests.run_folders import HOSTILE, MS, hostile, lines, message, results, split_brain

#: How the page shows it: half of a surrogate pair is replaced, since a browser cannot show it.
SHOWN = HOSTILE.replace("\ud800", "\ufffd")


class Elements(HTMLParser):
    """Collects every element with its attributes, and the texts of scripts, styles and the page."""

    def __init__(self) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: dict[str, list[str]] = {}
        self._open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag in ("script", "style", "h1"):
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if self._open and self._open[-1] == tag:
            self._open.pop()

    def handle_data(self, data: str) -> None:
        self.text.setdefault(self._open[-1] if self._open else "", []).append(data)


def parsed(path: Path) -> Elements:
    elements = Elements()
    elements.feed(path.read_text(encoding="utf-8"))
    elements.close()
    return elements


def data_of(page: Elements) -> dict[str, Any]:
    """Return the data that the page holds for its script."""
    data: dict[str, Any] = json.loads(page.text["script"][0])
    return data


def events_of(page: Elements, kind: str) -> list[dict[str, Any]]:
    """Return the events of a kind in the page's data, as its script reads them."""
    data = data_of(page)
    fields, rows = data["events"][kind]["fields"], data["events"][kind]["rows"]
    texts = data["texts"]
    return [
        {name: texts[int(item)] if isinstance(item, str) else item for name, item in zip(fields, row, strict=True)}
        for row in rows
    ]


def requests_in(page: Elements) -> list[str]:
    """Return the attributes and styles by which a page would make a request."""
    found = [
        f"{tag} {name}={value}"
        for tag, attributes in page.elements
        for name, value in attributes.items()
        if (
            name in ("src", "href", "action", "data", "srcset", "poster", "xlink:href")
            and not (value or "").startswith(("#", "data:"))
        )
        or name.startswith("on")
    ]
    styles = "".join(page.text.get("style", ()))
    return found + [word for word in ("url(", "@import", "http") if word in styles]


def test_the_first_screen_shows_what_is_broken_and_the_evidence(tmp_path: Path) -> None:
    path = write_report(split_brain(tmp_path / "run"))
    assert path == tmp_path / "run" / "report.html"
    text = path.read_text()
    top = text[: text.index('<section id="diagram"')]
    assert "Coherence is broken" in top
    assert "n1 answered &#x27;blue&#x27; at 0.01 s and n3 answered &#x27;red&#x27; at 0.50 s" in top
    assert "a cut, and both sides are asked" in top
    jumps = [
        attributes["data-operation"] for tag, attributes in parsed(path).elements if attributes.get("class") == "step"
    ]
    assert jumps == ["0", "1"]


def test_a_session_by_hand_needs_no_record_of_messages(tmp_path: Path) -> None:
    folder = split_brain(tmp_path / "run")
    (folder / "results.json").write_text(json.dumps(results(by_hand=True)))
    with (folder / "messages.jsonl").open("a") as file:
        file.truncate(2**25 - 100)  # the rest of the file reads as a line that was cut short
    assert (
        "ends at 0.0 s, at its limit of 32 MiB. `consensus up --record` has none." in write_report(folder).read_text()
    )
    (folder / "messages.jsonl").unlink()
    page = write_report(folder).read_text()
    assert "There is no messages.jsonl" not in page
    assert "No message of this run was recorded: `consensus up` without `--no-record` records them." in page


def test_the_page_makes_no_request(tmp_path: Path) -> None:
    page = parsed(write_report(split_brain(tmp_path / "run")))
    assert requests_in(page) == []
    (policy,) = [attributes["content"] for _, attributes in page.elements if "http-equiv" in attributes]
    assert policy is not None
    assert policy.startswith("default-src 'none'")


@pytest.mark.parametrize(
    "inside",
    [
        '<img src="http://x/y">',
        '<a href="page.html">',
        "<p onclick=x()>",
        "<style>@import 'x'</style>",
        "<script src=//x></script>",
    ],
)
def test_a_page_that_makes_a_request_is_found(tmp_path: Path, inside: str) -> None:
    path = write_report(split_brain(tmp_path / "run"))
    path.write_text(path.read_text().replace("<body>", f"<body>{inside}"))
    assert requests_in(parsed(path)) != []


def test_no_text_of_a_run_becomes_markup(tmp_path: Path) -> None:
    kind = parsed(write_report(split_brain(tmp_path / "kind")))
    path = write_report(hostile(tmp_path / "run"))
    page = parsed(path)
    assert requests_in(page) == []
    assert "img" not in {tag for tag, _ in page.elements}
    assert Counter(tag for tag, _ in page.elements)["script"] == Counter(tag for tag, _ in kind.elements)["script"] == 2
    assert page.text["script"][1:] == kind.text["script"][1:]
    assert any(event["type"].startswith(SHOWN[:20]) for event in events_of(page, "msg"))


def test_the_page_shows_the_settings_that_a_failure_needs(tmp_path: Path) -> None:
    folder = split_brain(tmp_path / "run")
    assert "All settings were as shipped." in write_report(folder).read_text()
    drawn = results(settings={"window": 3}, shrunk_for="coherence")
    (folder / "results.json").write_text(json.dumps(drawn))
    page = write_report(folder).read_text()
    assert '<td>window</td><td class="number">3</td><td class="number">256</td><td>slots</td>' in page
    assert "The smallest plan found that violates coherence needs them." in page


def test_every_fate_is_in_the_data(tmp_path: Path) -> None:
    page = parsed(write_report(split_brain(tmp_path / "run")))
    by_index = {event["i"]: event for event in events_of(page, "msg")}
    assert sorted(by_index) == [0, 1, 2, 3, 4, 5, 6, 10, 11, 13]
    later = [(event["of"], event["t"], event["fate"]) for event in events_of(page, "fate")]
    assert {(4, 20_000, "passed"), (5, 31_000, "discarded")} <= set(later)
    assert by_index[2]["fate"] == "dropped"
    assert by_index[1]["label"] == "Vote 1·n1 'blue'"
    partition, kill = events_of(page, "fault")
    assert partition["groups"] == [["n1", "n2"], ["n3"]]
    assert (kill["nodes"], kill["t1"]) == (["n2"], None)
    assert [one["witness"] for one in events_of(page, "call")] == [["coherence"], ["coherence"], [], []]


def test_an_unanswered_call_is_the_witness_of_fault_tolerance(tmp_path: Path) -> None:
    folder = split_brain(tmp_path / "run")
    evidence = (
        "c1's query for colour, sent to n2 at 0.60 s, had no answer by 1.60 s, although a majority was up and connected"
    )
    verdicts = {"fault tolerance": {"status": "invalid", "evidence": evidence}}
    (folder / "results.json").write_text(json.dumps(results(verdicts=verdicts)))
    assert read_run(folder).witnesses == {4: ["fault tolerance"]}


def test_the_page_of_a_run_that_was_cut_short_names_its_gaps(tmp_path: Path) -> None:
    folder = split_brain(tmp_path / "run")
    (folder / "results.json").unlink()
    (folder / "receipts.jsonl").unlink()
    with (folder / "messages.jsonl").open("a") as file:
        file.write('{"index": 14, "ti')
    run = read_run(folder)
    assert run.gaps == [
        "There is no results.json: this run was not judged.",
        "messages.jsonl: 1 of 15 lines cannot be read and are left out.",
        "There is no receipts.jsonl.",
    ]
    text = write_report(folder).read_text()
    assert "This run was not judged" in text
    assert "1 of 15 lines cannot be read" in text


def test_an_empty_folder_makes_a_page(tmp_path: Path) -> None:
    assert requests_in(parsed(write_report(tmp_path))) == []


# --- large runs -----------------------------------------------------------------------------------------------------


def many(count: int) -> list[DrawnMessage]:
    rare = {7: "Vote", count // 2: "Vote", count - 3: "Ask"}
    return [
        DrawnMessage(
            place,
            place * MS,
            "n1",
            "n2",
            rare.get(place, "Alive"),
            "x",
            1,
            {},
            "dropped" if place == 9_001 else "passed",
            None,
        )
        for place in range(count)
    ]


def test_thinning_keeps_rare_messages_and_those_near_a_moment() -> None:
    messages = many(60_000)
    thinned = thin(messages, [30_000 * MS], most=5_000)
    kept = {one.index for one in thinned.kept}
    assert len(kept) == len(thinned.kept) <= 5_000
    assert {7, 30_000, 59_997, 9_001} <= kept
    assert set(range(29_900, 30_101)) <= kept
    assert len(kept) > 4_900
    assert [one.index for one in thinned.kept] == sorted(kept)
    assert thinned.left_out == {"Alive": 60_000 - len(kept)}


def test_a_small_run_is_not_thinned() -> None:
    messages = many(100)
    assert thin(messages, [], most=100) == (messages, {})


def test_the_page_of_a_large_run_counts_what_was_left_out(tmp_path: Path) -> None:
    folder = split_brain(tmp_path / "run")
    lines(folder / "messages.jsonl", (message(index, index / 100, "n1", "n2", type="Alive") for index in range(30_000)))
    path = write_report(folder)
    assert "This run has 30,000 messages; 20,000 are on this page" in path.read_text()
    assert "10,000 Alive" in path.read_text()
    assert path.stat().st_size < 2_000_000


# --- parts ----------------------------------------------------------------------------------------------------------


def test_a_json_block_survives_a_round_trip_and_cannot_end_its_element() -> None:
    text = as_json_block({"x": HOSTILE})
    assert "<" not in text
    assert json.loads(text) == {"x": SHOWN}


@pytest.mark.parametrize(
    ("cut", "expected"),
    [
        ([], []),
        ([("n1", "n2")], []),
        ([("n1", "n2"), ("n1", "n3"), ("n3", "n1")], [["n1"], ["n2", "n3"]]),
        ([(a, b) for a in ("n1", "n2", "n3") for b in ("n1", "n2", "n3") if a != b], [["n1"], ["n2"], ["n3"]]),
    ],
)
def test_the_sides_of_a_cut(cut: list[tuple[str, str]], expected: list[list[str]]) -> None:
    assert sides(DrawnFault("partition", 0, None, True, (), tuple(cut), (), {}), ("n1", "n2", "n3")) == expected


@pytest.mark.parametrize(("about", "expected"), [(0.03, 0.05), (0.1, 0.1), (1.2, 2), (7, 10), (0, 1)])
def test_steps_of_an_axis_are_round(about: float, expected: float) -> None:
    assert nice_step(about) == expected


def test_the_calls_that_a_certificate_names_are_witnesses(tmp_path: Path) -> None:
    folder = split_brain(tmp_path / "run")
    evidence = (
        "colour: c1 at n1 received 'blue' at 0.010 s and c2 at n3 received 'red' at 0.500 s: two values were decided"
    )
    (folder / "results.json").write_text(
        json.dumps(results(verdicts={"linearizability": {"status": "invalid", "evidence": evidence}}))
    )
    assert read_run(folder).witnesses == {0: ["linearizability"], 1: ["linearizability"]}


def test_a_reply_has_the_variable_of_its_request(tmp_path: Path) -> None:
    folder = split_brain(tmp_path / "run")
    reply = {"variable": "", "type": "Reply"}
    lines(
        folder / "messages.jsonl",
        [
            message(0, 1, "client", "n1", variable="x", fields={"number": 1}),
            message(1, 2, "client", "n2", variable="y", fields={"number": 1}),
            message(2, 3, "n1", "client", fields={"number": 1}, **reply),
            message(3, 3, "n2", "client", fields={"number": 2}, **reply),
        ],
    )
    assert [one.variable for one in read_run(folder).messages] == ["x", "y", "x", None]


def test_the_nodes_of_a_session_without_results_are_looked_for_once(tmp_path: Path) -> None:
    folder = split_brain(tmp_path / "run")
    (folder / "results.json").unlink()
    run = read_run(folder)
    assert len(run.nodes) > 1
    assert run.nodes is run.nodes  # every message is looked at for them, and each asks for them
