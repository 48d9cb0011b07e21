# Two commands: `make reproduce` (data, training, notebooks, figures) and `make test`.
SHELL   := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
PYTHON  ?= python3
PRESET  ?= demo
# Parameters of any preset: DATA=folder  WEIGHTS=file or folder  SPLITS=0,1,2  NAME=where results go
DATA    ?=
WEIGHTS ?=
SPLITS  ?=
NAME    ?=
PROFILE ?= profiles/default
SNAKEMAKE ?=
OPTIONS  = $(if $(DATA),--data '$(DATA)') $(if $(WEIGHTS),--weights '$(WEIGHTS)') \
           $(if $(SPLITS),--splits '$(SPLITS)') $(if $(NAME),--name '$(NAME)')
CONFIG   = $(if $(DATA),data='$(DATA)') $(if $(WEIGHTS),weights='$(WEIGHTS)') \
           $(if $(SPLITS),splits='$(SPLITS)') $(if $(NAME),name='$(NAME)')
VENV    := .venv/bin
export PATH := $(CURDIR)/.venv/bin:$(PATH)
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup reproduce lab site test test-slow test-browser lint format lock readme

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

## make reproduce  PRESET=demo: data, training, every notebook, figures/demo/
# Real data: make reproduce PRESET=pku DATA=path/to/PKUv1a_128x48
reproduce: setup
	$(VENV)/snakemake --profile '$(PROFILE)' $(SNAKEMAKE) --config preset='$(PRESET)' $(CONFIG)
	@$(VENV)/reid summary '$(PRESET)' $(OPTIONS)

## make lab        open JupyterLab on the notebooks
lab: setup
	$(VENV)/jupyter lab --notebook-dir=. notebooks/01_data.ipynb

## make site       PRESET=demo: the runs as a static article, results/site/index.html
site: setup
	@$(VENV)/python site/build.py '$(PRESET)'

## make test       lint and the quick suite
test: setup lint
	$(VENV)/python -m pytest -m "not slow and not browser"

## make test-slow  the rest
test-slow: setup
	$(VENV)/python -m pytest -m slow

## make test-browser  the page and JupyterLab in headless Chromium (Debian's package chromium)
test-browser: setup
	@if ! test -x "$${CHROMIUM:-}" && ! command -v chromium chromium-browser google-chrome >/dev/null; then \
	  root=$$(test "$$(id -u)" = 0 || echo 'sudo -n'); \
	  $$root apt-get update -qq && $$root apt-get install -qq -y --no-install-recommends chromium \
	    || echo 'there is no Chromium, and it cannot be installed here: apt-get install chromium'; \
	fi
	$(VENV)/python -m pytest -rs -m browser tests/test_site.py tests/test_lab.py

lint: setup
	$(VENV)/ruff check
	$(VENV)/ruff format --check
	$(VENV)/nbstripout --keep-id --verify notebooks/*.ipynb

format: setup
	$(VENV)/ruff check --fix
	$(VENV)/ruff format
	$(VENV)/nbstripout --keep-id notebooks/*.ipynb

## make readme     refresh the generated parts of all Markdown files
readme: setup
	$(VENV)/python site/readme.py

## make lock       pin every version anew within the ranges of pyproject.toml
lock: setup
	$(VENV)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --all-extras \
	  --custom-compile-command "make lock" pyproject.toml --output-file requirements.lock
