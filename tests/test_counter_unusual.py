"""FlopCounter around what few programs do: operators with functions, odd tensors, late rules."""

import sys
import threading
import weakref

import pytest
import torch
import torch._dynamo  # a counter keeps it quiet from its first block on
from counted_layers import MM, mm_total, run_apart
from torch import nn
from torch.fx.experimental.proxy_tensor import make_fx
from torch.nn.attention.flex_attention import create_block_mask, flex_attention
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map
from torch.utils.checkpoint import checkpoint

from flops_tracker import FlopCounter, register_rule

# ---- operations that have a kernel and parts ----


@pytest.mark.parametrize(
    ("name", "arguments", "flops"),
    [
        # x*sigmoid(x): 1 + x*(1 - s) is 3 steps, times s and the gradient 2; sigmoid 1; 15 values
        ("silu_backward", lambda x: (x, x), 15 * 6),
        ("mish_backward", lambda x: (x, x), 15 * 10),
        ("native_channel_shuffle", lambda x: (x.reshape(1, 3, 5, 1)[:, :2], 2), 0),
    ],
)
def test_counting_changes_no_bit(name, arguments, flops):
    operation = getattr(torch.ops.aten, name)
    x = torch.linspace(-3, 3, 15).reshape(3, 5)
    with torch.inference_mode():
        bare = operation(*arguments(x))
        with FlopCounter(strict=True) as c:
            counted = operation(*arguments(x))
    assert torch.equal(bare, counted)
    assert c.under("exact").total == flops


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_strided_nested_tensors():
    """7 rows through Linear(4,4): 7*16 multiplications forward, and twice that backward."""
    rows = [torch.ones(2, 4), torch.ones(5, 4)]
    layer = nn.Linear(4, 4, bias=False)
    nested = torch.nested.nested_tensor(rows, requires_grad=True)
    with FlopCounter(layer, strict=True) as c:
        out = layer(nested)
        torch.nested.to_padded_tensor(out, 0.0).sum().backward()
    assert c.under("matmul").by_phase()["forward"] == 2 * 7 * 16
    assert c.under("matmul").by_phase()["backward"] == 2 * 2 * 7 * 16
    with torch.inference_mode(), FlopCounter(layer) as c:
        layer(torch.nested.nested_tensor(rows))
    assert mm_total(c) == 2 * 7 * 16


# ---- higher-order operators ----


@pytest.mark.parametrize("grad", [False, True])
def test_cond_is_the_branch_that_ran(grad):
    x = torch.ones(2, 2, requires_grad=grad)
    with FlopCounter() as c:
        y = torch.cond(torch.tensor(True), lambda x: x @ x, lambda x: x @ x @ x, (x,))
        if grad:
            y.sum().backward()
    assert c.under("matmul").forward == MM
    # Backward runs the branch again, and two products more: one for each side.
    assert c.under("matmul").backward == (3 * MM if grad else 0)


class Branching(nn.Module):
    def __init__(self):
        super().__init__()
        self.small, self.large = nn.Linear(4, 4, bias=False), nn.Linear(4, 8, bias=False)

    def forward(self, x):
        return torch.cond(
            x.sum() > 0, self.small.forward, lambda x: self.large(x)[:, :4].clone(), (x,)
        )


@pytest.mark.parametrize("needs_grad", [False, True])
def test_branches_that_reach_weights_are_trained(needs_grad):
    model, x = Branching(), torch.ones(2, 4, requires_grad=needs_grad)
    with FlopCounter(model, convention="matmul") as c:
        model(x).sum().backward()
    # 2·2·16 forward, and as many for each gradient that is wanted.
    assert (c.forward, c.backward) == (64, 128 if needs_grad else 64)
    assert model.small.weight.grad.shape == (4, 4)
    assert model.large.weight.grad is None


def test_while_loop_is_all_its_rounds():
    with FlopCounter() as c:
        torch.while_loop(
            lambda i, x: i < 3, lambda i, x: (i + 1, x @ x), (torch.tensor(0), torch.ones(2, 2))
        )
    assert mm_total(c) == 3 * MM


def test_map_and_scan_are_what_their_functions_do():
    from torch._higher_order_ops.map import map as map_
    from torch._higher_order_ops.scan import scan

    with FlopCounter() as c:
        map_(lambda x, y: x @ y, torch.ones(3, 2, 2), torch.ones(2, 2))
    assert mm_total(c) == 3 * MM
    with FlopCounter() as c:
        scan(lambda carry, x: (carry + x, carry * x), torch.ones(2), torch.ones(3, 2))
    assert c.total == 3 * 2 * 2


def causal(batch, head, query, key):
    return query >= key


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
def test_flex_attention_is_its_blocks():
    """Blocks of 128 on and below the diagonal of 300 by 300; the last row has 44 queries."""
    mask = create_block_mask(causal, None, None, 300, 300, device="cpu", BLOCK_SIZE=128)
    pairs = 128 * 128 + 128 * 256 + 44 * 300
    q = torch.ones(2, 4, 300, 16)
    with FlopCounter(strict=True) as c:
        flex_attention(q, q, q, block_mask=mask)
    assert mm_total(c) == 2 * 4 * pairs * (16 + 16) * 2
    with FlopCounter() as c:  # without a mask, and 2 heads of keys for 4 of queries
        flex_attention(q, q[:, :2], q[:, :2], enable_gqa=True)
    assert mm_total(c) == 2 * 4 * 300 * 300 * (16 + 16) * 2


class Seen(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        self.names.append(str(operation))
        return operation(*args, **(kwargs or {}))


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support")
def test_what_a_counter_asks_is_no_operation():
    q = torch.ones(1, 1, 256, 16)
    mask = create_block_mask(causal, None, None, 256, 256, device="cpu", BLOCK_SIZE=128)
    listed, csr = torch.eye(4).to_sparse(), torch.eye(4).to_sparse_csr()

    class Flex(Seen):
        supports_higher_order_operators = True

    for run in (
        lambda: flex_attention(q, q, q, block_mask=mask),
        lambda: torch.sparse.mm(listed, torch.ones(4, 3)),
        lambda: csr @ torch.ones(4, 3),
    ):
        with torch.compiler.set_stance("force_eager"), Flex() as bare:
            run()
        with Flex() as seen, FlopCounter() as outer, FlopCounter() as inner:
            run()
        assert seen.names == bare.names
        assert outer.operations == inner.operations == len(bare.names)
        assert outer.total == inner.total > 0


def test_an_interrupt_while_a_rule_reads_is_no_missing_rule(monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("flops_tracker._operations.stored", interrupted)
    with FlopCounter() as c, pytest.raises(KeyboardInterrupt):
        torch.sparse.mm(torch.eye(4).to_sparse(), torch.ones(4, 3))
    assert c.uncounted == {}


# ---- graphs that are recorded ----


def test_sizes_stay_symbols():
    def double(x):
        return x.reshape(x.shape[0] * 2, -1) + 1

    bare = make_fx(double, tracing_mode="symbolic")(torch.ones(4, 4))
    with FlopCounter() as c:
        counted = make_fx(double, tracing_mode="symbolic")(torch.ones(4, 4))
    assert counted.code == bare.code
    assert c.total == 0  # nothing was computed
    with FlopCounter():
        make_fx(lambda x: torch.nonzero(x) + 1, tracing_mode="symbolic")(torch.ones(4, 4))


def test_export_with_free_sizes():
    sizes = {"input": {0: torch.export.Dim("batch", min=2, max=64)}}
    with FlopCounter() as c:
        program = torch.export.export(nn.Linear(4, 4), (torch.ones(3, 4),), dynamic_shapes=sizes)
    assert mm_total(c) == 0
    with FlopCounter() as c:
        program.module()(torch.ones(5, 4))
    assert mm_total(c) == 2 * 5 * 16


# ---- tensors and modules of other kinds ----


class Hidden(torch.Tensor):
    """A tensor that answers for its sizes itself."""

    @staticmethod
    def __new__(cls, inner):
        return torch.Tensor._make_wrapper_subclass(
            cls,
            inner.size(),
            strides=inner.stride(),
            dtype=inner.dtype,
            dispatch_sizes_strides_policy="sizes",
        )

    def __init__(self, inner):
        self.inner = inner

    @classmethod
    def __torch_dispatch__(cls, operation, types, args=(), kwargs=None):
        def unwrap(value):
            return value.inner if isinstance(value, Hidden) else value

        out = operation(*tree_map(unwrap, args), **tree_map(unwrap, kwargs or {}))
        return tree_map(lambda t: Hidden(t) if isinstance(t, torch.Tensor) else t, out)


def test_a_tensor_that_answers_for_its_sizes():
    hidden = Hidden(torch.ones(3, 4))
    with FlopCounter(strict=True) as c:
        assert hidden.shape == (3, 4)
        assert (hidden + 1).shape == (3, 4)
    assert c.by_op() == {"aten.add.Tensor": 12}


def test_scripted_modules():
    layers = torch.jit.script(nn.Sequential(nn.Linear(4, 4), nn.ReLU()))
    with FlopCounter(layers) as c:
        layers(torch.ones(3, 4))
    assert mm_total(c) == 2 * 3 * 16
    assert c.uncalled == []


class Halving(nn.Module):
    def forward(self, x):
        return nn.Softmax(dim=1)(x[:, ::2])


def test_modules_made_for_one_call_share_a_row():
    model = Halving()
    with FlopCounter(model) as c:
        for _ in range(5):
            model(torch.ones(2, 4))
    assert {name: m.calls for name, m in c.by_module().items()} == {
        "Halving": 5,
        "Halving.Softmax": 5,
    }
    assert c.by_module()["Halving"].inclusive == c.total > 0


def test_a_part_that_came_first_begins_anew_in_its_place():
    encoder = nn.Sequential(nn.Linear(4, 4))
    model = nn.Sequential(encoder, nn.Linear(4, 2))
    x = torch.ones(1, 4)
    with FlopCounter(convention="matmul") as c:
        encoder(x)
        model(x)
    assert {name: (m.own, m.inclusive, m.calls) for name, m in c.by_module().items()} == {
        "Sequential": (0, 32, 1),
        "Sequential.0": (32, 32, 1),
        "Sequential (2)": (0, 48, 1),
        "Sequential (2).0": (0, 32, 1),
        "Sequential (2).0.0": (32, 32, 1),
        "Sequential (2).1": (16, 16, 1),
    }


def test_the_model_that_was_named_keeps_its_names():
    model = nn.Sequential(nn.Linear(4, 4))
    outer = nn.Sequential(model, nn.Linear(4, 2))
    with FlopCounter(model, convention="matmul") as c:
        outer(torch.ones(1, 4))
    assert c.uncalled == []
    assert {name: m.own for name, m in c.by_module().items() if m.own} == {
        "Sequential.0": 32,
        "Sequential (2).1": 16,
    }


def test_threads_that_meet_a_model_at_once():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = nn.ModuleList([nn.Linear(2, 2) for _ in range(300)])

        def forward(self, x):
            return self.layers[0](x)

    net, x, barrier = Net(), torch.ones(1, 2), threading.Barrier(4)

    def work():
        barrier.wait()
        net(x)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with FlopCounter() as c:
            threads = [threading.Thread(target=work) for _ in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert c.by_module(depth=0)["Net"].calls == 4
    assert len(c.by_module()) == 1 + 1 + 300


def test_modules_do_not_outlive_their_call():
    with FlopCounter():
        softmax = nn.Softmax(dim=1)
        reference = weakref.ref(softmax)
        softmax(torch.ones(2, 2))
        del softmax
        assert reference() is None


# ---- phases ----


class Doubled(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 4, bias=False)

    def forward(self, x):
        return self.layer(x)


@pytest.mark.parametrize("reentrant", [False, True])
def test_a_class_rule_stands_for_the_recomputed_call_too(reentrant):
    register_rule(Doubled, lambda module, args, kwargs, output: {"mac": 1000}, override=True)
    model = Doubled()
    x = torch.ones(2, 4, requires_grad=True)
    with FlopCounter(model, convention="matmul") as c:
        checkpoint(model, x, use_reentrant=reentrant).sum().backward()
    # Forward and again 1000 each; backward as it ran: two products of 2*4*4.
    assert (c.forward, c.recompute, c.backward) == (2000, 2000, 2 * 2 * 2 * 16)


def test_a_module_that_returns_nothing_is_counted_by_its_rule():
    class Silent(nn.Module):
        def forward(self, x):
            x.mul_(2)

    class Broken(Silent):
        def forward(self, x):
            raise ValueError

    register_rule(Silent, lambda module, args, kwargs, output: 5)
    with FlopCounter() as c:
        Silent()(torch.ones(3))
        with pytest.raises(ValueError):
            Broken()(torch.ones(3))
    assert c.total == 5


def test_an_optimizer_that_works_on_data():
    """The old way, with gradients enabled: p.data.add_(p.grad.data), 2 an element with its rate."""

    class Old(torch.optim.Optimizer):
        def __init__(self, parameters):
            super().__init__(parameters, {"lr": 0.1})

        def step(self, closure=None):
            for group in self.param_groups:
                for p in group["params"]:
                    p.data.add_(p.grad.data, alpha=-group["lr"])

    layer = nn.Linear(4, 4)
    optimizer = Old(layer.parameters())
    with FlopCounter(layer) as c:
        layer(torch.ones(2, 4)).sum().backward()
        forward = c.forward
        optimizer.step()
    assert c.optimizer == 2 * (16 + 4)
    assert c.forward == forward


def test_backward_in_a_later_block_knows_its_modules():
    model = nn.Sequential(nn.Linear(4, 8, bias=False), nn.Linear(8, 2, bias=False))
    x = torch.ones(3, 4)
    counter = FlopCounter(model, convention="matmul")
    with counter:
        loss = model(x).sum()
    (x @ model[0].weight.T).sum()  # nodes of no block
    with counter:
        loss.backward()
    backward = {
        row.module: row.flops for row in counter.rows if row.phase == "backward" and row.flops
    }
    # The first layer has no gradient to its input; each product is 2 * 3 * in * out.
    assert backward == {"Sequential.0": 2 * 3 * 32, "Sequential.1": 2 * 2 * 3 * 16}


FIRST_BACKWARD = """
import torch
from flops_tracker import FlopCounter

layer, w = torch.nn.Linear(4, 4, bias=False), torch.ones(4, 4, requires_grad=True)
x = torch.ones(2, 4, requires_grad=True)
with FlopCounter(layer, convention="matmul") as c:
    y = layer(x)
    z = w @ w
    torch.autograd.grad(y, x, torch.ones_like(y), create_graph=True)
    z.sum().backward()
# The layer: 2*2*16 forward and to its input; w @ w: 2*64 and twice that for its gradients.
assert c.by_module()["Linear"].own == 2 * 64
assert c.outside == 3 * 128
"""


def test_the_first_backward_of_a_process_has_its_own_nodes():
    run_apart(FIRST_BACKWARD)


# ---- rules ----


LATE_RULES = """
import torch
from flops_tracker import FlopCounter, register_rule

tensors, calls = [torch.ones(3) for _ in range(5)], []

def total():
    with FlopCounter() as c:
        torch._foreach_sinh(tensors)
    return c.total

assert total() == 15
register_rule("aten::_foreach_sinh", lambda *call: calls.append(call) or 100)
assert (total(), len(calls)) == (100, 1)
register_rule("aten::_foreach_sinh.default", lambda *call: 7, override=True)
register_rule("aten::_foreach_sinh", lambda *call: 9, override=True)
assert total() == 7  # the overload's own rule, whichever came last
"""


def test_a_rule_that_comes_late_counts_a_list_once():
    run_apart(LATE_RULES)  # a rule is for the whole process


@pytest.mark.parametrize("name", ["aten::linear", "aten::matmul", "aten.linear.default"])
def test_what_is_made_of_others_takes_no_rule(name):
    with pytest.raises(ValueError, match="made of other operations"):
        register_rule(name, lambda *call: 1, override=True)
