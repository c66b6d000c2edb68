"""`flops-tracker peak`: measures this machine's peak with products of large matrices."""

import json
import math
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import click

from .. import _core, _terminal
from .._frameworks import need
from .._rates import DTYPES, device_name, per_second

_LEAST_SECONDS = 0.02  # of a repeat, which is as many products as that takes
_LEAST_REPEATS = 3


class _Result(NamedTuple):
    dtype: str
    size: int
    repeats: int
    flops: int  # of one product
    median: float  # FLOP/s
    best: float
    stated: float | None  # the maker's, where the device is known


def _usual_dtypes(device: Any) -> list[str]:
    if device.type == "cuda":
        return ["float32", "tf32", "bfloat16", "float16"]
    return ["float64", "float32", "bfloat16"]


def _device(torch: Any, name: str | None) -> Any:
    try:
        device = torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:  # a build without CUDA asserts
        problem = f"{name!r} can't be used here: {_first_line(error)}"
        raise click.BadParameter(problem, param_hint="--device") from None
    if device.type != "cpu" and not hasattr(getattr(torch, device.type, None), "synchronize"):
        problem = f"{name!r} computes nothing, or does not say when it is done"
        raise click.BadParameter(problem, param_hint="--device")
    return device


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


@contextmanager
def _float32_products(torch: Any, dtype: str) -> Iterator[None]:
    """Compute float32 in float32, or in TF32 where that is what is measured."""
    flags = torch.backends.cuda.matmul
    before = flags.allow_tf32
    flags.allow_tf32 = dtype == "tf32"
    try:
        yield
    finally:
        flags.allow_tf32 = before


def time_repeats(
    product: Callable[[], None], wait: Callable[[], None], seconds: float
) -> list[float]:
    """Seconds of one product, in each of several repeats that take about that long together."""

    def timed(times: int) -> float:
        wait()
        start = time.perf_counter()
        for _ in range(times):
            product()
        wait()
        return (time.perf_counter() - start) / times

    timed(1)  # the first makes workspaces and chooses kernels
    times = max(1, round(_LEAST_SECONDS / max(timed(1), 1e-9)))
    end = time.perf_counter() + seconds
    found = [timed(times) for _ in range(_LEAST_REPEATS)]
    while time.perf_counter() < end:
        found.append(timed(times))
    return found


def _measure(torch: Any, dtype: str, size: int, seconds: float, device: Any) -> _Result:
    from .._count import count

    kind = getattr(torch, "float32" if dtype == "tf32" else dtype)
    left, right = (torch.randn(size, size, device=device).to(kind) for _ in range(2))
    out = torch.empty_like(left)
    flops = count(torch.mm, left, right, convention="matmul").total

    def product() -> None:
        torch.mm(left, right, out=out)

    def wait() -> None:
        if device.type != "cpu":
            getattr(torch, device.type).synchronize()

    with _float32_products(torch, dtype):
        found = time_repeats(product, wait, seconds)
    median, best = (_core._rate(flops, s) for s in (statistics.median(found), min(found)))
    assert median is not None and best is not None
    known = _core._peak_of(device_name(device))
    stated = None if known is None else known[1].get(dtype)
    return _Result(dtype, size, len(found), flops, median, best, stated)


def _measure_all(
    torch: Any, dtypes: list[str], given: bool, size: int, seconds: float, device: Any
) -> list[_Result]:
    results = []
    for dtype in dtypes:
        try:
            results.append(_measure(torch, dtype, size, seconds, device))
        except (RuntimeError, MemoryError) as error:  # no memory for it, or no such kernel
            problem = f"{dtype} of size {size} can't be measured: {_first_line(error)}"
            if given:
                raise click.UsageError(problem) from None
            click.echo(f"skipped: {problem}", err=True)
    if not results:
        raise click.UsageError("nothing could be measured: choose a smaller --size")
    return results


# ---- what is shown ----


def _print_table(titles: tuple[str, ...], rows: list[tuple[str, ...]], right: set[str]) -> None:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD)
    for title in titles:
        table.add_column(title, justify="right" if title in right else "left", overflow="fold")
    for row in rows:
        table.add_row(*row)
    _terminal.console(sys.stdout).print(table)


def _show(results: list[_Result], device: str, threads: int | None) -> None:
    stated = any(result.stated is not None for result in results)
    titles = ("dtype", "size", "repeats", "median", "best", *(["data sheet"] if stated else []))
    rows = []
    for found in results:
        row = [found.dtype, str(found.size), str(found.repeats)]
        row += [per_second(found.median), per_second(found.best)]
        if stated:
            row.append("" if found.stated is None else per_second(found.stated))
        rows.append(tuple(row))
    click.echo(device + (f", {threads} threads" if threads else ""))
    _print_table(titles, rows, set(titles[1:]))
    peaks = ", ".join(f'"{found.dtype}": "{per_second(found.best)}"' for found in results)
    click.echo(f"FlopsTracker(model, peak_flops={{{peaks}}})")
    if stated:
        click.echo("The data sheet's is used where peak_flops is not given.")


def _show_known() -> None:
    formats = ("float64", "float32", "tf32", "bfloat16", "float16")
    rows = [
        (device, *(f"{peaks[f] / 1e12:g}" if f in peaks else "" for f in formats), source)
        for device, peaks, source in _core._peaks()
    ]
    click.echo("Dense matrix products, in TFLOP/s:")
    _print_table(("device", *formats, "source"), rows, set(formats))


def _known_as_json() -> str:
    """FLOP/s by dtype of each device, which peak_flops= takes."""
    return json.dumps(
        [
            {"device": device, "peak_flops": peaks, "source": source}
            for device, peaks, source in _core._peaks()
        ],
        indent=2,
    )


def _as_json(results: list[_Result], device: str, threads: int | None) -> str:
    return json.dumps(
        {
            "device": device,
            "threads": threads,
            "results": [
                {
                    "dtype": found.dtype,
                    "size": found.size,
                    "repeats": found.repeats,
                    "flops": found.flops,
                    "median_flops_per_second": found.median,
                    "best_flops_per_second": found.best,
                    "stated_flops_per_second": found.stated,
                }
                for found in results
            ],
            "peak_flops": {found.dtype: found.best for found in results},
        },
        indent=2,
    )


@click.command(context_settings={"max_content_width": 100})
@click.option(
    "--dtype",
    "dtypes",
    multiple=True,
    type=click.Choice(list(DTYPES)),
    metavar="DTYPE",
    help="float64, float32, tf32, bfloat16 or float16; may be given several times.",
)
@click.option(
    "--size",
    type=click.IntRange(1),
    metavar="N",
    help="Matrices are N x N.  [default: 8192 on a GPU, 2048 elsewhere]",
)
@click.option(
    "--seconds",
    type=click.FloatRange(0, 3600, min_open=True),
    default=1.0,
    show_default=True,
    help="How long each dtype is measured, about.",
)
@click.option("--device", metavar="DEVICE", help="cpu, cuda, cuda:1, ...  [default: cuda, or cpu]")
@click.option("--json", "as_json", is_flag=True, help="Print JSON in the place of a table.")
@click.option(
    "--list",
    "known",
    is_flag=True,
    help="Print the devices whose peak is known; with --json, a list.",
)
def command(
    dtypes: tuple[str, ...],
    size: int | None,
    seconds: float,
    device: str | None,
    as_json: bool,
    known: bool,
) -> None:
    """Measure this machine's peak FLOP/s, for FlopsTracker(peak_flops=...).

    Multiplies large square matrices. The best of the repeats is the one to give as peak_flops;
    where the median is far below it, something else was running.
    """
    if known:
        click.echo(_known_as_json()) if as_json else _show_known()
        return
    if math.isnan(seconds):  # which is in every range
        raise click.BadParameter("nan is no time", param_hint="--seconds")
    try:
        torch = need("torch", "torch")
    except ModuleNotFoundError as error:
        raise click.ClickException(str(error)) from None
    place = _device(torch, device)
    names = list(dict.fromkeys(DTYPES[name] for name in dtypes)) or _usual_dtypes(place)
    if "tf32" in names and place.type != "cuda":
        raise click.BadParameter(
            f"tf32 is of CUDA devices, and this is {place}", param_hint="--dtype"
        )
    n = size or (8192 if place.type == "cuda" else 2048)
    results = _measure_all(torch, names, bool(dtypes), n, seconds, place)
    threads = torch.get_num_threads() if place.type == "cpu" else None
    if as_json:
        click.echo(_as_json(results, device_name(place), threads))
    else:
        _show(results, device_name(place), threads)
