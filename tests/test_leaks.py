"""Nothing is left behind over many calls; importing stays light; threads do not meet.

Each test runs in an interpreter of its own, where nothing else allocates.
"""

import os

import pytest
from training_models import run_python

# Under PYTHONMALLOC=malloc, as the sanitizers want it, CPython counts no blocks, and their
# quarantine keeps freed memory.
needs_own_allocator = pytest.mark.skipif(
    os.environ.get("PYTHONMALLOC") == "malloc", reason="CPython counts no blocks under malloc"
)

# `check(uses, times)` prints each use after which Python's allocator holds more blocks than before,
# by half a block a call or more: a reference that leaks in each call is at least one block a call.
# The interpreter's cache of looked-up attributes keeps their names, so it is emptied first.
GROWN = """
import gc, sys, warnings

empty_cache = getattr(sys, "_clear_internal_caches", None) or sys._clear_type_cache

def blocks():
    gc.collect()
    empty_cache()
    return sys.getallocatedblocks()

def grown(use, times):
    for _ in range(times // 4):
        use()
    before = blocks()
    for _ in range(times):
        use()
    return blocks() - before

def check(uses, times):
    for name, use in uses.items():
        more = grown(use, times)
        if more >= times / 2:
            print(f"{name}: {more} blocks in {times} calls")

def refused(error, use, *args, **kwargs):
    try:
        use(*args, **kwargs)
    except error:
        return
    raise AssertionError("no error")
"""

COUNTING = """
from flops_tracker import FlopsEstimator, FlopsTracker, SklearnSGDEstimator, format_flops
from flops_tracker import _core

class Own(FlopsEstimator):
    def flops_for_batch(self, batch_size):
        return batch_size << 70

class Wrong(FlopsEstimator):
    def flops_for_batch(self, batch_size):
        return 1.5

sgd = SklearnSGDEstimator(64, 10)
open_one = FlopsTracker(sgd, keep_batch_logs=False)
open_one.on_epoch_start()
own = FlopsTracker(Own(), keep_batch_logs=False)
own.on_epoch_start()
wrong = FlopsTracker(Wrong(), keep_batch_logs=False)
wrong.on_epoch_start()
closed = FlopsTracker(sgd)

def whole_run():
    with FlopsTracker(sgd, run_name="x") as ft:
        ft.on_epoch_start()
        for size in (3, 4, 5):
            ft.update_batch(batch_size=size)
        ft.on_epoch_end()
    return ft.step_logs, ft.epoch_logs, repr(ft), ft.total_flops

def epoch():
    open_one.on_epoch_end()
    open_one.on_epoch_start()

uses = {
    "update_batch": lambda: open_one.update_batch(128),
    "update_batch by name": lambda: open_one.update_batch(batch_size=128),
    "own estimator": lambda: own.update_batch(1),
    "total beyond 64 bits": lambda: own.total_flops,
    "whole run": whole_run,
    "constructor": lambda: FlopsTracker(sgd),
    "estimator": lambda: SklearnSGDEstimator(3, 2).flops_for_batch(7),
    "repr of an estimator": lambda: repr(sgd),
    "format_flops": lambda: format_flops(10**30),
    "no estimator": lambda: refused(TypeError, FlopsTracker, 3),
    "wrong options": lambda: refused(TypeError, FlopsTracker, sgd, colour=1),
    "wrong estimator": lambda: refused(ValueError, SklearnSGDEstimator, -1),
    "wrong size": lambda: refused(TypeError, open_one.update_batch, 2.5),
    "huge size": lambda: refused(OverflowError, open_one.update_batch, 1 << 70),
    "wrong name": lambda: refused(TypeError, open_one.update_batch, size=1),
    "wrong result": lambda: refused(TypeError, wrong.update_batch, 1),
    "overflow": lambda: refused(OverflowError, own.update_batch, (1 << 58) - 1),
    "no epoch": lambda: refused(RuntimeError, closed.update_batch, 1),
    "epoch open": lambda: refused(RuntimeError, open_one.on_epoch_start),
    "nothing bound": lambda: refused(RuntimeError, closed.run, 1),
    "saving nowhere": lambda: refused(OSError, closed.save_batch_csv, "/missing/x"),
    "twice": lambda: refused(RuntimeError, closed.__init__, sgd),
    "all ranks": lambda: (open_one.global_flops, own.global_flops),
    "limbs": lambda: _core._join_limbs(own._limbs(3), 3, 1),
    "no limbs": lambda: refused(ValueError, _core._join_limbs, [1, 2], 3, 1),
    "wrong limbs": lambda: refused(TypeError, _core._join_limbs, [None] * 7, 3, 1),
    "not initialised": lambda: FlopsTracker.__new__(FlopsTracker).total_flops,
}
check(uses, 2000)
"""


@needs_own_allocator
def test_counting_by_hand_and_its_errors_leave_nothing(tmp_path):
    result = run_python(GROWN + COUNTING, tmp_path)
    assert (result.stdout, result.stderr) == ("", "")


@needs_own_allocator
def test_the_measure_finds_a_planted_leak(tmp_path):
    planted = "kept = []\ncheck({'planted': lambda: kept.append(object())}, 100)"
    assert run_python(GROWN + planted, tmp_path).stdout.startswith("planted: 10")


RECORDS = """
from flops_tracker import FlopsTracker, SklearnSGDEstimator

ft = FlopsTracker(SklearnSGDEstimator(64, 10), log_wall_time=False)
for _ in range(3):
    ft.on_epoch_start()
    for size in range(100):
        ft.update_batch(size)
    ft.on_epoch_end()
uses = {
    "step_logs": lambda: ft.step_logs,
    "epoch_logs": lambda: ft.epoch_logs,
    "history": lambda: ft.history[5:]["flops_batch"],
    "save_batch_csv": lambda: ft.save_batch_csv("x.csv"),
    "save_epoch_csv": lambda: ft.save_epoch_csv("x.csv"),
}
check(uses, 200)
"""


@needs_own_allocator
def test_reading_the_records_leaves_nothing(tmp_path):
    result = run_python(GROWN + RECORDS, tmp_path)
    assert (result.stdout, result.stderr) == ("", "")


TRAINING = """
from training_models import Toy, toy, toy_batches
from flops_tracker import FlopsTracker, TorchAutoEstimator

bound = toy()
ft, model = bound.tracker, bound.model

def zero_division(*_):
    raise ZeroDivisionError

def broken_off():
    for _ in ft(3, print_level="none"):
        break

def never():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ft(3)

def displaced():
    loop = ft(3, print_level="none")
    next(loop)
    ft.run(1)
    refused(RuntimeError, next, loop)

def bind():
    ft.torch_bind(model, bound.optimizer, train_loader=toy_batches())

def fails_in_step():
    ft.torch_bind(model, bound.optimizer, train_loader=toy_batches(), step_fn=zero_division)
    refused(ZeroDivisionError, ft.run, 1)
    bind()

def cycle():
    one = toy()
    def step(model, batch):
        assert one.tracker is not None  # holds what holds it
        return model(batch[0]).sum()
    one.tracker.torch_bind(one.model, one.optimizer, train_loader=toy_batches(), step_fn=step)
    loop = one.tracker(2, print_level="none")
    next(loop)

uses = {
    "run": lambda: ft.run(1),
    "run with files": lambda: ft.run(1, export="both"),
    "loop": lambda: [None for _ in ft(2, print_level="none")],
    "break": broken_off,
    "never looped": never,
    "displaced": displaced,
    "bind": bind,
    "step_fn raises": fails_in_step,
    "callback raises": lambda: refused(ZeroDivisionError, ft.run, 1, on_epoch_end=zero_division),
    "estimate": lambda: ft.estimate(3),
    "wrong level": lambda: refused(ValueError, ft, 1, print_level="all"),
    "wrong overwrite": lambda: refused(ValueError, ft, 1, overwrite="no"),
    "wrong epochs": lambda: refused(TypeError, ft, 1.5),
    "no folder": lambda: refused(OSError, ft, 1, export="both", export_prefix="missing/x"),
    "wrong bind": lambda: refused(TypeError, ft.torch_bind, model, None, train_loader=[]),
}
check(uses, 40)

import torch
own, adam = FlopsTracker(model), torch.optim.Adam(model.parameters())
def steps(tracker, data=toy_batches()):
    for x, y in tracker.steps(data):
        adam.zero_grad()
        model(x).sum().backward()
        adam.step()
def validated(tracker):
    with tracker.step(torch.ones(2, 4)), tracker.phase("validate"):
        model(torch.ones(2, 4))
def raising(tracker):
    for x, y in tracker.steps(toy_batches()):
        raise KeyError
loops = {
    "steps": lambda: steps(own),
    "phases": lambda: (validated(own), own.on_epoch_end()),
    "a step that raises": lambda: refused(KeyError, raising, own),
    "a tracker": lambda: steps(FlopsTracker(model)),
    "counts of a run": lambda: (own.counts, own.phase_counts),
    "wrong steps": lambda: refused(TypeError, own.steps, 3),
}
check(loops, 20)
check({"cycle": cycle, "estimator": lambda: TorchAutoEstimator(model, (1, 4)).prepare()}, 20)
"""


@needs_own_allocator
def test_training_and_its_errors_leave_nothing(tmp_path):
    result = run_python(GROWN + TRAINING, tmp_path)
    assert (result.stdout, result.stderr) == ("", "")


OPERATIONS = """
import pickle
import torch
from torch import nn
from flops_tracker import FlopCount, FlopCounter, count, explain, register_rule

torch.set_num_threads(1)
model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 3))
optimizer = torch.optim.AdamW(model.parameters(), foreach=True)
x, ids = torch.ones(2, 4), torch.arange(3)
library = torch.library.Library("flops_tracker_leaks", "FRAGMENT")
for name in ("unknown", "ruled", "wrong"):
    library.define(f"{name}(Tensor x) -> Tensor")
    library.impl(name, lambda x: x.clone(), "CPU")
ops = torch.ops.flops_tracker_leaks
register_rule(ops.ruled, lambda args, kwargs, output: {"mac": 3})
register_rule(ops.wrong, lambda args, kwargs, output: 1.5)

long_one = FlopCounter(model)
long_one.__enter__()

def step():
    optimizer.zero_grad(set_to_none=True)
    model(x).sum().backward()
    optimizer.step()

def block(use, **options):
    def run():
        with FlopCounter(**options) as c:
            use()
        return c.total, c.by_op(), c.by_module(), c.rows, c.trust_line, c.table()
    return run

def raising():
    raise ZeroDivisionError

def inference():
    with torch.inference_mode():
        torch.nn.functional.linear(x, model[0].weight)
        torch.einsum("ij,kj->ik", x, x)

def wrong_rule():
    with FlopCounter():
        ops.wrong(x)

one = FlopCounter()
with one:
    step()
good, other = one.counts._state(), one.under("matmul")._state()
wrong_state = (*one.counts._state()[:5], [*one.counts._state()[5], ("row",)], None, None)

uses = {
    "a step inside one block": step,
    "a block": block(step),
    "a block with a model": block(step, model=model),
    "inference": block(inference),
    "an unknown operation": block(lambda: ops.unknown(x)),
    "a strict counter": lambda: refused(RuntimeError, block(lambda: ops.unknown(x), strict=True)),
    "a rule": block(lambda: ops.ruled(x)),
    "a wrong rule": lambda: refused(TypeError, wrong_rule),
    "a body that raises": lambda: refused(ZeroDivisionError, block(raising)),
    "lists": block(lambda: torch._foreach_add([x, x], [x, x])),
    "integers": block(lambda: ids + ids),
    "sparse": block(lambda: torch.sparse.mm(torch.eye(4).to_sparse(), torch.ones(4, 2))),
    "attention": block(lambda: nn.functional.scaled_dot_product_attention(*[x[None, None]] * 3)),
    "under": lambda: one.under("matmul"),
    "a wrong convention": lambda: refused(ValueError, one.under, "flops"),
    "rules of its own": block(step, convention="flops_profiler"),
    "other rules": lambda: refused(ValueError, one.under, "flops_profiler"),
    "pickle": lambda: pickle.loads(pickle.dumps(one.counts)).by_op(),
    "a wrong pickle": lambda: refused(TypeError, FlopCount._from_state, wrong_state),
    "several together": lambda: FlopCount._from_states([one.counts._state()] * 3).by_module(),
    "wrong together": lambda: refused(TypeError, FlopCount._from_states, [good, wrong_state]),
    "unlike together": lambda: refused(ValueError, FlopCount._from_states, [good, other]),
    "all ranks": lambda: one.all_reduce(),
    "explain": lambda: explain("aten.mm", (2, 3), (3, 4)),
    "a wrong counter": lambda: refused(ValueError, FlopCounter, convention="flops"),
}
check(uses, 40)
functions = {
    "count": lambda: count(model, x, backward=True),
    "count of a function": lambda: count(lambda y: model(y), x, backward=True),
    "count of a step": lambda: count(step),
}
check(functions, 10)
long_one.__exit__(None, None, None)
"""


@needs_own_allocator
def test_counting_operations_leaves_nothing(tmp_path):
    result = run_python(GROWN + OPERATIONS, tmp_path)
    assert (result.stdout, result.stderr) == ("", "")


MEMORY = """
import resource
from flops_tracker import FlopsTracker, SklearnSGDEstimator

sgd = SklearnSGDEstimator(64, 10)
ft = FlopsTracker(sgd, keep_batch_logs=False, keep_epoch_logs=False)

def use():
    for _ in range(1000):
        ft.on_epoch_start()
        for _ in range(100):
            ft.update_batch(128)
        ft.on_epoch_end()
    for _ in range(100):
        kept = FlopsTracker(sgd)
        kept.on_epoch_start()
        for _ in range(1000):
            kept.update_batch(1)
        history = kept.history

def rss():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()

use()
before = rss()
for _ in range(5):
    use()
# Had the records of a tracker (56 bytes * 1000 steps, 100 trackers, 5 times) stayed: 28 MB.
print((rss() - before) // 2**20)
"""


@needs_own_allocator
def test_memory_outside_of_pythons_allocator_stays_flat(tmp_path):
    pytest.importorskip("resource")
    pytest.importorskip("numpy")
    result = run_python(MEMORY, tmp_path)
    assert result.stderr == ""
    assert int(result.stdout) <= 4


@pytest.mark.parametrize("module", ["flops_tracker", "flops_tracker.estimators"])
def test_importing_the_package_imports_no_framework(module, tmp_path):
    code = f"""
import sys
sys.path.pop()
import {module}
from flops_tracker import FlopsTracker, SklearnSGDEstimator
ft = FlopsTracker(SklearnSGDEstimator(3))
ft.on_epoch_start()
ft.update_batch(1)
ft.on_epoch_end()
assert ft.total_flops == 12 and ft.step_logs and ft.epoch_logs
heavy = ("torch", "numpy", "sklearn", "scipy", "pandas", "tqdm", "rich", "wandb", "asyncio")
print([name for name in heavy if name in sys.modules])
"""
    result = run_python(code, tmp_path)
    assert (result.stdout, result.stderr) == ("[]\n", "")


THREADS = """
import sys, threading
from training_models import toy
from flops_tracker import FlopsTracker, SklearnSGDEstimator

sys.setswitchinterval(1e-5)
trained = toy().tracker
by_hand = FlopsTracker(SklearnSGDEstimator(5, 2))  # 40 FLOPs a sample
start = threading.Barrier(2)

def train():
    start.wait()
    trained.run(50, export="both")

def count():
    start.wait()
    for _ in range(200):
        by_hand.on_epoch_start()
        for size in range(100):
            by_hand.update_batch(size)  # 0 + ... + 99 = 4950 samples an epoch
        by_hand.on_epoch_end()

threads = [threading.Thread(target=use) for use in (train, count)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(trained.total_flops, len(trained.step_logs), by_hand.total_flops, len(by_hand.step_logs))
"""


MODES = """
import torch
from flops_tracker import profile
from flops_tracker.compat.flops_profiler import FlopsProfiler
from flops_tracker.compat.fvcore import FlopCountAnalysis
from flops_tracker.compat.torch import FlopCounterMode

aten, model = torch.ops.aten, torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.ReLU())

def mode():
    mapping = {aten.relu: lambda x, out_shape: x.numel()}
    with FlopCounterMode(display=False, custom_mapping=mapping) as m:
        model(torch.ones(1, 2))
    assert m.get_flop_counts()["Global"][aten.relu] == 2
    return m

def fails():
    def formula(x, out_shape):
        raise ZeroDivisionError
    with FlopCounterMode(display=False, custom_mapping={aten.relu: formula}):
        model(torch.ones(1, 2))

counts = mode().counter.counts

def sums():
    assert counts.by_module_and_op()["Sequential.1"]["aten.relu.default"] == 2

def no_name(packet):
    raise ZeroDivisionError

def analysis():
    flops = FlopCountAnalysis(model, torch.ones(1, 2)).set_op_handle("aten::relu", None)
    assert flops.by_operator() == {"linear": 4}

def profiler():
    made = FlopsProfiler(model)
    made.start_profile()
    model(torch.ones(1, 2))
    refused(RuntimeError, model, torch.ones(1, 3))
    made.end_profile()
    assert made.get_total_flops() == 6

def tree():
    result = profile(model, torch.ones(1, 2), warm_up=0, steps=2, memory=True)
    assert "6 params" in result.tree(top=2) and len(result.modules) == 3

uses = {
    "mode": mode,
    "failing formula": lambda: refused(ZeroDivisionError, fails),
    "sums": sums,
    "failing name": lambda: refused(ZeroDivisionError, counts._module_op_sums, no_name),
    "analysis": analysis,
    "profiler": profiler,
    "tree": tree,
}
check(uses, 40)
"""


@needs_own_allocator
def test_counting_under_other_names_leaves_nothing(tmp_path):
    result = run_python(GROWN + MODES, tmp_path)
    assert (result.returncode, result.stdout) == (0, ""), result.stderr


def test_two_threads_with_trackers_of_their_own(tmp_path):
    result = run_python(THREADS, tmp_path)
    assert result.stderr == ""
    # 50 * 720 = 36,000 in 150 steps; 200 * 4950 * 40 = 39,600,000 in 20,000 steps.
    assert result.stdout == "36000 150 39600000 20000\n"
    lines = (tmp_path / "run_batch.csv").read_text().splitlines()
    assert len(lines) == 151


STATES = """
import torch
from flops_tracker import FlopsTracker, SklearnSGDEstimator
from training_models import linear, toy_batches

def by_hand(**options):
    ft = FlopsTracker(SklearnSGDEstimator(64, 10), **options)
    ft.on_epoch_start()
    ft.update_batch(3)
    return ft

def resume(state):
    ft = FlopsTracker(SklearnSGDEstimator(64, 10))
    ft.load_state_dict(state)
    return ft

model = linear()

def operations():
    ft = FlopsTracker(model)
    for x, _ in ft.steps(toy_batches()):
        model(x)
        state = ft.state_dict()
    other = FlopsTracker(model)
    other.load_state_dict(state)
    return other.counts, other.phase_counts, other.state_dict()

def ledger():
    with by_hand(runs_csv="runs.csv", project="p") as ft:
        pass

state = by_hand().state_dict()
damaged = {**state, "total_flops": 5}
uses = {
    "state_dict": by_hand().state_dict,
    "load_state_dict": lambda: resume(state).state_dict(),
    "damaged": lambda: refused(ValueError, resume, damaged),
    "damaged steps": lambda: refused(ValueError, resume, {**state, "steps": {}}),
    "dropped": lambda: by_hand(runs_csv="runs.csv"),
    "no ledger": lambda: refused(OSError, by_hand, runs_csv="no/where"),
    "a block": ledger,
    "operations": operations,
}
check(uses, 100)
"""


@needs_own_allocator
def test_states_and_ledgers_leave_nothing(tmp_path):
    result = run_python(GROWN + STATES, tmp_path)
    assert (result.stdout, result.stderr) == ("", "")
