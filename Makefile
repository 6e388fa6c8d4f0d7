# Everything a newcomer needs: `make demo` and `make test` set up .venv by themselves.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo test lint check soak bench serve clean

$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "cxrd needs Python 3.11 or newer; name one: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	@# Together and first, so that the builds of the two match.
	$(BIN)/python -m pip install --quiet torch torchvision
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $(READY)

demo: $(READY)  ## the whole loop on this machine, in a temporary folder
	$(BIN)/cxrd demo

serve: $(READY)  ## the daemon with config.yaml
	$(BIN)/cxrd serve --config config.yaml

test: $(READY)  ## the test suite, half of its files at a time: many tests wait more than they work
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile

lint: $(READY)  ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check cxr_model daemon dicom_io storage tests
	$(BIN)/mypy

check: lint test  ## everything a change must pass

soak: $(READY)  ## the tests that take many minutes
	$(BIN)/python -m pytest -m soak -s

bench: $(READY)  ## measure; nothing is asserted
	$(BIN)/python -m tests.benchmarks

clean:  ## remove what `make` has made
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache
