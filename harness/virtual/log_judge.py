"""Judges a virtual cluster that keeps a replicated log: checks after every step that it keeps these properties.

| property | meaning |
|---|---|
| agreement | in a slot, every node applies the same batch; leaders' messages keep the rules of `checkers/leader_rules.py` |
| state | after the same slot, every replica has given the same answers, and keys have changed in the same way |
| leader | under one ballot, one incarnation of one node leads, and only it asks for promises |
| promise | the ballot that a node has promised never goes down |
| incarnation | no boot of a node has the incarnation of an earlier boot |
| once | no write takes effect twice, and no refused write takes effect |
| order | the answers are linearizable: see below |
| lock | each token of a lock is given to one owner, and tokens only rise |
| durability | what is applied anywhere is on the disks of a majority of the voters: see `log_copies.py` |

Theory of operation
-------------------
Clients write each value once, and the key-value machine numbers all writes in the order of the log: their versions. That
order is a linearization if it respects real time. Let v be the highest version of a key that any call had returned when a call
on this key began. Real time is respected if a read returns v or a higher version, and a write gets a version above v. So the
judge compares each answer only with v. This check is exact and cheap. It also finds an acknowledged write that does not exist
under the version that its client received.

A call begins for the judge when its frame first reaches a node, and ends when an answer leaves a node. Both are between the
times that the client sees, and the call can take effect only between them.
"""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, cast

from harness.checkers.leader_rules import ELECTION_SAFETY, LOG_MATCHING, LeaderLogs
from harness.checkers.reference.log import NO_OP, Batch
from harness.virtual.judge import Violation, VirtualJudge
from harness.virtual.log_copies import FirstApplied, missing_copies
from harness.virtual.log_events import SAME
from harness.virtual.node import VirtualNode
from harness.virtual.output import VirtualReply
from harness.virtual.steps import Packet, in_words
from node.contract import NodeId, Request
from node.frames import CommandFrame, ReadFrame
from node.log_contract import LogAlgorithm, Record
from node.machines import DEFAULT
from node.machines.kv import KvMachine
from node.quorum import NO_BALLOT, Ballot
from node.replication.configuration import Configuration
from node.wire import unpack_unchecked


class Change(NamedTuple):
    """What a version of the key-value machine has changed."""

    key: str
    value: bytes | None
    """None if the key was deleted."""


#: A change as the machine keeps it: version, key and value.
KeptChange = tuple[int, str, bytes | None]


class _Boot(NamedTuple):
    """One boot of one node."""

    node: NodeId
    incarnation: int


class _Answered(NamedTuple):
    """The highest version of a key, or the highest token of a lock, in any answer to a client so far."""

    version: int
    """The version, or the token."""
    description: str
    """The answer in English."""


class _Frame(NamedTuple):
    machine: str
    commands: list[list[Any]]
    place: tuple[int, int]
    """The session, and the sequence number in it; 0, 0 of questions."""
    answered: dict[str, _Answered]
    """By key or lock, what had been answered when the frame first reached a node."""


class _Checked:
    """How far one incarnation of a node has been checked: its slots, its versions, and the ballot under which it leads."""

    __slots__ = ("applied", "incarnation", "leading", "snapshot", "version")

    def __init__(self, incarnation: int) -> None:
        self.incarnation = incarnation
        self.leading: Ballot | None = None
        self.applied = self.version = self.snapshot = 0


class LogJudge(VirtualJudge):
    """Checks the nodes and replies of one cluster that keeps a log, and keeps what it has seen. Holds plain data only."""

    def __init__(self, algorithm: type[LogAlgorithm]) -> None:
        super().__init__()
        self._algorithm = algorithm
        self.changes: dict[int, Change] = {}
        """By version, what it has changed."""
        self.configuration = Configuration(())
        """The members after the highest slot that a node has applied."""
        self._hidden: dict[int, None] = {}
        """Versions whose change a replica has not shown."""
        self._version_of: dict[bytes, int] = {}
        self._refused: dict[bytes, str] = {}  # by value, why it was refused
        # By slot, the first node that has applied it, with the batch and with the digest of all answers so far.
        self._chosen: dict[int, tuple[NodeId, Record]] = {}
        self._chains: dict[int, tuple[NodeId, int]] = {}
        self._leaders = LeaderLogs(algorithm)
        self._owners: dict[Ballot, _Boot] = {}
        self._promised: dict[NodeId, Ballot] = {}
        self._checked: dict[NodeId, _Checked] = {}
        self._restored_next = 1  # the slot of the next snapshot that is restored as a check
        self._answered: dict[str, _Answered] = {}
        self._frames: dict[Request, _Frame] = {}
        self._withdrawn: dict[
            tuple[int, int], None
        ] = {}  # the places of frames whose client has sent a frame without commands, too
        self._token_owners: dict[int, str] = {}
        self._deleted: dict[str, None] = {}  # the keys that a client has asked to delete
        self._spoilt: dict[NodeId, None] = {}  # the nodes whose disk was lost or damaged, so that it owes no copy
        self._first_applied: list[FirstApplied] = []  # what a node has applied in this step, and none before it

    @property
    def leaders(self) -> int:
        """How many ballots a node has led under or has asked promises for."""
        return len(self._owners)

    def answered_version(self, key: str) -> int:
        """Return the highest version of `key` in any answer to a client so far; 0 for none."""
        return self._answered[key].version if key in self._answered else 0

    def hides(self, version: int) -> bool:
        """Return whether no replica has shown what this version has changed, although it exists."""
        return version in self._hidden and version not in self.changes

    def whole_log(self) -> list[Batch] | None:
        """Return the batch of every slot up to the last one that a node has applied; None if a slot was seen nowhere.

        The batch of a slot that no node showed before its snapshot is the one that leaders' messages show (`leader_rules.py`).
        """
        batches = self._leaders.batches([record for _, record in self._chosen.values()])
        found = []
        for slot in range(1, max(self._chains, default=0) + 1):
            batch = batches.get(slot)
            if batch is None:
                return None
            found.append(Batch(*unpack_unchecked(batch)) if batch else NO_OP)
        return found

    def _find(self, kind: str, text: str) -> None:
        self.violations.append(Violation(kind, text))

    # --- nodes ------------------------------------------------------------------------------------------------------

    def check_node(self, node: VirtualNode) -> None:
        replica = node.instance
        if replica is None:
            return
        replica = cast(LogAlgorithm, replica)  # an `isinstance` of an abstract class takes too long for every step
        name = node.id
        if node.disk.log.wrong is not None:
            self._find("state", f"{name}: {node.disk.log.wrong}")
        checked = self._checked.get(name)
        if checked is None or checked.incarnation != node.incarnation:
            if checked is not None and node.incarnation < checked.incarnation:
                text = f"{name} boots as incarnation {node.incarnation}, after incarnation {checked.incarnation}"
                self._find("incarnation", text)
            checked = self._checked[name] = _Checked(node.incarnation)
        promised, before = replica.promised, self._promised.get(name, NO_BALLOT)
        if promised != before:
            if promised < before:
                self._find("promise", f"{name} had promised {in_words(before)} and now reports {in_words(promised)}")
            self._promised[name] = promised
            self.has_ballots = True
        if (ballot := replica.leading) is not checked.leading:
            checked.leading = ballot
            if ballot is not None:
                self._check_owner(ballot, _Boot(name, node.incarnation), "leads")
                for rule, text in self._leaders.leads(name, ballot):
                    self._find("leader", f"{rule}: {text}")
        if replica.state.applied != checked.applied:
            self._check_slots(node, replica, checked)

    def check_applied(self, node: VirtualNode) -> None:
        replica = node.instance
        if isinstance(replica, LogAlgorithm) and replica.state.applied != self._checked[node.id].applied:
            # A snapshot of this turn is not looked at: a crash may have come before its commit, and no node reads it before.
            self._checked[node.id].snapshot = replica.snapshot_slot
            self._check_slots(node, replica, self._checked[node.id])

    def check_end(self, nodes: Iterable[VirtualNode]) -> None:
        """Check that replicas that have applied the same slot have equal machines, sessions and members."""
        states: dict[int, tuple[NodeId, bytes]] = {}
        for node in nodes:
            replica = node.instance
            if isinstance(replica, LogAlgorithm) and replica.state.applied:
                state = replica.state.snapshot()
                name, first = states.setdefault(replica.state.applied, (node.id, state))
                if state != first:
                    self._find("state", f"after slot {replica.state.applied} {node.id} is in another state than {name}")

    def check_copies(self, nodes: Mapping[NodeId, VirtualNode]) -> None:
        for first in self._first_applied:
            if (text := missing_copies(first, nodes, self._spoilt)) is not None:
                self._find("durability", text)
        self._first_applied.clear()

    def forget_node(self, node: NodeId) -> None:
        self._promised.pop(node, None)
        self._spoilt[node] = None

    def _check_owner(self, ballot: Ballot, boot: _Boot, verb: str) -> None:
        """Check that no other boot of any node has used the ballot. `verb` is what this boot does under it."""
        owner = self._owners.setdefault(ballot, boot)
        if owner != boot:
            self._owners[ballot] = boot
            self._find(
                "leader",
                f"{boot.node}, incarnation {boot.incarnation}, {verb} under {in_words(ballot)}, and so did {owner.node}, "
                f"incarnation {owner.incarnation}",
            )

    def _check_slots(self, node: VirtualNode, replica: LogAlgorithm, checked: _Checked) -> None:
        state, before = replica.state, max(self._chains, default=0)  # up to which slot some node has applied the log
        for slot in range(max(checked.applied + 1, node.disk.log.first), state.applied + 1):
            record = node.disk.log.get(slot)
            if record is not None:
                if slot > before:
                    voters = self.configuration.voters, state.configuration.voters
                    self._first_applied.append(FirstApplied(node.id, record, *voters))
                other, first = self._chosen.setdefault(slot, (node.id, record))
                if first.batch != record.batch:
                    self._find("agreement", f"in slot {slot} {other} has applied one batch and {node.id} another")
        if self._algorithm.records_keep_ballots:
            self._check_tail(node, state.applied)
        if replica.snapshot_slot != checked.snapshot:
            checked.snapshot = replica.snapshot_slot
            self._check_snapshot(node, replica)
        if state.applied > before:
            self.configuration = state.configuration
        checked.applied = state.applied
        other, chain = self._chains.setdefault(state.applied, (node.id, state.chain))
        if chain != state.chain:
            self._find("state", f"after slot {state.applied} {node.id} has given other answers than {other}")
        machine = state.machines.get("kv")
        if isinstance(machine, KvMachine) and machine.version > checked.version:
            self._check_changes(node.id, machine, checked)

    def _check_tail(self, node: VirtualNode, applied: int) -> None:
        """Check that on a disk no record above the last applied slot is of an earlier round: what was replaced is gone.

        A leader's records are of its round or an earlier one, and a later leader has replaced what followed.
        """
        get, slot, round_ = node.disk.log.get, applied, 0
        while (record := get(slot)) is not None:
            if record.round < round_:
                text = f"the disk of {node.id} has a record of round {record.round} in slot {slot}, after one of round {round_}"
                self._find("agreement", f"{LOG_MATCHING}: {text}")
                return
            slot, round_ = slot + 1, record.round

    def _check_snapshot(self, node: VirtualNode, replica: LogAlgorithm) -> None:
        """Check that a snapshot on a disk names the record that was chosen, and that a state restored from it packs to it.

        What a restored state has lost may be asked of it much later, or never in a run. Fewer and fewer snapshots are restored.
        """
        slot, log = replica.snapshot_slot, node.disk.log
        named, chosen = replica.snapshot_record, self._chosen.get(slot)
        if named is not None and chosen is not None and named != Ballot(chosen[1].round, chosen[1].owner):
            text = f"the snapshot of slot {slot} at {node.id} names {in_words(named)}, and that slot was chosen as of"
            self._find("agreement", f"{text} {in_words(Ballot(chosen[1].round, chosen[1].owner))}")
        if slot < self._restored_next:
            return
        self._restored_next = slot + 1 + slot // 3
        parts: list[bytes] = []
        while (part := log.part(slot, len(parts))) is not None:
            parts.append(part)
        saved = b"".join(parts)
        state = replica.state
        restored = type(state)(replica.node.machines or DEFAULT, state.configuration, state.tuning)
        try:
            restored.restore(saved)
            packed = restored.packed()
        except Exception as error:  # noqa: BLE001 - a broken machine may raise anything
            self._find("state", f"the snapshot of slot {slot} cannot be restored ({error!r})")
            return
        if packed != saved:
            self._find(
                "state", f"the state that is restored from the snapshot of slot {slot} is not the one that was saved"
            )

    def _check_changes(self, node: NodeId, machine: KvMachine, checked: _Checked) -> None:
        kept = list(machine.history)
        if (kept[0][0] if kept else machine.version + 1) > checked.version + 1:
            kept = self._with_entries(machine, kept, checked.version)
        for version, key, value in reversed(kept):
            if version <= checked.version:
                break
            change = Change(key, value)
            before = self.changes.setdefault(version, change)
            if before != change:
                self._find("state", f"version {version} is {_write(*before)}, and at {node} it is {_write(key, value)}")
            if value is not None:
                if self._version_of.setdefault(value, version) != version and value != SAME:
                    versions = f"{self._version_of[value]} and {version}"
                    self._find("once", f"{_write(key, value)} has taken effect twice, as versions {versions}")
                if value in self._refused:
                    self._find(
                        "once", f"{_write(key, value)} was refused ({self._refused[value]}) and has taken effect"
                    )
        checked.version = machine.version

    def _with_entries(self, machine: KvMachine, kept: list[KeptChange], above: int) -> list[KeptChange]:
        """Return the changes that a machine keeps, and those that show in its present entries, above the version `above`.

        A machine whose settings let it keep few changes hides those that were overwritten meanwhile.
        """
        found = {change[0]: change for change in kept}
        for key, (value, version) in machine.entries.items():
            found.setdefault(version, (version, key, value))
        self._hidden |= {version: None for version in range(above + 1, machine.version + 1) if version not in found}
        return [found[version] for version in sorted(found)]

    # --- messages ---------------------------------------------------------------------------------------------------

    def check_packet(self, packet: Packet) -> None:
        said = self._algorithm.leader_message(packet.message)
        if said is not None:
            for rule, text in self._leaders.say(packet.sender, said):
                self._find("leader" if rule == ELECTION_SAFETY else "agreement", f"{rule}: {text}")
            return
        candidacy = self._algorithm.candidacy_in(packet.message)
        if candidacy is not None:
            self._check_owner(candidacy, _Boot(packet.sender, packet.incarnation), "asks for promises")

    # --- clients ----------------------------------------------------------------------------------------------------

    def record_frame(self, request: Request, frame: CommandFrame | ReadFrame) -> None:
        if request not in self._frames:
            commands = unpack_unchecked(frame.packed)
            place = (frame.session, frame.sequence) if isinstance(frame, CommandFrame) else (0, 0)
            self._frames[request] = _Frame(frame.machine, commands, place, self._answered.copy())
            if not commands and place != (0, 0):
                self._withdrawn[place] = None
            if frame.machine == "kv":
                self._deleted |= {command[1]: None for command in commands if command[0] == "delete"}

    def check_reply(self, node: NodeId, reply: VirtualReply) -> None:
        frame = self._frames.get(reply.request)
        if frame is None:
            super().check_reply(node, reply)
        elif reply.value is not None:
            results, errors = unpack_unchecked(reply.value)
            refused = {index: text for index, _, text in errors}
            # Of a frame and the one without commands that withdraws it, one takes effect. Its answer is that to both.
            if -1 in refused or not frame.commands or (not results and frame.place in self._withdrawn):
                return
            if len(results) != len(frame.commands):
                self._find("order", f"{node} answers {len(frame.commands)} commands with {len(results)} results")
            else:
                for index, (command, result) in enumerate(zip(frame.commands, results, strict=True)):
                    self._check_answer(node, frame, command, result, refused.get(index))

    def _check_answer(self, node: NodeId, frame: _Frame, command: list[Any], result: Any, refused: str | None) -> None:
        match command:
            case ["put", key, value] | ["cas", key, _, value] if refused is not None:
                self._refused[value] = refused
                if value in self._version_of:
                    self._find("once", f"{_write(key, value)} has taken effect and is refused ({refused})")
            case ["put", str(key), bytes(value)] | ["cas", str(key), _, bytes(value)]:
                self._check_version(
                    frame, key, result, value, f"{_write(key, value)}, acknowledged by {node}", wrote=True
                )
            case ["get", str(key)] if result is None and key in self._deleted:
                pass  # `harness.checkers.answers` knows when it was deleted
            case ["get", str(key)]:
                value, version = (None, 0) if result is None else result
                self._check_version(frame, key, version, value, f"{_write(key, value)}, read at {node}", wrote=False)
            case ["try", str(lock), str(owner), _] if refused is None:
                self._check_token(frame, lock, owner, result)

    def _check_token(self, frame: _Frame, lock: str, owner: str, token: int) -> None:
        answer = f"{owner} has {lock} with token {token}"
        if self._token_owners.setdefault(token, owner) != owner:
            self._find("lock", f"{answer}, which {self._token_owners[token]} has had")
        before = frame.answered.get(lock)
        if before is not None and token < before.version:
            self._find("lock", f"{answer}, and had asked after this had been answered: {before.description}")
        if lock not in self._answered or token > self._answered[lock].version:
            self._answered[lock] = _Answered(token, answer)

    def _check_version(
        self, frame: _Frame, key: str, version: int, value: bytes | None, answer: str, *, wrote: bool
    ) -> None:
        answer = f"{answer} as version {version}"
        if not isinstance(version, int):  # the answer to another call, which a broken log has given
            self._find("order", f"{answer}, which is no version")
            return
        if version and self.changes.get(version) != (key, value) and not self.hides(version):
            actual = _write(*self.changes[version]) if version in self.changes else "missing"
            self._find("order", f"{answer}, which is {actual}")
        before = frame.answered.get(key)
        if before is not None and (version < before.version or (wrote and version == before.version)):
            self._find("order", f"{answer}, began after this had been answered: {before.description}")
        if key not in self._answered or version > self._answered[key].version:
            self._answered[key] = _Answered(version, answer)


def _write(key: str, value: bytes | None) -> str:
    """Return a write or a read as text, such as `k1=blue`."""
    return f"{key}={in_words(value)}"
