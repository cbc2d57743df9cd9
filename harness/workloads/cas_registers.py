"""What clients do with registers on a replicated log."""

from collections.abc import Mapping
from typing import ClassVar

from harness.checkers.models import CasRegisterModel, Model
from harness.workloads.key_values import KeyValueWorkload


class CasRegisterWorkload(KeyValueWorkload):
    """`KeyValueWorkload` without deletes, in the words of a register."""

    name = "cas-register"
    summary = "write, read and compare-and-set on registers that all clients fight over"
    functions = ("write", "read", "cas")
    model: ClassVar[Model] = CasRegisterModel()
    _WEIGHTS: ClassVar[Mapping[str, int]] = {"write": 40, "read": 35, "cas": 25}
    _PUT, _GET = "write", "read"
