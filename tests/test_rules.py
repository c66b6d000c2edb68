"""The tables that people can read: rules(), formulas.listing(), conventions(), format_flops()."""

import importlib

import numpy as np
import pytest
import torch

from flops_tracker import Convention, Rule, conventions, format_flops, formulas, rules

# ---- rules and formulas ----


def test_a_rule_says_which_formula_counts_a_layer():
    (rule,) = rules("torch.nn.modules.linear.Linear")
    assert isinstance(rule, Rule)
    assert (rule.name, rule.formula, rule.op_class) == (
        "torch.nn.modules.linear.Linear",
        "linear",
        "matmul",
    )
    assert "mac = P*in*out" in rule.equation
    assert any("2*64*64" in text or "20*64*64" in text for text in rule.examples)


def test_records_print_a_line_each():
    lines = str(rules("aten._convolution")).splitlines()
    assert len(lines) == len(rules("aten._convolution")) > 0
    assert lines[0].startswith("aten._convolution: convolution, mac = ")
    assert len(str(formulas.listing()).splitlines()) == len(formulas.listing())
    assert "exact: k multiplications" in str(conventions())
    assert "  contractions: mac 2, dot -1, bias 1" in str(conventions())


def test_rules_without_a_pattern_are_all_of_them():
    everything = rules()
    assert rules(None) == everything
    assert rules("") == everything
    assert rules(pattern=None) == everything
    assert len(everything) > 50


@pytest.mark.parametrize("pattern", ["Linear", "conv.Conv", "norm_table", "recurrent", "."])
def test_a_pattern_keeps_what_has_it_in_its_name_or_formula(pattern):
    wanted = [rule for rule in rules() if pattern in rule.name or pattern in rule.formula]
    assert wanted != []
    assert rules(pattern) == wanted


@pytest.mark.parametrize("pattern", ["no such layer", "linear.linear.", "LINEAR"])
def test_a_pattern_that_nothing_has(pattern):
    assert rules(pattern) == []


@pytest.mark.parametrize("arguments", [(5,), (b"Linear",), ("Linear", "Conv")])
def test_a_pattern_is_a_string(arguments):
    with pytest.raises(TypeError):
        rules(*arguments)


@pytest.mark.parametrize(
    "layer",
    [
        "linear.Linear",
        "linear.Bilinear",
        *(f"conv.Conv{t}{d}d" for t in ("", "Transpose") for d in (1, 2, 3)),
        *(f"rnn.{name}{cell}" for name in ("RNN", "GRU", "LSTM") for cell in ("", "Cell")),
        "activation.MultiheadAttention",
        *(f"pooling.{a}AvgPool{d}d" for a in ("", "Adaptive") for d in (1, 2, 3)),
        "pooling._MaxPoolNd",
        "pooling._AdaptiveMaxPoolNd",
        "batchnorm._NormBase",
        "normalization.LayerNorm",
        "normalization.GroupNorm",
        "upsampling.Upsample",
        "sparse.Embedding",
        "dropout._DropoutNd",
        "channelshuffle.ChannelShuffle",
    ],
)
def test_every_row_of_the_layer_table_has_a_rule(layer):
    assert f"torch.nn.modules.{layer}" in {rule.name for rule in rules()}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(
    "name", sorted({rule.name for rule in rules() if rule.name.startswith("torch.")})
)
def test_a_rule_names_a_class_that_there_is(name):
    module, _, class_name = name.rpartition(".")
    assert isinstance(getattr(importlib.import_module(module), class_name), type)


def overloads(name):
    """Of the operation itself, in place, and on lists."""
    namespace, _, operation = name.partition(".")
    operation, _, overload = operation.partition(".")
    for spelling in (operation, operation + "_", "_foreach_" + operation):
        packet = getattr(getattr(torch.ops, namespace), spelling, None)
        if namespace == "higher_order" and packet is not None:
            yield packet
        elif packet is not None:
            yield from (each for each in packet.overloads() if overload in ("", each))


# Tests run with 2.13; some operations went before it, or came after it.
OF_OTHER_VERSIONS = {
    "2.13": {"aten.cholesky"},
    "2.15": {
        "aten._cudnn_attention_forward_no_dropout_inplace",
        "aten._philox_randint",
        "aten._scaled_addmm",
        "aten.linalg_matrix_sqrth",
        "aten.linalg_polar",
        "aten.shallow_copy_data",
        "fsdp.chunk_cat_mixed_dtype",
    },
}


def test_every_other_rule_names_an_operation_that_there_is():
    late = ("nn.modules.linear_cross_entropy", "nn.attention.varlen")
    for name in (*late, "distributed.tensor", "distributed.fsdp"):
        importlib.import_module(f"torch.{name}")  # registers some
    names = {
        rule.name.removeprefix("flops_profiler/")
        for rule in rules()
        if not rule.name.startswith("torch.")
    }
    assert len(names) > 600
    missing = {name for name in names if not any(overloads(name))}
    assert missing <= set().union(*OF_OTHER_VERSIONS.values())


def test_every_formula_is_complete_and_named_once():
    names = [formula.name for formula in formulas.listing()]
    assert len(set(names)) == len(names)
    for formula in formulas.listing():
        assert formula.name == formula.formula
        assert formula.equation
        assert formula.source
        assert formula.op_class
        assert all(formula.examples)
        assert formula.examples


def test_every_rule_is_of_a_formula_that_there_is():
    known = {formula.name: formula for formula in formulas.listing()}
    for rule in rules():
        formula = known[rule.formula]
        assert (rule.equation, rule.source) == (formula.equation, formula.source)


# ---- conventions ----


def read(convention, **cost):
    """FLOPs of a Linear(5, 4) on one row, and then of what is added to its 4 outputs."""
    linear = {"mac": 20, "dot": 4, "bias": 4}
    flops = sum(n * convention.contractions[kind] for kind, n in linear.items())
    return flops, flops + sum(n * convention.others[kind] for kind, n in cost.items())


@pytest.mark.parametrize(
    ("name", "linear", "and_one_addition_each"),
    [
        # 20 multiply-adds, 4 dot products, 4 biases; then 4 additions
        ("standard", 44, 48),  # 2·20 + 4
        ("exact", 40, 44),  # 20 multiplications, 16 + 4 additions
        ("matmul", 40, 40),
        ("macs", 20, 20),
        ("layerwise", 40, 44),
        ("flops_profiler", 24, 24),  # 20 + 4 biases, where its rows have some
    ],
)
def test_conventions_read_a_cost(name, linear, and_one_addition_each):
    convention = {c.name: c for c in conventions()}[name]
    assert isinstance(convention, Convention)
    assert read(convention, arith=4) == (linear, and_one_addition_each)
    assert convention.text


def test_what_conventions_make_of_comparisons_and_special_functions():
    weights = {c.name: (c.others["compare"], c.others["special"]) for c in conventions()}
    assert weights == {
        "standard": (0, 1),
        "exact": (1, 1),
        "matmul": (0, 0),
        "macs": (0, 0),
        "layerwise": (0, 0),
        "flops_profiler": (0, 0),
    }


def test_the_tables_are_copies():
    conventions()[0].contractions["mac"] = 99
    rules().clear()
    formulas.listing().clear()
    assert conventions()[0].contractions["mac"] == 2
    assert rules() != []
    assert formulas.listing() != []


# ---- format_flops ----


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 FLOP"),
        (7, "7 FLOP"),
        (999, "999 FLOP"),
        (1000, "1.00 kFLOP"),
        (1004, "1.00 kFLOP"),
        (1005, "1.01 kFLOP"),  # half up
        (12_345, "12.3 kFLOP"),
        (123_456, "123 kFLOP"),
        (999_499, "999 kFLOP"),
        (999_500, "1.00 MFLOP"),
        (9_999_999, "10.0 MFLOP"),
        (8_178_368_512, "8.18 GFLOP"),
        (2 * 10**12, "2.00 TFLOP"),
        (3 * 10**15, "3.00 PFLOP"),
        (33 * 10**18 // 10, "3.30 EFLOP"),
        (10**21, "1.00 ZFLOP"),
        (33 * 10**24, "33.0 YFLOP"),
        (4 * 10**27, "4.00 RFLOP"),
        (5 * 10**30, "5.00 QFLOP"),
        (12_345 * 10**30, "12,345 QFLOP"),
        # 2^127 = 170,141,183.46...·10^30
        (2**127, "170,141,183 QFLOP"),
        (np.int64(1500), "1.50 kFLOP"),
    ],
)
def test_format_flops(count, text):
    assert format_flops(count) == text


@pytest.mark.parametrize(
    ("count", "error"),
    [
        (-1, ValueError),
        (1.0, TypeError),
        ("1", TypeError),
        (True, TypeError),
        (None, TypeError),
        (2**128 - 1, OverflowError),  # stands for overflow in the core
        (2**128, OverflowError),
    ],
)
def test_format_flops_takes_a_natural_number(count, error):
    with pytest.raises(error, match="count"):
        format_flops(count)
