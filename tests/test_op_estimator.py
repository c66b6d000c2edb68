"""TorchOpEstimator and FlopsTracker(model): trainings counted operation by operation."""

import gc
import weakref

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from training_models import STEP, linear, same_state, sgd, state_of, toy_batches

from flops_tracker import (
    FlopCounter,
    FlopsTracker,
    TorchAutoEstimator,
    TorchOpEstimator,
    UncountedWarning,
    _op_estimator,
)


def bound(model, loader=None, **options):
    ft = FlopsTracker(model, convention=options.pop("convention", "matmul"))
    return ft.torch_bind(model, sgd(model), train_loader=loader or toy_batches(), **options)


def test_a_model_in_the_place_of_an_estimator():
    # Ten samples in batches of 4, 4 and 2.
    ft = bound(linear())
    assert ft.run(3) == 3 * 10 * STEP
    assert [s.flops_batch for s in ft.step_logs] == [4 * STEP, 4 * STEP, 2 * STEP] * 3
    assert isinstance(ft.estimator, TorchOpEstimator)
    assert ft.estimator.trust_line.startswith("matmul · ")


def test_the_update_counts_under_standard():
    # SGD's p += -lr·g is 2 for each of 12 + 3 parameters, in every step.
    ft = bound(linear(), convention="standard")
    ft.run(1)
    assert ft.estimator.counts.optimizer == 30


def test_weights_are_those_of_the_training_without_it():
    one, other = linear(), linear()
    bound(one).run(3)
    optimizer = sgd(other)
    for _ in range(3):
        for data, target in toy_batches():
            optimizer.zero_grad()
            F.cross_entropy(other(data), target).backward()
            optimizer.step()
    assert same_state(state_of(one), state_of(other))


def test_every_shape_is_counted():
    loader = [(torch.randn(2, n, 4), torch.zeros(2)) for n in (1, 5, 5, 2)]
    ft = bound(linear(), loader, loss_fn=lambda output, target: output.sum())
    ft.run(1)
    assert [s.flops_batch for s in ft.step_logs] == [2 * n * STEP for n in (1, 5, 5, 2)]


def test_a_layer_that_is_frozen_on_the_way():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 3))
    ft = bound(model, toy_batches(4))
    # Forward 4·(24 + 18), weights as much, the second layer's input 4·18 = 408; then without the
    # first layer's weight and the way to it: 168 + 72.
    ft.run(1)
    model[0].requires_grad_(False)
    ft.run(1)
    assert [s.flops_batch for s in ft.step_logs] == [408, 240]


def test_functional_work_is_seen():
    class Attention(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(torch.randn(4, 4))

        def forward(self, x):
            return (x @ self.w) @ x.transpose(1, 2)

    torch.manual_seed(0)
    loader = [(torch.randn(2, 5, 4), torch.zeros(2))]
    ft = bound(Attention(), loader, loss_fn=lambda output, target: output.sum())
    # x w: 2·10·16 = 320; (x w) x': 2·2·5·5·4 = 400; backward: to x w 400, to w 320.
    assert ft.run(1) == 320 + 400 + 400 + 320


def counted_in_full(model, optimizer, batches):
    with FlopCounter() as counter:
        for data, target in batches:
            optimizer.zero_grad()
            F.cross_entropy(model(data), target).backward()
            optimizer.step()
    return counter.total


@pytest.mark.filterwarnings("ignore:Sparse", "ignore:all steps like this one")
def test_sparse_gradients_are_counted_each_time():
    """Adagrad adds up the rows of an index that comes twice: 1, 4 and 2 rows are left."""
    target = torch.zeros(4, dtype=torch.int64)
    batches = [(torch.tensor(ids), target) for ids in ([1, 1, 1, 1], [1, 2, 3, 4], [1, 1, 2, 2])]

    def parts():
        torch.manual_seed(0)
        model = nn.Embedding(10, 3, sparse=True)
        return model, torch.optim.Adagrad(model.parameters())

    model, optimizer = parts()
    ft = FlopsTracker(model).torch_bind(model, optimizer, train_loader=batches)
    assert ft.run(3) == counted_in_full(*parts(), batches * 3)


def test_sparse_batches_are_counted_each_time():
    class Table(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(4, 3))

        def forward(self, x):
            return torch.sparse.mm(x, self.weight)

    target = torch.zeros(4, dtype=torch.int64)
    batches = [
        (torch.diag(torch.tensor(d)).to_sparse(), target) for d in ([1.0] * 4, [0.0, 0, 0, 1])
    ]
    model = Table()
    ft = FlopsTracker(model, convention="matmul")
    ft.torch_bind(model, sgd(model), train_loader=batches)
    with pytest.warns(UncountedWarning, match="each step on such a batch is counted"):
        ft.run(2)
    # 4 entries and 1, each times a row of 3, in forward and for the weights.
    assert [log.flops_batch for log in ft.step_logs] == [2 * 2 * 4 * 3, 2 * 2 * 1 * 3] * 2


def test_a_rate_of_minus_one_scales_nothing():
    """SGD adds -lr times the gradient: 2 per parameter, and 1 where that is 1."""
    model = linear()
    optimizer = sgd(model)
    ft = FlopsTracker(model).torch_bind(model, optimizer, train_loader=toy_batches(4))
    first, second = ft.run(1), ft.run(1)  # the first has no gradients to begin with
    optimizer.param_groups[0]["lr"] = -1.0
    parameters = sum(p.numel() for p in model.parameters())
    assert ft.run(1) - second == second - first - parameters


# ---- without training ----


def test_batches_counted_on_copies():
    model = linear()
    before = state_of(model)
    estimator = TorchOpEstimator(model, (1, 4), convention="matmul")
    assert [estimator.flops_for_batch(n) for n in (1, 7, 64)] == [n * STEP for n in (1, 7, 64)]
    assert same_state(state_of(model), before)
    assert all(p.grad is None for p in model.parameters())


def test_an_estimate_and_the_training():
    model = linear()
    estimator = TorchOpEstimator(model, (1, 4), convention="matmul")
    ft = FlopsTracker(estimator).torch_bind(model, sgd(model), train_loader=toy_batches())
    assert ft.estimate(2) == 2 * 10 * STEP == ft.run(2)


def test_in_a_loop_of_ones_own():
    estimator = TorchOpEstimator(linear(), (1, 4), convention="matmul")
    with FlopsTracker(estimator) as ft:
        ft.on_epoch_start()
        ft.update_batch(batch_size=5)
        ft.on_epoch_end()
    assert ft.total_flops == 5 * STEP


def test_without_an_example_a_batch_must_be_trained():
    words = r"FlopsTracker\(TorchOpEstimator\(model, input_example=\(1, \.\.\.\)\)\)"
    with pytest.raises(ValueError, match=words):
        TorchOpEstimator(linear()).flops_for_batch(1)
    with pytest.raises(ValueError, match=words), FlopsTracker(linear()) as own:
        own.on_epoch_start()
        own.update_batch(3)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"strict": "no"}, "strict must be True or False, not 'no'"),
        ({"loss_fn": "ce"}, "loss_fn must be callable, not 'ce'"),
        ({"optimizer": torch.optim.Adam}, r"pass an instance, Adam\(model.parameters\(\)\)"),
    ],
)
def test_options_that_make_no_sense(options, words):
    with pytest.raises(TypeError, match=words):
        TorchOpEstimator(linear(), (1, 4), **options)


def test_a_convention_is_for_a_model():
    with pytest.raises(TypeError, match="convention is for a model"):
        FlopsTracker(TorchAutoEstimator(linear(), (1, 4)), convention="matmul")
    with pytest.raises(ValueError, match="convention must be"):
        FlopsTracker(linear(), convention="flops")


def test_the_model_of_another_estimator_is_refused():
    model = linear()
    with pytest.raises(ValueError, match="another model"):
        FlopsTracker(linear()).torch_bind(model, sgd(model), train_loader=[])


# ---- which steps cost the same ----


class Batches:
    """A loader that does something before some of its batches."""

    def __init__(self, batches, before=()):
        self.batches = batches
        self.before = dict(before)

    def __iter__(self):
        for number, batch in enumerate(self.batches):
            self.before.get(number, lambda: None)()
            yield batch


def flops_of_steps(model, batches, before=(), optimizer=None, convention="matmul", **options):
    options.setdefault("loss_fn", lambda output, target: output.sum())
    if options.get("step_fn"):
        del options["loss_fn"]
    trace = options.pop("trace", "first")  # "auto" counts the first steps in any case
    ft = FlopsTracker(model, convention=convention, trace=trace)
    ft.torch_bind(
        model, optimizer or sgd(model), train_loader=Batches(batches, before), **options
    ).run(1)
    return [step.flops_batch for step in ft.step_logs]


def pairs(steps):
    return [(torch.ones(2, 4), torch.zeros(2)) for _ in range(steps)]


@pytest.mark.parametrize(
    ("set_to_none", "momentum", "more"),
    # A weight's gradient is set to 0 by a multiplication or none, and then added to: 1 a number;
    # momentum is 0.9·m + g from the second step on: 2 a number.
    [(True, 0, 0), (True, 0.9, 2), (False, 0, 1), (False, 0.9, 3)],
)
def test_gradients_and_states_that_are_there(set_to_none, momentum, more):
    model = linear()
    steps = flops_of_steps(
        model,
        pairs(4),
        optimizer=sgd(model, momentum=momentum),
        convention="standard",
        zero_grad_kwargs={"set_to_none": set_to_none},
    )
    assert [step - steps[0] for step in steps] == [0, *[15 * more] * 3]


class Tasks(nn.Module):
    def __init__(self):
        super().__init__()
        self.small = nn.Linear(4, 3, bias=False)
        self.large = nn.Linear(4, 30, bias=False)

    def forward(self, a=None, b=None, task=None, times=1, scale=None):
        x = b if a is None else a
        if b is not None or task == "large" or scale == 0.5:
            return self.large(x)
        return sum(self.small(x) for _ in range(times))


# Linear(4, 3) on 2 rows forward and its weight's gradient: 2·STEP; ten times that for (4, 30).
SMALL, LARGE = 2 * STEP, 20 * STEP
ROWS = torch.ones(2, 4)


@pytest.mark.parametrize(
    ("small", "large"),
    [
        ({"a": ROWS}, {"b": ROWS}),
        ({"a": ROWS, "task": "small"}, {"a": ROWS, "task": "large"}),
        ({"a": ROWS, "times": 1}, {"a": ROWS, "times": 10}),
        ({"a": ROWS, "scale": 0.25}, {"a": ROWS, "scale": 0.5}),
        ({"a": ROWS, "scale": None}, {"a": ROWS, "scale": 0.5}),
        ({"a": ROWS, "times": True}, {"a": ROWS, "times": 10}),
    ],
)
def test_batches_that_differ_in_more_than_shapes(small, large):
    # Gradients of layers that run again and again are made in another way while that is counted,
    # which is known once eight such steps have been seen.
    steps = flops_of_steps(Tasks(), [small, large, small, large, large] * 10)
    assert steps == [SMALL, LARGE, SMALL, LARGE, LARGE] * 10


def test_an_object_in_a_batch_may_decide_anything():
    class Wish:
        def __init__(self, times):
            self.times = times

    class Model(Tasks):
        def forward(self, a, wish):
            return super().forward(a, times=wish.times)

    batches = [{"a": ROWS, "wish": Wish(times)} for times in (1, 3, 2)]
    with pytest.warns(UncountedWarning, match="a dict does not say what it holds"):
        steps = flops_of_steps(Model(), batches)
    assert steps == [SMALL, 3 * SMALL, 2 * SMALL]


@pytest.mark.filterwarnings("ignore::flops_tracker.UncountedWarning")
def test_a_step_of_ones_own_that_does_other_work_each_time():
    calls = []

    def step_fn(model, batch):
        calls.append(1)
        return model(a=batch[0], times=len(calls)).sum()

    steps = flops_of_steps(Tasks(), pairs(8), step_fn=step_fn, trace="auto")
    assert steps == [n * SMALL for n in range(1, 9)]


def test_a_step_of_ones_own_that_does_more_now_and_then():
    calls = []

    def step_fn(model, batch):
        calls.append(1)
        return model(a=batch[0], times=2 if len(calls) % 5 == 3 else 1).sum()

    # The first of them is not counted, and known when the next one has been.
    steps = flops_of_steps(Tasks(), pairs(20), step_fn=step_fn)
    assert steps == [SMALL, SMALL, 2 * SMALL, SMALL, SMALL] * 4


def test_options_of_the_optimizer_that_are_changed():
    model = linear()
    optimizer = sgd(model)
    # Weight decay adds wd·p to each of 15 gradients: 2 a number. The rate makes no difference.
    before = {
        1: lambda: optimizer.param_groups[0].update(lr=0.01),
        2: lambda: optimizer.param_groups[0].update(weight_decay=0.1),
    }
    steps = flops_of_steps(model, pairs(4), before, optimizer, "standard")
    assert [step - steps[0] for step in steps] == [0, 0, 30, 30]


def test_an_optimizer_whose_steps_differ_is_counted_every_time():
    class EverySecond(torch.optim.SGD):
        steps = 0

        def step(self, closure=None):
            self.steps += 1
            if self.steps % 2 == 0:
                super().step(closure)

    model = linear()
    optimizer = EverySecond(model.parameters(), lr=0.1)
    steps = flops_of_steps(model, pairs(4), (), optimizer, "standard")
    assert [step - steps[0] for step in steps] == [0, 30, 0, 30]


class Switched(nn.Module):
    """Its layer runs twice where it is trained, and once more under autocast."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(4, 3, bias=False)

    def forward(self, x):
        times = 1 + self.inner.training + torch.is_autocast_enabled("cpu")
        return sum(self.inner(x) for _ in range(times))


def test_modes_of_modules():
    model = Switched()
    steps = flops_of_steps(
        model, pairs(4), {1: model.inner.eval, 2: model.inner.train, 3: model.inner.eval}
    )
    assert steps == [2 * SMALL, SMALL, 2 * SMALL, SMALL]


def test_autocast():
    model = Switched()
    ft = FlopsTracker(model, convention="matmul")
    ft.torch_bind(model, sgd(model), lambda output, target: output.sum(), pairs(2))
    ft.run(1)
    with torch.autocast("cpu", torch.bfloat16):
        ft.run(1)
    assert [step.flops_batch for step in ft.step_logs] == [2 * SMALL] * 2 + [3 * SMALL] * 2


def test_a_layer_that_is_replaced():
    model = nn.Sequential(nn.Linear(4, 3, bias=False))
    optimizer = sgd(model)

    def replace():
        model[0] = nn.Linear(4, 30, bias=False)

    assert flops_of_steps(model, pairs(3), {1: replace}, optimizer) == [SMALL, LARGE, LARGE]


def test_steps_alike_are_counted_once():
    model = linear()
    estimator = TorchOpEstimator(model, convention="matmul")
    ft = FlopsTracker(estimator)
    ft.torch_bind(model, sgd(model), lambda output, target: output.sum(), pairs(5))
    ft.run(1)
    counted = estimator.counts
    ft.run(2)
    assert ft.total_flops == 15 * SMALL
    assert estimator.counts.total == counted.total


class Dropping(nn.Module):
    """From some call on it leaves a layer out, which nothing shows before the step."""

    def __init__(self, until):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(4, 4, bias=False) for _ in range(2))
        self.calls = iter(range(1, 10**9))
        self.until = until

    def forward(self, x):
        x = self.layers[0](x)
        return x if next(self.calls) > self.until else self.layers[1](x)


@pytest.mark.parametrize("until", [1, 5, 9])
def test_a_model_that_goes_another_way_is_found_by_its_nodes(until):
    """A layer on 2 rows of 4: 64 forward and 64 for its weight; the second 64 for its input."""
    steps = flops_of_steps(Dropping(until), pairs(12))
    assert steps == [320] * until + [128] * (12 - until)


class Masked(nn.Module):
    """Works on the rows that a mask leaves."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(4, 3, bias=False)

    def forward(self, x):
        return self.inner(x[x[:, 0] > 0])


def test_a_model_whose_work_depends_on_data_is_counted_each_time():
    batches = [(torch.ones(4, 4), torch.zeros(4)) for _ in range(6)]
    for rows, (x, _) in enumerate(batches):
        x[:rows] = 0
    words = "aten.index.Tensor does as much as data decides"
    with pytest.warns(UncountedWarning, match=words) as caught:
        steps = flops_of_steps(Masked(), batches[:4])
    assert steps == [4 * STEP, 3 * STEP, 2 * STEP, STEP]
    assert len(caught) == 1


def test_what_is_kept_is_bounded():
    model = linear()
    estimator = TorchOpEstimator(model, (1, 4), convention="matmul")
    sizes = [*range(1, 9)] * 2
    assert [estimator.flops_for_batch(n) for n in sizes] == [n * STEP for n in sizes]
    assert len(estimator._counts) < 8
    assert estimator.counts_for_batch(3).total == 3 * STEP
    assert estimator.counts.total == 3 * STEP


def test_a_mode_that_changes_between_batches_on_copies():
    model = Switched()
    estimator = TorchOpEstimator(model, (2, 4), convention="matmul")
    assert estimator.flops_for_batch(2) == 2 * SMALL
    model.inner.eval()
    assert estimator.flops_for_batch(2) == SMALL
    model.inner.train()
    assert estimator.flops_for_batch(2) == 2 * SMALL


def test_weights_that_are_cut_on_the_way():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8, bias=False), nn.Linear(8, 3, bias=False))

    def cut():
        model[0].weight.data = model[0].weight.data[:2].clone()
        model[1].weight.data = model[1].weight.data[:, :2].clone()
        model.zero_grad()

    # On 2 rows of 4: forward 2·2·(4·h + 3·h) = 28·h, the weights as much again, and the second
    # layer's input 2·2·3·h: 68·h.
    assert flops_of_steps(model, pairs(4), {2: cut}) == [68 * 8] * 2 + [68 * 2] * 2


class ByDtype(nn.Module):
    """Works twice in double precision."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(4, 3, bias=False)

    def forward(self, x):
        times = 2 if self.inner.weight.dtype == torch.float64 else 1
        return sum(self.inner(x.to(self.inner.weight.dtype)) for _ in range(times))


def test_a_dtype_that_changes_makes_another_step():
    model = ByDtype()

    def change():
        model.inner.weight.data = model.inner.weight.data.double()
        model.zero_grad()

    assert flops_of_steps(model, pairs(4), {2: change}) == [SMALL] * 2 + [2 * SMALL] * 2


class Memory(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(4, 3))
        self.register_buffer("rows", torch.ones(2, 4))

    def forward(self, x):
        self.rows = self.rows.clone()
        return self.rows @ self.weight


def test_a_buffer_that_grows():
    model = Memory()

    def grow():
        model.rows = torch.ones(6, 4)

    # (n, 4) times (4, 3) and the weight's gradient: 2·2·12·n. That the buffer is another one after
    # each step makes no other step.
    ft = FlopsTracker(model, convention="matmul", trace="first")
    loader = Batches(pairs(4), {2: grow})
    ft.torch_bind(model, sgd(model), lambda output, target: output.sum(), loader).run(1)
    assert [step.flops_batch for step in ft.step_logs] == [48 * 2] * 2 + [48 * 6] * 2
    assert ft.traced_steps == 3  # before the first, there are no gradients


def twice(module, args, output):
    return output + 0 * module.inner(*args)


@pytest.mark.parametrize("removed", [False, True])
def test_a_hook_that_is_added_on_the_way(removed):
    model = nn.Sequential(nn.Linear(4, 3, bias=False))
    model[0].__dict__["inner"] = nn.Linear(4, 3, bias=False).requires_grad_(False)
    handles = []
    before = {
        1: lambda: handles.append(model[0].register_forward_hook(twice)),
        2: lambda: removed and handles.pop().remove(),
    }
    # The layer in the hook adds its forward alone, half of SMALL.
    more = SMALL + SMALL // 2
    steps = flops_of_steps(model, pairs(3), before)
    assert steps == [SMALL, more, SMALL if removed else more]


def works_more(*args):
    """Be a hook that does work: a product of (8, 8) matrices."""
    torch.ones(8, 8) @ torch.ones(8, 8)


HOOKS = {
    "forward pre": lambda model: model.register_forward_pre_hook(works_more),
    "forward": lambda model: model.register_forward_hook(works_more),
    "backward pre": lambda model: model.register_full_backward_pre_hook(works_more),
    "backward": lambda model: model.register_full_backward_hook(works_more),
    "of a parameter": lambda model: model.weight.register_hook(works_more),
}


@pytest.mark.filterwarnings("ignore:Full backward hook is firing")
@pytest.mark.parametrize("name", HOOKS)
def test_every_kind_of_hook_makes_another_step(name):
    model = linear()
    handles = []
    before = {2: lambda: handles.append(HOOKS[name](model)), 4: lambda: handles.pop().remove()}
    steps = flops_of_steps(model, pairs(6), before)
    assert steps == [SMALL] * 2 + [SMALL + 2 * 8**3] * 2 + [SMALL] * 2


def test_a_hook_in_the_place_of_another():
    model = linear()
    handles = [model.register_forward_hook(lambda *args: None)]

    def replace():
        handles[0].remove()
        model.register_forward_hook(works_more)

    steps = flops_of_steps(model, pairs(4), {2: replace})
    assert steps == [SMALL] * 2 + [SMALL + 2 * 8**3] * 2


def test_modules_that_are_gone_are_not_kept():
    model = linear()
    flops_of_steps(model, pairs(2))
    kept = weakref.ref(model)
    del model
    gc.collect()
    assert kept() is None


def test_a_state_of_a_model_with_a_lazy_layer():
    model = nn.Sequential(nn.LazyLinear(3, bias=False))
    before = _op_estimator.model_state(model)
    model(ROWS)
    assert _op_estimator.model_state(model) != before


def test_a_state_does_not_grow_with_the_model():
    def size(layers):
        model = nn.Sequential(*[nn.Linear(2, 2) for _ in range(layers)])
        return len(_op_estimator.model_state(model))

    assert size(500) == size(1)
