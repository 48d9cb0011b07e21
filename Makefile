# Two commands: `make reproduce` (data, training, notebooks, figures) and `make test`.
SHELL   := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
PYTHON  ?= python3
PRESET  ?= demo
# Parameters of any preset: DATA=folder  WEIGHTS=file or folder  SPLITS=0,1,2  NAME=where results go
DATA    ?=
WEIGHTS ?=
SPLITS  ?=
NAME    ?= $(PRESET)
CORES   ?= $(shell nproc 2>/dev/null || sysctl -n hw.ncpu)
PROFILE ?=
VENV    := .venv/bin
export PATH := $(CURDIR)/.venv/bin:$(PATH)
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup reproduce lab test test-slow lint format lock readme clean

help:
	@grep -E '^## ' $(MAKEFILE_LIST) | sed 's/^## //'

## make setup      create .venv from requirements.lock (every other target does this first)
setup: .venv/requirements.lock

# uv comes from the lock too: its lines are cut out for pip, and uv installs the rest.
# The stamp is a copy of the lock, written last, so that a broken install is done again.
.venv/requirements.lock: requirements.lock
	@if ! cmp -s requirements.lock $@; then \
	  rm -f $@; \
	  $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed, this is " + sys.version)'; \
	  test -x $(VENV)/python || $(PYTHON) -m venv .venv; \
	  awk '/^[^ #]/ {uv = /^uv==/} uv' requirements.lock > .venv/uv.lock; \
	  $(VENV)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r .venv/uv.lock; \
	  $(VENV)/uv pip sync --quiet --python $(VENV)/python --require-hashes --compile-bytecode requirements.lock; \
	  $(VENV)/uv pip install --quiet --python $(VENV)/python --no-deps --no-build-isolation --editable .; \
	fi
	@cp requirements.lock $@

## make lock       pin every version anew within the ranges of pyproject.toml
lock: setup
	$(VENV)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --all-extras \
	  --custom-compile-command "make lock" pyproject.toml --output-file requirements.lock
