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
    """Losses, times and which steps are audited differ from run to run; all else must not."""
    text = re.sub(r"\d+ of 40 steps counted, \d+ like", "# of 40 steps counted, # like", text)
    text = re.sub(r"[\d.]+ [kMGT]?FLOP/s", "# FLOP/s", re.sub(r"loss [\d.]+", "loss #", text))
    return re.sub(r"· [\d.]+ s$", "· # s", text, flags=re.M)


def run_of(mark: str, folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    (folder / "train.py").write_text(block_after(mark))
    return subprocess.run(
        [sys.executable, *command, "train.py"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    )


def output_of(mark: str, folder: Path) -> str:
    return without_measurements(run_of(mark, folder).stdout)


def test_readme_example_prints_what_readme_says(tmp_path):
    assert output_of("example", tmp_path) == without_measurements(block_after("output"))
    assert (tmp_path / "run_epoch.csv").exists()


def test_readme_counter_prints_what_readme_says(tmp_path):
    assert output_of("example counter", tmp_path) == block_after("output counter")


def test_readme_function_and_script_print_what_readme_says(tmp_path):
    options = ("-m", "flops_tracker", "run", "--top", "2")
    run = run_of("example track", tmp_path, *options)
    assert without_measurements(run.stdout) == without_measurements(block_after("output track"))
    assert without_measurements(run.stderr[1:]) == without_measurements(block_after("output run"))


def test_version_is_the_one_of_pyproject():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert flops_tracker.__version__ == project["version"]


def test_the_table_of_conventions_is_the_one_of_the_core():
    text = (ROOT / "docs" / "usage.md").read_text().split("### Conventions")[1]
    titles, _, *rows = [line for line in text.split("### ")[0].splitlines() if line[:1] == "|"]
    kinds = re.findall(r"`(\w+)`", titles)
    shown = {re.findall(r"`(\w+)`", row)[0]: re.findall(r"-?\d+", row) for row in rows}
    known = {convention.name: convention for convention in flops_tracker.conventions()}
    for name, weights in shown.items():
        convention = known.pop(name)
        given = dict(zip(kinds, map(int, weights), strict=True))
        assert {**given, "bytes": 0} == convention.contractions
        everywhere = "of contractions only" not in next(row for row in rows if f"`{name}`" in row)
        assert convention.others == {
            kind: weight * everywhere for kind, weight in convention.contractions.items()
        }
    assert list(known) == ["layerwise", "flops_profiler"]


def test_the_table_of_peaks_is_the_one_of_the_core():
    text = (ROOT / "docs" / "usage.md").read_text()
    titles, _, *rows = re.findall(r"(?<=<!-- peaks -->\n).*(?=<!-- /peaks -->)", text, re.DOTALL)[
        0
    ].splitlines()
    formats = re.findall(r"`(\w+)`", titles)
    shown = [tuple(cell.strip() for cell in row.strip("|").split("|")) for row in rows]
    known = [
        (device, *(f"{peaks[f] / 1e12:g}" if f in peaks else "" for f in formats), source)
        for device, peaks, source in flops_tracker._core._peaks()
    ]
    assert shown == known


def test_closed_forms_print_what_usage_says(capsys):
    # The first block's figures: 32·512·(2·768 + 1) and so on; 2·112²·64·147 halved; causal pairs
    # 1024·1025/2 and 8192·8193/2 times 12·4·64; 2·10^9·12,288·50,257. The plan is
    # that of test_formulas_planners.py, of 480 sequences, in 10^10/(480·1024) = 20,345.05 steps.
    text = (ROOT / "docs" / "usage.md").read_text().split("## Closed forms")[1].split("\n## ")[0]
    blocks = re.findall(r"```python\n(.*?)```\n\n```\n(.*?)```", text, re.DOTALL)
    assert len(blocks) == 2
    for code, output in blocks:
        exec(code, {})
        assert capsys.readouterr().out == output


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
