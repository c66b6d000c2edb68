"""FlopsProfiler and get_model_profile: that tool's rules and words, and a model left as it is."""

import copy
import threading
import warnings

import pytest
import torch
from model_snapshot import changes, snapshot
from torch import nn
from torch.nn import functional as F

import flops_tracker.compat.flops_profiler as package
from flops_tracker import FlopCounter, conventions, count, rules
from flops_tracker.compat.flops_profiler import (
    FlopsProfiler,
    duration_to_string,
    flops_to_string,
    get_model_profile,
    params_to_string,
    profiler,
)

QUIET = {"print_profile": False, "print_aggregated_profile": False, "as_strings": False}


def macs_of(model, *args, **kwargs):
    return count(model, *args, convention="flops_profiler", **kwargs).total


class Net(nn.Module):
    """On 3 rows: 3·5·4, ReLU 12, 3·4·2, and 6 of a ReLU that no module makes."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(5, 4), nn.ReLU())
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        return F.relu(self.head(self.body(x)))


NET = 60 + 12 + 24 + 6


# ---- the rules ----


@pytest.mark.parametrize(
    ("model", "shape", "macs"),
    [
        (nn.Linear(5, 4), (3, 5), 60),  # 3·5·4, no bias
        (nn.Linear(5, 4), (2, 3, 5), 120),
        (nn.Conv2d(2, 6, 3), (1, 2, 5, 5), 972 + 54),  # 3·3·6 outputs of 18, and as many biases
        (nn.Conv2d(2, 6, 3, bias=False), (1, 2, 5, 5), 972),
        (nn.Conv1d(4, 4, 3, groups=4), (1, 4, 6), 48 + 16),  # 4·4 outputs of 3
        (nn.ConvTranspose2d(2, 3, 2, stride=2), (1, 2, 4, 4), 384 + 192),  # 16·2·4·3; 3·8·8 biases
        (nn.ReLU(), (3, 5), 15),
        (nn.ReLU(inplace=True), (3, 5), 15),
        (nn.ReLU6(), (3, 5), 15),
        (nn.LeakyReLU(), (3, 5), 15),
        (nn.ELU(), (3, 5), 15),
        (nn.PReLU(), (3, 5), 15),
        (nn.Softmax(-1), (3, 5), 15),
        (nn.AvgPool2d(2), (1, 3, 4, 4), 48),  # of the input, whatever the window
        (nn.AvgPool2d(3, stride=1), (1, 3, 4, 4), 48),
        (nn.MaxPool2d(3, 2), (1, 3, 5, 5), 75),
        (nn.MaxPool1d(2), (1, 3, 6), 18),
        (nn.AdaptiveAvgPool2d(2), (1, 3, 5, 5), 75),
        (nn.AdaptiveMaxPool2d(2), (1, 3, 5, 5), 75),
        (nn.BatchNorm2d(3), (2, 3, 4, 4), 192),  # twice its 96 elements
        (nn.BatchNorm2d(3).eval(), (2, 3, 4, 4), 192),
        (nn.Upsample(scale_factor=2), (1, 3, 4, 4), 192),  # of the output
        (nn.Upsample(scale_factor=2, mode="bilinear"), (1, 3, 4, 4), 192),
        (nn.Sequential(nn.Tanh(), nn.GELU(), nn.LayerNorm(5), nn.Dropout()), (3, 5), 0),
        (nn.Flatten(), (3, 5), 0),
    ],
)
def test_what_the_tool_counts(model, shape, macs):
    assert macs_of(model, torch.zeros(shape)) == macs


def test_what_the_tool_does_not_see_counts_its_contractions():
    assert macs_of(lambda a, b: a @ b + 1, torch.zeros(2, 3), torch.zeros(3, 4)) == 24
    q = torch.zeros(1, 2, 3, 4)  # 2 heads: scores 3·3·4, and as much for their product
    assert macs_of(F.scaled_dot_product_attention, q, q, q) == 2 * 2 * 36


def test_the_rules_can_be_read():
    stated = {rule.name: rule for rule in rules("flops_profiler/")}
    assert stated["flops_profiler/aten.relu"].operands == {"tensor": "self", "times": "1"}
    assert stated["flops_profiler/aten.native_batch_norm"].operands["times"] == "2"
    assert "flops_profiler/aten.tanh" not in stated
    assert "flops_profiler" in {convention.name for convention in conventions()}


def test_counts_by_other_rules_are_not_mixed():
    counts = count(nn.Linear(5, 4), torch.zeros(3, 5), convention="flops_profiler")
    with pytest.raises(ValueError, match=r"under 'flops_profiler' can't be read under 'standard'"):
        counts.under("standard")
    with pytest.raises(ValueError, match=r"under 'macs' can't be read under 'flops_profiler'"):
        count(nn.Linear(5, 4), torch.zeros(3, 5), convention="macs").under("flops_profiler")
    assert counts.under("flops_profiler").total == 60
    # One of each in one block: each has its own rules.
    with FlopCounter(convention="flops_profiler") as outer, FlopCounter() as inner:
        torch.relu(torch.ones(3)) + 1
    assert (outer.total, inner.total) == (3, 3)  # the ReLU; the addition


# ---- numbers as text ----


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (flops_to_string(439_549_952), "439.55 MMACs"),
        (flops_to_string(247_398_400), "247.4 MMACs"),
        (flops_to_string(860_160), "860.16 KMACs"),
        (flops_to_string(183_181_492_224), "183.18 GMACs"),
        (flops_to_string(0.0), "0.0 MACs"),
        (flops_to_string(999), "999 MACs"),
        (flops_to_string(2e12), "2000.0 GMACs"),
        (flops_to_string(1_500_000, units="GMACs", precision=4), "0.0015 GMACs"),
        (params_to_string(61_706), "61.71 k"),
        (params_to_string(61_100_840), "61.1 M"),
        (params_to_string(156), "156"),
        (params_to_string(0), "0"),
        (params_to_string(2_416, units="K", precision=1), "2.4 k"),
        (duration_to_string(0.02562), "25.62 ms"),
        (duration_to_string(0.00049739), "497.39 us"),
        (duration_to_string(12.3456), "12.35 s"),
        (duration_to_string(0), "0.0 us"),
        (duration_to_string(0.5, units="s"), "0.5 s"),
    ],
)
def test_numbers_as_text(text, expected):
    assert text == expected


def test_units_that_there_are_not():
    with pytest.raises(ValueError, match="units must be 'GMACs', 'MMACs', 'KMACs' or 'MACs', not"):
        flops_to_string(5, units="GFLOPs")


# ---- the profiler ----


def profiled(model, *batches, **options):
    made = FlopsProfiler(model)
    made.start_profile(**options)
    for batch in batches:
        model(batch)
    made.end_profile()
    return made


def test_a_mean_over_forward_passes():
    made = profiled(Net(), torch.zeros(3, 5), torch.zeros(3, 5))
    assert (made.get_total_flops(), made.get_total_params(), made.get_total_steps()) == (NET, 34, 2)
    assert made.get_total_duration() > 0
    assert made.get_total_flops(as_string=True) == f"{NET}.0 MACs"
    assert made.get_total_params(as_string=True) == "34"
    assert made.get_total_duration(as_string=True).split()[1] in ("s", "ms", "us")
    # Batches of 3 and of 4 rows: NET/3 a row, 3.5 rows a pass.
    made = profiled(Net(), torch.zeros(3, 5), torch.zeros(4, 5))
    assert made.get_total_flops() == NET / 3 * 3.5 == 119


def test_what_surrounds_the_forward_is_no_part_of_it():
    model = Net()
    made = FlopsProfiler(model)
    model(torch.zeros(3, 5))  # before it starts
    made.start_profile()
    loss = model(torch.zeros(3, 5)).square().sum()
    torch.zeros(9, 9) @ torch.zeros(9, 9)
    loss.backward()
    model.head(torch.zeros(3, 4))
    made.end_profile()
    model(torch.zeros(3, 5))  # after it ended
    assert (made.get_total_flops(), made.get_total_steps()) == (NET, 1)


def test_cycles_start_from_nothing(capsys):
    model = Net()
    made = FlopsProfiler(model)
    for rows in (3, 6):
        made.start_profile()
        model(torch.zeros(rows, 5))
        made.end_profile()
        assert (made.get_total_flops(), made.get_total_steps()) == (NET * rows // 3, 1)
    made.end_profile()  # once more changes nothing
    assert made.get_total_steps() == 1
    made.start_profile()
    with pytest.raises(RuntimeError, match=r"call end_profile\(\) first"):
        made.start_profile()
    model(torch.zeros(3, 5))
    made.reset_profile()
    assert (made.get_total_steps(), made.get_total_flops(), made.get_total_duration()) == (0, 0, 0)
    made.print_model_profile()
    made.print_model_aggregated_profile()
    assert capsys.readouterr().out.count("no forward pass was profiled") == 2
    model(torch.zeros(3, 5))
    model(torch.zeros(3, 5))
    made.end_profile()
    assert (made.get_total_flops(), made.get_total_steps()) == (NET, 2)


def test_it_prints_the_same_before_and_after_its_end(capsys):
    model = Net()
    made = FlopsProfiler(model)
    made.start_profile()
    model(torch.zeros(3, 5))
    printed = []
    for end in (lambda: None, made.end_profile, lambda: model(torch.zeros(9, 5))):
        end()
        made.print_model_profile()
        made.print_model_aggregated_profile()
        printed.append(capsys.readouterr().out)
    assert printed[0] == printed[1] == printed[2]
    lines = printed[0].splitlines()
    assert lines[0] == "Net(" and lines[1].startswith("  34, 100.00% Params, 102.0 MACs, 100.00%")
    # The body has 24 of 34 parameters and 72 of 102; its Linear 60, the head 10 and 24.
    assert lines[2] == "  (body): Sequential("
    assert lines[3].startswith("    24, 70.59% Params, 72.0 MACs, 70.59% MACs, ")
    assert lines[4].startswith("    (0): Linear(24, 70.59% Params, 60.0 MACs, 58.82% MACs, ")
    assert lines[4].endswith(" TFLOPS, in_features=5, out_features=4, bias=True)")
    assert lines[5].endswith(" TFLOPS, )")
    assert lines[7].startswith("  (head): Linear(10, 29.41% Params, 24.0 MACs, 23.53% MACs, ")
    assert lines[9] == (
        "Top 2 modules in flops at depth 2 are {'Linear': '60.0 MACs', 'ReLU': '12.0 MACs'}"
    )


def test_depths_and_numbers_of_classes(capsys):
    made = profiled(Net(), torch.zeros(3, 5))
    made.print_model_aggregated_profile(module_depth=1, top_modules=1)
    first = capsys.readouterr().out.splitlines()[0]
    assert first == "Top 1 modules in flops at depth 1 are {'Sequential': '72.0 MACs'}"
    made.print_model_aggregated_profile(0)
    assert "at depth 0 are {'Net': '102.0 MACs'}" in capsys.readouterr().out
    with pytest.raises(ValueError, match="depth must be -1 to 2, the innermost modules, not 3"):
        made.print_model_aggregated_profile(module_depth=3)
    with pytest.raises(ValueError, match="top must be 1 or more, not 0"):
        made.print_model_aggregated_profile(top_modules=0)


def test_modules_that_are_ignored():
    made = profiled(Net(), torch.zeros(3, 5), ignore_list=[nn.Linear])
    assert made.get_total_flops() == 12 + 6
    assert made.get_total_params() == 34
    made = profiled(Net(), torch.zeros(3, 5), ignore_list=[nn.Sequential])
    assert made.get_total_flops() == 24 + 6  # with all inside it
    with pytest.raises(TypeError, match="by their classes, not \\['Linear'\\]"):
        FlopsProfiler(Net()).start_profile(ignore_list=["Linear"])


class Paths(nn.Module):
    """Another path for each sign, and itself again for large values."""

    def __init__(self):
        super().__init__()
        self.left, self.right = nn.Linear(4, 4), nn.Linear(4, 8)

    def forward(self, x):
        if x.max() > 5:
            return self(x / x.max())
        return self.left(x) if x.sum() > 0 else self.right(x)


def test_a_model_that_goes_different_ways(capsys):
    up, down = torch.ones(1, 4), -torch.ones(1, 4)
    made = profiled(Paths(), up, down, down)
    assert made.get_total_flops() == (16 + 32 + 32) / 3
    made.print_model_profile()
    lines = capsys.readouterr().out.splitlines()
    assert "26.67 MACs" in lines[1] and "5.33 MACs" in lines[2] and "21.33 MACs" in lines[3]
    made = profiled(Paths(), 9 * up)
    assert (made.get_total_flops(), made.get_total_steps()) == (16, 1)  # in one pass


class Breaking(Net):
    error = None

    def forward(self, x):
        made = super().forward(x)
        if self.error is not None:
            raise self.error
        return made


def test_a_pass_that_raised_is_none():
    model = Breaking()
    made = FlopsProfiler(model)
    made.start_profile()
    for error in (None, ValueError("no"), KeyboardInterrupt(), None):
        model.error = error
        if error is None:
            model(torch.zeros(3, 5))
        else:
            with pytest.raises(type(error)):
                model(torch.zeros(3, 5))
    try:
        raise KeyError("of the user")
    except KeyError:
        model(torch.zeros(3, 5))
    made.end_profile()
    assert (made.get_total_flops(), made.get_total_steps()) == (NET, 3)


@pytest.mark.parametrize("error", [None, ValueError("no"), KeyboardInterrupt()])
def test_nothing_is_left_on_the_model(error):
    model = Breaking()
    model.error = error
    before, functions = snapshot(model), {name: Same(vars(F)[name]) for name in dir(F)}
    methods = {name: Same(getattr(torch, name)) for name in ("matmul", "bmm", "einsum", "addmm")}
    made = FlopsProfiler(model)
    made.start_profile()
    assert functions == {name: Same(vars(F)[name]) for name in dir(F)}
    assert methods == {name: Same(getattr(torch, name)) for name in methods}
    with pytest.raises(type(error)) if error else warnings.catch_warnings():
        model(torch.zeros(3, 5))
    made.end_profile()
    assert changes(before, snapshot(model)) == []
    assert functions == {name: Same(vars(F)[name]) for name in dir(F)}


class Same:
    def __init__(self, thing):
        self.thing = thing

    def __eq__(self, other):
        return self.thing is other.thing

    __hash__ = None


def test_a_copy_of_the_model_is_not_profiled():
    model = Net()
    made = FlopsProfiler(model)
    made.start_profile()
    copy.deepcopy(model)(torch.zeros(3, 5))
    made.end_profile()
    assert made.get_total_steps() == 0


def test_inside_a_counter_of_the_user():
    model = Net()
    made = FlopsProfiler(model)
    made.start_profile()
    with FlopCounter(convention="macs") as counter:
        model(torch.zeros(3, 5))
    made.end_profile()
    assert (counter.total, made.get_total_flops()) == (84, NET)


def test_a_compiled_model():
    model = torch.compile(Net(), backend="eager")
    made = profiled(model, torch.zeros(3, 5), torch.zeros(3, 5))
    assert (made.get_total_flops(), made.get_total_steps()) == (NET, 2)


def test_a_module_with_two_names_is_one(capsys):
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
    model.append(model[0])
    made = profiled(model, torch.zeros(2, 4))
    assert (made.get_total_flops(), made.get_total_params()) == (32 + 8 + 32, 20)
    made.print_model_profile()
    assert "(0 = 2): Linear(20, 100.00% Params, 64.0 MACs" in capsys.readouterr().out


def test_misuse():
    with pytest.raises(TypeError, match=r"torch.nn.Module, not function"):
        FlopsProfiler(lambda x: x)
    made = FlopsProfiler(Net())
    for read in (made.get_total_flops, made.print_model_profile, made.get_total_params):
        with pytest.raises(RuntimeError, match=r"call start_profile\(\) before"):
            read()
    assert made.get_total_steps() == 0
    with pytest.raises(ValueError, match="not initialised yet"):
        FlopsProfiler(nn.LazyLinear(3)).start_profile()


# ---- get_model_profile ----


def test_both_modules_have_the_same_names():
    assert all(getattr(package, name) is getattr(profiler, name) for name in package.__all__)


def test_a_model_is_profiled_on_copies_in_eval_mode():
    class Counting(Net):
        def __init__(self):
            super().__init__()
            self.norm, self.seen = nn.BatchNorm1d(5), []

        def forward(self, x):
            seen.append(self.training)
            self.seen.append(x)
            return super().forward(F.dropout(self.norm(x), training=self.training))

    seen = []
    model = Counting()
    model.body.eval()
    before = snapshot(model)
    profiled = get_model_profile(model, (3, 5), warm_up=2, num_steps=3, **QUIET)
    assert profiled == (NET + 2 * 15, 34 + 10, 3)
    assert seen == [False] * 5
    assert changes(before, snapshot(model)) == []
    with pytest.raises(RuntimeError, match="6 elements not 5"):
        get_model_profile(model, (3, 6), **QUIET)
    assert changes(before, snapshot(model)) == []


class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.table, self.linear = nn.Embedding(10, 4), nn.Linear(4, 2)

    def forward(self, ids, mask=None):
        rows = self.linear(self.table(ids))
        return rows if mask is None else rows * mask


@pytest.mark.parametrize(
    "make",
    [
        lambda res: {"ids": torch.zeros(res, dtype=torch.int64), "mask": torch.ones(*res, 1)},
        lambda res: (torch.zeros(res, dtype=torch.int64), torch.ones(*res, 1)),
        lambda res: [torch.zeros(res, dtype=torch.int64)],
        lambda res: torch.zeros(res, dtype=torch.int64),
    ],
)
def test_inputs_of_other_kinds(make):
    # 2·3 rows of 4·2; the table 40 and 8 + 2.
    assert get_model_profile(Two(), (2, 3), make, num_steps=2, **QUIET) == (48, 50, 2)


def test_input_that_does_not_fit_has_a_hint():
    with pytest.raises(RuntimeError) as caught:
        get_model_profile(Two(), (2, 3), **QUIET)
    assert "pass input_constructor" in caught.value.__notes__[-1]


def test_every_pass_has_an_input_of_its_own():
    rows = iter([1, 1, 2, 3])
    made = get_model_profile(
        nn.Linear(5, 4), None, lambda _: torch.zeros(next(rows), 5), warm_up=1, num_steps=3, **QUIET
    )
    assert made == (20 * (1 + 2 + 3) / 3, 24, 3)


def test_the_dtype_is_that_of_the_parameters():
    assert get_model_profile(nn.Linear(5, 4).double(), [3, 5], num_steps=1, **QUIET)[0] == 60
    assert get_model_profile(nn.ReLU(), (3, 5), num_steps=1, **QUIET) == (15, 0, 1)


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        ((5,), {}, TypeError, "input_res must be a shape such as .*, not 5"),
        (((),), {}, TypeError, "input_res must be a shape"),
        (((3, 5.0),), {}, TypeError, "a size in input_res must be an int, not 5.0"),
        (((3, 5), "make"), {}, TypeError, "input_constructor must be callable, not 'make'"),
        (((3, 5),), {"num_steps": 0}, ValueError, "num_steps must be 1 or more, not 0"),
        (((3, 5),), {"warm_up": -1}, ValueError, "warm_up must be 0 or more, not -1"),
        (((3, 5),), {"top_modules": 0}, ValueError, "top_modules must be 1 or more, not 0"),
        (((3, 5),), {"module_depth": -2}, ValueError, "module_depth must be -1 or more, not -2"),
        (((3, 5),), {"ignore_modules": ["ReLU"]}, TypeError, "by their classes, not"),
    ],
)
def test_arguments_that_make_no_sense(arguments, options, error, message):
    with pytest.raises(error, match=message):
        get_model_profile(Net(), *arguments, **{**QUIET, **options})
    with pytest.raises(TypeError, match="Module, not str"):
        get_model_profile("net", (3, 5))


class Meets(nn.Module):
    """Linear(5, 4) on 3 rows, 60 MACs, while a thread that it starts calls it as well."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(5, 4)
        self.failures = []

    def forward(self, x, alone=False):
        if not alone:
            thread = threading.Thread(target=self.other, args=(x,))
            thread.start()
            thread.join()
        return self.linear(x)

    def other(self, x):
        try:
            self(x, alone=True)
        except Exception as error:
            self.failures.append(error)


def test_a_pass_in_another_thread_meanwhile_runs_as_it_does():
    model = Meets()
    made = FlopsProfiler(model)
    made.start_profile()
    model(torch.zeros(3, 5))
    model(torch.zeros(3, 5), alone=True)
    made.end_profile()
    assert model.failures == []
    assert made.get_total_steps() == 2


def test_threads_that_call_a_model_at_once():
    model, failures = nn.Linear(5, 4), []
    made = FlopsProfiler(model)
    made.start_profile()

    def work():
        try:
            for _ in range(30):
                model(torch.zeros(3, 5))
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    model(torch.zeros(3, 5))
    made.end_profile()
    assert failures == []
    assert 1 <= made.get_total_steps() <= 121


def test_a_class_to_ignore_needs_no_list():
    # ReLU on 3·4 numbers, and 6 of the one that no module makes.
    assert get_model_profile(Net(), (3, 5), num_steps=1, ignore_modules=nn.Linear, **QUIET)[0] == 18
