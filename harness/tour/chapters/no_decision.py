"""Chapter 5: Fischer, Lynch and Paterson: bivalence, and an adversary that only delays."""

from typing import Final

from harness.systematic.flp_real import stand_off
from harness.tour.goals import held_off
from harness.tour.stage import Stage
from harness.tour.story import Challenge, Measured, Screen, TourChapter
from harness.virtual.flp_majority import explore_tie

_ADVERSARY_S: Final = 3.0


def _bivalent(_stage: Stage) -> Measured:
    tie = explore_tie()
    facts = [f"step {number}: {line}" for number, line in enumerate(tie.story, 1)]
    facts.append(
        f"{tie.states:,} configurations can follow, and all were tried: {' or '.join(sorted(tie.valence))} can be decided"
    )
    for packet, valence in tie.after.items():
        kind = type(packet.message).__name__
        facts.append(
            f"if the {kind} from {packet.sender} to {packet.to} is the next to arrive: {' or '.join(sorted(valence))}"
        )
    facts.append(
        f"while the {len(tie.critical)} that decide are late: {tie.held} configurations, {tie.held_decided} with a "
        f"decision, and {tie.held_bivalent} from which both values are still possible"
    )
    return Measured(
        facts,
        "The same voters, in virtual time, where every order of messages can be tried. Both values are still "
        "possible: the state is bivalent. One message makes it blue, another makes it red, and both are on their way "
        "to the same node. While they are late, no node can tell them from lost ones, nor that node from a dead one.",
        tie.shown,
    )


def _adversary(stage: Stage) -> Measured:
    report = stand_off(stage.next_folder("adversary"), _ADVERSARY_S, watch=stage.watch)
    facts = [
        f"for {report.seconds:.1f} s: {report.rounds} rounds, up to ballot "
        f"{report.ballot.round}·{report.ballot.node}, and {report.decisions} decisions; the nodes were asked "
        f"{report.looks} times",
        f"the proxy: {report.messages['arrived']} messages came in, {report.delivered} left, {report.held} of them late, "
        f"{report.lost} lost",
        "processes: "
        + ", ".join(
            f"{node} is {each['pid']}, {each['state']}, boots {each['boots']}"
            for node, each in report.processes.items()
        ),
    ]
    if report.decision_ms is not None:
        facts.append(f"the adversary stops: {report.decided} is decided {report.decision_ms:.0f} ms later")
    facts.append("the judges: " + ", ".join(f"{name} {status}" for name, status in report.verdicts.items()))
    facts.append(report.not_owed())
    return Measured(
        facts,
        "Five real processes, two proposers, no crash and no loss, and no decision, round after round. Each time "
        "that one proposer was about to win, its messages were kept until the other one had overtaken it. Every "
        "message arrived in the end. When nobody delays them any more, it is decided at once.",
        report.shown,
    )


NO_DECISION: Final = TourChapter(
    "flp",
    "No crash, no loss, and no decision",
    (
        Screen(
            "Both are still possible",
            "Three voters; blue was proposed at one and red at another. Some messages are on their way. Which value "
            "will it be?",
            "try every order in which the messages can arrive, in virtual time",
            _bivalent,
        ),
        Screen(
            "An adversary",
            "The next design, Paxos, cannot tie: a node may vote again under a higher number. Somebody who sees "
            "every message and may delay each for as long as he likes, but must let all of them arrive, plays "
            "against it.",
            f"start five Paxos nodes, and have an adversary delay messages for {_ADVERSARY_S:g} seconds; then let it "
            "stop",
            _adversary,
        ),
        Screen(
            "A theorem",
            "In 1985 Fischer, Lynch and Paterson proved that this is no weakness of one design. Where messages may "
            "take any time and one process may crash, no deterministic algorithm can promise both that it never "
            "decides two values and that it always decides. What you have seen illustrates it; only their proof "
            "covers every algorithm.\n\n"
            "So one has to choose. Be right always, whatever the timing. Make progress when the timing is kind, and "
            "make it likely that it is: who was beaten waits for a random time before the next try.",
        ),
    ),
    Challenge(
        "You are the adversary. Three Paxos nodes: propose two values, lose nothing, touch no process, and hold the "
        "decision off. `check` waits until two seconds have passed, looks for a decision, and then lets everything "
        "go.",
        "paxos",
        3,
        held_off,
        (
            "A value is decided when a majority has accepted it.",
            "`hold Accept`, and then propose two values at two nodes.",
        ),
        ("hold Accept", "propose blue at n1", "propose red at n2"),
        "As long as you like, and not a moment longer: once the messages go, a decision follows. Accepts that are held "
        "stop even a single proposer, so this shows only that a decision needs messages, and no node can tell late ones "
        "from lost ones. The adversary of this chapter does more. It lets each message arrive by the end of the next "
        "round, but not before the rival's higher ballot: it could go on for ever, and no message would be held for ever.",
    ),
    "tutorial/5-no-decision.md",
)
