# On a bare machine with Python 3.11 or newer, two commands are enough: `make demo` and `make test`.
PYTHON ?= python3
VENV ?= .venv
OUT ?= histoquilt-demo

BIN := $(VENV)/bin
# a second call installs nothing: these stamps are newer than what they depend on
BARE := $(VENV)/.stamp-bare
USER := $(VENV)/.stamp-user
DEV := $(VENV)/.stamp-dev

.PHONY: demo test lint types docs api architecture picture wheel clean help

help:  ## what can be made
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/'

demo: $(USER)  ## domains, and expression read off a stain, on built-in tissue with known truth, offline; says what to look at
	$(BIN)/histoquilt demo --out $(OUT) --overwrite

# tests run side by side, each on one thread: with more they wait for each other
test: $(DEV)  ## the whole test suite (HISTOQUILT_DATA=FOLDER adds the tests on real tissue)
	OMP_NUM_THREADS=1 NUMBA_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder $(PYTEST_ARGS)

lint: $(DEV)  ## style
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(DEV)  ## static types
	$(BIN)/mypy

# LINKS=1 links to the documentation of anndata, scanpy, squidpy, torch and others; needs the network
docs: $(DEV)  ## HTML documentation in docs/_build/html, warnings are errors (HISTOQUILT_DATA=FOLDER runs the page on real tissue)
	@rm -rf docs/generated
	HISTOQUILT_DOCS_LINKS=$(LINKS) $(BIN)/python -m sphinx -j auto -W --keep-going -q -b html docs docs/_build/html

api:  ## the list of public names in docs/api.md
	$(PYTHON) docs/make_api_page.py

architecture:  ## the picture and the table of the rooms in docs/architecture.md
	$(PYTHON) docs/make_architecture.py $(CHECK)

picture: $(DEV)  ## the pictures in the README
	$(BIN)/python docs/make_readme_picture.py

wheel: $(DEV)  ## the wheel, in dist/, and what it must hold
	rm -rf dist
	$(BIN)/python -m pip wheel -qq --no-deps --wheel-dir dist .
	$(BIN)/python .ci/check_wheel.py dist

clean:  ## remove what make made
	rm -rf $(VENV) docs/_build docs/generated docs/messages.md build dist

# old versions of pip are slow and resolve badly, so it comes first
$(BARE):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "histoquilt needs Python 3.11 or newer; try: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -qq --upgrade pip
	@touch $@

$(USER): $(BARE) pyproject.toml constraints.txt
	$(BIN)/python -m pip install -qq -c constraints.txt -e .
	@touch $@

$(DEV): $(BARE) pyproject.toml constraints.txt
	$(BIN)/python -m pip install -qq -c constraints.txt -e '.[dev]'
	@touch $@ $(USER)
