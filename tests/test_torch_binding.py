"""torch_bind and estimate: what is refused, and the exact total before training."""

import pytest
import torch
from torch import nn
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    TensorDataset,
)
from training_models import PerSample, same_state, state_of, toy, toy_batches

from flops_tracker import FlopsTracker, SklearnSGDEstimator, TorchAutoEstimator


def parts():
    model = nn.Linear(4, 3)
    return model, torch.optim.SGD(model.parameters(), lr=0.1)


def tracker(model):
    return FlopsTracker(TorchAutoEstimator(model, (1, 4)))


# ---- what is refused ----


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"model": None}, "model must be a torch.nn.Module"),
        ({"model": lambda x: x}, "model must be a torch.nn.Module"),
        ({"optimizer": None}, "optimizer needs step"),
        ({"optimizer": torch.optim.SGD}, "optimizer"),
        ({"train_loader": None}, "train_loader"),
        ({"train_loader": 3}, "train_loader must be iterable"),
        (
            {"train_loader": TensorDataset(torch.zeros(3, 4))},
            r"Dataset.*DataLoader\(dataset, batch",
        ),
        ({"loss_fn": nn.CrossEntropyLoss}, r"loss_fn is the class.*write CrossEntropyLoss\(\)"),
        ({"loss_fn": "nll"}, "loss_fn must be callable"),
        ({"loss_fn": toy_batches()}, "third argument is loss_fn.*a list: write train_loader="),
        ({"loss_fn": DataLoader(range(3))}, "a DataLoader: write train_loader="),
        ({"step_fn": 3}, "step_fn must be callable"),
        ({"zero_grad_kwargs": True}, "zero_grad_kwargs must be a dict.*not True"),
        ({"zero_grad_kwargs": {"to_none": True}}, "does not fit SGD.zero_grad.*'to_none'"),
        ({"loss_fn": max, "step_fn": max}, "either loss_fn or step_fn"),
        ({"colour": 1}, "colour"),
    ],
)
def test_wrong_arguments(change, words):
    model, optimizer = parts()
    given = {"model": model, "optimizer": optimizer, "train_loader": toy_batches(), **change}
    ft = tracker(model)
    with pytest.raises(TypeError, match=words):
        ft.torch_bind(**given)
    with pytest.raises(RuntimeError, match="torch_bind"):
        ft.run(1)


def test_a_missing_loader_or_optimizer():
    model, optimizer = parts()
    with pytest.raises(TypeError, match="train_loader"):
        tracker(model).torch_bind(model, optimizer)
    with pytest.raises(TypeError, match="third argument is loss_fn"):
        tracker(model).torch_bind(model, optimizer, toy_batches())
    with pytest.raises(TypeError, match="optimizer"):
        tracker(model).torch_bind(model, train_loader=toy_batches())


def test_an_unknown_device():
    model, optimizer = parts()
    with pytest.raises(RuntimeError, match="device"):
        tracker(model).torch_bind(model, optimizer, train_loader=[], device="abacus")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is one")
def test_a_device_that_is_not_there():
    model, optimizer = parts()
    with pytest.raises(RuntimeError, match="device='cuda' can't be used here"):
        tracker(model).torch_bind(model, optimizer, train_loader=[], device="cuda")


def test_lbfgs_is_refused_with_the_way_out():
    model, _ = parts()
    with pytest.raises(TypeError, match=r"LBFGS.*update_batch"):
        tracker(model).torch_bind(model, torch.optim.LBFGS(model.parameters()), train_loader=[])


def test_the_optimizer_of_another_model_is_refused():
    model, _ = parts()
    _, other = parts()
    with pytest.raises(ValueError, match="none of the model's parameters"):
        tracker(model).torch_bind(model, other, train_loader=toy_batches())


def test_the_estimator_of_another_model_is_refused():
    model, optimizer = parts()
    ft = tracker(nn.Linear(4, 3))
    with pytest.raises(ValueError, match="another model"):
        ft.torch_bind(model, optimizer, train_loader=toy_batches())


@pytest.mark.parametrize("wrap_estimator", [True, False])
@pytest.mark.parametrize("wrap_model", [True, False])
def test_the_same_model_through_data_parallel_is_accepted(wrap_estimator, wrap_model):
    model, optimizer = parts()
    wrapped = nn.DataParallel(model)
    ft = tracker(wrapped if wrap_estimator else model)
    ft.torch_bind(wrapped if wrap_model else model, optimizer, train_loader=toy_batches())
    assert ft.run(1) == 720


def test_another_model_is_refused_through_data_parallel():
    model, optimizer = parts()
    ft = tracker(nn.DataParallel(nn.Linear(4, 3)))
    with pytest.raises(ValueError, match="another model"):
        ft.torch_bind(nn.DataParallel(model), optimizer, train_loader=toy_batches())


def test_an_estimator_without_a_model_fits_every_model():
    model, optimizer = parts()
    ft = FlopsTracker(PerSample(5)).torch_bind(model, optimizer, train_loader=toy_batches())
    assert ft.run(1) == 50


def test_a_refused_bind_keeps_the_one_before():
    bound = toy()
    with pytest.raises(TypeError):
        bound.tracker.torch_bind(bound.model, None, train_loader=[])
    assert bound.tracker.run(1) == 720


def test_binding_again_replaces_and_goes_on():
    bound = toy()
    bound.tracker.run(1)
    again = bound.tracker.torch_bind(bound.model, bound.optimizer, train_loader=toy_batches()[2:])
    assert again is bound.tracker
    assert again.run(1) == 720 + 144 == 864
    assert [e.epoch for e in again.epoch_logs] == [1, 2]


def test_binding_changes_nothing_of_the_model():
    model, optimizer = parts()
    model.eval()
    before, generator = state_of(model), torch.get_rng_state()
    tracker(model).torch_bind(model, optimizer, train_loader=toy_batches())
    assert same_state(state_of(model), before)
    assert torch.equal(torch.get_rng_state(), generator)
    assert not model.training
    assert all(p.grad is None for p in model.parameters())
    assert not model._forward_hooks
    assert not model._forward_pre_hooks


class NotingSGD(torch.optim.SGD):
    """Notes the arguments of zero_grad."""

    noted: tuple = ()

    def zero_grad(self, *args, **kwargs):
        self.noted += ((args, kwargs),)
        super().zero_grad(*args, **kwargs)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, {"set_to_none": True}),
        ({"zero_grad_kwargs": None}, {"set_to_none": True}),
        ({"zero_grad_kwargs": {}}, {}),
        ({"zero_grad_kwargs": {"set_to_none": False}}, {"set_to_none": False}),
    ],
)
def test_zero_grad_kwargs(given, expected):
    model, _ = parts()
    optimizer = NotingSGD(model.parameters(), lr=0.1)
    tracker(model).torch_bind(model, optimizer, train_loader=toy_batches(), **given).run(1)
    assert optimizer.noted == (((), expected),) * 3


# ---- estimate ----


class Untouchable(Dataset):
    """Ten samples that may be counted and not read."""

    def __len__(self):
        return 10

    def __getitem__(self, index):
        raise AssertionError("a sample was drawn")


def data():
    return TensorDataset(torch.randn(10, 4), torch.arange(10) % 3)


@pytest.mark.parametrize(
    ("options", "epoch"),
    [
        ({"batch_size": 4}, 720),  # 10 samples of 72
        ({"batch_size": 4, "drop_last": True}, 576),  # 8 of them
        ({"batch_size": 4, "shuffle": True}, 720),
        ({"batch_size": 5}, 720),
        ({"batch_size": 5, "drop_last": True}, 720),
        ({"batch_size": 11}, 720),
        ({}, 720),  # batches of one
        ({"batch_size": 4, "sampler": RandomSampler(range(10), num_samples=7)}, 504),
        ({"batch_sampler": BatchSampler(SequentialSampler(range(6)), 4, False)}, 432),
    ],
)
def test_the_estimate_is_what_run_gives(options, epoch):
    ft = toy(loader=DataLoader(data(), **options)).tracker
    assert ft.estimate(3) == 3 * epoch
    assert ft.total_flops == 0
    assert ft.run(3) == 3 * epoch


def test_the_estimate_of_a_loader_that_drops_its_only_batch():
    ft = toy(loader=DataLoader(data(), batch_size=11, drop_last=True)).tracker
    assert ft.estimate(3) == 0
    with pytest.warns(UserWarning, match="no batch in epoch 1, so nothing was trained") as caught:
        assert ft.run(3) == 0
    assert len(caught) == 1  # once in a loop, not once in an epoch


def test_the_estimate_of_a_list_of_batches():
    (large, last) = toy_batches()[0], toy_batches()[2]
    ft = toy(loader=[large, last, large, last, last]).tracker
    # 4 + 2 + 4 + 2 + 2 = 14 samples of 72 are 1008.
    assert ft.estimate(1) == 1008
    assert ft.estimate(10**6) == 1008 * 10**6
    assert ft.run(2) == 2016


def test_the_estimate_of_a_list_of_dicts():
    batches = [{"input": torch.zeros(n, 4)} for n in (4, 3)]
    ft = toy(loader=batches, loss_fn=lambda output, batch: output.sum()).tracker
    assert ft.estimate(1) == ft.run(1) == 7 * 72


@pytest.mark.parametrize(
    ("epochs", "count"),
    [(range(3), 3), ([7, 9], 2), (["ab"], 1), (torch.arange(4).numpy(), 4), ({}, 0)],
)
def test_the_estimate_takes_what_run_takes_and_has_a_length(epochs, count):
    ft = toy().tracker
    assert ft.estimate(epochs) == ft.run(epochs) == count * 720


def test_the_estimate_of_endless_epochs():
    with pytest.raises(TypeError, match=r"a number of epochs or something with a length, not <"):
        toy().tracker.estimate(iter([1, 2]))


@pytest.mark.filterwarnings("ignore:the batch has 1 samples", "ignore:a sample of this batch")
@pytest.mark.parametrize("drop_last", [False, True])
def test_the_estimate_of_samples_that_come_one_by_one(drop_last):
    # Linear(4, 3) on an example of 4 rows: 2·4·12 = 96 a sample, 288 to train; 10 rows give the
    # loader 2 whole batches, each a sample, and a third of 2 rows.
    model, optimizer = parts()
    ft = FlopsTracker(TorchAutoEstimator(model, (4, 4), batch_dim=None))
    loader = DataLoader(data(), batch_size=4, drop_last=drop_last)
    ft.torch_bind(model, optimizer, train_loader=loader)
    assert ft.estimate(1) == ft.run(1) == 288 * (2 if drop_last else 3)


def test_the_estimate_refuses_a_step_fn_that_may_say_other_sizes():
    ft = toy(step_fn=lambda model, batch: (model(batch[0]).sum(), 8)).tracker
    with pytest.raises(TypeError, match="step_fn may give a size of its own"):
        ft.estimate(1)
    assert ft.run(1) == 3 * 8 * 72


def test_the_estimate_draws_no_batch_and_no_random_number():
    ft = toy(loader=DataLoader(Untouchable(), batch_size=4, shuffle=True)).tracker
    before = torch.get_rng_state()
    assert ft.estimate(2) == 1440
    assert torch.equal(torch.get_rng_state(), before)
    with pytest.raises(AssertionError, match="a sample was drawn"):
        ft.run(1)


def test_the_estimate_before_and_after_training_is_the_same():
    ft = toy().tracker
    assert ft.estimate(2) == 1440
    ft.run(1)
    assert ft.estimate(2) == 1440  # of two epochs, whatever was trained before
    assert ft.estimate(0) == 0


class Stream(IterableDataset):
    def __len__(self):  # a hint that a stream need not keep
        return 10

    def __iter__(self):
        return iter(())


class OwnBatches(BatchSampler):
    """Batches of its own sizes under the length of the base class."""

    def __iter__(self):
        yield [0]


@pytest.mark.parametrize(
    "loader",
    [
        DataLoader(Stream(), batch_size=4),
        DataLoader(data(), batch_size=None),
        DataLoader(data(), batch_sampler=[[0, 1], [2]]),
        DataLoader(data(), batch_sampler=OwnBatches(SequentialSampler(range(10)), 4, False)),
        DataLoader(data(), batch_size=4, sampler=(n for n in range(10))),
        (batch for batch in toy_batches()),
    ],
    ids=["stream", "unbatched", "list of batches", "own sampler", "generator sampler", "generator"],
)
def test_sizes_that_are_not_known_before_are_a_clear_type_error(loader):
    ft = toy(loader=loader).tracker
    with pytest.raises(TypeError, match=r"batch sizes .* not known before"):
        ft.estimate(1)


@pytest.mark.parametrize(
    ("epochs", "error"), [(-1, ValueError), (1.0, TypeError), (True, TypeError), (None, TypeError)]
)
def test_wrong_epochs_of_the_estimate(epochs, error):
    with pytest.raises(error, match="epochs must be"):
        toy().tracker.estimate(epochs)


def test_an_estimate_past_128_bits_raises():
    model, optimizer = parts()
    ft = FlopsTracker(PerSample(2**125)).torch_bind(model, optimizer, train_loader=toy_batches(4))
    assert ft.estimate(0) == 0
    assert ft.estimate(1) == 2**127
    with pytest.raises(OverflowError):
        ft.estimate(2)


def test_an_estimator_of_scikit_learn_can_be_used_for_its_formula():
    model, optimizer = parts()
    ft = FlopsTracker(SklearnSGDEstimator(4, 3))
    ft.torch_bind(model, optimizer, train_loader=toy_batches())
    assert ft.run(1) == 4 * 10 * 4 * 3 == 480


def test_a_generator_that_is_empty_in_the_second_epoch_is_said():
    model, optimizer = parts()
    ft = tracker(model)
    batches = ((torch.ones(2, 4), torch.zeros(2, dtype=torch.long)) for _ in range(3))
    ft.torch_bind(model, optimizer, train_loader=batches)
    with pytest.warns(UserWarning, match="no batch in epoch 2"):
        ft.run(2)
    assert [log.batches for log in ft.epoch_logs] == [3, 0]
