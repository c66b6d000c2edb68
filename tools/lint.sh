#!/usr/bin/env bash
# Exactly what CI checks of style: the same commands as .pre-commit-config.yaml.
set -euo pipefail
cd "$(dirname "$0")/.."
ruff check .
ruff format --check .
clang-format --dry-run -Werror $(find csrc tests/c -name '*.c' -o -name '*.h')
codespell README.md CONTRIBUTING.md CHANGELOG.md docs csrc flops_tracker tests examples bench tools
mypy
python -P -m mypy.stubtest flops_tracker --mypy-config-file pyproject.toml --allowlist tools/stubtest_allow.txt
python tools/formula_docs.py --check
