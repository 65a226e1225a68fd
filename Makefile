# On a machine with Python 3.11 (or later) and make, every target sets up what it needs: its own .venv, pinned versions.
# pip's own configuration (index, mirror, wheel folder) is honoured. PYTHON names another interpreter.

PYTHON ?= $(shell for python in python3.11 python3.12 python3.13 python3.14 python3 python; do \
	"$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo "$$python" && break; done)
BIN := .venv/bin
READY := .venv/.ready
EXTRAS := dev,datasets,accelerate,languages,ray

.PHONY: setup demo test lint format clean

setup: $(READY)

# The stamp is written last: an environment that was left half made is made again.
$(READY): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "resect needs Python 3.11 or later; name it with PYTHON=…" >&2; exit 1; }
	@rm -f $(READY)
	@$(BIN)/python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && $(BIN)/python -m pip --version >/dev/null 2>&1 \
		|| "$(PYTHON)" -m venv --clear .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[$(EXTRAS)]'
	@touch $(READY)

demo: setup
	$(BIN)/resect demo

test: lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 --quiet

lint: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: setup
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf .venv build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis src/*.egg-info
	find src tests scripts benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
