"""torch_bind trains the user's batches: losses, kinds of batches, sizes, modes, devices."""

from collections import namedtuple
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, IterableDataset
from training_models import PerSample, same_state, state_of, toy, toy_batches

from flops_tracker import FlopsTracker, TorchAutoEstimator, UncountedWarning


def train(model, loader, epochs=1, **bind):
    """Train with plain SGD at 72 FLOPs a sample; returns the tracker."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    ft = FlopsTracker(PerSample(72)).torch_bind(model, optimizer, train_loader=loader, **bind)
    ft.run(epochs)
    return ft


def by_hand(model, batches, loss_fn, epochs=1):
    """Give the weights after the loop that everyone writes."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    model.train()
    for _ in range(epochs):
        for data, target in batches:
            optimizer.zero_grad(set_to_none=True)
            loss_fn(model(data), target).backward()
            optimizer.step()
    return state_of(model)


def linear():
    torch.manual_seed(0)
    return nn.Linear(4, 3)


# ---- losses ----


def test_logits_get_cross_entropy():
    expected = by_hand(linear(), toy_batches(), F.cross_entropy, epochs=2)
    model = linear()
    train(model, toy_batches(), epochs=2)
    assert same_state(state_of(model), expected)


def test_log_probabilities_get_the_nll():
    def model():
        return nn.Sequential(linear(), nn.LogSoftmax(dim=1))

    expected = by_hand(model(), toy_batches(), F.nll_loss, epochs=2)
    trained = model()
    train(trained, toy_batches(), epochs=2)
    for name, value in trained.state_dict().items():
        torch.testing.assert_close(value, expected[name])


def test_the_loss_of_log_probabilities_is_their_nll():
    (data, target), *_ = toy_batches()
    model = nn.Sequential(linear(), nn.LogSoftmax(dim=1))
    expected = F.nll_loss(model(data), target).item()
    ft = train(model, [(data, target)])
    assert ft.epoch_logs[0].loss == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.uint8])
def test_any_integer_targets(dtype):
    expected = by_hand(linear(), toy_batches(), F.cross_entropy)
    model = linear()
    train(model, [(data, target.to(dtype)) for data, target in toy_batches()])
    assert same_state(state_of(model), expected)


def test_an_own_loss_gets_output_and_target():
    def loss(output, target):
        return (output[:, 0] - target).square().mean()

    expected = by_hand(linear(), toy_batches(), loss)
    model = linear()
    train(model, toy_batches(), loss_fn=loss)
    assert same_state(state_of(model), expected)


class WithLoss(nn.Module):
    """Computes its loss itself, as Hugging Face models do."""

    def __init__(self, wrap):
        super().__init__()
        self.linear = linear()
        self.wrap = wrap

    def forward(self, x, labels):
        return self.wrap(F.cross_entropy(self.linear(x), labels))


@pytest.mark.parametrize(
    "wrap", [lambda loss: SimpleNamespace(loss=loss), lambda loss: {"loss": loss, "more": None}]
)
def test_dict_batches_and_outputs_with_a_loss(wrap):
    expected = by_hand(linear(), toy_batches(), F.cross_entropy)
    model = WithLoss(wrap)
    ft = train(model, [{"x": data, "labels": target} for data, target in toy_batches()])
    assert same_state(state_of(model.linear), expected)
    assert ft.total_flops == 720
    assert [s.batch_size for s in ft.step_logs] == [4, 4, 2]


@pytest.mark.parametrize(
    "change",
    [
        lambda x, y: (x, y.float()),
        lambda x, y: (x, y == 1),
        lambda x, y: (x, F.one_hot(y, 3)),
        lambda x, y: (x, y[:1]),
        lambda x, y: (x, y.tolist()),
        lambda x, y: (x, None),
        lambda x, y: (x[:, None], y),
        lambda x, y: (x[0], y[0]),
        lambda x, y: {"input": x},
    ],
    ids=["float", "bool", "one_hot", "too few", "list", "None", "3-d", "unbatched", "no loss"],
)
def test_what_has_no_default_loss_asks_for_one_before_a_step(change):
    bound = toy(loader=[change(*batch) for batch in toy_batches()])
    before = state_of(bound.model)
    with pytest.raises(TypeError, match=r"loss_fn to torch_bind.*loss_fn\(output, target\)"):
        bound.tracker.run(1)
    assert same_state(state_of(bound.model), before)
    assert bound.tracker.total_flops == 0


# ---- the mean loss of an epoch ----


def targets_as_loss(output, target):
    return output.sum() * 0 + target.float().mean()


def test_the_mean_loss_is_weighted_by_samples(capsys):
    # Batches of 4, 4 and 2 with losses 1, 2 and 7: (4*1 + 4*2 + 2*7) / 10 = 2.6, and not 10 / 3.
    sizes_and_losses = [(4, 1), (4, 2), (2, 7)]
    loader = [(torch.zeros(n, 4), torch.full((n,), loss)) for n, loss in sizes_and_losses]
    ft = toy(loader=loader, loss_fn=targets_as_loss).tracker
    ft.run(2, print_level="epoch")
    assert [e.loss for e in ft.epoch_logs] == [2.6, 2.6]
    assert "loss 2.6 " in capsys.readouterr().out.splitlines()[1]


def test_the_mean_loss_of_very_many_batches():
    # Losses 0, 1, ..., 1499, one sample each: their mean is 749.5.
    loader = [(torch.zeros(1, 4), torch.tensor([n])) for n in range(1500)]
    ft = toy(loader=loader, loss_fn=targets_as_loss).tracker
    ft.run(1)
    assert ft.epoch_logs[0].loss == 749.5


class IntoBuffer(torch.autograd.Function):
    """A value in memory that the next call writes over, as a replayed CUDA graph gives it."""

    @staticmethod
    def forward(ctx, value, buffer):
        buffer.copy_(value)
        return buffer.detach()

    @staticmethod
    def backward(ctx, gradient):
        return gradient, None


def test_a_loss_whose_memory_is_used_again():
    buffer = torch.zeros(())
    loader = [(torch.zeros(1, 4), torch.tensor([n])) for n in (1, 2, 6)]
    ft = toy(
        loader=loader,
        loss_fn=lambda output, target: IntoBuffer.apply(targets_as_loss(output, target), buffer),
    ).tracker
    ft.run(1)
    assert ft.epoch_logs[0].loss == 3.0  # (1 + 2 + 6) / 3


def test_an_epoch_without_batches_has_no_loss():
    ft = toy(loader=[]).tracker
    with pytest.warns(UserWarning, match="no batch in epoch 1"):
        assert ft.run(1) == 0
    assert [(e.loss, e.batches) for e in ft.epoch_logs] == [(None, 0)]


# ---- kinds of batches ----


class TwoInputs(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = linear()

    def forward(self, a, b):
        return self.linear(a + b)


Pair = namedtuple("Pair", ["a", "b"])


@pytest.mark.parametrize("make", [lambda a, b: (a, b), lambda a, b: [a, b], Pair])
def test_several_inputs(make):
    expected = by_hand(linear(), toy_batches(), F.cross_entropy)
    model = TwoInputs()
    batches = [(make(data, torch.zeros_like(data)), target) for data, target in toy_batches()]
    ft = train(model, batches)
    assert same_state(state_of(model.linear), expected)
    assert ft.total_flops == 720


def test_inputs_by_name_beside_a_target():
    expected = by_hand(linear(), toy_batches(), F.cross_entropy)
    model = TwoInputs()
    train(model, [({"b": torch.zeros_like(x), "a": x}, y) for x, y in toy_batches()])
    assert same_state(state_of(model.linear), expected)


def test_batches_may_be_lists():
    assert train(linear(), [list(batch) for batch in toy_batches()]).total_flops == 720


def test_step_fn_gives_the_loss():
    expected = by_hand(linear(), toy_batches(), F.cross_entropy)
    model = linear()

    def step(given, batch):
        assert given is model
        return F.cross_entropy(given(batch["deep"][0]), batch["deep"][1])

    ft = train(model, [{"deep": batch} for batch in toy_batches()], step_fn=step)
    assert same_state(state_of(model), expected)
    assert [s.batch_size for s in ft.step_logs] == [4, 4, 2]


def test_step_fn_gives_the_loss_and_the_size():
    def step(model, text):
        return model(torch.ones(len(text), 4)).sum(), len(text)

    ft = train(linear(), ["abc", "de"], step_fn=step)
    assert [s.batch_size for s in ft.step_logs] == [3, 2]
    assert ft.total_flops == 5 * 72 == 360


@pytest.mark.parametrize("size", [-1, 2.5, "7", None, True], ids=repr)
def test_step_fn_with_a_wrong_size_is_an_error_before_a_step(size):
    bound = toy(step_fn=lambda model, batch: (model(batch[0]).sum(), size))
    before = state_of(bound.model)
    with pytest.raises((TypeError, ValueError)):
        bound.tracker.run(1)
    assert same_state(state_of(bound.model), before)
    assert bound.tracker.total_flops == 0


@pytest.mark.parametrize(
    "batch",
    [
        torch.zeros(2, 4),
        (torch.zeros(2, 4),),
        (torch.zeros(2, 4), torch.zeros(2), torch.zeros(2)),
        "text",
        (3.5, torch.zeros(2)),
        (torch.tensor(3.5), torch.zeros(2)),
        ((), torch.zeros(2)),
        {"text": "abc"},
    ],
    ids=["tensor", "one", "three", "str", "number", "0-d", "nothing", "dict of text"],
)
def test_batches_that_ask_for_step_fn_before_a_step(batch):
    bound = toy(loader=[batch])
    before = state_of(bound.model)
    with pytest.raises(TypeError, match=r"step_fn to torch_bind: step_fn\(model, batch\)"):
        bound.tracker.run(1)
    assert same_state(state_of(bound.model), before)


def test_a_size_that_can_not_be_told_from_what_step_fn_got():
    bound = toy(loader=["text"], step_fn=lambda model, text: model(torch.ones(1, 4)).sum())
    before = state_of(bound.model)
    with pytest.raises(TypeError, match=r"size.*can't be told.*batch_size"):
        bound.tracker.run(1)
    assert same_state(state_of(bound.model), before)


# ---- the loader ----


class Watched:
    """Counts how often it is iterated and how many batches were drawn."""

    def __init__(self):
        self.iterated = self.drawn = 0

    def __iter__(self):
        self.iterated += 1
        for batch in toy_batches():
            self.drawn += 1
            yield batch


def test_the_loader_is_iterated_once_an_epoch_and_never_peeked_at():
    loader = Watched()
    drawn = []

    def step(model, batch):
        drawn.append(loader.drawn)
        return model(batch[0]).sum()

    ft = toy(loader=loader, step_fn=step).tracker
    assert (loader.iterated, loader.drawn) == (0, 0)
    epochs = ft(range(2), print_level="none")
    assert (loader.iterated, loader.drawn) == (0, 0)
    for _ in epochs:
        pass
    assert drawn == [1, 2, 3, 4, 5, 6]
    assert loader.iterated == 2


def test_a_generator_is_a_loader_for_one_epoch():
    assert toy(loader=(batch for batch in toy_batches())).tracker.run(1) == 720


def test_an_iterable_dataset():
    class Stream(IterableDataset):
        def __iter__(self):
            for data, target in toy_batches():
                yield from zip(data, target, strict=True)

    ft = toy(loader=DataLoader(Stream(), batch_size=3)).tracker
    assert ft.run(2) == 2 * 720
    assert [s.batch_size for s in ft.step_logs] == [3, 3, 3, 1] * 2


def test_an_indexable_loader():
    class Indexed:
        def __getitem__(self, index):
            return toy_batches()[index]

    assert toy(loader=Indexed()).tracker.run(1) == 720


# ---- modes and devices ----


def test_every_epoch_is_in_train_mode():
    modes = []

    def step(model, batch):
        modes.append(model.training)
        return model(batch[0]).sum()

    bound = toy(step_fn=step)
    for _ in bound.tracker(range(2), print_level="none"):
        bound.model.eval()  # to evaluate in the body, and not put back
    assert modes == [True] * 6


def test_batches_go_to_the_device_and_the_model_is_never_moved():
    seen = []

    def step(model, batch):
        seen.append(batch)
        return model.weight.sum(), 1

    batch = {"x": [torch.ones(2), (torch.ones(1), "text", 7)], "p": Pair(torch.ones(1), None)}
    bound = toy(loader=[batch], step_fn=step, device="meta")
    bound.tracker.run(1)
    (got,) = seen
    assert got["x"][0].device.type == got["x"][1][0].device.type == "meta"
    assert got["p"].a.device.type == "meta"
    assert (got["x"][1][1:], got["p"].b) == (("text", 7), None)
    assert isinstance(got["p"], Pair)
    assert bound.model.weight.device.type == "cpu"
    assert batch["x"][0].device.type == "cpu"  # the user's own batch is as it was


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_the_device_is_the_models_where_none_is_given(device):
    devices = []

    def step(model, batch):
        devices.append(batch[0].device.type)
        return torch.ones(1, requires_grad=True).sum()

    train(nn.Linear(4, 3, device=device), toy_batches(), step_fn=step)
    assert devices == [device] * 3


# ---- what differs from the estimator's example ----


def test_a_batch_of_another_shape_is_warned_of_once():
    torch.manual_seed(0)
    model = nn.Linear(4, 3)
    wide = [(torch.randn(2, 5, 4), torch.zeros(2, dtype=torch.int64)) for _ in range(3)]
    ft = FlopsTracker(TorchAutoEstimator(model, (1, 4)))
    ft.torch_bind(
        model,
        torch.optim.SGD(model.parameters(), lr=0.1),
        train_loader=wide,
        loss_fn=lambda output, target: output.mean(),
    )
    with pytest.warns(UncountedWarning, match=r"the shape \(5, 4\), and that.*\(4,\)") as caught:
        ft.run(2)
    assert len(caught) == 1
    # What was counted is the example: 2 epochs of 3 batches of 2 samples of 72.
    assert ft.total_flops == 864


class Sequence(nn.Module):
    """An LSTM with time before batch, and a linear on its last step."""

    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(4, 5)
        self.head = nn.Linear(5, 3)

    def forward(self, x):
        return self.head(self.lstm(x)[0][-1])


def sequences(batch_dim, batch_size=12):
    torch.manual_seed(0)
    model = Sequence()
    loader = [(torch.randn(7, batch_size, 4), torch.arange(batch_size) % 3)]
    estimator = TorchAutoEstimator(model, (7, batch_size, 4), batch_dim=batch_dim)
    ft = FlopsTracker(estimator)
    return ft.torch_bind(model, torch.optim.SGD(model.parameters(), lr=0.1), train_loader=loader)


def test_the_batch_lies_where_the_estimator_says():
    # For one sample the LSTM multiplies 4·5·(4 + 5) = 180 pairs a step, 7 steps: 2·1260 = 2520;
    # the head 2·5·3 = 30. 2550·12 samples·3 for training = 91,800.
    ft = sequences(batch_dim=1)
    assert ft.estimate(1) == 91_800
    assert ft.run(1) == 91_800
    assert ft.step_logs[0].batch_size == 12


def test_a_target_of_another_length_is_warned_of_once():
    with pytest.warns(UncountedWarning, match=r"7 samples along dimension 0 and its target 12"):
        sequences(batch_dim=0).run(2)


# ---- losses that can't be trained with ----


@pytest.mark.parametrize(
    ("loss", "words"),
    [
        (lambda output, target: output, r"a tensor \(4, 3\) with requires_grad=True"),
        (lambda output, target: output.sum().detach(), r"requires_grad=False"),
        (lambda output, target: 0.5, r"and is 0\.5"),
        (lambda output, target: None, r"and is None"),
    ],
)
def test_what_is_no_loss_is_an_error_before_a_step(loss, words):
    bound = toy(loss_fn=loss)
    before = state_of(bound.model)
    with pytest.raises(TypeError, match=words):
        bound.tracker.run(1)
    assert same_state(state_of(bound.model), before)
    assert bound.tracker.total_flops == 0


def test_one_output_has_no_cross_entropy():
    model = nn.Linear(4, 1)
    ft = FlopsTracker(TorchAutoEstimator(model, (1, 4)))
    ft.torch_bind(model, torch.optim.SGD(model.parameters(), lr=0.1), train_loader=toy_batches())
    with pytest.raises(TypeError, match="loss_fn"):
        ft.run(1)
