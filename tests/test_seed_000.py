"""Seed 000's code block, from its first line to its last: what it prints, counts and writes."""

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset
from training_models import column, files_in

from flops_tracker import FlopsTracker, TorchAutoEstimator

SEED = """\
ft = FlopsTracker(est).torch_bind(model, optimizer, loss_fn=None, train_loader=train_loader, device=DEVICE)

# totale FLOPs ONE-LAYER (simulazione epoch dietro le quinte)
total = (FlopsTracker(est)
         .torch_bind(model, optimizer, loss_fn=None, train_loader=train_loader, device=DEVICE)
         .run(EPOCHS, print_level="none", export="none"))

print("FLOPs totali:", total)

# Solo totale FLOPs
for _ in ft(range(EPOCHS), print_level="none", export="none"):
    pass
print(ft.total_flops)

# Stampa per epoch + CSV epoch
for _ in ft(range(EPOCHS), print_level="epoch", export="epoch", export_prefix="run1"):
    pass  # crea run1_epoch.csv

# Stampa per batch+epoch + CSV batch+epoch
for _ in ft(range(EPOCHS), print_level="both", export="both", export_prefix="run1"):
    pass  # crea run1_batch.csv e run1_epoch.csv

# gestione dei log con wandb
total = (FlopsTracker(est)
         .torch_bind(model, optimizer, loss_fn=None, train_loader=train_loader, device=DEVICE)
         .run(EPOCHS,
              print_level="epoch",                    # stampa locale
              export="epoch", export_prefix="run1",   # CSV opzionali
              wandb=True,                             # <— abilita W&B
              wandb_project="flops-tracker",
              wandb_run_name="cnn-baseline",
              wandb_config={"model":"Cnn28x28","batch_size":128},
              wandb_log="epoch"))                     # "none" | "batch" | "epoch" | "both"
"""  # noqa: E501

# Per sample, forward: Conv2d(1, 4, 3, padding=1) on 28x28: 2*(28*28)*4*(3*3*1) = 56,448, and
# Linear(196, 10): 2*196*10 = 3,920; together 60,368. Training is three times that: 181,104.
# 300 samples in batches of 128, 128 and 44: 23,181,312 + 23,181,312 + 7,968,576 = 54,331,200.
FULL, LAST, EPOCH = 23_181_312, 7_968_576, 54_331_200
RUN = 108_662_400  # two epochs


class Cnn28x28(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, padding=1)
        self.linear = nn.Linear(196, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.max_pool2d(F.relu(self.conv(x)), 4)
        return F.log_softmax(self.linear(x.flatten(1)), dim=1)


class Outcome:
    """What the block leaves behind."""

    def __init__(self, names: dict[str, Any], lines: list[str], caught: list[Any]) -> None:
        self.names = names
        self.lines = lines
        self.warnings = caught


@pytest.fixture
def outcome(tmp_path, monkeypatch, capsys) -> Outcome:
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    model = Cnn28x28()
    data = TensorDataset(torch.randn(300, 1, 28, 28), torch.arange(300) % 10)
    names = {
        "FlopsTracker": FlopsTracker,
        "model": model,
        "optimizer": torch.optim.SGD(model.parameters(), lr=0.01),
        "train_loader": DataLoader(data, batch_size=128, shuffle=True),
        "DEVICE": "cpu",
        "est": TorchAutoEstimator(model, input_example=(1, 1, 28, 28)),
        "EPOCHS": 2,
    }
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        exec(compile(SEED, "seed 000", "exec"), names)
    return Outcome(names, capsys.readouterr().out.splitlines(), list(caught))


def test_the_block_is_the_seeds_own():
    lines = SEED.splitlines()
    assert len(lines) == 33
    assert lines[0].startswith("ft = FlopsTracker(est).torch_bind(model, optimizer, loss_fn=None")
    assert lines[-1].strip().startswith('wandb_log="epoch"))')


def test_totals(outcome):
    # `ft` trains in three loops of two epochs each; `total` is of a tracker of its own.
    assert outcome.names["ft"].total_flops == 3 * RUN == 325_987_200
    assert outcome.names["total"] == RUN


def test_what_the_first_two_uses_print_is_the_plain_totals(outcome):
    assert outcome.lines[:2] == ["FLOPs totali: 108662400", "108662400"]


def test_printed_lines_in_order(outcome):
    batches = ["step 1", "step 2", "step 3"]
    expected = [
        "FLOPs totali: 108662400",
        "108662400",
        "epoch 3 ",
        "epoch 4 ",
        "total 217,324,800 FLOPs",  # 2 * RUN
        *[f"epoch 5 {step} " for step in batches],
        "epoch 5 ",
        *[f"epoch 6 {step} " for step in batches],
        "epoch 6 ",
        "total 325,987,200 FLOPs",  # 3 * RUN
        "run1_epoch.csv was there: renamed to run1_epoch.1.csv",
        "epoch 1 ",
        "epoch 2 ",
        "total 108,662,400 FLOPs",  # the last tracker's own
    ]
    assert len(outcome.lines) == len(expected)
    for line, start in zip(outcome.lines, expected, strict=True):
        assert line.startswith(start)


def test_printed_counts(outcome):
    assert "54,331,200 FLOPs" in outcome.lines[2]
    assert ["23,181,312 FLOPs" in line for line in outcome.lines[5:8]] == [True, True, False]
    assert "batch of 44" in outcome.lines[7]
    assert "7,968,576 FLOPs" in outcome.lines[7]


def test_files(outcome):
    assert files_in(Path.cwd()) == ["run1_batch.csv", "run1_epoch.1.csv", "run1_epoch.csv"]


def test_batch_csv_holds_the_epochs_that_asked_for_it(outcome):
    # The two loops before took 2 * RUN = 217,324,800.
    assert column("run1_batch.csv", "epoch") == [5, 5, 5, 6, 6, 6]
    assert column("run1_batch.csv", "step") == [1, 2, 3, 1, 2, 3]
    assert column("run1_batch.csv", "batch_size") == [128, 128, 44] * 2
    assert column("run1_batch.csv", "flops_batch") == [FULL, FULL, LAST] * 2
    assert column("run1_batch.csv", "flops_epoch_cum") == [FULL, 46_362_624, EPOCH] * 2
    assert column("run1_batch.csv", "flops_total_cum") == [
        240_506_112,
        263_687_424,
        271_656_000,
        294_837_312,
        318_018_624,
        325_987_200,
    ]


def test_epoch_csv_of_the_first_tracker_goes_on_and_is_renamed_for_the_next(outcome):
    assert column("run1_epoch.1.csv", "epoch") == [3, 4, 5, 6]
    assert column("run1_epoch.1.csv", "flops_epoch") == [EPOCH] * 4
    assert column("run1_epoch.1.csv", "flops_total_cum") == [
        162_993_600,  # 3 * EPOCH, since the first two epochs wrote no file
        217_324_800,
        271_656_000,
        325_987_200,
    ]
    assert column("run1_epoch.csv", "epoch") == [1, 2]
    assert column("run1_epoch.csv", "flops_total_cum") == [EPOCH, RUN]


def test_wandb_gives_exactly_one_warning_and_training_goes_on(outcome):
    assert [str(w.message).split()[0] for w in outcome.warnings] == ["wandb"]
    assert outcome.warnings[0].category is UserWarning
    assert outcome.names["total"] == RUN
