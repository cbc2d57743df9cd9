from pathlib import Path

import pytest

from cluster.spec import create, node_names, open_spec
from node.algorithms import UnknownAlgorithm
from node.contract import BadInput
from node.settings import BadSpec


def test_a_spec_is_read_back_as_it_was_created(tmp_path: Path) -> None:
    made = create(tmp_path / "here", nodes=3, algorithm="majority", seed=7)
    assert made == open_spec(tmp_path / "here")
    assert made.nodes == ("n1", "n2", "n3")


def test_only_the_owner_can_read_the_spec(tmp_path: Path) -> None:
    made = create(tmp_path / "here", nodes=3, algorithm="paxos")
    assert made.path.stat().st_mode & 0o777 == 0o600


def test_names_may_be_given() -> None:
    assert node_names(["a", "b"]) == ("a", "b")


def test_a_node_has_booted_once_it_is_marked(tmp_path: Path) -> None:
    made = create(tmp_path, nodes=1, algorithm="paxos")
    assert not made.has_booted("n1")
    made.mark_booted("n1", 1)
    assert made.has_booted("n1")


@pytest.mark.parametrize(
    ("nodes", "algorithm", "error", "message"),
    [
        (0, "paxos", BadSpec, "0 nodes"),
        (100, "paxos", BadSpec, "100 nodes"),
        (["a", "a"], "paxos", BadSpec, "same name"),
        (["all"], "paxos", BadSpec, "cannot be called 'all'"),
        (["a b"], "paxos", BadSpec, "cannot be called 'a b'"),
        (3, "zab", UnknownAlgorithm, "no algorithm is called 'zab'"),
        (3, "nowhere:Class", UnknownAlgorithm, "cannot be imported"),
        (3, "node.quorum:Nothing", UnknownAlgorithm, "has no 'Nothing'"),
        (3, "node.quorum:Ballot", UnknownAlgorithm, "not a subclass"),
        (3, "node.contract:Algorithm", UnknownAlgorithm, "lacks propose, query, receive"),
    ],
)
def test_bad_input_is_an_error_and_nothing_is_made(
    tmp_path: Path, nodes: int | list[str], algorithm: str, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        create(tmp_path / "here", nodes=nodes, algorithm=algorithm)
    assert not (tmp_path / "here").exists()


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BadSpec, match="cannot be written"):
        create(tmp_path / "file" / "here", nodes=1, algorithm="paxos")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("nodes = [", "nodes = {", "not TOML"),
        ("seed = 0", "seed = 'x'", "seed has the type str"),
        ("seed = 0", "speed = 0", "'speed' is not a field"),
        ("seed = 0\n", "", "seed is missing"),
        ('algorithm = "paxos"', 'algorithm = ""', "algorithm is empty"),
        ('"n1"', "1", "list of strings"),
        ('cluster = "', 'cluster = "x', "32 hex digits"),
    ],
)
def test_a_broken_spec_is_an_error(tmp_path: Path, old: str, new: str, message: str) -> None:
    path = create(tmp_path, nodes=3, algorithm="paxos").path
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    with pytest.raises(BadSpec, match=message):
        open_spec(tmp_path)


def test_an_absent_spec_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(BadSpec, match="cannot be read"):
        open_spec(tmp_path)


def test_a_bad_machine_is_an_error_before_anything_is_made(tmp_path: Path) -> None:
    for machines, algorithm, reason in (
        (["teapot"], "multipaxos", "no machine is called 'teapot'"),
        (["node.machines.kv:KvMachine"], "multipaxos", "two machines are called 'kv'"),
        (["node.machines.kv:KvMachine"], "paxos", "keeps no log"),
        (["node.machine:Moment"], "multipaxos", "is not a subclass"),
    ):
        with pytest.raises(BadInput, match=reason):
            create(tmp_path / "c", nodes=3, algorithm=algorithm, machines=machines)
        assert not (tmp_path / "c").exists()
