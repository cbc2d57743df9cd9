"""The verbs whose plain command lines need no click: see `plain_options.py`."""

from importlib import import_module
from typing import Final

from harness.cli.endings import carry_out
from harness.cli.plain_options import BadUse, read
from harness.cli.printing import began_verb, chose_json

#: The verbs, and for each the module that has its `OPTIONS` and a function `run`, below `harness.cli`. All of them are judges.
_MODULES: Final = {"check": "check_files"}
#: What such a verb returns if click is to say what is wrong.
_BY_CLICK: Final = -1


def run_quickly(arguments: list[str], *, in_own_process: bool) -> int | None:
    """Run a verb without click, and return its exit code; None if the verb or its command line needs click.

    Args:
        arguments: those of the command line.
        in_own_process: whether the process is the verb's own, so that signals are the verb's, too.
    """
    name = arguments[0] if arguments else ""
    if name not in _MODULES:
        return None
    module = import_module(f"harness.cli.{_MODULES[name]}")
    parameters = read(module.OPTIONS, arguments[1:])
    if parameters is None:
        return None

    def act() -> object:
        began_verb(name, streams=False)
        if parameters["as_json"]:
            chose_json()
        try:
            return module.run(**parameters)
        except BadUse:
            return _BY_CLICK

    code = carry_out(act, arguments, _MODULES, in_own_process=in_own_process)
    return None if code == _BY_CLICK else code
