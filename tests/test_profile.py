"""profile(): FLOPs, time and memory of each call, on copies; and the calls a counter records."""

import csv
import json

import pytest
import torch
from model_snapshot import changes, snapshot
from torch import nn

from flops_tracker import FlopCount, FlopCounter, Profile, profile, register_rule

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
    assert [s["args"] for s in slices if s["name"] == "aten.addmm.default"] == [
        {"module": "Sequential.0", "class": "matmul", "flops": FIRST},
        {"module": "Sequential.2", "class": "matmul", "flops": SECOND},
    ]
    assert slices[0]["ts"] == 0 and all(s["dur"] > 0 for s in slices)
    assert sum(event["ph"] == "C" for event in trace["traceEvents"]) == result.operations
    with pytest.raises(ValueError, match="time=True"):
        quick(mlp(), torch.randn(8, 5), time=False).to_trace(tmp_path / "none.json")


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
        ({"peak_flops": True}, TypeError, "peak_flops must be a number"),
        ({"ignore": [3]}, TypeError, "ignore takes names.*not 3"),
        ({"ignore": 5}, TypeError, "ignore takes names.*not 5"),
        ({"time": "no"}, TypeError, "time must be True or False, not 'no'"),
        ({"kwargs": [1]}, TypeError, r"kwargs must be a dict, not \[1\]"),
        ({"loss_fn": "ce", "backward": True}, TypeError, "loss_fn must be callable, not 'ce'"),
        ({"loss_fn": sum}, TypeError, "backward=True"),
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
