# Every target makes .venv by itself when it is missing; PYTHON names the interpreter to build it with.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
SHELL := /bin/bash
.ONESHELL:
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.PHONY: demo test ui check bench chaos lock clean help

help:
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

# The stamp is the directory's own marker, so that an interrupted install is done again.
$(VENV): $(VENV)/.installed
$(VENV)/.installed: requirements-dev.lock pyproject.toml
	@echo "Installing into $(VENV) from requirements-dev.lock (two to four minutes, once)"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@
