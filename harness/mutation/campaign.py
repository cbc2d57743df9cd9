"""Tries every change of some modules, several at a time, and remembers what became of each.

```python
report = run_mutation(MutationCampaign(["node.machines.kv"], ["multipaxos"], tests=["tests/node/machines"]), folder)
report.score                    # which part of the changes that can show has shown
```

Theory of operation
-------------------
1. The seeds and the tests run once on the unchanged modules, traced line by line. So each case's lines are known. They are kept
   by algorithm and by file of tests, for as long as the sources stay as they are.
2. Each change runs in a forked process of its own, with the cases that reach it, until one of them shows it. A change that
   never ends, or that fills the memory, is shown by that.
3. `outcomes.jsonl` has a line for each change that was tried. A change that was killed is not tried again while its module
   stays as it is; one that survived is not tried again while all of the sources and tests stay as they are.
"""

import hashlib
import json
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, Final

from harness.checkers.confidence import failing_share_at_most
from harness.mutation.cases import Case, LineTracer, files_of_tests, preload, root_of_tests, seed_cases, test_cases
from harness.mutation.changes import SourceChange, changes_of
from harness.mutation.equivalents import Equivalent, equivalent_of
from harness.mutation.patched_module import forget, modules_of, source_of
from harness.mutation.trial import CasePlan, Fate, Outcome, cases_for, try_change
from harness.runs.forks import Ended, Forks
from node.contract import BadInput
from node.wording import count

#: How many times the processor time of its cases a change may take, and how many seconds more.
_SLOWER: Final = 5.0
_MORE_S: Final = 5.0
#: A trial that waits for something that never comes ends after so long, in seconds.
_WAITING_S: Final = 120.0
#: More memory than this, in bytes, ends a trial: a changed loop may fill it.
_MEMORY_MAX: Final = 4 << 30
_MEASURING_S: Final = 3600.0
#: The confidence at each end of an interval of 95 %.
_EACH_END: Final = 0.975


@dataclass(frozen=True, slots=True)
class MutationCampaign:
    """What is changed, and what runs on each change.

    `seconds` of processor time is what each change gets for the simulator's seeds, and as much again for tests. `sample` is how
    many changes are drawn from all, by `seed`; 0 is all of them. See `drawn`.
    """

    modules: Sequence[str]
    algorithms: Sequence[str]
    tests: Sequence[str] = ()
    seeds: int = 200
    seconds: float = 8.0
    workers: int = 2
    sample: int = 0
    seed: int = 1
    equivalents: Sequence[Equivalent] = ()


@dataclass(slots=True)
class MutationReport:
    """What became of the changes that were tried, of `asked`, which are all or a sample of `made`."""

    made: int
    asked: int
    outcomes: list[Outcome] = field(default_factory=list)
    sources: dict[str, str] = field(default_factory=dict)
    took_s: float = 0.0
    tried: int = 0
    """How many changes were tried, and not known from before."""
    interrupted: bool = False

    @property
    def fates(self) -> Counter[Fate]:
        """How many changes met each fate."""
        return Counter(outcome.fate for outcome in self.outcomes)

    @property
    def survivors(self) -> list[Outcome]:
        """The changes that no case has shown."""
        return [one for one in self.outcomes if one.fate in (Fate.SURVIVED, Fate.NOT_REACHED)]

    @property
    def score(self) -> float:
        """Which part of the changes that are not known to be equivalent was killed, from 0 to 1."""
        can_show = len(self.outcomes) - self.fates[Fate.EQUIVALENT]
        return self.fates[Fate.KILLED] / can_show if can_show else 1.0

    @property
    def interval(self) -> tuple[float, float]:
        """Between which scores that of all changes lies, with 95 % confidence, if those that were tried are a sample."""
        killed, survived = self.fates[Fate.KILLED], len(self.survivors)
        least = 1 - failing_share_at_most(survived, killed + survived, _EACH_END)
        return least, failing_share_at_most(killed, killed + survived, _EACH_END)

    def to_json(self) -> dict[str, Any]:
        """Return the report as plain data."""
        return {
            "made": self.made,
            "asked": self.asked,
            "score": round(self.score, 4),
            "interval": [round(end, 4) for end in self.interval],
            "fates": {fate.value: self.fates[fate] for fate in Fate},
            "tried": self.tried,
            "took_s": round(self.took_s, 1),
            "interrupted": self.interrupted,
            "survivors": [
                {
                    "module": one.change.module,
                    "function": one.change.function,
                    "line": one.change.line,
                    "kind": one.change.kind,
                    "fate": one.fate.value,
                    "cases": one.cases,
                    "diff": self.diff(one),
                }
                for one in self.survivors
            ],
        }

    def diff(self, outcome: Outcome) -> list[str]:
        """Return a change as the lines of a diff."""
        module = outcome.change.module
        return outcome.change.diff(self.sources[module], module.replace(".", "/") + ".py")


def run_mutation(
    campaign: MutationCampaign,
    folder: Path,
    *,
    say: Callable[[str], object] = lambda _line: None,
    progress: Callable[[MutationReport], object] = lambda _report: None,
) -> MutationReport:
    """Try the changes. Ctrl-C ends the campaign with those that were tried.

    Args:
        campaign: what is changed, and what runs.
        folder: where `outcomes.jsonl` and the cases are kept.
        say: called with a line about what begins.
        progress: called after each change.

    Raises:
        BadInput: a module does not exist, or nothing runs on it.
    """
    modules = [module for name in campaign.modules for module in modules_of(name)]
    files = {module: source_of(module) for module in modules}
    sources = {module: path.read_text() for module, path in files.items()}
    changes = [change for module in modules for change in changes_of(module, sources[module])]
    made = len(changes)
    if campaign.sample:
        changes = drawn(changes, campaign.sample, campaign.seed)
    report = MutationReport(made, len(changes), sources=sources)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    began = time.monotonic()
    preload()
    root_of_tests(campaign.tests)
    tree = _digest_of_tree(campaign, sources, campaign.tests)
    memory = _Memory(folder / "outcomes.jsonl", sources, tree)
    try:
        cases = _measured(campaign, files, sources, folder, say)
        if not cases:
            raise BadInput(
                f"nothing runs {', '.join(campaign.modules)}: name an algorithm to --simulate, or --tests that pass"
            )
        todo = []
        for change in changes:
            if (entry := equivalent_of(change, sources[change.module], campaign.equivalents)) is not None:
                report.outcomes.append(Outcome(change, Fate.EQUIVALENT, entry.reason))
            elif (known := memory.outcome(change)) is not None:
                report.outcomes.append(known)
            else:
                todo.append(change)
        Random(campaign.seed).shuffle(todo)  # so what an interrupted campaign has tried is a sample, too
        say(f"{len(changes)} changes, {len(todo)} of them to be tried, with {len(cases)} cases")
        began = time.monotonic()
        for outcome in _tried(todo, cases, sources, campaign):
            memory.keep(outcome)
            report.outcomes.append(outcome)
            report.tried += 1
            report.took_s = time.monotonic() - began
            progress(report)
    except KeyboardInterrupt:
        report.interrupted = True
    report.outcomes.sort(key=lambda one: (one.change.module, one.change.start, one.change.new))
    report.took_s = time.monotonic() - began
    return report


def drawn(changes: Sequence[SourceChange], number: int, seed: int) -> list[SourceChange]:
    """Draw `number` changes, one of each of as many equal parts of the list. So each module has its share of them."""
    if number >= len(changes):
        return list(changes)
    rng, part = Random(seed), len(changes) / number
    return [changes[int((place + rng.random()) * part)] for place in range(number)]


# --- what the cases reach ---------------------------------------------------------------------------------------------


def _measured(
    campaign: MutationCampaign,
    files: dict[str, Path],
    sources: dict[str, str],
    folder: Path,
    say: Callable[[str], object],
) -> list[Case]:
    """Return the cases with the lines that they reach, as kept from before or measured now."""

    def measure(algorithm: str, tests: str) -> dict[str, Any]:
        forget({"node", "cluster", "harness", "tests", *(module.partition(".")[0] for module in files)})
        tracer = LineTracer({module: str(path) for module, path in files.items()})
        if algorithm:
            cases, failed = list(seed_cases(algorithm, campaign.seeds, 4 * campaign.seconds, tracer)), ""
        else:
            cases, failed = test_cases([tests], tracer)
        return {"cases": [case.to_json() for case in cases if case.lines], "failed": failed}

    groups = [(algorithm, "") for algorithm in campaign.algorithms]
    groups += [("", file) for tests in campaign.tests for file in files_of_tests(tests)]
    kept = {
        group: folder / f"cases-{_digest_of_tree(campaign, sources, [group[1]] if group[1] else [], group)}.json"
        for group in groups
    }
    todo = [group for group in groups if not kept[group].exists()]
    if todo:
        say(
            f"running the cases once, to see which lines each of them reaches: {count(len(todo), 'file')} and algorithms"
        )
    forks: Forks[tuple[str, str]] = Forks(wall_s=_MEASURING_S, memory_max=_MEMORY_MAX)
    try:
        while todo or len(forks):
            while todo and len(forks) < campaign.workers:
                group = todo.pop(0)
                forks.start(group, partial(measure, *group), cpu_s=_MEASURING_S)
            for one in forks.ended():
                if one.result is None:
                    raise BadInput(f"measuring {''.join(one.about)} failed: {one.how}")
                if one.result["failed"]:
                    say(f"without any change, {one.result['failed']}")
                kept[one.about].write_text(json.dumps(one.result["cases"]))
    finally:
        forks.end_all()
    return [Case.from_json(data) for path in kept.values() for data in json.loads(path.read_text())]


# --- trying -----------------------------------------------------------------------------------------------------------


def _tried(
    changes: Sequence[SourceChange], cases: Sequence[Case], sources: dict[str, str], campaign: MutationCampaign
) -> Iterator[Outcome]:
    wall_s = _WAITING_S + 20 * campaign.seconds
    forks: Forks[tuple[SourceChange, CasePlan]] = Forks(wall_s=wall_s, memory_max=_MEMORY_MAX)
    waiting = iter(changes)
    try:
        more = True
        while more or len(forks):
            while more and len(forks) < campaign.workers:
                change = next(waiting, None)
                if change is None:
                    more = False
                    break
                plan = cases_for(change, cases, campaign.seconds)
                if not len(plan):
                    yield Outcome(change, Fate.NOT_REACHED, "no case runs this line")
                    continue
                trial = partial(try_change, change, sources[change.module], plan)
                forks.start((change, plan), trial, cpu_s=_SLOWER * plan.cpu_s + _MORE_S)
            if len(forks):
                yield from map(_outcome, forks.ended())
    finally:
        forks.end_all()


def _outcome(ended: Ended[tuple[SourceChange, CasePlan]]) -> Outcome:
    change, plan = ended.about
    by = ended.how if ended.result is None else ended.result["by"]
    return Outcome(change, Fate.KILLED if by else Fate.SURVIVED, by, len(plan))


# --- what is known from before ----------------------------------------------------------------------------------------


class _Memory:
    """The outcomes of earlier campaigns, in a file with a line for each."""

    def __init__(self, path: Path, sources: dict[str, str], tree: str) -> None:
        self._path, self._tree = path, tree
        self._digests = {module: _digest(source) for module, source in sources.items()}
        self._known: dict[str, dict[str, Any]] = {}
        if path.exists():
            for line in path.read_text().splitlines():
                try:
                    entry = json.loads(line)
                    self._known[entry["key"]] = entry
                except (ValueError, KeyError):
                    continue  # the last line of a campaign that was killed

    def _key(self, change: SourceChange) -> str:
        return _digest(f"{self._digests[change.module]} {change.module} {change.start} {change.end} {change.new}")

    def outcome(self, change: SourceChange) -> Outcome | None:
        """Return what became of a change before, if that still holds."""
        entry = self._known.get(self._key(change))
        if entry is None or (entry["fate"] != Fate.KILLED and entry["tree"] != self._tree):
            return None
        return Outcome(change, Fate(entry["fate"]), entry["by"], entry["cases"])

    def keep(self, outcome: Outcome) -> None:
        """Append an outcome to the file."""
        entry = {
            "key": self._key(outcome.change),
            "tree": self._tree,
            "change": outcome.change.name,
            "fate": outcome.fate.value,
            "by": outcome.by,
            "cases": outcome.cases,
        }
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry, ensure_ascii=False) + "\n")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _digest_of_tree(
    campaign: MutationCampaign, sources: dict[str, str], tests: Sequence[str], what: object = None
) -> str:
    """Return a digest of everything on which an outcome may depend: the sources, the tests, and what runs."""
    roots = [source_of(name).parent for name in ("node", "cluster", "harness")]
    roots += [Path(test.partition("::")[0]).absolute() for test in tests]
    paths = {path for root in roots for path in (root.rglob("*.py") if root.is_dir() else [root])}
    paths -= set(Path(__file__).parent.iterdir())  # makes changes, and runs in no case
    text = [f"{path} {_digest(path.read_text())}" for path in sorted(paths)]
    text += [f"{module} {_digest(source)}" for module, source in sorted(sources.items())]
    settings = (what or (tuple(campaign.algorithms), tuple(campaign.tests)), campaign.seeds, campaign.seconds)
    return _digest("\n".join([*text, repr(settings)]))
