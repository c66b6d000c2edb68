"""Optimizers are counted by themselves; compiled code keeps its speed."""

import warnings

import pytest
import torch
from replayed import ROW, STEP, batches, compare, mlp, rows
from torch import nn

from flops_tracker import FlopsTracker, UncountedWarning

# ---- optimizers ----


def test_the_first_step_of_an_optimizer_is_its_own_affair():
    """Steps around it are one kind, whatever its state."""

    def train(trace):
        model = mlp()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        ft = FlopsTracker(model, trace=trace)
        for i, (x, _) in enumerate(ft.steps(batches(20))):
            optimizer.zero_grad()
            model(x).sum().backward()
            optimizer.step()
            if i == 10:
                optimizer.state.clear()
        return ft

    compare(train, 2)


OPTIONS = {
    "weight_decay": 0.1,
    "momentum": 0.5,
    "nesterov": True,
    "lr": -1.0,
    "maximize": True,
    "foreach": False,
}


@pytest.mark.parametrize("name", OPTIONS)
def test_an_option_of_an_optimizer_that_changes(name):
    def train(trace):
        model = mlp()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        ft = FlopsTracker(model, trace=trace)
        before = optimizer.param_groups[0][name]
        for i, (x, _) in enumerate(ft.steps(batches(24))):
            optimizer.param_groups[0][name] = OPTIONS[name] if i % 4 == 3 else before
            optimizer.zero_grad()
            model(x).sum().backward()
            optimizer.step()
        return ft

    compare(train, 2)


def test_a_schedule_is_no_new_kind():
    def train(trace):
        model = mlp()
        optimizer = torch.optim.AdamW(model.parameters())
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 50)
        ft = FlopsTracker(model, trace=trace)
        for x, _ in ft.steps(batches(50)):
            optimizer.zero_grad()
            model(x).sum().backward()
            optimizer.step()
            schedule.step()
        return ft

    compare(train, 2)


@pytest.mark.parametrize("name", ["RAdam", "ASGD", "LBFGS"])
def test_optimizers_whose_work_depends_on_their_past_are_counted_each_time(name):
    def train(trace):
        model = mlp()
        optimizer = getattr(torch.optim, name)(model.parameters())
        ft = FlopsTracker(model, trace=trace)
        for x, _ in ft.steps(batches(12)):

            def closure(x=x):
                optimizer.zero_grad()
                loss = model(x).pow(2).sum()
                loss.backward()
                return loss

            optimizer.step(closure)
        return ft

    compare(train, 12)


def test_a_phase_inside_of_a_closure():
    def train(trace):
        model = mlp()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        ft = FlopsTracker(model, trace=trace)
        for x, _ in ft.steps(batches(12)):

            def closure(x=x):
                optimizer.zero_grad()
                loss = model(x).sum()
                with ft.phase("validate"), torch.no_grad():
                    model(x)
                loss.backward()
                return loss

            optimizer.step(closure)
        return ft

    tracker = compare(train, 12)
    assert tracker.phase_counts["validate"].under("matmul").total == 12 * 4 * ROW


class Sharpness(torch.optim.Optimizer):
    """An optimizer around another one, as SAM and Lookahead are; every second step does more."""

    def __init__(self, params):
        super().__init__(params, {})
        self.inner = torch.optim.AdamW(self.param_groups)
        self.steps = 0

    @torch.no_grad()
    def step(self, closure=None):
        self.inner.step()
        self.steps += 1
        if self.steps % 2 == 0:
            for group in self.param_groups:
                for p in group["params"]:
                    p.mul_(0.5).add_(p, alpha=0.25)


def test_optimizers_in_each_other():
    def train(trace):
        model = mlp()
        optimizer = Sharpness(model.parameters())
        ft = FlopsTracker(model, trace=trace)
        for x, _ in ft.steps(batches(16)):
            optimizer.zero_grad()
            model(x).sum().backward()
            optimizer.step()
        return ft

    compare(train, 3)


class Failing(torch.optim.SGD):
    fails = 0

    def step(self, closure=None):
        if self.fails:
            type(self).fails -= 1
            raise RuntimeError("out of memory, say")
        return super().step(closure)


@pytest.mark.parametrize("again", [True, False])
def test_an_optimizer_that_raises_and_is_tried_again(again):
    """Where it was not counted, what it did before it raised is not known: the step is lost."""

    def train(trace):
        model = mlp()
        optimizer = Failing(model.parameters(), lr=0.1)
        ft = FlopsTracker(model, trace=trace, convention="matmul")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UncountedWarning)
            for i, (x, _) in enumerate(ft.steps(batches(12))):
                Failing.fails = int(i == 6)
                optimizer.zero_grad()
                model(x).sum().backward()
                try:
                    optimizer.step()
                except RuntimeError:
                    if again:
                        optimizer.step()
        return ft

    assert train("always").total_flops == 12 * STEP
    first = train("first")
    assert first.total_flops == (12 - first.unattributed_steps) * STEP
    assert first.unattributed_steps <= 1
    assert first.step_logs[11].flops_batch == STEP


def test_sparse_gradients_are_counted_each_time():
    def train(trace):
        model = nn.Embedding(50, 4, sparse=True)
        optimizer = torch.optim.SparseAdam(model.parameters())
        ft = FlopsTracker(model, trace=trace)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UncountedWarning)
            for i in ft.steps([torch.arange(8) % (1 + i % 5) for i in range(20)]):
                optimizer.zero_grad()
                model(i).sum().backward()
                optimizer.step()
        return ft

    compare(train, 20)


def test_gradients_of_an_optimizer_whose_state_was_loaded(tmp_path):
    """Its options are other objects then, the word for its parameters among them."""

    def train(trace):
        model = mlp()
        optimizer = torch.optim.AdamW(model.parameters())
        torch.save(optimizer.state_dict(), tmp_path / "state.pt")
        optimizer.load_state_dict(torch.load(tmp_path / "state.pt"))
        ft = FlopsTracker(model, trace=trace)
        for i, (x, _) in enumerate(ft.steps(batches(40))):
            optimizer.zero_grad()
            (model[0](x) if i % 3 else model(x)).sum().backward()
            optimizer.step()
        return ft

    compare(train, 20)


def test_hooks_of_an_optimizer_that_come_later():
    def train(trace):
        model = mlp()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        ft = FlopsTracker(model, trace=trace)

        def halve(*_):
            for p in model.parameters():
                p.data.mul_(0.5)

        for i, (x, _) in enumerate(ft.steps(batches(40))):
            if i == 20:
                optimizer.register_step_post_hook(halve)
            optimizer.zero_grad()
            model(x).sum().backward()
            optimizer.step()
        return ft

    compare(train, 20)


# ---- compiled code ----


def test_a_compiled_model_keeps_its_speed():
    torch._dynamo.reset()
    graphs = []

    def backend(module, inputs):
        graphs.append(module)
        return module.forward

    def train(trace):
        model = mlp()
        compiled = torch.compile(model, backend=backend, fullgraph=True)
        optimizer = torch.optim.AdamW(model.parameters())
        ft = FlopsTracker(model, trace=trace, convention="matmul")
        for _ in ft.epochs(2):
            for i, (x, _) in enumerate(ft.steps(batches(150))):
                assert (
                    not graphs or torch._C._len_torch_dispatch_stack() == 0 or ft.traced_steps > 1
                )
                compiled(x).sum().backward()
                if i % 3 == 2:
                    optimizer.step()
                    optimizer.zero_grad()
        return ft

    always = train("always")
    assert graphs == []
    first = train("first")
    assert len(graphs) == 1
    assert first.unattributed_steps == 0
    assert first.total_flops == always.total_flops
    # Of each kind, with the optimizer and without, the first and three to know how it looks.
    assert first.traced_steps <= 12


def test_a_compiled_model_whose_backward_is_left_out_now_and_then():
    """The number of nodes is the same: only gradients tell these steps apart."""
    torch._dynamo.reset()

    def train(trace):
        model = mlp()
        compiled = torch.compile(model, backend="aot_eager")
        ft = FlopsTracker(model, trace=trace, convention="matmul")
        for _ in ft.epochs(2):
            for i, (x, _) in enumerate(ft.steps(batches(30))):
                loss = compiled(x).sum()
                if i % 4 != 3:
                    model.zero_grad()
                    loss.backward()
        return ft

    always = train("always")
    assert always.total_flops == 2 * (23 * STEP + 7 * 4 * ROW)
    for trace in ("first", "auto"):
        assert rows(train(trace))[:3] == rows(always)[:3]


@pytest.mark.parametrize(
    ("period", "offset"), [(50, 49), (50, 0), (16, 10), (20, 13), (5, 4), (2, 1)]
)
def test_a_compiled_model_that_does_more_now_and_then(period, offset):
    """The nodes of compiled code say little of what it does: rare steps are found by counting."""

    def train(trace):
        torch._dynamo.reset()
        model = mlp()
        compiled = torch.compile(model, backend="aot_eager")
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        ft = FlopsTracker(model, trace=trace)
        for i, (x, _) in enumerate(ft.steps(batches(300))):
            optimizer.zero_grad()
            loss = compiled(x).sum()
            if i % period == offset:
                loss = loss + compiled(x * 2).pow(2).sum()
            loss.backward()
            optimizer.step()
        return ft

    # The first one, before which there are no gradients, and the first with them; at most 16 to
    # know the common steps among others, and a search of 64.
    compare(train, 1 + 1 + 16 + 64)


class Rounds(nn.Module):
    """Runs a layer once or four times, which are one node where they are compiled."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.round = nn.Linear(4, 8), nn.Linear(8, 8)

    def forward(self, x, rounds):
        x = self.first(x)
        for _ in range(rounds):
            x = self.round(x).relu()
        return x


@pytest.mark.parametrize(
    "rounds", [lambda i: 4 if i >= 100 else 1, lambda i: 4 if i % 5 == 4 else 1]
)
def test_compiled_steps_that_look_alike_are_found_by_audits(rounds):
    def train(trace):
        torch._dynamo.reset()
        model = Rounds()
        compiled = torch.compile(model, backend="aot_eager")
        ft = FlopsTracker(model, trace=trace, convention="matmul")
        for i, (x, _) in enumerate(ft.steps(batches(400))):
            model.zero_grad()
            compiled(x, rounds(i)).sum().backward()
        return ft

    always = train("always")
    with pytest.warns(UncountedWarning) as caught:
        auto = train("auto")
    texts = [str(warning.message) for warning in caught]
    # Linear(4, 8) on 4 rows: 256 forward and for its weights; (8, 8): 512 a round, for its weights
    # and for its input.
    once, often = 2 * 256 + 3 * 512, 2 * 256 + 4 * 3 * 512
    assert f"counted again cost {often:,} FLOPs and not {once:,}" in texts[0]
    assert "unlike those they stood for: the total may be off" in auto._loops.trust_line
    assert "all steps like this one of the phase 'train' are counted from now on" in texts[-1]
    pairs = zip(auto.step_logs, always.step_logs, strict=True)
    wrong = [a.step for a, b in pairs if a.flops_batch != b.flops_batch]
    # Audits are at most 128 apart after 100 steps; three of them are needed, which come closely.
    assert len(wrong) < 128 + 64 and max(wrong) < 100 + 128 + 64
    assert auto.step_logs[-1].flops_batch == always.step_logs[-1].flops_batch


def test_a_budget_does_not_wait_for_a_step_that_is_not_known():
    def train(trace):
        model = mlp()
        ft = FlopsTracker(model, trace=trace, convention="matmul", max_flops=40 * STEP)
        for i, (x, _) in enumerate(ft.steps(batches(200))):
            model.zero_grad()
            model(x).sum().backward()
            if i == 15:
                model(x)
        return ft

    assert len(train("always").step_logs) == 40
    with pytest.warns(UncountedWarning, match="1 of the steps of this epoch"):
        first = train("first")
    assert (first.total_flops, len(first.step_logs)) == (40 * STEP, 41)
    assert first.over_budget


def test_a_model_that_is_compiled_anew():
    """Where torch.compile makes another graph, the same steps leave something else behind."""

    def train(trace):
        torch._dynamo.reset()
        model = mlp()
        compiled = torch.compile(lambda x, more: model(x) * more, backend="aot_eager")
        ft = FlopsTracker(model, trace=trace)
        for i, (x, _) in enumerate(ft.steps(batches(100))):
            model.zero_grad()
            compiled(x, 1.0 + (i > 50)).sum().backward()
        return ft

    compare(train, 16)


def test_a_compiled_optimizer_is_not_broken():
    torch._dynamo.reset()
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), lr=torch.tensor(0.1))
    step = torch.compile(optimizer.step, backend="eager")
    ft = FlopsTracker(model, trace="first", convention="matmul")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UncountedWarning)
        for x, _ in ft.steps(batches(6)):
            model.zero_grad()
            model(x).sum().backward()
            step()
    assert ft.total_flops + ft.unattributed_steps * STEP == 6 * STEP
