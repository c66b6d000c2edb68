"""TorchFLOPsByFX: the words of torch_flops, with counts of every operation, on a CPU."""

import csv

import pytest
import torch
from model_snapshot import changes, snapshot
from torch import nn

from flops_tracker.compat.torch_flops import TorchFLOPsByFX

COLUMNS = [
    "node_name",
    "node_op",
    "op_target",
    "nn_module_stack[-1]",
    "flops",
    "time(ms)",
    "mem_before_op(B)",
    "mem_after_op(B)",
    "mem_delta(B)",
]
# Linear(5,4) on one row: 4 dot products of 5 products and 4 sums, and 4 bias additions.
LINEAR = 4 * 9 + 4


class Simple(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(5, 4)

    def forward(self, x):
        x = self.layer(x)
        x += 1.0
        return x


class Outer(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = Simple()
        self.norm = nn.BatchNorm1d(4)
        self.drop = nn.Dropout()

    def forward(self, x, bias=None):
        return (self.drop(self.norm(self.inner(x))) @ torch.ones(4, 2)).relu()


class Branching(Simple):
    def forward(self, x):
        return self.layer(x + 1) if x.sum() > 0 else x


def rows_of(counter):
    return [(row[0], row[1], row[3], row[4]) for row in counter.print_result_table(show=False)]


def test_the_nodes_of_the_graph(capsys):
    counter = TorchFLOPsByFX(Simple())
    counter.graph_model.graph.print_tabular()
    printed = capsys.readouterr().out
    assert printed.split()[:3] == ["opcode", "name", "target"] and "call_module" in printed
    assert counter.propagate(torch.randn(1, 5)) is None
    # One addition per element of (1, 4).
    assert rows_of(counter) == [
        ("x", "placeholder", "", 0),
        ("layer", "call_module", "Linear", LINEAR),
        ("add", "call_function", "", 4),
        ("output", "output", "", 0),
    ]
    counter.print_result_table()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == COLUMNS
    assert lines[2].split()[:5] == ["layer", "call_module", "layer", "Linear", "40"]
    assert counter.print_total_flops(show=True) == LINEAR + 4
    assert capsys.readouterr().out == "total_flops = 44\n"
    assert counter.print_total_flops(show=False) == 44
    assert counter.print_total_time() > 0
    # Parameters 24·4, the input 5·4, the layer's output 4·4; in the graph `x += 1.` is an `add`
    # with a result of its own, 4·4.
    assert counter.print_max_memory() == 96 + 20 + 16 + 16
    out = capsys.readouterr().out.splitlines()
    assert out[0].startswith("total_time = ") and out[0].endswith(" ms")
    assert out[1] == "max_memory = 148 Bytes"


def test_memory_of_each_node():
    counter = TorchFLOPsByFX(Simple())
    counter.propagate(torch.randn(1, 5))
    rows = counter.print_result_table(show=False)
    assert [row[6:] for row in rows[1:3]] == [[116, 132, 16], [132, 148, 16]]
    counter = TorchFLOPsByFX(Simple(), mem_func_name="max_memory_allocated")
    counter.propagate(torch.randn(1, 5))
    assert [row[7] for row in counter.print_result_table(show=False)[1:]] == [132, 148, 148]


def test_modules_in_modules_and_eval_mode():
    # On 2 rows: two Linear, 8 additions; the product (2,4)·(4,2) 4 dots of 7; ReLU 4 comparisons.
    # BatchNorm in eval mode and dropout have their own nodes.
    counter = TorchFLOPsByFX(Outer())
    counter.propagate(torch.randn(2, 5))
    rows = {row[0]: row[1:] for row in rows_of(counter)}
    assert rows["inner_layer"] == ("call_module", "Linear", 2 * LINEAR)
    assert rows["add"] == ("call_function", "Simple", 8)
    assert rows["matmul"] == ("call_function", "", 28)
    assert rows["relu"] == ("call_method", "", 4)
    assert rows["drop"] == ("call_module", "Dropout", 0)
    assert counter.print_total_flops(show=False) == sum(row[2] for row in rows.values())


@pytest.mark.parametrize(
    ("ignore", "total"),
    [
        (["Linear"], 4),
        ([nn.Linear], 4),
        (["layer"], 4),
        (["aten.addmm"], 4),
        (["add"], LINEAR),
        ("add", LINEAR),
        ([], LINEAR + 4),
    ],
)
def test_ignored_operations(ignore, total):
    counter = TorchFLOPsByFX(Simple(), ignore_ops=ignore)
    counter.propagate(torch.randn(1, 5))
    assert counter.print_total_flops(show=False) == total
    if ignore == ["Linear"]:
        assert rows_of(counter)[1] == ("layer", "call_module", "Linear", "ignored")


def test_a_model_without_a_graph_has_a_row_per_operation(capsys):
    with pytest.warns(UserWarning, match="can't trace Branching") as warned:
        counter = TorchFLOPsByFX(Branching())
        counter.graph_model.graph.print_tabular()
        assert "no graph" in capsys.readouterr().out
        counter.propagate(torch.ones(1, 5))
        counter.propagate(torch.ones(1, 5))
    assert len(warned) == 1
    rows = {row[2]: row for row in counter.print_result_table(show=False)}
    # 5 additions; the sum of 5 has 4; a comparison gives a boolean, no number; the layer as ever.
    assert rows["aten.addmm.default"][:5] == [
        "addmm",
        "call_function",
        "aten.addmm.default",
        "Linear",
        LINEAR,
    ]
    assert rows["aten.add.Tensor"][3:5] == ["Branching", 5]
    assert rows["aten.sum.default"][4] == 4
    assert counter.print_total_flops(show=False) == LINEAR + 5 + 4
    counter.graph_model.graph.print_tabular()
    assert "aten.addmm.default" in capsys.readouterr().out


def test_operations_without_a_graph_can_be_ignored():
    with pytest.warns(UserWarning, match="can't trace"):
        counter = TorchFLOPsByFX(Branching(), ignore_ops=["layer", "aten.sum", "gt"])
    counter.propagate(torch.ones(1, 5))
    assert counter.print_total_flops(show=False) == 5


class Optional(Simple):
    def forward(self, x, bias=None):
        return self.layer(x) if bias is None else self.layer(x) + bias


def test_a_graph_that_took_another_branch_is_not_believed():
    # A proxy is not None, so the graph adds a bias; the model, called without one, does not.
    counter = TorchFLOPsByFX(Optional())
    with pytest.warns(UserWarning, match="row per operation"):
        counter.propagate(torch.ones(1, 5))
    assert counter.print_total_flops(show=False) == LINEAR
    counter = TorchFLOPsByFX(Optional())
    counter.propagate(torch.ones(1, 5), bias=torch.ones(4))
    assert counter.print_total_flops(show=False) == LINEAR + 4


def test_csv(tmp_path):
    counter = TorchFLOPsByFX(Simple())
    counter.propagate(torch.randn(1, 5))
    path = tmp_path / "result.csv"
    counter.save_result_to_csv(path)
    counter.save_result_to_csv(str(path), mode="a")
    with open(path, newline="") as file:
        lines = list(csv.reader(file))
    assert lines[0] == COLUMNS
    assert [line[4] for line in lines[1:]] == ["0", "40", "4", "0"] * 2
    assert lines[2][:4] == ["layer", "call_module", "layer", "Linear"]
    assert lines[2][6:] == ["116", "132", "16"]  # as in test_memory_of_each_node
    counter.save_result_to_csv(path, mode="w")
    assert len(path.read_text().splitlines()) == 5
    with pytest.raises(ValueError, match="not 'r'"):
        counter.save_result_to_csv(path, mode="r")


def test_nothing_is_left_on_the_model():
    model, x = Outer(), torch.randn(2, 5)
    before = snapshot(model)
    counter = TorchFLOPsByFX(model)
    counter.propagate(x)
    assert model.training and changes(before, snapshot(model)) == []
    with pytest.raises(TypeError, match="required positional argument"):
        counter.propagate()
    assert changes(before, snapshot(model)) == []


def test_misuse():
    with pytest.raises(TypeError, match="not function"):
        TorchFLOPsByFX(lambda x: x)
    with pytest.raises(TypeError, match=r"ignore_ops takes names of operations.*not 5"):
        TorchFLOPsByFX(Simple(), ignore_ops=5)
    with pytest.raises(ValueError, match="not 'memory'"):
        TorchFLOPsByFX(Simple(), mem_func_name="memory")
    with pytest.raises(RuntimeError, match="propagate"):
        TorchFLOPsByFX(Simple()).print_total_flops()
