"""FlopCounter and torch.compile: counted is the eager work, and functions compile as without it."""

import pytest
import torch
import torch._dynamo
from counted_layers import LAYER, layers, rows, units
from torch import nn

from flops_tracker import FlopCounter


class Graphs:
    """A backend that counts the graphs it is given."""

    def __init__(self):
        self.count = 0

    def __call__(self, module, inputs):
        self.count += 1
        return module.forward


@pytest.mark.parametrize("fullgraph", [False, True])
def test_a_function_first_called_while_counting_compiles_once_afterwards(fullgraph):
    torch._dynamo.reset()
    graphs = Graphs()
    compiled = torch.compile(lambda x: x.mm(x), backend=graphs, fullgraph=fullgraph)
    x = torch.ones(3, 3)
    with FlopCounter() as c:
        compiled(x)
    assert (c.under("matmul").total, graphs.count) == (54, 0)  # 2*27; counted as eager
    for _ in range(3):
        compiled(x)
    assert graphs.count == 1


def test_a_function_compiled_before_keeps_its_graph():
    torch._dynamo.reset()
    graphs = Graphs()
    model = torch.compile(nn.Linear(3, 3), backend=graphs)
    x = torch.ones(3, 3)
    model(x)
    with FlopCounter() as c:
        model(x)
    model(x)
    assert (c.under("matmul").total, graphs.count) == (54, 1)


def test_the_stance_of_the_user_comes_back():
    torch._dynamo.reset()
    graphs = Graphs()
    compiled = torch.compile(lambda x: x + 1, backend=graphs)
    with torch.compiler.set_stance("force_eager"):
        with FlopCounter():
            pass
        compiled(torch.ones(2))
        assert graphs.count == 0
    compiled(torch.ones(2))
    assert graphs.count == 1


@pytest.mark.parametrize("before", [False, True])
def test_a_compiled_model_in_training(before):
    torch._dynamo.reset()
    graphs = Graphs()
    model, x = layers(2), rows()
    compiled = torch.compile(model, backend=graphs, fullgraph=True)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def step():
        optimizer.zero_grad()
        compiled(x).sum().backward()
        optimizer.step()

    if before:
        step()
    seen = graphs.count
    assert (seen > 0) == before
    with FlopCounter(compiled) as c:
        step()
    assert graphs.count == seen
    assert units(c) == (2, 3, 0, 0)
    assert c.under("standard").optimizer == 2 * 40
    modules = c.under("matmul").by_module()
    assert modules["OptimizedModule._orig_mod.0"].own == 2 * LAYER
    step()
    after = graphs.count
    assert after > 0
    step()
    assert graphs.count == after
