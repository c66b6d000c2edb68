"""The CSV files of a run: columns, rows as they come, whose file it is, how a tail heals."""

import locale
import sys
from itertools import chain
from pathlib import Path

import pytest
from training_models import (
    EPOCH_COLUMNS,
    STEP_COLUMNS,
    column,
    files_in,
    read_csv,
    same_state,
    state_of,
    toy,
)

QUIET = {"print_level": "none"}


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def here():
    return files_in(Path.cwd())


# ---- columns and rows ----


def test_columns_are_those_of_the_issue_and_further_ones_only_after():
    toy().tracker.run(1, export="both")
    first = {name: Path(name).read_text().splitlines()[0] for name in here()}
    for name, columns in (("run_batch.csv", STEP_COLUMNS), ("run_epoch.csv", EPOCH_COLUMNS)):
        assert (first[name] + ",").startswith(columns + ",")
        assert len(set(first[name].split(","))) == len(first[name].split(","))


def test_values_by_hand():
    # 72 a sample: batches of 4, 4, 2 are 288, 288, 144; an epoch is 720.
    toy().tracker.run(2, export="both")
    rows = [list(row.values())[:6] for row in read_csv("run_batch.csv")]
    assert rows == [
        ["1", "1", "4", "288", "288", "288"],
        ["1", "2", "4", "288", "576", "576"],
        ["1", "3", "2", "144", "720", "720"],
        ["2", "1", "4", "288", "288", "1008"],
        ["2", "2", "4", "288", "576", "1296"],
        ["2", "3", "2", "144", "720", "1440"],
    ]
    assert [list(row.values())[:3] for row in read_csv("run_epoch.csv")] == [
        ["1", "720", "720"],
        ["2", "720", "1440"],
    ]


def test_every_line_ends_and_has_all_fields():
    toy().tracker.run(2, export="both")
    for name in here():
        text = Path(name).read_bytes()
        assert text.endswith(b"\n")
        assert b"\r" not in text
        assert len({line.count(b",") for line in text.splitlines()}) == 1


def test_further_columns_of_an_epoch():
    ft = toy().tracker
    ft.run(1, export="epoch")
    (row,) = read_csv("run_epoch.csv")
    assert (row["batches"], row["samples"], row["complete"]) == ("3", "10", "1")
    # Nine digits give a 32-bit loss back; the mean itself is a double.
    assert float(row["loss"]) == pytest.approx(ft.epoch_logs[0].loss, rel=1e-8)
    assert float(row["wall_time_s"]) >= 0


@pytest.mark.parametrize(
    ("export", "files"),
    [
        ("none", []),
        ("epoch", ["run_epoch.csv"]),
        ("batch", ["run_batch.csv"]),
        ("both", ["run_batch.csv", "run_epoch.csv"]),
    ],
)
def test_export_levels(export, files):
    toy().tracker.run(1, export=export)
    assert here() == files


def test_the_prefix_is_the_name_of_the_run_where_none_is_given():
    toy(run_name="night shift").tracker.run(1, export="epoch")
    toy(run_name="other").tracker.run(1, export="epoch", export_prefix=None)
    toy(run_name="other").tracker.run(1, export="epoch", export_prefix="mine")
    assert here() == ["mine_epoch.csv", "night shift_epoch.csv", "other_epoch.csv"]


@pytest.mark.parametrize("make", [str, Path])
def test_the_prefix_may_be_a_path(make):
    Path("deep").mkdir()
    toy().tracker.run(1, export="epoch", export_prefix=make("deep/ünïcode, 'x'"))
    assert files_in(Path("deep")) == ["ünïcode, 'x'_epoch.csv"]


def test_each_row_is_on_disk_when_its_batch_ends():
    lines = []

    def step(model, batch):
        lines.append(Path("run_batch.csv").read_text().splitlines())
        return model(batch[0]).square().mean()

    ft = toy(step_fn=step).tracker
    epochs = []
    for _ in ft(2, export="both", **QUIET):
        epochs.append(column("run_epoch.csv", "epoch"))
    assert [len(seen) for seen in lines] == [1, 2, 3, 4, 5, 6]  # the header, then a row a batch
    assert all(len(line.split(",")) == 7 for seen in lines for line in seen)
    assert epochs == [[1], [1, 2]]


def test_the_epoch_is_on_disk_when_the_callback_is_called():
    seen = []
    toy().tracker.run(
        2, export="epoch", on_epoch_end=lambda *_: seen.append(len(read_csv("run_epoch.csv")))
    )
    assert seen == [1, 2]


def test_no_epochs_write_the_columns_only():
    toy().tracker.run(0, export="both")
    assert read_csv("run_batch.csv") == read_csv("run_epoch.csv") == []
    assert Path("run_batch.csv").read_text() == STEP_COLUMNS + "\n"


def test_exported_rows_are_those_that_save_writes():
    ft = toy().tracker
    ft.run(2, export="both")
    ft.save_batch_csv("all_batches.csv")
    ft.save_epoch_csv("all_epochs.csv")
    assert Path("run_batch.csv").read_text() == Path("all_batches.csv").read_text()
    assert Path("run_epoch.csv").read_text() == Path("all_epochs.csv").read_text()


# ---- own files go on ----


def test_a_second_use_goes_on_in_the_same_files():
    ft = toy().tracker
    ft.run(1, export="both")
    ft.run(1)  # counted, but in no file
    ft.run(1, export="both")
    assert column("run_epoch.csv", "epoch") == [1, 3]
    assert column("run_epoch.csv", "flops_total_cum") == [720, 2160]
    assert column("run_batch.csv", "epoch") == [1, 1, 1, 3, 3, 3]
    assert here() == ["run_batch.csv", "run_epoch.csv"]


def test_own_files_go_on_from_another_working_folder(tmp_path, monkeypatch):
    ft = toy().tracker
    ft.run(1, export="epoch", export_prefix=str(tmp_path / "x"))
    (tmp_path / "sub").mkdir()
    monkeypatch.chdir(tmp_path / "sub")
    ft.run(1, export="epoch", export_prefix="../x")
    assert column(tmp_path / "x_epoch.csv", "epoch") == [1, 2]


@pytest.mark.parametrize("overwrite", ["rename", "append", "replace", "error"])
def test_own_files_go_on_whatever_is_to_happen_to_those_of_others(overwrite):
    ft = toy().tracker
    ft.run(1, export="epoch", overwrite=overwrite)
    ft.run(1, export="epoch", overwrite=overwrite)
    assert column("run_epoch.csv", "epoch") == [1, 2]


def test_an_own_file_that_was_deleted_starts_anew():
    ft = toy().tracker
    ft.run(1, export="epoch")
    Path("run_epoch.csv").unlink()
    ft.run(1, export="epoch")
    assert column("run_epoch.csv", "epoch") == [2]


def test_two_trackers_of_one_name_never_mix_their_rows(capsys):
    one, other = toy().tracker, toy().tracker
    one.run(1, export="epoch")
    other.run(2, export="epoch")  # renames the file of `one`
    one.run(1, export="epoch")  # what lies there now is the file of `other`
    files = {name: column(name, "flops_total_cum") for name in here()}
    assert [720, 1440] in files.values()  # the two epochs of `other`, and nothing else
    assert sorted(chain(*files.values())) == [720, 720, 1440, 1440]


# ---- files of others ----


@pytest.fixture
def stranger():
    toy().tracker.run(2, export="both")
    return {name: Path(name).read_bytes() for name in here()}


def test_a_file_of_another_run_is_renamed_and_one_line_says_so(stranger, capsys):
    toy().tracker.run(1, export="both", print_level="epoch")
    assert capsys.readouterr().out.splitlines()[:2] == [
        "run_batch.csv was there: renamed to run_batch.1.csv",
        "run_epoch.csv was there: renamed to run_epoch.1.csv",
    ]
    assert Path("run_batch.1.csv").read_bytes() == stranger["run_batch.csv"]
    assert Path("run_epoch.1.csv").read_bytes() == stranger["run_epoch.csv"]
    assert column("run_epoch.csv", "epoch") == [1]


def test_the_next_is_renamed_to_the_next_number(stranger, capsys):
    toy().tracker.run(3, export="epoch", **QUIET)
    assert capsys.readouterr().out == ""
    toy().tracker.run(4, export="epoch", print_level="batch")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "run_epoch.csv was there: renamed to run_epoch.2.csv"
    lengths = {name: len(read_csv(name)) for name in here() if "epoch" in name}
    assert lengths == {"run_epoch.1.csv": 2, "run_epoch.2.csv": 3, "run_epoch.csv": 4}


def test_overwrite_replace(stranger, capsys):
    toy().tracker.run(1, export="both", overwrite="replace")
    assert column("run_epoch.csv", "epoch") == [1]
    assert len(read_csv("run_batch.csv")) == 3
    assert here() == sorted(stranger)
    assert capsys.readouterr().out == ""


def test_overwrite_append(stranger, capsys):
    toy().tracker.run(1, export="both", overwrite="append")
    assert column("run_epoch.csv", "epoch") == [1, 2, 1]
    assert column("run_batch.csv", "step") == [1, 2, 3] * 3
    assert Path("run_epoch.csv").read_bytes().startswith(stranger["run_epoch.csv"])
    assert here() == sorted(stranger)
    assert capsys.readouterr().out == ""


def test_overwrite_error(stranger):
    bound = toy()
    before = state_of(bound.model)
    with pytest.raises(FileExistsError, match=r"run_batch\.csv"):
        bound.tracker.run(1, export="both", overwrite="error")
    assert {name: Path(name).read_bytes() for name in here()} == stranger
    assert same_state(state_of(bound.model), before)


@pytest.mark.parametrize("overwrite", ["rename", "replace", "append", "error"])
def test_an_error_of_the_second_file_leaves_the_first_as_it_was(stranger, overwrite):
    if overwrite == "error":
        Path("run_batch.csv").unlink()
        Path("run_epoch.csv").write_text("other,columns\n")
    else:
        Path("run_epoch.csv").unlink()
        Path("run_epoch.csv").mkdir()
    before = {name: Path(name).is_file() and Path(name).read_bytes() for name in here()}
    with pytest.raises(OSError, match=r"run_epoch\.csv"):
        toy().tracker.run(1, export="both", overwrite=overwrite)
    assert {name: Path(name).is_file() and Path(name).read_bytes() for name in here()} == before


@pytest.mark.parametrize("text", ["other,columns\n1,2\n", "other,columns\n1,2", "plain text"])
def test_appending_to_other_columns_is_an_error_that_changes_nothing(text):
    Path("run_epoch.csv").write_text(text)
    with pytest.raises(ValueError, match=r"columns.*export_prefix"):
        toy().tracker.run(1, export="epoch", overwrite="append")
    assert Path("run_epoch.csv").read_text() == text


def test_an_empty_file_is_taken():
    Path("run_epoch.csv").touch()
    toy().tracker.run(1, export="epoch", overwrite="error")
    assert here() == ["run_epoch.csv"]
    assert column("run_epoch.csv", "epoch") == [1]


@pytest.mark.parametrize("torn", [1, 7, 20])
def test_a_torn_tail_is_healed_on_append(stranger, torn):
    whole = stranger["run_batch.csv"]
    Path("run_batch.csv").write_bytes(whole[:-torn])
    toy().tracker.run(1, export="batch", overwrite="append")
    after = Path("run_batch.csv").read_bytes()
    assert after.startswith(whole[: whole.rstrip().rindex(b"\n") + 1])
    assert column("run_batch.csv", "step") == [1, 2, 3, 1, 2, 1, 2, 3]


def test_a_torn_header_is_healed_on_append():
    Path("run_epoch.csv").write_text(EPOCH_COLUMNS[:9])
    toy().tracker.run(1, export="epoch", overwrite="append")
    assert column("run_epoch.csv", "epoch") == [1]


def test_a_torn_tail_of_an_own_file_is_healed():
    ft = toy().tracker
    ft.run(2, export="epoch")
    whole = Path("run_epoch.csv").read_bytes()
    Path("run_epoch.csv").write_bytes(whole[:-3])
    ft.run(1, export="epoch")
    assert column("run_epoch.csv", "epoch") == [1, 3]


def test_a_very_long_torn_tail_is_healed(stranger):
    whole = stranger["run_epoch.csv"]
    Path("run_epoch.csv").write_bytes(whole + b"7" * 10_000)
    toy().tracker.run(1, export="epoch", overwrite="append")
    assert Path("run_epoch.csv").read_bytes().startswith(whole)
    assert column("run_epoch.csv", "epoch") == [1, 2, 1]


# ---- where nothing can be written ----


@pytest.mark.parametrize("prefix", ["missing/run", "file/run", "file/deeper/run", "/dev/null/run"])
def test_a_folder_that_can_not_hold_the_file(prefix):
    Path("file").write_text("not a folder")
    bound = toy()
    before = state_of(bound.model)
    with pytest.raises(OSError, match=prefix.split("/")[0] or "null") as caught:
        bound.tracker.run(1, export="both", export_prefix=prefix)
    assert caught.value.filename
    assert same_state(state_of(bound.model), before)
    assert here() == ["file"]
    assert bound.tracker.run(1, export="epoch") == 720  # usable after


def test_a_folder_in_the_place_of_the_file():
    Path("run_epoch.csv").mkdir()
    with pytest.raises(IsADirectoryError, match=r"run_epoch\.csv"):
        toy().tracker.run(1, export="epoch")
    assert here() == ["run_epoch.csv"]


def test_nothing_is_checked_or_made_without_export():
    assert toy().tracker.run(1, export="none", export_prefix="missing/run") == 720
    assert here() == []


def train_on_ranks(monkeypatch, capsys, **options):
    for rank in ("0", "1", "12"):
        monkeypatch.setenv("RANK", rank)
        for _ in range(2):  # the second renames the files of the first
            for _ in toy().tracker(1, export="both", print_level="both", progress=True, **options):
                pass
        printed = capsys.readouterr()
        assert (printed.out == printed.err == "") == (rank != "0")


def test_only_the_first_rank_prints_and_writes_files(monkeypatch, capsys):
    train_on_ranks(monkeypatch, capsys)
    assert here() == ["run_batch.1.csv", "run_batch.csv", "run_epoch.1.csv", "run_epoch.csv"]


def test_every_rank_has_files_of_its_own_where_asked_to(monkeypatch, capsys):
    train_on_ranks(monkeypatch, capsys, export_only_rank0=False)
    files = [f"run{own}_{kind}" for own in ("", ".rank1", ".rank12") for kind in ("batch", "epoch")]
    assert here() == sorted(name + end for name in files for end in (".csv", ".1.csv"))
    assert column("run.rank12_epoch.csv", "flops_epoch") == [720]


@pytest.mark.parametrize("rank", ["", "x", "-1", "0"])
def test_what_is_no_later_rank_is_the_only_one(rank, monkeypatch, capsys):
    monkeypatch.setenv("RANK", rank)
    toy().tracker.run(1, export="epoch", print_level="epoch")
    assert here() == ["run_epoch.csv"]
    assert capsys.readouterr().out != ""


def test_a_progress_bar_that_is_missing_leaves_the_files_alone(stranger, monkeypatch):
    before = here()
    monkeypatch.setitem(sys.modules, "tqdm", None)
    with pytest.raises(ModuleNotFoundError, match="tqdm"):
        toy().tracker(1, export="both", progress=True)
    assert here() == before


def test_a_decimal_comma_in_the_locale_changes_nothing():
    before = locale.setlocale(locale.LC_NUMERIC)
    for name in ("de_DE.UTF-8", "it_IT.UTF-8", "fr_FR.UTF-8", "de_DE.utf8", "it_IT"):
        try:
            locale.setlocale(locale.LC_NUMERIC, name)
            break
        except locale.Error:
            continue
    else:
        pytest.skip("no locale with a decimal comma is installed")
    try:
        assert locale.localeconv()["decimal_point"] == ","
        toy().tracker.run(1, export="both")
    finally:
        locale.setlocale(locale.LC_NUMERIC, before)
    assert all(None not in row and len(row) == 7 for row in read_csv("run_batch.csv"))
    assert float(read_csv("run_epoch.csv")[0]["loss"]) > 0
