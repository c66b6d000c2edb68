"""The page of a tracker's run: epochs, phases, plots, and what it shows without matplotlib."""

import re

import pytest
import torch
from browser import needs_browser, picture, shown
from test_package import WITHOUT
from torch import nn
from training_models import PerSample, run_python

from flops_tracker import FlopsTracker, SklearnSGDEstimator, TorchAutoEstimator


def own_loop(**options):
    """Train Linear(3, 2) on 2 epochs of 2 batches of 4 rows; validate 4 rows after each."""
    # Under `matmul` a forward is 2·4·3·2 = 48, and so is the gradient of the weight: 96 a step.
    model = nn.Linear(3, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    ft = FlopsTracker(model, convention="matmul", run_name="a <b>", **options)
    for _ in ft.epochs(2):
        for x in ft.steps([torch.ones(4, 3)] * 2):
            optimizer.zero_grad()
            model(x).sum().backward()
            optimizer.step()
        with ft.phase("validate"), torch.no_grad():
            model(torch.ones(4, 3))
    return ft


def trained(epochs=2, **options):
    """Train the same by itself, with a loss, under a TorchAutoEstimator."""
    # 2·4·3·2 = 48 forward, three times that for a step: 144, and 288 an epoch.
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 2))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    ft = FlopsTracker(TorchAutoEstimator(model, (1, 3)), **options)
    batches = [(torch.ones(4, 3), torch.zeros(4, dtype=torch.long))] * 2
    ft.torch_bind(model, optimizer, train_loader=batches)
    ft.run(epochs)
    return ft


def test_the_page_of_a_loop_of_ones_own(tmp_path):
    text = own_loop().to_html(tmp_path / "run.html")
    assert text == (tmp_path / "run.html").read_text()
    assert "<h1>a &lt;b&gt;</h1>" in text and "a <b>" not in text
    assert '<p class="total">384 FLOP</p>' in text  # 2 epochs of 2 steps of 96
    assert "train <b>384 FLOP</b> 80.0 %" in text and "validate <b>96 FLOP</b> 20.0 %" in text
    assert "forward <b>288 FLOP</b>" in text and "backward <b>192 FLOP</b>" in text
    assert re.search(
        r"<td>1</td><td[^>]*>192</td><td[^>]*>192</td><td[^>]*>2</td><td[^>]*>8<", text
    )
    assert re.search(r"<td>2</td><td[^>]*>192</td><td[^>]*>384</td>", text)
    assert "<i>Linear</i>" in text and "Roofline" in text
    assert "Training FLOPs over steps" in text
    assert "Loss over" not in text  # such a loop tells no loss


def test_the_page_of_an_estimator_of_layers():
    text = trained().to_html()
    assert '<p class="total">576 FLOP</p>' in text
    assert "Forward FLOPs of a batch of 1, by layer." in text
    assert "Loss over training FLOPs" in text and '<th class="n">loss</th>' in text
    # Linear is all that there is: 2·3·2 = 12 of its own, and as much in the model around it.
    rows = [
        re.findall(r"<span>([^<]*)</span>", row)
        for row in re.findall(r"<\w+ class=\"m.*?</i>(.*?)</(?:p|summary)>", text)
    ]
    assert rows == [
        ["", "0", "12", "100.0 %"],
        ["1", "0", "12", "100.0 %"],
        ["1", "12", "12", "100.0 %"],
    ]


def test_estimators_that_know_no_modules():
    ft = FlopsTracker(PerSample(2**100))
    ft.on_epoch_start()
    ft.update_batch(3)
    text = ft.to_html()  # the epoch is open
    assert f"{3 * 2**100:,} FLOPs" in text and "<h2>Modules</h2>" not in text
    assert f"{3 * 2**100:,} FLOPs" in ft._repr_html_()
    ft.on_epoch_end()
    assert f'<td class="n">{3 * 2**100:,}</td>' in ft._repr_html_()


def test_a_run_that_has_not_begun():
    for estimator in (SklearnSGDEstimator(3), nn.Linear(2, 2)):
        ft = FlopsTracker(estimator)
        assert '<p class="total">0 FLOP</p>' in ft.to_html()
        assert "total 0 FLOPs" in ft._repr_html_()


def test_without_records():
    whole, less = trained(), trained(keep_batch_logs=False)
    assert "Training FLOPs over steps" in less.to_html()  # by epoch
    assert less.total_flops == whole.total_flops
    nothing = trained(keep_batch_logs=False, keep_epoch_logs=False).to_html()
    assert "<h2>Training</h2>" not in nothing and "576 FLOP" in nothing
    assert "FLOP/s" not in trained(log_wall_time=False).to_html().split("Modules")[0]


def test_an_epoch_that_was_broken_off_is_said():
    ft = FlopsTracker(PerSample(5))
    ft.on_epoch_start()
    ft.close()
    assert "<td>1 (broken off)</td>" in ft.to_html()


def test_many_epochs_are_cut():
    ft = FlopsTracker(PerSample(5))
    for _ in range(300):
        ft.on_epoch_start()
        ft.update_batch(1)
        ft.on_epoch_end()
    text = ft.to_html()
    assert "The last 200 of 300 epochs." in text and "<td>101</td>" in text
    assert "<td>100</td>" not in text
    assert "The last 10 of 300 epochs." in ft._repr_html_()
    assert len(text) < 300_000


def test_a_page_in_the_middle_of_training_changes_nothing(tmp_path):
    def run(with_page):
        torch.manual_seed(0)
        model = nn.Linear(3, 2)
        ft = FlopsTracker(model).torch_bind(
            model,
            torch.optim.SGD(model.parameters(), lr=0.1),
            train_loader=[(torch.ones(4, 3), torch.zeros(4, dtype=torch.long))] * 2,
        )
        each = (lambda tracker, _: tracker.to_html(tmp_path / "live.html")) if with_page else None
        ft.run(2, on_epoch_end=each)
        return ft.total_flops, [log.loss for log in ft.epoch_logs]

    assert run(True) == run(False)
    assert (tmp_path / "live.html").exists()


def test_the_peak_is_that_of_the_tracker():
    text = own_loop(peak_flops="5 TFLOP/s").to_html(bandwidth=1e12)
    assert "peak 5.00 TFLOP/s, 1e+12 bytes/s" in text
    assert "of 5.00 TFLOP/s" in text  # MFU
    assert "to_html(" not in text


@pytest.mark.parametrize(
    "options, error",
    [({"bandwidth": "fast"}, ValueError), ({"width": 1}, TypeError), ({"path": 1.5}, TypeError)],
)
def test_options_that_make_no_sense(options, error):
    with pytest.raises(error):
        own_loop().to_html(**options)


CODE = """
from flops_tracker import FlopsTracker, SklearnSGDEstimator
ft = FlopsTracker(SklearnSGDEstimator(3))
ft.on_epoch_start()
ft.update_batch(2)
ft.on_epoch_end()
text = ft.to_html()
print("pip install flops-tracker[plot]" in text, "<svg" in text, "24 FLOP" in text)
"""


def test_without_matplotlib_the_rest_is_there(tmp_path):
    code = WITHOUT.replace("{missing}", repr(("matplotlib",))) + CODE
    assert run_python(code, tmp_path).stdout == "True False True\n"
    code = WITHOUT.replace("{missing}", repr(("torch",))) + CODE  # as scikit-learn's users may be
    assert run_python(code, tmp_path).stdout == "False True True\n"


def test_plots_are_parts_of_the_page():
    text = trained(5).to_html()
    assert not re.search(r"https?:|\bsrc=|\bhref=\"[^#]|url\((?!#)|@import", text)
    ids = re.findall(r'\bid="([^"]*)"', text)
    assert len(ids) == len(set(ids))
    assert all(f"#{name}" in text for name in ids)
    assert text.count("currentColor") > 10 and "#010203" not in text


@needs_browser
def test_what_the_browser_shows_of_a_run(tmp_path):
    ft = trained(3)
    ft.to_html(tmp_path / "run.html")
    document = shown(tmp_path / "run.html", "#path=Sequential.0")
    assert document.one("total").text == "864 FLOP"  # 3 epochs of 288
    labels = [svg.attributes.get("aria-label") for svg in document.all("svg")]
    assert labels[:3] == [
        "Training FLOPs over steps",
        "Loss over training FLOPs",
        "FLOP/s by epoch",
    ]
    assert (
        document.one("about").text
        == "Sequential.0 Linear: 12 FLOPs (100.0 %, 100.0 % of Sequential)"
    )
    image = picture(tmp_path / "run.html", (1000, 800))
    colours = {colour: n for n, colour in image.getcolors(maxcolors=1 << 20)}
    assert colours[(0x4C, 0x8B, 0xD0)] > 100  # the lines of the plots
