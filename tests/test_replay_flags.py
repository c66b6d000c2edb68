"""What a flag shows before a step is exact at once."""

import pytest
import torch
from replayed import batches, compare, mlp
from torch import nn
from torch.nn import functional as F

from flops_tracker import FlopsTracker

# ---- what a flag shows before the step is exact at once (traps.md 3c) ----


def freeze(model):
    model[0].requires_grad_(False)


def keep_gradients(model):
    for p in model.parameters():
        p.grad = torch.zeros_like(p)


class HalfAtATime:
    """Hooks count as well: one that doubles the input's rows."""

    def __call__(self, module, args):
        return (torch.cat([args[0], args[0]]),)


FLAGS = {
    "train and eval": (lambda m: m.eval(), lambda m: m.train()),
    "one layer in eval": (lambda m: m[2].eval(), lambda m: m[2].train()),
    "frozen": (freeze, lambda m: m.requires_grad_(True)),
    "gradients kept": (keep_gradients, lambda m: m.zero_grad()),
    "another layer": (
        lambda m: m.__setitem__(0, nn.Sequential(nn.Linear(4, 6), nn.Linear(6, 5))),
        lambda m: m.__setitem__(0, nn.Linear(4, 5)),
    ),
    "a hook": (
        lambda m: m[0].register_forward_pre_hook(HalfAtATime()),
        lambda m: m[0]._forward_pre_hooks.clear(),
    ),
    "mkldnn": (
        lambda m: torch._C._set_mkldnn_enabled(False),
        lambda m: torch._C._set_mkldnn_enabled(True),
    ),
    "default dtype": (
        lambda m: torch.set_default_dtype(torch.float64),
        lambda m: torch.set_default_dtype(torch.float32),
    ),
}


@pytest.mark.parametrize("name", FLAGS)
def test_what_a_flag_shows_before_the_step(name):
    change, undo = FLAGS[name]

    def train(trace):
        model = mlp(dropout=True)
        ft = FlopsTracker(model, trace=trace)
        for i, (x, _) in enumerate(batches(12)):
            (change if i % 3 == 2 else undo)(model)
            with ft.step(x):
                model(x).sum().backward()
        undo(model)
        return ft

    compare(train, 12 if name == "another layer" else 5)


@pytest.mark.parametrize("name", ["train and eval", "frozen", "gradients kept", "a hook"])
def test_a_flag_that_changes_between_the_steps_of_a_loop(name):
    """At the end of the body: what the next step finds is what this one left."""
    change, undo = FLAGS[name]

    def train(trace):
        model = mlp(dropout=True)
        ft = FlopsTracker(model, trace=trace)
        for _ in ft.epochs(2):
            for i, (x, _) in enumerate(ft.steps(batches(30))):
                model(x).sum().backward()
                (change if i % 3 == 2 else undo)(model)
        return ft

    compare(train, 14)


def test_grad_modes_and_autocast():
    def train(trace):
        model = mlp()
        ft = FlopsTracker(model, trace=trace)
        contexts = (
            torch.no_grad,
            torch.inference_mode,
            lambda: torch.autocast("cpu", torch.bfloat16),
            lambda: torch.autocast("cpu", torch.float16),
            torch.enable_grad,
        )
        for i in range(20):
            with contexts[i % 5](), ft.step(torch.ones(4, 4)):
                model(torch.ones(4, 4))
        return ft

    compare(train, 5)


def test_batches_of_other_shapes_dtypes_layouts_and_values():
    """A float64 input is an error for the layer: only what is made of it is."""

    def contents():
        x = torch.ones(4, 4)
        yield from (x, torch.ones(3, 4), torch.ones(4, 1), x.requires_grad_(), torch.ones(4, 4).t())
        yield from (
            x.double(),
            x.int(),
            [x],
            {"x": x},
            {"y": x},
            (x, 1),
            (x, 2),
            (x, "a"),
            (x, None),
        )
        yield from (
            torch.ones(2, 3, 4, 4),
            torch.ones(2, 3, 4, 4).to(memory_format=torch.channels_last),
        )

    def train(trace):
        model = mlp()
        ft = FlopsTracker(model, trace=trace)
        for _ in range(3):
            for batch in contents():
                with ft.step(batch):
                    x = next(iter(batch.values())) if isinstance(batch, dict) else batch
                    x, *rest = x if isinstance(x, tuple | list) else (x,)
                    x = x.mul(2).float() if x.shape[-1] == 4 else x.expand(4, 4)
                    for _ in range(rest[0] if rest and isinstance(rest[0], int) else 1):
                        model(x)
        return ft

    compare(train, 17)


def test_attention_with_a_mask_that_requires_a_gradient():
    """Then PyTorch takes it apart: other operations of the same contractions."""

    def train(trace):
        model = nn.Linear(4, 4)
        ft = FlopsTracker(model, trace=trace)
        for i in range(12):
            mask = torch.zeros(3, 3, requires_grad=i % 2 == 0)
            x = torch.ones(1, 2, 3, 4)
            with ft.step({"x": x, "mask": mask}):
                q = model(x)
                F.scaled_dot_product_attention(q, q, q, attn_mask=mask).sum().backward()
        return ft

    compare(train, 4)


def test_lstm_of_another_dtype():
    """Mkldnn has float32 only; in float64 an LSTM is made of some hundred operations.

    Where backward adds to a gradient, it does so in place unless it is counted: a step that is not
    looks unlike the counted ones at first, and waits until it is clear why.
    """

    def train(trace):
        model = nn.LSTM(4, 5, batch_first=True)
        ft = FlopsTracker(model, trace=trace)
        for i in range(24):
            dtype = torch.float64 if i % 4 >= 2 else torch.float32
            model.to(dtype)
            x = torch.ones(2, 3, 4)
            with ft.step(x):  # of which the batch says nothing
                model.zero_grad()
                model(x.to(dtype))[0].sum().backward()
        return ft

    compare(train, 8, ["auto"])
