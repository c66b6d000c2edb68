"""profile(): FLOPs, time and memory of each call, on copies; and the calls a counter records."""

import csv
import json
import re

import pytest
import torch
from model_snapshot import changes, snapshot
from torch import nn

from flops_tracker import FlopCount, FlopCounter, Profile, _measure, count, profile, register_rule
from flops_tracker._measure import spread_of

# Linear(5,4), ReLU, Linear(4,3) on 8 rows, under `matmul`: forward 2·8·20 = 320 and 2·8·12 = 192.
# Backward: the same to the weights, and 192 to the first layer's output.
FIRST, SECOND = 320, 192
FORWARD, BACKWARD = FIRST + SECOND, FIRST + 2 * SECOND


def mlp():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 3))


def quick(model, *args, **options):
    return profile(model, *args, warm_up=0, steps=2, convention="matmul", **options)


def test_one_record_per_call_of_an_operation():
    result = quick(mlp(), torch.randn(8, 5), by="op")
    assert isinstance(result, Profile) and isinstance(result, FlopCount)
    products = [r for r in result.records if r.op == "aten.addmm.default"]
    assert [(r.module, r.phase, r.op_class, r.flops) for r in products] == [
        ("Sequential.0", "forward", "matmul", FIRST),
        ("Sequential.2", "forward", "matmul", SECOND),
    ]
    assert [r.share for r in products] == [FIRST / FORWARD, SECOND / FORWARD]
    assert len(result.records) == result.operations
    assert result.total == FORWARD
    assert all(r.time > 0 and r.memory_delta is None for r in result.records)
    assert result.time > 0 and result.memory is None


def test_one_record_per_module_with_what_is_inside():
    result = quick(mlp(), torch.randn(8, 5), backward=True)
    assert [(r.module, r.module_class, r.calls, r.flops) for r in result.records] == [
        ("Sequential", "Sequential", 1, FORWARD + BACKWARD),
        ("Sequential.0", "Linear", 1, 2 * FIRST),
        ("Sequential.1", "ReLU", 1, 0),
        ("Sequential.2", "Linear", 1, 3 * SECOND),
        ("", "", 0, 0),  # the sum that is differentiated: no contraction
    ]
    assert (result.forward, result.backward) == (FORWARD, BACKWARD)
    assert all(r.time > 0 for r in result.records)


def test_records_can_be_read_under_any_convention():
    # standard: 2 per multiply-accumulate and the bias, 8·4 and 8·3; ReLU is a comparison.
    result = quick(mlp(), torch.randn(8, 5), by="op")
    flops = [r.flops for r in result.under("standard").records if "addmm" in r.op]
    assert flops == [FIRST + 32, SECOND + 24]
    assert [r.flops for r in result.records if "addmm" in r.op] == [FIRST, SECOND]


def test_memory_is_that_of_the_live_tensors():
    # fp32: parameters (20 + 4 + 12 + 3)·4 = 156 bytes and the input 8·5·4 = 160. The first layer
    # makes 8·4·4 = 128 more; ReLU 128; then the first output is dropped; the last makes 96.
    with torch.no_grad():
        result = quick(mlp(), torch.randn(8, 5), by="op", memory=True, time=False)
    made = [(r.op.split(".")[1], r.memory_before, r.memory_after) for r in result.records]
    assert [row for row in made if row[0] in ("addmm", "relu")] == [
        ("addmm", 316, 444),
        ("relu", 444, 572),
        ("addmm", 444, 540),
    ]
    assert [r.memory_delta for r in result.records if "relu" in r.op] == [128]
    assert result.memory == 572
    assert result.time is None and all(r.time is None for r in result.records)


@pytest.mark.parametrize(
    ("entry", "module", "dropped"),
    [
        ("aten.addmm", "Sequential.2", FORWARD),
        ("aten.addmm.default", "Sequential.2", FORWARD),
        (nn.Linear, "Sequential.2", FORWARD),
        ("Linear", "Sequential.2", FORWARD),
        ("Sequential.0", "Sequential.0", FIRST),
        ("0", "Sequential.0", FIRST),
    ],
)
def test_ignore_drops_from_the_table_and_says_so(entry, module, dropped):
    result = quick(mlp(), torch.randn(8, 5), by="op", ignore=[entry], time=False)
    name = entry if isinstance(entry, str) else "Linear"
    assert [(i.entry, i.flops) for i in result.ignored] == [(name, dropped)]
    assert result.total == FORWARD
    assert sum(r.flops for r in result.records) == FORWARD - dropped
    assert not any(r.module == module and r.op == "aten.addmm.default" for r in result.records)
    ignored = f"ignored in the table: {name} ({result.ignored[0].calls} operations"
    assert f"{ignored}, {dropped} FLOPs)" in result.table()


def test_ignored_modules_are_no_rows():
    with pytest.warns(UserWarning, match="ignore has 'nothing', and no such") as caught:
        result = quick(mlp(), torch.randn(8, 5), ignore=[nn.Linear, "nothing"], time=False)
    assert len(caught) == 1
    assert [(r.module, r.flops) for r in result.records] == [("Sequential", 0), ("Sequential.1", 0)]
    assert [(i.entry, i.calls > 0) for i in result.ignored] == [
        ("Linear", True),
        ("nothing", False),
    ]


def test_rates():
    result = quick(mlp(), torch.randn(8, 5), backward=True, peak_flops=1e12)
    assert result.flops_per_second == (FORWARD + BACKWARD) / result.time
    assert result.mfu == pytest.approx(result.flops_per_second / 1e12)
    assert quick(mlp(), torch.randn(8, 5)).mfu is None
    assert quick(mlp(), torch.randn(8, 5), time=False).flops_per_second is None


def test_a_trace_for_chrome(tmp_path):
    result = quick(mlp(), torch.randn(8, 5), memory=True)
    result.to_trace(tmp_path / "trace.json")
    trace = json.loads((tmp_path / "trace.json").read_text())
    slices = [event for event in trace["traceEvents"] if event["ph"] == "X"]
    assert len(slices) == result.operations
    products = [s for s in slices if s["name"] == "aten.addmm.default"]
    rates = [s["args"].pop("flops_per_second") for s in products]
    assert rates == [
        pytest.approx(1e6 * flops / s["dur"])
        for flops, s in zip((FIRST, SECOND), products, strict=True)
    ]
    assert [s["args"] for s in products] == [
        {"module": "Sequential.0", "class": "matmul", "flops": FIRST},
        {"module": "Sequential.2", "class": "matmul", "flops": SECOND},
    ]
    assert slices[0]["ts"] == 0 and all(s["dur"] > 0 for s in slices)
    starts = [s["ts"] for s in slices]
    assert starts == sorted(starts) and {s["cat"] for s in slices} == {"forward"}
    assert trace["otherData"] == {"convention": "matmul", "total_flops": FORWARD}
    assert sum(event["ph"] == "C" for event in trace["traceEvents"]) == result.operations
    with pytest.raises(ValueError, match="time=True"):
        quick(mlp(), torch.randn(8, 5), time=False).to_trace(tmp_path / "none.json")


def test_a_trace_has_a_track_for_each_phase(tmp_path):
    result = quick(mlp(), torch.randn(8, 5), backward=True)
    result.to_trace(tmp_path / "trace.json")
    events = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    tracks = {e["tid"]: e["args"]["name"] for e in events if e["name"] == "thread_name"}
    slices = [e for e in events if e["ph"] == "X"]
    assert all(tracks[s["tid"]] == s["cat"] for s in slices)
    flops = dict.fromkeys(TRACKS, 0)
    for each in slices:
        flops[each["cat"]] += each["args"]["flops"]
    assert flops == {"forward": FORWARD, "backward": BACKWARD, "recompute": 0, "optimizer": 0}


TRACKS = ("forward", "backward", "recompute", "optimizer")


# ---- the model as a tree ----


class Nested(nn.Module):
    """A body that is called, with 24 parameters and 12; and a spare of 6 that is not."""

    def __init__(self):
        super().__init__()
        self.body = mlp()
        self.spare = nn.Linear(2, 2)

    def forward(self, x):
        return self.body(x)


def test_each_module_with_what_it_costs():
    result = profile(Nested(), torch.randn(8, 5), convention="matmul", time=False)
    # 24 and 15 of 45 parameters are 53.3 % and 33.3 %; 320 and 192 of 512 FLOPs 62.5 % and 37.5 %.
    assert result.tree().splitlines()[:10] == [
        "Nested(",
        "  45 params, 100.0 % · 512 FLOP, 100.0 %",
        "  (body): Sequential(",
        "    39 params, 86.7 % · 512 FLOP, 100.0 %",
        "    (0): Linear(24 params, 53.3 % · 320 FLOP, 62.5 % · "
        "in_features=5, out_features=4, bias=True)",
        "    (1): ReLU(0 params, 0.0 % · 0 FLOP, 0.0 %)",
        "    (2): Linear(15 params, 33.3 % · 192 FLOP, 37.5 % · "
        "in_features=4, out_features=3, bias=True)",
        "  )",
        "  (spare): Linear(6 params, 13.3 % · not called · "
        "in_features=2, out_features=2, bias=True)",
        ")",
    ]
    assert result.tree().endswith(str(result))
    assert result.tree(depth=1).splitlines()[2] == (
        "  (body): Sequential(39 params, 86.7 % · 512 FLOP, 100.0 %)"
    )
    assert result.tree(depth=0).splitlines()[0] == "Nested(45 params, 100.0 % · 512 FLOP, 100.0 %)"
    under_macs = result.under("macs").tree(top=1).splitlines()
    assert "256 MAC, 100.0 %" in under_macs[1]
    assert "most flops at depth 2: Linear 256 MAC" in under_macs


def test_a_tree_with_times_and_phases():
    result = quick(mlp(), torch.randn(8, 5), backward=True, memory=True)
    line = result.tree().splitlines()[4]
    assert line.startswith("  (2): Linear(15 params, 38.5 % · 576 FLOP, 47.4 % · ")  # of 1216
    assert re.search(
        r" · [\d.]+ ms \([\d.]+ to [\d.]+\), [\d.]+ % · [\d.]+ .?FLOP/s · forward 192 FLOP in ",
        line,
    )
    assert re.search(r" ms, backward 384 FLOP in [\d.]+ ms · \+96 bytes · in_features=4", line)
    assert result.tree().splitlines()[6].startswith("(outside of modules) 0 FLOP, 0.0 % · ")


def test_forward_and_backward_are_apart():
    result = quick(mlp(), torch.randn(8, 5), backward=True)
    assert [(r.module, r.params, r.forward, r.backward) for r in result.modules] == [
        ("Sequential", 39, FORWARD, BACKWARD),
        ("Sequential.0", 24, FIRST, FIRST),
        ("Sequential.1", 0, 0, 0),
        ("Sequential.2", 15, SECOND, 2 * SECOND),
        ("", 0, 0, 0),
    ]
    for record in result.modules:
        assert record.time == pytest.approx(record.forward_time + record.backward_time)
        assert record.flops_per_second == record.flops / record.time
    assert quick(mlp(), torch.randn(8, 5)).modules[0].backward_time == 0


def test_what_is_ignored_is_not_in_the_tree():
    result = quick(mlp(), torch.randn(8, 5), ignore=["0"], time=False)
    lines = result.tree().splitlines()
    assert lines[1] == "  39 params, 100.0 % · 192 FLOP, 37.5 %"
    assert lines[2].startswith("  (1): ReLU(") and lines[3].startswith("  (2): Linear(15")


def test_a_tree_of_a_function_with_modules():
    first, second = nn.Linear(5, 4), nn.Linear(4, 3)
    result = quick(lambda x: second(first(x)) @ torch.ones(3, 1), torch.ones(8, 5), time=False)
    lines = result.tree().splitlines()
    # 8·3 products outside; what no model was given for has no parameters to show.
    assert lines[:3] == [
        "Linear(320 FLOP, 57.1 %)",
        "Linear(192 FLOP, 34.3 %)",
        "(outside of modules) 48 FLOP, 8.6 %",
    ]


def test_the_largest_classes_of_modules():
    result = quick(Nested(), torch.randn(8, 5), memory=True)
    top = result.top_modules()
    assert top["flops"] == {"Linear": 512, "ReLU": 0}
    assert top["params"] == {"Linear": 39, "ReLU": 0}
    assert set(top) == {"flops", "params", "time", "memory"}
    assert list(result.top_modules(1, 0)["flops"]) == ["Nested"]
    assert result.top_modules(depth=1)["flops"] == {"Sequential": 512}
    assert set(quick(mlp(), torch.randn(8, 5), time=False).top_modules()) == {"flops", "params"}
    with pytest.raises(ValueError, match="depth must be -1 to 2, the innermost modules, not 3"):
        result.top_modules(depth=3)
    with pytest.raises(ValueError, match="top must be 1 or more, not 0"):
        result.top_modules(0)


def test_memory_of_a_module_is_what_its_forward_keeps():
    # 8·4·4 bytes each of the first layer and of ReLU, which backward needs, and 8·3·4 of the last.
    result = quick(mlp(), torch.randn(8, 5), backward=True, memory=True, time=False)
    deltas = {record.module: record.memory_delta for record in result.modules}
    assert deltas["Sequential.1"] == 128 and deltas["Sequential.2"] == 96


def test_depth_and_top_are_those_of_its_views():
    result = quick(Nested(), torch.randn(8, 5), time=False, depth=1, top=2)
    assert "(0): Linear" not in result.tree() and "(0): Linear" in result.tree(depth=2)
    assert "most flops at depth 1: Sequential 512 FLOP" in result.tree()
    assert "Nested.body.0" not in result.table() and "Nested.body.0" in result.table(depth=9)


# ---- times ----


def test_times_say_their_spread():
    result = quick(mlp(), torch.randn(8, 5))
    assert result.spread.steps == 2 and result.spread.lower <= result.spread.upper
    assert result.time == pytest.approx(result.spread.median)  # of two, both are the middle
    assert all(record.spread.steps == 2 for record in result.modules)
    assert "ms a step (median " in str(result) and ", 2 steps) · " in str(result)
    assert result.to_dict()["spread"]["steps"] == 2
    single = profile(mlp(), torch.randn(8, 5), warm_up=0, steps=1)
    assert single.spread == (single.time, single.time, single.time, 1)
    assert "median" not in str(single)
    assert quick(mlp(), torch.randn(8, 5), time=False).spread is None


@pytest.mark.parametrize(
    ("seconds", "spread"),
    [
        ([3.0], (3, 3, 3, 1)),
        ([1.0, 3.0], (2, 1.5, 2.5, 2)),
        ([5.0, 1.0, 2.0, 4.0, 3.0], (3, 2, 4, 5)),
    ],
)
def test_median_and_quartiles(seconds, spread):
    assert spread_of(seconds) == spread


def test_counting_takes_no_time(monkeypatch):
    def forbidden():
        raise AssertionError("a clock was read")

    monkeypatch.setattr(_measure.clock, "perf_counter", forbidden)
    model, x = mlp(), torch.randn(8, 5)
    counts = count(model, x, convention="matmul")
    assert counts.total == FORWARD and counts._calls is None
    with FlopCounter(model) as counter:
        model(x)
    assert counter.counts._calls is None and counter._call_count == 0
    assert profile(model, x, time=False).spread is None
    with pytest.raises(AssertionError, match="a clock was read"):
        profile(model, x)


def test_views(tmp_path):
    result = quick(mlp(), torch.randn(8, 5), by="op", memory=True)
    table = result.table(top=1)
    assert "aten.addmm.default" in table and "relu" not in table
    assert "bytes before" in table and "ms a step" in table and "bytes in use" in table
    assert "Sequential.0" not in quick(mlp(), torch.randn(8, 5)).table(depth=0)
    plain = result.to_dict()
    assert len(plain["records"]) == result.operations and plain["memory"] == result.memory
    json.loads(result.to_json())
    assert repr(result).startswith("<Profile 512 FLOP")
    assert "ms a step" in str(result)
    result.to_csv(tmp_path / "rows.csv")
    with open(tmp_path / "rows.csv", newline="") as file:
        assert sum(int(row["flops"]) for row in csv.DictReader(file)) == FORWARD


class Restless(nn.Module):
    """Changes everything a forward can change."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(5)
        self.linear = nn.Linear(5, 2)
        self.calls, self.kept = 0, []

    def forward(self, x, scale=1.0):
        self.calls += 1
        self.kept.append(x)
        return nn.functional.dropout(self.linear(self.norm(x))) * scale


@pytest.mark.parametrize("by", ["op", "module"])
def test_nothing_is_left_on_the_model(by):
    model, x = Restless(), torch.randn(8, 5, requires_grad=True)
    before = snapshot(model)
    result = quick(model, x, kwargs={"scale": 2.0}, backward=True, by=by, memory=True)
    assert result.total > 0 and result.params == 10 + 12
    assert changes(before, snapshot(model)) == []
    assert x.grad is None
    with pytest.raises(RuntimeError, match="6 elements not 5"):
        quick(model, torch.ones(8, 6))
    with pytest.raises(TypeError):
        quick(model, x, kwargs={"scale": []})
    assert changes(before, snapshot(model)) == []


def test_it_runs_as_often_as_it_says():
    runs = []

    def function(a):
        runs.append(1)
        return a @ a

    result = profile(function, torch.ones(3, 3), warm_up=4, steps=3)
    assert (result.total, len(runs)) == (2 * 27, 4 + 3 + 3)
    assert [(r.module, r.flops) for r in result.records] == [("", 54)]
    profile(function, torch.ones(3, 3), time=False)
    assert len(runs) == 11


def test_a_step_that_differs_each_time_is_that_of_the_last():
    sizes = iter([2, 3, 4, 5])

    def function(a):
        for _ in range(next(sizes)):
            a = a + 1
        return a

    with pytest.warns(UserWarning, match="steps differ in their operations: .* the 1 of 2 steps"):
        result = profile(function, torch.ones(7), by="op", warm_up=0, steps=2)
    assert [r.flops for r in result.records] == [7] * 5


def test_backward_of_every_step_is_the_same():
    # Gradients of the step before are gone: nothing is added to them.
    result = quick(mlp(), torch.randn(8, 5), by="op", backward=True)
    assert not any(r.op.startswith("aten.add_") for r in result.records)


def test_a_loss_of_ones_own():
    result = quick(mlp(), torch.randn(8, 5), backward=True, loss_fn=lambda y: y.mean())
    assert result.backward == BACKWARD


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"by": "layer"}, ValueError, "'module' or 'op', not 'layer'"),
        ({"steps": 0}, ValueError, "steps must be 1 or more"),
        ({"steps": 2.5}, TypeError, "steps must be an int, not 2.5"),
        ({"warm_up": -1}, ValueError, "warm_up must be 0 or more, not -1"),
        ({"warm_up": 1.5}, TypeError, "warm_up must be an int, not 1.5"),
        ({"peak_flops": 0}, ValueError, "above 0, not 0"),
        ({"peak_flops": "1T"}, TypeError, "peak_flops must be a number of FLOP/s.*not '1T'"),
        ({"peak_flops": 1, "convention": "flops_profiler"}, ValueError, "needs another convention"),
        ({"peak_flops": True}, TypeError, "peak_flops must be a number"),
        ({"ignore": [3]}, TypeError, "ignore takes names.*not 3"),
        ({"ignore": 5}, TypeError, "ignore takes names.*not 5"),
        ({"time": "no"}, TypeError, "time must be True or False, not 'no'"),
        ({"kwargs": [1]}, TypeError, r"kwargs must be a dict, not \[1\]"),
        ({"loss_fn": "ce", "backward": True}, TypeError, "loss_fn must be callable, not 'ce'"),
        ({"loss_fn": sum}, TypeError, "backward=True"),
        ({"depth": -1}, ValueError, "depth must be 0 or more, not -1"),
        ({"depth": "all"}, TypeError, "depth must be an int, not 'all'"),
        ({"top": 0}, ValueError, "top must be 1 or more, not 0"),
    ],
)
def test_options_that_make_no_sense(options, error, message):
    with pytest.raises(error, match=message):
        profile(mlp(), torch.randn(8, 5), **options)
    with pytest.raises(TypeError, match="not int"):
        profile(3)


# ---- the calls that a counter records ----


class Boxed(nn.Module):
    def forward(self, x):
        return x + x


def test_a_counter_records_calls_only_where_it_is_asked():
    counter = FlopCounter()
    with counter:
        torch.ones(3) + 1
    assert counter.counts._calls is None and counter._call_count == 0
    counter._record_calls(None)
    with counter:
        with pytest.raises(RuntimeError, match="outside"):
            counter._record_calls(None)
        torch.ones(3) + 1
    counts = counter.counts
    assert [call[:5] for call in counts._calls][-1] == (
        "aten.add.Tensor",
        "",
        "forward",
        "pointwise",
        3,
    )
    assert counts._calls_sum(range(counter._call_count)) == 3
    with counter:
        torch.ones(5) + 1
    assert counts._calls_sum(range(len(counts._calls))) == 3  # those of its time
    with pytest.raises(IndexError, match="no call 99"):
        counts._calls_sum([99])
    with pytest.raises(TypeError, match="sequence"):
        counts._calls_sum(3)
    counter.reset()
    assert counter.counts._calls == []


def test_the_rule_of_a_class_is_a_call_of_its_own():
    register_rule(Boxed, lambda module, args, kwargs, output: 100, override=True)
    counter = FlopCounter()
    counter._record_calls(None)
    with counter:
        Boxed()(torch.ones(4))
    made = [(op, module, flops) for op, module, _, _, flops, _, _ in counter.counts._calls]
    assert made[-1] == ("Boxed", "Boxed", 100)
    assert counter.total == sum(flops for *_, flops in made) == 100


def test_a_list_operation_is_one_call():
    # _foreach_add of tensors of 2 and 3 elements: 5 additions.
    counter = FlopCounter()
    counter._record_calls(None)
    tensors = [torch.ones(2), torch.ones(3)]
    with counter:
        torch._foreach_add(tensors, 1.0)
    assert [call[4] for call in counter.counts._calls] == [5]


class Failing:
    def before(self):
        raise KeyError("before")


def test_an_observer_that_raises_is_heard():
    counter = FlopCounter()
    counter._record_calls(Failing())
    with pytest.raises(KeyError, match="before"), counter:
        torch.ones(3)
    with pytest.raises(TypeError, match="subclass"):
        counter._counts_as(int)
