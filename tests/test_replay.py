"""Few steps are counted, and the totals are those of counting them all."""

import random
import warnings

import pytest
import torch
from replayed import ROW, STEP, batches, compare, mlp
from torch import nn
from torch.nn import functional as F

from flops_tracker import FlopsTracker, UncountedWarning


def test_accumulation_over_a_thousand_steps():
    """Two kinds of steps, which depend on whether gradients are there, and with an optimizer."""

    def train(trace):
        model = mlp()
        optimizer = torch.optim.AdamW(model.parameters())
        ft = FlopsTracker(model, trace=trace)
        for _ in ft.epochs(4):
            for i, (x, y) in enumerate(ft.steps(batches(250))):
                F.cross_entropy(model(x), y).backward()
                if i % 4 == 3:
                    optimizer.step()
                    optimizer.zero_grad()
        return ft

    tracker = compare(train, 16)
    assert tracker.counts.under("matmul").total == 1000 * STEP


def test_accumulation_that_is_scaled_clipped_and_set_to_zero():
    def train(trace):
        model = mlp()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        ft = FlopsTracker(model, trace=trace)
        for _ in ft.epochs(2):
            for i, (x, y) in enumerate(ft.steps(batches(60))):
                (F.cross_entropy(model(x), y) / 3).backward()
                if i % 3 == 2:
                    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                    optimizer.step()
                    optimizer.zero_grad(set_to_none=False)
        return ft

    compare(train, 20)


def test_two_networks_with_optimizers_of_their_own():
    """A GAN: the critic steps each time, the generator every third time, and the critic rests.

    The third step is the only one that finds the generator without gradients and steps it: among
    the first ones, which are all counted with audits.
    """

    def train(trace):
        torch.manual_seed(0)
        generator, critic = nn.Linear(2, 4), nn.Linear(4, 1)
        updates = [torch.optim.Adam(net.parameters()) for net in (generator, critic)]
        ft = FlopsTracker(generator, trace=trace)
        for _ in ft.epochs(2):
            for i, (x, _) in enumerate(ft.steps(batches(45))):
                noise = torch.ones(4, 2)
                updates[1].zero_grad()
                (critic(x) - critic(generator(noise).detach())).mean().backward()
                updates[1].step()
                if i % 3 == 2:
                    critic.requires_grad_(False)
                    updates[0].zero_grad()
                    critic(generator(noise)).mean().backward()
                    updates[0].step()
                    critic.requires_grad_(True)
        return ft

    compare(train, 0, ["auto"])


def test_evaluation_in_an_epoch_and_in_a_step():
    def train(trace):
        model = mlp()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        ft = FlopsTracker(model, trace=trace, convention="matmul")
        for _ in ft.epochs(3):
            for i, (x, y) in enumerate(ft.steps(batches(20))):
                optimizer.zero_grad()
                loss = F.cross_entropy(model(x), y)
                if i % 10 == 9:
                    with ft.phase("validate"), torch.no_grad():
                        for rows, _ in ft.steps(batches(6, size=7)):
                            model(rows)
                loss.backward()
                optimizer.step()
            with ft.phase("test"), torch.inference_mode():
                for x, _ in ft.steps(batches(5, size=2)):
                    model(x)
        return ft

    tracker = compare(train, 18)
    assert {name: c.total for name, c in tracker.phase_counts.items()} == {
        "train": 60 * STEP,
        "validate": 3 * 2 * 6 * 7 * ROW,
        "test": 3 * 5 * 2 * ROW,
    }


# ---- what only the body knows: exact once a step like it was counted ----


def test_a_layer_that_runs_every_third_time():
    """The second linear layer runs two times out of three."""

    def train(trace):
        model = mlp()
        ft = FlopsTracker(model, trace=trace, convention="matmul")
        for _ in ft.epochs(2):
            for i, (x, _) in enumerate(ft.steps(batches(12))):
                model.zero_grad()
                (model(x) if i % 3 else model[0](x)).sum().backward()
        return ft

    # 8 a round with both layers, 4 with the first alone: forward 160, weight 160
    assert compare(train, 8).total_flops == 2 * (8 * STEP + 4 * 320)


BODIES = {
    "no backward": lambda model, x: model(x).sum(),
    "two backwards": lambda model, x: [
        (loss := model(x).sum()).backward(retain_graph=True),
        loss.backward(),
    ],
    "backward of a part": lambda model, x: model[0](x).sum().backward(),
    "backward with a graph": lambda model, x: model(x).pow(2).sum().backward(create_graph=True),
    "clipped": lambda model, x: [
        model(x).sum().backward(),
        nn.utils.clip_grad_norm_(model.parameters(), 1.0),
    ],
    "set to zero before": lambda model, x: [
        model.zero_grad(set_to_none=False),
        model(x).sum().backward(),
    ],
    "removed after": lambda model, x: [model(x).sum().backward(), model.zero_grad()],
}


@pytest.mark.filterwarnings("ignore:Using backward.. with create_graph")
@pytest.mark.parametrize("name", BODIES)
def test_what_the_body_does_now_and_then(name):
    """The others start with gradients removed, and end with one backward."""

    def train(trace):
        model = mlp()
        ft = FlopsTracker(model, trace=trace)
        for _ in ft.epochs(2):
            for i, (x, _) in enumerate(ft.steps(batches(30))):
                if i % 5 == 2:
                    BODIES[name](model, x)
                else:
                    model.zero_grad()
                    model(x).sum().backward()
        return ft

    compare(train, 30)


@pytest.mark.parametrize("period", [8, 16])
def test_a_second_backward_that_comes_rarely(period):
    """Nodes and gradients are those of one backward; only their versions tell."""

    def train(trace):
        model = mlp()
        ft = FlopsTracker(model, trace=trace)
        for i, (x, _) in enumerate(ft.steps(batches(100))):
            model.zero_grad()
            loss = model(x).sum()
            if i and i % period == 0:
                loss.backward(retain_graph=True)
            loss.backward()
        return ft

    compare(train, 40)


RARE = {
    "clipped": lambda model, loss: [
        loss.backward(),
        nn.utils.clip_grad_norm_(model.parameters(), 1.0),
    ],
    "a second backward": lambda model, loss: [loss.backward(retain_graph=True), loss.backward()],
}


@pytest.mark.parametrize("foreach", [False, True])
@pytest.mark.parametrize("name", RARE)
def test_what_is_done_to_gradients_that_are_gone_at_the_end(name, foreach):
    """Only their versions, where the optimizer steps, tell such steps from the others."""

    def train(trace):
        model = mlp()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, foreach=foreach)
        ft = FlopsTracker(model, trace=trace)
        for i, (x, _) in enumerate(ft.steps(batches(100))):
            loss = model(x).sum()
            if i and i % 16 == 0:
                RARE[name](model, loss)
            else:
                loss.backward()
            optimizer.step()
            optimizer.zero_grad()
        return ft

    compare(train, 40)


def test_an_update_by_hand_and_other_inputs_of_a_graph():
    """torch.autograd.grad leaves no gradient behind: the step that makes it has one more node."""

    def train(trace):
        model = mlp()
        ft = FlopsTracker(model, trace=trace)
        for i, (x, _) in enumerate(ft.steps(batches(30))):
            model.zero_grad()
            loss = model(x).sum()
            if i % 4 == 3:
                loss = (
                    loss
                    + torch.autograd.grad(model(x.requires_grad_()).sum(), x, create_graph=True)[
                        0
                    ].sum()
                )
            loss.backward()
        return ft

    compare(train, 12)


def test_a_kind_that_comes_once_an_epoch_at_its_end():
    """Lost in the first epoch, and said so; counted in the second, known in the third."""
    model = mlp()
    ft = FlopsTracker(model, trace="first", convention="matmul")
    with pytest.warns(UncountedWarning, match="1 of the steps of this epoch"):
        for _ in ft.epochs(4):
            for i, (x, _) in enumerate(ft.steps(batches(6))):
                model.zero_grad()
                model(x).sum().backward()
                if i == 5:
                    model(x)
    assert ft.unattributed_steps == 1
    assert ft.total_flops == ft.counts.total == 23 * STEP + 3 * 4 * ROW
    assert ft.step_logs[5].flops_batch == 0
    assert ft.step_logs[23].flops_batch == STEP + 4 * ROW


def test_a_step_that_waits_in_another_phase():
    """Nothing is recorded of it; it is known when one like it is counted, epochs later."""

    def train(trace):
        model = mlp()
        ft = FlopsTracker(model, trace=trace)
        for _ in ft.epochs(3):
            for x, _ in ft.steps(batches(2)):
                model(x).sum().backward()
                model.zero_grad()
            with ft.phase("validate"):
                for i, (x, _) in enumerate(ft.steps(batches(4))):
                    (model(x) if i == 2 else model[0](x)).sum()
        return ft

    compare(train, 11)


# ---- what only an audit sees ----


def test_an_audit_finds_work_that_leaves_no_trace():
    """Without gradients there are no nodes: that the model is called twice can't be seen."""
    model = mlp()
    ft = FlopsTracker(model, verify_every=1, convention="matmul")  # every step is an audit
    with torch.no_grad(), pytest.warns(UncountedWarning, match="cost 560 FLOPs and not 280"):
        for i, (x, _) in enumerate(ft.steps(batches(5))):
            model(x)
            if i >= 1:
                model(x)
    assert ft.total_flops == 280 + 4 * 560
    assert ft.traced_steps == 5


@pytest.mark.parametrize("verify_every", [5, 20])
def test_a_change_that_no_flag_shows_is_found_within_the_period(verify_every):
    model = mlp()
    ft = FlopsTracker(model, verify_every=verify_every, convention="matmul")
    with torch.no_grad(), pytest.warns(UncountedWarning, match="cost 560 FLOPs and not 280"):
        for i, (x, _) in enumerate(ft.steps(batches(200))):
            model(x)
            if i >= 100:
                model(x)
    wrong = 100 * 280 + 100 * 560 - ft.total_flops
    assert (
        0 <= wrong <= 1.5 * verify_every * 280
    )  # an audit comes at 3/2 of the period at the latest
    assert ft.step_logs[-1].flops_batch == 560


def test_steps_whose_work_varies_are_all_counted():
    model = mlp()
    ft = FlopsTracker(model, convention="matmul")
    with torch.no_grad(), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for i, (x, _) in enumerate(ft.steps(batches(60))):
            for _ in range(i % 3):
                model(x)
    assert any("are counted from now on: their work differs" in str(w.message) for w in caught)
    assert len(caught) <= 3
    assert ft.traced_steps >= 50


class Experts(nn.Module):
    """Each row goes to the expert of its sign: how many go where depends on data."""

    def __init__(self):
        super().__init__()
        self.experts = nn.ModuleList(nn.Linear(4, width) for width in (2, 8))

    def forward(self, x):
        chosen = (x.sum(1) > 0).long()
        return sum(e(x[chosen == i]).sum() for i, e in enumerate(self.experts))


def test_experts_are_recognised_by_the_data_they_read():
    """Under matmul a row costs 6*4*width less what the inputs would: 4*4*width for training."""

    def train(trace):
        torch.manual_seed(3)
        model = Experts()
        ft = FlopsTracker(model, trace=trace, convention="matmul")
        expected = 0
        for x in ft.steps([torch.randn(8, 4) for _ in range(30)]):
            model.zero_grad()
            model(x).backward()
            large = int((x.sum(1) > 0).sum())
            expected += 16 * (2 * (8 - large) + 8 * large)
        assert ft.total_flops == expected
        return ft

    assert train("always").traced_steps == 30
    with pytest.warns(
        UncountedWarning, match="aten.index.Tensor does as much as data decides"
    ) as w:
        assert train("auto").traced_steps == 30
    assert len(w) == 1  # one line is said


class EarlyExit(nn.Module):
    """Leaves after a random number of layers."""

    def __init__(self, dropped):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(4, 4) for _ in range(8))
        self.random = random.Random(1)
        self.dropped = dropped

    def forward(self, x):
        exit_at = self.random.randrange(1, 9)
        for i, layer in enumerate(self.layers):
            if self.dropped and self.random.random() < 0.5:
                continue
            x = layer(x)
            if i >= exit_at and not self.dropped:
                break
        return x


@pytest.mark.parametrize("dropped", [False, True])
def test_early_exit_and_layer_drop(dropped):
    """What is left at the end and never came again is not added; the rest is exact."""

    def train(trace):
        model = EarlyExit(dropped)
        ft = FlopsTracker(model, trace=trace, convention="matmul")
        for x, _ in ft.steps(batches(400)):
            model.zero_grad()
            model(x.requires_grad_()).sum().backward()
        return ft

    always = train("always")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UncountedWarning)
        auto = train("auto")
    logs = zip(always.step_logs, auto.step_logs, strict=True)
    lost = [a.flops_batch for a, b in logs if a.flops_batch != b.flops_batch]
    assert len(lost) == auto.unattributed_steps <= 16
    assert auto.total_flops == always.total_flops - sum(lost)


def test_a_batch_that_says_nothing_of_what_it_holds():
    model = mlp()
    ft = FlopsTracker(model, convention="matmul")
    with pytest.warns(UncountedWarning, match="an object does not say what it holds") as caught:
        for i, _ in enumerate(ft.steps([object()] * 12)):
            model(torch.ones(4 + i % 2, 4))
    assert len(caught) == 1
    assert (ft.traced_steps, ft.total_flops) == (12, 6 * 4 * ROW + 6 * 5 * ROW)
    for _ in range(3):
        with ft.step():
            pass
    assert ft.traced_steps == 15
