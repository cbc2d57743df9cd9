"""The workload "cas-register": clients write, read and compare-and-set registers on a replicated log."""

from collections.abc import Mapping
from typing import ClassVar

from harness.checkers.models import CasRegisterModel
from harness.checkers.sequential_model import Model
from harness.workloads.key_values import KeyValueWorkload


class CasRegisterWorkload(KeyValueWorkload):
    """`KeyValueWorkload` without deletes. Its operations have the names of a register: write, read, cas."""

    name = "cas-register"
    summary = "write, read and compare-and-set on registers that all clients use"
    functions = ("write", "read", "cas")
    model: ClassVar[Model] = CasRegisterModel()
    _WEIGHTS: ClassVar[Mapping[str, int]] = {"write": 40, "read": 35, "cas": 25}
    _PUT, _GET = "write", "read"
