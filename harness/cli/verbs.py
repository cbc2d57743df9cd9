"""The table of verbs: finds a verb's module, and runs the verb.

Rule: a verb's module is imported only when the verb runs, and imports what only that verb needs inside the function. So
`consensus ps` does not load the benchmarks, and starts fast.
"""

from typing import Final

import click

from harness.cli.convention import Verb, VerbGroup
from harness.cli.endings import carry_out
from harness.cli.parameters import folder_option

#: The verbs by what people want, and the module of each verb, below `harness.cli`.
_SECTIONS: Final = {
    "Learn": {"tour": "tour"},
    "Run a cluster": {
        "up": "cluster",
        "down": "cluster",
        "ps": "look",
        "logs": "look",
        "inspect": "look",
        "member": "members",
    },
    "Use it": {
        "propose": "calls",
        "query": "calls",
        "put": "keys",
        "get": "keys",
        "del": "keys",
        "watch": "watch",
        "lock": "lock",
        "assign": "assign",
    },
    "Rescue it": {"save": "rescue", "restore": "rescue", "recover": "rescue"},
    "Break it by hand": {
        "kill": "cluster",
        "suspend": "cluster",
        "resume": "cluster",
        "restart": "cluster",
        "partition": "links",
        "isolate": "links",
        "link": "links",
        "links": "links",
        "inject": "links",
        "heal": "links",
        "faults": "faults",
    },
    "Break and judge": {
        "scorecard": "scorecard",
        "test": "plans",
        "campaign": "campaign",
        "sweep": "sweep",
        "crashpoints": "crashpoints",
        "mutants": "mutants",
        "mutate": "mutate",
        "replay": "plans",
        "shrink": "plans",
    },
    "Search without processes": {"explore": "virtual", "simulate": "virtual", "flp": "flp", "figure8": "figure8"},
    "Bring a system of your own": {"new": "new"},
    "See it": {"live": "live"},
    "See what happened": {
        "runs": "report",
        "report": "report",
        "export": "export",
        "trace": "trace",
        "check": "check",
    },
    "Measure": {"bench": "bench"},
}
_MODULES: Final = {name: module for verbs in _SECTIONS.values() for name, module in verbs.items()}
#: The verbs that end with 1 if a promise is violated, and for no other reason.
_JUDGES: Final = frozenset((*_SECTIONS["Break and judge"], *_SECTIONS["Search without processes"], "trace", "check"))

#: What other programs call some of the verbs.
_OTHER_WORDS: Final = {
    "status": "ps", "list": "ps", "ls": "ps", "start": "up", "run": "up", "stop": "down", "set": "put", "write": "put",
    "read": "get", "delete": "del", "rm": "del", "remove": "del", "pause": "suspend", "unpause": "resume",
    "log": "logs", "verify": "check",
}  # fmt: skip


class _LazyGroup(VerbGroup):
    """Imports a verb's module when the verb is needed."""

    other_words = _OTHER_WORDS

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_MODULES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _MODULES:
            return None
        import importlib  # noqa: PLC0415 - see the rule

        module = importlib.import_module(f"harness.cli.{_MODULES[cmd_name]}")
        # A verb whose name is a keyword of Python has an underscore after it in its module.
        command = getattr(module, cmd_name, None) or getattr(module, f"{cmd_name}_")
        assert isinstance(command, Verb | VerbGroup)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for title, names in _SECTIONS.items():
            commands = {name: self.get_command(ctx, name) for name in names}
            with formatter.section(title):
                formatter.write_dl(
                    [(name, command.get_short_help_str(limit=1000)) for name, command in commands.items() if command]
                )


@click.group(
    cls=_LazyGroup,
    params=[folder_option(before_the_verb=True)],
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(package_name="consensus-lab", message="%(version)s")
def cli() -> None:
    """Run consensus algorithms as real processes, break them for real, and see which promises they kept.

    Start with `consensus scorecard`, or by hand: `consensus up -d`, `consensus propose colour blue`, `consensus kill n1`,
    `consensus query colour --at all`, `consensus down`.
    """


def run_verb(arguments: list[str], *, in_own_process: bool) -> int:
    """Run one verb, print every error, and return the exit code.

    Args:
        arguments: those of the command line.
        in_own_process: whether the process is the verb's own, so that signals are the verb's, too.
    """

    def act() -> object:
        return cli.main(args=arguments, prog_name="consensus", standalone_mode=False)

    return carry_out(act, arguments, _JUDGES, in_own_process=in_own_process)
