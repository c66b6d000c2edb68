"""compat.fvcore: FlopCountAnalysis and its tables, numbers in multiply-accumulates."""

import logging

import pytest
import torch
from model_snapshot import changes, snapshot
from torch import nn

from flops_tracker.compat.fvcore import FlopCountAnalysis, flop_count_str, flop_count_table


class Net(nn.Module):
    """A layer under two names, one that never runs, products, a norm."""

    def __init__(self):
        super().__init__()
        shared = nn.Linear(4, 4)
        self.a = nn.Sequential(shared)
        self.b = shared
        self.c = nn.Linear(4, 4, bias=False)
        self.u = nn.Linear(4, 4)
        self.norm = nn.BatchNorm1d(4)

    def forward(self, x):
        y = self.norm(self.c(self.b(self.a(x)))) + self.a[0](x)
        return y[None] @ x.t()[None]


def analysis(**options):
    return FlopCountAnalysis(Net(), torch.ones(2, 4), **options).uncalled_modules_warnings(False)


# Each Linear 2·4·4 = 32: three calls of the shared one, one of c. The product 2·4·2 = 16.
BY_MODULE = {"": 144, "a": 96, "a.0": 96, "c": 32, "u": 0, "norm": 0}


def test_totals():
    flops = analysis()
    assert (flops.total(), flops.total("c"), flops.total("a.0"), flops.total("b")) == (
        144,
        32,
        96,
        96,
    )
    assert flops.by_module() == BY_MODULE
    assert set(flops.by_module()) == set(BY_MODULE)
    assert flops.by_operator() == {"linear": 128, "matmul": 16}
    assert flops.by_operator("c") == {"linear": 32}
    assert flops.by_module_and_operator() == {
        "": {"linear": 128, "matmul": 16},
        "a": {"linear": 96},
        "a.0": {"linear": 96},
        "c": {"linear": 32},
        "u": {},
        "norm": {},
    }
    assert flops.unsupported_ops() == {}
    assert flops.uncalled_modules() == {"u"}
    assert flops.canonical_module_name("b") == "a.0"
    assert flops.counts.under("matmul").total == 288


def test_convolutions_and_several_inputs():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)

        def forward(self, x, scale):
            return self.conv(x) * scale

    # 36 places of 27·4 products
    flops = FlopCountAnalysis(Two(), (torch.ones(1, 3, 8, 8), torch.ones(())))
    assert flops.by_operator() == {"conv": 36 * 108}


def test_the_model_is_left_untouched():
    model = Net()
    before = snapshot(model)
    assert FlopCountAnalysis(model, torch.ones(2, 4)).total() == 144
    assert changes(before, snapshot(model)) == []


def test_what_is_missing_is_logged_once(caplog):
    library = torch.library.Library("flops_tracker_fvcore", "FRAGMENT")
    library.define("op(Tensor x) -> Tensor")
    library.impl("op", lambda x: x.clone(), "CompositeExplicitAutograd")

    class Unknown(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner, self.unused = nn.ReLU(), nn.ReLU()

        def forward(self, x):
            return self.inner(
                torch.ops.flops_tracker_fvcore.op(torch.ops.flops_tracker_fvcore.op(x))
            )

    flops = FlopCountAnalysis(Unknown(), torch.ones(3))
    with caplog.at_level(logging.WARNING):
        assert flops.total() == flops.total() == 0
    assert [record.getMessage() for record in caplog.records] == [
        "no rule for flops_tracker_fvcore::op, which was called 2 times",
        "never called: unused",
    ]
    assert flops.unsupported_ops() == {"flops_tracker_fvcore::op": 2}
    assert flops.unsupported_ops("inner") == {}
    caplog.clear()
    quiet = FlopCountAnalysis(Unknown(), torch.ones(3)).unsupported_ops_warnings(False)
    assert quiet.uncalled_modules_warnings(False).tracer_warnings("none").total() == 0
    assert caplog.records == []
    # A handle counts it: 3 elements, twice.
    quiet.set_op_handle("flops_tracker_fvcore::op", lambda i, o: o[0].type().sizes()[0])
    assert (quiet.total(), quiet.by_operator(), quiet.unsupported_ops()) == (6, {"op": 6}, {})
    library._destroy()


def test_handles():
    seen = []

    def elements(inputs, outputs):
        seen.append([v.type().sizes() for v in inputs if v.isCompleteTensor()])
        return {"add": outputs[0].type().sizes()[1] + 1}

    flops = analysis().set_op_handle("aten::add", elements)
    assert flops.by_operator() == {"linear": 128, "matmul": 16, "add": 5}
    assert flops.total() == 149
    assert seen[0] == [[2, 4], [2, 4]]
    flops.set_op_handle("aten::add", None, "aten::matmul", None)
    assert flops.by_operator() == {"linear": 128, "add": 0}
    assert flops.clear_op_handles().total() == 144
    flops.set_op_handle({"aten::linear": None}, **{"aten::batch_norm": lambda i, o: 40})
    assert flops.by_operator() == {"matmul": 16, "batch_norm": 40}


def test_a_handle_of_a_convolution_sees_what_it_saw_under_trace():
    seen = []

    def handle(inputs, outputs):
        x, w, _, stride, *_ = (v.toIValue() for v in inputs)
        assert len(inputs) == 13  # fvcore's own handle insists
        seen.append((tuple(x.shape), tuple(w.shape), stride, outputs[0].type().sizes()))
        return 1

    flops = FlopCountAnalysis(nn.Conv2d(3, 4, 3, stride=2), torch.ones(1, 3, 9, 9))
    assert flops.set_op_handle("aten::_convolution", handle).by_operator() == {"conv": 1}
    assert seen == [((1, 3, 9, 9), (4, 3, 3, 3), [2, 2], [1, 4, 4, 4])]


def test_tables():
    flops = FlopCountAnalysis(nn.Sequential(nn.Linear(4, 3), nn.ReLU()), torch.ones(2, 4))
    # 2·4·3
    assert flop_count_table(flops).splitlines() == [
        "| module   | #parameters or shape | #flops |",
        "| :------- | :------------------- | :----- |",
        "| model    | 15                   | 24     |",
        "| 0        | 15                   | 24     |",
        "| 0.weight | (3, 4)               |        |",
        "| 0.bias   | (3,)                 |        |",
        "| 1        | 0                    | 0      |",
    ]
    assert "weight" not in flop_count_table(flops, show_param_shapes=False)
    assert len(flop_count_table(flops, max_depth=0).splitlines()) == 3
    assert flop_count_str(flops).splitlines() == [
        "Sequential(",
        "  #params: 15, #flops: 24",
        "  (0): Linear(",
        "    in_features=4, out_features=3, bias=True",
        "    #params: 15, #flops: 24",
        "  )",
        "  (1): ReLU()",
        ")",
    ]
    assert "#params: 20, #flops: N/A" in flop_count_str(analysis())
    for print_it in (flop_count_table, flop_count_str):
        with pytest.raises(NotImplementedError, match="activations"):
            print_it(flops, activations=flops)


def test_what_is_wrong_is_said():
    flops = analysis()
    assert flops.ancestor_mode("owner") is flops
    with pytest.raises(NotImplementedError, match="which module called another"):
        flops.ancestor_mode("caller")
    with pytest.raises(ValueError, match="'parent'"):
        flops.ancestor_mode("parent")
    with pytest.raises(ValueError, match="'some'"):
        flops.tracer_warnings("some")
    with pytest.raises(KeyError, match="no module 'x'"):
        flops.total("x")
    with pytest.raises(ValueError, match="aten::linear is counted by what it is made of"):
        flops.set_op_handle("aten::linear", lambda i, o: 1)
    with pytest.raises(TypeError, match="a name and a function"):
        flops.set_op_handle("aten::add")
    with pytest.raises(ValueError, match="no operation 'aten::foo' in this PyTorch"):
        flops.set_op_handle("aten::foo", lambda i, o: 1)
    with pytest.raises(ValueError, match="such as 'aten::add', not 'add'"):
        flops.set_op_handle("add", None)
    with pytest.raises(TypeError, match="handle of 'aten::add' must be a function or None, not 3"):
        flops.set_op_handle("aten::mul", None, "aten::add", 3)
    for view in (flop_count_table, flop_count_str):
        with pytest.raises(TypeError, match=r"not Linear: pass FlopCountAnalysis\(model, inputs\)"):
            view(nn.Linear(2, 2))
    with pytest.raises(TypeError, match="not function"):
        FlopCountAnalysis(lambda x: x, torch.ones(1))
