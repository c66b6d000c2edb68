"""Prints docs/accuracy.md: what was counted, beside the truth and what other counters say.

``--write`` writes the page, ``--live`` runs the other counters that are installed on the twelve
cases and prints what they say now.
"""

import functools
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import models
import torch

from flops_tracker import FlopCount, count

HERE = Path(__file__).resolve().parent
PAGE = HERE.parent / "docs" / "accuracy.md"
PEERS = HERE / "peers_accuracy.txt"

# ---- the truth, by hand ----

# Multiply-accumulates are 2; only contractions count. B 2, T 64, width 128 where it says so.
TRUTH = {
    "addone": ("Linear(5,4), then `x += 1.`", "2·5·4"),
    "linear_3d": ("Linear(64,64) on (2,10,64)", "2·20·64·64"),
    "reused": ("one Linear(64,64), called three times on (2,64)", "3·2·2·64·64"),
    "functional": ("F.linear, `@` and einsum with one (64,64) weight", "3·2·20·64·64"),
    "lenet5_b1024": (
        "LeNet-5, 1024 pictures: 784 places of 6·25, 100 of 16·6·25, 1 of 120·16·25; 120·84; 84·10",
        "2·1024·(784·150+100·2400+48000+10080+840)",
    ),
    "convtransposed_g4": (
        "ConvTranspose2d(16,32,3), stride 2, 4 groups: 64 input places, each 16 channels by 8 by 9",
        "2·2·64·16·8·9",
    ),
    "lstm_2l_bi": (
        "LSTM 32 to 64, 2 layers, both directions, 20 steps: 4 gates of 64 from 32+64, then 128+64",
        "2·20·2·4·64·(96+192)",
    ),
    "crossattn": (
        "MultiheadAttention(64), 10 queries over 20 keys of width 32 and values of width 48: "
        "in and out, k, v, scores and their sums",
        "2·2·(2·10·64·64+20·32·64+20·48·64+2·10·20·64)",
    ),
    "sdpa": (
        "Linear(64,192) and scaled_dot_product_attention on (2,64,64)",
        "2·2·64·64·192+2·2·2·64·64·64",
    ),
    "gpt2": (
        "GPT-2 of width 128: 12 squares of weights a layer, attention; head of 1000",
        "2·(2·128·12·128·128+2·2·2·64·64·128)+2·128·128·1000",
    ),
    "llama_gqa": (
        "Llama of width 128, keys and values of width 32, MLP of 256; head of 1000",
        "2·(2·128·(2·128·128+2·128·32+3·128·256)+2·2·2·64·64·128)+2·128·128·1000",
    ),
    "mixtral_moe": (
        "the same, 2 of 4 experts for each token, and their router",
        "2·(2·128·(2·128·128+2·128·32+128·4+2·3·128·256)+2·2·2·64·64·128)+2·128·128·1000",
    ),
}

# What torch_flops says of ViT-B/16 by timm, by kind, and how: 197 tokens of 768 are 151,296
# elements; 12 layers of 12 heads, so 144·197·197 scores.
VIT_SEED = {
    "linear": ("a bias makes 2·k of 2·k - 1", "12·2·197·768·(4·768+2·3072)+2·768·1000"),
    "convolution": ("the same", "196·768·2·768"),
    "attention products": ("2·k - 1 each: k is 64, then 197", "144·197·(197·127+64·393)"),
    "softmax": ("3·n - 1 a row; here 5·n, with the maximum", "144·197·590"),
    "scaling": ("timm scales the queries, transformers the scores", "12·151296"),
    "GELU": ("1 an element; here 5", "12·197·3072"),
    "residuals, positions": ("the same", "25·151296"),
    "LayerNorm": ("4 an element; here 7", "25·4·151296"),
    "comparisons of integers": ("`==` of Python integers; here no operations", "2"),
}
VIT_OPS = {
    "aten.addmm.default": "linear",
    "aten.convolution.default": "convolution",
    "aten.bmm.default": "attention products",
    "aten._softmax.default": "softmax",
    "aten.mul.Tensor": "scaling",
    "aten.gelu.default": "GELU",
    "aten.add.Tensor": "residuals, positions",
    "aten.native_layer_norm.default": "LayerNorm",
}
# Of ResNet-50: the numbers of convolution and ReLU are sums over its table of nodes.
RESNET_SEED = {
    "convolution": ("the same", "8163158528"),
    "batch norm": ("the same: 4 an element", "4·11113984"),
    "ReLU": ("the same", "9608704"),
    "additions": ("the same", "4·1379840"),
    "linear": ("the same", "2·2048·1000"),
    "max pool": ("a window of 3 taken as 3 values, not 9", "200704·(3-1)"),
    "average pool": ("the same: 49 values", "2048·49"),
}
RESNET_OPS = {
    "aten.convolution.default": "convolution",
    "aten.native_batch_norm.default": "batch norm",
    "aten.relu.default": "ReLU",
    "aten.add_.Tensor": "additions",
    "aten.addmm.default": "linear",
    "aten.max_pool2d_with_indices.default": "max pool",
    "aten.mean.dim": "average pool",
}
SEED_TOTALS = {"ViT-B/16": 35_164_979_282, "ResNet-50": 8_227_340_288}


def value(product: str) -> int:
    """What a product written with dots comes to."""
    return int(eval(product.replace("·", "*")))


# ---- counting ----


@functools.cache
def case(name: str) -> FlopCount:
    """One of the twelve, under matmul."""
    model, inputs = models.TWELVE[name]()
    # Fake copies of grouped_mm take bfloat16 only.
    place = "real" if name == "mixtral_moe" else "fake"
    counts = count(model, *inputs, convention="matmul", on=place)
    assert isinstance(counts, FlopCount)
    return counts


@functools.cache
def picture(build: Callable[[], Any], backward: bool = False, gradient: bool = False) -> FlopCount:
    """A model of pictures on one of 224x224, under matmul."""
    x = torch.zeros(1, 3, 224, 224, requires_grad=gradient)
    counts = count(build(), x, backward=backward, convention="matmul")
    assert isinstance(counts, FlopCount)
    return counts


@functools.cache
def gpt2() -> FlopCount:
    """GPT-2 124M on 1024 tokens, under matmul."""
    tokens = torch.zeros(1, 1024, dtype=torch.int64)
    counts = count(models.gpt2_124m(), tokens, convention="matmul")
    assert isinstance(counts, FlopCount)
    return counts


@functools.cache
def linear(plus_one: bool) -> FlopCount:
    """Linear(5,4) on one row."""
    counts = count(models.AddOne() if plus_one else torch.nn.Linear(5, 4), torch.zeros(1, 5))
    assert isinstance(counts, FlopCount)
    return counts


def differences(
    counts: FlopCount, seed: dict[str, tuple[str, str]], ops: dict[str, str]
) -> list[tuple[str, int, int, str]]:
    """Rows of kind, the seed's number, ours under exact, why."""
    ours = dict.fromkeys(seed, 0)
    for op, flops in counts.under("exact").by_op().items():
        if flops:
            ours[ops[op]] += flops
    return [(kind, value(how), ours[kind], why) for kind, (why, how) in seed.items()]


# ---- other counters ----


def recorded() -> tuple[list[str], dict[str, list[str]]]:
    """Names of the counters, and what each said of a case, as a share of the truth."""
    first, *lines = PEERS.read_text().splitlines()
    rows = {}
    for line in lines:
        name, _, *cells = line.split()
        rows[name] = ["raises" if cell.startswith("err:") else cell for cell in cells]
    return first.split()[2:], rows


def _torch(model: Any, inputs: Any) -> int:
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as mode:
        model(*inputs)
    return mode.get_total_flops()


def _fvcore(model: Any, inputs: Any) -> int:
    from fvcore.nn import FlopCountAnalysis

    return int(2 * FlopCountAnalysis(model, inputs).total())


def _thop(model: Any, inputs: Any) -> int:
    from thop import profile

    return int(2 * profile(model, inputs, verbose=False)[0])


def _torchinfo(model: Any, inputs: Any) -> int:
    from torchinfo import summary

    return int(2 * summary(model, input_data=inputs, verbose=0).total_mult_adds)


def _torchprofile(model: Any, inputs: Any) -> int:
    from torchprofile import profile_macs

    return int(2 * profile_macs(model, inputs))


LIVE = {
    "torch": _torch,
    "fvcore": _fvcore,
    "thop": _thop,
    "torchinfo": _torchinfo,
    "torchprofile": _torchprofile,
}


def live(name: str, model: Any, inputs: Any) -> str:
    try:
        return f"{LIVE[name](model, inputs):,}"
    except ImportError:
        return "not installed"
    except Exception as error:  # whatever it raises is what it says
        return type(error).__name__


def live_table() -> str:
    rows = []
    for name, make in models.TWELVE.items():
        cells = [live(peer, *make()) for peer in LIVE]
        rows.append([name, f"{case(name).total:,}", *cells])
    return table(["case", "flops_tracker", *LIVE], rows)


# ---- the page ----

RECORDED = """As a share of the truth (1.0000 is right; MACs doubled), as recorded on 2026-11-21
with torch 2.13.0 (CPU), fvcore 0.1.5.post20221221, ptflops 0.7.5, thop 0.1.1, torchinfo 1.8.0,
calflops 0.3.2, torchprofile 0.1.0, torch_flops 0.4.1 (which needs CUDA), flops_profiler 0.1.2.
`--live` runs some of those that are installed. The truth is that of contractions: a counter that
also counts biases or norms is above it by that."""
_WORDS = ("what", "why")


def table(titles: list[str], rows: list[list[str]]) -> str:
    """A Markdown table; the first column and those of words are not numbers."""
    rule = ["---" if t in (titles[0], *_WORDS) else "---:" for t in titles]
    return "\n".join("| " + " | ".join(row) + " |" for row in [titles, rule, *rows])


def twelve_tables() -> str:
    rows = [
        [name, what, f"{value(how):,}", f"{case(name).total:,}"]
        for name, (what, how) in TRUTH.items()
    ]
    peers, said = recorded()
    ratios = [
        [name, f"{case(name).total / value(TRUTH[name][1]):.4f}", *said[name]] for name in said
    ]
    return "\n\n".join(
        [
            table(["case", "what", "truth", "flops_tracker"], rows),
            RECORDED,
            table(["case", "flops_tracker", *peers], ratios),
        ]
    )


def conventions_table() -> str:
    names = ["standard", "exact", "matmul", "macs"]
    rows = [
        [title, *(f"{linear(plus).under(name).total}" for name in names)]
        for title, plus in (("Linear(5,4)", False), ("Linear(5,4), then `x += 1.`", True))
    ]
    return table(["on one row", *names], rows)


def models_table() -> str:
    r18, r50, vit = (picture(build) for build in (models.resnet18, models.resnet50, models.vit_b16))
    with_input = picture(models.resnet18, backward=True, gradient=True)
    without = picture(models.resnet18, backward=True)
    lines: list[tuple[str, FlopCount]] = [
        ("ResNet-18, forward", r18),
        ("ResNet-18, forward and backward, also to the picture", with_input),
        ("ResNet-18, forward and backward, to the weights only", without),
        ("ResNet-50, forward", r50),
        ("ViT-B/16, forward", vit),
        ("GPT-2 124M on 1024 tokens, forward", gpt2()),
    ]
    rows = [
        [title, f"{counts.total:,}", f"{counts.under('exact').total:,}"] for title, counts in lines
    ]
    return table(["model", "`matmul`", "`exact`"], rows)


def seed_table(name: str, counts: FlopCount, seed: Any, ops: Any) -> str:
    found = differences(counts, seed, ops)
    assert sum(row[1] for row in found) == SEED_TOTALS[name]
    rows = [
        [kind, f"{theirs:,}", f"{ours:,}", f"{ours - theirs:+,}" if ours != theirs else "0", why]
        for kind, theirs, ours, why in found
    ]
    total = counts.under("exact").total
    theirs = SEED_TOTALS[name]
    rows.append(["**total**", f"{theirs:,}", f"{total:,}", f"{total - theirs:+,}", ""])
    return table([name, "torch_flops", "ours, `exact`", "difference", "why"], rows)


def page() -> str:
    """The whole of docs/accuracy.md."""
    seeds = {name: f"{total:,}" for name, total in SEED_TOTALS.items()}
    return f"""# Accuracy

Printed by `python bench/accuracy.py --write`; `tests/test_accuracy.py` has the numbers by hand.

## Twelve cases

FLOPs of the forward pass under `matmul`. The truth is worked out by hand in `bench/accuracy.py`.

{twelve_tables()}

## Conventions

{conventions_table()}

## Models

One picture of 224x224, or one text. ResNet-50, ViT-B/16 (attention written out) and GPT-2 are those
of transformers, in eval mode; ResNet-18 is in train mode. Its backward is twice its forward, less
the first convolution's gradient to the picture where nobody wants it: 3 · 3,628,146,688 -
236,027,904.

{models_table()}

## The numbers of torch_flops

torch_flops, elementwise operations included, says {seeds["ResNet-50"]} for ResNet-50 and
{seeds["ViT-B/16"]} for ViT-B/16, both by timm. Its rows by kind, beside ours under `exact`:

{seed_table("ResNet-50", picture(models.resnet50), RESNET_SEED, RESNET_OPS)}

{seed_table("ViT-B/16", picture(models.vit_b16), VIT_SEED, VIT_OPS)}

Both tables close: no row is left over on either side, and the differences add up to that of the
totals.
"""


def main() -> None:
    warnings.simplefilter("ignore")
    if "--live" in sys.argv:
        print(live_table())
        return
    text = page()
    if "--write" in sys.argv:
        PAGE.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
