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
        "never learned that it had been replaced. Silence is not death."
        if differ
        else "This time the two sides did not decide differently."
    )
    return Measured(facts, meaning, differ)


def _it_heals(stage: Stage) -> Measured:
    before, told_before = stage.query("n4", _SPLIT)
    facts = [told_before, *stage.heal()]
    after, told_after = stage.query_until("n4", lambda now: now is not None and now != value(before), _SPLIT)
    verdicts = stage.end()
    broken = violated(verdicts)
    changed = value(before) != value(after)
    meaning = (
        f"n4 said {shown(value(before))}, and now it says {shown(value(after))}: a client that has acted on the first "
        f"answer has acted on something that is no longer so. Broken: {', '.join(broken)}. A longer patience would "
        "only make the failover slower: there is always a cut that lasts longer."
        if changed
        else f"n4 still says {shown(value(after))}. Broken: {', '.join(broken) or 'nothing'}."
    )
    return Measured([*facts, told_after, *verdict_lines(verdicts)], meaning, changed and bool(broken))


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
            "Now all five hear each other again, and all of them follow n1.",
            "ask n4, heal the cut, ask n4 again until it has heard n1, and have it judged",
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
        "This is split-brain. What is missing is a reason why two sides could not both decide: any two majorities "
        "share a node.",
    ),
    "tutorial/3-naive-failover.md",
)
