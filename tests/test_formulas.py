"""Closed forms: numbers, broadcasting, dtypes, errors, and the same counts as the counter's."""

import copy
import inspect
import pickle
import subprocess
import sys
import threading

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import flops_tracker
from flops_tracker import FlopCounter, formulas

CONVENTIONS = ("standard", "exact", "matmul", "macs")
SMALL = st.integers(1, 6)
quick = settings(max_examples=25, deadline=None)

# ---- what there is ----

# Always 0, and so no functions of anything; and masks of flex_attention, which are lists of blocks
# (where they leave everything, sdpa says the same).
WITHOUT = {
    *("max_pool_free", "activation_free", "embedding_free", "data_free", "truth_free"),
    *("collective_free", "random_free", "resample_free"),
    *("flex", "flex_softmax", "flex_backward", "flex_recompute"),
    *("flex_softmax_recompute", "flex_softmax_backward"),
}


def closed_forms():
    return {n: f for n in dir(formulas) if isinstance(f := getattr(formulas, n), formulas.Formula)}


def test_every_formula_has_a_ufunc_but_those_that_are_said_to_have_none():
    known = {formula.name for formula in formulas.listing()}
    found = {name for form in closed_forms().values() for name in form.formulas}
    assert known - found == WITHOUT
    assert found < known


@pytest.mark.parametrize("name", sorted(closed_forms()))
def test_each_is_a_ufunc_with_names_for_its_inputs(name):
    form = getattr(formulas, name)
    assert isinstance(form.ufunc, np.ufunc)
    assert form.ufunc.__name__ == name
    assert len(form.ufunc.types[0].split("->")[0]) == len(form.arguments) + 1  # and convention
    assert form.ufunc.nout == 1
    assert list(inspect.signature(form).parameters)[:-2] == list(form.arguments)
    assert form.__doc__.startswith(f"{name}({form.arguments[0]}")
    ones = form(*(1 for _ in form.arguments))
    assert isinstance(ones, np.int64)
    assert ones >= 0
    assert form(*([1, 1] for _ in form.arguments)).tolist() == [ones, ones]


def test_numpy_is_imported_when_it_is_needed():
    script = (
        "import sys, flops_tracker; formulas = flops_tracker.formulas; "
        "print('numpy' in sys.modules); formulas.linear; print('numpy' in sys.modules)"
    )
    run = subprocess.run(
        [sys.executable, "-P", "-c", script], capture_output=True, text=True, check=True
    )
    assert run.stdout.split() == ["False", "True"]


def test_a_name_that_there_is_not():
    with pytest.raises(AttributeError, match=r"no formula 'liner'; did you mean 'linear'\?"):
        _ = formulas.liner
    with pytest.raises(AttributeError, match="did you mean 'transformer'"):
        _ = formulas.transformers
    assert not hasattr(formulas, "__wrapped__")
    assert "formulas" in dir(flops_tracker)


def test_formulas_are_copied_and_pickled_by_name():
    assert pickle.loads(pickle.dumps(formulas.conv2d)) is formulas.conv2d
    assert copy.deepcopy(formulas.conv2d) is formulas.conv2d
    assert repr(formulas.linear) == "formulas.linear(batch, in_features, out_features, bias=0)"


# ---- values ----


@pytest.mark.parametrize(
    ("convention", "flops"),
    [
        # Linear(64, 10) on 32 rows: 20,480 products, 320 dot products, 320 biases
        ("standard", 2 * 20_480 + 320),
        ("exact", 2 * 20_480 - 320 + 320),
        ("matmul", 2 * 20_480),
        ("macs", 20_480),
    ],
)
def test_conventions(convention, flops):
    assert formulas.linear(32, 64, 10, bias=True, convention=convention) == flops


def test_arguments_broadcast():
    # 2·B·in·out: B of 1 and 2 down, out of 3, 4 and 5 across, in 10
    flops = formulas.linear([[1], [2]], 10, np.array([3, 4, 5], dtype=np.int8))
    assert flops.dtype == np.int64
    assert flops.tolist() == [[60, 80, 100], [120, 160, 200]]
    assert formulas.linear(batch=2, out_features=5, in_features=10) == 200


def test_defaults_may_be_other_arguments():
    # 3x3 and 3x1 kernels on 4 channels to 2 of 5x5: 2·50·4·9 and 2·50·4·3
    assert formulas.conv2d(1, 4, 2, 5, 5, 3) == 3600
    assert formulas.conv2d(1, 4, 2, 5, 5, 3, kernel_width=1) == 1200
    # 2 sequences, 3 heads, 4 queries, width 8: 2·2·(2·3·4·4·8); with 5 keys 2·2·(2·3·4·5·8)
    assert formulas.sdpa(2, 3, 4, 8) == 3072
    assert formulas.sdpa(2, 3, 4, 8, keys=5) == 3840
    assert formulas.sdpa.defaults["keys"] == "queries"


def test_causal_attention_counts_what_its_mask_leaves():
    # of 4x4 pairs 10: 2·2·3·10·(8 + 8)
    assert formulas.sdpa(2, 3, 4, 8, causal=True) == 2 * 2 * 3 * 10 * 16
    # 4 queries that see themselves and 1 before: 1 + 2 + 2 + 2 pairs
    windows = formulas.varlen(1, 1, 4, 8, window_left=[-1, 1], window_right=[-1, 0])
    assert windows.tolist() == [2 * 16 * 16, 2 * 7 * 16]


def test_out_where_and_dtype_are_those_of_a_ufunc():
    out = np.zeros(3, dtype=np.int64)
    result = formulas.linear([1, 2, 3], 10, 10, out=out, where=[True, False, True])
    assert result is out
    assert out.tolist() == [200, 0, 600]
    assert formulas.linear(1, 10, 10, dtype=float).dtype == np.float64
    same = np.arange(1, 1001)
    assert (formulas.linear(same, 10, same, out=same) == 20 * np.arange(1, 1001) ** 2).all()
    bare = formulas.linear.ufunc(np.arange(4), 10, 10, 0, [[0], [3]])  # standard, macs
    assert bare.tolist() == [[0, 200, 400, 600], [0, 100, 200, 300]]


def test_sizes_of_outputs():
    # torch.nn.Conv2d's documentation: floor((n + 2p - d(k - 1) - 1)/s + 1)
    assert formulas.conv_output(224, 7, 2, 3) == 112
    assert formulas.conv_output([28, 32], 5).tolist() == [24, 28]
    assert formulas.conv_output(10, 3, dilation=[1, 2]).tolist() == [8, 6]
    assert formulas.conv_output(np.int8(100), 1, 1, np.int8(20)) == 140  # more than int8 has


def test_past_64_bits():
    # 2·2^62·2^20·1 = 2^83, and one more product with a bias of 2^62
    big, wide = 2**62, 2**20
    assert formulas.linear(big, wide, 1, True, dtype=object) == 2**83 + 2**62
    assert type(formulas.linear(big, wide, 1, dtype=object)) is int
    # float64 has 53 bits: 2^83 + 2^62 has 22
    assert formulas.linear(big, wide, 1, True, dtype=float) == 2.0**83 + 2.0**62
    assert formulas.linear(big, big, 4, dtype=object) == 2**127
    assert formulas.linear(big, big, 4, dtype=float) == 2.0**127
    with pytest.raises(FloatingPointError, match=r"linear: a count passes 2\*\*63; dtype=object"):
        formulas.linear(big, wide, 1)
    with pytest.raises(FloatingPointError, match=r"passes 2\*\*63"):
        formulas.linear(np.full(1000, big), 2, 2)
    with pytest.raises(FloatingPointError, match=r"passes 2\*\*128"):
        formulas.linear(big, big, big, dtype=object)
    assert formulas.linear(2**61, 1, 1) == 2**62
    assert formulas.outer(2**31, 2**31, convention="macs") == 2**62
    with pytest.raises(FloatingPointError):
        formulas.outer(2**31, 2**31)


@given(st.integers(0, 2**62), st.integers(0, 2**62))
@quick
def test_float64_is_the_nearest(one, other):
    exact = formulas.outer(one, other, dtype=object, convention="macs")
    assert exact == one * other
    assert formulas.outer(one, other, dtype=float, convention="macs") == float(exact)


def test_the_ufunc_follows_errstate():
    linear = formulas.linear.ufunc
    with np.errstate(over="ignore", invalid="ignore"):
        assert linear([2**62, -1, 1], 4, 1, 0, 0).tolist() == [2**63 - 1, -(2**63), 8]
        flops = linear([1, -1], [1, 1], 1, 0, [0, 0], dtype=float)
        assert flops[0] == 2 and np.isnan(flops[1])
    with np.errstate(over="raise"), pytest.raises(FloatingPointError, match="overflow"):
        linear(2**62, 4, 1, 0, 0)
    with pytest.warns(RuntimeWarning, match="invalid value encountered in linear"):
        linear(1, 1, 1, 0, 99)  # there is no such convention


# ---- what is refused ----


@pytest.mark.parametrize(
    ("call", "error", "problem"),
    [
        (lambda: formulas.linear(-1, 2, 3), ValueError, "batch must be 0 or more, not -1"),
        (
            lambda: formulas.linear([1, 2], [[3], [-4]], 5),
            ValueError,
            r"in_features must be 0 or more, not -4 at \(1, 0\)",
        ),
        (lambda: formulas.linear(1, 2, 3, 2), ValueError, "bias must be 0 or 1, not 2"),
        (
            lambda: formulas.conv2d(1, 3, 4, 5, 5, 3, groups=2),
            ValueError,
            "conv2d: these do not fit each other: .*in_channels=3, .*groups=2",
        ),
        (lambda: formulas.sdpa(1, 8, 4, 4, kv_heads=3), ValueError, "do not fit"),
        (lambda: formulas.pair_distance(1, 2, p=-2), ValueError, "p must be 0 or more, not -2"),
        (lambda: formulas.linear(1.0, 2, 3), TypeError, "batch must be integers .*not float64"),
        (lambda: formulas.linear(1, "2", 3), TypeError, "in_features must be integers"),
        (lambda: formulas.linear(2**63, 2, 3), OverflowError, r"batch must be below 2\*\*63"),
        (lambda: formulas.linear(1, 2), TypeError, "linear needs out_features"),
        (lambda: formulas.linear(1, 2, 3, 0, 1), TypeError, "takes 4 arguments, not 5"),
        (lambda: formulas.linear(1, 2, 3, batch=1), TypeError, "got batch twice"),
        (lambda: formulas.linear(1, 2, 3, biass=1), TypeError, "did you mean 'bias'"),
        (
            lambda: formulas.linear(1, 2, 3, convention="mac"),
            ValueError,
            "must be 'standard', .*'macs'",
        ),
        (lambda: formulas.linear([1, 2], [1, 2, 3], 1), ValueError, "broadcast"),
        (lambda: formulas.conv_output(3, 5), ValueError, "a kernel of 5 .*larger than its input"),
        (lambda: formulas.conv_output(3, 1, 0), ValueError, "stride must be 1 or more, not 0"),
    ],
)
def test_what_is_refused(call, error, problem):
    with pytest.raises(error, match=problem):
        call()


def test_elements_that_where_leaves_out_are_not_looked_at():
    flops = formulas.linear([1, -1], 1, 1, where=[True, False], out=None)
    assert flops[0] == 2
    with pytest.raises(ValueError, match=r"not -2 at \(2,\)"):
        formulas.linear([1, -1, -2], 1, 1, where=[True, False, True], out=None)
    with pytest.raises(FloatingPointError, match="or does not fit"):
        formulas.linear([1, -1], 1, 1, out=np.zeros(2, dtype=np.int64))


# ---- many points: as each by itself ----


@given(
    name=st.sampled_from(sorted(closed_forms())),
    convention=st.sampled_from(CONVENTIONS),
    data=st.data(),
)
@settings(max_examples=150, deadline=None)
def test_arrays_give_what_each_point_gives(name, convention, data):
    form = getattr(formulas, name)
    random = np.random.default_rng(data.draw(st.integers(0, 1000)))
    least = data.draw(st.sampled_from([0, 1, 1]))
    arguments = {}
    for argument in form.arguments:
        flag = argument in form._flags or argument in ("mode", "reduction", "directions")
        values = random.integers(0 if flag else least, 2 if flag else 9, 300)
        arguments[argument] = values if data.draw(st.integers(0, 2)) == 0 else int(values[0])
    number = CONVENTIONS.index(convention)
    with np.errstate(all="ignore"):
        many = np.broadcast_to(form.ufunc(*arguments.values(), number), 300)
        for i in range(0, 300, 37):
            here = [int(np.broadcast_to(v, 300)[i]) for v in arguments.values()]
            assert many[i] == form.ufunc(*here, number), here


def test_large_counts_among_small_ones():
    # Sums of products are computed in 64 bits where none can pass them, and else exactly.
    batch = np.ones(2000, dtype=np.int64)
    batch[1234] = 2**60
    flops = formulas.linear(batch, 2, 1, dtype=float)
    assert flops[1234] == 2.0**62
    assert (np.delete(flops, 1234) == 4).all()
    assert formulas.linear(batch, 2, 1)[1234] == 2**62
    assert formulas.linear(np.where(batch > 1, 0, 1), 2, 1).sum() == 4 * 1999
    strided = np.arange(1, 4001)[::2]
    assert (formulas.linear(strided, 3, strided[::-1]) == 6 * strided * strided[::-1]).all()


def test_threads_share_a_ufunc():
    batches = np.arange(1, 200_001)
    found = [None] * 4

    def work(i):
        found[i] = formulas.linear(batches, i + 1, 3).sum()

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [2 * 3 * (i + 1) * 200_000 * 200_001 // 2 for i in range(4)]


# ---- the same as the counter's ----


def meta(*shape):
    return torch.empty(shape, device="meta")


def assert_as_counted(function, *parts):
    """What the counter says of a call is what these formulas say, under every convention."""
    with FlopCounter() as counter:
        function()
    for convention in CONVENTIONS:
        flops = sum(int(form(*sizes, convention=convention)) for form, sizes in parts)
        assert counter.under(convention).total == flops, convention


@given(st.lists(SMALL, min_size=4, max_size=4), st.booleans())
@quick
def test_products_as_counted(sizes, bias):
    b, m, k, n = sizes
    weights = (meta(n, k), meta(n) if bias else None)
    linear = torch.nn.functional.linear
    assert_as_counted(lambda: linear(meta(b, k), *weights), (formulas.linear, (b, k, n, bias)))
    assert_as_counted(
        lambda: torch.bmm(meta(b, m, k), meta(b, k, n)), (formulas.matmul, (m, k, n, b))
    )
    assert_as_counted(
        lambda: torch.baddbmm(meta(b, m, n), meta(b, m, k), meta(b, k, n), alpha=2),
        (formulas.matmul, (m, k, n, b, 1, 1, 0)),
    )
    assert_as_counted(lambda: torch.outer(meta(m), meta(n)), (formulas.pointwise, (m * n, 1)))


@given(st.lists(SMALL, min_size=3, max_size=3), st.integers(5, 9), st.integers(1, 4), st.booleans())
@settings(max_examples=25, deadline=None)
def test_convolutions_as_counted(sizes, size, kernel, bias):
    batch, per_group, out_per_group = sizes
    groups, stride, padding = 1 + size % 3, 1 + kernel % 2, size % 2
    channels, out_channels = per_group * groups, out_per_group * groups
    out = int(formulas.conv_output(size, kernel, stride, padding))
    x, w = meta(batch, channels, size, size), meta(out_channels, per_group, kernel, kernel)
    b = meta(out_channels) if bias else None
    places = ([stride] * 2, [padding] * 2, [1, 1])
    assert_as_counted(
        lambda: torch.conv2d(x, w, b, stride, padding, 1, groups),
        (formulas.conv2d, (batch, channels, out_channels, out, out, kernel, kernel, groups, bias)),
    )
    y = meta(batch, out_channels, out, out)
    backward = torch.ops.aten.convolution_backward
    sides = (size, size, out, out, kernel, kernel, stride, padding, 1, groups)
    assert_as_counted(
        lambda: backward(
            y, x, w, [out_channels], *places, False, [0, 0], groups, [True, True, bias]
        ),
        (formulas.convolution_backward, (batch, channels, out_channels, *sides, bias)),
    )


@given(st.lists(SMALL, min_size=5, max_size=5))
@quick
def test_attention_as_counted(sizes):
    batch, heads, queries, keys, width = sizes
    q, k = meta(batch, heads, queries, width), meta(batch, heads, keys, width)
    attention = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    given = (batch, heads, queries, width, keys)
    assert_as_counted(
        lambda: attention(q, k, k), (formulas.sdpa, given), (formulas.sdpa_softmax, given)
    )


@given(SMALL, SMALL, SMALL)
@quick
def test_linear_algebra_and_transforms_as_counted(batch, n, sides):
    a = meta(batch, n, n)
    assert_as_counted(lambda: torch.linalg.cholesky(a), (formulas.cholesky, (n, batch)))
    assert_as_counted(lambda: torch.linalg.inv_ex(a), (formulas.inverse, (n, batch)))
    assert_as_counted(lambda: torch.linalg.eigh(a), (formulas.eigh, (n, 1, batch)))
    assert_as_counted(
        lambda: torch.cholesky_solve(meta(batch, n, sides), a),
        (formulas.cholesky_solve, (n, sides, batch)),
    )
    z = torch.empty(batch, n, sides, device="meta", dtype=torch.complex64)
    assert_as_counted(lambda: torch.fft.fft(z), (formulas.fft, (batch * n, sides)))
    assert_as_counted(lambda: torch.fft.fft2(z), (formulas.fft2, (batch, n, sides)))


@given(SMALL, SMALL)
@quick
def test_elementwise_work_as_counted(rows, width):
    x, n = meta(rows, width), rows * width
    functional = torch.nn.functional
    weight = meta(width)
    assert_as_counted(lambda: torch.softmax(x, 1), (formulas.softmax, (n, 3, 1, 1)))
    assert_as_counted(lambda: torch.cumsum(x, 1), (formulas.scan, (rows, width)))
    assert_as_counted(lambda: torch.sort(x), (formulas.sort, (rows, width)))
    assert_as_counted(
        lambda: functional.layer_norm(x, (width,), weight, weight), (formulas.norm, (n, 7))
    )
    assert_as_counted(
        lambda: torch.mean(x, 1), (formulas.reduction, (n, rows, 1, 0, 0, 0, 0, 1, 0))
    )
    assert_as_counted(lambda: functional.mse_loss(x, x), (formulas.loss, (n, 2)))


def test_optimizers():
    # AdamW: m 3, v 4, decay 1, quotient 1, epsilon 1, update 3, and a root; of 10 parameters
    assert formulas.adamw(10) == 140
    assert formulas.adam(10) == 130
    # p += -lr*d, 2; with momentum b = m*b + g, 2 more
    assert formulas.sgd([10, 20], momentum=[0, 1]).tolist() == [20, 80]
