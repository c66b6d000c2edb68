"""What the documents say is so: README's example and output, versions, formula tables."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import flops_tracker

ROOT = Path(__file__).resolve().parent.parent


def block_after(mark: str) -> str:
    """Give the code block that follows a mark in README."""
    text = (ROOT / "README.md").read_text()
    found = re.search(rf"<!-- {mark} -->\n```\w*\n(.*?)```", text, re.DOTALL)
    assert found, mark
    return found.group(1)


def without_measurements(text: str) -> str:
    """Losses and seconds differ from run to run; everything else must not."""
    return re.sub(r"loss [\d.]+ · [\d.]+ s", "loss # · # s", text)


def test_readme_example_prints_what_readme_says(tmp_path):
    script = tmp_path / "readme.py"
    script.write_text(block_after("example"))
    run = subprocess.run(
        [sys.executable, script], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert without_measurements(run.stdout) == without_measurements(block_after("output"))
    assert (tmp_path / "run_epoch.csv").exists()


def test_version_is_the_one_of_pyproject():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert flops_tracker.__version__ == project["version"]


def test_formula_documents_are_up_to_date():
    run = subprocess.run(
        [sys.executable, ROOT / "tools" / "formula_docs.py", "--check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout


def test_links_in_the_documents_lead_somewhere():
    for page in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
