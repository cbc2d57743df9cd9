"""Every script about replicated logs that runs in virtual time, by name.

Rules
-----
1. A script passes on the shipped log, and raises an AssertionError on a log with the break that it is about.
2. No script depends on the speed of the machine. Each takes some hundredths of a second.
"""

from typing import Final

from harness.mutants import (
    virtual_client_scripts,
    virtual_consensus_scripts,
    virtual_doubt_scripts,
    virtual_excuse_scripts,
    virtual_member_scripts,
    virtual_raft_scripts,
)
from harness.mutants.virtual_script import VirtualScript

VIRTUAL_SCRIPTS: Final[dict[str, VirtualScript]] = {
    script.name: script
    for module in (
        virtual_consensus_scripts,
        virtual_doubt_scripts,
        virtual_client_scripts,
        virtual_member_scripts,
        virtual_raft_scripts,
        virtual_excuse_scripts,
    )
    for script in vars(module).values()
    if isinstance(script, VirtualScript)
}
