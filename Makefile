# Everything a newcomer needs is `make demo` and `make test`; both set up what they use.
PYTHON ?= python3
VENV ?= .venv
SYNAPSE_VENV ?= .venv-synapse
SYNAPSE_VERSION := 1.163.2
# Workers of pytest-xdist.
JOBS ?= 2

BIN := $(VENV)/bin
# A recent pip: it knows dependency groups.
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
SERVICE := $(VENV)/.service-installed
DEV := $(VENV)/.dev-installed
SYNAPSE := $(SYNAPSE_VENV)/.synapse-$(SYNAPSE_VERSION)-installed

.PHONY: help demo run test test-long test-faults test-versions lint format protos bench interop-env clean

help:  ## Say what can be made.
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

demo: $(SERVICE)  ## Show the whole main job on loopback, in under a minute.
	@$(BIN)/partialstate demo $(ARGS)

# What a try-out needs and a homeserver would know; any PARTIALSTATE_ variable that is set takes its place.
run: export PARTIALSTATE_SERVER_NAME ?= localhost
run: export PARTIALSTATE_SIGNING_KEY_PATH ?= .run/signing.key
run: export PARTIALSTATE_DATA_DIR ?= .run/data
run: $(SERVICE)  ## Start a service on its embedded store (settings: README, "Settings").
	@test -e $$PARTIALSTATE_SIGNING_KEY_PATH || $(BIN)/matrix-partial-state generate-key $$PARTIALSTATE_SIGNING_KEY_PATH
	@exec $(BIN)/matrix-partial-state serve $(ARGS)

test: $(DEV) $(SYNAPSE)  ## Run all tests, those against real Synapses included.
	$(BIN)/python -m pytest -n $(JOBS) --dist loadgroup -rsfE -m "not long" $(ARGS)

test-long: $(DEV) $(SYNAPSE)  ## Run the long forms of the proofs (an hour or more).
	$(BIN)/python -m pytest -m long --timeout 7200 $(ARGS)

test-faults: $(DEV)  ## Run the fault suite alone (three minutes); tests/faults/README.md says what it shows.
	$(BIN)/python -m pytest tests/faults tests/resync -n $(JOBS) -m "not long" $(ARGS)

test-versions: $(DEV)  ## Run the fast tests on each other Python that is present.
	@$(BIN)/python tests/python_versions.py

# protos/released.binpb is the contract as last released (in protos/: buf build --exclude-source-info -o released.binpb).
lint: $(DEV)  ## Check style, types, generated code and the contract.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy service clients
	$(BIN)/python protos/generate.py --check
	cd protos && ../$(BIN)/buf lint
	cd protos && ../$(BIN)/buf breaking --against released.binpb

format: $(DEV)  ## Format the code.
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

protos: $(DEV)  ## Generate the stubs anew.
	$(BIN)/python protos/generate.py

bench: $(DEV) $(SYNAPSE)  ## Print one JSON object per figure; `make bench ONLY=check` for a part.
	@PYTHONPATH=tests $(BIN)/python -m bench $(ONLY)

interop-env: $(SYNAPSE)  ## Install the Synapse that tests talk to, in an environment of its own.

$(SERVICE): pyproject.toml constraints.txt
	@test -d $(VENV) || $(PYTHON) -m venv $(VENV)
	@echo "installing the service into $(VENV) ..."
	@$(PIP) install 'pip>=25.1'
	@$(PIP) install --constraint constraints.txt --editable '.[demo]'
	@touch $@

$(DEV): $(SERVICE)
	@echo "installing the tools of development into $(VENV) ..."
	@$(PIP) install --constraint constraints.txt --group dev
	@touch $@

# AGPL: a separate process in an environment of its own, never imported by the product.
$(SYNAPSE):
	@echo "installing Synapse $(SYNAPSE_VERSION) into $(SYNAPSE_VENV) (a minute) ..."
	@test -d $(SYNAPSE_VENV) || $(PYTHON) -m venv $(SYNAPSE_VENV)
	@$(SYNAPSE_VENV)/bin/python -m pip --disable-pip-version-check --quiet install 'matrix-synapse==$(SYNAPSE_VERSION)'
	@touch $@

clean:  ## Remove the environments and caches.
	rm -rf $(VENV) $(SYNAPSE_VENV) .venv-3* .mypy_cache .ruff_cache .pytest_cache .hypothesis
