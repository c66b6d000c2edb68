"""compare(): ratios, exact differences and the modules that make them."""

import json

import pytest
import torch
from torch import nn

from flops_tracker import (
    FlopCount,
    FlopCounter,
    FlopsTracker,
    TorchAutoEstimator,
    _core,
    compare,
    count,
    profile,
    track_flops,
)
from flops_tracker.compat.torch import FlopCounterMode
from flops_tracker.compat.torch_flops import TorchFLOPsByFX


def net(width, layers=1):
    """On B rows: 2·B·4·w + B·w, per further layer 2·B·w·w + B·w, and at last 2·B·w·3 + 3·B."""
    hidden = [nn.Linear(width, width) for _ in range(layers - 1)]
    return nn.Sequential(nn.Linear(4, width), nn.Sequential(*hidden), nn.Linear(width, 3))


def counts_of(width, layers=1, rows=2, **options):
    return count(net(width, layers), torch.ones(rows, 4), **options)


@pytest.fixture
def two():
    # On 2 rows: width 8: 2·2·4·8 + 16 = 144, 2·2·8·3 + 6 = 102; 16 with a layer more: 288 and 198,
    # 2·2·16·16 + 32 = 1056.
    return compare(counts_of(8), counts_of(16, 2), names=["a", "b"])


def test_totals(two):
    assert two.total.flops == (144 + 102, 288 + 198 + 1056)
    assert two.total.differences == (0, 288 + 198 + 1056 - 144 - 102)
    assert two.total.ratios == (1.0, 1542 / 246)
    # Parameters: 4·8 + 8 + 8·3 + 3 and 4·16 + 16 + 16·16 + 16 + 16·3 + 3
    assert two.params.flops == (67, 403)
    assert [part.name for part in two.by_phase()] == ["forward"]


def test_modules_are_matched_by_path(two):
    parts = {part.name: part for part in two.by_module()}
    assert list(parts) == ["1.0", "0", "2"]  # the largest difference first
    assert parts["1.0"] == ("1.0", "Linear", (None, 1056), (None, None), (0, 1056))
    assert parts["0"] == ("0", "Linear", (144, 288), (1.0, 2.0), (0, 144))
    assert parts["2"].flops == (102, 198)
    assert sum(part.differences[1] for part in parts.values()) == two.total.differences[1]


def test_modules_with_what_is_inside(two):
    parts = {part.name: part for part in two.by_module(depth=1)}
    assert parts["1"].kind == "Sequential"
    assert parts["1"].flops == (None, 1056)
    [whole] = two.by_module(depth=0)
    assert (whole.name, whole.flops) == ("(the model itself)", two.total.flops)


def test_the_root_may_have_another_class():
    class Net(nn.Sequential):
        pass

    first, second = nn.Sequential(nn.Linear(4, 3)), Net(nn.Linear(4, 5))
    c = compare(count(first, torch.ones(2, 4)), count(second, torch.ones(2, 4)))
    assert c.names == ("Sequential", "Net")
    assert [(p.name, p.flops) for p in c.by_module()] == [("0", (54, 90))]


def test_a_module_of_another_class_is_said():
    x = torch.ones(2, 4)
    c = compare(count(nn.Sequential(nn.Linear(4, 4)), x), count(nn.Sequential(nn.GELU()), x))
    assert [part.kind for part in c.by_module()] == ["Linear / GELU"]


def test_classes_phases_and_less_than_before():
    # forward 2·2·4·3 + 6 = 54, and 5 to sum up the output; backward of the weights 48. The second
    # has no norm.
    first = nn.Sequential(nn.Linear(4, 3), nn.LayerNorm(3))
    c = compare(
        count(first, torch.ones(2, 4), backward=True),
        count(nn.Sequential(nn.Linear(4, 3)), torch.ones(2, 4), backward=True),
        names=("with", "without"),
    )
    phases = {part.name: part for part in c.by_phase()}
    assert list(phases) == ["forward", "backward"]
    assert phases["forward"].flops[1] == 54 + 5
    classes = {part.name: part for part in c.by_class()}
    assert classes["matmul"].flops == (54 + 48, 54 + 48)
    assert classes["norm"].flops[1] is None
    assert classes["norm"].differences[1] == -classes["norm"].flops[0] < 0
    assert "gone" in str(c) and "\nwithout is 0." in str(c)


def test_more_than_two():
    c = compare(counts_of(8), counts_of(16), counts_of(8), names=["a", "b", "c"])
    assert c.total.flops == (246, 486, 246)
    assert c.total.differences == (0, 240, 0)
    lines = [line.split() for line in str(c).splitlines()]
    assert lines[0] == ["a", "b", "c", "b", "ratio", "c", "ratio"]
    assert ["total", "246", "486", "246", "1.98", "×", "1.00", "×"] in lines
    assert "c does the same FLOPs as a" in str(c)


def test_what_is_printed(two):
    lines = [line.split() for line in str(two).splitlines()]
    assert ["total", "246", "1,542", "6.27", "×", "+1,296"] in lines
    assert ["parameters", "67", "403", "6.01", "×", "+336"] in lines
    assert ["1.0", "Linear", "-", "1,056", "new", "+1,056"] in lines
    assert ["0", "Linear", "144", "288", "2.00", "×", "+144"] in lines
    assert "b is 6.27 × a: +1,296 FLOPs" in str(two)
    assert repr(two) == "<Comparison with a: b 6.27 × · standard>"
    assert "largest difference first, 1 of 3" in two.table(top=1)
    assert two._repr_html_().count("<table>") == 3


def test_conventions_are_those_of_the_first():
    # matmul: without biases 2·2·4·8 = 128 and 96
    c = compare(counts_of(8, convention="matmul"), counts_of(8), names=["a", "b"])
    assert c.convention == "matmul"
    assert c.total.flops == (224, 224)
    assert "b was counted under standard, and is read under matmul here" in str(c)


def test_conventions_with_other_rules_are_refused(tmp_path):
    other = counts_of(8, convention="flops_profiler")
    with pytest.raises(ValueError, match="can't be read under 'standard', which has other rules"):
        compare(counts_of(8), other)
    assert compare(other, other).total.ratios == (1.0, 1.0)


def test_causal_attention_that_is_counted_otherwise_is_said():
    c = compare(counts_of(8), counts_of(8, causal="exact"), names=["a", "b"])
    assert "b: causal attention as its mask leaves it; in full elsewhere" in str(c)


def test_every_kind_of_result(tmp_path):
    model, x = net(8), torch.ones(2, 4)
    with FlopCounter(model) as counter:
        model(x)
    tracked = track_flops(print_level="none")(model.forward)
    with pytest.raises(TypeError, match="it has not run yet"):
        compare(counter, tracked)
    tracked(x)
    ft = FlopsTracker(model, run_name="mine")
    with ft.step(batch_size=2):
        model(x)
    with FlopCounterMode(display=False) as mode:
        model(x)
    fx = TorchFLOPsByFX(model)
    fx.propagate(x)
    count(model, x).to_json(tmp_path / "saved.json")
    measured = profile(model, x, steps=1, warm_up=0)
    results = [counter, counter.counts, measured, ft, tracked, mode, fx, tmp_path / "saved.json"]
    c = compare(*results)
    assert c.total.flops == (246,) * 8
    assert c.names[3:5] == ("mine", "forward")
    assert c.names[-1] == "saved"
    assert c.names[:2] == ("Sequential (1)", "Sequential (2)")


def test_plain_data(two, tmp_path):
    data = json.loads(two.to_json(tmp_path / "c.json"))
    assert data == json.loads((tmp_path / "c.json").read_text()) == two.to_dict()
    assert data["schema"] == "flops_tracker/compare/1"
    assert data["total"]["flops"] == [246, 1542]
    assert data["by_module"][0]["differences"] == [0, 1056]
    two.to_csv(tmp_path / "c.csv")
    rows = (tmp_path / "c.csv").read_text().splitlines()
    assert rows[0] == "by,name,kind,a,b,b ratio,b difference"
    assert "module,1.0,Linear,,1056,,1056" in rows


def test_markdown(two, tmp_path):
    text = two.to_markdown(tmp_path / "c.md")
    assert text == (tmp_path / "c.md").read_text()
    assert "| `1.0` | Linear | - | 1,056 | new | +1,056 |" in text
    assert "| module | class | a | b | ratio | difference |\n| --- | --- | ---: | ---: |" in text


def test_data_frame_is_exact():
    pytest.importorskip("pandas")
    large, larger = counts_of(8).to_dict(), counts_of(8).to_dict()
    for data, extra in ((large, 0), (larger, 1)):
        row = next(row for row in data["rows"] if row["flops"] == 144)
        row["mac"] = 2**100 + extra
        data["total"] = 2 * (2**100 + extra) + 16 + 102
    c = compare(*map(FlopCount.from_dict, (large, larger)), names=["a", "b"])
    frame = c.to_pandas().set_index(["by", "name"])
    assert frame.loc[("", "total"), "a"] == 2**101 + 118
    assert frame.loc[("", "total"), "b difference"] == 2 == c.total.differences[1]
    assert frame["b ratio"].dtype == float


def test_without_modules():
    with FlopCounter() as first:
        torch.ones(5).neg()
    with FlopCounter() as second:
        torch.ones(7).neg()
    c = compare(first, second)
    assert c.names == ("count (1)", "count (2)")
    assert "module" not in str(c)
    assert [(p.name, p.flops) for p in c.by_module()] == [("(outside of modules)", (5, 7))]


def test_nothing_to_compare_with():
    with FlopCounter() as nothing:
        pass
    c = compare(nothing, counts_of(8), names=["a", "b"])
    assert c.total == ("total", "", (0, 246), (None, None), (0, 246))
    assert "b does 246 FLOPs, and a none" in str(c)


@pytest.mark.parametrize(
    ("results", "names", "error", "words"),
    [
        ((), None, ValueError, "two results or more, not 0"),
        ((1,), None, ValueError, "two results or more, not 1"),
        ((1, 2), None, TypeError, "a result is a FlopCount, .* not 1"),
        ((None, None), "ab", ValueError, "one for each of 2 results, not 'ab'"),
        ((None, None), ["a"], ValueError, "one for each of 2 results"),
        ((None, None), ["a", "a"], ValueError, "names must differ"),
    ],
)
def test_wrong_arguments(results, names, error, words):
    given = [counts_of(8) if result is None else result for result in results]
    with pytest.raises(error, match=words):
        compare(*given, names=names)


def test_files_and_trackers_that_have_no_counts(tmp_path):
    with pytest.raises(FileNotFoundError):
        compare(counts_of(8), tmp_path / "none.json")
    (tmp_path / "other.json").write_text("[1]")
    with pytest.raises(ValueError, match=r"other.json': this is no FlopCount"):
        compare(counts_of(8), tmp_path / "other.json")
    ft = FlopsTracker(TorchAutoEstimator(nn.Linear(4, 3), (1, 4)))
    with pytest.raises(TypeError, match="make FlopsTracker"):
        compare(counts_of(8), ft)


@pytest.mark.parametrize(
    ("count", "other"), [(5, 3), (3, 5), (0, 0), (2**127, 1), (1, 2**127), (0, 2**128 - 2)]
)
def test_differences_are_exact(count, other):
    assert _core._count_difference(count, other) == count - other


@pytest.mark.parametrize("pair", [(-1, 0), (0, 2**128), (1.0, 1), (True, 1), (1,)])
def test_differences_of_what_is_no_count(pair):
    with pytest.raises((TypeError, ValueError, OverflowError)):
        _core._count_difference(*pair)


def test_large_counts_stay_exact_in_a_data_frame(tmp_path):
    """Where one result has no such part, the column must not become one of floats."""
    pytest.importorskip("pandas")
    large = 2**60 + 1
    data = count(nn.Linear(4, 3, bias=False), torch.zeros(1, 4), convention="macs").to_dict()
    [row] = [row for row in data["rows"] if row["flops"]]
    row["mac"] = data["total"] = large
    c = compare(FlopCount.from_dict(data), count(nn.ReLU(), torch.zeros(5)), names=["a", "b"])
    frame = c.to_pandas().set_index(["by", "name"])
    assert frame.loc[("class", "matmul"), "a"] == large
    assert frame.loc[("", "total"), "a"] == large
    assert frame.loc[("class", "matmul"), "b difference"] == -large


def test_a_run_of_layers_has_nothing_to_compare():
    ft = FlopsTracker(TorchAutoEstimator(nn.Linear(2, 2), (1, 2)))
    with pytest.raises(TypeError, match=r"estimator of layers.*make FlopsTracker\(model\)"):
        compare(ft, ft)
