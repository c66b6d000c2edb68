"""What results show of themselves in a notebook: fragments without script or id."""

import re

import pytest
import torch
from torch import nn

from flops_tracker import (
    FlopCounter,
    FlopsTracker,
    TorchAutoEstimator,
    compare,
    conventions,
    count,
    formulas,
    profile,
    register_rule,
    rules,
    scaling,
)


def results():
    model = nn.Linear(4, 3)
    x = torch.ones(8, 4)
    with FlopCounter(model) as counter:
        model(x)
    ft = FlopsTracker(model, peak_flops=1e12)
    for _ in ft.epochs(1):
        for batch in ft.steps([x]):
            model(batch).sum().backward()
    return {
        "counter": counter,
        "count": count(model, x),
        "profile": profile(model, x, steps=1, warm_up=0),
        "tracker": ft,
        "rates": ft.rates,
        "comparison": compare(counter, ft),
        "scaling": scaling(lambda n: (model, torch.empty(n, 4)), n=[2, 4, 8]),
        "rules": rules("linear"),
        "no rule": rules("no such rule"),
        "formulas": formulas.listing(),
        "conventions": conventions(),
        "table": counter.table(),
    }


@pytest.mark.parametrize("name", list(results()))
def test_fragments_may_be_shown_twice_in_any_theme(name):
    text = results()[name]._repr_html_()
    assert not re.search(r"\bid=|<script|<link|https?:|<html|<body", text)
    styles = re.findall(r"<style>(.*?)</style>", text, re.DOTALL)
    for style in styles:
        assert not re.search(r"(?<![-\w])color:(?! inherit)", style)  # text is the theme's
        assert all(rule.lstrip().startswith(".flops-tracker ") for rule in style.split("}")[:-1])
    assert len(text) < 200_000


def test_what_a_count_shows():
    # 8·3 results of 4 products and a bias: 2·96 + 24 = 216.
    text = results()["counter"]._repr_html_()
    assert "<strong>216 FLOPs · standard · " in text
    assert "<td>Linear</td><td>Linear</td>" in text and "<td>aten.addmm.default</td>" in text
    assert 'style="--w:100.0%"' in text


def test_what_a_profile_shows():
    text = results()["profile"]._repr_html_()
    assert "<strong>216 FLOPs" in text and " a step · " in text
    assert ">time</th>" in text and ">FLOP/s</th>" in text and " ms</td>" in text


def test_what_rates_show():
    text = results()["rates"]._repr_html_()
    assert "<td>MFU</td>" in text and "1.00 TFLOP/s" in text and "float32" in text
    untimed = FlopsTracker(nn.Linear(2, 2), log_wall_time=False).rates._repr_html_()
    assert "MFU" not in untimed


def test_what_listings_show():
    shown = results()
    assert shown["rules"]._repr_html_().count("<tr>") == 1 + len(rules("linear"))
    assert "<p>none</p>" in shown["no rule"]._repr_html_()
    table = shown["conventions"]._repr_html_()
    # matmul: 2 per multiply-accumulate of a contraction, and nothing for others.
    assert re.search(r"<td>matmul</td><td>[^<]*</td><td[^>]*>2 / 0</td>", table)
    assert re.search(r"<td>exact</td><td>[^<]*</td><td[^>]*>2</td><td[^>]*>-1</td>", table)


def test_names_are_escaped():
    library = torch.library.Library("flops_tracker_cells", "FRAGMENT")
    library.define("op(Tensor x) -> Tensor")
    library.impl("op", lambda x: x.clone(), "CPU")
    register_rule("flops_tracker_cells::op", lambda args, kwargs, output: 7)
    model = type("<i>Named</i>", (nn.Linear,), {})(4, 3)
    with FlopCounter(model) as counter:
        torch.ops.flops_tracker_cells.op(model(torch.ones(8, 4)))
    library._destroy()
    text = counter._repr_html_()
    assert "&lt;i&gt;Named" in text and "<i>Named" not in text


# ---- progress ----

NOTEBOOK = """
import torch
from torch import nn
from flops_tracker import FlopsTracker, TorchAutoEstimator
model = nn.Linear(3, 2)
ft = FlopsTracker(TorchAutoEstimator(model, (1, 3))).torch_bind(
    model, torch.optim.SGD(model.parameters(), lr=0.1), train_loader=LOADER
)
LOOP
"""
BATCHES = "[(torch.ones(4, 3), torch.zeros(4, dtype=torch.long))] * 5"


def outputs_of(loader, loop, folder):
    """Run it in a kernel; gives the outputs of its cell, which a file of the notebook has."""
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    code = NOTEBOOK.replace("LOADER", loader).replace("LOOP", loop)
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)])
    resources = {"metadata": {"path": str(folder)}}  # not the folder of the sources
    client = nbclient.NotebookClient(
        notebook, timeout=120, kernel_name="python3", resources=resources
    )
    client.execute()
    return notebook.cells[0].outputs


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
@pytest.mark.parametrize(
    "loader, loop, state",
    [
        # A batch of 4 rows is 2·4·3·2·3 = 144; 3 epochs of 5 batches are 2,160.
        (BATCHES, "ft.run(3, progress=True)", "epoch 3 · 15 of 15 batches · 2.16 kFLOP, "),
        (
            BATCHES,
            "for _ in ft(3, progress=True, print_level='epoch'): break",
            "epoch 1 · 5 of 15 batches · 720 FLOP, ",
        ),
        ("iter(" + BATCHES + ")", "ft.run(1, progress=True)", "epoch 1 · 5 batches · 720 FLOP, "),
    ],
    ids=["whole", "broken off", "length unknown"],
)
def test_the_last_state_stays_in_the_notebook(loader, loop, state, tmp_path):
    outputs = outputs_of(loader, loop, tmp_path)
    [shown] = [output for output in outputs if output.output_type == "display_data"]
    assert shown.data["text/plain"].startswith(state)
    assert state in shown.data["text/html"]
    done, of = shown.data["text/plain"].split(" batches")[0].split("· ")[1].partition(" of ")[::2]
    bar = f'<progress value="{done}" max="{of}"></progress>'
    assert (bar in shown.data["text/html"]) == bool(of)
    printed = "".join(output.text for output in outputs if output.output_type == "stream")
    assert ("epoch 1 · 720 FLOPs" in printed) == ("print_level" in loop)
    assert "widget" not in str(outputs)


def test_outside_of_a_notebook_it_is_a_bar(capsys):
    model = nn.Linear(3, 2)
    ft = FlopsTracker(TorchAutoEstimator(model, (1, 3)))
    batches = [(torch.ones(4, 3), torch.zeros(4, dtype=torch.long))] * 5
    ft.torch_bind(model, torch.optim.SGD(model.parameters(), lr=0.1), train_loader=batches)
    ft.run(1, progress=True)
    assert "5/5" in capsys.readouterr().err
