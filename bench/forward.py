"""What counting one forward pass costs, beside the bare pass and beside the other counters.

The first table is a forward on tensors without data, with a counter over without; the second each
counter in its own way of running, over count(). Peers that are not installed are left out:
``pip install fvcore ptflops``.
"""

import gc
import io
import time
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, redirect_stdout
from copy import deepcopy
from typing import Any

import models
import torch
from overhead import EmptyMode
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from flops_tracker import FlopCounter, count

MODELS = {"ResNet-50": models.resnet50, "ViT-B/16": models.vit_b16}
COUNTERS: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "bare": nullcontext,
    "empty mode": EmptyMode,
    "FlopCounter": FlopCounter,
    "FlopCounterMode": lambda: FlopCounterMode(display=False),
}


def least(calls: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """Processor time of each call, by turns: the least of the rounds."""
    best = dict.fromkeys(calls, float("inf"))
    for call in calls.values():
        call()
    gc.collect()
    for _ in range(rounds):
        for name, call in calls.items():
            start = time.process_time()
            call()
            best[name] = min(best[name], time.process_time() - start)
    return best


# ---- on tensors without data ----


def without_data(model: Any, image: torch.Tensor, on: str) -> tuple[Any, Any, Any]:
    """A copy of a model and its input on fake or meta tensors, and the mode to run them in."""
    if on == "meta":
        return deepcopy(model).to("meta"), image.to("meta"), nullcontext()
    mode = FakeTensorMode()
    copied = deepcopy(model)
    for module in copied.modules():
        for tensors in (module._parameters, module._buffers):
            for name, tensor in tensors.items():
                tensors[name] = None if tensor is None else mode.from_tensor(tensor)
    return copied, mode.from_tensor(image), mode


def over_the_bare_pass(rounds: int = 25) -> None:
    print(f"{'over the bare forward':24}" + "".join(f"{name:>18}" for name in list(COUNTERS)[1:]))
    for name, build in MODELS.items():
        for on in ("fake", "meta"):
            model, image, mode = without_data(build(), torch.randn(1, 3, 224, 224), on)

            def run(counter: Any, model: Any = model, image: Any = image, mode: Any = mode) -> None:
                with mode, torch.no_grad(), counter():
                    model(image)

            calls = {n: (lambda c=c: run(c)) for n, c in COUNTERS.items()}
            best = least(calls, rounds)
            ratios = "".join(f"{best[n] / best['bare']:18.2f}" for n in list(COUNTERS)[1:])
            print(f"{name + ', ' + on:24}{ratios}")


# ---- each in its own way ----


def fvcore(model: Any, image: torch.Tensor) -> Callable[[], Any]:
    from fvcore.nn import FlopCountAnalysis

    def call() -> int:
        analysis = FlopCountAnalysis(model, image)
        analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
        return int(analysis.total())

    return call


def ptflops(model: Any, image: torch.Tensor) -> Callable[[], Any]:
    from ptflops import get_model_complexity_info

    def call() -> Any:
        with redirect_stdout(io.StringIO()):
            return get_model_complexity_info(
                *(model, tuple(image.shape[1:])), as_strings=False, print_per_layer_stat=False
            )

    return call


def flop_counter_mode(model: Any, image: torch.Tensor) -> Callable[[], Any]:
    def call() -> int:
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            model(image)
        return counter.get_total_flops()

    return call


def flop_counter_mode_on_meta(model: Any, image: torch.Tensor) -> Callable[[], Any]:
    return flop_counter_mode(deepcopy(model).to("meta"), image.to("meta"))


PEERS = {
    "FlopCounterMode": flop_counter_mode,
    "FlopCounterMode, model on meta": flop_counter_mode_on_meta,
    "fvcore": fvcore,
    "ptflops": ptflops,
}


def over_count(rounds: int = 7) -> None:
    image = torch.randn(1, 3, 224, 224)
    for name, build in MODELS.items():
        model = build()

        def bare(model: Any = model) -> None:
            with torch.no_grad():
                model(image)

        calls = {"count()": lambda model=model: count(model, image), "the real forward": bare}
        for peer, make in PEERS.items():
            try:
                calls[peer] = make(model, image)
                calls[peer]()
            except Exception as error:
                calls.pop(peer, None)
                print(f"{name}: without {peer} ({type(error).__name__}: {error})")
        best = least(calls, rounds)
        print(f"{name}: count() takes {1e3 * best['count()']:.0f} ms; over it")
        for peer in list(calls)[1:]:
            print(f"  {peer:32} {best[peer] / best['count()']:6.2f}")


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    over_the_bare_pass()
    over_count()
