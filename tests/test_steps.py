"""Loops of one's own: every step and phase is counted, apart, however a loop ends."""

import gc
import threading
import warnings

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from flops_tracker import FlopsTracker, TorchAutoEstimator


def mlp():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3))


def batches(count, size=4):
    return [(torch.ones(size, 4), torch.zeros(size, dtype=torch.int64)) for _ in range(count)]


def tracker(model):
    return FlopsTracker(model, convention="matmul")


STEP = 680  # Linear(4,5) and (5,3) on 4 rows: 2*(140 forward + 140 weights + 60 for an input)
ROW = 2 * (20 + 15)  # of one row, forward


def test_a_loop_with_accumulation():
    """AdamW is 14 per parameter and 1 per tensor, every 4th step; there are 4 tensors of 43."""
    model = mlp()
    optimizer = torch.optim.AdamW(model.parameters())
    ft = tracker(model)
    for epoch in ft.epochs(2):
        for i, (x, y) in enumerate(ft.steps(batches(20))):
            F.cross_entropy(model(x), y).backward()
            if i % 4 == 3:
                optimizer.step()
                optimizer.zero_grad()
        assert ft.total_flops == (epoch + 1) * 20 * STEP
    assert [log.flops_epoch for log in ft.epoch_logs] == [20 * STEP] * 2
    assert [(s.epoch, s.step, s.batch_size, s.flops_batch) for s in ft.step_logs] == [
        (epoch, step, 4, STEP) for epoch in (1, 2) for step in range(1, 21)
    ]
    parameters = sum(p.numel() for p in model.parameters())
    assert ft.counts.under("standard").optimizer == 10 * (14 * parameters + 4)
    assert ft.counts.total == ft.total_flops


def test_evaluation_inside_a_step_is_counted_apart():
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    ft = tracker(model)
    for _ in ft.epochs(2):
        for i, (x, y) in enumerate(ft.steps(batches(20))):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x), y)
            if i % 10 == 9:
                with ft.phase("validate"), torch.no_grad():
                    for rows, _ in ft.steps(batches(3, size=7)):
                        model(rows)
            loss.backward()
            optimizer.step()
        with ft.phase("test"):
            model(torch.ones(2, 4))
    assert ft.total_flops == 40 * STEP
    assert len(ft.step_logs) == 40
    counts = ft.phase_counts
    assert {name: c.total for name, c in counts.items()} == {
        "train": 40 * STEP,
        "validate": 2 * 2 * 3 * 7 * ROW,
        "test": 2 * 2 * ROW,
    }
    assert ft.counts.total == sum(c.total for c in counts.values())
    assert ft.counts.by_module()["Sequential"].calls == 40 + 12 + 2


def test_phases_in_phases_and_steps_in_steps():
    model = mlp()
    x = torch.ones(1, 4)
    ft = tracker(model)
    with ft.step(x), torch.no_grad():
        model(x)
        with ft.phase("validate"):
            model(x)
            with ft.phase("generate"):
                model(x)
                model(x)
            model(x)
            with ft.step(x):  # is the phase's
                model(x)
        with ft.step(torch.ones(5, 4)):  # a step of its own
            model(x)
        model(x)
    assert {name: c.total // ROW for name, c in ft.phase_counts.items()} == {
        "train": 3,
        "validate": 3,
        "generate": 2,
    }
    assert [(s.batch_size, s.flops_batch) for s in ft.step_logs] == [(5, ROW), (1, 2 * ROW)]


def test_clipping_after_a_phase_is_update_work():
    """A phase between backward and clipping does not make it forward."""

    def train(validate):
        model = mlp()
        ft = FlopsTracker(model)
        for x, y in ft.steps(batches(2)):
            F.cross_entropy(model(x), y).backward()
            if validate:
                with ft.phase("validate"), torch.no_grad():
                    model(x)
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        return ft.phase_counts["train"]

    assert train(True).by_phase() == train(False).by_phase()


def test_an_optimizer_that_runs_the_model():
    """LBFGS calls its closure as often as it likes: each time a forward and a backward."""
    model, calls = mlp(), []
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=3)
    ft = tracker(model)
    for x, y in ft.steps(batches(3)):

        def closure(x=x, y=y):
            calls.append(1)
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            return loss

        optimizer.step(closure)
    forward_and_backward = ft.counts.forward + ft.counts.backward
    assert forward_and_backward == len(calls) * STEP


def test_an_optimizer_that_raises():
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def fail():
        raise KeyError("closure")

    ft = tracker(model)
    for x, _ in ft.steps(batches(2)):
        model(x).sum().backward()
        with pytest.raises(KeyError):
            optimizer.step(fail)
    assert ft.total_flops == 2 * STEP
    assert ft.counts.total == 2 * STEP


# ---- how loops end ----


def test_break_return_and_exceptions_close_a_step():
    model = mlp()
    ft = tracker(model)

    def body(x):
        model.zero_grad()
        model(x).sum().backward()

    for epoch in ft.epochs(3):
        for i, (x, _) in enumerate(ft.steps(batches(5))):
            body(x)
            if i == 2:
                break
        if epoch == 1:
            break
    with pytest.raises(KeyError):
        for x, _ in ft.steps(batches(5)):
            body(x)
            raise KeyError
    gc.collect()
    assert torch._C._len_torch_dispatch_stack() == 0
    assert ft.total_flops == 7 * STEP
    assert [log.complete for log in ft.epoch_logs] == [True, False, False]
    for x, _ in ft.steps(batches(2)):
        body(x)
    assert ft.total_flops == 9 * STEP


def test_a_named_iterator_that_is_left():
    model = mlp()
    ft = tracker(model)
    named = iter(ft.steps(batches(3)))
    x, _ = next(named)
    model(x).sum().backward()
    del named
    gc.collect()
    assert torch._C._len_torch_dispatch_stack() == 0
    model(x)  # no step
    assert ft.total_flops == STEP


def test_a_step_with_a_mode_that_stays_on():
    """A body that enters a mode in one step and leaves it in the next."""
    from torch.utils._python_dispatch import TorchDispatchMode

    class Other(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            return func(*args, **(kwargs or {}))

    model, other = mlp(), Other()
    ft = tracker(model)
    for i, (x, _) in enumerate(ft.steps(batches(4))):
        if i == 1:
            other.__enter__()
        model.zero_grad()
        model(x).sum().backward()
        if i == 2:
            other.__exit__(None, None, None)
    assert torch._C._len_torch_dispatch_stack() == 0
    assert not torch.utils._python_dispatch.is_in_torch_dispatch_mode()
    assert ft.total_flops == 4 * STEP


def test_a_loop_that_is_dropped_while_another_goes_on():
    """The outer iterator is gone while a step of the inner loop is open, and its step is over."""
    model, x = mlp(), torch.ones(1, 4)
    ft = tracker(model)
    outer = iter(ft.steps([x, x]))
    next(outer)
    model(x)
    inner = iter(ft.steps([x, x]))
    next(inner)
    model(x)
    del outer
    gc.collect()
    model(x)
    next(inner)
    model(x)
    del inner
    gc.collect()
    assert torch._C._len_torch_dispatch_stack() == 0
    assert [s.flops_batch for s in ft.step_logs] == [ROW, 2 * ROW, ROW]
    assert ft.total_flops == ft.counts.total == 4 * ROW


def test_the_loader_is_never_peeked_at_nor_counted():
    seen = []

    def loader():
        for i in range(3):
            seen.append(i)
            yield torch.ones(4, 4) @ torch.ones(4, 4)

    model = mlp()
    ft = tracker(model)
    for count, x in enumerate(ft.steps(loader())):
        assert len(seen) == count + 1
        model(x)
    assert ft.total_flops == 3 * 4 * ROW


def test_a_compiled_model_is_counted_as_it_is_written():
    torch._dynamo.reset()
    graphs = []

    def backend(module, inputs):
        graphs.append(module)
        return module.forward

    model = mlp()
    compiled = torch.compile(model, backend=backend)
    ft = tracker(model)
    for x, _ in ft.steps(batches(3)):
        model.zero_grad()
        compiled(x).sum().backward()
    assert graphs == []
    assert ft.total_flops == 3 * STEP
    compiled(x)
    assert len(graphs) == 1


def test_another_thread_is_refused_and_one_that_is_started_is_counted():
    model, x, errors = mlp(), torch.ones(1, 4), []
    ft = tracker(model)

    def work():
        model(x)
        try:
            with ft.phase("validate"):
                pass
        except RuntimeError as error:
            errors.append(str(error))

    with ft.step(x):
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    assert "is open in another thread" in errors[0]
    assert ft.total_flops == ROW


def test_a_tracker_that_trains_by_itself_takes_no_steps():
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    ft = tracker(model)

    def step(model, batch):
        with ft.step(batch):
            return model(batch[0]).sum(), 4

    ft.torch_bind(model, optimizer, train_loader=batches(1), step_fn=step)
    with pytest.raises(RuntimeError, match="is training by itself"):
        ft.run(1)


# ---- misuse ----


def test_estimators_of_batches_have_no_steps():
    model = mlp()
    ft = FlopsTracker(TorchAutoEstimator(model, (1, 4)))
    with pytest.raises(TypeError, match=r"make FlopsTracker\(model\)"):
        ft.steps([])


def test_wrong_arguments():
    ft = FlopsTracker(mlp())
    with pytest.raises(TypeError, match="loader must be iterable, not int"):
        ft.steps(5)
    with pytest.raises(TypeError, match=r"epochs must be an int or iterable, not 1\.5"):
        ft.epochs(1.5)
    with pytest.raises(TypeError, match="a phase is named by a word"), ft.phase(3):
        pass
    with pytest.raises(ValueError, match="batch_size must be 0 or more"), ft.step(batch_size=-1):
        pass
    assert ft.step_logs == []
    with pytest.raises(ValueError, match="epochs must be 0 or more"):
        ft.epochs(-1)


def test_loops_that_take_turns():
    """Steps of zip() are closed below others: what a body does is the step's that began last."""
    model = mlp()
    ft = tracker(model)
    for (x, _), (z, _) in zip(ft.steps(batches(40)), ft.steps(batches(40)), strict=True):
        model.zero_grad()
        model(x).sum().backward()
        model(z)
    assert ft.total_flops == ft.counts.total == 40 * (STEP + 4 * ROW)
    assert len(ft.step_logs) == 80
    assert torch._C._len_torch_dispatch_stack() == 0


def test_an_iterator_whose_tracker_is_gone_says_nothing():
    def train():
        model = mlp()
        ft = tracker(model)
        steps = iter(ft.steps(batches(3)))
        model(next(steps)[0])
        return 3

    assert train() == 3
    gc.collect()
    assert torch._C._len_torch_dispatch_stack() == 0


def test_a_loader_that_asks_the_loop_itself():
    def loader():
        yield torch.ones(4, 4)
        next(steps)

    ft = tracker(mlp())
    steps = iter(ft.steps(loader()))
    next(steps)
    with pytest.raises(RuntimeError, match="asked for a batch while it is giving one"):
        next(steps)


# ---- phases as objects ----


def test_a_phase_can_be_entered_again():
    """6 rows forward in all, 3 times 2, of which one is inside of another."""
    model = mlp()
    ft = tracker(model)
    validate = ft.phase("validate")
    with validate, torch.no_grad():
        model(torch.ones(2, 4))
        with validate:
            model(torch.ones(2, 4))
    with validate, torch.no_grad():
        model(torch.ones(2, 4))
    assert ft.phase_counts["validate"].total == 6 * ROW
    with pytest.raises(KeyError), validate:
        raise KeyError("body")
    with validate:  # that one is closed
        assert ft.total_flops == 0


def test_a_phase_decorates_a_function():
    model = mlp()
    ft = tracker(model)

    @ft.phase("validate")
    def evaluate(rows):
        """Say what it gives."""
        return model(torch.ones(rows, 4)).shape[0]

    assert (evaluate(2), evaluate(3)) == (2, 3)
    assert evaluate.__doc__ == "Say what it gives."
    assert ft.phase_counts["validate"].total == 5 * ROW


def test_what_runs_later_is_not_decorated():
    ft = tracker(mlp())

    def lazy():
        yield 1

    async def later():
        pass

    async def both():
        yield 1

    for function in (lazy, later, both):
        with pytest.raises(TypeError, match="does its work after the call has returned"):
            ft.phase("validate")(function)


def test_a_phase_that_was_never_left_is_over_when_it_is_dropped():
    model = mlp()
    ft = tracker(model)
    left = ft.phase("validate")
    left.__enter__()
    model(torch.ones(1, 4))
    del left
    gc.collect()
    with ft.step():
        model(torch.ones(2, 4))
    assert ft.total_flops == 2 * ROW
    assert ft.phase_counts["validate"].total == ROW


def test_a_step_object_is_a_step_each_time():
    model = mlp()
    ft = tracker(model)
    (batch,) = batches(1)
    step = ft.step(batch)
    for _ in range(3):
        with step:
            F.cross_entropy(model(batch[0]), batch[1]).backward()
    assert [log.flops_batch for log in ft.step_logs] == [STEP] * 3


@pytest.mark.parametrize(
    "name", ["val\nidate", "val\x00", " validate", "validate ", "\t", "a\x1b[m"]
)
def test_a_phase_has_a_plain_name(name):
    ft = tracker(mlp())
    with pytest.raises(ValueError, match="a phase is named by a word") as error:
        ft.phase(name)
    assert repr(name) in str(error.value)
    assert set(ft.phase_counts) <= {"train"}


def test_a_phase_in_another_script_is_fine():
    model = mlp()
    ft = tracker(model)
    with ft.phase("Überprüfung 検証"):
        model(torch.ones(1, 4))
    assert ft.phase_counts["Überprüfung 検証"].total == ROW


# ---- epochs without a step ----


def warned(run):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        run()
    return [(str(w.message), w.filename) for w in caught]


def test_steps_that_were_forgotten_are_said_once():
    model = mlp()

    def run():
        ft = tracker(model)
        for _ in ft.epochs(3):
            for x, _ in batches(2):
                model(x)

    ((message, place),) = warned(run)
    assert message.startswith("no step was counted in epoch 1: wrap the loader in ft.steps(loader)")
    assert place == __file__


def test_an_empty_loader_is_said_as_such():
    model = mlp()
    once = iter(batches(2))

    def run():
        ft = tracker(model)
        for _ in ft.epochs(2):
            for x, _ in ft.steps(once):
                model(x)

    ((message, _),) = warned(run)
    assert message.startswith("the loader gave no batch in epoch 2, so no step was counted")


def test_epochs_without_a_step_that_are_meant():
    model = mlp()

    def run():
        ft = tracker(model)
        for _ in ft.epochs(2):
            with ft.phase("test"):
                model(torch.ones(1, 4))
        for _ in ft.epochs(2):
            break
        for _ in ft.epochs(1):
            with ft.step():
                model(torch.ones(1, 4))
        ft.max_flops = 1
        for _ in ft.epochs(1):
            pass

    assert warned(run) == []
