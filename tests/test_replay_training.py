"""ft(...) and run replay steps as loops of one's own do; where a step stands tells kinds apart."""

import csv

import pytest
import torch
from replayed import ROW, STEP, batches, compare, mlp, rows
from torch import nn

from flops_tracker import FlopsTracker, UncountedWarning


def last(output, _):
    return output.sum()


def bound(model, loader, trace="auto", **options):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    ft = FlopsTracker(model, convention="matmul", trace=trace, **options)
    return ft.torch_bind(model, optimizer, last, loader)


def test_few_steps_of_a_training_are_counted():
    def train(trace):
        ft = bound(mlp(), [*batches(99), *batches(1, size=2)], trace)
        assert ft.run(3) == 3 * (99 * STEP + STEP // 2)
        return ft

    # Of each size; and the first, before which there are no gradients.
    compare(train, 3)


def test_a_training_of_one_tracker_is_in_its_counts():
    ft = bound(mlp(), batches(5))
    for _ in ft(range(2), print_level="none"):
        with ft.phase("validate"), torch.no_grad():
            for x, _ in ft.steps(batches(3)):
                ft.estimator.model(x)
    assert ft.counts.total == 10 * STEP + 6 * 4 * ROW
    assert {n: c.total for n, c in ft.phase_counts.items()} == {
        "train": 10 * STEP,
        "validate": 6 * 4 * ROW,
    }
    assert ft.total_flops == 10 * STEP
    assert len(ft.step_logs) == 10
    assert ft.traced_steps + ft.replayed_steps == 16


def test_a_training_inside_of_another_phase_is_training():
    ft = bound(mlp(), batches(5))
    with ft.phase("warm up"):
        assert ft.run(2) == 10 * STEP
    assert ft.phase_counts["train"].total == 10 * STEP
    assert ft.phase_counts["warm up"].total == 0


def test_loops_of_ones_own_end_a_training_outside_of_phases():
    ft = bound(mlp(), batches(2))
    loop = ft(range(3), print_level="none")
    with pytest.raises(RuntimeError, match="ended by another use of its tracker"):
        for _ in loop:
            for x, _ in ft.steps(batches(1)):
                ft.estimator.model(x).sum().backward()
    assert ft.total_flops == 3 * STEP


class Rarely(nn.Module):
    """From its 10th call on every 3rd runs its layer twice, which only the body knows."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 3, bias=False)
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        more = self.calls >= 10 and self.calls % 3 == 0
        return self.layer(x) + (self.layer(x) if more else 0)


def test_rows_of_steps_that_waited_are_written_in_their_order(tmp_path, capsys):
    """On 4 rows: 2·4·4·3 = 96 forward and 96 for the weights."""
    ft = bound(Rarely(), batches(30), trace="first")
    prefix = str(tmp_path / "run")
    for _ in ft(range(1), export="batch", export_prefix=prefix, print_level="batch"):
        pass
    expected = [384 if n >= 10 and n % 3 == 0 else 192 for n in range(1, 31)]
    with open(f"{prefix}_batch.csv") as file:
        written = list(csv.DictReader(file))
    assert [int(row["flops_batch"]) for row in written] == expected
    assert [int(row["step"]) for row in written] == [*range(1, 31)]
    assert [s.flops_batch for s in ft.step_logs] == expected
    lines = [line for line in capsys.readouterr().out.splitlines() if "step" in line]
    assert [f"step {n} " in line for n, line in enumerate(lines[:30], 1)] == [True] * 30
    assert ft.traced_steps < 12


def test_a_batch_that_raises_is_not_counted():
    class Breaks(Rarely):
        def forward(self, x):
            output = super().forward(x)
            if self.calls == 3:
                raise ArithmeticError
            return output

    ft = bound(Breaks(), batches(5))
    with pytest.raises(ArithmeticError):
        ft.run(1)
    assert [(s.batch_size, s.flops_batch) for s in ft.step_logs] == [(4, 192), (4, 192)]
    assert ft.total_flops == ft.counts.total == 2 * 192
    assert not ft.epoch_logs[0].complete


@pytest.mark.parametrize("trace", ["always", "first", "auto"])
def test_a_batch_that_raises_after_an_optimizer_is_counted_with_it(trace):
    """SGD of a parameter of 3: 6."""
    own = nn.Parameter(torch.zeros(3))
    optimizer = torch.optim.SGD([own], lr=0.1)
    calls = []

    def step_fn(model, batch):
        calls.append(1)
        own.grad = torch.ones(3)
        optimizer.step()
        if len(calls) == 14:
            raise ArithmeticError
        return model(batch[0]).sum()

    model = mlp()
    ft = FlopsTracker(model, trace=trace)
    ft.torch_bind(
        model,
        torch.optim.SGD(model.parameters(), lr=0.1),
        train_loader=batches(20),
        step_fn=step_fn,
    )
    with pytest.raises(ArithmeticError):
        ft.run(1)
    assert len(ft.step_logs) == 14
    assert ft.step_logs[-1].flops_batch == 6
    assert ft.total_flops == ft.phase_counts["train"].total


def test_a_state_that_is_taken_while_a_line_is_printed(monkeypatch):
    """Each step is in it once: recorded, or waiting for it."""
    ft = bound(Rarely(), batches(30), trace="first")
    steps, lines = [], []

    class Out:
        def write(self, text):
            if "batch of" in text:
                lines.append(text)
                steps.append(len(ft.state_dict()["steps"]["batch_size"]))

        def flush(self):
            pass

    monkeypatch.setattr("sys.stdout", Out())
    for _ in ft(range(1), print_level="batch"):
        pass
    assert len(lines) == 30
    assert max(steps) == 30
    assert all(seen >= number for number, seen in enumerate(steps, 1))


def test_trace_and_verify_every_hold_for_trainings():
    ft = bound(mlp(), batches(50), trace="always")
    ft.run(1)
    assert (ft.traced_steps, ft.replayed_steps) == (50, 0)
    ft = bound(mlp(), batches(200), verify_every=1)
    ft.run(1)
    assert ft.traced_steps > 100


def test_the_estimator_has_the_last_step_that_was_counted():
    """With its optimizer: SGD is 2 for each of 15 + 5 + 3 + 20 parameters."""
    model = mlp()
    ft = bound(model, batches(20))
    assert ft.estimator.counts is None
    ft.run(1)
    assert ft.estimator.counts.under("standard").optimizer == 2 * (20 + 5 + 15 + 3)
    assert ft.estimator.counts.total == STEP


# ---- where steps stand ----


def test_models_that_two_loops_evaluate():
    """Without gradients nothing else tells one model from the other."""

    def train(trace):
        small, large = mlp(), nn.Sequential(*[nn.Linear(4, 4) for _ in range(5)])
        ft = FlopsTracker(small, trace=trace)

        def evaluate(model):
            with ft.phase("validate"), torch.no_grad():
                for x, _ in ft.steps(batches(10)):
                    model(x)

        for _ in ft.epochs(3):
            for x, _ in ft.steps(batches(5)):
                small(x).sum().backward()
            evaluate(small)
            evaluate(large)
        return ft

    # Steps of training without gradients and with them, and both evaluations; once the second model
    # is known, its state belongs to all keys.
    compare(train, 4 + 3, ways=("first",))
    compare(train, 7 + 16, ways=("auto",))  # two phases begin with 8 each


def test_models_that_two_steps_evaluate():
    def train(trace):
        small, large = mlp(), nn.Sequential(*[nn.Linear(4, 4) for _ in range(5)])
        ft = FlopsTracker(small, trace=trace)
        for x, _ in ft.steps(batches(20)):
            small(x).sum().backward()
            with torch.no_grad(), ft.phase("validate"):
                with ft.step(x):
                    small(x)
                with ft.step(x):
                    large(x)
        return ft

    compare(train, 6)


def test_a_layer_that_is_in_no_module():
    """What a model keeps in a list has modes as well."""

    class Hidden(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = nn.Linear(4, 4)
            self.layers = [nn.Sequential(nn.Linear(4, 3), nn.Dropout(0.5))]

        def forward(self, x):
            return self.layers[0](self.first(x))

    def train(trace):
        torch.manual_seed(0)
        model = Hidden()
        ft = FlopsTracker(model, trace=trace)
        for i, (x, _) in enumerate(ft.steps(batches(40))):
            model(x).sum().backward()
            model.layers[0].train(i % 3 == 2)
        return ft

    compare(train, 12)


def test_a_loader_that_changes_the_model():
    def train(trace):
        model = mlp(dropout=True)
        ft = FlopsTracker(model, trace=trace)

        def loader():
            for i, batch in enumerate(batches(30)):
                model.train(i % 4 != 3)
                yield batch

        for x, _ in ft.steps(loader()):
            model(x).sum().backward()
        return ft

    compare(train, 4)


def test_rows_are_the_same_whatever_is_replayed():
    always, auto = (bound(mlp(), batches(60), trace) for trace in ("always", "auto"))
    always.run(2), auto.run(2)
    assert rows(always) == rows(auto)


@pytest.mark.parametrize("trace", ["first", "auto"])
def test_work_that_depends_on_data_is_counted_each_time(trace):
    class Masked(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(4, 3, bias=False)

        def forward(self, x):
            return self.layer(x[x[:, 0] > 0])

    loader = batches(12)
    for count, (x, _) in enumerate(loader):
        x[: count % 4] = 0
    ft = bound(Masked(), loader, trace)
    with pytest.warns(UncountedWarning, match="as data decides"):
        ft.run(1)
    assert [s.flops_batch for s in ft.step_logs] == [48 * (4 - n % 4) for n in range(12)]
