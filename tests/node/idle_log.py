"""A log that does nothing, to be filled in by tests."""

from collections.abc import Mapping, MutableMapping, Sequence

from node.contract import Message, NodeId, Request, Status, Stored, Value
from node.frames import CommandFrame, ReadFrame
from node.log_contract import LeaderMessage, Log, LogAlgorithm, LogProgress, StoredProgress
from node.quorum import NO_BALLOT, Ballot


class IdleLog(LogAlgorithm):
    def propose(self, request: Request, value: Value) -> None:
        pass

    def query(self, request: Request) -> None:
        pass

    def receive(self, sender: NodeId, message: Message) -> None:
        raise AssertionError

    def command(self, request: Request, frame: CommandFrame | ReadFrame) -> None:
        pass

    def status(self) -> Status:
        return Status()

    @property
    def promised(self) -> Ballot:
        return NO_BALLOT

    @property
    def leading(self) -> Ballot | None:
        return None

    @property
    def serving(self) -> bool:
        return False

    @property
    def snapshot_slot(self) -> int:
        return 0

    def progress(self) -> LogProgress:
        return LogProgress(commit=0, applied=0, chain=0, marks={}, first_slot=1, snapshot_slot=0)

    @classmethod
    def stored_progress(cls, disk: Mapping[str, Stored]) -> StoredProgress:
        return StoredProgress(0, 0)

    @classmethod
    def store_state(cls, disk: MutableMapping[str, Stored], log: Log, slot: int, parts: Sequence[bytes]) -> None:
        pass

    @classmethod
    def leader_message(cls, message: Message) -> LeaderMessage | None:
        return None

    @classmethod
    def candidacy_in(cls, message: Message) -> Ballot | None:
        return None
