"""What the package's own operations cost, as flops_tracker's register_rule is told."""

from typing import Any

from flops_tracker import register_rule

BK_CORE_FORWARD, BK_CORE_BACKWARD = 34, 26  # a position; bk_core.py says of what


def _bk_core(args: Any, kwargs: Any, output: Any) -> int:
    (potential,) = args
    return BK_CORE_FORWARD * potential.numel()


def _bk_core_backward(args: Any, kwargs: Any, output: Any) -> int:
    return BK_CORE_BACKWARD * output.numel()


def _mixture(x: Any, gate: Any, up: Any, top_k: int, times: int) -> dict[str, int]:
    """Per token: gate 2DE, softmax 3E, and of each of K experts 4DH of products and H of ReLU."""
    tokens, (number, hidden, width) = len(x), up.shape
    products = width * number + top_k * 2 * width * hidden
    rest = 3 * number + top_k * hidden
    return {"mac": times * tokens * products, "arith": times * tokens * rest}


def _experts(args: Any, kwargs: Any, output: Any) -> dict[str, int]:
    x, gate, up, *_, top_k = args
    return _mixture(x, gate, up, top_k, times=1)


def _experts_backward(args: Any, kwargs: Any, output: Any) -> dict[str, int]:
    _, x, gate, up, _, _, _, chosen, _ = args
    return _mixture(x, gate, up, chosen.shape[1], times=2)


def register() -> None:
    """Tell flops_tracker; a second time changes nothing."""
    for name, rule in (
        ("bk_core", _bk_core),
        ("bk_core_backward", _bk_core_backward),
        ("experts", _experts),
        ("experts_backward", _experts_backward),
    ):
        register_rule(f"resnet_bk::{name}", rule, override=True)
