"""A dry run leaves the model and everything around it as it was, however it ends."""

import contextlib
import gc
import subprocess
import sys
import threading
import time
import weakref
from types import SimpleNamespace

import pytest
import torch
from model_snapshot import changes, snapshot
from stateful_models import (
    MODELS,
    Boom,
    Ending,
    goes_on,
    interrupts,
    raises,
    reads_a_number,
    reads_and_raises,
    reads_positions,
)
from torch import nn
from torch._subclasses.fake_tensor import FakeTensor
from torch_models import Function, prepared_without_warning

from flops_tracker import TorchAutoEstimator, TorchCNNLayerwiseEstimator

KINDS = pytest.mark.parametrize(
    "kind", [TorchAutoEstimator, TorchCNNLayerwiseEstimator], ids=["auto", "cnn"]
)
EVERY_MODEL = pytest.mark.parametrize("name", MODELS)


def build(name, end):
    make, example = MODELS[name]
    return Ending(make(), end), example


def rule_that_raises(module, args, kwargs, output):
    raise Boom("in a rule")


# name: how the pass ends, which rule is registered, what is raised, how the dry run was done
OUTCOMES = {
    "ok": (goes_on, None, None, "fake"),
    "forward raises": (raises, None, (Boom, "in forward"), None),
    "interrupted": (interrupts, None, (KeyboardInterrupt, "in forward"), None),
    "rule raises": (goes_on, rule_that_raises, (Boom, "in a rule"), None),
    "item()": (reads_a_number, None, None, "real"),
    "nonzero()": (reads_positions, None, None, "real"),
    "real pass raises": (reads_and_raises, None, (Boom, "after reading"), None),
}


@KINDS
@pytest.mark.parametrize("outcome", OUTCOMES)
@EVERY_MODEL
def test_nothing_has_changed(name, outcome, kind):
    end, rule, failure, how = OUTCOMES[outcome]
    model, example = build(name, end)
    before = snapshot(model)
    estimator = kind(model, example)
    if rule is not None:
        estimator.register(nn.Identity, rule)
    if failure is None:
        prepared_without_warning(estimator)
        assert estimator.dry_run.partition(":")[0] == how
    else:
        with pytest.raises(failure[0]) as caught:
            prepared_without_warning(estimator)
        assert type(caught.value) is failure[0]
        assert caught.value.args == (failure[1],)
    assert changes(before, snapshot(model)) == []


@EVERY_MODEL
def test_nothing_has_changed_in_the_models_own_mode(name):
    model, example = build(name, goes_on)
    before = snapshot(model)
    prepared_without_warning(TorchAutoEstimator(model, example, use_eval_mode=False))
    assert changes(before, snapshot(model)) == []


@EVERY_MODEL
def test_nothing_has_changed_by_looking(name):
    model, example = build(name, goes_on)
    estimator = prepared_without_warning(TorchAutoEstimator(model, example))
    before = snapshot(model)
    assert estimator.uncalled == []
    assert estimator.layers[0].calls == 1
    estimator.flops_for_batch(7)
    assert changes(before, snapshot(model)) == []


def test_the_first_report_of_a_process_draws_no_random_numbers():
    program = (
        "import random, torch, flops_tracker\n"
        "e = flops_tracker.TorchAutoEstimator(torch.nn.Linear(1, 1), (1, 1)).prepare()\n"
        "before = random.getstate()\n"
        "e.report()\n"
        "assert random.getstate() == before\n"
    )
    subprocess.run([sys.executable, "-P", "-c", program], check=True)


@pytest.mark.parametrize("outcome", [o for o, row in OUTCOMES.items() if row[2] is not None])
def test_the_estimator_works_after_a_failure(outcome):
    end, rule, failure, _ = OUTCOMES[outcome]
    model, example = build("linear", end)
    estimator = TorchAutoEstimator(model, example, training_factor=1)
    if rule is not None:
        estimator.register(nn.Identity, rule)
    for _ in range(2):
        with pytest.raises(failure[0]):
            estimator.flops_for_batch(1)
    model.end = goes_on
    if rule is not None:
        estimator.register(nn.Identity, lambda *call: 0, override=True)
    # 2·4·4 a row
    assert estimator.flops_for_batch(3) == 96
    assert estimator.dry_run == "fake"


def test_the_exception_is_the_one_that_the_model_raised():
    error = Boom("this very one")

    def fail(self, x):
        raise error

    with pytest.raises(Boom) as caught:
        TorchAutoEstimator(Function(fail), (1, 4)).prepare()
    assert caught.value is error
    assert error.__context__ is None
    assert error.__cause__ is None


# ---- the model is not the only thing that a pass can change ----


@pytest.mark.parametrize("end", [goes_on, reads_a_number])
def test_the_example_is_the_users(end):
    example = torch.full((2, 4), -1.0, requires_grad=True)
    model = nn.Sequential(Function(lambda self, x: x.relu_().add_(5)), Ending(nn.Linear(4, 4), end))
    before = (example.detach().clone(), example._version)
    TorchAutoEstimator(model, example).prepare()
    assert torch.equal(example, before[0])
    assert (example._version, example.grad) == (before[1], None)


class InPlace(nn.Module):
    """Writes to a tensor that is neither a parameter nor a buffer, or to its own weight."""

    def __init__(self, end):
        super().__init__()
        self.end = end
        self.linear = nn.Linear(4, 4)
        self.steps = torch.zeros(1)
        self.history = [torch.zeros(1)]

    def forward(self, x):
        self.steps += 1
        self.history[0] += 1
        with torch.no_grad():
            self.linear.weight.clamp_(-0.01, 0.01)
        return self.end(self.linear(x))


@pytest.mark.parametrize("end", [goes_on, reads_a_number, reads_and_raises])
@pytest.mark.parametrize(
    ("make", "example"),
    [
        pytest.param(
            lambda end: nn.Sequential(nn.Embedding(9, 4, max_norm=0.1), Ending(nn.ReLU(), end)),
            ((2, 3), torch.int64),
            id="embedding with max_norm",
        ),
        pytest.param(InPlace, (2, 4), id="in place"),
    ],
)
def test_tensors_written_in_place_by_forward(make, example, end):
    model = make(end)
    before = snapshot(model)
    try:
        TorchAutoEstimator(model, example).prepare()
    except Boom:
        assert end is reads_and_raises
    assert changes(before, snapshot(model)) == []


def test_a_model_in_inference_or_no_grad_mode_of_the_user():
    for guard in (torch.no_grad, torch.inference_mode):
        model, example = build("batch norm", reads_a_number)
        with guard():
            before = snapshot(model)
            prepared_without_warning(TorchAutoEstimator(model, example))
            assert changes(before, snapshot(model)) == []


def test_the_users_settings_stay():
    model, example = build("encoder layer", goes_on)
    torch.backends.mha.set_fastpath_enabled(False)
    torch.set_default_dtype(torch.float64)
    try:
        before = snapshot(model)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            TorchAutoEstimator(model, example).prepare()
            assert torch.is_autocast_enabled("cpu")
        assert changes(before, snapshot(model)) == []
    finally:
        torch.backends.mha.set_fastpath_enabled(True)
        torch.set_default_dtype(torch.float32)


def test_the_users_hooks_stay_and_keep_their_order():
    model, example = build("linear", goes_on)
    order = []
    model.layer.register_forward_pre_hook(lambda *_: order.append("before"))
    model.layer.register_forward_hook(lambda *_: order.append("after"))
    before = snapshot(model)
    TorchAutoEstimator(model, example).prepare()
    assert changes(before, snapshot(model)) == []
    order.clear()
    model(torch.zeros(2, 4))
    assert order == ["before", "after"]


@pytest.mark.parametrize("name", ["batch norm", "dropout", "spectral norm", "lstm"])
def test_training_goes_on_bit_by_bit_as_without(name):
    def train(look):
        torch.manual_seed(0)
        model, example = build(name, goes_on)
        head = nn.Linear(1, 1)
        optimizer = torch.optim.AdamW([*model.parameters(), *head.parameters()])
        for _ in range(3):
            if look:
                prepared_without_warning(TorchAutoEstimator(model, example))
            optimizer.zero_grad()
            head(model(torch.rand(example)).mean().view(1, 1)).sum().backward()
            optimizer.step()
        return [t.detach().clone() for t in (*model.state_dict().values(), *head.parameters())]

    for with_us, without in zip(train(True), train(False), strict=True):
        assert torch.equal(with_us, without)


def test_what_the_fake_pass_cached_does_not_reach_the_real_one():
    def with_cache(self, x):
        if self.cache is None:
            self.cache = self.linear(x).detach()
        return reads_a_number(self.linear(x) + self.cache)

    model = Function(with_cache, linear=nn.Linear(4, 4))
    model.cache = None
    # two calls of 2·2·16
    assert TorchAutoEstimator(model, (2, 4)).forward_flops == 128
    assert model.cache is None


def fake_tensors():
    gc.collect()
    return [thing for thing in gc.get_objects() if type(thing) is FakeTensor]


@pytest.mark.parametrize("outcome", ["ok", "forward raises", "item()"])
@pytest.mark.parametrize("name", ["caches", "lstm"])
def test_nothing_is_kept_alive(name, outcome):
    before = fake_tensors()  # of tests that failed, if any
    end, _, failure, _ = OUTCOMES[outcome]
    model, example = build(name, end)
    estimator = TorchAutoEstimator(model, example)
    with pytest.raises(failure[0]) if failure else contextlib.nullcontext():
        prepared_without_warning(estimator)
    assert len(fake_tensors()) == len(before)
    watched = weakref.ref(model.layer)
    del model, estimator
    gc.collect()
    assert watched() is None


# ---- compiled models ----


class CountingBackend:
    def __init__(self):
        self.compiled = 0

    def __call__(self, graph, inputs):
        self.compiled += 1
        return graph.forward


@pytest.fixture
def backend():
    torch._dynamo.reset()
    yield CountingBackend()
    torch._dynamo.reset()


def test_a_model_seen_first_by_us_compiles_once_afterwards(backend):
    model = torch.compile(nn.Sequential(nn.Linear(4, 4), nn.ReLU()), backend=backend)
    assert TorchAutoEstimator(model, (2, 4)).forward_flops == 64
    assert backend.compiled == 0
    for _ in range(3):
        model(torch.zeros(2, 4))
    assert backend.compiled == 1


def test_a_model_that_is_compiled_stays_so(backend):
    model = torch.compile(nn.Sequential(nn.Linear(4, 4), nn.ReLU()), backend=backend)
    model(torch.zeros(2, 4))
    assert backend.compiled == 1
    assert TorchAutoEstimator(model, (2, 4)).forward_flops == 64
    model(torch.zeros(2, 4))
    assert backend.compiled == 1


def test_a_compiled_part_compiles_once_afterwards(backend):
    part = torch.compile(nn.Linear(4, 4), backend=backend)
    model = nn.Sequential(part, nn.Linear(4, 2))
    # 2·2·(16 + 8)
    assert TorchAutoEstimator(model, (2, 4)).forward_flops == 96
    assert backend.compiled == 0
    for _ in range(3):
        model(torch.zeros(2, 4))
    assert backend.compiled == 1


def test_dry_runs_in_two_threads_take_turns():
    running = threading.Event()
    inside, most = [], []

    def slow(self, x):
        inside.append(self)
        running.set()
        time.sleep(0.1)  # the other thread would come now, with the model hooked and in eval mode
        most.append(len(inside))
        inside.pop()
        return self.linear(x)

    model = Function(slow, linear=nn.Linear(4, 4)).train()
    before = snapshot(model)
    threads = [threading.Thread(target=TorchAutoEstimator(model, (1, 4)).prepare) for _ in "ab"]
    threads[0].start()
    running.wait(60)
    threads[1].start()
    for thread in threads:
        thread.join()
    assert most == [1] * 4  # two passes of each
    assert changes(before, snapshot(model)) == []
    assert torch.backends.mha.get_fastpath_enabled()


def test_a_tensor_kept_on_an_object_of_the_model_is_warned_of():
    def keeps(self, x):
        self.stats.mean = x.mean()
        self.stats.calls += 1
        return self.linear(x)

    model = nn.Sequential(Function(keeps, linear=nn.Linear(4, 1)))
    model[0].stats = SimpleNamespace(mean=None, calls=0)
    with pytest.warns(UserWarning, match=r"forward keeps tensors in 0\.stats\.mean, which"):
        estimator = TorchAutoEstimator(model, (1, 4)).prepare()
    assert estimator.forward_flops == 8
