# The tasks of this project; `make` alone lists them.

# The Python that .venv is made with, for example `make setup PYTHON=python3.12`. Empty: the newest of 3.11 to 3.13.
PYTHON ?=

# Options of `make bench-vs-bart`.
BENCH ?=

# Two workers or more, each with its own fixtures: much of a test is a child process that starts.
PYTEST = .venv/bin/python -m pytest --numprocesses=auto --durations=25
COVERAGE = --cov=bart_bridge --cov=tf_models --cov=compare --cov-report=term


.PHONY: help setup browser slurm demo test test-all test-backends bench bench-vs-bart lint clean
.NOTPARALLEL:

help: ## list these targets
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/make \1	\2/p' Makefile | expand -t 18

setup: ## set up what is missing: .venv, BART
	@PYTHON='$(PYTHON)' tools/setup

browser: ## set up what is missing, and a browser for the tests of the report's page
	@PYTHON='$(PYTHON)' BROWSER=chromium tools/setup

slurm: ## set up what is missing, and Slurm for the tests of jobs on a cluster
	@PYTHON='$(PYTHON)' SLURM=slurm-wlm tools/setup

demo: setup ## run the comparison of configs/demo.yaml; it ends with where the report is
	.venv/bin/bart-tf compare configs/demo.yaml

test: setup ## run the tests but the slow ones
	$(PYTEST) -m "not slow"

test-all: setup ## run all tests, with coverage
	$(PYTEST) $(COVERAGE) -m "slow or not slow"

test-backends: setup ## the networks on JAX, and on PyTorch where it is installed
	.venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -r constraints-jax.txt
	.venv/bin/python -m pytest tests/backends

bench: setup ## benchmarks; fails where a ratio to BART fell by more than a quarter
	mkdir -p reports/benchmarks
	rm -f reports/benchmarks/latest.json
	.venv/bin/python -m pytest tests/benchmarks --benchmark-only --benchmark-json=reports/benchmarks/latest.json
	.venv/bin/python -m tests.benchmarks.regression reports/benchmarks/baseline.json reports/benchmarks/latest.json

bench-vs-bart: setup ## BART and Keras in turn: the table of times, memory and ratios; BENCH=--quick leaves growth out
	.venv/bin/python -m tests.benchmarks.versus_bart $(BENCH)

lint: setup ## check style, format and types
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy

clean: ## remove .venv and what the tools left; reports stay
	rm -rf .venv build *.egg-info .coverage .coverage.* .benchmarks .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -not -path './.git/*' -prune -exec rm -rf {} +
