"""A replicated log by hand: its members, its keys, and what is shown of it."""

import json
import shutil

import pytest
from click.shell_completion import ShellComplete

from harness.cli.verbs import cli
from tests.end_to_end.hand import Hand
from tests.waiting import wait_until


def members(hand: Hand) -> dict[str, str]:
    """Who is a member, and what it does."""
    return {
        row["node"]: "leads" if row["leads"] else "votes" if row["votes"] else "learns"
        for row in hand.json("member", "list")["members"]
    }


def leader(hand: Hand) -> str:
    wait_until(lambda: "leads" in members(hand).values())
    (found,) = [node for node, role in members(hand).items() if role == "leads"]
    return found


def completions(hand: Hand, *words: str) -> set[str]:
    """What the shell would offer for the last of these words."""
    *done, begun = words
    shell = ShellComplete(cli, {}, "consensus", "_CONSENSUS_COMPLETE")
    found = shell.get_completions(["--dir", str(hand.folder / ".consensus"), *done], begun)
    return {item.value for item in found}


def test_nodes_come_and_go(hand: Hand) -> None:
    hand.good("up", "-d", "-n", "3", "--algorithm", "multipaxos")
    hand.good("put", "owner", "alice")
    assert hand.good("member", "add", "n4") == "n4 votes"
    hand.good("link", "n1", "n2", "--delay", "1ms")
    added = hand.run("member", "add", "n5", "-o", "json")
    assert json.loads(added.stdout) == {"schema": 1, "added": "n5"}
    assert "in force leave the links of n5 whole" in added.stderr
    assert set(members(hand)) == {"n1", "n2", "n3", "n4", "n5"}
    gone = leader(hand)
    assert "its name cannot be used again" in hand.good("member", "remove", gone)  # it hands over first
    assert gone not in hand.rows()
    assert f"{gone}  removed" in hand.good("member", "list")
    new = leader(hand)
    hand.good("isolate", new)  # the links of nodes that came later are cut as well
    assert hand.good("put", "owner", "bob") > "0"
    wait_until(lambda: hand.rows()[new]["algorithm_status"]["role"] != "leading")
    hand.good("heal")
    assert completions(hand, "member", "add", "") == {"n6"}
    assert completions(hand, "member", "remove", "") == set(members(hand))
    assert completions(hand, "member", "replace", "n") == set(members(hand))
    hand.good("down")
    hand.good("up", "-d")
    assert set(hand.rows()) == {"n1", "n2", "n3", "n4", "n5"} - {gone}
    assert hand.good("get", "owner") == '"bob"'
    hand.fails(1, "an id is used once", "member", "add", gone)
    assert "incarnation" in hand.good("logs", gone)


def test_a_cluster_of_newcomers_alone_starts_again_after_a_stop_of_all(hand: Hand) -> None:
    hand.good("up", "-d", "-n", "2", "--algorithm", "multipaxos")
    hand.good("put", "owner", "alice")
    hand.good("member", "replace", "n1", "n3")
    hand.good("member", "replace", "n2", "n4")
    hand.good("kill", "all")
    hand.good("restart", "all")
    assert hand.good("get", "owner") == '"alice"'
    assert set(members(hand)) == {"n3", "n4"}


def test_a_node_that_lost_its_disk_is_replaced(hand: Hand) -> None:
    hand.good("up", "-d", "-n", "3", "--algorithm", "multipaxos")
    hand.good("put", "owner", "alice")
    lost = next(node for node, role in members(hand).items() if role == "votes")
    hand.good("kill", lost)
    shutil.rmtree(hand.folder / ".consensus" / "nodes" / lost)
    hand.fails(1, "must not vote without its state", "restart", lost)
    done = hand.run("member", "replace", lost, "n4")
    assert (done.returncode, done.stdout) == (0, f"n4 votes in the place of {lost}\n"), done.stderr
    assert "n4 is up and learns" in done.stderr
    assert lost not in members(hand)
    other = next(node for node in members(hand) if node != "n4")
    hand.good("kill", other)  # with n4's vote there is still a majority
    assert hand.good("get", "owner") == '"alice"'


def test_bad_input_is_reported_and_changes_nothing(hand: Hand) -> None:
    hand.fails(1, "no cluster is up", "member", "list")
    hand.good("up", "-d", "-n", "1", "--algorithm", "multipaxos")
    hand.good("put", "owner", "alice")
    hand.fails(1, "n1 is the last voter: without it there is no cluster", "member", "remove", "n1")
    hand.fails(1, "n1 is a member already", "member", "add", "n1")
    hand.fails(254, "there is no node 'n9'", "member", "remove", "n9")
    hand.fails(254, "there is no node 'n9'", "member", "replace", "n9", "n2")
    hand.fails(1, "n1 is a member already", "member", "replace", "n1", "n1")
    hand.fails(254, "a node cannot be called 'leader'", "member", "add", "leader")
    hand.fails(254, "a node cannot be called '7'", "member", "replace", "n1", "7")
    hand.fails(254, "there is no command 'fly'", "member", "fly")
    assert members(hand) == {"n1": "leads"}
    assert list(hand.rows()) == ["n1"]

    # A change that does not come to its end keeps others out.
    (hand.folder / ".consensus" / "nodes" / "n2").write_text("no folder can be made here")
    hand.fails(1, "It is a learner now: restart it, or remove it", "member", "add", "n2")
    assert members(hand) == {"n1": "leads", "n2": "learns"}
    hand.fails(1, "another change is under way (learners: n2)", "member", "add", "n3")
    (hand.folder / ".consensus" / "nodes" / "n2").unlink()
    hand.good("restart", "n2")
    wait_until(lambda: members(hand)["n2"] == "votes")
    hand.good("member", "remove", "n2")
    hand.fails(254, "n2 was removed already", "member", "remove", "n2")
    assert hand.good("get", "owner") == '"alice"'

    hand.good("down", "--wipe")
    hand.good("up", "-d", "-n", "2")
    assert list(hand.rows()) == ["n1", "n2"]  # a new cluster has all its names again
    for verb in (["list"], ["add", "n3"], ["remove", "n2"], ["replace", "n2", "n3"]):
        hand.fails(1, "paxos keeps no log, it decides values once", "member", *verb)


def test_ps_shows_what_a_log_has_led_to_on_a_narrow_screen(hand: Hand, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    hand.good("up", "-d", "-n", "3", "--algorithm", "multipaxos")
    hand.good("put", "owner", "alice")
    hand.good("put", "other", "bob")
    hand.good("propose", "colour", "blue")
    first = leader(hand)
    hand.good("kill", first)
    hand.good("put", "owner", "carol")
    wait_until(lambda: len({row["algorithm_status"].get("applied") for row in hand.rows().values()}) == 2)
    shown = hand.good("ps")
    rows = {row["node"]: row["algorithm_status"] for row in hand.rows().values()}
    for line in shown.splitlines()[1:4]:
        node = line.split()[0]
        if node == first:
            assert "killed by SIGKILL" in line
        else:
            assert rows[node]["role"] in line
            assert str(rows[node]["applied"]) in line
            assert f"{rows[node]['ballot'][0]}.{rows[node]['ballot'][1]}" in line
            assert rows[node]["holds"]["keys"] == 2
            assert rows[node]["voters"] == ["n1", "n2", "n3"]
            assert rows[node]["sessions"] == 0  # each verb has ended its own
    assert shown.splitlines()[4] == "voters n1, n2, n3; 1 variable, 2 keys"
    assert "{}" not in shown
    kept = hand.json("inspect", first)["log"]
    assert kept["first_slot"] == 1
    assert kept["last_slot"] >= kept["known_as_chosen_to"]
    assert kept["voters"] == ["n1", "n2", "n3"]
    assert f"last_slot = {kept['last_slot']}" in hand.good("inspect", first)
    assert max(len(line) for line in shown.splitlines()) <= 80


def test_without_a_majority_the_error_names_the_nodes_that_are_down(hand: Hand) -> None:
    hand.good("up", "-d", "-n", "3", "--algorithm", "multipaxos")
    version = hand.good("put", "owner", "alice")
    hand.good("kill", "n1,n2")
    hand.fails(2, "n1 is down: killed by SIGKILL", "get", "owner", "--timeout", "0.3")
    done = hand.run("put", "owner", "bob", "--timeout", "0.3")
    assert done.returncode in (1, 2)  # it never left, or may have been done: that depends on whether n3 led
    assert "n2 is down: killed by SIGKILL" in done.stderr
    hand.good("restart", "n1,n2")
    assert hand.json("get", "owner")["version"] >= int(version)


def test_bad_keys_and_values_are_told_and_change_nothing(hand: Hand) -> None:
    hand.good("up", "-d", "-n", "1", "--algorithm", "multipaxos")
    before = int(hand.good("put", "owner", "alice"))
    hand.fails(1, "there is no key 'nosuch'", "get", "nosuch")
    hand.fails(1, "there is no key 'nosuch'", "del", "nosuch")
    assert hand.json("get", "nosuch") == {"schema": 1, "key": "nosuch", "found": False, "value": None, "version": 0}
    hand.fails(254, "null (Python's None) cannot be proposed or put", "put", "owner", "null")
    hand.fails(254, "begins like JSON", "put", "owner", "{bad")
    hand.fails(1, "a key has 1 to 1,024 characters", "put", "", "1")
    hand.fails(1, "the version of 'owner' is 1, not 7", "put", "owner", "bob", "--if-version", "7")
    larger = hand.run("put", "owner", "-", stdin=json.dumps("x" * 300_000))
    assert larger.returncode == 254
    assert "takes 300,005 bytes and the limit is 262,144" in larger.stderr
    assert hand.json("get", "owner")["version"] == before
