# `make` lists what there is. Each target sets up .venv by itself, again only when pyproject.toml or constraints.txt
# changed. Another Python: make PYTHON=python3.12 ...

PYTHON ?= python3
BIN := .venv/bin
READY := .venv/ready
PEERS := .venv-peers/ready
SHELL := /bin/bash
PYTEST = folder=$$(mktemp -d) && trap 'rm -rf $$folder' EXIT && $(BIN)/pytest -q --durations=12 --durations-min=10 --basetemp=$$folder/t

.PHONY: help venv demo test test-processes test-rest test-docker test-unit chaos oracle lint format bench bench-peers bench-claim bench-soak bench-containers clean

help:
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 14

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Dray needs Python 3.11 or newer; choose one with: make PYTHON=python3.12" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv \
		|| { echo "no venv: install the module for it (on Debian and Ubuntu: the package python3-venv)" >&2; exit 1; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

# An environment of their own: they pin other versions of the same packages.
$(PEERS): benchmarks/peers/requirements.txt
	@test -x .venv-peers/bin/python || $(PYTHON) -m venv .venv-peers
	.venv-peers/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	@touch $@

venv: $(READY) ## the virtual environment .venv, with Dray and its tools

demo: $(READY) ## a few hundred executions, one runner killed half-way, everything proved at the end
	$(BIN)/dray demo

# Two halves side by side, since the first mostly waits for processes; each with a folder of its own, on which no other
# pytest sets the rights.
test: $(READY) ## the test suite, on its own Postgres, Ray and, where a Docker engine answers, containers
	@$(MAKE) --no-print-directory -j2 test-processes test-rest

test-processes: $(READY)
	@$(PYTEST) tests/acceptance tests/chaos tests/ray tests/k8s

test-rest: $(READY)
	@$(PYTEST) tests/unit tests/arch tests/oracle tests/db tests/docker

test-docker: $(READY) ## the image and the Compose file in real containers, where a Docker engine answers
	@$(PYTEST) -m docker tests/docker

chaos: $(READY) ## kills, outages, open transactions, and what is recorded judged: SEED=7 SECONDS=60 EXECUTOR=ray ONLY=kill,stop
	$(BIN)/python -m tests.chaos.run $(if $(SEED),--seed $(SEED)) --seconds $(or $(SECONDS),60) \
		--executor $(or $(EXECUTOR),local) --only '$(ONLY)'

test-unit: $(READY) ## the tests that need neither Postgres nor Ray
	$(BIN)/pytest -q tests/unit tests/arch

GRAPHS ?= 20000
SEED ?= page

oracle: $(READY) ## random graphs against an interpreter of the page: make oracle GRAPHS=1000000 SEED=7
	$(BIN)/python -m tests.oracle --graphs $(GRAPHS) --seed $(SEED)

lint: $(READY) ## ruff, import contracts, types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy

format: $(READY) ## ruff's fixes and format, in place
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(READY) ## what Dray does per second, and what a node costs
	$(BIN)/python -m benchmarks

bench-peers: $(READY) $(PEERS) ## the same work on three other systems too, with ratios
	$(BIN)/python -m benchmarks peers

bench-claim: $(READY) ## does a claim cost more when 1,000,000 executions are queued?
	$(BIN)/python -m benchmarks claim

bench-soak: $(READY) ## does the driver's memory grow over 1,000,000 nodes?
	$(BIN)/python -m benchmarks soak

bench-containers: $(READY) ## what one to three containers of 512 MiB and half a CPU do, where a Docker engine answers
	$(BIN)/python -m benchmarks.containers

clean: ## caches and .venv
	rm -rf .venv .venv-peers .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis src/*.egg-info build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
