"""The page of a count, in a browser: what it shows, zoom and search, and that names can't run."""

import re
from pathlib import Path

import pytest
import torch
from browser import needs_browser, picture, shown
from torch import nn

from flops_tracker import FlopCounter, count, profile
from flops_tracker._html import icicle

ASSETS = Path(icicle.__file__).parent


class Scaled(nn.Module):
    """A module with work of its own beside that of the layer inside."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(4, 3)

    def forward(self, x):
        return self.inner(x) * 2.0


@pytest.fixture(scope="module")
def counts():
    # On 8 rows under `standard`: Linear(5, 4) is 8·4 results of 5 products and a bias, so
    # 2·160 + 32 = 352; Linear(4, 3) 2·96 + 24 = 216; their product with 2.0 is 24, and so is the
    # sum outside. ReLU compares, which is 0.
    model = nn.Sequential(nn.Linear(5, 4), nn.ReLU(), Scaled())
    with FlopCounter(model) as c:
        model(torch.ones(8, 5)).add_(1.0)
    return c.counts


TOTAL = 352 + 216 + 24 + 24


@pytest.fixture(scope="module")
def page(counts, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "counts.html"
    assert counts.to_html(path) == path.read_text()
    return path


def share(part, whole=TOTAL):
    return pytest.approx(100 * part / whole, abs=1e-3)


def cells(document):
    """Of each cell that is seen: its name, and place and width in per cent."""
    found = {}
    for cell in document.one("icicle").all("c"):
        if cell.attributes.get("display") != "none":
            numbers = [float(cell.attributes[name].rstrip("%")) for name in ("x", "width")]
            found[cell.text] = tuple(numbers)
    return found


# ---- the icicle ----


def test_cells_are_as_wide_as_the_modules_with_what_is_inside(counts):
    listed = {node.name: node for node in icicle.nodes(counts)}
    assert [(n.depth, n.name) for n in listed.values()] == [
        (0, "all"), (1, "Sequential"), (2, "0"), (2, "1"), (2, "2"), (3, "inner"),
        (1, "(outside of modules)"),
    ]  # fmt: skip
    assert listed["Sequential"].width == share(TOTAL - 24)
    assert listed["0"].width == share(352)
    assert (listed["2"].left, listed["2"].width) == (share(352), share(240))
    # What Scaled computes itself is the gap to the right of its layer.
    assert (listed["inner"].left, listed["inner"].width) == (share(352), share(216))
    assert (listed["2"].own, listed["2"].inclusive) == (24, 240)
    assert listed["(outside of modules)"].left == share(TOTAL - 24)


def test_children_never_leave_their_parent():
    torch.manual_seed(0)
    model = nn.TransformerEncoder(nn.TransformerEncoderLayer(16, 2, 32, batch_first=True), 3)
    found = icicle.nodes(count(model, torch.ones(2, 5, 16), backward=True))
    assert len(found) > 20
    for node in found:
        inside = [found[child] for child in node.children]
        assert sum(child.width for child in inside) <= node.width + 1e-9
        for child in inside:
            assert child.left >= node.left - 1e-9 and child.depth == node.depth + 1


def test_a_module_that_is_held_twice_is_there_once():
    layer = nn.Linear(4, 4)
    model = nn.Sequential(layer, layer)
    listed = icicle.nodes(count(model, torch.ones(2, 4)))
    assert [(n.name, n.aliases) for n in listed] == [
        ("all", ()), ("Sequential", ()), ("0", ("1",)),
    ]  # fmt: skip
    assert listed[-1].width == 100.0
    assert "<i>Linear = 1</i>" in icicle.tree(listed)


# ---- in the browser ----


@needs_browser
def test_what_the_page_shows(page):
    document = shown(page)
    assert document.all("title")[0].text == f"Sequential · {TOTAL} FLOP"
    assert document.one("h1").text == "Sequential"
    assert document.one("total").text == f"{TOTAL} FLOP"
    assert cells(document) == {
        "all": (0.0, 100.0),
        "Sequential": (0.0, share(TOTAL - 24)),
        "0": (0.0, share(352)),
        "2": (share(352), share(240)),
        "inner": (share(352), share(216)),
        "(outside of modules)": (share(TOTAL - 24), share(24)),
    }
    rows = [[cell.text for cell in row.children] for row in document.one("tree").all("m")]
    assert ["2", "Scaled", "1", "24", "240", "39.0 %"] in rows
    assert ["1", "ReLU", "1", "0", "0", "0.0 %"] in rows
    assert "hidden" not in document.one("controls").attributes
    assert document.one("about").text == f"all: {TOTAL} FLOPs (100.0 %)"
    assert [title.text for title in document.all("h2")] == ["Modules", "Operations", "Roofline"]


@needs_browser
def test_zoom(page):
    document = shown(page, "#path=Sequential.2")
    assert cells(document) == {
        "all": (0.0, 100.0),
        "Sequential": (0.0, 100.0),
        "2": (0.0, 100.0),
        "inner": (0.0, share(216, 240)),  # the gap of 10 % is its own part
    }
    assert [button.text for button in document.one("where").all("button")] == [
        "all", "Sequential", "2",
    ]  # fmt: skip
    assert document.one("about").text == (
        "Sequential.2 Scaled: 240 FLOPs (39.0 %, 40.5 % of Sequential), 24 of its own"
    )


@needs_browser
def test_search(page):
    document = shown(page, "#search=linear")  # by class, in any case
    hits = [cell.text for cell in document.one("icicle").all("hit")]
    assert hits == ["0", "inner"]
    assert document.one("hits").text == f"2 modules, {100 * 568 / TOTAL:.1f} % of the FLOPs"
    assert "searched" in document.one("icicle").classes
    one = shown(page, "#search=2")
    assert one.one("hits").text == f"1 module, {100 * 240 / TOTAL:.1f} % of the FLOPs"
    # Sequential, what is in it, and (outside of modules): what is inside is not added again.
    nested = shown(page, "#search=e")
    assert nested.one("hits").text == "6 modules, 100.0 % of the FLOPs"
    assert shown(page, "#search=conv").one("hits").text == "0 modules, 0.0 % of the FLOPs"
    both = shown(page, "#path=Sequential.2&search=inner")
    assert cells(both)["inner"] == (0.0, share(216, 240))
    assert both.one("hits").text == f"1 module, {100 * 216 / TOTAL:.1f} % of the FLOPs"


@needs_browser
def test_unknown_fragments_change_nothing(page):
    assert cells(shown(page, "#path=No.such&what=%00")) == cells(shown(page))


KEYS = """
const press = (key, at) => at.dispatchEvent(new KeyboardEvent("keydown", {key, bubbles: true}));
const cell = () => document.querySelector(".icicle [tabindex]");
for (const key of KEYS) press(key, cell());
"""


@needs_browser
@pytest.mark.parametrize(
    "keys, path",
    [
        (["ArrowDown"], ""),
        (["ArrowDown", "Enter"], "Sequential"),
        (["ArrowDown", "ArrowDown", "ArrowRight", "Enter"], "Sequential.2"),
        (["ArrowDown", "ArrowDown", "ArrowRight", "ArrowLeft", "Enter"], "Sequential.0"),
        (["ArrowDown", "ArrowDown", "ArrowRight", "Enter", "Escape"], "Sequential"),
        (["ArrowDown", "Enter", "Escape", "Escape"], ""),
        (["ArrowDown", "ArrowDown", "Enter", "ArrowUp"], "Sequential"),  # beyond what is shown
    ],
)
def test_keys(page, keys, path):
    document = shown(page, then=KEYS.replace("KEYS", str(keys)))
    expected = ["all", *(path.split(".") if path else [])]
    assert [button.text for button in document.one("where").all("button")] == expected


@needs_browser
def test_one_cell_takes_the_tabulator_and_has_a_name(page):
    cells_in_turn = [
        cell for cell in shown(page).one("icicle").all("c") if "tabindex" in cell.attributes
    ]
    assert [cell.attributes["aria-label"] for cell in cells_in_turn] == [
        f"all: {TOTAL} FLOPs (100.0 %)"
    ]


@needs_browser
def test_the_picture_is_not_blank(page):
    light = picture(page, (1000, 700))
    colours = {colour: n for n, colour in light.getcolors(maxcolors=1 << 20)}
    assert light.size == (1000, 700) and len(colours) > 50
    assert colours[(0x9E, 0xCA, 0xE9)] > 5_000  # the cell of the largest class of layers
    dark = picture(page, (1000, 700), "--blink-settings=preferredColorScheme=0")
    assert light.getpixel((2, 2)) == (255, 255, 255)
    assert max(dark.getpixel((2, 2))) < 64


def hostile():
    run = "document['title']='taken'"

    class Named(nn.Linear):
        pass

    Named.__name__ = f"<script>{run}</script>"
    model = nn.Sequential()
    model.add_module(f'"><img src=x onerror="{run}">', Named(4, 3))
    model.add_module(f"</title></style></script><script>{run}</script>", nn.ReLU())
    return model


@needs_browser
def test_names_do_not_run(tmp_path):
    model = hostile()
    type(model).__name__ = "Sequential"
    counts = count(model, torch.ones(8, 4))
    counts.to_html(tmp_path / "names.html")
    document = shown(tmp_path / "names.html")
    assert document.all("title")[0].text.startswith("Sequential · ")
    assert [script.tag for script in document.all("script")] == ["script"]  # that of the page
    assert not document.all("img")
    assert any("onerror" in name for name in cells(document))
    (tmp_path / "cell.html").write_text(counts._repr_html_())
    assert not shown(tmp_path / "cell.html").all("script")


@needs_browser
def test_a_class_as_the_title_does_not_run(tmp_path):
    run = "</title><script>document['body']['id']='taken'</script>"
    model = type(run, (nn.Linear,), {})(4, 3)
    count(model, torch.ones(8, 4)).to_html(tmp_path / "title.html")
    document = shown(tmp_path / "title.html")
    assert document.all("title")[0].text.startswith(run)
    assert "id" not in document.one("body").attributes


# ---- without one ----


def test_the_page_fetches_nothing(page):
    text = page.read_text()
    assert not re.search(r"https?:|\bsrc=|\bhref=|url\(|@import|fetch\(|<link|XMLHttp", text)


def test_the_script_is_short():
    assert len((ASSETS / "page.js").read_text().splitlines()) < 150


def test_vit_training_is_a_small_page(tmp_path):
    from transformers import ViTConfig, ViTForImageClassification

    model = ViTForImageClassification(ViTConfig(num_labels=1000))
    counts = count(
        model,
        torch.ones(1, 3, 224, 224),
        labels=torch.tensor([3]),
        backward=True,
        loss_fn=lambda output: output.loss,
        optimizer=torch.optim.AdamW(model.parameters()),
    )
    assert counts.params == 86_567_656
    size = len(counts.to_html(tmp_path / "vit.html").encode())
    assert size < 200_000  # "under 1 MB"
    tree = icicle.tree(icicle.nodes(counts))
    # Per token and layer 4 products of 768·768 and 2 of 768·3072; forward and twice backward.
    layers = [line for line in tree.split("<b>") if "ViTLayer" in line]
    assert len(layers) == 12
    least = 3 * 2 * 197 * (4 * 768 * 768 + 2 * 768 * 3072)
    inclusive = [
        int(re.findall(r"<span>([\d,]+)</span>", row)[-1].replace(",", "")) for row in layers
    ]
    assert min(inclusive) > least and max(inclusive) < 1.1 * least
    assert f"{counts.optimizer:,}" in tree  # AdamW is outside of modules


def test_many_modules_and_deep_ones_stay_small():
    wide = nn.Sequential(*(nn.Sequential(nn.Linear(2, 2), nn.ReLU()) for _ in range(700)))
    text = count(wide, torch.ones(1, 2)).to_html()
    assert text.count('class="m') == 1 + 1 + 3 * 700
    assert len(text) < 500_000
    deep = nn.Linear(2, 2)
    for _ in range(100):
        deep = nn.Sequential(deep)
    text = count(deep, torch.ones(1, 2)).to_html()
    assert text.count("<details style") == 101  # all, and 100 that hold something
    assert text.count("</details>") == text.count("<details")


def test_deeper_than_python_recurses():
    """The rows of a model that torch could not run: the layout itself must not recurse."""

    class Counts:
        total, outside = 2, 0
        _modules = (("", "", 0, 0, ()), *(("m" * n, "M", n - 1, 1, ()) for n in range(1, 3000)))

        @staticmethod
        def _module_sums():
            return [(0, 2)] + [(0, 2)] * 2998 + [(2, 2)]

    listed = icicle.nodes(Counts)
    assert listed[-1].depth == 2999
    assert icicle.tree(listed).count("<details") == 2999
    assert icicle.icicle(listed).count("<svg") == 1 + 3000


@pytest.mark.parametrize("model", [nn.Sequential(nn.ReLU()), None])
def test_nothing_counted_is_said(model):
    with FlopCounter(model) as counter:
        if model is not None:
            model(torch.ones(2))
    for text in (counter.to_html(), counter._repr_html_()):
        assert "nan" not in text.lower().replace("<nan", "")
    assert "No FLOPs were counted" in counter.to_html()
    assert "Roofline" not in counter.to_html()


def test_what_was_not_counted_is_on_the_page():
    library = torch.library.Library("flops_tracker_page", "FRAGMENT")
    library.define("op(Tensor x) -> Tensor")
    library.impl("op", lambda x: x.clone(), "CPU")
    with FlopCounter(nn.Linear(2, 2)) as counter:
        torch.ops.flops_tracker_page.op(torch.ones(2))
    library._destroy()
    text = counter.to_html()
    assert '<p class="warn">not counted: flops_tracker_page.op.default on (2,)</p>' in text
    assert "<summary>1 module never ran</summary><p>Linear</p>" in text


# ---- roofline ----


def one_product():
    # (8, 4) @ (4, 4): 2·8·4·4 = 256 FLOPs; 32 + 16 + 32 floats of 4 bytes read and written: 320.
    with FlopCounter() as counter:
        torch.ones(8, 4).mm(torch.ones(4, 4))
    return counter.counts


def test_roofline_without_a_device():
    text = one_product().to_html()
    assert "<td>aten.mm.default</td>" in text
    assert '<td class="n">256</td><td class="n">320</td><td class="n">0.8</td>' in text
    assert "to_html(peak_flops=..., bandwidth=...) draws the roof" in text


def test_roofline_of_a_device():
    counts = one_product()
    only_peak = counts.to_html(peak_flops="8 TFLOP/s")  # 8e12 / 0.8 bytes each second
    assert "10 TB/s" in only_peak and "to_html(bandwidth=...) draws its slope" in only_peak
    slow = counts.to_html(peak_flops={"fp32": 8e12, "bf16": 1e15}, bandwidth="9.9 TB/s")
    assert ">memory</td>" in slow and "peak 8.00 TFLOP/s" in slow
    assert ">arithmetic</td>" in counts.to_html(peak_flops=8e12, bandwidth=1.1e13)


def test_a_profile_has_its_times_and_peak():
    model = nn.Linear(16, 16)
    text = profile(model, torch.ones(4, 16), steps=1, warm_up=0, peak_flops=1e15).to_html()
    assert "<h2>Measured</h2>" in text and " ms</td>" in text
    assert "reached" in text and "of the peak" in text and "peak 1.00 PFLOP/s" in text
    assert "a step ·" in text


@pytest.mark.parametrize(
    "options, error, words",
    [
        ({"peak_flops": "fast"}, ValueError, "peak_flops"),
        ({"peak_flops": {"int3": 1}}, ValueError, "none of the dtypes"),
        ({"bandwidth": "2 TB"}, ValueError, "bandwidth must be bytes/s above 0"),
        ({"bandwidth": 0}, ValueError, "bytes/s"),
        ({"bandwidth": float("nan")}, ValueError, "bytes/s"),
        ({"bandwidth": True}, ValueError, "bytes/s"),
    ],
)
def test_devices_that_make_no_sense(options, error, words, tmp_path):
    with pytest.raises(error, match=words):
        one_product().to_html(tmp_path / "no.html", **options)
    assert not (tmp_path / "no.html").exists()
