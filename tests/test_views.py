"""FlopCount as text, plain data, files and pages."""

import csv
import json

import pytest
import torch
from torch import nn

from flops_tracker import FlopCounter, TorchAutoEstimator, explain


class Odd(nn.Linear):
    """A class whose name a table or page could take for markup."""


Odd.__name__ = "[red]<b>Odd</b>"


@pytest.fixture
def counts():
    # On 8 rows: Linear(5, 4) has 8·4 results of 5 products and 32 biases; Linear(4, 3) 8·3 of 4,
    # and 24. Under `standard` 2·160 + 32 = 352 and 2·96 + 24 = 216; ReLU compares, which is 0.
    model = nn.Sequential(nn.Linear(5, 4), nn.Sequential(nn.ReLU(), Odd(4, 3)))
    x = torch.ones(8, 5)
    with FlopCounter(model) as c:
        y = model(x)
        y.add_(1.0)  # 24 outside
    return c.counts


TOTAL = 352 + 216 + 24


def test_table(counts):
    text = counts.table()
    lines = [line.split() for line in text.splitlines()]
    assert ["Sequential.0", "Linear", "1", "352", "352", "59.5", "%"] in lines
    assert ["Sequential.1", "Sequential", "1", "0", "216", "36.5", "%"] in lines
    assert ["(outside", "of", "modules)", "24", "4.1", "%"] in lines
    assert ["aten.addmm.default", "matmul", "2", "568", "95.9", "%"] in lines
    assert "[red]<b>Odd</b>" in text
    assert f"\n{TOTAL} FLOPs · standard · " in text  # in short it is no shorter
    assert "\x1b" not in text


def test_table_of_less(counts):
    text = counts.table(depth=1, top=1)
    assert "Sequential.1.1" not in text
    assert "aten.add_.Tensor" not in text
    assert "aten.addmm.default" in text


def test_tree(counts):
    assert counts.tree().splitlines() == [
        f"{TOTAL} FLOPs · {counts.trust_line}",
        "├── Sequential Sequential 568 (95.9 %)",
        "│   ├── 0 Linear 352 (59.5 %)",
        "│   └── 1 Sequential 216 (36.5 %)",
        "│       ├── 0 ReLU 0 (0.0 %)",
        "│       └── 1 [red]<b>Odd</b> 216 (36.5 %)",
        "└── (outside of modules) 24",
    ]


@pytest.mark.parametrize(
    ("view", "limits", "error", "words"),
    [
        ("table", {"depth": "1"}, TypeError, "depth must be an int, not '1'"),
        ("table", {"top": 1.5}, TypeError, "top must be an int, not 1.5"),
        ("table", {"top": -1}, ValueError, "top must be 0 or more, not -1"),
        ("table", {"depth": -1}, ValueError, "depth must be 0 or more, not -1"),
        ("tree", {"depth": -1}, ValueError, "depth must be 0 or more, not -1"),
        ("by_module", {"depth": -1}, ValueError, "depth must be 0 or more, not -1"),
        ("by_module", {"depth": True}, TypeError, "depth must be an int, not True"),
    ],
)
def test_limits_that_make_no_sense(counts, view, limits, error, words):
    with pytest.raises(error, match=words):
        getattr(counts, view)(**limits)


class Printer:
    def __init__(self):
        self.lines = []

    def text(self, text):
        self.lines += text.splitlines()


def test_text_is_shown_as_its_lines_in_a_notebook(counts):
    estimator = TorchAutoEstimator(nn.Linear(5, 4), (1, 5))
    texts = [counts.table(), counts.tree(), explain("aten.mm", (4, 5), (5, 6)), estimator.report()]
    for text in texts:
        printer = Printer()
        text._repr_pretty_(printer, False)
        assert len(printer.lines) > 2 and "\n".join(printer.lines) == text
        assert text._repr_html_().startswith("<pre>")
    assert "&lt;b&gt;Odd" in texts[0]._repr_html_()


def test_one_is_not_many():
    x = torch.ones(2)
    with FlopCounter() as c:
        x.neg_()
        assert str(c.counts).startswith("2 FLOPs · standard · 1 operation, 100.0 % counted")
        x.neg_()
    assert str(c.counts).startswith("4 FLOPs · standard · 2 operations, 100.0 % counted")


def test_what_is_a_file_that_is_open(counts):
    with pytest.raises(TypeError, match="int"):
        counts.to_csv(1)


def test_a_large_total_is_given_in_short_as_well():
    with FlopCounter() as c:  # 2·10·10·10
        torch.ones(10, 10).mm(torch.ones(10, 10))
    assert str(c.counts).startswith("2,000 FLOPs (2.00 kFLOP) · ")


def test_plain_data(counts, tmp_path):
    data = json.loads(counts.to_json(tmp_path / "counts.json"))
    assert data == json.loads((tmp_path / "counts.json").read_text()) == counts.to_dict()
    assert (data["total"], data["forward"], data["backward"]) == (TOTAL, TOTAL, 0)
    assert data["by_module"]["Sequential.0"]["own"] == 352
    assert data["by_op"]["aten.add_.Tensor"] == 24
    assert data["by_dtype"] == {"float32": TOTAL}
    assert sum(row["flops"] for row in data["rows"]) == TOTAL
    assert data["uncounted"] == {}


def test_csv(counts, tmp_path):
    counts.to_csv(tmp_path / "counts.csv")
    with open(tmp_path / "counts.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert sum(int(row["flops"]) for row in rows) == TOTAL
    assert sum(int(row["mac"]) for row in rows) == 160 + 96
    assert {row["phase"] for row in rows} == {"forward"}


def test_data_frame(counts):
    pytest.importorskip("pandas")
    table = counts.to_pandas()
    assert table.flops.sum() == TOTAL
    assert table.groupby("module").flops.sum()["Sequential.0"] == 352


def test_page(counts, tmp_path):
    page = counts.to_html(tmp_path / "counts.html")
    assert page == (tmp_path / "counts.html").read_text()
    assert "&lt;b&gt;Odd" in page
    assert "<b>Odd" not in page
    assert f"{TOTAL} FLOP<" in page
    assert "http" not in page  # it stands alone
    assert "Odd" in counts._repr_html_()


def test_an_empty_count_can_be_printed():
    with FlopCounter() as c:
        pass
    assert c.total == 0
    assert c.table().endswith("\n0 FLOPs · standard · 0 operations")
    assert c.tree().startswith("0 FLOPs")
    assert c.coverage == 1.0
    assert str(c.counts).startswith("0 FLOPs")


def test_repr(counts):
    assert repr(counts) == f"<FlopCount 592 FLOP · {counts.trust_line}>"


def test_a_number_that_is_not_quite_all_is_not_printed_as_all():
    library = torch.library.Library("flops_tracker_views", "FRAGMENT")
    library.define("op(Tensor x) -> Tensor")
    library.impl("op", lambda x: x.clone(), "CPU")
    x = torch.ones(2)
    with FlopCounter() as c:
        for _ in range(3000):
            x.neg()
        torch.ops.flops_tracker_views.op(x)
    library._destroy()
    assert "99.9 % counted, 1 unknown" in c.trust_line
    assert "not counted: flops_tracker_views.op.default on (2,)" in c.table()
