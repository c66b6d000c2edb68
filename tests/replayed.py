"""What the tests of replaying share: programs run with and without, and their totals compared."""

import torch
from torch import nn


def mlp(dropout=False):
    torch.manual_seed(0)
    layers = [nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3)]
    return (
        nn.Sequential(*layers[:2], nn.Dropout(0.5), layers[2])
        if dropout
        else nn.Sequential(*layers)
    )


STEP = 680  # Linear(4,5) and (5,3) on 4 rows: 2*(140 forward + 140 weights + 60 for an input)
assert STEP == 2 * (4 * (20 + 15) + 4 * (20 + 15) + 4 * 15)
ROW = 2 * (20 + 15)  # of one row, forward


def batches(count, size=4):
    return [(torch.ones(size, 4), torch.zeros(size, dtype=torch.int64)) for _ in range(count)]


def rows(tracker):
    """All that is known of a run: records, and each row of the counts of each phase."""
    steps = [(s.epoch, s.step, s.batch_size, s.flops_batch) for s in tracker.step_logs]
    counts = {
        name: sorted((*row[:7], *sorted(row.cost.items())) for row in c.rows)
        for name, c in tracker.phase_counts.items()
    }
    epochs = [(log.epoch, log.flops_epoch, log.complete) for log in tracker.epoch_logs]
    return tracker.total_flops, steps, epochs, counts


def compare(train, most_traced, ways=("first", "auto")):
    """Run a program three ways: every step counted, the first of each kind, and with audits."""
    always = train("always")
    assert (always.replayed_steps, always.unattributed_steps) == (0, 0)
    assert always.total_flops > 0
    for trace in ways:
        tracker = train(trace)
        assert tracker.unattributed_steps == 0
        assert tracker.traced_steps + tracker.replayed_steps == always.traced_steps
        assert rows(tracker) == rows(always)
        # The first 8 steps, and audits: the most that there can be of two keys.
        assert tracker.traced_steps <= most_traced + (28 if trace == "auto" else 0)
    assert torch._C._len_torch_dispatch_stack() == 0
    return tracker
