"""FlopCounter as a block: nesting, entering again, threads, other modes, torch.compile, modules."""

import gc
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import nn
from torch.nn.modules import module as nn_module
from torch.utils._python_dispatch import TorchDispatchMode

from flops_tracker import FlopCounter

# mm (4,5) times (5,6): 2*4*5*6 under `matmul`.
MM = 240


def mm():
    return torch.ones(4, 5).mm(torch.ones(5, 6))


def total(counter):
    return counter.under("matmul").total


# ---- entering and leaving ----


def test_a_counter_goes_on_where_it_was():
    c = FlopCounter()
    with c:
        mm()
    mm()
    with c:
        mm()
    assert total(c) == 2 * MM
    c.reset()
    assert total(c) == 0
    with c:
        mm()
    assert total(c) == MM


def test_a_counter_can_be_read_while_it_counts():
    with FlopCounter() as c:
        mm()
        assert total(c) == MM
        mm()
    assert total(c) == 2 * MM


def test_a_result_is_of_its_moment():
    with FlopCounter() as c:
        mm()
        early = c.counts
        mm()
    assert early.under("matmul").total == MM


def test_one_counter_twice_at_once_is_refused():
    with FlopCounter() as c:
        with pytest.raises(RuntimeError, match="counting already"):
            c.__enter__()
        with pytest.raises(RuntimeError, match="outside of its block"):
            c.reset()
        mm()
    assert total(c) == MM


def test_two_counters_nest():
    with FlopCounter() as outer:
        mm()
        with FlopCounter() as inner:
            mm()
        mm()
    assert (total(outer), total(inner)) == (3 * MM, MM)


def depth():
    return torch._C._len_torch_dispatch_stack()


def test_leaving_in_another_order_leaves_the_other_counting():
    one, two = FlopCounter(), FlopCounter()
    one.__enter__()
    two.__enter__()
    mm()
    one.__exit__(None, None, None)
    mm()
    two.__exit__(None, None, None)
    mm()
    assert (total(one), total(two)) == (MM, 2 * MM)
    assert depth() == 0
    assert not torch.utils._python_dispatch.is_in_torch_dispatch_mode()


class Silent(TorchDispatchMode):
    seen = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.seen += 1
        return func(*args, **(kwargs or {}))


def test_a_mode_of_somebody_else_above_stays():
    c, mode = FlopCounter(), Silent()
    c.__enter__()
    mode.__enter__()
    c.__exit__(None, None, None)
    mm()
    assert mode.seen > 0
    assert total(c) == 0
    mode.__exit__(None, None, None)
    assert depth() == 0
    assert not torch.utils._python_dispatch.is_in_torch_dispatch_mode()


def test_leaving_in_another_thread_ends_the_counting():
    c = FlopCounter()
    c.__enter__()
    mm()
    thread = threading.Thread(target=c.__exit__, args=(None, None, None))
    thread.start()
    thread.join()
    mm()  # the mode is still on this thread's stack, and passes it through
    assert total(c) == MM
    torch._C._pop_torch_dispatch_stack(None)


def hooks():
    return len(nn_module._global_forward_hooks), len(nn_module._global_forward_pre_hooks)


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_an_exception_leaves_nothing(error):
    class Raising(nn.Module):
        def forward(self, x):
            mm()
            raise error

    model = nn.Sequential(nn.Linear(5, 4), Raising())
    c = FlopCounter(model)
    with pytest.raises(error), c:
        model(torch.ones(1, 5))
    assert (depth(), hooks(), threading.getprofile()) == (0, (0, 0), None)
    assert c.under("matmul").by_module()["Sequential.1"].own == MM
    with c:
        mm()
    assert c.under("matmul").outside == MM  # not in the module that never returned


def test_nothing_is_kept_alive():
    model = nn.Linear(2, 2)
    with FlopCounter(model) as c:
        model(torch.ones(1, 2))
    counts = c.counts
    gone = weakref.ref(model)
    del model, c
    gc.collect()
    assert gone() is None
    assert counts.by_module()["Linear"].calls == 1


# ---- arguments ----


def test_bad_arguments():
    with pytest.raises(ValueError, match=r"convention must be .*'standard'.* not 'flops'"):
        FlopCounter(convention="flops")
    with pytest.raises(ValueError, match="causal must be 'full' or 'exact', not 'half'"):
        FlopCounter(causal="half")
    with pytest.raises(ValueError, match="causal must be 'full' or 'exact', not True"):
        FlopCounter(causal=True)
    with pytest.raises(TypeError, match="strict must be True or False, not 'no'"):
        FlopCounter(strict="no")
    with pytest.raises(TypeError, match="convention must be a name such as 'standard', not 3"):
        FlopCounter(convention=3)


def test_a_counter_shows_what_its_counts_show():
    model = nn.Linear(4, 5, bias=False)
    with FlopCounter(model, convention="matmul") as c:
        model(torch.ones(2, 4))
    assert repr(c).startswith(f"<flops_tracker.FlopCounter: {2 * 2 * 20} FLOPs, matmul · ")
    assert c.params == 20
    assert FlopCounter(nn.LazyLinear(3)).params == 0
    assert c._repr_html_() == c.counts._repr_html_()
    with pytest.raises(AttributeError):
        _ = c._nothing
    with pytest.raises(TypeError):
        FlopCounter(colour=1)
    with pytest.raises(TypeError, match=r"torch\.nn\.Module"):
        FlopCounter(3)
    with pytest.raises(ValueError, match="convention"):
        FlopCounter().under("flops")
    with pytest.raises(AttributeError, match="colour"):
        FlopCounter().colour  # noqa: B018


# ---- threads ----


def test_threads_that_start_inside_are_counted():
    with FlopCounter() as c:
        mm()
        threads = [threading.Thread(target=mm) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda _: mm(), range(4)))
    assert total(c) == 8 * MM
    assert threading.getprofile() is None


def test_threads_that_outlive_the_counter_count_no_more():
    go, ready = threading.Event(), threading.Event()

    def work():
        mm()
        ready.set()
        go.wait()
        mm()

    with FlopCounter() as c:
        thread = threading.Thread(target=work)
        thread.start()
        ready.wait()
    go.set()
    thread.join()
    assert total(c) == MM


def test_two_threads_hold_counters_of_their_own():
    barrier = threading.Barrier(2)
    totals = {}

    def work(times):
        barrier.wait()  # a thread that starts while another one counts is counted by it
        with FlopCounter() as c:
            barrier.wait()
            for _ in range(times):
                mm()
            barrier.wait()
        totals[times] = total(c)

    threads = [threading.Thread(target=work, args=(times,)) for times in (2, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert totals == {2: 2 * MM, 5: 5 * MM}


def test_the_profile_function_of_the_user_comes_back():
    calls = []

    def profile(frame, event, argument):
        calls.append(event)

    threading.setprofile(profile)
    try:
        with FlopCounter() as c:
            thread = threading.Thread(target=mm)
            thread.start()
            thread.join()
        assert threading.getprofile() is profile
        assert total(c) == MM
        assert calls  # it saw the thread as well
    finally:
        threading.setprofile(None)


def test_it_reads_like_its_counts():
    counter = FlopCounter()
    with counter:
        torch.ones(2, 3) @ torch.ones(3, 4)
    assert str(counter) == str(counter.counts)
    assert str(counter).startswith("48 FLOPs · standard")
    assert {"total", "table", "by_op", "reset", "counts"} <= set(dir(counter))


# ---- modules ----


class Shared(nn.Module):
    def __init__(self):
        super().__init__()
        self.one = nn.Linear(5, 6, bias=False)
        self.two = self.one
        self.never = nn.Linear(1, 1)

    def forward(self, x):
        return self.one(x) + self.two(x)


def test_a_shared_module_is_one_row_with_two_names():
    model = Shared()
    with FlopCounter(model) as c:
        model(torch.ones(4, 5)).sum().backward()
    modules = c.under("matmul").by_module()
    # Forward twice and the weight gradient twice: 4 * 240.
    assert modules["Shared.one"].own == 4 * MM
    assert modules["Shared.one"].aliases == ("two",)
    assert modules["Shared.one"].calls == 2
    assert "Shared.two" not in modules
    assert modules["Shared"].inclusive == 4 * MM == total(c)
    assert c.uncalled == ["Shared.never"]


def test_a_container_whose_layers_ran_is_not_uncalled():
    model = nn.Sequential(nn.Sequential(nn.Linear(5, 6)), nn.Sequential(nn.Linear(5, 6)))
    with FlopCounter(model) as c:
        model[0][0](torch.ones(4, 5))
    assert c.uncalled == ["Sequential.1", "Sequential.1.0"]


def test_own_parts_and_the_outside_add_up():
    model = nn.Sequential(nn.Sequential(nn.Linear(5, 6), nn.ReLU()), nn.Linear(6, 2))
    with FlopCounter() as c:
        mm()
        model(torch.ones(4, 5)).sum().backward()
    for convention in ("standard", "exact", "matmul", "macs"):
        counts = c.under(convention)
        modules = counts.by_module()
        assert sum(m.own for m in modules.values()) + counts.outside == counts.total
        for name, module in modules.items():
            inside = sum(m.own for n, m in modules.items() if (n + ".").startswith(name + "."))
            assert module.inclusive == inside
    # 240 forward, weight gradient 240; then 2*4*6*2 = 96 forward, weight 96, input 96.
    matmul = c.under("matmul").by_module()
    assert [matmul[f"Sequential{path}"].own for path in (".0.0", ".0.1", ".1")] == [480, 0, 288]
    assert list(c.by_module(depth=1)) == ["Sequential", "Sequential.0", "Sequential.1"]


def test_two_models_of_one_class_have_two_names():
    one, two = nn.Linear(5, 6), nn.Linear(5, 6)
    with FlopCounter() as c:
        one(torch.ones(4, 5))
        two(torch.ones(4, 5))
        one(torch.ones(4, 5))
    modules = c.under("matmul").by_module()
    assert {name: m.own for name, m in modules.items()} == {"Linear": 2 * MM, "Linear (2)": MM}


def test_hooks_on_modules_see_what_they_always_see():
    model = nn.Sequential(nn.Linear(5, 6))
    seen = []
    model.register_forward_hook(lambda module, args, output: seen.append(type(output)))
    with FlopCounter(model):
        model(torch.ones(4, 5))
    assert seen == [torch.Tensor]


def test_the_fused_path_of_an_encoder_is_left_on():
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).eval()
    x = torch.randn(2, 3, 8)
    with torch.inference_mode(), FlopCounter(layer) as c:
        layer(x)
    assert "aten._transformer_encoder_layer_fwd.default" in c.by_op()


# ---- what is not known ----


def unknown_library():
    library = torch.library.Library("flops_tracker_test", "FRAGMENT")
    library.define("scan(Tensor x, Tensor y) -> Tensor")
    library.impl("scan", lambda x, y: x * y, "CPU")
    return library


def test_an_operation_without_a_rule_is_a_row_of_its_own():
    library = unknown_library()
    try:
        scan = torch.ops.flops_tracker_test.scan
        with FlopCounter() as c:
            mm()
            scan(torch.ones(2, 3), torch.ones(3))
            scan(torch.ones(9), torch.ones(9))
            scan(torch.ones(2, dtype=torch.int64), torch.ones(2, dtype=torch.int64))
        assert c.uncounted == {"flops_tracker_test.scan.default": "(2, 3), (3,)"}
        assert c.unknown_operations == 2  # the one on integers is 0, as integers are
        assert "1 unknown" in c.trust_line
        assert c.coverage < 1
        row = [r for r in c.rows if r.op_class == "unknown"]
        assert [(r.op, r.calls, r.flops) for r in row] == [
            ("flops_tracker_test.scan.default", 2, 0)
        ]
        # Two floats (2,3) + (3,) -> (2,3), then 3 * 9: 15 + 27 elements of 4 bytes.
        assert row[0].cost["bytes"] == 4 * (6 + 3 + 6 + 27)
    finally:
        library._destroy()


def test_strict_refuses_before_it_runs():
    library = unknown_library()
    try:
        with (
            FlopCounter(strict=True) as c,
            pytest.raises(
                RuntimeError, match=r"no rule for flops_tracker_test\.scan.*register_rule"
            ),
        ):
            torch.ops.flops_tracker_test.scan(torch.ones(2), torch.ones(2))
        assert c.operations >= 0
    finally:
        library._destroy()
    assert depth() == 0
