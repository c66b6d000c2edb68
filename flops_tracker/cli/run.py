"""`flops-tracker run`: counts an unchanged training script."""

import importlib.util
import io
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from .. import _script
from . import _shared_options


class _Run(click.Command):
    def parse_args(self, context: click.Context, args: list[str]) -> list[str]:
        try:
            return super().parse_args(context, args)
        except click.NoSuchOption as error:
            problem = f"{error.format_message()} Options of the script go after it."
            raise click.UsageError(problem, context) from None


@click.command(
    cls=_Run,
    # All that follows the script is the script's.
    context_settings={"allow_interspersed_args": False, "max_content_width": 100},
    options_metavar="[OPTIONS]",
)
@click.option("-m", "as_module", is_flag=True, help="SCRIPT is a module, as in `python -m`.")
@_shared_options.convention
@_shared_options.causal
@click.option(
    "--strict", is_flag=True, help="An operation without a rule raises an error in the script."
)
@_shared_options.top("Modules and operations in the report: the N largest.")
@_shared_options.depth
@_shared_options.output("all counts")
@click.option("-q", "--quiet", is_flag=True, help="No report; for use with --output.")
@click.argument("script")
@click.argument("args", nargs=-1, type=click.UNPROCESSED, metavar="[ARGS]...")
def command(
    script: str,
    args: tuple[str, ...],
    as_module: bool,
    top: int,
    depth: int | None,
    output: Path | None,
    quiet: bool,
    **counting: Any,
) -> None:
    """Count the FLOPs of a training script.

    SCRIPT runs unchanged, as `python SCRIPT ARGS` would run it, with its own output and exit code.
    A report goes to stderr when it ends, also by an error or Ctrl-C: FLOPs by phase, module and
    operation, and what was not counted.

    Every operation of PyTorch is counted as it runs, which makes small models two to three times
    slower and large ones hardly; what torch.compile would compile runs eagerly. Other processes,
    as those of data loaders, are not counted.
    """
    if quiet and output is None:
        raise click.UsageError("--quiet shows nothing: say where to write with --output FILE")
    run = _script.CountedRun(counting, _script.Report(script, top, depth, output, quiet))
    run.run(_prepared(script, list(args), as_module))


def _prepared(script: str, args: list[str], as_module: bool) -> Callable[[], None]:
    """What to run; an error where that can't be a script."""
    if as_module:
        return _module(script, args)
    try:
        if os.path.isdir(script):
            if not os.path.isfile(os.path.join(script, "__main__.py")):
                raise click.UsageError(f"{script!r} is a folder, and has no __main__.py to run")
            return _script.folder(script, args)
        with open(script, "rb") as file:  # once only: it may be a pipe
            source = file.read()
    except FileNotFoundError:
        raise click.UsageError(_missing(script)) from None
    except OSError as error:
        raise click.UsageError(f"can't read {script!r}: {error.strerror}") from None
    if zipfile.is_zipfile(io.BytesIO(source)):
        return _script.folder(script, args)
    if b"\0" in source:
        raise click.UsageError(f"{script!r} is no Python source")
    if script.endswith(".ipynb"):
        raise click.UsageError(
            f"{script!r} is a notebook: count in it, with flops_tracker.FlopCounter in a cell"
        )
    return _script.script(script, source, args)


def _missing(script: str) -> str:
    problem = f"there is no file {script!r}"
    if os.path.basename(script).startswith("python"):
        return f"{problem}: leave Python out, as in `flops-tracker run train.py`"
    if os.path.isfile(f"{script}.py"):
        return f"{problem}; did you mean {script + '.py'!r}?"
    if script.partition(".")[0].isidentifier() and not script.endswith(".py"):
        return f"{problem}; for a module write -m before it"
    return problem if os.path.isabs(script) else f"{problem} in {os.getcwd()!r}"


def _module(name: str, args: list[str]) -> Callable[[], None]:
    if name.endswith(".py") and os.path.isfile(name):
        raise click.UsageError(f"-m takes the name of a module; for the file {name!r} leave it out")
    run = _script.module(name, args)
    if importlib.util.find_spec(name.partition(".")[0]) is None:
        raise click.UsageError(f"there is no module {name!r} on the path, nor in {os.getcwd()!r}")
    return run
