# Two commands: `make reproduce` (data, training, notebooks, figures) and `make test`.
SHELL   := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
PYTHON  ?= python3
PRESET  ?= demo
# Parameters of any preset: DATA=folder or CSV file  WEIGHTS=file or folder  SPLITS=0,1,2
# NAME=name of the output folders  PERSONS=splits/pku74.json (use only these persons of the data)
DATA    ?=
WEIGHTS ?=
SPLITS  ?=
NAME    ?=
PERSONS ?=
# RETRAIN=1: runs of another software version or configuration are renamed and trained again
RETRAIN ?=
PROFILE ?= profiles/default
SNAKEMAKE ?=
FUZZ_MINUTES ?= 60
# On a cluster: the command that starts the check of the data, such as RESOLVE='srun --gres=gpu:1'
RESOLVE ?=
OPTIONS  = $(if $(DATA),--data '$(DATA)') $(if $(WEIGHTS),--weights '$(WEIGHTS)') \
           $(if $(SPLITS),--splits '$(SPLITS)') $(if $(NAME),--name '$(NAME)') \
           $(if $(PERSONS),--persons '$(PERSONS)')
CONFIG   = $(if $(DATA),data='$(DATA)') $(if $(WEIGHTS),weights='$(WEIGHTS)') \
           $(if $(SPLITS),splits='$(SPLITS)') $(if $(NAME),name='$(NAME)') \
           $(if $(PERSONS),persons='$(PERSONS)')
VENV    := .venv/bin
export PATH := $(CURDIR)/.venv/bin:$(PATH)
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup reproduce unlock lab site pdf test test-slow test-browser test-gpu fuzz lint format readme weights lock

## make help       print this list
help:
	@grep -E '^## ' $(MAKEFILE_LIST) | sed 's/^## //'

## make setup      create .venv from requirements.lock (every other target does this first)
setup: .venv/requirements.lock

# In a checkout, git leaves the notebooks' outputs out (.gitattributes), unless a filter is set.
	@if test -e .git && command -v git >/dev/null && ! git config filter.nbstripout.clean >/dev/null \
	    && git config filter.nbstripout.clean '$(VENV)/nbstripout --keep-id'; then \
	  echo "git strips notebook outputs from commits in this clone; to disable: git config filter.nbstripout.clean cat"; \
	fi

# uv comes from the lock too: its lines are cut out for pip, and uv installs the rest.
# The stamp is a copy of the lock, written last, so that a broken install is done again.
.venv/requirements.lock: requirements.lock
	@if ! cmp -s requirements.lock $@; then \
	  rm -f $@; \
	  $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed, this is " + sys.version)'; \
	  test -x $(VENV)/python || { echo 'environment: creating .venv'; $(PYTHON) -m venv .venv; }; \
	  echo "packages: installing $$(grep -c '^[^ #]' requirements.lock) from requirements.lock"; \
	  awk '/^[^ #]/ {uv = /^uv==/} uv' requirements.lock > .venv/uv.lock; \
	  $(VENV)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r .venv/uv.lock; \
	  $(VENV)/uv pip sync --quiet --python $(VENV)/python --require-hashes --compile-bytecode requirements.lock; \
	  $(VENV)/uv pip install --quiet --python $(VENV)/python --no-deps --no-build-isolation --editable .; \
	fi
	@cp requirements.lock $@

## make reproduce  PRESET=demo: make the data, train, execute every notebook, write figures/demo/
# Real data: make reproduce PRESET=pku DATA=path/to/PKUv1a_128x48
# Our own lock on results/<preset>/ ends with its process, so Snakemake's, which does not, is off.
reproduce: setup
	@$(VENV)/reid resolve '$(PRESET)' $(OPTIONS) --check
	@$(RESOLVE) $(VENV)/reid resolve '$(PRESET)' $(OPTIONS) $(if $(RETRAIN),--retrain)
	@trap 'echo "make reproduce: interrupted; completed runs and epochs are kept: the same command goes on" >&2; \
	  exit 130' INT; \
	  $(VENV)/snakemake --profile '$(PROFILE)' --nolock $(SNAKEMAKE) --config preset='$(PRESET)' $(CONFIG)
	@$(VENV)/reid summary '$(PRESET)' $(OPTIONS)

## make unlock     remove the lock that a killed Snakemake left, unless a process still runs
unlock: setup
	@$(VENV)/reid unlock

## make lab        open JupyterLab on the notebooks
lab: setup
	$(VENV)/jupyter lab --notebook-dir=. notebooks/01_data.ipynb

## make site       PRESET=demo: build a static website of the results, results/site/index.html
site: setup
	@$(VENV)/python site/build.py '$(PRESET)'

## make pdf        export its article as a PDF file, results/article.pdf (needs Chromium)
pdf: site
	@$(VENV)/python site/pdf.py '$(PRESET)'

## make test       run the linter and the quick tests
test: setup lint
	$(VENV)/python -m pytest -m "not slow and not browser"

## make test-slow  run the slow tests (some need Debian's packages slurm-wlm and munge)
test-slow: setup
	@if ! PATH="$$PATH:/usr/sbin" command -v slurmctld >/dev/null; then \
	  root=$$(test "$$(id -u)" = 0 || echo 'sudo -n'); \
	  $$root apt-get update -qq && $$root apt-get install -qq -y --no-install-recommends slurm-wlm munge \
	    || echo 'Slurm was not found and could not be installed; run: apt-get install slurm-wlm munge'; \
	fi
	$(VENV)/python -m pytest -rs -m slow

## make test-browser  test the website and JupyterLab in headless Chromium (Debian's package chromium)
test-browser: setup
	@if ! test -x "$${CHROMIUM:-}" && ! command -v chromium chromium-browser google-chrome >/dev/null; then \
	  root=$$(test "$$(id -u)" = 0 || echo 'sudo -n'); \
	  $$root apt-get update -qq && $$root apt-get install -qq -y --no-install-recommends chromium \
	    || echo 'Chromium was not found and could not be installed; run: apt-get install chromium'; \
	fi
	$(VENV)/python -m pytest -rs -m browser tests/test_site.py tests/test_page.py tests/test_pdf.py \
	  tests/test_lab.py

## make test-gpu   run the tests that need a graphics card; without one they are skipped
test-gpu: setup
	$(VENV)/python -m pytest -rs -m gpu

## make fuzz       test every reader with nearly valid and random input; FUZZ_MINUTES=60
fuzz: setup
	$(VENV)/python -W ignore tests/fuzz.py --minutes '$(FUZZ_MINUTES)'

## make lint       check the style of the code, and that notebooks are stored without outputs
lint: setup
	$(VENV)/ruff check
	$(VENV)/ruff format --check
	@$(VENV)/nbstripout --keep-id --verify notebooks/*.ipynb \
	  || { echo 'notebooks contain outputs: run make format' >&2; exit 1; }

## make format     format the code, and remove the outputs of the notebooks
format: setup
	$(VENV)/ruff check --fix
	$(VENV)/ruff format
	$(VENV)/nbstripout --keep-id notebooks/*.ipynb

## make readme     update the generated parts of all Markdown files
readme: setup
	$(VENV)/python site/readme.py

## make weights    train the weights that come with the package anew; WEIGHTS=ImageNet weights to start from
# On one thread, so that the bytes do not depend on the number of cores.
weights: setup
	OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 $(VENV)/reid train drawn --row mobilenet_v2 \
	  $(if $(WEIGHTS),--weights '$(WEIGHTS)')
	$(VENV)/reid export results/drawn/mobilenet_v2/split-0 --out reid_lib/weights/mobilenet_v2_drawn.safetensors
	@sha256sum reid_lib/weights/mobilenet_v2_drawn.safetensors

## make lock       update the pinned versions within the ranges of pyproject.toml
lock: setup
	$(VENV)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --all-extras \
	  --custom-compile-command "make lock" pyproject.toml --output-file requirements.lock
