# Two commands for a fresh clone: `make demo` and `make test`. Both make .venv first, once.

PYTHON ?= $(shell for p in python3 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin
# One thread per test process: two processes share the cores instead of fighting for them. Files are dealt
# in the order of Testing/conftest.py; by itself pytest-xdist deals those with few tests last, the longest ones.
# What Python compiles is kept, whatever the environment says: tests start hundreds of processes.
PYTEST := PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

.PHONY: venv system demo test test-all lint format bench bench-query bench-server bench-train bench-gpu bench-slicer screenshots clean

venv: .venv/installed

.venv/installed: constraints.txt server/pyproject.toml
	@test -n "$(PYTHON)" || { echo "Python 3.11 or 3.12 is needed; set PYTHON=/path/to/python"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable "server[dev]"
	@touch $@

# Libraries to draw with, a font and a browser: installed by root on Debian and Ubuntu, else named.
system: venv
	@PYTHONPATH=Testing $(BIN)/python -m harness.system_packages

demo: venv
	$(BIN)/nnactive demo --out out/demo

test: system
	$(PYTEST) -m "not slow"

test-all: system
	$(PYTEST)

lint: venv
	$(BIN)/ruff format --check server NNActiveLogic NNActiveSlicer Testing
	$(BIN)/ruff check server NNActiveLogic NNActiveSlicer Testing
	$(BIN)/mypy
	$(BIN)/lint-imports --config pyproject.toml

format: venv
	$(BIN)/ruff format server NNActiveLogic NNActiveSlicer Testing
	$(BIN)/ruff check --fix server NNActiveLogic NNActiveSlicer Testing

bench: venv
	$(BIN)/python Testing/benchmarks/run.py
	$(BIN)/python Testing/benchmarks/query.py

bench-query: venv
	$(BIN)/python Testing/benchmarks/query.py

bench-server: venv
	PYTHONPATH=.:Testing:Testing/NNActiveLogic/client $(BIN)/python Testing/benchmarks/server.py

bench-train: venv
	$(BIN)/python Testing/benchmarks/train.py --paper

# Where there is a GPU: members side by side, and a plan that fills it.
bench-gpu: venv
	$(BIN)/python Testing/benchmarks/members.py
	$(BIN)/python Testing/benchmarks/train.py --large

bench-slicer: system
	PYTHONPATH=.:Testing:Testing/NNActiveLogic/client $(BIN)/python Testing/benchmarks/slicer_bench.py

screenshots: system
	$(BIN)/python Testing/screenshots/make.py
	PYTHONPATH=Testing $(BIN)/python Testing/screenshots/operator_page.py
	PYTHONPATH=.:Testing $(BIN)/python Testing/screenshots/panel.py

clean:
	rm -rf .venv out build
