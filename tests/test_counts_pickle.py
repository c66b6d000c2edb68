"""A FlopCount survives pickle and copy, also into a process that has no PyTorch."""

import copy
import pickle
import subprocess
import sys

import pytest
import torch
from torch import nn

from flops_tracker import FlopCount, FlopCounter, Profile, count, profile

WAYS = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    **{f"pickle {n}": lambda c, n=n: pickle.loads(pickle.dumps(c, n)) for n in range(6)},
}


@torch.library.custom_op("flops_tracker_pickle::nobody_knows", mutates_args=())
def nobody_knows(x: torch.Tensor) -> torch.Tensor:
    return x.clone()


def counts():
    torch.manual_seed(0)
    shared = nn.Linear(4, 4)
    model = nn.Sequential(shared, nn.ReLU(), shared, nn.Linear(4, 3))
    with FlopCounter(model, convention="exact") as counter:
        model(torch.ones(2, 4)).sum().backward()
        nobody_knows(torch.ones(5, dtype=torch.float64))
    return counter.counts


def everything(c):
    return {
        **{name: getattr(c, name) for name in ("rows", "unknown", "convention", "on", "params")},
        **{name: getattr(c, name) for name in ("operations", "unknown_operations", "bytes")},
        "modules": c._modules,
        "by module": c.by_module(),
        "by module and op": c.by_module_and_op(),
        "packets": c._module_op_sums(lambda packet: packet),
        "op calls": c._op_calls(),
        "dict": c.to_dict(),
        "matmul": c.under("matmul").rows,
        "text": (str(c), repr(c), c.table(), c.tree()),
        "attributes": vars(c),
        "calls": c._calls,
    }


@pytest.mark.parametrize("way", WAYS)
def test_a_copy_is_equal_in_everything(way):
    before = counts()
    before.params = 39
    after = WAYS[way](before)
    assert type(after) is FlopCount
    assert after is not before
    assert list(before.unknown) == ["flops_tracker_pickle.nobody_knows.default"]
    assert everything(after) == everything(before)
    # Of a copy of the copy, and of the copy under another convention.
    assert everything(WAYS[way](after.under("macs"))) == everything(before.under("macs"))


@pytest.mark.parametrize("way", ["copy", "pickle 5"])
def test_a_copy_does_not_follow_its_original(way):
    before = counts()
    after = WAYS[way](before)
    after.params = 7
    assert before.params != 7


@pytest.mark.parametrize("way", WAYS)
def test_a_profile(way):
    class Local(nn.Module):  # no pickle of it could be read
        def forward(self, x):
            return -x

    model = nn.Sequential(nn.Linear(4, 3), Local())
    # The negation in Local is its one operation, which the first entry takes; Linear is addmm.
    before = profile(model, torch.ones(2, 4), ignore=[Local, "aten.neg"], steps=1, memory=True)
    after = WAYS[way](before)
    assert type(after) is Profile
    assert everything(after) == everything(before)
    assert (after.records, after.ignored) == (before.records, before.ignored)
    assert [entry.calls for entry in after.ignored] == [1, 0]
    assert after._calls_sum([0, 1]) == before._calls_sum([0, 1])


def test_a_process_without_torch_reads_it():
    # Linear(4, 3) on 2 rows: 2·2·4·3 and 2·3 for the bias.
    data = pickle.dumps(count(nn.Linear(4, 3), torch.ones(2, 4)))
    script = (
        "import pickle, sys; sys.modules['torch'] = None;"
        "c = pickle.load(sys.stdin.buffer);"
        "print(c.total, c.under('matmul').total, c.on, c.params, list(c.by_module()), c.by_dtype())"
    )
    run = subprocess.run(
        [sys.executable, "-P", "-c", script], input=data, capture_output=True, check=False
    )
    assert run.stderr == b""
    assert run.stdout.decode().strip() == "54 48 fake 15 ['Linear'] {'float32': 54}"


# ---- data that is no FlopCount's ----


def changed(state, place, value):
    """The state with one item replaced; a place is a path of indices."""
    first, *rest = place
    items = list(state)
    items[first] = changed(state[first], rest, value) if rest else value
    return type(state)(items)


CONVENTION, OPERATIONS, MODULES, UNKNOWN, BOUNDED, ROWS, CALLS, WORKS = 0, 1, 3, 4, 5, 6, 7, 8


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ((CONVENTION,), "flops"),
        ((OPERATIONS,), "3"),
        ((MODULES,), []),
        ((MODULES,), None),
        ((MODULES, 0), None),
        ((MODULES, 0), ("", "")),
        ((MODULES, 1, 2), 1),  # its own parent
        ((MODULES, 1, 2), 10**6),
        ((MODULES, 1, 2), 2**32),
        ((MODULES, 1, 2), 2**64),
        ((MODULES, 1, 4), (3,)),
        ((MODULES, 1, 0), 3),
        ((MODULES, 1, 4), []),
        ((UNKNOWN,), []),
        ((BOUNDED,), None),
        ((ROWS,), ()),
        ((ROWS, 0), 3),
        ((ROWS, 0, 0), None),
        ((ROWS, 0, 2), 10**6),
        ((ROWS, 0, 2), "0"),
        ((ROWS, 0, 3), "sideways"),
        ((ROWS, 0, 5), "no class"),
        ((ROWS, 0, 7), ()),
        ((ROWS, 0, 7), (-1,) * 7),
        ((ROWS, 0, 7), (2**128,) * 7),
        ((CALLS,), 3),
        ((CALLS, 0, 2), 10**6),
        ((CALLS, 0, 3), "sideways"),
        ((WORKS,), None),
        ((WORKS, 0, 0), 10**6),
        ((WORKS, 0, 0), -1),
        ((WORKS, 0, 1), "no class"),
        ((WORKS, 0, 2), (1,)),
    ],
)
def test_other_data_is_refused(place, value):
    state = profile(nn.Linear(4, 3), torch.ones(2, 4), steps=1, warm_up=0)._state()
    assert FlopCount._from_state(state)._state() == state
    with pytest.raises((ValueError, TypeError, OverflowError)):
        FlopCount._from_state(changed(state, place, value))


@pytest.mark.parametrize("data", [None, (), [1], (1,) * 10, "text"])
def test_other_objects_are_refused(data):
    with pytest.raises((ValueError, TypeError)):
        FlopCount._from_state(data)
