# The tasks of this project. `make` without a target lists them.

# The Python of .venv, for example `make setup PYTHON=python3.12`. Default: the newest of 3.11 to 3.13.
PYTHON ?=

# The folder of `make barts`. Where it is another than the default, BART_TF_BARTS tells bart-tf. Or pip: BART 1.0.00 out of
# a Python package, for systems other than Debian.
BARTS ?= .barts

# Options of `make bench-vs-bart`.
BENCH ?=

# Several workers, each with its own fixtures: much of a test's time is the start of child processes.
PYTEST = .venv/bin/python -m pytest --numprocesses=auto --dist=worksteal --durations=25
# What depends on the version of BART: files, data, baselines, the drop-in, weights, parity. The marker `barts` is on what
# looks at several versions by itself: differences between them, the notes.
BART_VERSIONS = 0.8.00 0.9.00 1.0.00
BART_TESTS = \
	tests/bart_bridge/data tests/bart_bridge/files tests/bart_bridge/reconet \
	tests/bart_bridge/tools/test_toolbox.py tests/bart_bridge/tools/test_versions.py \
	tests/compare/cli/test_weights_bart.py tests/compare/engines/test_bart_behind_a_script.py \
	tests/compare/measuring/test_quality.py tests/compare/running/test_baselines.py tests/compare/running/test_radial.py \
	tests/compare/test_parity.py \
	tests/tf_models/networks/test_maps.py tests/tf_models/networks/test_networks.py \
	tests/tf_models/networks/test_noncartesian.py tests/tf_models/operators \
	tests/tf_models/optimizers/test_training.py tests/tf_models/programs/test_reconet.py
# What only documentation, packages and containers need.
DOCS_PACKAGES = .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -r constraints-docs.txt
COVERAGE = --cov=bart_bridge --cov=tf_models --cov=compare --cov-report=term

# A value as one word of the shell, whatever it holds.
quoted = '$(subst ','\'',$(1))'


.PHONY: help setup gpu browser slurm barts demo notes test test-all test-barts test-backends bench bench-vs-bart lint build docs clean
.NOTPARALLEL:

help: ## list these targets
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/make \1	\2/p' Makefile | expand -t 18

setup: ## create .venv, and install BART if there is none
	@PYTHON=$(call quoted,$(PYTHON)) tools/setup

browser: ## setup, and a browser for the tests of the report's page
	@PYTHON=$(call quoted,$(PYTHON)) BROWSER=chromium tools/setup

slurm: ## setup, and Slurm for the tests of jobs on a cluster
	@PYTHON=$(call quoted,$(PYTHON)) SLURM=slurm-wlm tools/setup

barts: ## fetch BART 0.8.00, 0.9.00 and 1.0.00 of Debian into BARTS=.barts, without root
	@PYTHON=$(call quoted,$(PYTHON)) tools/barts $(call quoted,$(BARTS))

gpu: ## set up what a machine with an NVIDIA GPU lacks: TensorFlow, JAX and BART with CUDA
	@PYTHON=$(call quoted,$(PYTHON)) BARTS=$(call quoted,$(BARTS)) tools/gpu

demo: setup ## run a small comparison (configs/demo.yaml) and print where the report is
	.venv/bin/bart-tf compare configs/demo.yaml

notes: setup ## run the commands of docs/bart-notes.md with three BARTs, and write what they print
	.venv/bin/python tools/notes.py

test: setup ## run all tests except the slow ones and those about BART alone
	$(PYTEST) -m "not slow and not barts"

test-all: setup ## run all tests, with coverage
	$(PYTEST) $(COVERAGE) -m "slow or not slow"

test-barts: setup ## run what depends on BART with 0.8.00, 0.9.00 and 1.0.00 in turn
	@PYTHON=$(call quoted,$(PYTHON)) tools/barts $(call quoted,$(BARTS)) || echo "Not every version is there: the others are tested"
	@failed= tested=; for version in $(BART_VERSIONS); do \
		bart=$(call quoted,$(abspath $(BARTS)))/$$version; \
		[ -x "$$bart/bart" ] || continue; \
		echo "Tests with $$bart"; tested="$$tested $$version"; \
		BART_TOOLBOX_PATH=$$bart $(PYTEST) -m "not slow and not barts" $(BART_TESTS) || failed="$$failed $$version"; \
	done; \
	[ -n "$$tested" ] || { echo "There is no BART in" $(call quoted,$(BARTS)); exit 1; }; \
	BART_TF_BARTS=$(call quoted,$(abspath $(BARTS))) $(PYTEST) -m "barts and not slow" || failed="$$failed side by side"; \
	[ -z "$$failed" ] || { echo "Tests failed with BART$$failed"; exit 1; }; \
	echo "Tested with BART$$tested"

test-backends: setup ## test the networks on JAX, and on PyTorch if it is installed
	.venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -r constraints-jax.txt
	.venv/bin/python -m pytest tests/backends

bench: setup ## run benchmarks; fail if a ratio to BART fell by more than a quarter
	mkdir -p reports/benchmarks
	rm -f reports/benchmarks/latest.json
	.venv/bin/python -m pytest tests/benchmarks --benchmark-only --benchmark-json=reports/benchmarks/latest.json
	.venv/bin/python -m tests.benchmarks.regression reports/benchmarks/baseline.json reports/benchmarks/latest.json

bench-vs-bart: setup ## compare time and memory of BART and Keras; BENCH=--quick omits growth
	.venv/bin/python -m tests.benchmarks.versus_bart $(BENCH)

lint: setup ## check style, format and types
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy

docs: setup ## build the documentation as a site in build/site, and run its tutorials
	$(DOCS_PACKAGES)
	tools/site
	.venv/bin/python -m pytest --numprocesses=auto -m "slow or not slow" tests/docs

build: setup ## build the wheel and the source distribution in build/dist, and check their metadata
	$(DOCS_PACKAGES)
	rm -rf build/dist build/lib build/bdist.*
	.venv/bin/python -m build --no-isolation --outdir build/dist
	.venv/bin/python -m twine check --strict build/dist/*

clean: ## remove .venv and what the tools left; keep the reports
	rm -rf .venv build *.egg-info .coverage .coverage.* .benchmarks .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -not -path './.git/*' -prune -exec rm -rf {} +
