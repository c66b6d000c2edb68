"""Every example runs, and prints the totals worked out here."""

import csv
import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"


def run_example(name: str, folder: Path, *arguments: str, ends: int = 0) -> str:
    """Run a script in a folder; returns what it printed."""
    command = [sys.executable, EXAMPLES / name, *arguments]
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert result.returncode == ends, result.stderr
    return result.stdout


def test_train_digits_cnn(tmp_path):
    # Forward per image: conv 8*8*16 outputs * 9 * 2 = 18,432; conv 4*4*32 * 16*9 * 2 = 147,456;
    # linear 128*10*2 = 2,560. Sum 168,448; times 3 for training, 1797 images, 3 epochs.
    total = (18_432 + 147_456 + 2_560) * 3 * 1797 * 3
    assert total == 2_724_309_504
    printed = run_example("train_digits_cnn.py", tmp_path)
    assert f"total {total:,} FLOPs" in printed
    assert f"will cost {total:,} FLOPs" in printed
    epochs = (tmp_path / "digits_cnn_epoch.csv").read_text().splitlines()
    assert [line.split(",")[:3] for line in epochs[1:]] == [
        [str(e), str(total // 3), str(total // 3 * e)] for e in range(1, 4)
    ]
    batches = (tmp_path / "digits_cnn_batch.csv").read_text().splitlines()
    assert len(batches) == 1 + 3 * 4  # 1797 images in batches of 512: three full, one of 261


def test_sklearn_sgd(tmp_path):
    # 4 * 1797 rows * 64 features * 10 hyperplanes = 4,600,320 an epoch, three epochs.
    printed = run_example("sklearn_sgd.py", tmp_path)
    assert "total 13,800,960 FLOPs" in printed
    assert "n_classes=10): 4,600,320 FLOPs an epoch" in printed


def test_manual_loop(tmp_path):
    # 2 * (20*64 + 64*2) = 2,816 forward, times 3, 1000 rows: 8,448,000 an epoch; three epochs.
    printed = run_example("manual_loop.py", tmp_path)
    assert "epoch 3: 4 batches, 8,448,000 FLOPs" in printed
    assert "total 25,344,000 FLOPs" in printed
    assert "largest batch: 2,162,688 FLOPs" in printed  # 2,816 * 3 * 256


def test_count_operations(tmp_path):
    # Per token 2·768·(3·768 + 768 + 4·768 + 4·768) = 14,155,776, 197 of them; scores, and their
    # products with the values, 2 · 2·197·197·768 = 119,221,248; together seed 003's 2,907,909,120.
    linear, attention = 197 * 14_155_776, 2 * 2 * 197 * 197 * 768
    assert linear + attention == 2_907_909_120
    printed = run_example("count_operations.py", tmp_path)
    assert f"contractions only: {linear + attention:,} FLOPs" in printed
    # AdamW: 14 for each of 7,087,872 parameters, and 1 for each of their 12 tensors.
    parameters = 2 * 2 * 768 + 769 * 3 * 768 + 769 * 768 + 769 * 3072 + 3073 * 768
    assert parameters == 7_087_872
    assert f"optimizer {14 * parameters + 12:,}" in printed
    assert "mac 464,781,312" in printed  # 197·768·3072


def test_profile_model(tmp_path):
    # Per image 28*28*6*25, 10*10*16*150 and 120*400 multiply-accumulates with 28*28*6, 10*10*16 and
    # 120 biases; Linear 120*84 and 84*10; pools of 28*28*6 and 10*10*16. MACs of flops-profiler:
    per_image = 117_600 + 240_000 + 48_000 + 4_704 + 1_600 + 120 + 10_920 + 4_704 + 1_600
    assert 8 * per_image == 3_433_984
    printed = run_example("profile_model.py", tmp_path, "--batch", "8", "--trace", "trace.json")
    assert "3.43 MMACs, 61.71 k parameters, a mean over 5 passes" in printed
    assert "  (classifier): Sequential(" in printed and "in_features=84" in printed
    assert "most params at depth 2: Conv2d 50,692, Linear 11,014, Tanh 0" in printed
    events = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    # Forward products of 8 images: 2*8*10_920, and a bias for each of 8*(84 + 10) outputs.
    linear = [e["args"]["flops"] for e in events if e["name"] == "aten.addmm.default"]
    assert sum(linear) == 2 * 8 * 10_920 + 8 * 94


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("quickstart", "total 380,906,496 FLOPs"),
        # Linear(5, 6) on 4 rows: 2·5·24, and 24 biases.
        ("for_students", "264 FLOPs · standard"),
        # 34·34 patches of width 192: 4·n²·d against 24·n·d².
        ("for_researchers", "attention 1,026,306,048, projections 1,022,754,816"),
        # A row: 3 · 2·(64·512 + 512·512 + 512·10), without 2·64·512; 1,797 rows, 3 epochs.
        ("for_engineers", "9,351,530,496 FLOPs"),
        # Per row 2·18,944 + 2,560; 1,797 rows, five epochs in two runs.
        ("for_reporting", "digits: 363,425,280 FLOPs of training (matmul)"),
    ],
)
def test_notebook(name, shown, tmp_path, monkeypatch):
    # Their own cells assert the numbers; here: they run to their end and show them.
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    notebook = nbformat.read(EXAMPLES / f"{name}.ipynb", as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells)  # a reader's are his own
    NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": tmp_path}}
    ).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    text = [o.get("text", "") + str(o.get("data", {}).get("text/html", "")) for o in outputs]
    assert shown in "".join(text)


def test_ddp(tmp_path):
    # A row forward: 2 * (64*128 + 128*10) = 18,944; backward both weights and what is between the
    # layers, 2 * (64*128 + 2*128*10) = 21,504; 1797 rows, three epochs. test_ranks.py has torchrun.
    printed = run_example("ddp.py", tmp_path)
    total = 1797 * (18_944 + 21_504)
    assert f"epoch 0: {total:,} FLOPs of 1 ranks, {total:,} of them here" in printed
    assert f"epoch 2: {3 * total:,} FLOPs of 1 ranks, {3 * total:,} of them here" in printed


def test_own_loop(tmp_path):
    # A row forward: 2 * (64*128 + 128*10) and 138 biases are 19,082 FLOPs; 297 rows, three epochs.
    printed = run_example("own_loop.py", tmp_path)
    assert f"validate: {3 * 297 * 19_082:,} FLOPs" in printed


def test_iso_flop(tmp_path):
    # A step of width w on 50 images: 2*50*(64w + 10w) forward, as much for the weights, and
    # 2*50*10w for the input of the second layer. The last step is the one that comes to 1.2e9.
    printed = run_example("iso_flop.py", tmp_path)
    for width, steps in ((16, 4747), (128, 594)):
        step = 2 * 100 * 74 * width + 1000 * width
        assert (steps - 1) * step < 1_200_000_000 <= steps * step
        assert f"{steps:,} steps, {steps * step:,} FLOPs" in printed
    assert (tmp_path / "iso_flop.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_compare_architectures(tmp_path):
    # Contractions at N = 1024 and width 64: four projections 8·N·64², and two products with 64 x 64
    # matrices, 4·N·64², or with scores, 4·N²·64.
    linear, softmax = 12 * 1024 * 64**2, 8 * 1024 * 64**2 + 4 * 1024**2 * 64
    printed = run_example("compare_architectures.py", tmp_path)
    assert softmax == 6 * linear
    assert f"softmax is 6.00 × linear: +{softmax - linear:,} FLOPs" in printed
    assert "FLOPs grow as N^1.00, residual 0.000" in printed
    # From 64 to 128: 2·(2 + 2)/(2 + 1) with N²·64 in units of N·64²; from 2048 to 4096 2·66/34.
    assert "locally from 1.42 to 1.96" in printed  # log2 of 8/3 and of 3.882
    assert (tmp_path / "compare_architectures.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_plan_a_model(tmp_path):
    # Width 832, 9 layers: each 12·832² weights, 13·832 of biases and norms; embedding, last norm.
    parameters = 9 * (12 * 832**2 + 13 * 832) + 8192 * 832 + 2 * 832
    # A token: the layers' weights, 2·1024·832 of scores and values in each, and the output.
    forward = 2 * 1024 * (9 * (12 * 832**2 + 2 * 1024 * 832) + 8192 * 832)
    sequences = -(-20 * parameters // 1024)
    assert 3 * forward * sequences < 10**18
    printed = run_example("plan_a_model.py", tmp_path)
    assert f"width 832, 9 layers, {parameters:,} parameters" in printed
    assert f"{1024 * sequences:,} tokens, {3 * forward * sequences:,} FLOPs" in printed
    assert f"6ND: {6 * parameters * 1024 * sequences:,}, 0.84 of it" in printed
    for how in ("a sequence as planned: ", "and as counted:        "):
        assert f"{how}forward {forward:,}, backward {2 * forward:,}" in printed


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
def test_resume(tmp_path):
    # Per row 2*(64*128 + 128*10) = 18,944 of contractions forward, as much for the gradients of
    # weights, and 2*128*10 = 2,560 for that of the activations; biases and the rest come on top.
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    whole.mkdir()
    killed.mkdir()
    at_once = run_example("resume.py", whole).splitlines()[-1]
    first = run_example("resume.py", killed, "--kill-after", "2", ends=-signal.SIGKILL)
    assert first.count("epoch ") == 2
    then = run_example("resume.py", killed)
    assert then.startswith("goes on after epoch 2")
    assert then.splitlines()[-1] == at_once
    assert at_once.endswith("in 5 epochs")
    total = int(at_once.split()[1].replace(",", ""))
    assert total > 5 * 1797 * (2 * 18_944 + 2_560)
    with open(killed / "runs.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["epochs"], row["complete"]) for row in rows] == [("2", "0"), ("3", "1")]
    assert sum(int(row["flops_train"]) for row in rows) == total


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("--kill-after", "x"), "argument --kill-after: invalid int value: 'x'"),
        (("--kill-after", "9"), "argument --kill-after: invalid choice: 9"),
        (("--kill-after",), "argument --kill-after: expected one argument"),
        (("5",), "unrecognized arguments: 5"),
    ],
)
def test_wrong_arguments_are_no_traceback(arguments, problem, tmp_path):
    command = [sys.executable, EXAMPLES / "resume.py", *arguments]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert problem in result.stderr and "Traceback" not in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_flops_counter_demo(tmp_path):
    # Derived in test_flops_counter.py; the layers alone, 4·(139,386,880 + 277,291,008) and AdamW's
    # 15 for each of 4·66,880 parameters, are 1.67 GFLOPs. A Transformer's, per token 2·(4·64² +
    # 2·64·128) of products, 2·2·N·64 of attention and 2·5·64 of norms forward, grow by more.
    printed = run_example("flops_counter_demo.py", tmp_path)
    assert "table: 48.9 GFLOP" in printed
    assert "AdamW 62,187,600 FLOPs a step, SGD 8,291,680: 7.5 times" in printed
    rows = [line.split() for line in printed.splitlines() if line.startswith("  ")]
    scaling = [row for row in rows if row[0] in ("128", "256", "512", "1024", "2048")]
    published = ["48.9", "97.8", "202.0", "410.2", "826.6"]
    linear = ["48.9", "97.8", "195.5", "390.9", "781.8"]
    assert [row[1] for row in scaling] == linear
    assert [row[2] for row in scaling] == published
    for row in scaling:
        tokens, length = 32 * int(row[0]), int(row[0])
        products = 2 * (4 * 64**2 + 2 * 64 * 128) + 4 * length * 64
        layer = tokens * (3 * products + 2 * 2 * 5 * 64) + 15 * (4 * 64**2 + 2 * 64 * 128 + 832)
        assert row[5] == f"{4 * layer / 1e9:.2f}"
    assert [row[4] for row in scaling[1:]] == ["2.00×"] * 4
    assert [row[6] for row in scaling[1:]] == ["2.66×", "3.00×", "3.33×", "3.60×"]
    assert (tmp_path / "flops_count.json").exists()
    first, last = re.search(r"loss ([\d.]+) -> ([\d.]+)", printed).groups()
    assert float(last) < float(first) / 1.5
