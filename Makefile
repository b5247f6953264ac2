# Every target does the set-up it needs, once: .venv is made again only when pyproject.toml or constraints.txt change.
PYTHON ?= python3
# CPU-only builds of torch: make TORCH_INDEX=https://... (the address pytorch.org gives for CPU wheels)
TORCH_INDEX ?=
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# Compiled modules are kept: tests start processes that would compile them each time
PYTEST := PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest
DEMO_OUT ?= demo-out
# Files of tests that run beside each other
TEST_JOBS ?= 2
# make faults-full FAULTS="--commands drop,export --every 10" tries these alone
FAULTS ?=
# How long the long trials take: make fuzz MINUTES=600
MINUTES ?= 60
# make bench BENCH="knn read" runs these alone; BENCH=--quick all, at small sizes
BENCH ?=

.DEFAULT_GOAL := help
.PHONY: help venv demo test test-all slow faults faults-full power meet fuzz lint types fmt docs docs-site bench wheel check clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

venv: $(READY)  ## the environment, with the tested versions of constraints.txt

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("avpipe needs Python 3.11 or newer: make PYTHON=python3.12" if sys.version_info < (3, 11) else 0)'
	@echo "setting up $(VENV) (once): 6 GB, 2 to 7 minutes"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python .ci/install.py $(VENV) -c constraints.txt \
		$(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) --editable '.[dev]'
	@touch $@

demo: $(READY)  ## videos to localized sounds on synthetic clips, in ./demo-out (minutes)
	@$(BIN)/python -m avpipe demo $(DEMO_OUT)

test: $(READY)  ## the tests of every day (minutes)
	$(PYTEST) -q -m "not slow" -n $(TEST_JOBS) --dist loadfile --no-loadscope-reorder --durations 10

slow: $(READY)  ## the tests over ten seconds
	$(PYTEST) -q -m slow

faults: $(READY)  ## kills, full disks, flipped bits: short and long
	$(PYTEST) -q -m faults

faults-full: $(READY)  ## each system call of each command fails once: hours, goes on where it stopped
	@mkdir -p build
	$(BIN)/python tests/faults/full.py --out build/faults.jsonl --jobs $(TEST_JOBS) $(FAULTS)

power: $(READY)  ## what the power may leave of each command, for MINUTES; goes on where it stopped
	$(BIN)/python tests/endure.py power --minutes $(MINUTES)

meet: $(READY)  ## commands beside each other in every order, for MINUTES; goes on where it stopped
	$(BIN)/python tests/endure.py meet --minutes $(MINUTES)

fuzz: $(READY)  ## damaged media files, for MINUTES; totals and findings in build/fuzz
	PYTHONPATH=tests $(BIN)/python -m fuzz.run --minutes $(MINUTES)

test-all: $(READY)  ## every test
	$(PYTEST) -q

lint: $(READY)  ## ruff: rules and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)  ## mypy --strict
	@mkdir -p .types && ln -sfn .. .types/avpipe
	MYPYPATH=.types $(BIN)/mypy -p avpipe

fmt: $(READY)  ## format, and mend what ruff can mend
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(READY)  ## write docs/commands.md from the commands themselves
	$(BIN)/python -m avpipe.pipeline.docs > docs/commands.md

docs-site: $(READY)  ## the pages as a site in build/site (extra: docs)
	@$(BIN)/python -c 'import material' 2>/dev/null || $(BIN)/python .ci/install.py $(VENV) -c constraints.txt --editable '.[docs]'
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict -q
	@echo "build/site/index.html; with search: $(BIN)/python -m http.server -d build/site"

bench: $(READY)  ## measured comparisons into bench/results.json and its page (quiet machine, 12 minutes)
	@$(BIN)/python bench/all.py $(BENCH)

wheel: $(READY)  ## dist/*.whl
	$(BIN)/python -m build --wheel --no-isolation

check: lint types test  ## lint, types and test: what has to pass before a change goes in

clean:  ## remove .venv, build and demo output
	rm -rf $(VENV) build dist *.egg-info .types .mypy_cache .ruff_cache .pytest_cache $(DEMO_OUT)
