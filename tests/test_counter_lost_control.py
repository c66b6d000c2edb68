"""FlopCounter where control is lost: interrupts, blocks and threads that end within each other."""

import _thread
import gc
import os
import signal
import sys
import threading
import weakref

import pytest
import torch
import torch._dynamo  # a counter keeps it quiet from its first block on
from counted_layers import MM, mm_total, run_apart
from torch import nn

from flops_tracker import FlopCounter, _counting, register_rule


class Stop(BaseException):
    pass


class Stopping(nn.Module):
    def forward(self, x, stop):
        if stop:
            raise Stop
        return x * 2


def test_what_follows_a_stop_is_outside():
    """A BaseException calls no hook; the rule of a class would hide all that comes later."""
    register_rule(Stopping, lambda module, args, kwargs, output: 7)
    inner = Stopping()
    outer = nn.Sequential(inner)
    outer.forward = inner.__call__
    x = torch.ones(2, 2)
    with FlopCounter(outer) as c:
        with pytest.raises(Stop):
            outer(x, True)
        x @ x
        outer(x, False)
    assert mm_total(c) == MM
    assert list(c.by_module()) == ["Sequential", "Sequential.0"]
    assert c.outside == c.under("standard").by_op()["aten.mm.default"]
    assert c.total == MM + 7


def test_a_step_after_a_stop_is_the_optimizers():
    inner, layer = Stopping(), nn.Linear(4, 4)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    with FlopCounter() as c:
        with pytest.raises(Stop):
            inner(torch.ones(2), True)
        layer(torch.ones(2, 4)).sum().backward()
        optimizer.step()
    assert list(c.by_module()) == ["Stopping", "Linear"]
    assert {row.module for row in c.rows if row.phase == "optimizer"} == {""}
    assert c.optimizer == 2 * (16 + 4)


def test_a_subclass_that_forgets_init():
    class Half(FlopCounter):
        def __init__(self):
            pass

    half = Half()
    for use in (half.__enter__, lambda: half.total, lambda: half.counts, lambda: repr(half)):
        with pytest.raises(RuntimeError, match=r"FlopCounter\.__init__ was not called"):
            use()


def test_a_block_that_ends_while_a_thread_is_in_a_rule():
    inside, go = threading.Event(), threading.Event()

    class Slow(nn.Module):
        def forward(self, x):
            return x * 2

    def rule(module, args, kwargs, output):
        inside.set()
        go.wait(10)
        return 1

    register_rule(Slow, rule)
    slow = Slow()

    def work():
        slow(torch.ones(3))
        slow(torch.ones(3))

    thread = threading.Thread(target=work)
    counter = FlopCounter()
    with counter:
        thread.start()
        assert inside.wait(10)
    with pytest.raises(RuntimeError, match="when no thread is counted"):
        counter.reset()
    go.set()
    thread.join()
    assert counter.total == 1  # the first call; the second came after the block
    counter.reset()
    assert counter.total == 0


def test_blocks_that_end_under_threads():
    """Six threads call modules all the time while blocks come and go: it must not crash."""
    layers, x = nn.Sequential(*[nn.Linear(2, 2) for _ in range(3)]), torch.ones(1, 2)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for _ in range(15):
            stop = threading.Event()

            def work(stop=stop):
                while not stop.is_set():
                    layers(x)
                    nn.Softmax(dim=1)(x)

            threads = [threading.Thread(target=work) for _ in range(6)]
            with FlopCounter() as c:
                for thread in threads:
                    thread.start()
                while c.operations < 20:
                    pass
            stop.set()
            for thread in threads:
                thread.join()
    finally:
        sys.setswitchinterval(interval)
    with FlopCounter(convention="matmul") as c:
        layers(x)
    assert c.total == 3 * 2 * 4


THREADS_THAT_END = """
import threading, torch
from flops_tracker import FlopCounter
x = torch.ones(2, 2)
with FlopCounter() as c:
    for _ in range(300):
        thread = threading.Thread(target=lambda: x @ x)
        thread.start()
        thread.join()
assert c.under("matmul").total == 300 * 16
"""


def test_threads_that_end_in_a_block():
    """What a thread leaves behind, it must not leave to the interpreter's end."""
    for _ in range(3):
        run_apart(THREADS_THAT_END)


def test_threads_that_autograd_takes_along():
    """On an accelerator backward runs in threads of autograd's own, under the mode of forward's."""
    layer, x, done = nn.Linear(4, 4, bias=False), torch.ones(2, 4), threading.Event()

    def work(mode):
        torch._C._push_on_torch_dispatch_stack(mode)
        layer(x)
        torch._C._pop_torch_dispatch_stack(None)
        done.set()

    with FlopCounter(layer, convention="matmul") as c:
        loss = layer(x).sum()
        _thread.start_new_thread(work, (torch._C._get_dispatch_stack_at(0),))
        assert done.wait(10)
        loss.backward()
    assert c.by_module()["Linear"].calls == 2
    assert {row.phase: row.flops for row in c.rows if row.module == "Linear" and row.flops} == {
        "forward": 2 * 2 * 2 * 16,
        "backward": 2 * 2 * 16,
    }


def test_garbage_is_collected_in_every_place():
    layers, x = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4)), torch.ones(2, 4)
    threshold = gc.get_threshold()
    gc.set_threshold(1)
    try:
        with FlopCounter(convention="matmul") as c:
            layers(x).sum().backward()
    finally:
        gc.set_threshold(*threshold)
    # Forward, both weights, and the input of the second layer: five products.
    assert c.total == 5 * 2 * 2 * 16


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # which is what is tested
def test_a_forked_process_waits_for_no_thread_of_the_first():
    held, done = threading.Event(), threading.Event()

    def hold():
        with _counting._process.lock:
            held.set()
            done.wait(60)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(60)
    child = os.fork()
    if child == 0:
        signal.alarm(30)
        with FlopCounter() as c:
            torch.ones(2, 2).mm(torch.ones(2, 2))
        os._exit(0 if c.under("matmul").total == MM else 1)
    done.set()
    thread.join()
    assert os.waitpid(child, 0)[1] == 0


def test_a_counter_is_collected_with_its_threads():
    counter = FlopCounter()
    reference = weakref.ref(counter)
    with counter:
        torch.ones(2) + 1
    del counter
    gc.collect()
    assert reference() is None
