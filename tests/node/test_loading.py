"""Algorithms and machines by their names: what is found, and what is said of each mistake."""

import re
import sys
from pathlib import Path

import pytest

from node.algorithms import UnknownAlgorithm, load_algorithm
from node.algorithms.paxos import Paxos
from node.machines import UnknownMachine, load_machine, make_machines
from node.machines.kv import KvMachine

AUTHOR = """
from dataclasses import dataclass
from node.algorithms.leader import Leader
from node.contract import Message
from node.machine import Machine
from node.machines.kv import KvMachine

@dataclass(frozen=True, slots=True)
class Fine(Message):
    number: int

class Empty(Message):
    pass

class Documented(Message):
    "It has no fields."
    def method(self): ...

class Undecorated(Message):
    number: int

class Assigned(Message):
    number = 0

class Constructed(Message):
    def __init__(self, number): ...

@dataclass(frozen=True, slots=True)
class Unencodable(Message):
    what: object

class Good(Leader):
    messages = (*Leader.messages, Fine, Empty, Documented)

class Listed(Leader):
    messages = [*Leader.messages]

class OfText(Leader):
    messages = "Fine"

class OfNumbers(Leader):
    messages = (7,)

class OfClasses(Leader):
    messages = (int,)

class OfUndecorated(Leader):
    messages = (Undecorated,)

class OfAssigned(Leader):
    messages = (Assigned,)

class OfConstructed(Leader):
    messages = (Constructed,)

class OfUnencodable(Leader):
    messages = (Unencodable,)

class TakesNothing(Leader):
    def __init__(self): ...

class Abstract(Machine):
    name = "abstract"

class Nameless(KvMachine):
    name = ""

class Other(KvMachine):
    name = "other"

NUMBER = 7
"""
NO_DATACLASS = "is no frozen dataclass"


@pytest.fixture
def author(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the name of a module in the current folder."""
    (tmp_path / "an_author.py").write_text(AUTHOR)
    monkeypatch.delitem(sys.modules, "an_author", raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return "an_author"


def test_an_algorithm_is_found_by_its_name_its_module_or_its_file(author: str, tmp_path: Path) -> None:
    assert load_algorithm("paxos") is Paxos
    assert load_algorithm("node.algorithms.paxos:Paxos") is Paxos
    good = load_algorithm(f"{author}:Good")
    assert good.__name__ == "Good"
    assert load_algorithm(f"{author}.py:Good") is good
    assert load_algorithm(f"{tmp_path}/{author}.py:Good") is good
    assert load_algorithm(f"{author}:Listed").__name__ == "Listed"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("an_author:Missing", "the module 'an_author' has no 'Missing'"),
        ("an_author:NUMBER", "NUMBER is not a subclass of node.contract.Algorithm"),
        ("an_author:Fine", "Fine is not a subclass of node.contract.Algorithm"),
        ("an_author:OfText", "`messages` must be a tuple of subclasses of node.contract.Message, but is 'Fine'"),
        ("an_author:OfNumbers", "7 in `messages` is no subclass"),
        ("an_author:OfClasses", "<class 'int'> in `messages` is no subclass"),
        ("an_author:OfUndecorated", f"the message Undecorated {NO_DATACLASS}"),
        ("an_author:OfAssigned", f"the message Assigned {NO_DATACLASS}"),
        ("an_author:OfConstructed", f"the message Constructed {NO_DATACLASS}"),
        ("an_author:OfUnencodable", "an_author:OfUnencodable: "),
        ("an_author:TakesNothing", "`__init__` must take the node"),
        ("node.contract:Algorithm", "Algorithm lacks propose, query, receive"),
        ("no_such_file.py:A", "there is no file no_such_file.py"),
        ("no_such_module:A", "the module 'no_such_module' cannot be imported"),
    ],
)
def test_a_mistake_in_an_algorithm_is_named(author: str, name: str, said: str) -> None:
    with pytest.raises(UnknownAlgorithm, match=re.escape(said)):
        load_algorithm(name)


def test_machines_are_found_by_name_and_called_by_their_own(author: str) -> None:
    assert load_machine("kv") is KvMachine
    machines = make_machines(["kv", f"{author}:Other"])
    assert list(machines) == ["kv", "other"]
    with pytest.raises(UnknownMachine, match="two machines are called 'kv'"):
        make_machines(["kv", "node.machines.kv:KvMachine"])


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("kw", "no machine is called 'kw'"),
        ("an_author:Missing", "Missing cannot be imported from 'an_author'"),
        ("no_such_module:A", "A cannot be imported from 'no_such_module'"),
        ("an_author:NUMBER", "NUMBER is not a subclass of node.machine.Machine"),
        ("an_author:Fine", "Fine is not a subclass of node.machine.Machine"),
        ("an_author:Abstract", "Abstract lacks apply"),
        ("an_author:Nameless", "Nameless lacks a `name`"),
    ],
)
def test_a_mistake_in_a_machine_is_named(author: str, name: str, said: str) -> None:
    with pytest.raises(UnknownMachine, match=re.escape(said)):
        load_machine(name)
