"""Chapter 4: a vote, its window of vulnerability with three pasts, and a three-way split."""

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Final

from cluster.clients.outcomes import NotKnown, Ok
from harness.checkers.verdict import violated
from harness.records.jsonable import shown
from harness.tour.goals import stuck_with_no_crash
from harness.tour.stage import NO_ANSWER_S, Stage, in_words, value, verdict_lines
from harness.tour.story import Challenge, Measured, Screen, TourChapter
from node.contract import NodeId

_LAST: Final = "n7"
#: The three pasts of the seventh node: the variable, and what it has voted for.
_PASTS: Final = {"past-red": "red", "past-blue": "blue", "past-none": None}


def _a_majority(stage: Stage) -> Measured:
    facts = stage.up("majority", 7, "vote")
    first, told_first = stage.propose("blue", "n2")
    second, told_second = stage.propose("red", "n5")
    same = value(first) == value(second) is not None
    return Measured(
        [*facts, told_first, told_second],
        f"Nobody leads, and both were answered {shown(value(first))}. Two values cannot both have more than half of "
        "the votes: two majorities share a voter, and a voter has one vote. Blue against red, as in the last "
        "chapter, cannot happen.",
        same,
    )


def _three_pasts(stage: Stage) -> Measured:
    run = stage.run
    six = [node for node in run.nodes if node != _LAST]
    between = [(a, b) for a in six for b in six if a != b]
    with (
        run.faults.hold([(node, _LAST) for node in six]) as to_last,
        run.faults.hold([(_LAST, node) for node in six]) as from_last,
        run.faults.hold(between, "Vote"),
    ):
        early = [
            stage.begin_propose("blue" if i < 3 else "red", node, variable, NO_ANSWER_S)
            for variable in _PASTS
            for i, node in enumerate(six)
        ]
        _wait_for_votes(stage, six, _PASTS)
        cast = {variable: vote for variable, vote in _PASTS.items() if vote is not None}
        early += [stage.begin_propose(vote, _LAST, variable, NO_ANSWER_S) for variable, vote in cast.items()]
        _wait_for_votes(stage, [_LAST], cast)  # n7 has voted, and no other node hears of it
        facts = stage.kill(_LAST)
        to_last.rules[0].discard()
        from_last.rules[0].discard()
    run.settle(*early)
    asked = {variable: run.begin_query(variable, "n1", NO_ANSWER_S) for variable in _PASTS}
    outcomes = {variable: run.client.wait(call) for variable, call in asked.items()}
    known = {variable: _votes_known(stage, variable) for variable in _PASTS}
    for variable, vote in _PASTS.items():
        facts.append(
            f"{variable}: n7 had voted {vote or 'for nothing'} before it died; the six know {known[variable]}; n1 says: "
            f"{in_words(outcomes[variable])}"
        )
    alike = len(set(known.values())) == 1 and all(isinstance(one, NotKnown) for one in outcomes.values())
    meaning = (
        "Three variables, three pasts, and to the six survivors they look the same: what they know is equal to the "
        "letter. In one past red has won, and a client may have been told so. In another, blue. In the third, "
        "nothing is decided. To answer anything would be wrong in one of them, so they wait for a dead node. Six of "
        "seven are up. That is the window of vulnerability."
        if alike
        else "This time the survivors could tell the pasts apart, or answered."
    )
    return Measured(facts, meaning, alike)


def _wait_for_votes(stage: Stage, nodes: Iterable[NodeId], variables: Iterable[str]) -> None:
    """Wait until each of these nodes has voted in each of these variables, by its own word."""
    wanted = [(node, variable) for node in nodes for variable in variables]

    def voted() -> bool:
        statuses = {variable: stage.variable_status(variable) for _, variable in wanted}
        return all(statuses[variable].get(node, {}).get("vote") is not None for node, variable in wanted)

    stage.wait_until(voted, "the nodes to vote")


def _votes_known(stage: Stage, variable: str) -> str:
    """Return which votes the nodes that are up know, such as "3 blue, 3 red"; with "or" between if they know different ones."""
    known: dict[str, None] = {}
    for status in stage.variable_status(variable).values():
        counts = sorted(Counter(map(str, status.get("votes", {}).values())).items())
        known[", ".join(f"{number} {vote}" for vote, number in counts) or "none"] = None
    return " or ".join(known)


def _wanted(vote: str | None) -> Callable[[object], bool]:
    """Return whether an answer is the one that a vote of n7 decides; any answer will do if it had not voted."""
    return lambda now: vote is None or now == vote


def _it_returns(stage: Stage) -> Measured:
    run = stage.run
    six = [node for node in run.nodes if node != _LAST]
    with run.faults.hold([(node, _LAST) for node in six]):
        facts = stage.restart(_LAST)
        # It has heard nobody yet, so where it has not voted it votes for what its own client asks.
        own = stage.begin_propose("green", _LAST, "past-none", NO_ANSWER_S)
        _wait_for_votes(stage, [_LAST], ["past-none"])
        run.settle(own)
    found = {}
    for variable, vote in _PASTS.items():
        found[variable], told = stage.query_until("n1", _wanted(vote), variable)
        facts.append(told)
    by_vote = all(value(found[variable]) == vote for variable, vote in _PASTS.items())
    return Measured(
        facts,
        f"Each past ends in its own way. Where n7 had voted, its vote decides: {in_words(found['past-red'])} and "
        f"{in_words(found['past-blue'])}. Where it had not, a third client came first, and its vote went to green: "
        "three, three and one. Every vote is known, nothing is broken any more, and n1 says: "
        f"{in_words(found['past-none'])}. It will say so for ever.",
        by_vote,
    )


def _three_ways(stage: Stage) -> Measured:
    facts = stage.up(
        "majority", 7, "split"
    )  # a run of its own, so that it is judged without the crash of the acts before
    run, variable = stage.run, "split"
    proposals = dict(zip(run.nodes, ("blue", "blue", "blue", "red", "red", "green", "green"), strict=True))
    with run.faults.hold_all("Vote"):
        early = [stage.begin_propose(colour, node, variable, NO_ANSWER_S) for node, colour in proposals.items()]
        _wait_for_votes(stage, run.nodes, [variable])
    run.settle(*early)
    asked, told_query = stage.query("n1", variable, 3 * NO_ANSWER_S)
    proposed, told_propose = stage.propose("blue", "n1", variable, 2 * NO_ANSWER_S)
    votes = _votes_known(stage, variable)
    verdicts = stage.end()
    tied = asked == Ok(None, "n1") and isinstance(proposed, NotKnown)
    meaning = (
        f"Seven voters, none of them down, no message lost, and no majority: {votes}. A vote is final, so this "
        f"variable stays undecided. Broken: {', '.join(violated(verdicts)) or 'nothing'}. The vote never says "
        "anything wrong, and it can fall silent for good without a single crash."
        if tied
        else f"This time the votes were {votes}, and an answer came."
    )
    return Measured([*facts, told_query, told_propose, *verdict_lines(verdicts)], meaning, tied)


VOTE: Final = TourChapter(
    "vote",
    "A vote, its window of vulnerability, and a split in three",
    (
        Screen(
            "Let more than half decide",
            "No leader. Each node votes for the first value that it hears of, writes the vote to its disk and never "
            "takes it back. A value with the votes of more than half of all nodes is decided.",
            "start seven voters, and propose blue at n2 and red at n5",
            _a_majority,
        ),
        Screen(
            "Three blue, three red, and one that died",
            "Three vote blue and three vote red, so the seventh vote decides. The seventh node dies. Had it voted? "
            "Perhaps for red, perhaps for blue, perhaps not at all: only the dead node knows. Three "
            "variables have the three pasts: past-red, past-blue and past-none.",
            "hold the votes back, have three voted blue and three red, give n7 three pasts, kill it, let the votes "
            "go, and ask",
            _three_pasts,
        ),
        Screen(
            "The dead one returns",
            "n7 comes back, and its disk knows what it had done. Where it had not voted, it votes now, for what it "
            "hears first.",
            "start n7 again, let a client propose green there, and ask n1 about each past",
            _it_returns,
        ),
        Screen(
            "A split in three",
            "It does not even take a death. Three values are proposed at the same time, and each node has heard of "
            "one of them first.",
            "start seven fresh voters, hold the votes back until all have voted, three blue, two red, two green; let the "
            "votes go, and ask",
            _three_ways,
        ),
    ),
    Challenge(
        "Five fresh voters. Stop them from deciding without killing anybody. When you `check`, no cut may be left.",
        "majority",
        5,
        stuck_with_no_crash,
        (
            "Which numbers of votes leave nobody with three of five?",
            "Each node votes for the first value that it hears of. While a cut is in force it hears of few.",
            "`cut n1 n2 | n3 n4 | n5`, propose another colour in each group, `heal`, `check`.",
        ),
        ("cut n1 n2 | n3 n4 | n5", "propose blue at n1", "propose red at n3", "propose green at n5", "heal"),
        "A vote that cannot be taken back is safe, and it can tie. Is there a cleverer rule that never gets stuck?",
    ),
    "tutorial/4-majority-vote.md",
)
