"""The command `flops-tracker`; each command of it is a module here, imported when called."""

import importlib
from difflib import get_close_matches
from typing import Any

import click

from .. import __version__

_COMMANDS = {  # the module of that name has it as `command`
    "count": "Count the FLOPs of a model.",
    "compare": "Show where two models differ in FLOPs.",
    "profile": "Time a model's modules beside their FLOPs.",
    "run": "Count the FLOPs of a training script.",
    "report": "Report on runs from their CSV files.",
    "rules": "List what operations and layers count.",
    "ledger": "Sum a project's training compute over its runs.",
    "peak": "Measure this machine's peak FLOP/s.",
}


class _Commands(click.Group):
    def list_commands(self, _: Any) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, _: Any, name: str) -> click.Command | None:
        if name not in _COMMANDS:
            return None
        command = importlib.import_module(f".{name}", __name__).command
        assert isinstance(command, click.Command)
        return command

    def resolve_command(self, context: Any, args: list[str]) -> Any:
        """Refuse what is no command, with what may be meant."""
        near = [f"run {args[0]}"] if args[0].endswith(".py") else []
        near = near or get_close_matches(args[0], _COMMANDS, 1)
        if args[0] not in _COMMANDS and near:
            context.fail(f"No such command {args[0]!r}; did you mean `flops-tracker {near[0]}`?")
        return super().resolve_command(context, args)

    def format_commands(self, _: Any, formatter: click.HelpFormatter) -> None:
        """List them without importing what they need."""
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))


@click.command(cls=_Commands)
@click.version_option(__version__, prog_name="flops-tracker")
def main() -> None:
    """Exact FLOPs of training runs."""
