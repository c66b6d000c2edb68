"""The bare package: what it imports, and what it says where something is not installed."""

import re
import shutil
from pathlib import Path

import pytest
from training_models import run_python

import flops_tracker

WITHOUT = """
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {missing}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Missing())
"""


def without(missing, code, folder):
    """Run code where these packages can't be imported; returns the last line of its error."""
    result = run_python(WITHOUT.replace("{missing}", repr(missing)) + code, folder)
    return result.stdout, result.stderr.strip().splitlines()[-1:]


def test_the_package_imports_no_framework(tmp_path):
    code = """
import flops_tracker
print(sorted({"torch", "numpy", "sklearn", "rich", "click", "tqdm"} & set(sys.modules)))
"""
    assert without((), code, tmp_path) == ("[]\n", [])


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (
            "TorchAutoEstimator(None, (1, 4))",
            "torch is not installed: pip install flops-tracker[torch]",
        ),
        (
            "FlopsTracker(SklearnSGDEstimator(2)).torch_bind(None, None, train_loader=[])",
            "torch is not installed: pip install flops-tracker[torch]",
        ),
        (
            "FlopsTracker(SklearnSGDEstimator(2)).sklearn_bind(None, [], [], batch_size=1)",
            "sklearn is not installed: pip install flops-tracker[sklearn]",
        ),
    ],
)
def test_a_missing_framework_is_named_with_what_installs_it(code, message, tmp_path):
    _, error = without(("torch", "sklearn"), f"from flops_tracker import *\n{code}", tmp_path)
    assert error == [f"ModuleNotFoundError: {message}"]


def test_a_framework_that_is_there_but_broken_shows_its_own_error(tmp_path):
    (tmp_path / "torch.py").write_text("import no_such_library")
    code = "sys.path.insert(0, '.')\nfrom flops_tracker import *\nTorchAutoEstimator(None, (1, 4))"
    _, error = without((), code, tmp_path)
    assert error == ["ModuleNotFoundError: No module named 'no_such_library'"]


def test_the_source_folder_says_how_to_install(tmp_path):
    source = Path(flops_tracker.__file__).parent
    shutil.copytree(source, tmp_path / "flops_tracker", ignore=shutil.ignore_patterns("*.so"))
    result = run_python("sys.path.insert(0, '.')\nimport flops_tracker", tmp_path)
    assert "is not built" in result.stderr.splitlines()[-1]
    assert "pip install" in result.stderr.splitlines()[-1]


def test_the_extension_is_built_for_the_oldest_numpy_that_is_allowed():
    # NumPy 1.25 refuses an extension whose target is 2.0, at the first ft.history.
    root = Path(__file__).parent.parent
    oldest = re.search(
        r'dependencies = \["numpy>=(\d+)\.(\d+)"', (root / "pyproject.toml").read_text()
    )
    source = (root / "csrc" / "binding" / "numpy_forms.h").read_text()
    target = re.search(r"NPY_TARGET_VERSION NPY_(\d+)_(\d+)_API_VERSION", source)
    assert target.groups() == oldest.groups()
