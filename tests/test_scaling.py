"""scaling(): counts over a grid, and the powers with which they grow."""

import json
import math

import numpy as np
import pytest
import torch
from torch import nn

from flops_tracker import FlopCount, count, plot, scaling


def mixed(n):
    """2·n·64·64 for the product with w, 2·n·n·64 for the scores: 128·n·(64 + n)."""

    def forward(x, w):
        return (x @ w) @ x.T

    return forward, torch.ones(n, 64), torch.ones(64, 64)


@pytest.fixture(scope="module")
def attention():
    return scaling(mixed, n=[64, 128, 256])


def test_a_single_power_is_found_exactly():
    s = scaling(lambda n: (torch.mm, torch.ones(n, n), torch.ones(n, n)), n=(2, 4, 16))
    assert [point.counts.total for point in s.points] == [2 * n**3 for n in (2, 4, 16)]
    assert s.fit() == (pytest.approx(3), pytest.approx(0, abs=1e-12))
    assert s.local_exponents() == [[pytest.approx(3), pytest.approx(3)]]
    assert "FLOPs grow as n^3.00, residual 0.000\n" in str(s)


def test_terms_of_several_powers_show_in_local_exponents(attention):
    flops = [128 * n * (64 + n) for n in (64, 128, 256)]
    assert [point.counts.total for point in attention.points] == flops
    # From 64 to 128 by 2·192/128 = 3, from 128 to 256 by 2·320/192 = 10/3.
    local = [math.log2(3), math.log2(10 / 3)]
    assert attention.local_exponents() == [[pytest.approx(x) for x in local]]
    # Three points at equal steps: the slope is that of the outer ones, half of log2(10).
    exponent, residual = attention.fit("n")
    assert exponent == pytest.approx(math.log2(10) / 2)
    # With the middle one d below the chord, the points are off by d/3, -2d/3, d/3: sqrt(6/27)·d.
    logs = [math.log(x) for x in flops]
    chord = (logs[0] + logs[2]) / 2 - logs[1]
    assert residual == pytest.approx(abs(chord) * math.sqrt(2) / 3)
    lines = [line.split() for line in str(attention).splitlines()]
    assert ["128", f"{flops[1]:,}", "1.58"] in lines
    assert "by no single power: locally from 1.58 to 1.74" in str(attention)


def test_parts_have_powers_of_their_own():
    def build(n):
        linear = nn.Linear(8, 8)
        return (lambda x: linear(x) @ x.transpose(1, 2)), torch.ones(2, n, 8)

    s = scaling(build, n=[8, 16, 32])
    assert s.fit(part="aten.bmm.default").exponent == pytest.approx(2)  # 2·2·n·n·8
    assert s.fit(part="matmul").exponent == pytest.approx(s.fit().exponent)  # all of it
    assert s.fit(part="conv") == (None, None)


def test_axes_share_a_fit_over_all_combinations():
    # 2·B·n·4·4: linear in both
    s = scaling(
        lambda n, batch: (nn.Linear(4, 4, bias=False), torch.ones(batch, n, 4)),
        n=[2, 8],
        batch=[1, 3, 5],
    )
    assert [p.counts.total for p in s.points] == [32 * n * b for n in (2, 8) for b in (1, 3, 5)]
    assert [list(point.values.values()) for point in s.points][:4] == [
        [2, 1],
        [2, 3],
        [2, 5],
        [8, 1],
    ]
    for axis in ("n", "batch"):
        assert s.fit(axis) == (pytest.approx(1), pytest.approx(0, abs=1e-12))
    assert [len(line) for line in s.local_exponents("n")] == [1, 1, 1]
    assert [len(line) for line in s.local_exponents("batch")] == [2, 2]
    assert repr(s) == "<Scaling n^1.00, batch^1.00 · 6 points · standard>"
    first, *_, last = [line.split() for line in s.table().splitlines()[1:7]]
    assert first == ["2", "1", "64", "-", "-"]
    assert last == ["8", "5", "1,280", "1.00", "1.00"]


def test_options_of_count():
    # On 2 rows, under matmul: 2·2·n·3 forward and as much for the weights; SGD: 0.
    s = scaling(
        lambda n: (nn.Linear(n, 3), torch.ones(2, n)),
        n=[4, 8],
        backward=True,
        loss_fn=lambda output: output.square().mean(),
        optimizer=lambda model: torch.optim.SGD(model.parameters(), lr=0.1),
        convention="matmul",
    )
    assert [point.counts.total for point in s.points] == [2 * 12 * n for n in (4, 8)]
    assert s.convention == "matmul"


@pytest.mark.parametrize("optimizer", ["sgd", "SGD", torch.optim.SGD])
def test_optimizers_by_name_and_class(optimizer):
    # SGD: a multiplication and a subtraction for each of 3·n + 3 parameters
    s = scaling(
        lambda n: (nn.Linear(n, 3), torch.ones(2, n)),
        n=[4],
        backward=True,
        optimizer=optimizer,
    )
    assert s.points[0].counts.optimizer == 2 * 15
    assert s.fit() == (None, None)
    assert "n: no exponent" in str(s)


def test_what_build_may_return():
    x = torch.ones(3, 4)
    ways = [
        lambda n: (nn.Linear(4, n), x),
        lambda n: lambda: nn.functional.linear(x, torch.ones(n, 4), torch.ones(n)),
        lambda n: count(nn.Linear(4, n), x, convention="macs"),
    ]
    for build in ways:  # 2·3·4·n and 3·n
        assert [p.counts.total for p in scaling(build, n=[2, 5]).points] == [54, 135]
    assert all(isinstance(p.counts, FlopCount) for p in scaling(ways[0], n=[2]).points)


def test_values_that_are_no_numbers():
    s = scaling(
        lambda act, n: (nn.Sequential(nn.Linear(2, 2), act()), torch.ones(n, 2)),
        act=[nn.ReLU, nn.Tanh],
        n=[1, 2],
    )
    # 8 + 2 a row, and 2 for tanh
    assert [p.counts.total for p in s.points] == [10, 20, 12, 24]
    assert s.fit("act") == (None, None)
    assert s.fit("n").exponent == pytest.approx(1)
    assert ["Tanh", "2", "24", "-", "1.00"] in [line.split() for line in str(s).splitlines()]
    assert json.loads(s.to_json())["axes"]["act"] == ["ReLU", "Tanh"]
    with pytest.raises(ValueError, match="the axis act has values that are no numbers"):
        s.plot("act", ax=object())


def test_nothing_counted():
    s = scaling(lambda n: (torch.relu, torch.ones(n)), n=[1, 2])
    assert [p.counts.total for p in s.points] == [0, 0]
    assert s.fit() == (None, None)
    assert s.local_exponents() == [[None]]
    with pytest.raises(ValueError, match="no FLOPs were counted"):
        s.plot()


def test_picture(attention):
    from matplotlib.figure import Figure

    ax = Figure().subplots()
    assert attention.plot(ax=ax) is ax
    lines = {line.get_label(): line.get_xydata().tolist() for line in ax.get_lines()}
    flops = [128 * n * (64 + n) for n in (64, 128, 256)]
    assert lines["fitted exponent 1.66"] == [
        list(p) for p in zip((64, 128, 256), flops, strict=True)
    ]
    assert lines["∝ n"][-1] == [256, pytest.approx(4 * flops[0])]
    assert lines["∝ n²"][-1] == [256, pytest.approx(16 * flops[0])]
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")
    attention.plot(label="again", ax=ax)
    assert [line.get_label() for line in ax.get_lines()][3:] == ["again, fitted exponent 1.66"]
    assert len({line.get_color() for line in ax.get_lines()}) == 3
    with pytest.raises(TypeError, match=r"draws what scaling\(...\) gives, not 3"):
        plot.scaling(3)


def test_exports(attention, tmp_path):
    data = json.loads(attention.to_json(tmp_path / "s.json"))
    assert data == json.loads((tmp_path / "s.json").read_text()) == attention.to_dict()
    assert data["schema"] == "flops_tracker/scaling/1"
    assert data["points"][0]["flops"] == 128 * 64 * 128
    assert data["fits"]["n"]["exponent"] == attention.fit().exponent
    attention.to_csv(tmp_path / "s.csv")
    rows = (tmp_path / "s.csv").read_text().splitlines()
    assert rows[0] == "n,flops,forward,backward,recompute,optimizer,n exponent"
    assert rows[1] == "64,1048576,1048576,0,0,0,"
    text = attention.to_markdown(tmp_path / "s.md")
    assert text == (tmp_path / "s.md").read_text()
    assert "| 64 | 1,048,576 | - |" in text
    assert "<table>" in attention._repr_html_()
    pytest.importorskip("pandas")
    assert attention.to_pandas()["flops"].tolist() == [128 * n * (64 + n) for n in (64, 128, 256)]


def linear(n):
    return nn.Linear(n, 2), torch.ones(1, 3)


@pytest.mark.parametrize(
    ("build", "options", "error", "words"),
    [
        (3, {"n": [1]}, TypeError, "build must be a function of the axes, not 3"),
        (linear, {}, TypeError, "needs an axis"),
        (linear, {"n": []}, ValueError, "the axis n has no values"),
        (linear, {"n": [1, 1]}, ValueError, "the axis n has a value twice"),
        (linear, {"n": 5}, TypeError, "n=5 is no axis: give a list of values"),
        (linear, {"backwards": True}, TypeError, "did you mean the option 'backward'"),
        (linear, {"convention": "flops", "n": [3]}, ValueError, "flops"),
        (lambda n: 3, {"n": [1]}, TypeError, r"build must return \(model, \*inputs\), .* not 3"),
        (linear, {"n": [3], "optimizer": "adamm"}, ValueError, "did you mean 'adam'"),
        (linear, {"n": [3], "optimizer": "sgd"}, TypeError, "pass backward=True"),
        (
            linear,
            {"n": [3], "optimizer": torch.optim.SGD([nn.Parameter(torch.ones(1))])},
            TypeError,
            r"such as lambda model: SGD\(model.parameters\(\)\)",
        ),
    ],
)
def test_wrong_arguments(build, options, error, words):
    with pytest.raises(error, match=words):
        scaling(build, **options)


def test_an_error_says_at_which_point():
    with pytest.raises(RuntimeError) as caught:
        scaling(linear, n=[3, 4])
    assert "in scaling, at n=4" in caught.value.__notes__
    with pytest.raises(ValueError, match="there is no axis 'm', only n"):
        scaling(linear, n=[3]).fit("m")


def test_numbers_of_numpy_and_torch_are_numbers():
    sizes = [1, 2, 4]
    for values in (np.array(sizes), np.array(sizes, float), torch.tensor(sizes)):
        grid = scaling(lambda n: (nn.Linear(8, 8), torch.zeros(int(n), 8)), n=values)
        assert grid.axes == {"n": (1, 2, 4)}
        assert {type(value) for value in grid.axes["n"]} <= {int, float}
        assert grid.fit().exponent == pytest.approx(1)


def test_the_same_number_in_two_types_is_a_value_twice():
    with pytest.raises(ValueError, match="the axis n has a value twice"):
        scaling(lambda n: (nn.Linear(8, 8), torch.zeros(int(n), 8)), n=[1, 1.0])


def test_values_of_one_name_are_two_curves():
    # n·16 and 2·n·16 FLOPs: each grows as n, and both are of functions named <lambda>.
    once, twice = (lambda x: x * 2), (lambda x: x * 2 + 1)
    grid = scaling(lambda f, n: (f, torch.zeros(n, 16)), f=[once, twice], n=[1, 2])
    assert [point.counts.total for point in grid.points] == [16, 32, 32, 64]
    assert grid.local_exponents("n") == [[pytest.approx(1)], [pytest.approx(1)]]
    assert grid.fit("n") == (pytest.approx(1), pytest.approx(0))
