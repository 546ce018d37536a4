#!/usr/bin/env bash
# The native engine's tests under the address and undefined-behavior sanitizers, then the thread sanitizer.
# Run by `make sanitize`; each build has a virtual environment of its own under build/.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${1:-python3}

library() { "${CXX:-g++}" -print-file-name="$1"; }

build() { # name, -fsanitize's argument
  local venv=build/sanitize-$1
  [ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
  STRIATE_NEED_NATIVE=1 CXXFLAGS="-fsanitize=$2 -g -O1" "$venv/bin/python" -m pip install --quiet --disable-pip-version-check -c constraints.txt '.[dev]'
}

build address address,undefined
LD_PRELOAD="$(library libasan.so) $(library libubsan.so) $(library libstdc++.so)" ASAN_OPTIONS=detect_leaks=0 \
  UBSAN_OPTIONS=halt_on_error=1 OPENBLAS_NUM_THREADS=1 build/sanitize-address/bin/python -m pytest -n auto tests/test_native.py tests/test_threads.py tests/test_native_contract.py tests/test_sessions.py tests/test_candidates.py \
  tests/test_channels.py tests/test_channels_errors.py tests/test_drawn_graphs.py \
  -k "not cannot_be_started and not daemon and not five_hundred"  # a sanitizer cannot start where no stack can be had, and takes the unwinding of
                                              # a thread that ends with its process for a bad cast

# The thread sanitizer cannot start threads after a fork, so the tests of that are left to the others.
build thread thread
LD_PRELOAD="$(library libtsan.so) $(library libstdc++.so)" TSAN_OPTIONS="ignore_noninstrumented_modules=1 halt_on_error=1" \
  OPENBLAS_NUM_THREADS=1 build/sanitize-thread/bin/python -m pytest tests/test_native.py tests/test_threads.py tests/test_sessions.py tests/test_channels.py \
  -k "(threads or neurons or networks_agree) and not fork and not cannot_be_started and not daemon and not array and not sleep_on"  # it has a thread of its own
