# Everything here needs Python 3.11 or newer, git and make; the rest is installed into .venv.
# Another interpreter: make PYTHON=python3.12 reproduce

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
WORKERS := 2

export PATH := $(CURDIR)/$(BIN):$(PATH)
export DVC_NO_ANALYTICS := true

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup reproduce report check test lint smoke faults gpu-check mutants slurm clouds storage staleness audit docs readme animation environments constraints clean

help:  ## show this list
	@sed -n 's/^\([a-z-]*\):.*## */\1\t/p' Makefile | while IFS="$$(printf '\t')" read -r name does; do \
		printf '  make %-12s %s\n' "$$name" "$$does"; done

reproduce: $(READY)  ## set up, run the pipeline on params.yaml, print the main result beside the committed one
	$(BIN)/snakemake --cores all all
	@$(BIN)/metadiffuser summary
	@$(BIN)/metadiffuser compare

check: lint  ## lint, types, and the fast tests: no engine, window, browser, cluster, storage, nothing slow
	$(BIN)/python -m pytest --quiet --numprocesses $(WORKERS) --dist loadfile \
		-m 'not slow and not engine and not window and not browser and not cluster and not storage'

report: $(READY)  ## make results/PRESET/report.html from the committed results; name the preset: PRESET=laptop
	$(BIN)/metadiffuser report $(if $(PRESET),--preset $(PRESET))

test: $(READY)  ## set up, then run the tests
	$(BIN)/python -m pytest --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder --durations 40 \
		-m 'not cluster and not storage'

setup: $(READY)  ## create .venv and install the versions in constraints.txt

$(BIN)/python:
	@'$(PYTHON)' -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "Python 3.11 or newer is needed, and '$(PYTHON)' is not one; name it, as in: make PYTHON=python3.12 setup" >&2; \
		exit 1; }
	'$(PYTHON)' -m venv $(VENV)

$(READY): pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --no-compile --constraint constraints.txt --editable '.[dev]'  # compiled at first import
	@touch $@

lint: $(READY)  ## check style, formatting, types and the workflow
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/snakefmt --check Snakefile workflow
	$(BIN)/mypy
	$(BIN)/snakemake --lint

smoke: $(READY)  ## run the smoke preset under Snakemake and DVC, in scratch clones
	.ci/smoke

faults: $(READY)  ## kill jobs and engines at random in the smoke preset, 30 times in each engine
	$(BIN)/python -m tests.engines.faults

gpu-check: $(READY)  ## run the smoke preset with device cuda and compare with the CPU; needs a CUDA device
	@$(BIN)/python -m tests.engines.gpu_check

mutants: $(READY)  ## make careless edits one at a time and see whether the tests notice; about an hour
	$(BIN)/python -m tests.mutants

slurm: $(READY) $(VENV)/.cluster  ## run the smoke preset on a SLURM of one node (as root, or with sudo)
	$(BIN)/python -m pytest -m cluster tests/engines/test_cluster.py

clouds: $(READY) $(VENV)/.kubernetes $(VENV)/.aws  ## try the profiles for Kubernetes and AWS Batch, without either
	$(BIN)/python -m pytest tests/engines/test_clouds.py

storage: $(READY) $(VENV)/.storage  ## push to and pull from an SSH server and an S3 API, both on this machine
	$(BIN)/python -m pytest -m storage tests/pipeline/test_storage.py

# What a target needs beside the tests' own packages.
$(VENV)/.cluster $(VENV)/.storage $(VENV)/.kubernetes $(VENV)/.aws: $(VENV)/.%: $(READY)
	$(BIN)/python -m pip install --constraint constraints.txt --editable '.[$*]'
	@touch $@

staleness: $(READY)  ## hold both engines to the same stale jobs for an edit of every parameter
	EVERY_KEY=true $(BIN)/python -m pytest tests/engines/test_staleness.py

audit: $(READY)  ## look for known vulnerabilities of the pinned versions, where the index allows
	.ci/audit

docs: $(READY)  ## build the documentation as a site, without the network; then open site/index.html
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

readme: $(READY)  ## copy the main tables of the results, and the presets' hyperparameters, into README.md and docs
	$(BIN)/python docs/copy_results.py
	$(BIN)/python docs/write_hyperparameters.py

animation: $(READY)  ## make the README's moving picture from the videos in results/laptop
	$(BIN)/python docs/make_animation.py

environments: $(READY)  ## write the tables of docs/environments.md from the models
	$(BIN)/python docs/write_environments.py

constraints: $(READY) $(VENV)/.cluster $(VENV)/.storage  ## record the versions in .venv as constraints.txt
	@{ echo '# The exact versions that this project is tested with; "make setup" installs them.'; \
	   echo '# Made by "make constraints" from .venv; which packages are needed is stated in pyproject.toml.'; \
	   $(BIN)/python -m pip freeze --all --exclude-editable | sed 's/+[A-Za-z0-9.]*$$//' | grep -v '^pip=='; } > $@.part
	@! grep -n '@' $@.part || { echo "the packages above were not installed from an index; install them by version" >&2; exit 1; }
	@mv $@.part $@.txt

clean:  ## remove caches and logs; .venv, artifacts and results stay
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis logs build site MUJOCO_LOG.TXT
	find src tests docs benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
