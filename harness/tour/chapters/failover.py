"""Chapter 3: failover, and blue against red."""

from typing import Final

from harness.checkers.verdict import violated
from harness.records.jsonable import shown
from harness.tour.goals import two_decisions
from harness.tour.stage import Stage, value, verdict_lines
from harness.tour.story import Challenge, Measured, Screen, TourChapter

_SPLIT: Final = "side"


def _a_deputy(stage: Stage) -> Measured:
    facts = stage.up("failover", 5, "failover")
    facts.append(stage.propose("blue", "n2")[1])
    facts += stage.kill("n1")
    outcome, told = stage.propose("round", "n3", "shape")
    facts.append(told)
    back = stage.restart("n1")
    return Measured(
        [*facts, *back],
        "The leader died, the others noticed its silence, and the next one took over. The time of that last answer "
        "is mostly the time for which they waited. It looks as if the problem of the leader were solved.",
        value(outcome) == "round",
    )


def _blue_against_red(stage: Stage) -> Measured:
    facts = stage.cut(["n1", "n2"], ["n3", "n4", "n5"])
    blue, told_blue = stage.propose("blue", "n2", _SPLIT)
    red, told_red = stage.propose("red", "n4", _SPLIT)
    _, told = stage.query_all(_SPLIT)
    facts += [told_blue, told_red, *told]
    differ = value(blue) != value(red) and None not in (value(blue), value(red))
    meaning = (
        f"Two decisions: {shown(value(blue))} on one side, {shown(value(red))} on the other, and both were given to "
        "clients as final. No process died. n3, n4 and n5 took n1 for dead because they did not hear it, and n1 "
        "never learned that it had been replaced. Silence is not death. This is split-brain."
        if differ
        else "This time the two sides did not decide differently."
    )
    return Measured(facts, meaning, differ)


def _it_heals(stage: Stage) -> Measured:
    before, told_before = stage.query("n4", _SPLIT)
    facts = [told_before, *stage.heal()]
    other = {
        node: stage.query_until(node, lambda now: now is not None and now != value(before), _SPLIT)
        for node in ("n3", "n4", "n5")
    }
    after = other["n4"][0]
    statuses = stage.variable_status(_SPLIT)
    kept = ", ".join(f"{node} has {shown(statuses.get(node, {}).get('decided'))}" for node in other)
    verdicts = stage.end()
    broken = violated(verdicts)
    changed = all(value(before) != value(outcome) for outcome, _ in other.values())
    meaning = (
        f"n3, n4 and n5 said {shown(value(before))}. Now they ask n1 and say {shown(value(after))}, whatever is on "
        f"their own disks: a client that has acted on the first answer has acted on something that is no longer so. "
        f"Broken: {', '.join(broken)}. A longer patience would only make the failover slower: there is always a cut that "
        "lasts longer."
        if changed
        else f"This time not all of n3, n4 and n5 came to say otherwise. Broken: {', '.join(broken) or 'nothing'}."
    )
    told_after = [*(told for _, told in other.values()), f"on their own disks: {kept}"]
    return Measured([*facts, *told_after, *verdict_lines(verdicts)], meaning, changed and bool(broken))


FAILOVER: Final = TourChapter(
    "failover",
    "Failover, and blue against red",
    (
        Screen(
            "A deputy",
            "The obvious repair: when the leader is silent for a while, the others take it for dead, and the next "
            "node leads. It takes over the value that it knows.",
            "start five nodes with failover, decide something, kill the leader, decide something else, start it again",
            _a_deputy,
        ),
        Screen(
            "Blue against red",
            "Now nobody dies. The network between two groups is cut: n1 and n2 on one side, n3, n4 and n5 on the "
            "other. Clients reach both sides.",
            "cut the network, propose blue at n2 and red at n4, and ask every node",
            _blue_against_red,
        ),
        Screen(
            "The network heals",
            "The cut ends: then all five hear each other again, and all of them follow n1.",
            "ask n4, heal the cut, ask n3, n4 and n5 until they have heard n1, and have it judged",
            _it_heals,
        ),
    ),
    Challenge(
        "Three fresh nodes with failover. Make two nodes decide differently.",
        "failover",
        3,
        two_decisions,
        (
            "Two nodes have to believe that they lead.",
            "n1 leads. Cut it off, and propose on both sides: `cut n1 | n2 n3`.",
        ),
        ("cut n1 | n2 n3", "propose blue at n1", "propose red at n2"),
        "Split-brain again. What is missing is a reason why two sides could not both decide: any two majorities "
        "share a node.",
    ),
    "tutorial/3-naive-failover.md",
)
