#!/usr/bin/env bash
# Builds everything with the address and undefined-behaviour sanitizers and runs both test suites.
# Leaks are looked for in the C tests; CPython itself keeps memory until it exits.
set -euo pipefail
cd "$(dirname "$0")/.."
python="${PYTHON:-.venv/bin/python}"
cmake --preset asan-ubsan -DPython_EXECUTABLE="$(realpath -s "$python")" >/dev/null
cmake --build --preset asan-ubsan
ASAN_OPTIONS=detect_leaks=1 ctest --preset asan-ubsan

package=build/asan-ubsan/package
rm -rf "$package" && mkdir -p "$package"
cp -r flops_tracker "$package/"
cp build/asan-ubsan/csrc/binding/*.so "$package/flops_tracker/"
libraries="$(gcc -print-file-name=libasan.so) $(gcc -print-file-name=libubsan.so)"
LD_PRELOAD="$libraries" ASAN_OPTIONS=detect_leaks=0 PYTHONMALLOC=malloc FLOPS_TRACKER_SANITIZED=1 \
  PYTHONPATH="$PWD/$package" "$python" -m pytest -p no:cacheprovider "$@"
