"""`flops-tracker run`: what it counts of a script, and reports."""

import csv
import json
import multiprocessing

import pytest
from script_runs import MM, run, same_as_python, total_of, write

# Linear(4, 8), Linear(8, 3) on 5 rows, 3 batches, 2 epochs; under `matmul` a step is
# forward 2·5·(4·8 + 8·3) = 560; backward as much for the weights, and 2·5·8·3 = 240 for the
# input of the second layer: 800. In all 6 · 1,360 = 8,160.
TRAIN = """
import sys
assert "torch" not in sys.modules  # imported when the script imports it
import torch
from torch import nn
from batches import batches
model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for epoch in range(2):
    for x, y in batches():
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
print("trained")
if "fail" in sys.argv:
    raise ValueError("mine")
"""
BATCHES = """
import torch

def batches():
    return [(torch.ones(5, 4), torch.zeros(5, dtype=torch.int64)) for _ in range(3)]
"""


@pytest.fixture
def folder(tmp_path):
    write(tmp_path, "train.py", TRAIN)
    write(tmp_path, "batches.py", BATCHES)
    return tmp_path


# ---- what it counts and shows ----


def test_an_unchanged_training_is_reported(folder):
    options = ("--convention", "matmul", "-o", "flops.json")
    result = run(*options, "train.py", folder=folder)
    assert (result.returncode, result.stdout) == (0, "trained\n")
    lines = [line.split() for line in result.stderr.splitlines()]
    # Linear(4, 8): 2·5·32 = 320 forward and for its weights, in 6 steps 3,840 of 8,160;
    # Linear(8, 3): 240 for each of three, in 6 steps 4,320.
    assert ["Sequential.0", "Linear", "6", "3,840", "3,840", "47.1", "%"] in lines
    assert ["Sequential.2", "Linear", "6", "4,320", "4,320", "52.9", "%"] in lines
    # Two forward products a step, and three backward.
    assert ["aten.addmm.default", "matmul", "12", "3,360", "41.2", "%"] in lines
    assert ["aten.mm.default", "matmul", "18", "4,800", "58.8", "%"] in lines
    assert total_of(result) == 8160
    assert "forward 3,360 · backward 4,800\n" in result.stderr
    assert "100.0 % counted, 0 unknown" in result.stderr
    assert result.stderr.splitlines()[-1].startswith("train.py · ")
    counts = json.loads((folder / "flops.json").read_text())
    assert (counts["total"], counts["forward"], counts["backward"]) == (8160, 3360, 4800)


def test_an_exception_leaves_its_traceback_and_a_report(folder):
    result = same_as_python("train.py", "fail", folder=folder)
    assert result.returncode == 1
    assert "ValueError: mine\n\nmodule" in result.stderr


def test_limits_of_the_report_say_what_is_left_out(folder):
    options = ("--convention", "matmul", "--top", "1", "--depth", "0")
    result = run(*options, "train.py", folder=folder, RANK="0", WORLD_SIZE="2")
    assert "Sequential.0" not in result.stderr
    assert "aten.addmm" not in result.stderr
    assert "shown: 1 of 4 modules, 1 of 2 operations with FLOPs" in result.stderr
    assert result.stderr.endswith(" s · this rank's work, one of 2\n")


def test_what_runs_after_the_script_is_counted_and_what_others_run_is_not(tmp_path):
    """Once in the script, in its own counter, in a thread, and at exit: 4 · 240."""
    write(
        tmp_path,
        "late.py",
        f"""
import atexit, multiprocessing, os, pickle, sys, threading, time
import torch
from torch.utils.data import DataLoader
from flops_tracker import FlopCounter

class Data(torch.utils.data.Dataset):
    def __len__(self):
        return 4
    def __getitem__(self, i):
        return {MM}

class Mine:
    pass

def late():
    threading.main_thread().join()
    {MM}
    assert type(pickle.loads(pickle.dumps(Mine()))) is Mine

def work(queue):
    {MM}
    queue.put((torch._C._len_torch_dispatch_stack(), "flops_tracker._counting" in sys.modules))

if __name__ == "__main__":
    context = multiprocessing.get_context(sys.argv[1])
    loader = DataLoader(Data(), num_workers=2, multiprocessing_context=context)
    assert len(list(loader)) == 4
    queue = context.Queue()
    process = context.Process(target=work, args=(queue,))
    process.start()
    modes, _ = queue.get()
    process.join()
    assert modes == 0
    {MM}
    with FlopCounter() as c:
        {MM}
    assert c.total == 240
    threading.Thread(target=late).start()
    atexit.register(lambda: {MM})
    if sys.argv[1] == "fork" and os.fork() == 0:
        {MM}
        sys.exit(3)
""",
    )
    for method in ("fork", "spawn"):
        if method in multiprocessing.get_all_start_methods():
            result = run("--convention", "matmul", "late.py", method, folder=tmp_path)
            assert result.returncode == 0, result.stderr
            assert total_of(result) == 960


def test_compiled_functions_are_counted_as_they_are_written(tmp_path):
    write(
        tmp_path,
        "compiled.py",
        f"import torch\n@torch.compile\ndef f():\n    return {MM}\nfor _ in range(3):\n    f()\n",
    )
    result = run("compiled.py", folder=tmp_path)
    assert total_of(result) == 3 * 240


def test_strict_raises_in_the_script(tmp_path):
    write(
        tmp_path,
        "strict.py",
        f"""
import torch
@torch.library.custom_op("cli_run_test::unknown", mutates_args=())
def unknown(x: torch.Tensor) -> torch.Tensor:
    return x.clone()
{MM}
unknown(torch.ones(2))
""",
    )
    result = run("strict.py", folder=tmp_path)
    assert "1 unknown" in result.stderr
    assert "not counted: cli_run_test.unknown" in result.stderr
    strict = run("--strict", "strict.py", folder=tmp_path)
    assert strict.returncode == 1
    assert "UnknownOperationError: " in strict.stderr
    assert total_of(strict) == 240


def test_other_ranks_write_files_of_their_own_and_report_nothing(folder):
    options = ("--convention", "matmul", "-o", "flops.csv")
    result = run(*options, "train.py", folder=folder, RANK="1", WORLD_SIZE="2")
    assert (result.stdout, result.stderr) == ("trained\n", "")
    with (folder / "flops.rank1.csv").open(newline="") as file:
        assert sum(int(row["flops"]) for row in csv.DictReader(file)) == 8160


def test_torch_imported_in_another_thread(tmp_path):
    write(
        tmp_path,
        "thread.py",
        f"""
import threading
def work():
    import torch
    {MM}
thread = threading.Thread(target=work)
thread.start()
thread.join()
""",
    )
    result = run("thread.py", folder=tmp_path)
    assert total_of(result) == 240
    assert "torch was imported in another thread than the main one" in result.stderr


def test_torch_that_computes_nothing(tmp_path):
    write(tmp_path, "idle.py", "import torch")
    result = run("idle.py", folder=tmp_path)
    assert total_of(result) == 0
    assert "torch computed nothing in this process" in result.stderr


def test_modules_beside_the_script_do_not_disturb_the_report(tmp_path):
    write(tmp_path, "rich.py", "raise ImportError('another rich')")
    write(tmp_path, "mine.py", f"import torch\n{MM}")
    assert total_of(run("mine.py", folder=tmp_path)) == 240
    write(tmp_path, "rich.py", "")
    write(tmp_path, "mine.py", f"import rich, torch\n{MM}")
    result = run("mine.py", folder=tmp_path)
    assert total_of(result) == 240
    assert "no tables: " in result.stderr
