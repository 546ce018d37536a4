#!/usr/bin/env bash
# The native engine compiled by Clang, and its tests; bits may differ from GCC's, agreement with the oracle may not.
# Run by `make clang`; the build has a virtual environment of its own under build/. Without clang++ nothing is done.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${1:-python3}

if ! command -v clang++ > /dev/null; then
  echo "make clang: clang++ is not installed, so the native engine was not compiled with it (apt-get install clang)."
  exit 0
fi
venv=build/clang
[ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
CC=clang CXX=clang++ STRIATE_NEED_NATIVE=1 "$venv/bin/python" -m pip install --quiet --disable-pip-version-check -c constraints.txt '.[dev]'
OPENBLAS_NUM_THREADS=1 "$venv/bin/python" -m pytest -n auto tests/test_native.py tests/test_threads.py tests/test_native_contract.py
