"""Compares whole transcripts with those in tests/transcripts/. `pytest --regenerate` writes them again."""

from collections.abc import Callable

import pytest

from harness.virtual import flp
from node.algorithms.failover import Alive
from node.algorithms.majority import Vote
from node.algorithms.multipaxos import messages as log
from node.algorithms.paxos import Accept, Accepted, Decided, Prepare, Promise
from tests.storyteller import TRANSCRIPTS, Transcript, wrapped

OTHERS = ("n2", "n3")
ALL = ("n1", "n2", "n3")
SIX = ("n1", "n2", "n3", "n4", "n5", "n6")


def leader_away() -> str:
    story = Transcript("A leader, and the same without it", "leader", 3)
    story.explain("Each node passes calls on to n1, the configured leader, which accepts the first proposal.")
    story.propose("n2", "blue")
    story.settle(ALL)
    story.propose("n3", "red")
    story.settle(ALL)
    story.explain("The leader crashes. Two of three nodes are up, and cannot answer any client.")
    story.crash("n1")
    story.query("n2")
    story.lose_the_rest()
    story.write_status("role", "decided", "waiting")
    story.explain("The leader boots again. What it had accepted is on its disk.")
    story.recover("n1")
    story.fire("n2", "ask again")
    story.settle(ALL)
    return story.text()


def split_brain() -> str:
    story = Transcript("Leader failover: split-brain", "failover", 3)
    story.explain("Each node reports to every other that it is alive. The lowest node that reports leads: n1.")
    story.propose("n3", "blue")
    story.deliver(Alive, "n3", "n1")
    story.deliver(sender="n3", to="n1")
    story.lose_the_rest()
    story.explain("A cut isolates n1. No node is down. n1 continues to lead.")
    story.propose("n1", "green")
    story.explain("n2 and n3 have received nothing from n1 for a while, and take it for dead.")
    story.query("n2")
    story.fire("n2", "silent n1")
    story.fire("n3", "silent n1")
    story.write_status("leader", "taken for dead", "decided")
    story.explain("So n2 leads on their side. It knows of no decision, and accepts the first proposal.")
    story.propose("n3", "red")
    story.settle(OTHERS)
    story.write_status("leader", "taken for dead", "decided")
    return story.text()


def window_of_vulnerability() -> str:
    story = Transcript("The window of vulnerability: three blue, three red, and the seventh", "majority", 7)
    story.explain(
        "Seven nodes vote. n1 votes blue and n4 red, and the vote of each reaches two more nodes before that of the other."
    )
    story.propose("n1", "blue")
    story.propose("n4", "red")
    story.deliver(Vote, "n1", ("n2", "n3"))
    story.deliver(Vote, "n4", ("n5", "n6"))
    story.explain(
        "The vote for blue reaches the seventh node first. It votes, and crashes before its vote arrives anywhere."
    )
    story.deliver(Vote, "n1", "n7")
    story.crash("n7")
    story.settle(SIX, in_short=True)
    story.lose_the_rest()
    story.explain("Six of seven nodes are up, and have received all of each other's votes.")
    story.write_status("vote", "decided", "waiting")
    story.explain(
        "No client is answered. If the seventh node has voted blue, blue is decided; if red, red; if it has not voted,",
        "nothing is. Only its disk holds the vote.",
    )
    story.query("n2")
    story.settle(SIX, in_short=True)
    story.lose_the_rest()
    story.write_status("vote", "decided", "waiting")
    story.explain("The seventh node boots again, and reports its vote.")
    story.recover("n7")
    story.deliver(Vote, "n7", "n2")
    story.deliver(Vote, "n7", "n4")
    return story.text()


def three_proposals() -> str:
    story = Transcript("Three proposals, and no majority for any", "majority", 3)
    story.explain("Three clients propose at three nodes at the same moment. No node fails and no message is lost.")
    for node, colour in (("n1", "blue"), ("n2", "red"), ("n3", "green")):
        story.propose(node, colour)
    story.settle(ALL)
    story.write_status("vote", "decided", "waiting")
    story.explain(
        "No vote ever changes, so no proposal is ever answered. A query is answered: the votes prove that no value is decided."
    )
    story.query("n1")
    return story.text()


def proposer_killed() -> str:
    story = Transcript("Paxos: the proposer is killed", "paxos", 3)
    story.explain("n1 proposes blue. A quorum promises; then n1's Accept reaches only n2, and n1 is killed.")
    story.propose("n1", "blue")
    story.deliver(Prepare, "n1", OTHERS)
    story.deliver(Promise, "n2", "n1")
    story.deliver(Accept, "n1", "n2")
    story.crash("n1")
    story.lose_the_rest()
    story.write_status("role", "ballot", "accepted ballot", "accepted", "decided")
    story.explain(
        "n1's disk and n2 are two of three: blue is chosen, and no node that is up knows it. n3 proposes red under a higher",
        "ballot, learns of blue from n2's promise, and continues with blue.",
    )
    story.propose("n3", "red")
    story.settle(OTHERS)
    story.write_status("role", "ballot", "accepted ballot", "accepted", "decided")
    story.explain("n1 boots again, and learns of the decision.")
    story.lose_the_rest()
    story.recover("n1")
    story.query("n1")
    story.settle(ALL)
    return story.text()


def late_accept() -> str:
    story = Transcript("Paxos: a late Accept", "paxos", 3)
    story.explain(
        "n1 has its promises, and its Accepts are slow. Meanwhile n3 prepares a higher ballot, under which red is chosen."
    )
    story.propose("n1", "blue")
    story.deliver(Prepare, "n1", "n2")
    story.deliver(Promise, "n2", "n1")
    story.propose("n3", "red")
    story.deliver(Prepare, "n3", "n2")
    story.deliver(Promise, "n2", "n3")
    story.deliver(Accept, "n3", "n2")
    story.deliver(Accepted, "n2", "n3")
    story.explain(
        "Now the Accepts arrive. A node that has promised a higher ballot rejects them, and one that knows the decision",
        "replies with it.",
    )
    story.lose(Decided, "n3", "n2")
    story.deliver(Accept, "n1", "n2")
    story.deliver(Accept, "n1", "n3")
    story.settle(ALL)
    story.write_status("role", "ballot", "accepted", "decided")
    return story.text()


def stand_off() -> str:
    report = flp.stand_off(rounds=3)
    assert report.shown
    title = "FLP: rounds without a decision"
    return "\n".join([title, "=" * len(title), "", *wrapped(report.lines())]) + "\n"


def leader_change() -> str:
    story = Transcript("A log changes its leader", "multipaxos", 3)
    story.explain("n1 finds supporters, prepares once for every slot of the log, and leads.")
    story.fire("n1", "tick")
    story.settle(ALL)
    story.write_status("role", "leader", "ballot", "commit")
    story.explain("From now on a command takes one round of messages.")
    story.command("alice", "n1", "kv", ["put", "owner", b"alice"])
    story.settle(ALL)
    story.explain(
        "n2 and n1 itself accept the next command, so it is chosen; and n1 is killed before it reports that to any node."
    )
    story.command("bob", "n1", "kv", ["put", "owner", b"bob"])
    story.deliver(log.LogAccept, "n1", "n2")
    story.crash("n1")
    story.lose_the_rest()
    story.write_status("role", "leader", "ballot", "commit")
    story.explain("n3 and n2 see their connections close. n3 has not accepted bob's command, and canvasses first.")
    story.connection_closes("n3", "n1")
    story.connection_closes("n2", "n1")
    story.fire("n3", "tick")
    story.settle(OTHERS)
    story.write_status("role", "leader", "ballot", "commit")
    story.explain(
        "n2's promise contains bob's command, and n3 proposes it again under its own ballot. Carol overwrites the value."
    )
    story.command("carol", "n3", "kv", ["put", "owner", b"carol"])
    story.settle(OTHERS)
    story.explain("n1 boots again, learns which node leads, and catches up.")
    story.lose_the_rest()
    story.recover("n1")
    story.fire("n3", "beat")
    story.settle(ALL)
    story.write_status("role", "leader", "ballot", "commit")
    return story.text()


STORIES = [
    leader_away,
    split_brain,
    window_of_vulnerability,
    three_proposals,
    proposer_killed,
    late_accept,
    stand_off,
    leader_change,
]


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.__name__)
def test_the_transcript_is_still_the_same(story: Callable[[], str], regenerate: bool) -> None:
    path = TRANSCRIPTS / f"{story.__name__}.txt"
    text = story()
    if regenerate:
        path.write_text(text)
    assert text == path.read_text(), "read the difference; if it is intended, pytest --regenerate keeps it"


def test_every_transcript_has_its_story() -> None:
    assert {path.stem for path in TRANSCRIPTS.iterdir()} == {story.__name__ for story in STORIES}


def test_each_transcript_ends_with_the_right_verdict() -> None:
    """A transcript that was regenerated without care must still end so."""
    texts = {path.stem: path.read_text() for path in TRANSCRIPTS.iterdir()}
    verdicts = {name: [line for line in text.splitlines() if line.startswith("   => ")] for name, text in texts.items()}
    assert verdicts.pop("split_brain") == ["   => agreement: n1 has decided 'blue', and n2 'red'"]
    assert verdicts.pop("stand_off") == []
    assert "decisions 0; 3 times both values were still reachable" in texts["stand_off"]
    assert all(lines == ["   => no violation"] for lines in verdicts.values())
