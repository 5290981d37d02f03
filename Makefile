# Everything that is needed: Python 3.11 or newer with venv and pip, and make.
# Another interpreter: make PYTHON=/path/to/python …

PYTHON ?= $(shell command -v python3.11 || command -v python3)
UV ?= uv
SECONDS ?= 60
BIN := .venv/bin
STAMP := .venv/.installed
TESTING := .venv/.testing
EXTRA_LOCKS := tests/memory/requirements.lock examples/requirements.lock tests/deploy/requirements.lock
# All but mem0, which brings much of its own: only its tests install it.
EXTRAS := database knowledge local mcp providers redis testing tokens
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check
COMPILE = $(UV) pip compile --quiet --universal --python-version 3.11 \
  --generate-hashes --no-annotate --no-header --no-emit-index-url --no-emit-find-links

.DEFAULT_GOAL := help
.PHONY: help serve test test-storm test-deaths check format lock bench clean

help: ## Show what can be made
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST)

serve: $(STAMP) ## Start the server on http://127.0.0.1:8000
	@$(BIN)/tertulia serve

test: $(TESTING) ## Run all tests
	@$(BIN)/pytest -q -n auto --dist worksteal

check: $(STAMP) ## Check format, rules, types and stairs
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy --no-error-summary
	@stairs=$$($(BIN)/lint-imports --no-logo) || { echo "$$stairs"; exit 1; }
	@echo "All is well."

format: $(STAMP) ## Bring the code into shape
	@$(BIN)/ruff check --quiet --fix-only .
	@$(BIN)/ruff format --quiet .

lock: ## Bring the locks in line with pyproject.toml and with each other (needs uv)
	@$(COMPILE) $(EXTRAS:%=--extra %) --group dev --group model --output-file requirements.lock pyproject.toml
	@$(COMPILE) --constraint requirements.lock --extra database --extra knowledge --extra mcp --extra providers --extra redis \
	  --output-file deploy/requirements.lock pyproject.toml
	@$(COMPILE) --constraint requirements.lock --output-file deploy/build.lock deploy/build.txt
	@known="--constraint requirements.lock"; for lock in $(EXTRA_LOCKS); do \
	  $(COMPILE) $$known --output-file $$lock $${lock%.lock}.txt || exit 1; known="$$known --constraint $$lock"; \
	done

bench: $(STAMP) ## Measure what a turn costs
	@$(BIN)/python -m benchmarks

test-storm: $(STAMP) ## Kill, stall and cut off servers under callers (SECONDS=60 on each database)
	@$(BIN)/python -m tests.journeys.storm --seconds $(SECONDS)

test-deaths: $(STAMP) ## Let servers die 200 times and look for what was lost (some minutes)
	@$(BIN)/python -m tests.journeys.deaths --repetitions 200

clean: ## Remove what tools have left behind (neither .venv nor your data)
	@rm -rf dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	@find . -path ./.venv -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed: make PYTHON=…" if sys.version_info < (3, 11) else 0)'
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "Installing into .venv (a minute, and only when the requirements have changed) …"
	@$(PIP) install --no-deps --require-hashes -r requirements.lock
	@$(PIP) install --no-deps --no-build-isolation -e .
	@touch $@

# What tests alone need: examples as their users run them, and the schemas of Kubernetes.
$(TESTING): $(STAMP) $(EXTRA_LOCKS)
	@echo "Installing what only tests need …"
	@$(PIP) install --no-deps --require-hashes $(addprefix -r ,$(EXTRA_LOCKS))
	@touch $@
