"""FLOP/s, MFU and HFU: from which counts, over which seconds, against which peak."""

import copy
import pickle
from types import SimpleNamespace

import pytest
import torch
from replayed import STEP, batches, mlp
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint
from training_models import Flat

from flops_tracker import FlopsTracker, TorchAutoEstimator, _core, _rates

PEAK = 1e9


def bound(model=None, batch_count=10, **options):
    model = mlp() if model is None else model
    ft = FlopsTracker(model, **options)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    return ft.torch_bind(model, optimizer, train_loader=batches(batch_count))


def own_loop(model, epochs=2, validate=0, **options):
    ft = FlopsTracker(model, **options)
    for _ in ft.epochs(epochs):
        for x, y in ft.steps(batches(10)):
            F.cross_entropy(model(x).float(), y).backward()
        if validate:
            with ft.phase("validate"), torch.no_grad():
                for x, _ in ft.steps(batches(validate)):
                    model(x)
    return ft


# ---- counts over seconds ----


def test_seconds_are_those_of_the_epochs():
    ft = bound()
    ft.run(3)
    logs = ft.epoch_logs
    assert ft.rates.seconds == sum(log.train_time_s for log in logs)
    assert [log.train_time_s for log in logs] == [log.wall_time_s for log in logs]
    assert ft.rates.flops_per_second == ft.total_flops / ft.rates.seconds
    for log, found in zip(logs, ft.epoch_rates, strict=True):
        assert log.flops_per_second == log.flops_epoch / log.train_time_s
        assert found[:3] == (log.epoch, log.train_time_s, log.flops_per_second)
    for step in ft.step_logs:
        assert step.flops_per_second == step.flops_batch / step.wall_time_s


def test_other_phases_take_no_time_of_training():
    ft = own_loop(mlp(), validate=5)
    for log in ft.epoch_logs:
        assert sum(s.wall_time_s for s in ft.step_logs if s.epoch == log.epoch) <= log.train_time_s
        assert 0 < log.train_time_s < log.wall_time_s
    assert ft.rates.seconds == sum(log.train_time_s for log in ft.epoch_logs)


def test_a_phase_inside_of_a_step():
    model = mlp()
    ft = FlopsTracker(model)
    for x, _ in ft.steps(batches(3)):
        with ft.phase("train"):  # is training
            model(x)
        with ft.phase("validate"), ft.phase("generate"):
            model(x)
    (log,) = ft.epoch_logs
    assert sum(s.wall_time_s for s in ft.step_logs) <= log.train_time_s < log.wall_time_s


def test_an_epoch_that_is_open():
    ft = FlopsTracker(Flat())
    ft.on_epoch_start()
    assert ft.rates.seconds == 0
    assert ft.rates.flops_per_second is None
    ft.update_batch(1)
    (step,) = ft.step_logs
    assert ft.rates.seconds == pytest.approx(step.wall_time_s, rel=1e-9)
    assert ft.epoch_rates == []


def test_without_a_clock():
    ft = bound(log_wall_time=False, peak_flops=PEAK)
    ft.run(1)
    assert ft.rates[:4] == (0.0, None, None, None)
    assert ft.rates.recompute_share == 0.0
    assert ft.epoch_rates == [(1, 0.0, None, None, None)]
    assert ft.step_logs[0].flops_per_second is ft.epoch_logs[0].flops_per_second is None


def test_records_keep_their_columns():
    """What is an attribute alone is no column, and survives a copy."""
    ft = bound()
    ft.run(1)
    (log,) = ft.epoch_logs
    assert len(log) == len(log._fields) == 8
    for twin in (copy.copy(log), pickle.loads(pickle.dumps(log))):
        assert twin == log
        assert twin.train_time_s == log.train_time_s


def test_epochs_that_are_not_kept():
    ft = bound(keep_epoch_logs=False, peak_flops=PEAK)
    ft.run(2)
    assert ft.rates.mfu is not None
    assert ft._noted is None
    with pytest.raises(RuntimeError, match="keep_epoch_logs=False"):
        _ = ft.epoch_rates


# ---- utilization ----


def share(flops, seconds, peak=PEAK):
    return pytest.approx(flops / peak / seconds, rel=1e-12)


@pytest.mark.parametrize("train", [lambda **o: own_loop(mlp(), validate=3, **o), None])
def test_mfu_is_of_the_contractions_under_any_convention(train):
    if train is None:
        ft = bound(peak_flops=PEAK)
        ft.run(2)
    else:
        ft = train(peak_flops=PEAK)
    assert ft.total_flops > 20 * STEP  # standard, which has more than contractions
    found = ft.rates
    assert found.mfu == found.hfu == share(20 * STEP, found.seconds)
    assert found.peak_flops == pytest.approx(PEAK)
    assert found.dtypes == ("float32",)
    for epoch in ft.epoch_rates:
        assert epoch.mfu == epoch.hfu == share(10 * STEP, epoch.seconds)


class Checkpointed(nn.Module):
    """Its first layer is computed again in backward."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(4, 5), nn.Linear(5, 3)

    def forward(self, x):
        hidden = checkpoint(lambda t: self.first(t).tanh(), x, use_reentrant=False)
        return self.last(hidden)


def test_recomputation_is_in_hfu_and_not_in_mfu():
    """The first layer's forward, 2*4*20 = 160, is computed twice."""
    for ft in (
        own_loop(Checkpointed(), peak_flops=PEAK, convention="matmul"),
        bound(Checkpointed(), peak_flops=PEAK, convention="matmul"),
    ):
        if not ft.epoch_logs:
            ft.run(2)
        found = ft.rates
        assert found.mfu == share(20 * STEP, found.seconds)
        assert found.hfu == share(20 * (STEP + 160), found.seconds)
        assert found.recompute_share == pytest.approx(160 / (STEP + 160))
        assert ft.total_flops == 20 * (STEP + 160)


def test_each_dtype_has_its_peak():
    """The first layer runs in bfloat16: 160 forward, 160 for its weights; no input gradient."""

    class Mixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.last = nn.Linear(4, 5).bfloat16(), nn.Linear(5, 3)

        def forward(self, x):
            return self.last(self.first(x.bfloat16()).float())

    low, full = 320, STEP - 320
    ft = own_loop(Mixed(), peak_flops={"bf16": "4 GFLOP/s", torch.float32: 1e9})
    found = ft.rates
    assert set(found.dtypes) == {"bfloat16", "float32"}
    at_peak = 20 * (low / 4e9 + full / 1e9)
    assert found.mfu == pytest.approx(at_peak / found.seconds, rel=1e-12)
    assert found.peak_flops == pytest.approx(20 * STEP / at_peak, rel=1e-12)
    ft = own_loop(Mixed(), peak_flops={"float32": 1e9})
    assert ft.rates[2:5] == (None, None, None)  # bfloat16's is not known


def test_complex_products_are_made_of_real_ones():
    x = torch.ones(2, 2, dtype=torch.complex64)
    ft = FlopsTracker(nn.Identity(), convention="matmul", peak_flops={"float32": PEAK})
    with ft.step():
        x @ x
    assert ft.total_flops == 8 * 8  # 2*2*2 multiply-accumulates of 8
    assert ft.rates.mfu == share(64, ft.rates.seconds)


def test_a_run_without_contractions():
    ft = FlopsTracker(nn.Identity(), peak_flops=PEAK)
    with ft.step():
        torch.ones(3) + 1
    assert ft.rates.flops_per_second > 0
    assert ft.rates[2:5] == (None, None, None)


def test_estimators_of_batches():
    """Their own FLOPs over the peak that was given; a table's peak depends on dtypes they lack."""
    ft = FlopsTracker(Flat(), peak_flops="1 GFLOP/s")
    ft.on_epoch_start()
    ft.update_batch(1)
    ft.on_epoch_end()
    found = ft.rates
    assert found.mfu == share(100, found.seconds)
    assert (found.hfu, found.peak_flops, found.phase_shares) == (None, PEAK, None)
    assert ft.epoch_rates == [(1, found.seconds, found.flops_per_second, found.mfu, None)]
    ft = FlopsTracker(Flat(), peak_flops={"float32": 1e9})
    ft.on_epoch_start()
    ft.update_batch(1)
    assert ft.rates.mfu is None
    model = mlp()
    ft = bound_to_layers(model)
    ft.run(1)
    assert ft.rates.device == "cpu"
    assert ft.rates.mfu == share(10 * 3 * 280, ft.rates.seconds)


def bound_to_layers(model):
    ft = FlopsTracker(TorchAutoEstimator(model, (1, 4)), peak_flops=PEAK)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    return ft.torch_bind(model, optimizer, train_loader=batches(10))


def test_a_run_that_goes_on_with_another_binding():
    ft = bound(peak_flops=PEAK)
    ft.run(1)
    model = ft.estimator.model
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    ft.torch_bind(model, optimizer, train_loader=batches(5))
    ft.run(1)
    assert ft.rates.mfu == share(15 * STEP, ft.rates.seconds)
    assert ft.epoch_rates[1].mfu == share(5 * STEP, ft.epoch_rates[1].seconds)


def test_an_epoch_that_was_broken_off_and_the_one_after_it():
    """Nothing was noted at its end, so neither can be told apart from the other."""
    ft = bound(peak_flops=PEAK)
    ft.run(1)
    training = ft._training
    fail = iter([False] * 3 + [True])
    own = training._train

    def train(batch):
        if next(fail, False):
            raise KeyError
        return own(batch)

    training._train = train
    with pytest.raises(KeyError):
        ft.run(1)
    ft.run(2)
    assert [(e.epoch, e.mfu is not None) for e in ft.epoch_rates] == [
        (1, True),
        (2, False),
        (3, False),
        (4, True),
    ]
    assert ft.epoch_rates[3].mfu == share(10 * STEP, ft.epoch_rates[3].seconds)


# ---- peaks ----


@pytest.mark.parametrize(
    "given, rates",
    [
        (312e12, 312e12),
        (10**12, 1e12),
        ("312 TFLOP/s", 312e12),
        ("989.4 TFLOPS", 989.4e12),
        ("1.5e9", 1.5e9),
        ({"bf16": "1 TFLOP/s", "fp32": 2, torch.float64: 3.0}, None),
    ],
)
def test_peaks_are_read(given, rates):
    ft = FlopsTracker(Flat(), peak_flops=given)
    expected = {"bfloat16": 1e12, "float32": 2.0, "float64": 3.0} if rates is None else rates
    assert ft._peak_flops == expected


@pytest.mark.parametrize(
    "given, error, text",
    [
        (0, ValueError, "peak_flops must be above 0, not 0"),
        (-1.0, ValueError, r"from 0 to below 2\*\*128, not -1\.0"),
        ("fast", ValueError, r"peak_flops='fast': it must begin with a number"),
        ("1 T", ValueError, r"peak_flops='1 T': after the number comes FLOP"),
        (True, TypeError, r"a number or a text such as '312 TFLOP/s', not True"),
        ({}, ValueError, r"give FLOP/s by dtype"),
        ({"int8": 1}, ValueError, r"'int8', which is none of the dtypes float64, float32, tf32"),
        ({"fp32": None}, TypeError, r"peak_flops\['fp32'\] must be a number .* not None"),
        ([1], TypeError, r"not \[1\]"),
    ],
)
def test_what_is_no_peak(given, error, text):
    with pytest.raises(error, match=text):
        FlopsTracker(Flat(), peak_flops=given)


@pytest.fixture
def on_an_a100(monkeypatch):
    """Everything runs on the CPU; what is asked of the GPU is answered as one would."""
    waited = []
    monkeypatch.setattr(_rates, "_torch_device", lambda model: torch.device("cuda:0"))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA A100-SXM4-80GB")
    monkeypatch.setattr(torch.cuda, "synchronize", waited.append)
    return waited


def test_the_peak_of_a_known_device(on_an_a100):
    ft = bound()
    ft.run(3)
    found = ft.rates
    assert found.device == "NVIDIA A100-SXM4-80GB"
    assert found.peak_flops == pytest.approx(19.5e12)
    assert found.mfu == share(30 * STEP, found.seconds, 19.5e12)
    assert on_an_a100 == [torch.device("cuda:0")] * 3  # once an epoch


def test_one_that_is_given_comes_first(on_an_a100):
    ft = bound(peak_flops=1e12)
    ft.run(1)
    assert ft.rates.mfu == share(10 * STEP, ft.rates.seconds, 1e12)


def test_loops_of_ones_own_wait_at_the_ends_of_epochs(on_an_a100):
    own_loop(mlp())
    assert len(on_an_a100) == 2
    ft = FlopsTracker(TorchAutoEstimator(mlp(), (1, 4)))
    ft.on_epoch_start()
    ft.update_batch(4)
    ft.on_epoch_end()
    assert len(on_an_a100) == 3
    own_loop(mlp(), log_wall_time=False)
    assert len(on_an_a100) == 3


def test_tf32_where_pytorch_may_use_it(on_an_a100, monkeypatch):
    ft = bound()
    ft.run(1)
    monkeypatch.setattr(_rates, "_computes_in_tf32", lambda op_class: op_class == "matmul")
    assert ft.rates.peak_flops == pytest.approx(156e12)
    monkeypatch.setattr(_rates, "_computes_in_tf32", lambda op_class: op_class == "conv")
    assert ft.rates.peak_flops == pytest.approx(19.5e12)


def test_the_flags_of_tf32():
    flags = torch.backends.cuda.matmul
    before = flags.allow_tf32
    try:
        for allowed in (True, False):
            flags.allow_tf32 = allowed
            assert _rates._computes_in_tf32("matmul") is allowed
    finally:
        flags.allow_tf32 = before
    assert _rates._computes_in_tf32("conv") is torch.backends.cudnn.allow_tf32


@pytest.mark.skipif(
    not hasattr(torch.backends.cudnn, "conv"), reason="torch before 2.9 has one flag alone"
)
@pytest.mark.parametrize("op_class, name", [("conv", "conv"), ("recurrent", "rnn")])
def test_the_newer_flags_of_tf32(op_class, name):
    """The older flag then raises an error."""
    flags = getattr(torch.backends.cudnn, name)
    before = flags.fp32_precision
    try:
        for precision in ("ieee", "tf32"):
            flags.fp32_precision = precision
            assert _rates._computes_in_tf32(op_class) is (precision == "tf32")
    finally:
        flags.fp32_precision = before


def test_an_unknown_device_has_no_peak(monkeypatch):
    ft = bound()
    ft.run(1)
    assert ft.rates[2:6] == (None, None, None, "cpu")
    assert _core._peak_of("cpu") is None


def test_a_model_on_two_devices_has_none():
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2, device="meta"))
    assert _rates._torch_device(model) is None
    assert _rates._torch_device(nn.Identity()) is None


# ---- what is printed ----


def last_line(ft, capsys):
    ft.print_total_flops()
    return capsys.readouterr().out.splitlines()[1:]


def test_one_line_with_shares_and_rates(capsys, monkeypatch):
    model = mlp()
    ft = FlopsTracker(model, convention="matmul", peak_flops=PEAK)
    for _ in ft.epochs(1):
        for batch in ft.steps(batches(6)):
            F.cross_entropy(model(batch[0]), batch[1]).backward()
        with ft.phase("validate"), torch.no_grad():
            for x, _ in ft.steps(batches(2)):
                model(x)
    train, validate = 6 * STEP, 2 * 280
    assert f"{100 * validate / (train + validate):.1f}" == "12.1"
    found = ft.rates._replace(flops_per_second=2.5e6, mfu=0.1234, hfu=0.2)
    monkeypatch.setattr(_rates, "rates", lambda tracker: found)
    assert last_line(ft, capsys) == [
        "of all FLOPs train 87.9 %, validate 12.1 % · recomputation 0.0 % of training · "
        "2.50 MFLOP/s · MFU 12.3 %, HFU 20.0 % of 1.00 GFLOP/s"
    ]


def test_no_line_where_there_is_nothing_to_say(capsys):
    ft = FlopsTracker(Flat())
    ft.on_epoch_start()
    ft.update_batch(1)
    ft.on_epoch_end()
    assert last_line(ft, capsys) == []
    ft = bound_to_layers(mlp())
    assert last_line(ft, capsys) == []  # nothing was trained


def test_the_line_stands_at_the_end_of_a_run(capsys):
    ft = bound(log_wall_time=False)
    list(ft(1))
    assert capsys.readouterr().out.splitlines()[-1] == "recomputation 0.0 % of training"


def test_shares_add_up():
    ft = own_loop(mlp(), validate=3, convention="matmul")
    shares = ft.rates.phase_shares
    assert list(shares) == ["train", "validate"]
    assert shares["validate"] == pytest.approx(2 * 3 * 280 / (20 * STEP + 2 * 3 * 280))
    assert sum(shares.values()) == pytest.approx(1)
    assert FlopsTracker(mlp()).rates.phase_shares is None


# ---- the sums behind them ----


def test_work_is_added_up_by_dtype_class_and_phase():
    counts = own_loop(Checkpointed(), epochs=1, convention="matmul").phase_counts["train"]
    once, thrice = _core.WorkSum(), _core.WorkSum()
    once.add(counts)
    thrice.add(once, 2)
    thrice.add(counts)
    rows = once.contractions(None)
    assert sum(row[3] for row in rows) == 10 * (STEP + 160)
    assert [row for row in rows if row[2]] == [("float32", "matmul", True, 1600)]
    assert thrice.contractions(None) == [(*row[:3], 3 * row[3]) for row in rows]
    assert thrice.contractions(once) == [(*row[:3], 2 * row[3]) for row in rows]
    assert once.contractions(once) == []
    assert once.recomputed("matmul") == (1600, 10 * STEP)


def test_sums_refuse_what_they_can_not_add():
    counts = pickle.loads(pickle.dumps(own_loop(mlp(), epochs=1).counts))
    work = _core.WorkSum()
    for wrong in (counts, 5, None):
        with pytest.raises(TypeError, match="no counts of this process"):
            work.add(wrong)
    with pytest.raises(TypeError, match="since must be a WorkSum or None"):
        work.contractions(5)
    with pytest.raises(ValueError, match="-1"):
        work.add(work, -1)
    with pytest.raises(ValueError, match="flops"):
        work.recomputed("flops")
    assert work.contractions(None) == []


def test_arithmetic_refuses_what_is_no_count():
    assert _core._rate(2**100, 2.0) == 2.0**99
    assert _core._rate(5, 0.0) is None
    assert _core._shares([]) == []
    assert _core._shares([0, 0]) == [0.0, 0.0]
    assert _core._shares([2**100, 2**100, 2**101]) == [0.25, 0.25, 0.5]
    with pytest.raises(ValueError, match="a count must be 0 or more"):
        _core._shares([1, -1])
    with pytest.raises(TypeError, match="counts must be a list"):
        _core._shares((1, 2))
    assert _core._joint_peak([]) is None
    with pytest.raises(TypeError):
        _core._rate(1.5, 1.0)
    with pytest.raises(ValueError, match="FLOPs must be 0 or more"):
        _core._utilization([(-1, 1.0)], 1.0)
    with pytest.raises(TypeError):
        _core._joint_peak(SimpleNamespace())
