"""Reads EDN, the notation of Clojure in which Jepsen writes histories: each form at the top level, or each item of one vector.

Rules
-----
1. Keywords and symbols become texts without their colon, sets become lists, and `nil` is None. A tagged form, such as
   `#jepsen.history.Op{...}`, is the form behind its tag.
2. `{:bytes "00ff"}` and `{:tuple [1 2]}` are what `harness/report/edn.py` writes for values that EDN lacks, and become these
   again.
"""

import re
from collections.abc import Iterator
from typing import Any, Final

_TOKEN: Final = re.compile(
    r"""
    [\s,]+ | ;[^\n]* |
    (?P<string>"(?:[^"\\]|\\.)*") |
    (?P<open>\#\{|[\[({]) | (?P<close>[\])}]) |
    (?P<discard>\#_) | (?P<special>\#\#(?:Inf|-Inf|NaN)) | (?P<tag>\#[\w.*+!?$%&=<>/:'-]+) |
    (?P<character>\\(?:newline|space|tab|return|u[0-9a-fA-F]{4}|.)) |
    (?P<atom>[^\s,"\[\](){};\\]+)
    """,
    re.VERBOSE | re.DOTALL,
)
_CLOSES: Final = {"[": "]", "(": ")", "{": "}", "#{": "}"}
_NAMED: Final[dict[str, Any]] = {"nil": None, "true": True, "false": False}
_SPECIAL: Final = {"##Inf": float("inf"), "##-Inf": float("-inf"), "##NaN": float("nan")}
_ESCAPE: Final = re.compile(r"\\(u[0-9a-fA-F]{4}|.)", re.DOTALL)
_ESCAPES: Final = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f"}
_NUMBER: Final = re.compile(r"[+-]?\d+(?:(N)|(?:\.\d*)?(?:[eE][+-]?\d+)?M?)?")
_DISCARDED: Final = object()


class BadEdn(ValueError):
    """The text is no EDN. The message names the line."""


def forms(text: str) -> Iterator[Any]:
    """Yield each form of a text.

    Raises:
        BadEdn: the text is no EDN.
    """
    reader = _Reader(text)
    while not reader.is_at_end():
        form = reader.form()
        if form is not _DISCARDED:
            yield form


class _Reader:
    def __init__(self, text: str) -> None:
        self.text, self.place = text, 0

    def is_at_end(self) -> bool:
        """Skip what means nothing, and return whether the text is at its end."""
        while self.place < len(self.text):
            match = _TOKEN.match(self.text, self.place)
            if match is None or match.lastgroup is not None:
                return False
            self.place = match.end()
        return True

    def form(self) -> Any:
        """Read one form; `_DISCARDED` for one behind `#_`."""
        kind, token = self._next()
        match kind:
            case "string":
                return _ESCAPE.sub(_unescaped, token[1:-1])
            case "open":
                return self._collection(token)
            case "tag":
                return self._value()
            case "discard":
                self._value()
                return _DISCARDED
            case "special":
                return _SPECIAL[token]
            case "character":
                return token[1:]
            case "close":
                raise self._error(f"{token} closes nothing")
        return _atom(token)

    def _next(self) -> tuple[str, str]:
        if self.is_at_end():
            raise self._error("the text ends within a form: was the program that wrote it killed?")
        match = _TOKEN.match(self.text, self.place)
        if match is None or match.lastgroup is None:
            raise self._error(f"not EDN: {self.text[self.place : self.place + 40]!r}")
        self.place = match.end()
        return match.lastgroup, match.group(match.lastgroup)

    def _value(self) -> Any:
        while (form := self.form()) is _DISCARDED:
            pass
        return form

    def _collection(self, opening: str) -> Any:
        items: list[Any] = []
        is_keyword = False
        while True:
            if not self.is_at_end() and self.text[self.place] == _CLOSES[opening]:
                self.place += 1
                break
            is_keyword |= not items and self.text.startswith(":", self.place)
            form = self.form()
            if form is not _DISCARDED:
                items.append(form)
        if opening != "{":
            return items
        if len(items) % 2:
            raise self._error("a map has a key without a value")
        if len(items) == 2 and is_keyword and items[0] == "bytes" and isinstance(items[1], str):
            return bytes.fromhex(items[1])
        if len(items) == 2 and is_keyword and items[0] == "tuple" and isinstance(items[1], list):
            return tuple(items[1])
        try:
            return dict(zip(items[::2], items[1::2], strict=True))
        except TypeError:  # a key that is a list or a map
            return {str(key): value for key, value in zip(items[::2], items[1::2], strict=True)}

    def _error(self, problem: str) -> BadEdn:
        line = self.text.count("\n", 0, self.place) + 1
        return BadEdn(f"line {line}: {problem}")


def _atom(token: str) -> Any:
    if token[0] == ":":
        return token[1:]
    if token in _NAMED:
        return _NAMED[token]
    if token[0].isdigit() or token[0] in "+-":
        if _NUMBER.fullmatch(token) is None:
            return token
        digits = token.rstrip("NM")
        return int(digits) if token[-1] == "N" or digits.lstrip("+-").isdigit() else float(digits)
    return token


def _unescaped(match: re.Match[str]) -> str:
    name = match.group(1)
    return chr(int(name[1:], 16)) if len(name) > 1 else _ESCAPES.get(name, name)
