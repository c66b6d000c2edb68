"""compat.torch: FlopCounterMode as torch.utils.flop_counter has it, with the right numbers."""

import sys

import pytest
import torch
from torch import nn

from flops_tracker import FlopCounter
from flops_tracker.compat import torch as compat

aten = torch.ops.aten


def small():
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Sequential(nn.Flatten(), nn.Linear(144, 7))
    )


# On (2,3,8,8): 2·36 places of 27·4 products, 2·144·7 products; backward of both twice that.
CONV, LINEAR = 2 * 72 * 108, 2 * 2 * 144 * 7


def trained(**options):
    with compat.FlopCounterMode(display=False, **options) as mode:
        small()(torch.randn(2, 3, 8, 8, requires_grad=True)).sum().backward()
    return mode


def test_counts_by_module_and_operation():
    mode = trained()
    conv = {aten.convolution: CONV, aten.convolution_backward: 2 * CONV}
    linear = {aten.addmm: LINEAR, aten.mm: 2 * LINEAR}
    assert mode.get_total_flops() == 3 * CONV + 3 * LINEAR
    assert mode.get_flop_counts() == {
        "Global": {**conv, **linear},
        "Sequential": {**conv, **linear},
        "Sequential.0": conv,
        "Sequential.2": linear,
        "Sequential.2.1": linear,
    }
    assert mode.counter.backward == 2 * CONV + 2 * LINEAR


def test_the_same_as_pytorch_where_that_is_right():
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as theirs:
        small()(torch.randn(2, 3, 8, 8, requires_grad=True)).sum().backward()
    mode = trained()
    assert mode.get_flop_counts() == theirs.get_flop_counts()
    assert mode.get_total_flops() == theirs.get_total_flops()


def total(function, *inputs):
    with compat.FlopCounterMode(display=False) as mode:
        function(*inputs)
    return mode.get_total_flops()


def test_where_pytorch_is_wrong():
    # Depthwise: 16 channels at 2·64 places, 9 products each; forward and the gradient to weights.
    layer = nn.Conv2d(16, 16, 3, padding=1, groups=16)
    assert total(lambda x: layer(x).sum().backward(), torch.randn(2, 16, 8, 8)) == 2 * 36_864
    # Attention on a CPU: 12 heads, 64·64 scores of length 64 and as many sums.
    x = torch.randn(1, 12, 64, 64)
    assert total(nn.functional.scaled_dot_product_attention, x, x, x) == 12_582_912
    # LSTM: 15 steps of 4 gates of 20 from 10 + 20.
    assert total(nn.LSTM(10, 20), torch.randn(5, 3, 10)) == 2 * 15 * 80 * 30
    assert total(torch.mv, torch.ones(3, 4), torch.ones(4)) == 24


def test_each_block_counts_from_zero():
    mode = compat.FlopCounterMode(display=False)
    assert (mode.get_total_flops(), mode.get_flop_counts()) == (0, {"Global": {}})
    for _ in range(2):
        with mode:
            torch.ones(3, 4) @ torch.ones(4, 5)
        assert mode.get_total_flops() == 120
    with mode, pytest.raises(RuntimeError, match="this FlopCounterMode is counting already"):
        mode.__enter__()


def test_outside_of_modules():
    # A product outside: no module has everything.
    with compat.FlopCounterMode(display=False) as mode:
        nn.Linear(4, 4, bias=False)(torch.ones(2, 4)) @ torch.ones(4, 5)
    assert mode.get_flop_counts() == {"Global": {aten.mm: 64 + 80}, "Linear": {aten.mm: 64}}
    assert mode.get_table().splitlines() == [
        "Module      FLOP  % Total",
        "Global       144  100.0 %",
        " - aten.mm   144  100.0 %",
        "Linear        64   44.4 %",
        " - aten.mm    64   44.4 %",
    ]


def test_the_table_is_printed_without_tabulate(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "tabulate", None)
    with compat.FlopCounterMode(depth=1):
        small()(torch.randn(2, 3, 8, 8))
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["Module", "Sequential", "-", "-"]
    assert lines[1].split()[1:] == ["19,584", "100.0", "%"]
    mode = trained()
    names = [line.split()[0] for line in mode.get_table(3).splitlines() if " - " not in line]
    assert names == ["Module", "Sequential", "Sequential.0", "Sequential.2", "Sequential.2.1"]
    assert mode.get_table(0).splitlines()[1].split()[:2] == ["Global", "58,752"]


def test_mods_is_not_needed():
    with pytest.warns(UserWarning, match="mods is not needed"):
        compat.FlopCounterMode(small())


# ---- formulas ----


def test_formulas_of_one_mode():
    seen = []

    def of_shapes(*shapes, out_shape, **kwargs):
        seen.append((shapes, out_shape, kwargs))
        return 7

    mapping = {aten.add: of_shapes, aten.mm: lambda a, b, out_shape: a[0] * out_shape[1]}
    with compat.FlopCounterMode(display=False, custom_mapping=mapping) as mode:
        torch.add(torch.ones(3), torch.ones(2, 3), alpha=2)
        torch.ones(3, 4) @ torch.ones(4, 5)
    assert seen == [(((3,), (2, 3)), (2, 3), {"alpha": 2})]
    assert mode.get_flop_counts() == {"Global": {aten.add: 7, aten.mm: 15}}  # 3·5, as it says
    assert mode.counter.under("exact").total == 22  # a formula's FLOPs are what they are
    assert total(torch.mm, torch.ones(3, 4), torch.ones(4, 5)) == 120  # of other modes, nothing
    with FlopCounter() as counter:
        torch.ones(3) + 1
    assert counter.total == 3


@pytest.fixture
def registry(monkeypatch):
    monkeypatch.setattr(compat, "_registered", {})


def test_registered_formulas(registry):
    library = torch.library.Library("flops_tracker_compat", "FRAGMENT")
    for name in ("one", "two", "three"):
        library.define(f"{name}(Tensor x) -> Tensor")
        library.impl(name, lambda x: x.clone(), "CPU")
    ops = torch.ops.flops_tracker_compat

    @compat.register_flop_formula([ops.one, ops.two])
    def shapes(x, out_shape):
        return 3 * x.numel()

    @compat.register_flop_formula(ops.three, get_raw=True)
    def raw(x, out_val):
        return int(x.sum()) + out_val.numel()

    assert shapes(torch.Size([2]), None) == 6
    x = torch.ones(5)
    # 15 + 15 + (5 + 5); what a formula does itself is not counted.
    assert total(lambda: (ops.one(x), ops.two(x), ops.three(x))) == 40
    with pytest.raises(RuntimeError, match="duplicate registrations"):
        compat.register_flop_formula(ops.one)(shapes)
    library._destroy()


def test_bad_formulas(registry):
    with pytest.raises(ValueError, match=r"take \.overloadpacket"):
        compat.register_flop_formula(aten.mm.default)(max)
    with pytest.raises(ValueError, match="'mm'"):
        compat.FlopCounterMode(custom_mapping={"mm": max})
    mapping = {aten.mm: lambda *a, out_shape: 1.5}
    with (
        pytest.raises(TypeError, match=r"result of the formula must be an integer, not 1\.5"),
        compat.FlopCounterMode(display=False, custom_mapping=mapping),
    ):
        torch.mm(torch.ones(2, 2), torch.ones(2, 2))


def test_a_formula_that_calls_an_operation_does_not_count_it(registry):
    mapping = {aten.relu: lambda x, out_shape: int((torch.ones(2, 2) @ torch.ones(2, 2)).sum())}
    with compat.FlopCounterMode(display=False, custom_mapping=mapping) as mode:
        torch.relu(torch.ones(3))
    assert mode.get_flop_counts() == {"Global": {aten.relu: 8}}


def test_counts_by_module_and_operation_of_a_flop_count():
    model, x = small(), torch.randn(2, 3, 8, 8)
    with FlopCounter(convention="macs") as counter:
        model(x)
    found = counter.by_module_and_op()
    conv, linear = "aten.convolution.default", "aten.addmm.default"
    assert found["Sequential.0"] == {conv: CONV // 2}
    assert (found[""][conv], found[""][linear]) == (CONV // 2, LINEAR // 2)
    assert found["Sequential"] == found[""]
    assert found["Sequential.2"][linear] == found["Sequential.2.1"][linear] == LINEAR // 2
    with pytest.raises(TypeError):
        counter.counts._module_op_sums(3)
