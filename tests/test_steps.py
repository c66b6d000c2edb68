"""Loops of one's own: few steps are counted, and the totals are those of counting them all."""

import gc
import warnings

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from flops_tracker import FlopsTracker, TorchAutoEstimator, UncountedWarning


def mlp():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3))


def batches(count, size=4):
    return [(torch.ones(size, 4), torch.zeros(size, dtype=torch.int64)) for _ in range(count)]


def tracker(model, trace, **options):
    """Without audits, which would come at random: these are tried apart."""
    return FlopsTracker(model, trace=trace, verify_every=10**12, **options)


def both(train):
    """Run a program that counts every step, and one that does not; their trackers."""
    always, auto = (train(mode) for mode in ("always", "auto"))
    assert always.replayed_steps == 0
    assert auto.traced_steps + auto.replayed_steps == always.traced_steps
    assert auto.unattributed_steps == 0
    assert auto.total_flops == always.total_flops > 0
    same = [(s.epoch, s.step, s.batch_size, s.flops_batch) for s in always.step_logs]
    assert [(s.epoch, s.step, s.batch_size, s.flops_batch) for s in auto.step_logs] == same
    assert auto.counts.table() == always.counts.table()
    counts = {name: c.table() for name, c in always.phase_counts.items()}
    assert {name: c.table() for name, c in auto.phase_counts.items()} == counts
    assert torch._C._len_torch_dispatch_stack() == 0
    return always, auto


def test_a_loop_with_accumulation():
    """Linear(4,5) and (5,3) on 4 rows: mac 80 + 60 forward; weights again, 60 for an input.

    Under matmul 2*(140 + 140 + 60) = 680 a step; optimizers have no contraction.
    """

    def train(trace):
        model = mlp()
        optimizer = torch.optim.AdamW(model.parameters())
        ft = tracker(model, trace, convention="matmul")
        for _ in ft.epochs(4):
            for i, (x, y) in enumerate(ft.steps(batches(250))):
                F.cross_entropy(model(x), y).backward()
                if i % 4 == 3:
                    optimizer.step()
                    optimizer.zero_grad()
        return ft

    always, auto = both(train)
    assert auto.total_flops == 1000 * 680
    assert auto.traced_steps <= 16
    assert [log.flops_epoch for log in auto.epoch_logs] == [250 * 680] * 4
    assert auto.counts.under("standard").optimizer == always.counts.under("standard").optimizer > 0


def test_evaluation_inside_a_step_is_counted_apart():
    def train(trace):
        model = mlp()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        ft = tracker(model, trace, convention="matmul")
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
        return ft

    _, auto = both(train)
    forward = 2 * (20 + 15)  # of one row
    assert auto.total_flops == 40 * 680
    counts = auto.phase_counts
    assert {name: c.total for name, c in counts.items()} == {
        "train": 40 * 680,
        "validate": 2 * 2 * 3 * 7 * forward,
        "test": 2 * 2 * forward,
    }
    assert auto.counts.total == sum(c.total for c in counts.values())


# ---- what shows before a step: exact at once ----


FLIPS = {
    "train and eval": (lambda m: m.eval(), lambda m: m.train()),
    "frozen": (lambda m: m[0].requires_grad_(False), lambda m: m[0].requires_grad_(True)),
    "gradients kept": (
        lambda m: [p.grad is None and setattr(p, "grad", p * 0.0) for p in m.parameters()],
        lambda m: m.zero_grad(),
    ),
}


@pytest.mark.parametrize("name", FLIPS)
def test_what_a_flag_shows_is_exact_at_once(name):
    change, undo = FLIPS[name]

    def train(trace):
        model = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5), nn.Linear(4, 3))
        ft = tracker(model, trace)
        data = batches(12)
        steps = iter(ft.steps(data))
        for i in range(12):
            with torch.no_grad():
                (change if i % 3 == 2 else undo)(model)
            x, y = next(steps)
            F.cross_entropy(model(x), y).backward()
        assert next(steps, None) is None
        return ft

    _, auto = both(train)
    assert auto.traced_steps <= 4


@pytest.mark.parametrize("dtype", [torch.float64, torch.int64])
def test_other_shapes_and_numbers_are_other_kinds(dtype):
    def train(trace):
        model = mlp().double()
        ft = tracker(model, trace)
        for size in (2, 3, 2, 3, 2, 3, 5):
            with ft.step(torch.ones(size, 4, dtype=dtype)):
                model(torch.ones(size, 4, dtype=torch.float64)).sum().backward()
        return ft

    _, auto = both(train)
    assert auto.traced_steps <= 6  # gradients are None in the first


def test_autocast_and_inference_mode():
    def train(trace):
        model = mlp()
        ft = tracker(model, trace)
        for i in range(9):
            context = (torch.no_grad(), torch.inference_mode(), torch.autocast("cpu"))[i % 3]
            with context, ft.step(torch.ones(4, 4)):
                model(torch.ones(4, 4))
        return ft

    _, auto = both(train)
    assert auto.traced_steps == 3


# ---- what only the body knows ----


def test_steps_that_take_turns_wait_until_their_kind_was_counted():
    """The second linear layer runs every third time: 7 nodes or 9."""

    def train(trace):
        model = mlp()
        ft = tracker(model, trace, convention="matmul")
        for _ in ft.epochs(2):
            for i, (x, _) in enumerate(ft.steps(batches(12))):
                model.zero_grad()
                y = model(x) if i % 3 else model[0](x)
                y.sum().backward()
        return ft

    always, auto = both(train)
    assert auto.traced_steps < always.traced_steps
    # 8 a round with both layers, 4 with the first alone: forward 160, weight 160
    assert auto.total_flops == 2 * (8 * 680 + 4 * 320)


def test_a_kind_that_never_comes_again_is_reported():
    model = mlp()
    ft = FlopsTracker(model, trace="first", convention="matmul")
    with pytest.warns(UncountedWarning, match="1 of the steps of this epoch"):
        for _ in ft.epochs(1):
            for i, (x, _) in enumerate(ft.steps(batches(6))):
                model.zero_grad()
                (model(model(x)[:, :1].expand(-1, 4)) if i == 4 else model(x)).sum().backward()
    assert ft.unattributed_steps == 1
    assert ft.total_flops == ft.counts.total == 5 * 680
    assert len(ft.step_logs) == 6
    assert ft.step_logs[4].flops_batch == 0


# ---- what only an audit sees ----


def test_an_audit_finds_work_that_leaves_no_trace():
    """Without gradients there are no nodes: that the model is called twice can't be seen."""
    model = mlp()
    ft = FlopsTracker(model, verify_every=1, convention="matmul")  # every step is an audit
    with torch.no_grad(), pytest.warns(UncountedWarning, match="cost 560 FLOPs and not 280"):
        for i, (x, _) in enumerate(ft.steps(batches(2))):
            model(x)
            if i == 1:
                model(x)
    assert ft.total_flops == 280 + 560


def test_steps_whose_work_varies_are_all_counted():
    model = mlp()
    ft = FlopsTracker(model, verify_every=1, convention="matmul")
    with torch.no_grad(), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for i, (x, _) in enumerate(ft.steps(batches(20))):
            for _ in range(i % 3):
                model(x)
    assert any("from now on all steps like it are counted" in str(w.message) for w in caught)
    assert ft.total_flops == sum(i % 3 for i in range(20)) * 280


# ---- optimizers ----


def test_two_optimizers_and_a_changed_option():
    def train(trace):
        model = mlp()
        first = torch.optim.SGD(model[0].parameters(), lr=0.1, momentum=0.9)
        second = torch.optim.AdamW(model[2].parameters())
        ft = tracker(model, trace)
        for i, (x, y) in enumerate(ft.steps(batches(16))):
            model.zero_grad()
            F.cross_entropy(model(x), y).backward()
            if i == 8:
                first.param_groups[0]["weight_decay"] = 0.1
            (first if i % 2 else second).step()
        return ft

    _, auto = both(train)
    assert auto.traced_steps <= 2


def test_an_optimizer_that_runs_the_model():
    """LBFGS: how often it does depends on values, so each of its steps is counted."""

    def train(trace):
        model = mlp()
        optimizer = torch.optim.LBFGS(model.parameters(), max_iter=3)
        ft = tracker(model, trace)
        for x, y in ft.steps(batches(6)):

            def closure(x=x, y=y):
                optimizer.zero_grad()
                loss = F.cross_entropy(model(x), y)
                loss.backward()
                return loss

            optimizer.step(closure)
        return ft

    both(train)


def test_an_optimizer_that_raises():
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def fail():
        raise KeyError("closure")

    ft = FlopsTracker(model, trace="always", convention="matmul")
    for x, _ in ft.steps(batches(2)):
        model(x).sum().backward()
        with pytest.raises(KeyError):
            optimizer.step(fail)
    assert ft.total_flops == 2 * 680
    assert ft.counts.total == 2 * 680


# ---- how loops end ----


@pytest.mark.parametrize("trace", ["always", "auto"])
def test_break_return_and_exceptions_close_a_step(trace):
    model = mlp()
    ft = tracker(model, trace, convention="matmul")

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
    assert ft.total_flops == 7 * 680
    assert [log.complete for log in ft.epoch_logs] == [True, False, False]
    for x, _ in ft.steps(batches(2)):
        body(x)
    assert ft.total_flops == 9 * 680


def test_a_named_iterator_that_is_left():
    model = mlp()
    ft = FlopsTracker(model, trace="always", convention="matmul")
    named = iter(ft.steps(batches(3)))
    x, _ = next(named)
    model(x).sum().backward()
    del named
    gc.collect()
    assert torch._C._len_torch_dispatch_stack() == 0
    model(x)  # no step
    assert ft.total_flops == 680


def test_a_step_with_a_mode_that_stays_on():
    """A body that enters a mode in one step and leaves it in the next."""
    from torch.utils._python_dispatch import TorchDispatchMode

    class Other(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            return func(*args, **(kwargs or {}))

    model, other = mlp(), Other()
    ft = FlopsTracker(model, trace="always", convention="matmul")
    for i, (x, _) in enumerate(ft.steps(batches(4))):
        if i == 1:
            other.__enter__()
        model.zero_grad()
        model(x).sum().backward()
        if i == 2:
            other.__exit__(None, None, None)
    assert torch._C._len_torch_dispatch_stack() == 0
    assert not torch.utils._python_dispatch.is_in_torch_dispatch_mode()
    assert ft.total_flops == 4 * 680


def test_the_loader_is_never_peeked_at():
    seen = []

    def loader():
        for i in range(3):
            seen.append(i)
            yield torch.ones(4, 4)

    model = mlp()
    ft = FlopsTracker(model)
    for count, x in enumerate(ft.steps(loader())):
        assert len(seen) == count + 1
        model(x)
    assert ft.traced_steps == 1


def test_a_compiled_model_keeps_its_speed():
    torch._dynamo.reset()
    graphs = []

    def backend(module, inputs):
        graphs.append(module)
        return module.forward

    model = mlp()
    compiled = torch.compile(model, backend=backend)
    ft = FlopsTracker(model, trace="first", convention="matmul")
    for x, _ in ft.steps(batches(30)):
        model.zero_grad()
        compiled(x).sum().backward()
    assert len(graphs) >= 1
    assert ft.total_flops == 30 * 680
    assert ft.traced_steps <= 4
    assert ft.unattributed_steps == 0


# ---- misuse ----


def test_estimators_of_batches_have_no_steps():
    model = mlp()
    ft = FlopsTracker(TorchAutoEstimator(model, (1, 4)))
    with pytest.raises(TypeError, match=r"make FlopsTracker\(model\)"):
        ft.steps([])


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"trace": "sometimes"}, ValueError, "trace must be 'auto', 'always' or 'first'"),
        ({"verify_every": 0}, ValueError, "verify_every must be 1 or more, not 0"),
        ({"verify_every": 1.5}, TypeError, "verify_every must be an int"),
    ],
)
def test_wrong_options(options, error, words):
    with pytest.raises(error, match=words):
        FlopsTracker(mlp(), **options)


def test_wrong_arguments():
    ft = FlopsTracker(mlp())
    with pytest.raises(TypeError, match="loader must be iterable, not int"):
        ft.steps(5)
    with pytest.raises(TypeError, match=r"epochs must be an int or iterable, not 1\.5"):
        ft.epochs(1.5)
    with pytest.raises(TypeError, match="a phase is named by a word"), ft.phase(3):
        pass
    with pytest.raises(ValueError, match="epochs must be 0 or more"):
        ft.epochs(-1)
