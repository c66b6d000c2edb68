"""Makes the tests import the installed package and helper modules: tests', bench's, examples'."""

import random
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parent

# `python -m pytest` puts the working folder first, where the package lies without its C core.
sys.path[:] = [path for path in sys.path if Path(path or ".").resolve() != TESTS.parent]
sys.path += [str(TESTS), *(str(TESTS.parent / name) for name in ("bench", "examples"))]


@pytest.fixture(autouse=True)
def same_audits():
    """Trackers draw at random which steps are audits: in tests always the same ones."""
    random.seed(20)
