"""The small changes of a module's source, made from its syntax tree.

Each change replaces one piece of the source by another: an operator, a number, a statement. The source keeps its layout, so a
change reads as a diff. The kinds are those of mutation testing (DeMillo, Lipton and Sayward, *Hints on test data selection*,
1978), and those that matter to a protocol: a check that is gone, a save that is gone.

What shapes no behaviour is left as it is: annotations, docstrings, the texts of errors and logs, `if TYPE_CHECKING`. So is what
finds mistakes of the module itself alone: `assert` and `zip(strict=True)`.
"""

import ast
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import unified_diff
from itertools import pairwise
from typing import Final


@dataclass(frozen=True, slots=True)
class SourceChange:
    """One change of one module: the bytes from `start` to `end` of its source become `new`.

    `line` and `last_line` count from 1, and are those of the smallest statement around the change.
    """

    module: str
    kind: str
    function: str
    """The qualified name of the function or class around the change; empty at the top of the module."""
    line: int
    last_line: int
    start: int
    end: int
    old: str
    new: str
    at_import: bool
    """Whether the changed line runs once, when the module is imported."""

    @property
    def name(self) -> str:
        """What names the change in a list, for people: module, function, kind, and the two texts."""
        return (
            f"{self.module}:{self.function or 'top'}:{self.line} {self.kind}: {_short(self.old)} → {_short(self.new)}"
        )

    def applied(self, source: str) -> str:
        """Return the source with the change in it."""
        data = source.encode()
        return (data[: self.start] + self.new.encode() + data[self.end :]).decode()

    def diff(self, source: str, path: str) -> list[str]:
        """Return the change as the lines of a unified diff with one line of context."""
        lines = unified_diff(
            source.splitlines(), self.applied(source).splitlines(), path, path, f"line {self.line}", n=1, lineterm=""
        )
        return list(lines)


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 60 else f"{line[:57]}..."


#: By operator: what it becomes. The first is its boundary, the second its opposite.
_COMPARISONS: Final[dict[type[ast.cmpop], tuple[str, ...]]] = {
    ast.Lt: ("<=", ">="),
    ast.LtE: ("<", ">"),
    ast.Gt: (">=", "<="),
    ast.GtE: (">", "<"),
    ast.Eq: ("!=",),
    ast.NotEq: ("==",),
    ast.Is: ("is not",),
    ast.IsNot: ("is",),
    ast.In: ("not in",),
    ast.NotIn: ("in",),
}
_COMPARISON_TOKEN: Final = re.compile(rb"<=|>=|==|!=|<|>|\bis\s+not\b|\bnot\s+in\b|\bis\b|\bin\b")
_ARITHMETIC: Final[dict[type[ast.operator], tuple[bytes, str]]] = {
    ast.Add: (b"+", "-"),
    ast.Sub: (b"-", "+"),
    ast.Mult: (b"*", "+"),
    ast.FloorDiv: (b"//", "*"),
    ast.Div: (b"/", "*"),
    ast.Mod: (b"%", "*"),
    ast.BitOr: (b"|", "&"),
    ast.BitAnd: (b"&", "|"),
}
_TWINS: Final = {"min": "max", "max": "min", "any": "all", "all": "any", "first": "last", "last": "first"}
#: Names of objects whose method calls only speak to people.
_LOGGERS: Final = frozenset({"log", "logger", "logging", "warnings"})
#: Functions whose arguments may stand in any order.
_COMMUTATIVE: Final = frozenset({"max", "min"})
_ERRORS: Final = re.compile(r"(Error|Exception|Failed|Bad[A-Z]\w*|Wrong\w*|Unknown\w*|Malformed|Refused)$")


def changes_of(module: str, source: str) -> list[SourceChange]:
    """Return every change of a module, in the order of its source. Changes that do not compile are left out."""
    data = source.encode()
    found: list[SourceChange] = []
    for statement in ast.parse(source).body:
        finder = _Finder(module, source)
        changes = {(one.start, one.end, one.new): one for one in finder.find([statement])}
        first, last = finder.place_of(statement)
        for change in (changes[key] for key in sorted(changes)):
            # The statement alone is compiled: a module has ten, and each of its changes would compile all of them.
            text = data[first : change.start] + change.new.encode() + data[change.end : last]
            if change.old.split() != change.new.split() and _compiles(text):
                found.append(change)
    return found


def _compiles(statement: bytes) -> bool:
    try:
        compile(statement, "<change>", "exec")
    except (SyntaxError, ValueError):
        return False
    return True


class _Finder:
    """Walks the tree of one module, and makes its changes."""

    def __init__(self, module: str, source: str) -> None:
        self._module, self._data = module, source.encode()
        self._line_starts = [0]
        for line in self._data.splitlines(keepends=True):
            self._line_starts.append(self._line_starts[-1] + len(line))
        self._names: list[str] = []
        self._functions = 0  # how many functions are around
        self._statement: ast.stmt | None = None

    def find(self, body: Sequence[ast.stmt]) -> Iterator[SourceChange]:
        """Yield every change of some statements of the module, also those that do not compile."""
        yield from self._block(body)

    def place_of(self, statement: ast.stmt) -> tuple[int, int]:
        """Return where a statement begins and ends, in bytes, its decorators included."""
        start, end = self._at(statement)
        decorators: Sequence[ast.expr] = getattr(statement, "decorator_list", ())
        return min([start, *(self._at(one)[0] - 1 for one in decorators)]), end

    # --- statements -------------------------------------------------------------------------------------------------

    def _block(self, body: Sequence[ast.stmt]) -> Iterator[SourceChange]:
        for statement in body:
            yield from self._of_statement(statement)

    def _of_statement(self, at: ast.stmt) -> Iterator[SourceChange]:
        self._statement = at
        match at:
            case ast.Import() | ast.ImportFrom() | ast.Assert() | ast.Pass() | ast.Global() | ast.Nonlocal():
                return
            case ast.Expr(value=ast.Constant()):  # a docstring
                return
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                yield from self._definition(at)
                return
            case ast.If(test=ast.Name("TYPE_CHECKING")):
                return
            case ast.Expr(value=ast.Call() as call) if _is_for_people(call):
                return
            case ast.Expr() | ast.AugAssign() | ast.Delete() | ast.Raise() | ast.Continue() | ast.Break():
                if not isinstance(getattr(at, "value", None), ast.Yield | ast.YieldFrom):
                    yield self._change("statement removed", at, "pass")
            case (
                ast.Assign(targets=[ast.Attribute() | ast.Subscript(), *_])
                | ast.AnnAssign(target=ast.Attribute(), value=ast.expr())
            ) if self._functions:
                yield self._change("statement removed", at, "pass")
            case ast.Return(value=ast.expr() as value):
                yield from self._return(value)
            case ast.Return():
                yield self._change("statement removed", at, "pass")
            case _:
                pass
        if isinstance(at, ast.Raise):  # the text of an error
            return
        for field, child in ast.iter_fields(at):
            if field in ("annotation", "type_params", "returns"):
                continue
            yield from self._child(child)
            self._statement = at

    def _definition(self, at: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> Iterator[SourceChange]:
        self._names.append(at.name)
        if not isinstance(at, ast.ClassDef):
            for default in (*at.args.defaults, *at.args.kw_defaults):
                if default is not None:
                    yield from self._expression(default)
            self._functions += 1
            yield from self._early_return(at)
        yield from self._block(at.body)
        self._functions -= not isinstance(at, ast.ClassDef)
        self._names.pop()

    def _early_return(self, at: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[SourceChange]:
        """Have a function without a result do nothing, if it does more than one thing."""
        body = (
            at.body[1:] if isinstance(at.body[0], ast.Expr) and isinstance(at.body[0].value, ast.Constant) else at.body
        )
        returns_nothing = isinstance(at.returns, ast.Constant) and at.returns.value is None
        if returns_nothing and len(body) > 1:
            self._statement = body[0]
            where = self._at(body[0])[0]
            yield self._piece("early return", where, where, "return; ")

    def _return(self, value: ast.expr) -> Iterator[SourceChange]:
        match value:
            case ast.Constant(value=bool() | None):
                return
            case ast.Compare() | ast.BoolOp() | ast.UnaryOp(op=ast.Not()):
                return  # the change of the operator is the same
            case _:
                yield self._change("result is None", value, "None")

    # --- expressions ------------------------------------------------------------------------------------------------

    def _child(self, child: object) -> Iterator[SourceChange]:
        match child:
            case ast.stmt():
                yield from self._of_statement(child)
            case ast.match_case():
                if child.guard is not None:
                    yield self._change("guard removed", child.guard, "True")
                    yield from self._expression(child.guard)
                yield from self._block(child.body)
            case ast.ExceptHandler():
                yield from self._block(child.body)
            case ast.comprehension():
                yield from self._comprehension(child)
            case ast.expr():
                yield from self._expression(child)
            case ast.keyword(arg="strict"):
                return
            case ast.AST():
                for _, inner in ast.iter_fields(child):
                    yield from self._child(inner)
            case list():
                for inner in child:
                    yield from self._child(inner)
            case _:
                pass

    def _comprehension(self, at: ast.comprehension) -> Iterator[SourceChange]:
        yield from self._expression(at.iter)
        for condition in at.ifs:
            yield self._change("filter removed", condition, "True")
            yield from self._expression(condition)

    def _expression(self, at: ast.expr) -> Iterator[SourceChange]:
        match at:
            case ast.Compare():
                yield from self._comparison(at)
            case ast.BoolOp(op=op, values=values):
                old, new = (b"and", "or") if isinstance(op, ast.And) else (b"or", "and")
                for left, right in pairwise(values):
                    yield from self._between(left, right, old, new, "and, or exchanged")
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                yield self._change("not removed", at, self._text(operand))
            case ast.BinOp(op=op) if type(op) in _ARITHMETIC:
                yield from self._arithmetic(at)
            case ast.IfExp(test=test) if not isinstance(test, ast.Compare | ast.BoolOp | ast.UnaryOp):
                yield self._change("condition turned", test, f"not ({self._text(test)})")
            case ast.Constant(value=int()):  # a truth, too
                yield from self._number(at)
            case ast.Constant() | ast.JoinedStr() | ast.Lambda(body=ast.Constant()):
                return
            case ast.Call(func=func, args=args):
                if _is_for_people(at) or (isinstance(func, ast.Name) and _ERRORS.search(func.id)):
                    return
                yield from self._call(func, args)
            case _:
                pass
        for field, child in ast.iter_fields(at):
            if field not in ("op", "ops", "ctx", "annotation"):
                yield from self._child(child)

    def _arithmetic(self, at: ast.BinOp) -> Iterator[SourceChange]:
        if not isinstance(at.left, ast.JoinedStr) and not isinstance(at.right, ast.JoinedStr):  # of a text
            old, new = _ARITHMETIC[type(at.op)]
            yield from self._between(at.left, at.right, old, new, "arithmetic")

    def _number(self, at: ast.Constant) -> Iterator[SourceChange]:
        if isinstance(at.value, bool):
            yield self._change("constant", at, str(not at.value))
        elif isinstance(at.value, int):
            yield self._change("constant", at, str(at.value + 1))
            if at.value > 1:
                yield self._change("constant", at, str(at.value - 1))

    def _call(self, func: ast.expr, args: Sequence[ast.expr]) -> Iterator[SourceChange]:
        called = func.id if isinstance(func, ast.Name) else ""
        if called in _TWINS:
            yield self._change("twin", func, _TWINS[called])
        if called not in _COMMUTATIVE:
            yield from self._swapped(args)

    def _comparison(self, at: ast.Compare) -> Iterator[SourceChange]:
        for (left, right), op in zip(pairwise((at.left, *at.comparators)), at.ops, strict=True):
            for new in _COMPARISONS[type(op)]:
                start, end = self._at(left)[1], self._at(right)[0]
                token = _COMPARISON_TOKEN.search(self._data, start, end)
                if token is not None:
                    yield self._piece("comparison", token.start(), token.end(), new)

    def _swapped(self, args: Sequence[ast.expr]) -> Iterator[SourceChange]:
        for one, other in pairwise(args):
            if isinstance(one, ast.Starred) or isinstance(other, ast.Starred):
                continue
            start, middle, end = self._at(one)[0], (self._at(one)[1], self._at(other)[0]), self._at(other)[1]
            between = self._data[middle[0] : middle[1]].decode()
            yield self._piece("arguments swapped", start, end, self._text(other) + between + self._text(one))

    # --- pieces -----------------------------------------------------------------------------------------------------

    def _between(self, left: ast.expr, right: ast.expr, old: bytes, new: str, kind: str) -> Iterator[SourceChange]:
        start = self._data.find(old, self._at(left)[1], self._at(right)[0])
        if start >= 0:
            yield self._piece(kind, start, start + len(old), new)

    def _at(self, node: ast.expr | ast.stmt) -> tuple[int, int]:
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        return (
            self._line_starts[node.lineno - 1] + node.col_offset,
            self._line_starts[node.end_lineno - 1] + node.end_col_offset,
        )

    def _text(self, node: ast.expr) -> str:
        start, end = self._at(node)
        return self._data[start:end].decode()

    def _change(self, kind: str, node: ast.expr | ast.stmt, new: str) -> SourceChange:
        return self._piece(kind, *self._at(node), new)

    def _piece(self, kind: str, start: int, end: int, new: str) -> SourceChange:
        line = self._data.count(b"\n", 0, start) + 1
        statement = self._statement
        first = line if statement is None else min(line, statement.lineno)
        compound = isinstance(statement, ast.If | ast.For | ast.While | ast.With | ast.Try | ast.Match)
        last = line if compound or statement is None else max(line, statement.end_lineno or line)
        old = self._data[start:end].decode()
        function, last = ".".join(self._names), max(first, last)
        return SourceChange(
            self._module, kind, function, line, last, start, end, old, new, at_import=not self._functions
        )


def _is_for_people(call: ast.Call) -> bool:
    """Return whether a call only writes to a log."""
    return (
        isinstance(call.func, ast.Attribute)
        and isinstance(call.func.value, ast.Name)
        and call.func.value.id in _LOGGERS
    )
