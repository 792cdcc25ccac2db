# make repro: set up and run the whole workflow. make test: set up and run the tests. `make help` lists the rest.

SHELL := /bin/bash
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
LOCKS := requirements.lock requirements-mongod.lock requirements-uv.lock
# Tests wait for processes that they start: one more at a time than there are cores, at most 4.
TESTERS := $(shell n=$$(getconf _NPROCESSORS_ONLN); echo $$((n < 4 ? n + 1 : 4)))
LOCK_HASH := $(shell cat $(LOCKS) scripts/setup.sh scripts/install.sh | sha256sum | cut -c1-16)

export PATH := $(abspath $(BIN)):$(PATH)
export MLFLOW_DISABLE_TELEMETRY := true
export FIFTYONE_DO_NOT_TRACK := true
export DO_NOT_TRACK := 1
export NO_MKDOCS_2_WARNING := 1
unexport PYTHONPATH

.PHONY: help setup repro test lint docs demo ui app rollback viz clean clean-caches

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*##/\t/' | expand -t 14

setup:  ## make the virtual environment, once for each state of the lock file
	@bash scripts/setup.sh "$(PYTHON)" "$(VENV)" "$(LOCK_HASH)"

repro: setup  ## run what has changed of the stages, from pictures to a registered codec and its report
	@if [ ! -e .git ]; then \
		echo "repro: no .git is here, so DVC works without it; dvc exp needs it: git init && git add -A && git commit -m start"; \
		dvc config --local core.no_scm true; \
	elif grep -qs no_scm .dvc/config.local; then dvc config --local --unset core.no_scm; fi
	@dvc repro
	@python scripts/summary.py

test: setup  ## run the tests, several files at a time
	@python -m pytest -n $(TESTERS) --dist loadfile --no-loadscope-reorder

lint: setup  ## check format, style, types and import rules
	@ruff format --check . && ruff check . && mypy && lint-imports

docs: setup  ## build the documentation into site/, to be read from the disk or served
	@mkdocs build --quiet --strict
	@echo "site/index.html"

demo: setup  ## compress your own photograph on a page in the browser; it needs no network
	@balle-li demo

ui: setup  ## compare runs and models in MLflow's UI
	@mlflow ui --backend-store-uri "sqlite:///$(CURDIR)/mlflow.db" --host 127.0.0.1

app: setup  ## look at the curated pictures, and at what models made of them, in FiftyOne's App; RUNS=all or names: MLflow's too
	@python -m balle_li.app $(if $(RUNS),--runs $(filter-out all,$(RUNS)))

rollback: setup  ## give the alias champion back to the version before; REASON="why" is kept, YES=1 needs none
	@python -m balle_li.tracking.rollback --reason "$(REASON)" $(if $(YES),--yes)

viz: setup  ## draw the pipelines with Kedro-Viz (an optional extra, in a virtual environment of its own)
	@bash scripts/viz.sh "$(PYTHON)" .viz

clean:  ## remove virtual environments; data, models and runs stay
	@rm -rf .venv .viz build site

clean-caches: setup  ## remove interrupted work and measurements that nobody needed for DAYS (30) days
	@python -m balle_li.caches --days $(or $(DAYS),30)
