# Each target does its own set-up in .venv; python3 (3.11 or newer), make and a C++ compiler are all it asks for.
# make test TORCH=1 also runs the comparisons with PyTorch, and with Keras on it.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
comma := ,
EXTRAS := dev$(if $(TORCH),$(comma)peers)
STAMP := $(VENV)/.installed$(if $(TORCH),-torch)

.PHONY: demo test test-slow lint sanitize clang conformance bench bench-here clean

demo: $(VENV)/.demo
	$(BIN)/python examples/demo.py

test: $(STAMP)
	$(BIN)/lint-imports --no-cache
	OPENBLAS_NUM_THREADS=1 $(BIN)/pytest -n auto $(if $(TORCH),--torch)

# What takes long, and only that; with TORCH=1 its comparisons with PyTorch too.
test-slow: $(STAMP)
	OPENBLAS_NUM_THREADS=1 $(BIN)/pytest -n auto -m slow --slow $(if $(TORCH),--torch)

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

# The native engine under the address, undefined-behavior and thread sanitizers; builds it twice more.
sanitize:
	tests/sanitize.sh $(PYTHON)

# The native engine compiled by Clang, and its tests; builds it once more. Without clang++ it only says so.
clang:
	tests/clang.sh $(PYTHON)

# The official ONNX backend tests: how many run, which rule leaves the others out, and whether all pass.
conformance: $(STAMP)
	$(BIN)/pytest -q -s tests/test_conformance.py

bench:
	@$(MAKE) --no-print-directory TORCH=1 bench-here

bench-here: $(STAMP)
	$(BIN)/python benchmarks/reference.py
	$(BIN)/python benchmarks/compare.py --report

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Striate needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version 2>&1). Try make PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv $(VENV)

NATIVE := CMakeLists.txt $(wildcard native/*.* native/kernels/*.* native/kernels/*/*.*)

# pip alone would install without the native engine where no compiler is found; make says so and stops.
$(VENV)/.demo: $(VENV)/bin/python pyproject.toml $(NATIVE)
	STRIATE_NEED_NATIVE=1 $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[digits,plot]'
	@touch $@

$(STAMP): $(VENV)/bin/python pyproject.toml constraints.txt $(NATIVE)
	STRIATE_NEED_NATIVE=1 $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[$(EXTRAS)]'
	@touch $@

clean:
	rm -rf $(VENV) build .mypy_cache .ruff_cache .pytest_cache .import_linter_cache runs build dist
