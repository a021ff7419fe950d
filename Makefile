# Two commands are all that a bare machine needs: `make demo` and `make test`. They install what they need.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# Options for the command that a target runs: make demo ARGS="--parts 50"; make test ARGS="-k mqtt"
ARGS ?=
# Processes that share the tests.
JOBS ?= 2

# Two environments: the device's must never see TensorFlow, or nobody would notice that it needs it.
DEVICE := .venv
DEV := .venv-dev

.PHONY: help demo test lint format bench clean mosquitto

help: ## what there is
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(DEVICE)/.installed ## the main job on a simulated line, with the device's packages alone
# A live table needs a terminal; in a pipe or in CI it is a short line and its summary.
	@mode=; [ -t 1 ] && [ -z "$${CI:-}" ] || mode="--headless --parts 20"; $(DEVICE)/bin/edge-qc demo $$mode $(ARGS)

test: lint mosquitto ## all checks and tests, as CI runs them
	@$(DEV)/bin/pytest -n $(JOBS) --dist loadfile $(ARGS)

lint: $(DEV)/.installed ## ruff, mypy and the import rules
	@$(DEV)/bin/ruff check .
	@$(DEV)/bin/ruff format --check .
	@$(DEV)/bin/mypy
	@$(DEV)/bin/lint-imports

format: $(DEV)/.installed ## what ruff can put right by itself
	@$(DEV)/bin/ruff check --fix-only .
	@$(DEV)/bin/ruff format .

bench: $(DEV)/.installed mosquitto ## the benchmarks of bench/, which print their own tables
	@shopt -s nullglob; for benchmark in bench/*.py; do $(DEV)/bin/python $$benchmark $(ARGS); done

clean: ## everything that is made here
	@rm -rf $(DEVICE) $(DEV) build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	@find . -name __pycache__ -not -path './.git/*' -prune -exec rm -rf {} +

# Mosquitto lies in /usr/sbin, which is not on everybody's PATH.
mosquitto:
	@. deploy/lib.sh; PATH=$$PATH:/usr/sbin command -v mosquitto >/dev/null || need_packages "the tests need a real broker" mosquitto

# The stamps: installing is skipped until pyproject.toml changes.
$(DEVICE)/.installed: pyproject.toml
	@. deploy/lib.sh; make_venv $(DEVICE); say "installing the device's packages into $(DEVICE)"; pip_install $(DEVICE) -e .; touch $@

$(DEV)/.installed: pyproject.toml
	@. deploy/lib.sh; make_venv $(DEV); say "installing what trainer and tests need into $(DEV): some minutes"; pip_install $(DEV) -e '.[train,dev]'; touch $@
