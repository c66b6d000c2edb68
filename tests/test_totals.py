"""Totals are exact beyond 64 bits; past 128 bits they raise and nothing changes."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from training_models import OneAfterTheOther

from flops_tracker import FlopsTracker

# The largest count: 2**128 - 1 itself is the mark of an overflow.
LARGEST = 2**128 - 2


def state(tracker):
    return tracker.total_flops, list(tracker.step_logs), list(tracker.epoch_logs)


@pytest.mark.parametrize("bits", [63, 64, 65, 126])
def test_totals_across_a_power_of_two(bits):
    ft = FlopsTracker(OneAfterTheOther([2**bits - 1, 1, 2**bits, 3]))
    ft.on_epoch_start()
    totals = []
    for _ in range(4):
        ft.update_batch(1)
        totals.append(ft.total_flops)
    assert totals == [2**bits - 1, 2**bits, 2 ** (bits + 1), 2 ** (bits + 1) + 3]


@given(st.lists(st.integers(0, 2**122) | st.integers(0, 2**40), max_size=40))
@settings(max_examples=200, deadline=None)
def test_totals_are_those_of_python_integers(counts):
    ft = FlopsTracker(OneAfterTheOther(counts))
    ft.on_epoch_start()
    for _ in counts:
        ft.update_batch(1)
    ft.on_epoch_end()
    assert ft.total_flops == sum(counts)
    assert ft.epoch_logs[0].flops_epoch == sum(counts)
    assert [log.flops_batch for log in ft.step_logs] == counts
    assert [log.flops_total_cum for log in ft.step_logs] == [
        sum(counts[: i + 1]) for i in range(len(counts))
    ]


def test_the_largest_total_is_reached():
    ft = FlopsTracker(OneAfterTheOther([2**127, 2**127 - 2]))
    ft.on_epoch_start()
    ft.update_batch(1)
    ft.update_batch(1)
    assert ft.total_flops == LARGEST == 340282366920938463463374607431768211454


@pytest.mark.parametrize("more", [1, 2, 2**64, 2**127, LARGEST])
def test_overflow_raises_and_changes_nothing(more):
    ft = FlopsTracker(OneAfterTheOther([LARGEST - 5, 5, more, 0]))
    ft.on_epoch_start()
    ft.update_batch(1)
    ft.update_batch(1)
    before = state(ft)
    with pytest.raises(OverflowError):
        ft.update_batch(1)
    assert state(ft) == before
    ft.update_batch(1)  # 0 FLOPs still fit
    assert ft.total_flops == LARGEST


@pytest.mark.parametrize("count", [2**128 - 1, 2**128, 2**1000])
def test_a_single_batch_that_does_not_fit(count):
    ft = FlopsTracker(OneAfterTheOther([count]))
    ft.on_epoch_start()
    with pytest.raises(OverflowError):
        ft.update_batch(1)
    assert state(ft) == (0, [], [])
