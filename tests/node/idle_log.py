"""A log that does nothing, to be filled in by tests."""

from node.contract import Message, NodeId, Request, Status, Value
from node.frames import CommandFrame, ReadFrame
from node.log_contract import LogAlgorithm, LogProposal
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

    @classmethod
    def proposal_in(cls, message: Message) -> LogProposal | None:
        return None

    @classmethod
    def candidacy_in(cls, message: Message) -> Ballot | None:
        return None
