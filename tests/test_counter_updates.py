"""What optimizers and what belongs to them do is the phase `optimizer`, closures apart."""

import pytest
import torch
from counted_layers import LAYER, layers, rows, units
from torch.optim.swa_utils import AveragedModel, get_ema_avg_fn, get_ema_multi_avg_fn

from flops_tracker import FlopCounter


def optimizer_flops(counter):
    return counter.under("standard").optimizer


def test_sgd():
    # p += -lr*g: 2 per parameter; 16 + 4 of them.
    model = layers(1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with FlopCounter() as c:
        model(rows()).sum().backward()
        optimizer.step()
    assert optimizer_flops(c) == 40
    assert units(c) == (1, 1, 0, 0)


def test_a_closure_is_what_it_is():
    model = layers(1)
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=1)
    x = rows()

    def closure():
        optimizer.zero_grad()
        loss = model(x).pow(2).sum()
        loss.backward()
        return loss

    with FlopCounter() as c:
        optimizer.step(closure)
    counts = c.under("matmul")
    assert (counts.forward, counts.backward) == (LAYER, LAYER)
    assert optimizer_flops(c) > 0


def test_a_search_along_a_line_runs_the_model_each_time():
    model = layers(1)
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=4, line_search_fn="strong_wolfe")
    x, calls = rows(), 0

    def closure():
        nonlocal calls
        calls += 1
        optimizer.zero_grad()
        loss = model(x).pow(2).sum()
        loss.backward()
        return loss

    with FlopCounter() as c:
        optimizer.step(closure)
        after = calls
        model(x).sum().backward()
    assert after > 1
    counts = c.under("matmul")
    assert (counts.forward, counts.backward) == ((after + 1) * LAYER, (after + 1) * LAYER)
    assert counts.optimizer > 0  # products of the history's vectors


def test_gradients_add_up_in_backward():
    model = layers(1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with FlopCounter() as c:
        for _ in range(3):
            model(rows()).sum().backward()
        optimizer.step()
    assert units(c) == (3, 3, 0, 0)
    # Each time the bias takes 2 additions for each of 4 columns; then all 20 are added twice.
    assert c.under("standard").backward == 3 * (LAYER + 8) + 2 * 20
    assert optimizer_flops(c) == 40


def test_two_models_in_turn():
    one, other = layers(1), layers(2)
    optimizers = [torch.optim.SGD(m.parameters(), lr=0.1) for m in (one, other)]
    with FlopCounter() as c:
        for optimizer in optimizers:
            optimizer.zero_grad()
            other(one(rows())).sum().backward()
            optimizer.step()
    # Three layers, 3 weight gradients and 2 to their inputs, twice; 2 for each parameter.
    assert units(c) == (6, 10, 0, 0)
    assert optimizer_flops(c) == 2 * (20 + 40)


def test_a_step_that_raises_leaves_its_phase():
    model = layers(1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def closure():
        raise ZeroDivisionError

    with FlopCounter() as c:
        with pytest.raises(ZeroDivisionError):
            optimizer.step(closure)
        model(rows()).sum().backward()
    assert units(c) == (1, 1, 0, 0)


def test_a_closure_that_raises_after_a_forward_and_a_backward_that_raises():
    model, x = layers(1), rows()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def closure():
        model(x)
        raise ZeroDivisionError

    with FlopCounter() as c:
        with pytest.raises(ZeroDivisionError):
            optimizer.step(closure)
        output = model(x)
        output.register_hook(lambda gradient: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            output.sum().backward()
        model(x).sum().backward()
        optimizer.step()
    assert units(c) == (3, 1, 0, 0)
    assert optimizer_flops(c) == 40


def test_an_optimizer_that_steps_inside_of_backward():
    model = layers(2)
    optimizers = {p: torch.optim.SGD([p], lr=0.1) for p in model.parameters()}

    def step(parameter):
        optimizers[parameter].step()
        optimizers[parameter].zero_grad()

    for parameter in model.parameters():
        parameter.register_post_accumulate_grad_hook(step)
    with FlopCounter() as c:
        model(rows()).sum().backward()
    assert units(c) == (2, 3, 0, 0)
    assert optimizer_flops(c) == 2 * 40


def test_clipping_scaling_and_averages_are_updates():
    model, average = layers(1), layers(1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with FlopCounter() as c:
        model(rows()).sum().backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        with torch.no_grad():
            for mine, theirs in zip(average.parameters(), model.parameters(), strict=True):
                mine.mul_(0.9).add_(theirs, alpha=0.1)
    plain = c.under("standard")
    # Forward 3*16*2 + 12 biases and the sum of 12, 11; all else is backward or update.
    assert plain.forward == 96 + 12 + 11
    # The average: 1 multiplication, then 2 for alpha*x + y: 3 * 20. SGD 40. Clipping the rest.
    assert plain.optimizer > 100


# The sum of 12 outputs is 11 additions; 12 biases.
FORWARD = LAYER + 12 + 11


def test_a_gradient_scaler_is_an_update():
    model = layers(1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    scaler = torch.amp.GradScaler("cpu")
    with FlopCounter() as c:
        scaler.scale(model(rows()).sum()).backward()
        scaler.step(optimizer)
        scaler.update()
    # The loss is scaled. 1/scale gives something new with gradients enabled, as forward does; 20
    # gradients are multiplied with it in place, and the scale with its factor.
    assert c.under("standard").forward == FORWARD + 1 + 1
    assert optimizer_flops(c) == 40 + 20 + 1


@pytest.mark.parametrize(
    ("options", "each"),
    [
        # a + w*(b - a); w*a + (1 - w)*b; a + (b - a)/n
        ({"multi_avg_fn": get_ema_multi_avg_fn(0.9)}, 3),
        ({"avg_fn": get_ema_avg_fn(0.9)}, 3),
        ({}, 3),
    ],
)
def test_an_averaged_model_is_an_update(options, each):
    model = layers(1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    average = AveragedModel(model, **options)
    average.update_parameters(model)  # the first one copies
    with FlopCounter() as c:
        model(rows()).sum().backward()
        optimizer.step()
        average.update_parameters(model)
    assert c.under("standard").forward == FORWARD
    assert optimizer_flops(c) == 40 + 20 * each


def test_clipping_each_gradient_is_an_update():
    model = layers(1)
    with FlopCounter() as c:
        model(rows()).sum().backward()
        torch.nn.utils.clip_grad_value_(model.parameters(), 0.1)
    assert c.under("standard").forward == FORWARD
    assert c.under("exact").optimizer == 2 * 20  # two comparisons, free under `standard`
    assert optimizer_flops(c) == 0


def test_evaluation_after_a_step_is_forward():
    model = layers(1)
    with FlopCounter() as c:
        model(rows()).sum().backward()
        with torch.no_grad():
            model(rows())
    assert units(c) == (2, 1, 0, 0)


def functional_closure(optimizer_class, **options):
    """An optimizer of one weight, its closure without modules, and the counter of a step."""
    weight, x = torch.randn(5, 4, requires_grad=True), torch.ones(2, 5)
    optimizer = optimizer_class([weight], **options)

    def closure():
        optimizer.zero_grad()
        loss = (x @ weight).pow(2).sum()
        loss.backward()
        return loss

    with FlopCounter() as c:
        optimizer.step(closure)
    return c


def test_a_closure_without_modules_is_forward():
    c = functional_closure(torch.optim.SGD, lr=0.1)
    # 2·2·5·4, 8 squares and their sum; backward to the weight; 2 for each of 20.
    assert c.under("matmul").by_phase() == {
        "forward": 80,
        "backward": 80,
        "recompute": 0,
        "optimizer": 0,
    }
    assert c.forward == 80 + 8 + 7
    assert c.optimizer == 40


def test_a_search_calls_its_closure_each_time():
    c = functional_closure(torch.optim.LBFGS, max_iter=3, max_eval=3).under("matmul")
    assert c.forward == c.backward == c.by_op()["aten.mm.default"] // 2
    assert c.forward % 80 == 0
    assert 80 < c.forward <= 240
