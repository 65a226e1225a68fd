# Every target sets up what it needs: a virtual environment in .venv with the versions of constraints.txt.
# Needs Python 3.11 or later (PYTHON=… names another interpreter) and a POSIX shell; on Windows that of Git (Git Bash).
# pip's own configuration (index, mirror, wheel folder) is honoured.

PYTHON ?= $(shell for python in python3.11 python3.12 python3.13 python3.14 python3 python; do \
	"$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo "$$python" && break; done)
ifeq ($(OS),Windows_NT)
BIN_FOLDER := Scripts
else
BIN_FOLDER := bin
endif
BIN := .venv/$(BIN_FOLDER)
LOWEST_BIN := .venv-lowest/$(BIN_FOLDER)
READY := .venv/.ready
LOWEST_READY := .venv-lowest/.ready

EXTRAS := dev,datasets,accelerate,languages,ray,quantized
LOWEST_EXTRAS := test,datasets,accelerate,languages,ray,sentencepiece
# tests/conftest.py gives each of the two processes one thread.
PYTEST := -m pytest --numprocesses 2 --quiet
QUICK := -m "not slow"

.PHONY: setup demo check test test-lowest coverage lint style types imports format clean

setup: $(READY)

# The stamp is written last: an interrupted installation is done again.
$(READY): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "resect needs Python 3.11 or later; name it with PYTHON=…" >&2; exit 1; }
	@rm -f $(READY)
	@$(BIN)/python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && $(BIN)/python -m pip --version >/dev/null 2>&1 \
		|| "$(PYTHON)" -m venv --clear .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[$(EXTRAS)]'
	@touch $(READY)

$(LOWEST_READY): pyproject.toml constraints-lowest.txt
	@test -n "$(PYTHON)" || { echo "resect needs Python 3.11 or later; name it with PYTHON=…" >&2; exit 1; }
	"$(PYTHON)" -m venv --clear .venv-lowest
	$(LOWEST_BIN)/python -m pip install --quiet --constraint constraints-lowest.txt --editable '.[$(LOWEST_EXTRAS)]'
	@touch $(LOWEST_READY)

demo: setup
	$(BIN)/resect demo

# Everything that gives its answer in about two minutes on two cores.
check: lint
	$(BIN)/python $(PYTEST) $(QUICK)

# Everything.
test: lint
	$(BIN)/python $(PYTEST)

# The quick tests with the lowest versions that pyproject.toml admits.
test-lowest: $(LOWEST_READY)
	$(LOWEST_BIN)/python $(PYTEST) $(QUICK)

# TESTS='$(QUICK)' measures the quick tests alone.
coverage: setup
	$(BIN)/python $(PYTEST) $(TESTS) --cov --cov-report=term:skip-covered

lint: style types imports

style: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: setup
	$(BIN)/mypy

imports: setup
	$(BIN)/lint-imports

format: setup
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf .venv .venv-lowest build dist .coverage* .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis src/*.egg-info
	find src tests scripts benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
