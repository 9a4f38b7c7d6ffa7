# Two commands for a new user: `make demo` and `make test`. Each target sets up what it needs.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV ?= .venv
CHECK_VENV ?= .venv-check
OLDEST_VENV ?= .venv-oldest
FUZZ_VENV ?= .venv-fuzz
MUTANTS_VENV ?= .venv-mutants
MUTANTS ?=
SECONDS ?= 60
TARGETS ?=
WORKERS ?= auto
PROTOS := src/serviceradar_security/_proto/workload.proto \
          src/serviceradar_security/_proto/control_plane.proto \
          src/serviceradar_security/_proto/kv.proto \
          examples/monitoring/monitoring.proto
UV_COMPILE := $(VENV)/bin/uv pip compile -q --universal --python-version 3.11 --generate-hashes \
              --no-annotate --no-header --no-emit-index-url --upgrade

.PHONY: help demo demo-spire test test-oldest check bench fuzz mutants proto lock clean parts FORCE

help: ## show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

demo: $(VENV)/.ready ## two services with rotating identities, on an embedded Workload API
	@$(VENV)/bin/python -m examples.demo

demo-spire: $(VENV)/.ready parts ## the same on a real SPIRE server and agent, with Postgres
	@$(VENV)/bin/python -m examples.demo --spire

test: $(VENV)/.ready parts ## all tests, real parts included
	@$(VENV)/bin/coverage erase
	@$(VENV)/bin/coverage run -m pytest -n $(WORKERS) --dist loadgroup $(PYTEST)
	@$(VENV)/bin/coverage combine -q
	@$(VENV)/bin/coverage report

test-oldest: $(OLDEST_VENV)/.ready parts ## all tests with the oldest dependencies that are allowed
	@$(OLDEST_VENV)/bin/pytest -n $(WORKERS) --dist loadgroup $(PYTEST)

check: $(CHECK_VENV)/.ready ## lint, types, layers, generated files
	$(CHECK_VENV)/bin/ruff check
	$(CHECK_VENV)/bin/ruff format --check
	$(CHECK_VENV)/bin/lint-imports
	$(CHECK_VENV)/bin/mypy
	$(CHECK_VENV)/bin/python tools/verify_types.py
	$(CHECK_VENV)/bin/python tools/gen_proto.py --check $(PROTOS)
	$(CHECK_VENV)/bin/python tools/gen_schema.py --check

bench: $(VENV)/.ready ## ratios against named baselines, measured side by side
	@$(VENV)/bin/python -m benchmarks

fuzz: $(FUZZ_VENV)/.ready ## fuzz what reads foreign bytes: SECONDS=60 for each, TARGETS= for all
	@$(FUZZ_VENV)/bin/python -m tests.fuzz --seconds $(SECONDS) $(TARGETS)

mutants: $(MUTANTS_VENV)/.ready ## change identity/ in small ways, and see whether a test notices; MUTANTS= for some
	@CI=true $(MUTANTS_VENV)/bin/mutmut run --max-children 2 $(MUTANTS)
	@$(MUTANTS_VENV)/bin/mutmut results | grep -v "not checked" || true

proto: $(CHECK_VENV)/.ready ## write the message classes from the .proto files
	$(CHECK_VENV)/bin/python tools/gen_proto.py $(PROTOS)

lock: $(VENV)/.ready ## pin the newest dependencies, by hash
	$(UV_COMPILE) pyproject.toml --all-extras --group run -o requirements/run.txt
	$(UV_COMPILE) pyproject.toml --all-extras --group check -o requirements/check.txt
	$(UV_COMPILE) pyproject.toml --all-extras --group run --resolution lowest-direct -o requirements/oldest.txt
	$(UV_COMPILE) pyproject.toml --all-extras --group fuzz -o requirements/fuzz.txt
	$(UV_COMPILE) pyproject.toml --all-extras --group mutants -o requirements/mutants.txt

clean: ## remove what was made in this folder; built SPIRE programs stay in the user's cache
	rm -rf $(VENV) $(CHECK_VENV) $(OLDEST_VENV) $(FUZZ_VENV) .fuzz $(MUTANTS_VENV) mutants build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis \
	       .import_linter_cache .coverage .coverage.*
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

parts: $(VENV)/.ready # SPIRE and Postgres: built or installed once, and said so
	@$(VENV)/bin/python -m tests.realparts

# Whether there is anything to do depends on the interpreter too: the script finds out.
$(VENV)/.ready: FORCE
	@tools/setup.sh "$(PYTHON)" "$(VENV)" requirements/run.txt

$(OLDEST_VENV)/.ready: FORCE
	@tools/setup.sh "$(PYTHON)" "$(OLDEST_VENV)" requirements/oldest.txt

# atheris is not published for every Python: said before anything is installed.
$(FUZZ_VENV)/.ready: FORCE
	@! command -v "$(PYTHON)" >/dev/null || "$(PYTHON)" tests/fuzz/interpreter.py
	@tools/setup.sh "$(PYTHON)" "$(FUZZ_VENV)" requirements/fuzz.txt

$(MUTANTS_VENV)/.ready: FORCE
	@tools/setup.sh "$(PYTHON)" "$(MUTANTS_VENV)" requirements/mutants.txt

$(CHECK_VENV)/.ready: FORCE
	@tools/setup.sh "$(PYTHON)" "$(CHECK_VENV)" requirements/check.txt
