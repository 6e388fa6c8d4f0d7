# Everything that a newcomer needs: the targets set up .venv by themselves; `make` lists them.

PYTHON ?= python3
# An index of torch without CUDA: make demo TORCH_INDEX=https://download.pytorch.org/whl/cpu
TORCH_INDEX ?=
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

# Three test processes share two cores, because tests wait for a third of their time; more threads in
# each would only compete. The many processes that tests start read the compiled modules, also where
# the environment keeps Python from writing them.
PYTEST := OMP_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest
IN_PARALLEL := --numprocesses 3 --dist worksteal

# pip reads further indexes from PIP_EXTRA_INDEX_URL: a newer torch there would bring CUDA back.
ifneq ($(TORCH_INDEX),)
TORCH_FROM := env -u PIP_EXTRA_INDEX_URL -u PIP_FIND_LINKS
TORCH_OPTIONS := --index-url $(TORCH_INDEX) --no-deps
endif

# The locks: each package with its version and hashes, for every Python from 3.11 and every system.
# Packages that fit keep their version: make lock UPGRADE=--upgrade takes the newest.
LOCK = $(BIN)/uv pip compile pyproject.toml --quiet --universal --python-version 3.11 \
	--generate-hashes --extra postgresql --extra s3 --custom-compile-command 'make lock' $(UPGRADE)
# Dependencies that only training, import and measuring need.
TRAINING_ONLY := torch torchvision pandas scikit-learn

.DEFAULT_GOAL := help
.PHONY: help ready demo serve test test-full soak lint check pictures bench lock dist clean

help:  ## list the targets
	@sed -n 's/^\([a-z-]*\):.*##  *\(.*\)/make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 18

$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "cxrd needs Python 3.11 or newer; name one: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	@# Together and first, so that the builds of the two match. Nothing else comes from TORCH_INDEX.
	$(TORCH_FROM) $(BIN)/python -m pip install --quiet $(TORCH_OPTIONS) torch torchvision
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $(READY)

# Each process that starts reads the compiled modules. Without them it compiles some hundred modules
# itself, again and again where the environment keeps Python from writing them.
ready: $(READY)
	@$(BIN)/python -m compileall -q cxr_model cxrd daemon dicom_io storage

demo: ready  ## run the whole loop on this machine, in a temporary folder
	$(BIN)/cxrd demo

serve: ready  ## run the daemon with config.yaml
	$(BIN)/cxrd serve --config config.yaml

check: lint test  ## run everything that a change must pass

lint: ready  ## check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check cxr_model cxrd daemon dicom_io storage tests
	$(BIN)/mypy

test: ready  ## run the quick tests and one test of each slow kind
	$(PYTEST) $(IN_PARALLEL) -m 'not slow and not soak'

test-full: ready  ## run only the slow tests, which `make test` leaves out
	$(PYTEST) $(IN_PARALLEL) -m 'slow and not soak'

soak: ready  ## run the tests that take many minutes each
	$(PYTEST) -m soak -s

pictures: ready  ## photograph the pages for the documentation (needs Chromium)
	$(BIN)/python -m tests.pages.pictures

bench: ready  ## measure speeds; asserts no result
	$(BIN)/python -m tests.benchmarks

lock: ready  ## write requirements-serving.txt and requirements-full.txt
	$(BIN)/python -m pip install --quiet --editable '.[release]'
	printf '%s\n' $(TRAINING_ONLY) | $(LOCK) --excludes /dev/stdin --output-file requirements-serving.txt
	$(LOCK) --output-file requirements-full.txt

dist: ready  ## build the sdist and, from it, the wheel; check both
	$(BIN)/python -m pip install --quiet --editable '.[release]'
	rm -rf build dist
	SOURCE_DATE_EPOCH=$${SOURCE_DATE_EPOCH:-$$(date +%s)} $(BIN)/python -m build
	$(BIN)/twine check --strict dist/*
	$(BIN)/check-wheel-contents dist/*.whl

clean:  ## remove what the targets have made
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache
