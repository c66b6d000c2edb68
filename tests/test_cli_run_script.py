"""`flops-tracker run`: a script runs as under plain Python; wrong use is explained."""

import os
import signal
import subprocess
import sys
import zipfile

import pytest
from script_runs import MM, environment, python, run, same_as_python, total_of, write

# ---- it runs as under python; these scripts need no torch ----

WHERE = """
import sys
print(sys.argv, sys.path, __name__, __file__, __package__, getattr(__spec__, "name", None))
print(sorted({*globals()} - {"__annotations__", "__cached__"}))  # as the version has it
print(sys.modules["__main__"].__dict__ is globals(), type(__builtins__), type(__loader__))
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


def test_folders_and_archives_with_a_main_module(tmp_path):
    main = write(tmp_path, "program/__main__.py", WHERE)
    with zipfile.ZipFile(tmp_path / "archive", "w") as archive:
        archive.write(main, "__main__.py")
    for path in ("program", "archive"):
        for env in ({}, {"PYTHONSAFEPATH": "1"}):
            assert same_as_python(path, "x", folder=tmp_path, **env).returncode == 0


@pytest.mark.skipif(not os.path.exists("/dev/stdin"), reason="no /dev/stdin here")
def test_a_script_from_a_pipe(tmp_path):
    command = [sys.executable, "-m", "flops_tracker", "run", "/dev/stdin", "x"]
    text = "import sys\nprint(sys.argv, __file__)"
    result = subprocess.run(
        command,
        input=text,
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
        env=environment(),
    )
    assert result.stdout == "['/dev/stdin', 'x'] /dev/stdin\n"


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
    # Where the tests run in the background of a shell, it is ignored, which is inherited.
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen(
        [sys.executable, "-m", "flops_tracker", "run", "wait.py"],
        cwd=tmp_path,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    signal.signal(signal.SIGINT, handler)
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
        (
            ["-o", "flops.txt", "plain.py"],
            "must end in .json, .csv, .html or .md, unlike 'flops.txt'",
        ),
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
