# Everything a newcomer needs: `make demo`, `make test`. Set-up happens by itself, from the lock files.
#
#   make demo              play the node's main job on a chain of its own, then stay up (ARGS=--once: end)
#   make serve             start a node (ARGS="--port 8081 --data-dir data")
#   make test              all tests (ARGS="tests/config -k names")
#   make check             format, lint, types, import directions, dependencies
#   make lock              make the lock files anew from pyproject.toml
#   make settings          make docs/SETTINGS.md anew from the settings classes

PYTHON ?= python3
ARGS ?=
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
UV_VERSION := 0.13.9
LOCK := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-config --custom-compile-command "make lock"
ROOMS := config store certificates overlay topics lookup basket energytag bridge api cli

export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help setup demo serve test check format lock settings clean

help:
	@sed -n 's/^#   //p' Makefile

setup: $(READY)

$(READY): requirements-dev.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "METAWATT needs Python 3.11 or newer, and '$(PYTHON)' is not: make PYTHON=python3.12 ..." >&2; exit 1; }
	@test -x $(BIN)/python || { echo "Creating $(VENV)"; $(PYTHON) -m venv $(VENV); } || { \
		echo "Cannot create a virtual environment; on Debian and Ubuntu: apt install python3-venv" >&2; \
		rm -rf $(VENV); exit 1; }
	@echo "Installing what requirements-dev.lock names (a minute or two, once)"
	@$(BIN)/python -m pip install --quiet --require-hashes --requirement requirements-dev.lock
	@$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

demo: setup
	@$(BIN)/metawatt demo $(ARGS)

serve: setup
	@$(BIN)/metawatt serve $(ARGS)

test: setup
	$(BIN)/python -m pytest --numprocesses auto --dist loadfile $(ARGS)

check: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/deptry .

format: setup
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lock: setup
	$(BIN)/python -m pip install --quiet uv==$(UV_VERSION)
	$(LOCK) pyproject.toml --output-file requirements.lock
	$(LOCK) --group build --output-file requirements-build.lock
	$(LOCK) pyproject.toml --extra dev --group build --output-file requirements-dev.lock

settings: setup
	$(BIN)/metawatt settings --markdown > docs/SETTINGS.md

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
