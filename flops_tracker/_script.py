"""Runs a script or module as Python itself would, counts what it computes, and reports at exit."""

import atexit
import builtins
import os
import runpy
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from . import _core, _output, _ranks, _views
from ._imports import AfterImport


class Report(NamedTuple):
    """What to show of a run, and where."""

    name: str
    top: int
    depth: int | None
    output: Path | None
    quiet: bool


class CountedRun:
    """Counts in this process from the import of torch to its end."""

    def __init__(self, counting: dict[str, Any], report: Report) -> None:
        self._counting = counting
        self._report = report
        self._counter: Any = None
        self._problem = ""
        self._interrupted = False
        self._import = AfterImport("torch", self._open)
        self._process = os.getpid()
        # Without the script's folder, which may have modules named like those of the report.
        self._paths = sys.path[0 if sys.flags.safe_path else 1 :]
        self._stderr = sys.stderr
        self._start = time.perf_counter()

    def run(self, code: Callable[[], None]) -> None:
        """Run it, and leave the process to end as it would without us."""
        self._start = time.perf_counter()
        # Registered first, so called last: threads and the script's own handlers compute as well.
        atexit.register(self._finish)
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._import.end)
        self._import.begin()
        if self._failed(code):
            raise SystemExit(130 if self._interrupted else 1)

    def _failed(self, code: Callable[[], None]) -> bool:
        """Show an exception as Python does; nothing of it is kept."""
        try:
            code()
        except SystemExit:
            raise
        except BaseException as error:
            self._interrupted = isinstance(error, KeyboardInterrupt)
            trace = error.__traceback__
            for _ in range(2):  # this frame, and the one that calls
                trace = trace.tb_next if trace is not None else None
            if trace is None:  # its source is no Python: nothing has run
                atexit.unregister(self._finish)
            sys.excepthook(type(error), error.with_traceback(trace), trace)
            return True
        return False

    def _open(self, _: Any) -> None:
        """Count from here on: torch has just been imported."""
        self._import.end()
        if threading.current_thread() is not threading.main_thread():
            self._problem = (
                "torch was imported in another thread than the main one: only what that thread "
                "did, and threads that it started, was counted"
            )
        try:
            counter = _core.FlopCounter(**self._counting)
            counter.__enter__()
        except Exception as error:  # the script goes on without us
            self._problem = f"nothing was counted: {type(error).__name__}: {error}"
        else:
            self._counter = counter
            if hasattr(os, "register_at_fork"):  # nobody would read what a child counts
                os.register_at_fork(after_in_child=lambda: counter.__exit__(None, None, None))

    # ---- the end ----

    def _finish(self) -> None:
        try:
            if os.getpid() == self._process:  # and not forked
                self._tell()
        finally:
            if self._interrupted and os.name == "posix":
                _flush(sys.stdout)
                signal.signal(signal.SIGINT, signal.SIG_DFL)  # ends as Python ends then
                os.kill(os.getpid(), signal.SIGINT)

    def _tell(self) -> None:
        seconds = time.perf_counter() - self._start
        self._import.end()
        sys.path[:] = self._paths
        _flush(sys.stdout)
        if self._counter is None:
            problem = self._problem or "nothing was counted: it did not import torch"
            self._say(f"{self._report.name}: {problem}")
            return
        self._counter.__exit__(None, None, None)
        counts = self._counter.counts
        if self._report.output is not None:
            try:
                _output.write(counts, self._report.output)
            except OSError as error:
                self._say(f"the counts were not written: {error}")
        if not self._report.quiet and not _ranks.rank():
            self._write(f"\n{self._text(counts, seconds)}\n")

    def _text(self, counts: Any, seconds: float) -> str:
        lines = [_table(counts, self._report, self._stderr)]
        if left_out := _left_out(counts, self._report):
            lines.append(left_out)
        lines.append(f"{self._report.name} · {seconds:.2f} s")
        ranks = os.environ.get("WORLD_SIZE", "1")
        if ranks != "1":
            lines[-1] += f" · this rank's work, one of {ranks}"
        if self._problem:
            lines.append(self._problem)
        if counts.operations == 0:
            lines.append("torch computed nothing in this process; others are not counted")
        return "\n".join(lines)

    def _say(self, text: str) -> None:
        self._write(f"flops-tracker: {text}\n")

    def _write(self, text: str) -> None:
        for stream in (self._stderr, sys.__stderr__):
            try:
                stream.write(text)  # type: ignore[union-attr]
                stream.flush()  # type: ignore[union-attr]
                return
            except (AttributeError, ValueError, OSError):
                continue  # the script has closed it


def _flush(stream: Any) -> None:
    with suppress(AttributeError, ValueError, OSError):
        stream.flush()


def _table(counts: Any, report: Report, stream: Any) -> str:
    try:
        return _views.table(counts, report.depth, report.top, stream)
    except ImportError as error:  # the script has put another module in rich's place
        return f"{_views.summary(counts)}\n(no tables: {error})"


def _left_out(counts: Any, report: Report) -> str:
    """How many rows the limits left out."""
    modules, shown = counts.by_module(), counts.by_module(report.depth)
    largest = min(len(shown), report.top)
    operations = sum(flops > 0 for flops in counts.by_op().values())
    parts = []
    if largest < len(modules):
        parts.append(f"{largest} of {_views.number_of(len(modules), 'module')}")
    if report.top < operations:
        parts.append(f"{report.top} of {_views.number_of(operations, 'operation')} with FLOPs")
    return f"shown: {', '.join(parts)} (--top, --depth, --output)" if parts else ""


# ---- as Python runs it ----


def script(path: str, source: bytes, arguments: list[str]) -> Callable[[], None]:
    """Prepare what `python PATH ARGUMENTS` does; an error of its syntax is one of running it."""
    _as_main(os.path.dirname(os.path.realpath(path)), [path, *arguments])
    main = sys.modules["__main__"].__dict__
    absolute = os.path.join(os.getcwd(), path)
    main.update(__file__=absolute, __loader__=SourceFileLoader("__main__", absolute))

    def run() -> None:
        exec(compile(source, absolute, "exec", dont_inherit=True), main)

    return run


def module(name: str, arguments: list[str]) -> Callable[[], None]:
    """Prepare what `python -m NAME ARGUMENTS` does."""
    _as_main(os.getcwd(), ["-m", *arguments])
    # What the interpreter calls for -m; run_module() would take `__main__` away at its end.
    return lambda: runpy._run_module_as_main(name)  # type: ignore[attr-defined]


def folder(path: str, arguments: list[str]) -> Callable[[], None]:
    """Prepare what `python PATH ARGUMENTS` does with a folder or archive that has a __main__.py."""
    _as_main(os.path.join(os.getcwd(), path), [path, *arguments], always=True)
    return lambda: runpy._run_module_as_main("__main__", False)  # type: ignore[attr-defined]


def _as_main(first: str, arguments: list[str], always: bool = False) -> None:
    """Give the process an empty __main__, and arguments and import path as Python sets them."""
    main = ModuleType("__main__")
    main.__dict__.update(__builtins__=builtins)
    sys.modules["__main__"] = main
    sys.argv = arguments
    if not sys.flags.safe_path:
        sys.path[0] = first
    elif always:
        sys.path.insert(0, first)
