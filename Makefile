# Every target makes .venv by itself when it is missing; PYTHON names the interpreter to build it with.
PYTHON ?= python3.11
BIN := .venv/bin
# uv, not pip: pip before 23.3 reads a locked extra (`gql[requests]==4.0.0`) as an unlocked package.
INSTALL = $(BIN)/uv pip install --quiet --python $(BIN)/python
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.PHONY: help demo demo-gcp-local ui test browser chaos check bench lock clean
# Where the demo takes its data from, and the last day that exists for it.
SOURCE ?= sample
AS_OF ?=
# Histories of machines that `make chaos` plays, and the number of the first.
HISTORIES ?= 200
SEED ?= 1000
# One for each of two cores; whoever is done takes from the other.
TEST_PROCESSES ?= 2
# One thread for each process of a pool: numpy's own threads would only fight over the cores.
export OMP_NUM_THREADS ?= 1
export OPENBLAS_NUM_THREADS ?= 1
# A run's events of one table's days are stored together; each by itself, they are most of a backfill's time.
export DAGSTER_EVENT_BATCH_SIZE ?= 500
# Compiled once: where Python may not keep what it compiles, every run would do it again, for seconds.
export UV_COMPILE_BYTECODE := 1

help: ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 16

# The stamp is made last, so that an interrupted installation is done again.
.venv: .venv/installed
.venv/installed: requirements-installer.lock requirements-dev.lock pyproject.toml
	@echo "Installing into .venv from requirements-dev.lock: one to three minutes, once."
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements-installer.lock
	$(INSTALL) --require-hashes -r requirements-dev.lock
	$(INSTALL) --no-deps --no-build-isolation -e .
	$(BIN)/python -m compileall -q mmt_assets
	@echo "Compiling the solver: half a minute, once."
	$(BIN)/python -c "from mmt_assets.forecasting.prophet_map import compile_kernels; compile_kernels()"
	@touch $@

demo: .venv/installed ## fill the warehouse from SOURCE (default: the sample world), forecast, print the outlook
	$(BIN)/python -m mmt_assets demo --source "$(SOURCE)" $(if $(AS_OF),--as-of "$(AS_OF)")

demo-gcp-local: .venv/installed .venv-emulators/installed ## a day with MMT_ENV=gcp on emulators: message, machine, forecasts, ledger
	$(BIN)/python -m mmt_assets_tests.local_cloud

ui: .venv/installed ## Dagster's UI at http://127.0.0.1:3000, with schedule and sensors
	$(BIN)/python -m mmt_assets prepare
	DAGSTER_HOME="$(CURDIR)" PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/dagster dev -h 127.0.0.1 -p 3000

test: .venv/installed .venv-emulators/installed browser ## all tests
	$(BIN)/pytest -n $(TEST_PROCESSES) --dist worksteal -m "not chaos"

# Without it the tests of pages are skipped, each with the way to install it.
browser: ## Debian's Chromium for the tests of pages, where it is missing and we may install it
	@command -v chromium chromium-browser google-chrome >/dev/null || { \
	  [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && echo "Installing Chromium for the tests, once." \
	  && apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium >/dev/null; } \
	|| echo "No Chromium: tests of pages are skipped. To run them: apt-get install chromium"

chaos: .venv/installed .venv-emulators/installed ## the long forms of the kill, load and fault tests
	$(BIN)/pytest -m chaos --timeout 3600 --histories $(HISTORIES) --seed $(SEED)

check: .venv/installed .venv-checks/installed ## lint, types, imports, definitions, infrastructure, secrets, dependencies
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/basedpyright --level error
	$(BIN)/lint-imports
	MMT_ENV=local $(BIN)/dagster definitions validate -w workspace.yaml
	MMT_ENV=gcp $(BIN)/dagster definitions validate -w workspace.yaml
	git ls-files -z '*.sh' | xargs -0 $(BIN)/shellcheck
	.venv-checks/bin/python .ci/terraform_references.py infra
	.venv-checks/bin/checkov --directory infra --config-file infra/.checkov.yaml
	if command -v terraform >/dev/null; then terraform fmt -check -recursive infra; \
	  else echo "infra: format NOT CHECKED, terraform is not installed"; fi
	git ls-files -z ':!*.lock' | xargs -0 $(BIN)/detect-secrets-hook
	$(BIN)/python .ci/audit_dependencies.py requirements.lock

# BigQuery's emulator, apart: it holds sqlglot back. The tests start it from there.
.venv-emulators/installed: requirements-emulators.lock .venv/installed
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python .venv-emulators
	$(BIN)/uv pip install --quiet --python .venv-emulators/bin/python --require-hashes -r requirements-emulators.lock
	@touch $@

# What checks Terraform, apart: its packages and ours exclude each other.
.venv-checks/installed: requirements-checks.lock .venv/installed
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python .venv-checks
	$(BIN)/uv pip install --quiet --python .venv-checks/bin/python --require-hashes -r requirements-checks.lock
	@touch $@

# The peers' packages, beside the locked ones and held to the same versions.
.venv/bench-installed: requirements-bench.lock .venv/installed
	$(INSTALL) --require-hashes -r requirements-bench.lock
	@touch $@

bench: .venv/bench-installed ## benchmarks: speed and accuracy of the forecasts
	$(BIN)/python -m benchmarks.speed --quick
	$(BIN)/python -m benchmarks.pipeline --days 100 --concerts 200 --repeats 1
	$(BIN)/python -m benchmarks.accuracy --source hotel_rates --origins 8
	$(BIN)/python -m benchmarks.board

lock: .venv/installed ## resolve pyproject.toml into the hash-locked requirements again
	$(BIN)/uv pip compile pyproject.toml --quiet --python-version 3.11 --generate-hashes --no-strip-extras \
	  --custom-compile-command "make lock" -o requirements.lock
	$(BIN)/uv pip compile pyproject.toml --extra dev --quiet --python-version 3.11 --generate-hashes --no-strip-extras \
	  --custom-compile-command "make lock" -c requirements.lock -o requirements-dev.lock
	$(BIN)/uv pip compile pyproject.toml --extra bench --quiet --python-version 3.11 --generate-hashes \
	  --no-strip-extras --custom-compile-command "make lock" -c requirements-dev.lock -o requirements-bench.lock
	echo checkov | $(BIN)/uv pip compile - --quiet --python-version 3.11 --generate-hashes \
	  --custom-compile-command "make lock" -o requirements-checks.lock
	printf 'bqemulator==1.4.0\nnumpy\n' | $(BIN)/uv pip compile - --quiet --python-version 3.11 --generate-hashes \
	  --custom-compile-command "make lock" -o requirements-emulators.lock
	echo uv | $(BIN)/uv pip compile - --quiet --python-version 3.11 --generate-hashes \
	  --custom-compile-command "make lock" -c requirements-dev.lock -o requirements-installer.lock

clean: ## remove the environment, the local warehouse and Dagster's history
	rm -rf .venv .venv-emulators .venv-checks .mmt .dagster_home
