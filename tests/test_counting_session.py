"""What counting changes in the process: undone after interrupts, and hidden from counts inside."""

import re
import subprocess
import sys
import textwrap
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import nn
from torch.nn.modules import module as nn_module
from torch.utils._python_dispatch import TorchDispatchMode

from flops_tracker import (
    FlopCounter,
    TorchAutoEstimator,
    UnknownOperationError,
    count,
    explain,
    profile,
)
from flops_tracker._counting import _process, open_session
from flops_tracker.compat.torch_flops import TorchFLOPsByFX

# Linear(4, 3) without bias on 2 rows: a multiplication and an addition for each of 2·4·3, under
# `matmul`.
LINEAR = 48


def linear():
    return nn.Linear(4, 3, bias=False)


def left():
    return (
        len(nn_module._global_forward_pre_hooks),
        len(nn_module._global_forward_hooks),
        len(nn_module._global_forward_hooks_always_called),
        len(nn_module._global_forward_hooks_with_kwargs),
        torch._C._len_torch_dispatch_stack(),
        len(_process.counters),
        threading.Thread.start,
        nn_module._has_any_global_hook,
        torch.utils._python_dispatch.is_in_torch_dispatch_mode(),
        list(warnings.filters),
        len(sys.meta_path),
        torch._dynamo.eval_frame._stance.stance,
    )


# ---- counts inside of a block ----


def inner_count(model, x):
    return count(model, x, convention="matmul").total


def inner_real_count(model, x):
    return count(model, x, on="real", convention="matmul").total


def inner_profile(model, x):
    return profile(model, x, time=False, convention="matmul").total


def inner_count_on_a_thread(model, x):
    def function(a):
        thread = threading.Thread(target=lambda: model(a))
        thread.start()
        thread.join()
        return model(a)

    return count(function, x, on="real", convention="matmul").total // 2


def inner_explain(model, x):
    return 2 * int(re.search(r"mac (\d+)", explain("aten.mm", (2, 4), (4, 3)))[1])


def inner_estimator(model, x):
    return TorchAutoEstimator(model, tuple(x.shape), training_factor=1).flops_for_batch(2)


def inner_graph(model, x):
    flops = TorchFLOPsByFX(model)
    flops.propagate(x)
    return flops.print_total_flops(show=False) + 2 * 3  # without a bias `exact` is 1 less an output


@pytest.mark.parametrize(
    "inner",
    [
        inner_estimator,
        inner_graph,
        inner_count,
        inner_real_count,
        inner_profile,
        inner_count_on_a_thread,
        inner_explain,
    ],
)
def test_a_count_in_a_block_is_not_the_blocks(inner):
    model, x = linear(), torch.ones(2, 4)
    with FlopCounter(convention="matmul") as outermost, FlopCounter(convention="matmul") as outer:
        assert inner(model, x) == LINEAR
        before = outer.operations, outer.by_module()
        model(x)
        assert inner(model, x) == LINEAR
        model(x)
    assert before == (0, {})
    assert outer.total == outermost.total == 2 * LINEAR
    assert outer.by_module()["Linear"].calls == 2
    assert list(outer.by_module()) == ["Linear"]


def test_a_count_in_a_model_that_is_counted():
    class Curious(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = linear()

        def forward(self, x):
            self.seen = count(self.linear, x, convention="matmul").total
            return self.linear(x)

    model = Curious()
    with FlopCounter(model, convention="matmul") as counter:
        model(torch.ones(2, 4))
    assert model.seen == counter.total == counter.by_module()["Curious.linear"].own == LINEAR


def test_modes_around_stay_in_their_order():
    class Sees(torch.utils._python_dispatch.TorchDispatchMode):
        def __init__(self):
            super().__init__()
            self.names = []

        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            self.names.append(str(function))
            return function(*args, **(kwargs or {}))

    x = torch.ones(2, 4)
    with Sees() as below, FlopCounter() as outer, Sees() as above:
        count(lambda a: a.sin(), x, on="real")
        x.cos()
    assert outer.by_op() == {"aten.cos.default": 8}
    for mode in (below, above):
        assert [name for name in mode.names if "sin" in name or "cos" in name] == [
            "aten.sin.default",
            "aten.cos.default",
        ]


def test_another_thread_goes_on_counting_while_one_does_not():
    model, x = linear(), torch.ones(2, 4)
    entered, done = threading.Event(), threading.Event()

    def work():
        entered.wait(10)
        model(x)
        done.set()

    def function(a):
        entered.set()
        assert done.wait(10)
        return a

    with FlopCounter(convention="matmul") as outer:
        thread = threading.Thread(target=work)
        thread.start()
        count(function, x, on="real")
        thread.join()
    assert outer.by_module()["Linear"].own == LINEAR


def test_a_thread_that_starts_while_another_counts_is_counted():
    """Only what the thread in count() starts is hidden."""
    model, x = linear(), torch.ones(2, 4)
    entered, done = threading.Event(), threading.Event()

    def function(a):
        entered.set()
        assert done.wait(10)
        return a

    with FlopCounter(convention="matmul") as outer:
        counting = threading.Thread(target=lambda: count(function, x, on="real"))
        counting.start()
        assert entered.wait(10)
        meanwhile = threading.Thread(target=lambda: model(x))
        meanwhile.start()
        meanwhile.join()
        done.set()
        counting.join()
    assert outer.total == LINEAR


def test_a_thread_that_somebody_else_starts_is_not_counted():
    model, x = linear(), torch.ones(2, 4)
    inside, over, totals = threading.Event(), threading.Event(), []

    def empty_block():
        with FlopCounter(convention="matmul") as c:
            inside.set()
            assert over.wait(10)
        totals.append(c.total)

    def own_block():
        with FlopCounter(convention="matmul") as c:
            model(x)
        totals.append(c.total)

    first = threading.Thread(target=empty_block)
    first.start()
    assert inside.wait(10)
    second = threading.Thread(target=own_block)
    second.start()
    second.join()
    over.set()
    first.join()
    assert totals == [LINEAR, 0]


def test_a_profile_function_sees_threads_from_their_first_event():
    events = []

    def work():
        pass

    def profile_function(frame, event, argument):
        if frame.f_code in (work.__code__, threading.Thread.run.__code__):
            events.append((event, frame.f_code.co_name))

    threading.setprofile(profile_function)
    try:
        with FlopCounter():
            thread = threading.Thread(target=work)
            thread.start()
            thread.join()
    finally:
        threading.setprofile(None)
    assert events == [("call", "run"), ("call", "work"), ("return", "work"), ("return", "run")]


def test_a_block_that_is_left_in_another_thread():
    """As a generator is that was started in one thread and is closed in another."""
    before = left()
    with ThreadPoolExecutor(1) as pool:
        counter = FlopCounter()
        pool.submit(counter.__enter__).result()
        counter.__exit__(None, None, None)
        depth = torch._C._len_torch_dispatch_stack

        def later():
            with FlopCounter(convention="matmul") as c:
                linear()(torch.ones(2, 4))
            return c.total

        assert pool.submit(later).result() == LINEAR
        assert pool.submit(depth).result() == 0
    assert left() == before


def test_a_hook_of_the_users_stays():
    class Curious(FlopCounter):
        calls = 0

        def look(self, module, args):
            self.calls += 1

    counter = Curious()
    handle = nn_module.register_module_forward_pre_hook(counter.look)
    with counter:
        linear()(torch.ones(2, 4))
    linear()(torch.ones(2, 4))
    handle.remove()
    assert counter.calls == 2


def test_warnings_are_shown_once_a_place():
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("default")
        for _ in range(3):
            with FlopCounter():
                warnings.warn("the user's own", stacklevel=1)
    assert len(seen) == 1


# ---- interrupts ----


def interrupted_at(number, action):
    """Run an action and raise KeyboardInterrupt at one of the package's lines; whether it was."""
    lines = 0

    def trace(frame, event, argument):
        nonlocal lines
        if not re.search("flops_tracker|_python_dispatch", frame.f_code.co_filename):
            return None
        if event == "line":
            lines += 1
            if lines == number:
                raise KeyboardInterrupt
        return trace

    sys.settrace(trace)
    try:
        action()
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(None)
        # A trace can raise where no signal does: between the end of a with block and its release.
        _process.lock = threading.RLock()
    return False


def test_an_interrupt_while_a_block_is_entered_leaves_nothing():
    before, number = left(), 0
    counter = FlopCounter()
    while True:
        number += 1
        if not interrupted_at(number, counter.__enter__):
            break
        assert left() == before, f"line {number}"
    counter.__exit__(None, None, None)
    assert number > 20
    assert left() == before


def test_an_interrupt_while_a_block_is_left_leaves_nothing():
    before, number = left(), 0
    interrupted = True
    while interrupted:
        number += 1
        counter = FlopCounter().__enter__()
        interrupted = interrupted_at(number, lambda c=counter: c.__exit__(None, None, None))
        assert left() == before, f"line {number}"
    assert number > 10


def test_a_session_that_is_lost_ends():
    class Counter:
        def _enter_module(self, *call): ...
        def _leave_module(self, *call): ...
        def _new_mode(self):
            return TorchDispatchMode()

    before = left()
    open_session(Counter())
    assert left() == before


def test_a_block_that_is_never_left_ends_quietly_with_the_process():
    assert (
        in_a_process_of_its_own(
            """
            import torch
            from flops_tracker import FlopCounter
            counter = FlopCounter().__enter__()
            torch.ones(3) + 1
            """
        )
        == []
    )


# ---- torch.compile ----


def in_a_process_of_its_own(text):
    run = subprocess.run(
        [sys.executable, "-P", "-c", textwrap.dedent(text)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (run.returncode, run.stderr) == (0, "")
    return run.stdout.split()


def test_what_is_compiled_and_called_first_in_a_block_is_compiled_once_after_it():
    assert in_a_process_of_its_own(
        """
        import sys, torch
        from flops_tracker import FlopCounter
        compiled = []
        def backend(graph, example):
            compiled.append(1)
            return graph.forward
        finders = list(sys.meta_path)
        imported = "torch._dynamo" in sys.modules
        with FlopCounter(convention="matmul") as counter:
            function = torch.compile(lambda x: x @ x + 1, backend=backend)
            function(torch.ones(3, 3))
            print(imported, len(compiled), counter.total)
        for _ in range(3):
            function(torch.ones(3, 3))
        print(len(compiled), torch._dynamo.eval_frame._stance.stance, finders == sys.meta_path)
        """
    ) == ["False", "0", "54", "1", "default", "True"]


def stance():
    return torch._dynamo.eval_frame._stance.stance


@pytest.fixture
def default_stance():
    yield
    torch.compiler.set_stance("default")


@pytest.mark.usefixtures("default_stance")
def test_a_stance_that_is_set_in_a_block_stays():
    with FlopCounter():
        torch.compiler.set_stance("eager_on_recompile")
        assert stance() == "force_eager"
    assert stance() == "eager_on_recompile"


@pytest.mark.usefixtures("default_stance")
def test_a_stance_that_is_open_in_a_block_for_a_while():
    with FlopCounter(), torch.compiler.set_stance("eager_on_recompile"):
        assert stance() == "force_eager"
    assert stance() == "default"


@pytest.mark.usefixtures("default_stance")
def test_a_stance_that_ends_after_the_block():
    counter = FlopCounter().__enter__()
    inner = torch.compiler.set_stance("eager_on_recompile")
    with inner:
        counter.__exit__(None, None, None)
        assert stance() == "eager_on_recompile"
    assert stance() == "default"


@pytest.mark.usefixtures("default_stance")
def test_a_stance_that_ends_in_the_block():
    inner = torch.compiler.set_stance("eager_on_recompile")
    counter = FlopCounter().__enter__()
    inner.__exit__(None, None, None)
    counter.__exit__(None, None, None)
    assert stance() == "default"


# ---- operations without a rule ----


@torch.library.custom_op("flops_tracker_tests::nobody_knows", mutates_args=())
def nobody_knows(x: torch.Tensor) -> torch.Tensor:
    return x.clone()


@nobody_knows.register_fake
def _(x):
    return torch.empty_like(x)


def test_a_strict_count_is_not_repeated_on_real_tensors():
    calls = []

    def function(x):
        calls.append(1)
        return nobody_knows(x)

    with pytest.raises(UnknownOperationError, match="no rule for flops_tracker_tests"):
        count(function, torch.ones(3), strict=True)
    assert len(calls) == 1
    assert issubclass(UnknownOperationError, RuntimeError)


def test_an_error_that_only_reads_like_it_is_tried_on_real_tensors():
    def function(x):
        if type(x) is not torch.Tensor:
            raise ValueError("no rule for fake tensors")
        return x + 1

    with pytest.warns(UserWarning, match="counted on real tensors"):
        assert count(function, torch.ones(3)).total == 3
