"""What a tracker keeps: step_logs, epoch_logs, the history array and the saved CSV files."""

import gc
import os

import pytest
from training_models import (
    EPOCH_COLUMNS,
    STEP_COLUMNS,
    TOY_EPOCH,
    OneAfterTheOther,
    PerSample,
    column,
    read_csv,
    toy,
)

from flops_tracker import FlopsTracker


def two_epochs(**options) -> FlopsTracker:
    """Batches of 3, 4 | 5 at 10 FLOPs a sample."""
    ft = FlopsTracker(PerSample(10), **options)
    for sizes in ((3, 4), (5,)):
        ft.on_epoch_start()
        for size in sizes:
            ft.update_batch(size)
        ft.on_epoch_end()
    return ft


def value_of(array, name):
    """A column and its upper half as Python integers."""
    pairs = zip(array[name].tolist(), array[name + "_hi"].tolist(), strict=True)
    return [low + (high << 64) for low, high in pairs]


def test_step_logs():
    logs = two_epochs().step_logs
    assert [(s.epoch, s.step, s.batch_size) for s in logs] == [(1, 1, 3), (1, 2, 4), (2, 1, 5)]
    assert [s.flops_batch for s in logs] == [30, 40, 50]
    assert [s.flops_epoch_cum for s in logs] == [30, 70, 50]
    assert [s.flops_total_cum for s in logs] == [30, 70, 120]
    assert all(s.wall_time_s >= 0 for s in logs)


def test_epoch_logs():
    logs = two_epochs().epoch_logs
    assert [(e.epoch, e.flops_epoch, e.flops_total_cum) for e in logs] == [
        (1, 70, 70),
        (2, 50, 120),
    ]
    assert [(e.batches, e.samples) for e in logs] == [(2, 7), (1, 5)]
    assert [(e.loss, e.complete) for e in logs] == [(None, True)] * 2


def test_epoch_times_cover_their_batches():
    ft = two_epochs()
    for epoch in ft.epoch_logs:
        batches = sum(s.wall_time_s for s in ft.step_logs if s.epoch == epoch.epoch)
        assert epoch.wall_time_s >= batches - 1e-9


def test_an_epoch_without_batches_is_an_epoch():
    ft = FlopsTracker(PerSample(10))
    ft.on_epoch_start()
    ft.on_epoch_end()
    assert [(e.epoch, e.flops_epoch, e.batches, e.samples) for e in ft.epoch_logs] == [(1, 0, 0, 0)]
    assert ft.step_logs == []


def test_an_open_epoch_is_not_in_the_epoch_logs():
    ft = FlopsTracker(PerSample(10))
    ft.on_epoch_start()
    ft.update_batch(3)
    assert ft.epoch_logs == []
    assert len(ft.step_logs) == 1


def test_logs_are_lists_of_their_own():
    ft = two_epochs()
    ft.step_logs.clear()
    ft.epoch_logs.clear()
    assert len(ft.step_logs) == 3
    assert len(ft.epoch_logs) == 2


def test_more_steps_and_epochs_than_the_first_blocks_hold():
    ft = FlopsTracker(PerSample(1))
    for _ in range(100):
        ft.on_epoch_start()
        for size in range(10):
            ft.update_batch(size)  # 0 + 1 + ... + 9 = 45
        ft.on_epoch_end()
    assert ft.total_flops == 4500
    assert [e.flops_total_cum for e in ft.epoch_logs] == list(range(45, 4501, 45))
    assert [s.batch_size for s in ft.step_logs] == list(range(10)) * 100
    assert ft.step_logs[-1].epoch == 100


# ---- what is not kept ----


def test_without_batch_logs_the_totals_are_the_same(tmp_path):
    ft = two_epochs(keep_batch_logs=False)
    assert ft.total_flops == 120
    assert [e.flops_epoch for e in ft.epoch_logs] == [70, 50]
    for read in (lambda: ft.step_logs, lambda: ft.history, lambda: ft.save_batch_csv("batch.csv")):
        with pytest.raises(RuntimeError, match="keep_batch_logs=False"):
            read()
    ft.save_epoch_csv(tmp_path / "epoch.csv")
    assert column(tmp_path / "epoch.csv", "flops_epoch") == [70, 50]


def test_without_epoch_logs_the_totals_are_the_same(tmp_path):
    ft = two_epochs(keep_epoch_logs=False)
    assert ft.total_flops == 120
    assert [s.flops_epoch_cum for s in ft.step_logs] == [30, 70, 50]
    for read in (lambda: ft.epoch_logs, lambda: ft.save_epoch_csv("epoch.csv")):
        with pytest.raises(RuntimeError, match="keep_epoch_logs=False"):
            read()


def test_without_wall_time_all_times_are_zero():
    ft = two_epochs(log_wall_time=False)
    assert [s.wall_time_s for s in ft.step_logs] == [0.0] * 3
    assert [e.wall_time_s for e in ft.epoch_logs] == [0.0] * 2


# ---- history ----


def test_history_equals_step_logs():
    np = pytest.importorskip("numpy")
    ft = two_epochs()
    array, logs = ft.history, ft.step_logs
    assert isinstance(array, np.ndarray)
    for name in ("epoch", "step", "batch_size", "wall_time_s"):
        assert array[name].tolist() == [getattr(log, name) for log in logs]
    assert value_of(array, "flops_batch") == [30, 40, 50]
    assert value_of(array, "flops_total_cum") == [30, 70, 120]


def test_history_holds_counts_beyond_64_bits():
    pytest.importorskip("numpy")
    counts = [2**64 - 1, 2**64, 2**100 + 5, 2**127]
    ft = FlopsTracker(OneAfterTheOther(counts))
    ft.on_epoch_start()
    for _ in counts:
        ft.update_batch(1)
    array = ft.history
    assert array["flops_batch_hi"].tolist() == [0, 1, 2**36, 2**63]
    assert array["flops_batch"].tolist() == [2**64 - 1, 0, 5, 0]
    assert value_of(array, "flops_batch") == counts
    assert value_of(array, "flops_total_cum") == [
        2**64 - 1,
        2**65 - 1,
        2**100 + 2**65 + 4,
        2**127 + 2**100 + 2**65 + 4,
    ]


def test_history_is_a_view_and_not_a_copy():
    np = pytest.importorskip("numpy")
    ft = two_epochs()
    one, other = ft.history, ft.history
    assert one.base is not None
    assert not one.flags.owndata
    assert np.shares_memory(one, other)


def test_history_is_read_only_contiguous_and_aligned():
    pytest.importorskip("numpy")
    array = two_epochs().history
    assert not array.flags.writeable
    assert array.flags.c_contiguous
    assert array.flags.aligned
    with pytest.raises(ValueError, match="read-only"):
        array["epoch"] = 7


def test_history_of_an_empty_run():
    pytest.importorskip("numpy")
    array = FlopsTracker(PerSample(1)).history
    assert array.shape == (0,)
    assert array.dtype == two_epochs().history.dtype


def test_history_stays_as_it_was_while_the_tracker_goes_on_and_after_it_is_gone():
    pytest.importorskip("numpy")
    ft = two_epochs()
    arrays = [ft.history]
    ft.on_epoch_start()
    for step in range(10_000):
        ft.update_batch(1)
        if step in (10, 252, 253, 5000):  # within a block and around its end
            arrays.append(ft.history)
    ft.on_epoch_end()
    assert ft.total_flops == 120 + 100_000
    assert [len(a) for a in arrays] == [3, 3 + 11, 3 + 253, 3 + 254, 3 + 5001]
    del ft
    gc.collect()
    churn = [bytes(1 << 16) for _ in range(100)]  # memory set free would be written over
    expected = [30, 70, 120, *range(130, 120 + 50_010 + 1, 10)]
    for array in arrays:
        assert value_of(array, "flops_total_cum") == expected[: len(array)]
        assert array["batch_size"].tolist() == [3, 4, 5, *[1] * 5001][: len(array)]
    assert len(churn) == 100


def test_history_survives_as_a_slice_of_a_column():
    pytest.importorskip("numpy")
    sizes = two_epochs().history["batch_size"][1:]
    gc.collect()
    assert sizes.tolist() == [4, 5]


# ---- saved files ----


def test_save_batch_csv(tmp_path):
    path = tmp_path / "batch.csv"
    assert two_epochs(log_wall_time=False).save_batch_csv(path) is None
    assert path.read_text() == (
        STEP_COLUMNS + "\n1,1,3,30,30,30,0.000000\n1,2,4,40,70,70,0.000000\n"
        "2,1,5,50,50,120,0.000000\n"
    )


def test_save_epoch_csv(tmp_path):
    path = tmp_path / "epoch.csv"
    assert two_epochs().save_epoch_csv(path) is None
    assert path.read_text().startswith(EPOCH_COLUMNS)
    assert column(path, "epoch") == [1, 2]
    assert column(path, "flops_epoch") == [70, 50]
    assert column(path, "flops_total_cum") == [70, 120]


def test_saving_replaces_what_is_there_and_takes_every_kind_of_path(tmp_path):
    path = tmp_path / "an old file"
    path.write_text("something longer than the new content " * 100)
    for name in (path, str(path), os.fsencode(path)):
        two_epochs().save_batch_csv(name)
        assert len(read_csv(path)) == 3


def test_saving_an_empty_run_writes_the_columns(tmp_path):
    FlopsTracker(PerSample(1)).save_batch_csv(tmp_path / "batch.csv")
    assert (tmp_path / "batch.csv").read_text() == STEP_COLUMNS + "\n"


def test_saved_counts_beyond_64_bits_are_exact(tmp_path):
    ft = FlopsTracker(OneAfterTheOther([2**127, 2**126 + 1]))
    ft.on_epoch_start()
    ft.update_batch(1)
    ft.update_batch(1)
    ft.on_epoch_end()
    ft.save_batch_csv(tmp_path / "batch.csv")
    ft.save_epoch_csv(tmp_path / "epoch.csv")
    assert column(tmp_path / "batch.csv", "flops_batch") == [2**127, 2**126 + 1]
    assert column(tmp_path / "epoch.csv", "flops_epoch") == [2**127 + 2**126 + 1]


@pytest.mark.parametrize("save", ["save_batch_csv", "save_epoch_csv"])
def test_saving_where_it_is_not_possible(save, tmp_path):
    ft = two_epochs()
    with pytest.raises(FileNotFoundError):
        getattr(ft, save)(tmp_path / "missing" / "x.csv")
    with pytest.raises(IsADirectoryError):
        getattr(ft, save)(tmp_path)
    for path in (None, 1, 99):  # no file that is open, such as standard output
        with pytest.raises(TypeError, match=f"path must be a str or os.PathLike, not {path}"):
            getattr(ft, save)(path)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
@pytest.mark.parametrize("save", ["save_batch_csv", "save_epoch_csv"])
def test_saving_on_a_full_disk_is_an_error(save):
    with pytest.raises(OSError, match="No space left"):
        getattr(two_epochs(), save)("/dev/full")


def test_saving_by_name(tmp_path):
    ft = toy().tracker
    ft.run(1)
    ft.save_epoch_csv(path=tmp_path / "epochs.csv")
    assert column(tmp_path / "epochs.csv", "flops_epoch") == [TOY_EPOCH]
    with pytest.raises(TypeError, match=r"save_batch_csv\(\) missing required argument 'path'"):
        ft.save_batch_csv(folder=tmp_path)


def test_logs_are_tables_for_pandas():
    pandas = pytest.importorskip("pandas")
    ft = toy().tracker
    ft.run(2)
    table = pandas.DataFrame(ft.epoch_logs)
    assert list(table.columns) == list(ft.epoch_logs[0]._fields)
    assert table.flops_epoch.tolist() == [720, 720]
    assert pandas.DataFrame(ft.step_logs).batch_size.tolist() == [4, 4, 2] * 2
