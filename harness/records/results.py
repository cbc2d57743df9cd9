"""What came of a run: the only writer and the only reader of `results.json`.

`docs/reference/formats.md` has a table of the keys. There are three kinds of results, and they share most keys: those of a
run, those of a session by hand (`by_hand`), and those of a schedule that `explore` or `simulate` found (`found_by`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple, Self

from harness.records.jsonable import BadFile, read_document, to_jsonable, write_document

SCHEMA: Final = 1
_COUNTS: Final = ("messages",)


class RecordedVerdict(NamedTuple):
    """A verdict as it stands in the file: valid, invalid or unknown, a line of evidence, and further lines if any."""

    status: str
    evidence: str = ""
    more: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RunResults:
    """What came of one run.

    `about` holds the keys that only some runs have, such as `scenario` or `steps`, as plain JSON data. `counts` says how
    many lines of a file the judges read, by the file: today `messages` alone, None if they did not get to read it.
    """

    algorithm: str
    nodes: tuple[str, ...]
    seed: int
    verdicts: Mapping[str, RecordedVerdict]
    notes: Mapping[str, Any] = field(default_factory=dict)
    about: Mapping[str, Any] = field(default_factory=dict)
    counts: Mapping[str, int | None] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return the file's object."""
        return {
            "schema": SCHEMA,
            "algorithm": self.algorithm,
            "nodes": list(self.nodes),
            "seed": self.seed,
            **self.about,
            "verdicts": {
                name: {"status": verdict.status, "evidence": verdict.evidence, "more": list(verdict.more)}
                for name, verdict in self.verdicts.items()
            },
            "notes": to_jsonable(self.notes),
            **self.counts,
        }

    def save(self, path: Path) -> None:
        """Write the file."""
        write_document(path, self.to_json())

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read the file.

        Only the verdicts must be as they should. Other keys that are missing, or that are of another type, count as empty.

        Raises:
            BadFile: the file cannot be read, is not JSON, or holds no verdicts.
        """
        data = read_document(path)
        nodes, notes, seed = data.get("nodes"), data.get("notes"), data.get("seed")
        known = ("schema", "algorithm", "nodes", "seed", "verdicts", "notes", *_COUNTS)
        return cls(
            algorithm=str(data.get("algorithm", "?")),
            nodes=tuple(str(node) for node in nodes) if isinstance(nodes, list) else (),
            seed=seed if isinstance(seed, int) else 0,
            verdicts=_verdicts(path, data.get("verdicts")),
            notes=notes if isinstance(notes, dict) else {},
            about={name: item for name, item in data.items() if name not in known},
            counts={name: data[name] for name in _COUNTS if isinstance(data.get(name), int)},
        )


def _verdicts(path: Path, data: Any) -> dict[str, RecordedVerdict]:
    if not isinstance(data, dict):
        raise BadFile(f"{path}: verdicts is {data!r}, and a map of verdicts by name is wanted")
    found = {}
    for name, verdict in data.items():
        match verdict:
            case {"status": str(status)}:
                more = verdict.get("more", [])
                lines = tuple(str(line) for line in more) if isinstance(more, list) else ()
                found[name] = RecordedVerdict(status, str(verdict.get("evidence", "")), lines)
            case _:
                raise BadFile(f"{path}: the verdict on {name} is {verdict!r}, and a map with a status is wanted")
    return found
