"""The changes that are made of a module's source, and those that are not."""

import ast
from pathlib import Path
from textwrap import dedent

import pytest

from harness.mutation.changes import SourceChange, _Finder, changes_of
from harness.mutation.equivalents import SHIPPED, Equivalent, equivalent_of, load_equivalents
from harness.mutation.patched_module import modules_of, source_of
from node.contract import BadInput


def made(source: str) -> dict[str, set[str]]:
    """By kind, the texts that are put into the place of others."""
    found: dict[str, set[str]] = {}
    for change in changes_of("mine", dedent(source)):
        found.setdefault(change.kind, set()).add(f"{' '.join(change.old.split())} → {change.new}")
    return found


def one(source: str) -> SourceChange:
    (change,) = changes_of("mine", dedent(source))
    return change


def test_a_comparison_moves_its_boundary_and_is_turned() -> None:
    assert made("def f(a, b):\n    if a < b: pass")["comparison"] == {"< → <=", "< → >="}
    assert made("def f(a, b):\n    if a is not b: pass")["comparison"] == {"is not → is"}
    assert made("def f(a, b):\n    if a not in b: pass")["comparison"] == {"not in → in"}


@pytest.mark.parametrize(
    ("statement", "kind", "change"),
    [
        ("save(a)", "statement removed", "save(a) → pass"),
        ("a.field = 1", "statement removed", "a.field = 1 → pass"),
        ("a += b", "statement removed", "a += b → pass"),
        ("del a[b]", "statement removed", "del a[b] → pass"),
        ("raise ValueError(a)", "statement removed", "raise ValueError(a) → pass"),
        ("return a + b", "arithmetic", "+ → -"),
        ("return g(a, b)", "arguments swapped", "a, b → b, a"),
        ("return g(a)", "result is None", "g(a) → None"),
        ("return not a", "not removed", "not a → a"),
        ("return a and b", "and, or exchanged", "and → or"),
        ("return any(a)", "twin", "any → all"),
        ("return [x for x in a if x]", "filter removed", "x → True"),
        ("return 7", "constant", "7 → 8"),
        ("return g(True)", "constant", "True → False"),
        ("return 1 if a else 0", "condition turned", "a → not (a)"),
        ("match a:\n        case _ if b: pass", "guard removed", "b → True"),
    ],
)
def test_each_kind_of_change(statement: str, kind: str, change: str) -> None:
    assert change in made(f"def f(a, b):\n    {statement}")[kind]


def test_a_procedure_returns_early() -> None:
    procedure = 'def f(a) -> None:\n    """Says."""\n    x = a\n    y = x\n'
    change = one(procedure)
    assert change.kind == "early return"
    assert change.applied(procedure) == procedure.replace("x = a", "return; x = a")


@pytest.mark.parametrize(
    "source",
    [
        '"""The module."""',
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    x = 1 + 1",
        "def f(a: Literal[1]) -> Literal[2]: ...",
        "def f(a):\n    assert a == 1",
        "for a in zip(b, strict=True): pass",
        "def f(a):\n    log.info('%d', a + 1)",
        "import x",
    ],
)
def test_what_shapes_no_behaviour_is_left(source: str) -> None:
    assert not changes_of("mine", source)


def test_arguments_that_may_stand_in_any_order_are_not_swapped() -> None:
    assert set(made("def f(a, b):\n    x = max(a, b)")) == {"twin"}


def test_the_text_of_an_error_is_left_but_not_the_raise() -> None:
    assert made("def f(a):\n    raise BadInput(a + 1)") == {"statement removed": {"raise BadInput(a + 1) → pass"}}


def test_a_change_reads_as_a_diff_and_names_its_function() -> None:
    source = "class A:\n    def f(self):\n        return g(self)  # ünïcödé\n"
    change = one(source)
    assert (change.function, change.line, change.at_import) == ("A.f", 3, False)
    assert change.diff(source, "mine.py")[-2:] == [
        "-        return g(self)  # ünïcödé",
        "+        return None  # ünïcödé",
    ]


def test_what_runs_at_import_is_known() -> None:
    assert all(change.at_import for change in changes_of("mine", "LIMIT = 3\nclass A:\n    size = 2\n"))


def test_every_change_of_a_shipped_module_compiles() -> None:
    path = source_of("node.machines.kv")
    source = path.read_text()
    for change in changes_of("node.machines.kv", source):
        compile(change.applied(source), str(path), "exec")


def test_a_package_stands_for_all_of_its_modules() -> None:
    assert {"node.machines", "node.machines.kv", "node.machines.locks"} <= set(modules_of("node.machines"))
    with pytest.raises(BadInput, match=r"there is no module .node\.nothing."):
        modules_of("node.nothing")


# --- equivalents ------------------------------------------------------------------------------------------------------


def test_the_list_of_the_shipped_modules_is_about_changes_that_exist() -> None:
    entries = load_equivalents(SHIPPED)
    for module in dict.fromkeys(entry.module for entry in entries):
        source = source_of(module).read_text()
        changes = list(
            _Finder(module, source).find(ast.parse(source).body)
        )  # all of them compile, which takes long to find out
        for entry in entries:
            assert entry.module != module or any(entry.matches(change, source) for change in changes), entry


def test_an_equivalent_change_is_found_wherever_its_line_has_moved() -> None:
    entry = Equivalent("mine", "no caller reads it", "f", "constant", "7", "8", "return 7")
    for source in ("def f(a):\n    return 7\n", "\n\n\ndef f(a):\n    return 7\n"):
        found = [equivalent_of(change, source, [entry]) for change in changes_of("mine", source)]
        assert [one for one in found if one is not None] == [entry]


def test_an_entry_with_fewer_fields_is_a_rule() -> None:
    limit = "LIMIT = 50\nOTHER = 50\n"
    rule = Equivalent("mine", "a larger limit shows nothing", kind="constant", line="LIMIT = 50")
    found = [one.line for one in changes_of("mine", limit) if equivalent_of(one, limit, [rule]) is not None]
    assert found == [1, 1]
    everything = Equivalent("mine", "it is a test itself")
    assert all(equivalent_of(one, limit, [everything]) for one in changes_of("mine", limit))
    assert not any(equivalent_of(one, limit, [everything]) for one in changes_of("another", limit))


@pytest.mark.parametrize(
    "text", ["[[equivalent]]\nmodule = 'a'\n", "[[equivalent", "[[equivalent]]\nreason = ''\nmodule = 'a'\n"]
)
def test_a_list_without_reasons_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "equivalents.toml"
    path.write_text(text)
    with pytest.raises(BadInput, match=r"equivalents\.toml"):
        load_equivalents(path)
