"""What a person sees in a terminal of some width, and what a pipe gets."""

import os
import re
import subprocess
import sys

import pytest

pytest.importorskip("pty")
import fcntl
import pty
import struct
import termios

SCRIPT = """
import torch
from torch import nn

class AModelWithAVeryLongName(nn.Module):
    def __init__(self):
        super().__init__()
        self.a_layer_with_a_long_name_as_well = nn.Sequential(nn.Linear(512, 512), nn.ReLU())

    def forward(self, x):
        return self.a_layer_with_a_long_name_as_well(x)

AModelWithAVeryLongName()(torch.ones(1000, 512)).sum().backward()
"""
PATH = "AModelWithAVeryLongName.a_layer_with_a_long_name_as_well.0"
# 1000·512 results of 512 products and a bias, 524,800,000; the gradients of weights and biases
# 2·512·512·1000 and 999·512; the sum of 512,000 results is 511,999 outside of the module.
OWN = 2 * 1000 * 512 * 512 + 1000 * 512 + 2 * 1000 * 512 * 512 + 999 * 512
STYLE = re.compile(r"\x1b\[[\d;]*m")


def in_terminal(command, folder, columns, **environment):
    """Run a command in a terminal of that width; gives all that it wrote there."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    plain = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "COLUMNS", "FORCE_COLOR")}
    process = subprocess.Popen(
        command,
        cwd=folder,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**plain, "TERM": "xterm-256color", **environment},
        close_fds=True,
    )
    os.close(theirs)
    written = b""
    while True:
        try:
            part = os.read(ours, 1 << 16)
        except OSError:  # Linux: the other end is closed
            break
        if not part:
            break
        written += part
    os.close(ours)
    assert process.wait() == 0, written.decode()
    return written.decode().replace("\r\n", "\n")


@pytest.fixture
def command(tmp_path):
    (tmp_path / "train.py").write_text(SCRIPT)
    return [sys.executable, "-P", "-m", "flops_tracker", "run", "train.py"]


def test_in_a_wide_terminal_the_report_has_styles(command, tmp_path):
    text = in_terminal(command, tmp_path, 200)
    assert "\x1b[1m" in text  # titles and the total
    plain = STYLE.sub("", text)
    assert "\x1b" not in plain
    [row] = [line.split() for line in plain.splitlines() if line.startswith(f"{PATH} ")]
    assert row[:4] == [PATH, "Linear", "1", f"{OWN:,}"]
    assert max(map(len, plain.splitlines())) <= 200


@pytest.mark.parametrize("columns", [80, 60, 40])
def test_in_a_narrow_one_tables_fold(command, tmp_path, columns):
    plain = STYLE.sub("", in_terminal(command, tmp_path, columns))
    lines = plain.splitlines()
    assert max(map(len, lines)) <= columns
    first = next(n for n, line in enumerate(lines) if line.startswith("AModel"))
    # Nothing is cut: a column, read downwards, is the whole path again.
    width = len(re.match(r"\S+", lines[first]).group())
    column = "".join(line[:width].strip() for line in lines[first:])
    assert PATH in column
    if columns == 80:  # as long as names can fold, numbers are whole
        assert f" {OWN:,} " in plain


def test_no_color_takes_all_styles_away(command, tmp_path):
    styled = in_terminal(command, tmp_path, 100)
    plain = in_terminal(command, tmp_path, 100, NO_COLOR="1")
    assert "\x1b" not in plain and "\x1b" in styled
    seconds = re.compile(r"· [\d.]+ s")
    lines = [
        [line.rstrip() for line in text.splitlines()] for text in (STYLE.sub("", styled), plain)
    ]
    assert [seconds.sub("", line) for line in lines[0]] == [seconds.sub("", x) for x in lines[1]]
    assert "\x1b" not in in_terminal(command, tmp_path, 100, TERM="dumb")


def test_a_pipe_gets_whole_plain_lines(command, tmp_path):
    done = subprocess.run(
        command,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "COLUMNS": "40", "TERM": "xterm-256color"},
    )
    assert "\x1b" not in done.stderr and done.stdout == ""
    assert any(
        line.split()[:4] == [PATH, "Linear", "1", f"{OWN:,}"] for line in done.stderr.splitlines()
    )


PRINTED = """
from flops_tracker import FlopCounter
with FlopCounter() as c:
    exec(open("train.py").read())
print(c.table())
print(c.tree())
print(c)
"""


def test_results_that_are_printed_are_text(tmp_path):
    (tmp_path / "train.py").write_text(SCRIPT)
    (tmp_path / "printed.py").write_text(PRINTED)
    command = [sys.executable, "-P", "printed.py"]
    narrow = in_terminal(command, tmp_path, 80)
    assert "\x1b" not in narrow  # strings, which may go anywhere
    tables = narrow.split("operations, ")[0]
    assert max(map(len, tables.splitlines()[:-1])) <= 80
    piped = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert PATH in piped
    assert piped.count("\n") < narrow.count("\n")


TRAINED = """
import sys, torch
from torch import nn
from flops_tracker import FlopsTracker, TorchAutoEstimator
model = nn.Linear(3, 2)
ft = FlopsTracker(TorchAutoEstimator(model, (1, 3))).torch_bind(
    model, torch.optim.SGD(model.parameters(), lr=0.1),
    train_loader=[(torch.ones(4, 3), torch.zeros(4, dtype=torch.long))] * 50,
)
for _ in ft(range(2), print_level=sys.argv[1]):
    pass
"""


@pytest.mark.parametrize("level, lines", [("none", 0), ("epoch", 3), ("batch", 101), ("both", 103)])
def test_a_run_says_as_much_as_it_is_asked_to(tmp_path, level, lines):
    (tmp_path / "trained.py").write_text(TRAINED)
    text = in_terminal([sys.executable, "-P", "trained.py", level], tmp_path, 80)
    assert text.count("\n") == lines and "\x1b" not in text
