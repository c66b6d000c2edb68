"""Data and files of results: what is read back is the same, and files are whole or as before."""

import json
import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from flops_tracker import FlopCount, FlopCounter, FlopsTracker, compare, count, profile, scaling
from flops_tracker._output import write_text


@torch.library.custom_op("flops_tracker_export::nobody_knows", mutates_args=())
def nobody_knows(x: torch.Tensor) -> torch.Tensor:
    return x.clone()


@pytest.fixture
def counts():
    shared = nn.Linear(4, 4)
    model = nn.Sequential(shared, nn.ModuleList([nn.Linear(2, 2)]), shared, nn.Linear(4, 3))
    model.forward = lambda x: model[3](model[2](model[0](x)))
    optimizer = torch.optim.SGD([*model[0].parameters(), *model[3].parameters()], lr=0.1)
    with FlopCounter(model, causal="exact") as c:
        model(torch.ones(2, 4)).sum().backward()
        nobody_knows(torch.ones(5, dtype=torch.float64))
        optimizer.step()
    return c.counts


# ---- reading back ----


def test_what_is_read_back_is_the_same(counts, tmp_path):
    counts.params, counts.ranks = 35, "rank 1 of 4"
    counts.to_json(tmp_path / "counts.json")
    again = FlopCount.from_json(tmp_path / "counts.json")
    assert type(again) is FlopCount
    assert again.to_dict() == counts.to_dict() == FlopCount.from_dict(counts.to_dict()).to_dict()
    assert (again.table(), again.tree(), repr(again)) == (
        counts.table(),
        counts.tree(),
        repr(counts),
    )
    assert again.by_module_and_op() == counts.by_module_and_op()
    assert list(again.uncounted) == ["flops_tracker_export.nobody_knows.default"]
    assert again.uncalled == counts.uncalled == ["Sequential.1.0"]
    for convention in ("exact", "matmul", "macs"):
        assert again.under(convention).to_dict() == counts.under(convention).to_dict()


def test_a_profile_is_read_as_its_counts(tmp_path):
    p = profile(nn.Linear(4, 3), torch.ones(2, 4), steps=1, warm_up=0)
    p.to_json(tmp_path / "p.json")
    assert FlopCount.from_json(tmp_path / "p.json").rows == p.rows


def test_a_process_without_torch_reads_it(tmp_path):
    count(nn.Linear(4, 3), torch.ones(2, 4)).to_json(tmp_path / "c.json")  # 2·2·4·3 + 2·3
    script = (
        "import sys; sys.modules['torch'] = None; from flops_tracker import FlopCount;"
        "c = FlopCount.from_json('c.json'); print(c.total, c.under('matmul').total)"
    )
    run = subprocess.run(
        [sys.executable, "-P", "-c", script],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout == "54 48\n"


def without(data, field):
    return {key: value for key, value in data.items() if key != field}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d: [], "no FlopCount: it has no field 'schema'"),
        (lambda d: without(d, "schema"), "no field 'schema'"),
        (
            lambda d: {**d, "schema": "flops_tracker/count/2"},
            "its schema is 'flops_tracker/count/2'",
        ),
        (lambda d: {**d, "schema": "flops_tracker/compare/1"}, "what can be read here is"),
        (lambda d: without(d, "rows"), "'rows' is missing"),
        (lambda d: without(d, "params"), "'params' is missing"),
        (lambda d: {**d, "total": d["total"] + 1}, "its rows add up to"),
        (lambda d: {**d, "rows": d["rows"][1:-3]}, "its rows add up to"),
        (lambda d: {**d, "rows": [{**d["rows"][0], "mac": -1}]}, "must be 0 or more"),
        (lambda d: {**d, "rows": [{**d["rows"][0], "mac": "1"}]}, "no FlopCount"),
        (lambda d: {**d, "rows": [{**d["rows"][0], "module": "Nowhere"}]}, "'Nowhere' is missing"),
        (
            lambda d: {**d, "rows": [{**d["rows"][0], "phase": "sideways"}]},
            "there is no such phase",
        ),
        (lambda d: {**d, "rows": 3}, "no FlopCount"),
        (lambda d: {**d, "by_module": []}, "no FlopCount"),
        (lambda d: {**d, "convention": "flops"}, "flops"),
        (lambda d: {**d, "operations": -1}, "must be 0 or more"),
        (lambda d: {**d, "params": -1}, "must be 0 or more"),
        (lambda d: {**d, "params": "many"}, "no FlopCount"),
        (lambda d: {**d, "rows": [{**d["rows"][0], "mac": 2**127}]}, "does not fit in 128 bits"),
    ],
)
def test_other_data_is_refused(change, words, counts):
    with pytest.raises(ValueError, match=words):
        FlopCount.from_dict(change(counts.to_dict()))


def test_other_files_are_refused_with_their_path(tmp_path):
    (tmp_path / "text.json").write_text("{")
    (tmp_path / "bytes.json").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "list.json").write_text("[]")
    (tmp_path / "deep.json").write_text("[" * 100_000)
    for name in ("text", "bytes", "list", "deep"):
        with pytest.raises(ValueError, match=f"{name}.json': "):
            FlopCount.from_json(tmp_path / f"{name}.json")


def test_counts_beyond_64_bits(counts, tmp_path):
    data = counts.to_dict()
    row = next(row for row in data["rows"] if row["mac"])
    more = 2**100 - row["mac"]
    row["mac"] += more
    data["total"] += 2 * more
    again = FlopCount.from_dict(json.loads(json.dumps(data)))
    assert again.total == counts.total + 2 * more
    frame = again.to_pandas() if __import__("importlib").util.find_spec("pandas") else None
    assert frame is None or frame["mac"].sum() == sum(r["mac"] for r in data["rows"])


# ---- the document ----


def keys(data, depth):
    """Names of fields, and of those in the fields that are given; what is named by users is not."""
    found = set(data)
    for field in depth:
        inner = data[field]
        values = inner if isinstance(inner, list) else inner.values()
        found |= {key for value in values for key in value}
    return found


def test_every_field_is_documented(counts):
    text = (Path(__file__).parent.parent / "docs" / "export.md").read_text()
    sections = text.split("\n### ")[1:]
    count_schema, compare_schema, scaling_schema = (
        set(re.findall(r"`(\w+)`", section)) for section in sections
    )
    p = profile(nn.Linear(4, 3), torch.ones(2, 4), steps=1, warm_up=0).to_dict()
    assert keys(p, ()) | keys(counts.to_dict(), ("by_module", "rows")) <= count_schema | {"schema"}
    comparison = compare(counts, counts).to_dict()
    assert keys(comparison, ("by_phase",)) | set(comparison["total"]) <= compare_schema | {"schema"}
    grid = scaling(lambda n: (torch.neg, torch.ones(n)), n=[1, 2]).to_dict()
    assert keys(grid, ("points", "fits")) <= scaling_schema | {"schema"}
    for data, section in zip((counts.to_dict(), comparison, grid), sections, strict=True):
        assert section.startswith(data["schema"])


# ---- Markdown ----


class Odd(nn.Linear):
    """A class whose name Markdown could take for marks."""


Odd.__name__ = "Odd|*b*<i>"


def test_markdown(tmp_path):
    # 2·8·5·4 + 8·4 = 352 and 2·8·4·3 + 8·3 = 216
    model = nn.Sequential(nn.Linear(5, 4), Odd(4, 3))
    counts = count(model, torch.ones(8, 5))
    text = counts.to_markdown(tmp_path / "c.md", depth=1, top=5)
    assert text == (tmp_path / "c.md").read_text()
    lines = text.splitlines()
    assert lines[0] == "| module | class | calls | own FLOPs | with inside | share |"
    assert lines[1] == "| --- | --- | ---: | ---: | ---: | ---: |"
    assert "| `Sequential.0` | Linear | 1 | 352 | 352 | 62.0 % |" in lines
    assert r"| `Sequential.1` | Odd\|\*b\*\<i\> | 1 | 216 | 216 | 38.0 % |" in lines
    assert "| `aten.addmm.default` | matmul | 2 | 568 | 100.0 % |" in lines
    assert lines[-1].startswith("forward 568")


def test_markdown_of_less():
    with FlopCounter() as c:
        torch.ones(5).neg()
        torch.ones(7).mul(2.0)
    text = c.counts.to_markdown(top=1)
    assert "aten.mul.Tensor" in text and "aten.neg" not in text and "| module" not in text


# ---- pandas of a run ----


def test_logs_of_a_run_as_data_frames():
    pandas = pytest.importorskip("pandas")
    model = nn.Linear(3, 2)
    ft = FlopsTracker(model, convention="matmul")
    for _ in ft.epochs(2):
        for batch in ft.steps([torch.ones(2, 3)] * 3):
            model(batch)  # 2·2·3·2
    steps, epochs = pandas.DataFrame(ft.step_logs), pandas.DataFrame(ft.epoch_logs)
    assert steps["flops_batch"].tolist() == [24] * 6
    assert epochs["flops_total_cum"].tolist() == [72, 144]
    assert list(epochs.columns)[:2] == ["epoch", "flops_epoch"]


# ---- files ----


def test_a_file_is_replaced_whole(tmp_path):
    path = tmp_path / "f.txt"
    path.write_text("old")
    path.chmod(0o640)
    link = tmp_path / "link.txt"
    link.symlink_to(path)
    write_text(link, "new\n")
    assert path.read_bytes() == b"new\n"
    assert link.is_symlink()
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert sorted(p.name for p in tmp_path.iterdir()) == ["f.txt", "link.txt"]


def test_a_new_file_has_the_usual_mode(tmp_path):
    (tmp_path / "usual").touch()
    write_text(tmp_path / "f.txt", "")
    assert (tmp_path / "f.txt").stat().st_mode == (tmp_path / "usual").stat().st_mode


def test_what_fails_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "f.txt"
    path.write_text("old")

    def full(_):
        raise OSError(28, "No space left on device", "elsewhere")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"No space left on device: '.*f.txt'"):
        write_text(path, "new")
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["f.txt"]


def test_paths_that_can_not_be_written(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none/f.txt"):
        write_text(tmp_path / "none" / "f.txt", "")
    with pytest.raises(IsADirectoryError):
        write_text(tmp_path, "")


@pytest.mark.skipif(not os.path.exists("/dev/null"), reason="needs /dev/null")
def test_a_device_is_written_to():
    write_text("/dev/null", "text")
    assert not os.path.isfile("/dev/null")


def test_where_there_is_no_folder(tmp_path):
    with FlopCounter() as c:
        torch.ones(2) + 1
    path = tmp_path / "nowhere" / "a.json"
    with pytest.raises(FileNotFoundError) as caught:
        c.counts.to_json(path)
    assert str(caught.value) == f"[Errno 2] No such file or directory: '{path}'"
