"""compat.flops_counter: its table, any model beside it, and the example model's figures by hand."""

import json
import math
import re
import warnings
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from model_snapshot import changes, snapshot
from resnet_bk import BASELINE_CONFIG, FULL_CONFIG, ConfigurableResNetBK, LanguageModel
from torch import nn
from torch.nn import functional as F

from flops_tracker import FlopCounter, count, register_rule
from flops_tracker.compat.flops_counter import FLOPsCounter, compare_models

# ---- the example's model at d = 64, L = 4, N = 128, batch 32, by hand ----
#
# A layer, forward, of 32·128 = 4,096 tokens:
#   LayerNorm               5BND = 5·4,096·64                                       =   1,310,720
#   experts, per token      gate 2DE = 2·64·4 = 512, softmax 3E = 12, one expert
#                           D->2D->D and its ReLU 8D² + 2D = 32,768 + 128; 33,420   = 136,888,320
#   BK-Core                 34N a sequence: 34·128·32                               =     139,264
#   output Linear(2, D)     2·4,096·2·64                                            =   1,048,576
#                                                                                     139,386,880
# Around the layers: Embedding BND = 262,144; the last LayerNorm 1,310,720; and the head,
# 2·4,096·64·30,000 = 15,728,640,000.
# Backward: twice that, but LayerNorm and Embedding once, and BK-Core 26N a sequence, 106,496: a
# layer 1,310,720 + 2·136,888,320 + 106,496 + 2·1,048,576 = 277,291,008.
# Parameters: embedding and head 2·30,000·64, head's bias 30,000, positions 128·64; norms 5·128;
# a layer's gate 4·64, experts 4·(64·128 + 128 + 128·64 + 64), output 2·64 + 64.
LAYER, LAYER_BACKWARD = 139_386_880, 277_291_008
EMBEDDING, NORM, HEAD = 262_144, 1_310_720, 15_728_640_000
FORWARD, BACKWARD = 16_287_760_384, 32_568_016_896
PARAMETERS = 3_840_000 + 30_000 + 8_192 + 640 + 4 * (256 + 66_304 + 192)


def test_the_figures_by_hand_add_up():
    experts, output = 4_096 * 33_420, 1_048_576
    assert NORM + experts + 34 * 4_096 + output == LAYER
    assert NORM + 2 * experts + 26 * 4_096 + 2 * output == LAYER_BACKWARD
    assert EMBEDDING + 4 * LAYER + NORM + HEAD == FORWARD
    assert EMBEDDING + 4 * LAYER_BACKWARD + NORM + 2 * HEAD == BACKWARD
    assert PARAMETERS == 4_145_840


@pytest.fixture(scope="module")
def baseline():
    return ConfigurableResNetBK(BASELINE_CONFIG)


def test_the_example(baseline):
    counter = FLOPsCounter(baseline, batch_size=32, seq_len=128)
    assert counter.get_breakdown() == {}
    flops = counter.count_total_flops()
    assert flops == (FORWARD, BACKWARD, 15 * PARAMETERS, FORWARD + BACKWARD + 15 * PARAMETERS)
    assert [f"{n / 1e9:.1f}" for n in flops] == ["16.3", "32.6", "0.1", "48.9"]
    assert f"{flops.optimizer / 1e9:.2f}" == "0.06"
    forward = {part: of["forward"] for part, of in counter.get_breakdown().items()}
    layers = {f"layers.{i}": LAYER for i in range(4)}
    around = {"norm": NORM, "lm_head": HEAD, "(model itself)": 0}
    assert forward == {"embedding": EMBEDDING, **layers, **around}
    assert list(forward)[:2] == ["embedding", "layers.0"]
    # The positions are the model's own: 128·64 parameters, no row of the table.
    assert counter.get_breakdown()["(model itself)"] == {
        "forward": 0,
        "backward": 0,
        "optimizer": 15 * 8_192,
        "total": 15 * 8_192,
    }
    assert f"{100 * HEAD / FORWARD:.2f} {100 * 4 * LAYER / FORWARD:.2f}" == "96.57 3.42"


def test_a_breakdown_adds_up_and_has_what_was_counted(baseline):
    counter = FLOPsCounter(baseline, 2, 16)
    forward = counter.count_forward_flops()
    assert (forward.backward, forward.optimizer, forward.total) == (0, 0, forward.forward)
    breakdown = counter.get_breakdown()
    assert sum(of["forward"] for of in breakdown.values()) == forward.forward
    assert all(of["backward"] == of["optimizer"] == 0 for of in breakdown.values())
    total = counter.count_total_flops("sgd")
    for phase, flops in total._asdict().items():
        assert sum(of[phase] for of in counter.get_breakdown().values()) == flops
    assert total.optimizer == 2 * PARAMETERS


def test_sequences_grow_in_proportion():
    # All but the optimizer is per token: 48,855,777,280 FLOPs for 128. The model for N has 64
    # more parameters a position, 15 FLOPs each.
    for length, gflops in ((256, "97.8"), (512, "195.5"), (1024, "390.9"), (2048, "781.8")):
        model = ConfigurableResNetBK(replace(BASELINE_CONFIG, n_seq=length))
        flops = FLOPsCounter(model, 32, length).count_total_flops()
        per_token = (FORWARD + BACKWARD) * length // 128
        parameters = PARAMETERS + 64 * (length - 128)
        assert flops.total == per_token + 15 * parameters
        assert f"{flops.total / 1e9:.1f}" == gflops


def test_the_optimized_config(baseline):
    # The head as 64 -> 16 -> 30,000: 2·4,096·(64·16 + 16·30,000) = 3,940,548,608; two of the
    # layers are without experts, 139,386,880 - 136,888,320 = 2,498,560 each.
    head, light = 3_940_548_608, 2_498_560
    forward = EMBEDDING + NORM + head + 2 * LAYER + 2 * light
    assert forward == 4_225_892_352
    comparison = compare_models(
        baseline, ConfigurableResNetBK(FULL_CONFIG), 32, 128, model2_name="optimized"
    )
    assert comparison["model1"]["name"] == "Model 1"
    assert comparison["model2"]["name"] == "optimized"
    assert comparison["model2"]["forward"] == forward
    backward = 2 * forward - EMBEDDING - 5 * NORM - 4 * 42 * 4_096  # BK-Core: 68N less 26N
    assert comparison["model2"]["backward"] == backward
    assert comparison["speedup"]["forward"] == FORWARD / forward
    assert comparison["speedup"]["backward"] == BACKWARD / backward
    assert list(comparison["speedup"]) == ["forward", "backward", "optimizer", "total"]
    assert 3.8 < comparison["speedup"]["total"] < 3.9


def test_the_same_rules_count_real_training():
    # A step as it runs: of experts and BK-Core what their rules say, B = 2, N = 8, D = 4, E = 4.
    model = LanguageModel(vocab_size=11, d_model=4, n_layers=1, n_seq=8)
    ids = torch.randint(11, (2, 8))
    with FlopCounter(model) as counter:
        F.cross_entropy(model(ids).flatten(0, 1), ids.flatten()).backward()
    per_token = 2 * 4 * 4 + 3 * 4 + 8 * 4 * 4 + 2 * 4
    by_op = counter.by_op()
    assert by_op["resnet_bk.experts.default"] == 16 * per_token == 2_880
    assert by_op["resnet_bk.experts_backward.default"] == 2 * 16 * per_token
    assert by_op["resnet_bk.bk_core.default"] == 34 * 8 * 2
    assert by_op["resnet_bk.bk_core_backward.default"] == 26 * 8 * 2
    assert counter.uncounted == {}
    # Contractions alone: what is no product in them is left out.
    assert counter.under("matmul").by_op()["resnet_bk.experts.default"] == 16 * (32 + 128)
    assert count(model, ids).forward == count(model, ids, on="real").forward


# ---- the table, and what it has no row for ----


class Tiny(nn.Module):
    """Embedding(7, 4), LayerNorm, a head that shares the embedding's matrix."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(7, 4)
        self.norm = nn.LayerNorm(4)
        self.head = nn.Linear(4, 7)
        self.head.weight = self.embedding.weight

    def forward(self, ids):
        return self.head(self.norm(self.embedding(ids)).relu())


def test_the_rows_of_the_table_and_a_shared_matrix():
    # 6 tokens: Embedding 6·4, LayerNorm 5·24, Linear 2·6·4·7 without its bias; backward 24, 120
    # and twice 336. Parameters: 28, which two layers share, 8, and a bias of 7.
    counter = FLOPsCounter(Tiny(), 2, 3)
    assert counter.count_total_flops() == (480, 816, 645, 1941)
    assert counter.get_breakdown() == {
        "embedding": {"forward": 24, "backward": 24, "optimizer": 420, "total": 468},
        "norm": {"forward": 120, "backward": 120, "optimizer": 120, "total": 360},
        "head": {"forward": 336, "backward": 672, "optimizer": 105, "total": 1113},
    }
    assert counter.count_optimizer_flops("sgd").optimizer == 2 * 43
    assert counter.count_optimizer_flops("AdamW").optimizer == 15 * 43  # as torch.optim spells it


def test_what_is_frozen_takes_no_step():
    model = Tiny()
    model.norm.requires_grad_(False)
    assert FLOPsCounter(model, 2, 3).count_optimizer_flops().optimizer == 15 * 35
    model.requires_grad_(False)
    counter = FLOPsCounter(model, 2, 3)
    assert counter.count_forward_flops().forward == 480
    with pytest.raises(ValueError, match=r"no parameter of Tiny requires a gradient.*forward"):
        counter.count_backward_flops()


class Attention(nn.Module):
    """One head written with @, a table of positions that is no layer, BatchNorm."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(7, 4)
        self.qkv = nn.Linear(4, 12, bias=False)
        self.batch_norm = nn.BatchNorm1d(3)

    def forward(self, ids):
        q, k, v = self.qkv(self.embedding(ids)).split(4, -1)
        return self.batch_norm((q @ k.transpose(1, 2)).softmax(-1) @ v)


def test_contractions_outside_of_the_table_count_as_they_run(capsys):
    # 2 sequences of 3: scores 2·2·3·3·4 = 144 and their products with v as many; backward twice.
    counter = FLOPsCounter(Attention(), 2, 3)
    flops = counter.count_total_flops()
    linear, embedding = 2 * 6 * 4 * 12, 24
    assert (flops.forward, flops.backward) == (linear + embedding + 288, 600 + 1152)
    breakdown = counter.get_breakdown()
    assert breakdown["(model itself)"]["forward"] == 288
    assert breakdown["(model itself)"]["backward"] == 576
    assert breakdown["batch_norm"]["forward"] == 0
    counter.print_summary()
    printed = capsys.readouterr().out
    assert "counted as they run, 2 per multiply-accumulate: 864 FLOPs" in printed
    # What is left out is named: batch norm has no row, softmax is no contraction.
    (left_out,) = [line for line in printed.splitlines() if line.startswith("not in the table")]
    assert "Attention " in left_out and "BatchNorm1d " in left_out


class Adapted(nn.Linear):
    """A Linear whose forward does more than its row says."""

    def forward(self, x):
        return super().forward(x) @ torch.ones(5, 5)


def test_a_subclass_with_its_own_forward_counts_as_it_runs():
    # 6 rows: 2·6·4·5 and 2·6·5·5; backward of the first twice, of the second for its input only.
    model = nn.Sequential(nn.Embedding(7, 4), Adapted(4, 5))
    counter = FLOPsCounter(model, 2, 3)
    assert counter.count_forward_flops().forward == 24 + 240 + 300
    assert counter.count_backward_flops().backward == 24 + 480 + 300


class Ruled(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(4, 4, bias=False)

    def forward(self, x):
        return self.inner(x)


def test_a_class_with_a_rule_counts_by_it():
    # Forward by the rule alone; backward as it runs, 2·6·4·4 for each of two gradients.
    register_rule(Ruled, lambda module, args, kwargs, output: 1000)
    counter = FLOPsCounter(nn.Sequential(nn.Embedding(7, 4), Ruled()), 2, 3)
    assert counter.count_forward_flops().forward == 24 + 1000
    assert counter.count_backward_flops().backward == 24 + 2 * 192


def test_levels_of_the_breakdown():
    model = nn.Sequential(
        nn.Embedding(7, 4), nn.ModuleDict({"a": nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 3))})
    )
    model.forward = lambda ids: model[1]["a"](model[0](ids))
    shallow, deep = (FLOPsCounter(model, 2, 3, depth=depth) for depth in (1, 2))
    for counter in (shallow, deep):
        assert counter.count_forward_flops().forward == 24 + 2 * 6 * (16 + 12)
    assert list(shallow.get_breakdown()) == ["0", "1.a"]
    assert list(deep.get_breakdown()) == ["0", "1.a.0", "1.a.1"]


def test_a_model_without_parts():
    counter = FLOPsCounter(nn.Linear(4, 5), 2, 3, input_fn=lambda b, n: (b, n, 4))
    assert counter.count_forward_flops().forward == 2 * 6 * 4 * 5
    assert counter.count_backward_flops().backward == 2 * 240
    assert list(counter.get_breakdown()) == ["(model itself)"]


def test_inputs_of_all_kinds():
    # Conv2d(1, 2, 3) on 5x5: 2 images of 3·3·2 outputs, 9 products each.
    conv = FLOPsCounter(nn.Conv2d(1, 2, 3), 2, 5, input_fn=lambda b, n: torch.zeros(b, 1, n, n))
    assert conv.count_forward_flops().forward == 2 * 36 * 9
    bilinear = nn.Bilinear(3, 4, 5)
    pair = FLOPsCounter(bilinear, 2, 1, input_fn=lambda b, n: ((b, 3), (b, 4)))
    names = FLOPsCounter(
        bilinear, 2, 1, input_fn=lambda b, n: {"input1": (b, 3), "input2": torch.zeros(b, 4)}
    )
    assert pair.count_forward_flops() == names.count_forward_flops()
    assert pair.count_forward_flops().forward > 0


def test_a_model_that_reads_data_is_run_on_copies():
    class Reading(Tiny):
        def forward(self, ids):
            return super().forward(ids) if int(ids.sum()) == 0 else ids

    with pytest.warns(UserWarning, match="counted on real tensors") as caught:
        flops = FLOPsCounter(Reading(), 2, 3).count_forward_flops()
    assert flops.forward == 480
    assert "on='real' says" not in str(caught[0].message)


def test_nothing_about_the_model_changes(baseline):
    baseline.zero_grad()
    before = snapshot(baseline)
    counter = FLOPsCounter(baseline, 2, 16)
    counter.count_total_flops()
    counter.print_summary()
    assert changes(before, snapshot(baseline)) == []


# ---- comparison, summary, file ----


def test_a_phase_of_nothing_has_no_finite_ratio():
    frozen = Tiny().requires_grad_(False)
    frozen.head.bias.requires_grad_(True)
    comparison = compare_models(frozen, Tiny(), 2, 3, optimizer_name="sgd")
    assert comparison["speedup"]["optimizer"] == 7 / 43
    counted = FLOPsCounter(nn.Flatten(), 2, 3).count_forward_flops()
    assert counted.total == 0
    model = nn.Sequential(nn.BatchNorm1d(3))
    none = compare_models(
        nn.Sequential(nn.Linear(3, 3)), model, 2, 3, input_fn=lambda b, n: (b, n)
    )["speedup"]
    assert none["forward"] == math.inf
    both = compare_models(model, model, 2, 3, input_fn=lambda b, n: (b, n))["speedup"]
    assert math.isnan(both["forward"])


def test_the_summary_counts_what_is_missing_and_says_both_numbers(baseline, capsys):
    FLOPsCounter(baseline, 32, 128).print_summary()
    printed = capsys.readouterr().out
    first, *_ = printed.splitlines()
    assert first == "ConfigurableResNetBK · a training step of 32 × 128 · AdamW"
    (head,) = [line.split() for line in printed.splitlines() if line.startswith("lm_head")]
    # 1,950,000 parameters of the head, 15 each.
    numbers = "15,728,640,000 96.6 % 31,457,280,000 29,250,000 47,215,170,000"
    assert head[1:] == numbers.split()
    (forward,) = [line.split() for line in printed.splitlines() if line.startswith("forward ")]
    # Every operation beside it: the table has no biases of the head and of four outputs, no
    # additions of two residuals a layer and of the positions; LayerNorm is 7 an element there, not
    # 5, and looking up embeddings no work.
    every = (
        FORWARD
        + 4_096 * 30_000
        + 4 * 4_096 * 64
        + (4 * 2 + 1) * 4_096 * 64
        + 5 * 2 * 4_096 * 64
        - EMBEDDING
    )
    assert forward == ["forward", f"{FORWARD:,}", f"{every:,}", f"{FORWARD / every:.3f}"]
    rules = 4 * (3 * 136_888_320 + 60 * 4_096)
    assert f"counted by register_rule: {rules:,} FLOPs forward and backward" in printed
    assert "100.0 % counted, 0 unknown" in printed


def test_the_summary_names_operations_without_a_rule(capsys):
    library = torch.library.Library("flops_counter_test", "FRAGMENT")
    library.define("odd(Tensor x) -> Tensor")
    library.impl("odd", lambda x: x + 1, "CPU")
    library.impl("odd", lambda x: x.clone(), "Meta")

    class Odd(Tiny):
        def forward(self, ids):
            with torch.no_grad():
                offset = torch.ops.flops_counter_test.odd(self.norm.weight)
            return super().forward(ids) * offset.sum()

    FLOPsCounter(Odd(), 2, 3).print_summary()
    assert "not counted: flops_counter_test.odd.default on" in capsys.readouterr().out
    library._destroy()


def test_the_file_has_it_all(tmp_path, baseline):
    path = tmp_path / "flops.json"
    counter = FLOPsCounter(baseline, 32, 128)
    counter.save_to_json(path)
    data = json.loads(path.read_text())
    assert (data["format"], data["version"]) == ("flops_tracker.compat.flops_counter", 1)
    assert (data["model"], data["batch_size"], data["seq_len"]) == ("ConfigurableResNetBK", 32, 128)
    assert data["optimizer"] == "adamw"
    assert data["flops"] == counter.count_total_flops()._asdict()
    assert data["breakdown"] == counter.get_breakdown()
    assert data["counted_by_register_rule"]["resnet_bk.bk_core"] == 4 * 34 * 4_096
    assert data["not_in_the_table"].keys() == {"ResNetBKLayer", "ConfigurableResNetBK"}
    assert data["operations"]["flops"]["backward"] > BACKWARD
    assert data["operations"]["uncounted"] == {}
    counter.count_optimizer_flops("sgd")
    counter.save_to_json(str(path))
    assert json.loads(path.read_text())["flops"]["optimizer"] == 2 * PARAMETERS


def test_the_page_prints_what_it_says(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    page = (Path(__file__).resolve().parent.parent / "docs" / "FLOPS_COUNTER.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    names, printed = {}, []
    for number, block in enumerate(blocks):
        exec(compile(block, f"FLOPS_COUNTER.md, block {number}", "exec"), names)
        printed.append(capsys.readouterr().out)
    summary, operations, comparison, scaling, images = printed
    assert summary == re.search(r"It prints:\n\n```\n(.*?)```", page, re.DOTALL).group(1)
    assert operations.startswith("48,917,964,880 FLOPs, 33.3% of them forward")
    assert comparison.splitlines()[-1] == "total: 3.85×"
    assert scaling.splitlines() == [
        f"N={n} GFLOPs" for n in ("128: 48.9", "256: 97.8", "512: 195.5")
    ]
    assert images == f"{32 * 62 * 62 * 8 * 2 * 27}\n"  # 27 products for each of 62·62·8 outputs


# ---- what can be wrong ----


@pytest.mark.parametrize(
    ("sizes", "error", "words"),
    [
        ((0, 128), ValueError, "batch_size must be 1 or more, not 0"),
        ((32, -1), ValueError, "seq_len must be 1 or more, not -1"),
        ((32.0, 128), TypeError, r"batch_size must be an int, not 32\.0"),
        ((32, "128"), TypeError, "seq_len must be an int, not '128'"),
        ((True, 128), TypeError, "batch_size must be an int, not True"),
    ],
)
def test_bad_sizes(sizes, error, words):
    with pytest.raises(error, match=words):
        FLOPsCounter(Tiny(), *sizes)


def test_bad_arguments():
    with pytest.raises(TypeError, match=r"model must be a torch\.nn\.Module, not type"):
        FLOPsCounter(Tiny, 2, 3)
    with pytest.raises(TypeError, match="input_fn must be callable"):
        FLOPsCounter(Tiny(), 2, 3, input_fn=torch.zeros(2, 3))
    with pytest.raises(ValueError, match="input_example has 'ids'") as caught:
        FLOPsCounter(Tiny(), 2, 3, input_fn=lambda b, n: "ids")
    assert caught.value.__notes__ == ["input_example is what input_fn returned"]
    with pytest.raises(ValueError, match="depth must be 1 or more, not 0"):
        FLOPsCounter(Tiny(), 2, 3, depth=0)
    counter = FLOPsCounter(Tiny(), 2, 3)
    with pytest.raises(ValueError, match="optimizer_name must be 'adamw' or 'sgd', not 'adam'"):
        counter.count_total_flops("adam")
    with pytest.raises(TypeError, match="optimizer_name must be 'adamw' or 'sgd', not None"):
        counter.count_optimizer_flops(None)
    assert counter.get_breakdown() == {}


def test_a_model_that_takes_no_ids_says_what_to_do():
    counter = FLOPsCounter(nn.Conv2d(1, 2, 3), 2, 5)
    with pytest.raises(
        ValueError,
        match=r"Conv2d can't be called on token ids, an int64 tensor \(2, 5\).*pass input_fn=",
    ) as caught:
        counter.count_forward_flops()
    assert isinstance(caught.value.__cause__, RuntimeError)
    assert counter.get_breakdown() == {}
    # With input_fn, what the model raises is its own.
    counter = FLOPsCounter(nn.Linear(3, 3), 2, 5, input_fn=torch.zeros)
    with pytest.raises(RuntimeError, match="shapes"):
        counter.count_forward_flops()


def test_sequences_that_are_too_long_are_told(baseline):
    with pytest.raises(ValueError, match=r"sequences up to 128, not 129.*seq_len that it takes"):
        FLOPsCounter(baseline, 32, 129).count_forward_flops()


def test_warnings_that_are_errors_stay_what_they_are():
    class Growing(Tiny):
        def forward(self, ids):
            self.late = nn.Linear(4, 4)
            return super().forward(ids)

    with warnings.catch_warnings(), pytest.raises(UserWarning, match="layers of its own"):
        warnings.simplefilter("error")
        FLOPsCounter(Growing(), 2, 3).count_forward_flops()
