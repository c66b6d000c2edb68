"""The walls of the house: who may include or import what, and how long a file may be."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
CORE = sorted((ROOT / "csrc" / "core").rglob("*.[ch]"))
BINDING = sorted((ROOT / "csrc" / "binding").rglob("*.[ch]"))
PACKAGE = sorted((ROOT / "flops_tracker").rglob("*.py"))
LIBC = {"stdbool.h", "stddef.h", "stdint.h", "stdlib.h", "string.h", "math.h", "stdio.h"}
FRAMEWORKS = {"torch", "numpy", "sklearn", "tqdm", "rich"}


def includes(path: Path) -> list[str]:
    return re.findall(r'#include [<"]([^>"]+)[>"]', path.read_text())


@pytest.mark.parametrize("path", CORE, ids=lambda p: p.name)
def test_core_stands_on_libc_and_itself(path):
    names = {p.name for p in CORE}
    for include in includes(path):
        assert include in LIBC or Path(include).name in names, include


@pytest.mark.parametrize("path", CORE, ids=lambda p: p.name)
def test_core_prints_nothing_and_reads_no_clock(path):
    text = path.read_text()
    assert not re.search(r"\b(printf|fprintf|puts|clock|time|clock_gettime|fopen)\(", text)


def test_formulas_know_no_framework():
    for path in (ROOT / "csrc" / "core" / "formulas").iterdir():
        code = re.sub(r"\.source =.*?(?=\n    \.)", "", path.read_text(), flags=re.DOTALL)
        assert not re.search(r"torch|keras|sklearn|aten", code), path.name


@pytest.mark.parametrize("path", BINDING, ids=lambda p: p.name)
def test_binding_knows_no_layer_by_name(path):
    code = re.sub(r"/\*.*?\*/|PyDoc_STRVAR\(.*?\);", "", path.read_text(), flags=re.DOTALL)
    assert not re.search(r"torch\.nn\.modules\.(?!module\b)|Conv2d\"|MultiheadAttention", code)


# Imported when torch is there: by the core when the first FlopCounter is made, or by the user.
AFTER_TORCH = {
    "_control_flow.py",
    "_counting.py",
    "_dtensor.py",
    "_fx_nodes.py",
    "_operations.py",
    "_steps.py",
}


def test_frameworks_are_imported_lazily():
    for path in PACKAGE:
        if path.name in AFTER_TORCH:
            continue
        top = re.findall(r"^(?:from|import) (\w+)", path.read_text(), flags=re.MULTILINE)
        assert not FRAMEWORKS & set(top), path.name


def test_import_brings_neither_torch_nor_numpy():
    script = "import flops_tracker, sys; print([m for m in ('torch', 'numpy') if m in sys.modules])"
    run = subprocess.run(
        [sys.executable, "-P", "-c", script], capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == "[]"


@pytest.mark.parametrize("path", [*CORE, *BINDING, *PACKAGE], ids=lambda p: p.name)
def test_files_are_short_and_say_their_job(path):
    lines = path.read_text().splitlines()
    assert len(lines) <= 420
    assert lines[0].startswith(("/* ", '"""')) and len(lines[0]) > 20
