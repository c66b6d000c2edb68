"""Ten million points of a closed form, beside the same expression in NumPy, interleaved in one run.

The ratio is below 1 where ours takes less. Results are compared first, element by element.
"""

import statistics
import time
from collections.abc import Callable
from typing import Any

import click
import numpy as np

from flops_tracker import formulas

Work = Callable[[], Any]


def cases(count: int) -> dict[str, tuple[Work, Work]]:
    """Ours and NumPy's of each, over arrays of that length."""
    random = np.random.default_rng(0)
    batch, inputs, outputs = (random.integers(1, 4096, count) for _ in range(3))
    length, width, heads = (random.integers(1, 128, count) for _ in range(3))
    n = random.integers(1, 1000, count)
    return {
        "linear, all three vary": (
            lambda: formulas.linear(batch, inputs, outputs, bias=True),
            lambda: 2 * batch * inputs * outputs + batch * outputs,
        ),
        "linear, one varies": (
            lambda: formulas.linear(batch, 768, 3072, bias=True),
            lambda: 2 * batch * 768 * 3072 + batch * 3072,
        ),
        "conv2d, five vary": (
            lambda: formulas.conv2d(batch, inputs, outputs, length, width, 3, bias=True),
            lambda: (
                2 * batch * outputs * length * width * inputs * 9 + batch * outputs * length * width
            ),
        ),
        "sdpa, matmul, three vary": (
            lambda: formulas.sdpa(batch, 12, length, width, convention="matmul"),
            lambda: 4 * batch * 12 * length * length * width,
        ),
        "linear, float64": (
            lambda: formulas.linear(batch, inputs, outputs, bias=True, dtype=float),
            lambda: (2 * batch * inputs * outputs + batch * outputs).astype(float),
        ),
        "by the formula, point by point: cholesky": (
            lambda: formulas.cholesky(n, convention="exact"),
            lambda: 2 * ((n**3 - n) // 6) + n * (n - 1) // 2 + n,
        ),
        "by the formula, point by point: causal sdpa": (
            lambda: formulas.sdpa(1, 12, length, heads, causal=True),
            lambda: 4 * 12 * (length * (length + 1) // 2) * heads,
        ),
    }


def seconds(work: Work) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


@click.command()
@click.option("--count", default=10_000_000, show_default=True, help="Points.")
@click.option("--rounds", default=7, show_default=True, help="Of both, one after the other.")
def main(count: int, rounds: int) -> None:
    """Print nanoseconds a point, and the median of the rounds' ratios."""
    print(f"{count:,} points, {rounds} rounds{'ours':>22}{'NumPy':>10}{'ratio':>9}")
    for name, (ours, numpys) in cases(count).items():
        assert (ours() == numpys()).all(), name
        times = [(seconds(ours), seconds(numpys)) for _ in range(rounds)]
        ratio = statistics.median(one / other for one, other in times)
        best = [min(column) / count * 1e9 for column in zip(*times, strict=True)]
        print(f"{name:45}{best[0]:7.2f} ns{best[1]:7.2f} ns{ratio:9.2f}")


if __name__ == "__main__":
    main()
