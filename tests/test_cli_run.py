"""`flops-tracker run`: what it counts and reports of scripts, which run as under plain Python."""

import csv
import json
import multiprocessing
import os
import signal
import subprocess
import sys

import pytest

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
# 2·4·5·6 FLOPs
MM = "torch.ones(4, 5).mm(torch.ones(5, 6))"


def environment(**more):
    ours = ("PYTHONSAFEPATH", "RANK", "WORLD_SIZE", "PYTHONWARNINGS", "PYTHONDEVMODE")
    return {k: v for k, v in os.environ.items() if k not in ours} | more


def python(*args, folder, **env):
    return subprocess.run(
        [sys.executable, *map(str, args)],
        cwd=folder,
        env=environment(**env),
        capture_output=True,
        text=True,
        check=False,
    )


def run(*args, folder, **env):
    return python("-m", "flops_tracker", "run", *args, folder=folder, **env)


def same_as_python(*args, folder, **env):
    """Run with and without counting: output, traceback and exit code must be the same."""
    plain, counted = python(*args, folder=folder, **env), run(*args, folder=folder, **env)
    assert counted.stdout == plain.stdout
    assert counted.stderr.startswith(plain.stderr)
    assert counted.returncode == plain.returncode
    return counted


def write(folder, name, text):
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    return path


@pytest.fixture
def folder(tmp_path):
    write(tmp_path, "train.py", TRAIN)
    write(tmp_path, "batches.py", BATCHES)
    return tmp_path


def total_of(result):
    """Give the total of the report, as "966 FLOPs · matmul · ..." has it."""
    lines = [line for line in result.stderr.splitlines() if " FLOPs" in line and " · " in line]
    assert len(lines) == 1, result.stderr
    return int(lines[0].split()[0].replace(",", ""))


# ---- what it counts and shows ----


def test_an_unchanged_training_is_reported(folder):
    result = run("--convention", "matmul", "train.py", folder=folder)
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


def test_an_exception_leaves_its_traceback_and_a_report(folder):
    result = same_as_python("train.py", "fail", folder=folder)
    assert result.returncode == 1
    assert "ValueError: mine\n\nmodule" in result.stderr


def test_output_files_hold_all_counts(folder):
    for name in ("flops.json", "flops.csv"):
        options = ("--convention", "matmul", "-q", "-o", name)
        result = run(*options, "train.py", folder=folder)
        assert result.stderr == ""
    counts = json.loads((folder / "flops.json").read_text())
    assert (counts["total"], counts["forward"], counts["backward"]) == (8160, 3360, 4800)
    with (folder / "flops.csv").open(newline="") as file:
        assert sum(int(row["flops"]) for row in csv.DictReader(file)) == 8160


def test_limits_of_the_report_say_what_is_left_out(folder):
    options = ("--convention", "matmul", "--top", "1", "--depth", "0")
    result = run(*options, "train.py", folder=folder)
    assert "Sequential.0" not in result.stderr
    assert "aten.addmm" not in result.stderr
    assert "shown: 1 of 4 modules, 1 of 2 operations with FLOPs" in result.stderr


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


def test_of_ranks_the_first_reports_and_each_writes(folder):
    for rank in ("0", "1"):
        options = ("--convention", "matmul", "-o", "flops.json")
        result = run(*options, "train.py", folder=folder, RANK=rank, WORLD_SIZE="2")
        assert (rank == "0") == ("this rank's work, one of 2" in result.stderr)
    assert result.stderr == ""
    for name in ("flops.json", "flops.rank1.json"):
        assert json.loads((folder / name).read_text())["total"] == 8160


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


# ---- it runs as under python; these scripts need no torch ----

WHERE = """
import sys
print(sys.argv, sys.path, __name__, __file__, __package__, getattr(__spec__, "name", None))
print(sorted({*globals()} - {"__annotations__", "__cached__"}))  # as the version has it
print(sys.modules["__main__"].__dict__ is globals(), type(__builtins__), __loader__.name)
"""


def test_arguments_paths_and_names_are_those_of_python(tmp_path):
    write(tmp_path, "where.py", WHERE)
    write(tmp_path, "inner/where.py", WHERE)
    (tmp_path / "link.py").symlink_to("inner/where.py")
    for path in ("where.py", tmp_path / "where.py", "inner/where.py", "link.py", "./where.py"):
        same_as_python(path, "--help", "--", "-m", "--top", "", "*", folder=tmp_path)


def test_safe_path_is_respected(tmp_path):
    write(tmp_path, "where.py", WHERE)
    same_as_python("where.py", folder=tmp_path, PYTHONSAFEPATH="1")


MODULE = """
import sys
from . import other
print(sys.argv, sys.path, __name__, __file__, __package__, __spec__.name)
print(sorted({*globals()} - {"__annotations__", "__cached__"}))
"""


def test_modules_run_as_python_runs_them(tmp_path):
    for name in ("__init__", "__main__", "other", "train"):
        text = MODULE if name in ("__main__", "train") else "import sys\nprint(sys.argv)"
        write(tmp_path, f"package/{name}.py", text)
    for name in ("package", "package.train"):
        result = same_as_python("-m", name, "-m", "--help", folder=tmp_path)
        assert result.returncode == 0
    assert same_as_python("-m", "package.missing", folder=tmp_path).returncode == 1


def test_a_folder_with_a_main_module(tmp_path):
    write(tmp_path, "program/__main__.py", WHERE)
    for env in ({}, {"PYTHONSAFEPATH": "1"}):
        same_as_python("program", "x", folder=tmp_path, **env)


@pytest.mark.parametrize(
    ("end", "code"),
    [
        ("import sys; sys.exit(7)", 7),
        ("import sys; sys.exit('a message')", 1),
        ("import sys; sys.exit()", 0),
        ("def f():\n    1 / 0\nf()", 1),
        ("raise KeyboardInterrupt", -signal.SIGINT),
        ("raise EOFError('click would catch it')", 1),
        ("import click; raise click.UsageError('theirs')", 1),
        ("import os; os._exit(5)", 5),
        ("import sys; sys.excepthook = lambda *_: print('their hook'); 1 / 0", 1),
        ("x = (", 1),
        ("def f(:", 1),
    ],
)
def test_a_script_ends_as_under_python(end, code, tmp_path):
    write(tmp_path, "end.py", f"print('begun')\n{end}\n")
    result = same_as_python("end.py", folder=tmp_path)
    assert result.returncode == code
    assert "flops_tracker" not in result.stderr


def test_a_script_in_another_encoding(tmp_path):
    for coding in ("# coding: latin-1", ""):
        text = f"{coding}\nprint(ascii('é'))"
        (tmp_path / "old.py").write_bytes(text.encode("latin-1"))
        result = run("old.py", folder=tmp_path)
        if coding:
            assert result.stdout == "'\\xe9'\n"
    assert result.returncode == 1
    assert "SyntaxError: (unicode error) 'utf-8' codec can't decode byte 0xe9" in result.stderr


def test_ctrl_c_is_reported(tmp_path):
    write(tmp_path, "wait.py", f"import torch, time\n{MM}\nprint(flush=True)\ntime.sleep(600)")
    process = subprocess.Popen(
        [sys.executable, "-m", "flops_tracker", "run", "wait.py"],
        cwd=tmp_path,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    process.stdout.readline()
    process.send_signal(signal.SIGINT)
    output, error = process.communicate()
    assert process.returncode == -signal.SIGINT
    assert total_of(subprocess.CompletedProcess(process.args, 0, output, error)) == 240
    assert "KeyboardInterrupt\n" in error


def test_a_script_without_torch_is_said_to_be_uncounted(tmp_path):
    write(tmp_path, "plain.py", "print(1)")
    result = run("-o", "flops.json", "plain.py", folder=tmp_path)
    assert result.stdout == "1\n"
    assert result.stderr == (
        "flops-tracker: plain.py: nothing was counted: it did not import torch\n"
    )
    assert not (tmp_path / "flops.json").exists()


def test_a_module_of_that_name_that_is_not_torch(tmp_path):
    write(tmp_path, "torch.py", "")
    write(tmp_path, "plain.py", "import torch\nprint(torch.__file__)")
    result = same_as_python("plain.py", folder=tmp_path)
    assert "plain.py: nothing was counted: " in result.stderr


def test_a_script_that_closes_stderr(tmp_path):
    write(tmp_path, "closed.py", "import sys\nsys.stderr.close()\nsys.stderr = None")
    assert run("closed.py", folder=tmp_path).returncode == 0


# ---- usage ----


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["missing.py"], "there is no file 'missing.py' in '"),
        (["plain"], "there is no file 'plain'; did you mean 'plain.py'?"),
        (["package.module"], "there is no file 'package.module'; for a module write -m"),
        (["python", "plain.py"], "leave Python out, as in `flops-tracker run train.py`"),
        (["-m", "plain.py"], "-m takes the name of a module; for the file 'plain.py'"),
        (["-m", "no_such_module"], "there is no module 'no_such_module' on the path"),
        (["-m", ".plain"], "there is no module '.plain' on the path"),
        (["."], "'.' is a folder, and has no __main__.py"),
        (["data.bin"], "'data.bin' is no Python source"),
        (["book.ipynb"], "'book.ipynb' is a notebook: count in it"),
        (["--lr", "3", "plain.py"], "Options of the script go after it"),
        (["--convention", "mac", "plain.py"], "'mac' is not one of 'standard', 'exact'"),
        (["--top", "-1", "plain.py"], "-1 is not in the range x>=0"),
        (["-o", "flops.txt", "plain.py"], "must end in .json, .csv or .html, unlike 'flops.txt'"),
        (["-o", "no/flops.json", "plain.py"], "there is no folder 'no' for 'flops.json'"),
        (["-q", "plain.py"], "--quiet shows nothing: say where to write with --output"),
        ([], "Missing argument 'SCRIPT'"),
    ],
)
def test_wrong_use_is_explained_and_runs_nothing(args, message, tmp_path):
    write(tmp_path, "plain.py", "print('ran')")
    write(tmp_path, "book.ipynb", "{}")
    (tmp_path / "data.bin").write_bytes(b"\x7fELF\0\0")
    result = run(*args, folder=tmp_path)
    assert (result.returncode, result.stdout) == (2, "")
    assert message in " ".join(result.stderr.split())


def test_a_script_in_place_of_a_command(tmp_path):
    result = python("-m", "flops_tracker", "train.py", folder=tmp_path)
    assert result.returncode == 2
    assert "did you mean `flops-tracker run train.py`?" in result.stderr
    assert (
        "did you mean `flops-tracker run`?"
        in python("-m", "flops_tracker", "rnu", folder=tmp_path).stderr
    )


def test_help_and_usage_import_no_framework(tmp_path):
    code = (
        "import sys\n"
        "from flops_tracker.cli import main\n"
        "try:\n    main(['run', '--help'])\n"
        "finally:\n    print(sorted({'torch', 'numpy', 'rich'} & set(sys.modules)))"
    )
    result = python("-P", "-c", code, folder=tmp_path)
    assert result.stdout.endswith("[]\n")
    assert "two to three times" in " ".join(result.stdout.split())
