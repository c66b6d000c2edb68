"""Seed 002's code blocks as written, in order and one namespace: what they print and count."""

import contextlib
import io
import json
from pathlib import Path

import pytest
import resnet_bk

BLOCKS = [
    """\
from src.models.configurable_resnet_bk import ConfigurableResNetBK, BASELINE_CONFIG
from src.benchmarks.flops_counter import FLOPsCounter

# Create model
config = BASELINE_CONFIG
config.d_model = 64
config.n_layers = 4
config.n_seq = 128
model = ConfigurableResNetBK(config)

# Count FLOPs
counter = FLOPsCounter(model, batch_size=32, seq_len=128)
counter.print_summary()
""",
    """\
flops = counter.count_total_flops()
print(f"Total: {flops.total:,} FLOPs ({flops.total/1e9:.3f} GFLOPs)")
print(f"Forward: {flops.forward:,} FLOPs")
print(f"Backward: {flops.backward:,} FLOPs)")
print(f"Optimizer: {flops.optimizer:,} FLOPs")
""",
    """\
counter.count_forward_flops()
breakdown = counter.get_breakdown()

for component, flops in breakdown.items():
    print(f"{component}: {flops['forward']:,} FLOPs")
""",
    """\
from src.benchmarks.flops_counter import compare_models

comparison = compare_models(
    model1, model2,
    batch_size=32, seq_len=128,
    model1_name="Model A",
    model2_name="Model B"
)

print(f"Speedup: {comparison['speedup']['total']:.2f}×")
""",
    """\
counter.save_to_json('flops_count.json')
""",
    """\
counter = FLOPsCounter(model, batch_size=32, seq_len=128)
flops_per_step = counter.count_total_flops()
total_steps = 10000
total_flops = flops_per_step.total * total_steps
print(f"Total training cost: {total_flops/1e12:.2f} TFLOPs")
""",
    """\
baseline = ConfigurableResNetBK(BASELINE_CONFIG)
optimized = ConfigurableResNetBK(FULL_CONFIG)

comparison = compare_models(baseline, optimized, 32, 128)
speedup = comparison['speedup']['total']
print(f"Optimization provides {speedup:.2f}× speedup")
""",
    """\
counter.count_forward_flops()
breakdown = counter.get_breakdown()

# Sort by FLOPs
sorted_components = sorted(
    breakdown.items(),
    key=lambda x: x[1]['forward'],
    reverse=True
)

print("Top 3 bottlenecks:")
for component, flops in sorted_components[:3]:
    pct = 100 * flops['forward'] / counter.count_forward_flops().forward
    print(f"  {component}: {pct:.1f}%")
""",
    """\
seq_lengths = [128, 256, 512, 1024]
flops_list = []

for N in seq_lengths:
    config.n_seq = N
    model = ConfigurableResNetBK(config)
    counter = FLOPsCounter(model, batch_size=32, seq_len=N)
    flops = counter.count_total_flops()
    flops_list.append(flops.total)

# Check scaling
for i in range(1, len(seq_lengths)):
    ratio = flops_list[i] / flops_list[i-1]
    expected = seq_lengths[i] / seq_lengths[i-1]
    print(f"N={seq_lengths[i-1]}→{seq_lengths[i]}: {ratio:.2f}× (expected {expected:.2f}×)")
""",
    """\
# Correct
model = ConfigurableResNetBK(config)
counter = FLOPsCounter(model, batch_size=32, seq_len=128)
""",
    """\
# FLOPs scale with batch_size × seq_len
counter = FLOPsCounter(model, batch_size=1, seq_len=128)  # Minimal FLOPs
""",
    """\
counter.count_forward_flops()  # Populates breakdown
breakdown = counter.get_breakdown()
""",
]

# The repairs: where the names are imported from, and FULL_CONFIG among them.
IMPORTS = {
    "from src.models.configurable_resnet_bk import ConfigurableResNetBK, BASELINE_CONFIG": (
        "from resnet_bk import ConfigurableResNetBK, BASELINE_CONFIG, FULL_CONFIG"
    ),
    "from src.benchmarks.flops_counter import FLOPsCounter": (
        "from flops_tracker.compat.flops_counter import FLOPsCounter"
    ),
    "from src.benchmarks.flops_counter import compare_models": (
        "from flops_tracker.compat.flops_counter import compare_models"
    ),
}
QUICK_START, TOTAL, BREAKDOWN, COMPARE, JSON, COST, SPEEDUP, TOP, LINEAR, NO_CLASS, SMALL, EMPTY = (
    range(12)
)

# Derived in test_flops_counter.py: forward, backward, and AdamW's 15 for each of 4,145,840.
FORWARD, BACKWARD, OPTIMIZER = 16_287_760_384, 32_568_016_896, 62_187_600
STEP = 48_917_964_880
# FULL_CONFIG: forward 4,225,892,352 and backward 8,444,280,832, derived there as well. Parameters:
# of 4,145,840 the experts of two layers are away, 2·(4·64 + 66,304), and the head's matrix
# 64·30,000 is 64·16 + 16·30,000: 2,573,744 are left, 38,606,160 FLOPs. 48,917,964,880 is 3.849
# times the sum, 12,708,779,344.
FULL = 4_225_892_352 + 8_444_280_832 + 15 * 2_573_744


class Outcome:
    """What each block printed, and what all of them leave behind."""

    def __init__(self) -> None:
        self.names = {}
        self.printed = []
        self.counters = []  # after each block
        self.file = {}


@pytest.fixture(scope="module")
def outcome(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("seed 002"))
        patch.setattr(resnet_bk.BASELINE_CONFIG, "n_seq", 128)  # the blocks change it: put back
        result = Outcome()
        for number, block in enumerate(BLOCKS):
            text = block
            for theirs, ours in IMPORTS.items():
                text = text.replace(f"{theirs}\n", f"{ours}\n")
            if number == COMPARE:  # the reader's own, which no block makes
                result.names["model1"] = result.names["model"]
                result.names["model2"] = resnet_bk.ConfigurableResNetBK(resnet_bk.FULL_CONFIG)
            if number == JSON + 1:
                result.file = json.loads(Path("flops_count.json").read_text())
            with contextlib.redirect_stdout(io.StringIO()) as out:
                exec(compile(text, f"seed 002, block {number}", "exec"), result.names)
            result.printed.append(out.getvalue().splitlines())
            result.counters.append(result.names["counter"])
        yield result


def test_the_blocks_are_the_seeds_own():
    assert len(BLOCKS) == 12
    assert sum(len(block.splitlines()) for block in BLOCKS) == 81
    assert all(any(f"{line}\n" in block for block in BLOCKS) for line in IMPORTS)


def test_totals(outcome):
    assert FORWARD + BACKWARD + OPTIMIZER == STEP
    assert outcome.printed[TOTAL] == [
        "Total: 48,917,964,880 FLOPs (48.918 GFLOPs)",
        "Forward: 16,287,760,384 FLOPs",
        "Backward: 32,568,016,896 FLOPs)",  # its parenthesis is the seed's
        "Optimizer: 62,187,600 FLOPs",
    ]


def test_the_summary(outcome):
    printed = "\n".join(outcome.printed[QUICK_START])
    assert "ConfigurableResNetBK · a training step of 32 × 128 · AdamW" in printed
    assert "table: 48.9 GFLOP · operations: standard · " in printed


def test_the_breakdown(outcome):
    assert outcome.printed[BREAKDOWN] == [
        "embedding: 262,144 FLOPs",
        *(f"layers.{i}: 139,386,880 FLOPs" for i in range(4)),
        "norm: 1,310,720 FLOPs",
        "lm_head: 15,728,640,000 FLOPs",
        "(model itself): 0 FLOPs",  # positions: parameters, so work of the optimizer alone
    ]


def test_comparisons(outcome):
    assert FULL == 12_708_779_344
    assert outcome.printed[COMPARE] == ["Speedup: 3.85×"]
    assert outcome.names["comparison"]["speedup"]["total"] == STEP / FULL
    assert outcome.printed[SPEEDUP] == ["Optimization provides 3.85× speedup"]


def test_the_file(outcome):
    assert outcome.printed[JSON] == []
    assert outcome.file["flops"] == {
        "forward": FORWARD,
        "backward": BACKWARD,
        "optimizer": OPTIMIZER,
        "total": STEP,
    }


def test_the_cost_of_a_training(outcome):
    # 10,000 steps: 489,179,648,800,000 FLOPs.
    assert outcome.printed[COST] == ["Total training cost: 489.18 TFLOPs"]


def test_the_bottlenecks(outcome):
    assert outcome.printed[TOP] == [
        "Top 3 bottlenecks:",
        "  lm_head: 96.6%",
        "  layers.0: 0.9%",
        "  layers.1: 0.9%",
    ]


def test_the_growth(outcome):
    # Per token, but the optimizer: 64 positions' numbers more a token, 15 each.
    assert outcome.names["flops_list"] == [
        (FORWARD + BACKWARD) * n // 128 + OPTIMIZER + 15 * 64 * (n - 128)
        for n in (128, 256, 512, 1024)
    ]
    assert outcome.printed[LINEAR] == [
        f"N={n}→{2 * n}: 2.00× (expected 2.00×)" for n in (128, 256, 512)
    ]


def test_troubleshooting(outcome):
    # The model is that of N = 1024 by now, which takes 128 as well: only its positions are more.
    assert outcome.counters[NO_CLASS].count_forward_flops().forward == FORWARD
    assert outcome.counters[SMALL].count_forward_flops().forward == FORWARD // 32
    assert outcome.names["breakdown"]["lm_head"]["forward"] == 15_728_640_000 // 32
    assert outcome.printed[NO_CLASS] == outcome.printed[SMALL] == outcome.printed[EMPTY] == []
