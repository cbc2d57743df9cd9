"""What the status of a replica says of itself."""

from collections.abc import Mapping
from typing import Any


def is_of_log(status: Mapping[str, Any]) -> bool:
    """Return whether it is the status of a replica of a log, which has every field that the node reports of a log.

    The details of any algorithm may have names such as `applied`, and values of any kind. No other one reports `log first`.
    """
    return "log first" in status
