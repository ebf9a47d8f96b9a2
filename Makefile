# Everything a developer types. `make` alone lists it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
LITELLM := .venv-litellm
NODE_PACKAGES := examples/node tests/e2e/sdk/node
NODE_MADE := $(NODE_PACKAGES:%=%/node_modules/.made)
# What renders /docs, and which of its files are kept in the package.
SWAGGER_UI := 5.35.0
SWAGGER_UI_FILES := LICENSE NOTICE swagger-ui-bundle.js swagger-ui-bundle.js.LICENSE.txt swagger-ui.css
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check
# The locks are complete, so nothing is left to resolve; modules are compiled when first imported. Containers often forbid
# writing what was compiled, and each of the many processes would then compile it all again: seconds each.
unexport PYTHONDONTWRITEBYTECODE
INSTALL := $(PIP) install --root-user-action=ignore --no-deps --no-compile
# The build backend (hatchling) is in every lock used here: the project itself needs no isolated build and no network.
INSTALL_PROJECT := $(INSTALL) --no-build-isolation --editable .
COMPILE := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header

.DEFAULT_GOAL := help
.PHONY: help demo install test check audit openapi record docs docs-assets bench bench-litellm fuzz chaos test-litellm test-examples lock clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(VENV)/.demo ## the whole product on this machine, nothing configured
	@$(BIN)/gateway demo

install: $(VENV)/.dev $(NODE_MADE) ## everything that developing and testing need, into .venv

test: $(VENV)/.dev $(NODE_MADE) ## the whole suite
	@$(BIN)/python -m pytest --numprocesses 2 --dist loadgroup --maxfail 20 --quiet

check: $(VENV)/.dev ## style, formatting, types, import directions
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --quiet --check .
	@$(BIN)/mypy --no-error-summary
	@$(BIN)/lint-imports --no-logo

audit: $(VENV)/.dev ## known vulnerabilities in the locked packages (asks PyPI's advisory service; who can't be asked is a failure)
	@for lock in requirements/*.lock; do \
		$(BIN)/pip-audit --strict --progress-spinner off --disable-pip --require-hashes --requirement $$lock || exit 1; done

openapi: $(VENV)/.dev ## write openapi.yaml anew
	@$(BIN)/gateway openapi > openapi.yaml.new && mv openapi.yaml.new openapi.yaml

record: $(VENV)/.dev ## record the document's examples from a run of the gateway anew, then write openapi.yaml
	@$(BIN)/python -m tests.document
	@$(MAKE) --no-print-directory openapi

docs: $(VENV)/.dev ## write the parts of the README that the code prints
	@$(BIN)/python -m tests.architecture.readme

docs-assets: ## fetch the files that render /docs from npm anew (for another version: SWAGGER_UI, above)
	@rm -rf build/swagger-ui && mkdir -p build/swagger-ui
	@cd build/swagger-ui && npm pack --silent swagger-ui-dist@$(SWAGGER_UI) > /dev/null && tar -xzf swagger-ui-dist-$(SWAGGER_UI).tgz
	@cd build/swagger-ui/package && install -m 644 $(SWAGGER_UI_FILES) $(CURDIR)/gateway/api/docs/swagger-ui
	@cd gateway/api/docs/swagger-ui && { echo "# swagger-ui-dist $(SWAGGER_UI)"; sha256sum $(SWAGGER_UI_FILES); } > SHA256SUMS

bench: $(VENV)/.dev ## the measurements behind the README's numbers
	@$(BIN)/python -m tests.bench

bench-litellm: $(VENV)/.dev $(LITELLM)/.made ## the same beside the real LiteLLM proxy, creating and reading (740 MB, once)
	@$(BIN)/python -m tests.bench --only litellm --json build/bench-litellm.json

fuzz: $(VENV)/.dev ## schemathesis with over 5,000 requests against a whole gateway without a network (SEED=N repeats a run)
	@$(BIN)/python -m tests.fuzz $(if $(SEED),--seed $(SEED))

chaos: $(VENV)/.dev ## 20 minutes of kills, freezes and cuts on both databases; then the books must balance (SEED=N repeats a run)
	@$(BIN)/python -m tests.chaos --minutes 20 $(if $(SEED),--seed $(SEED))

test-litellm: $(VENV)/.dev $(LITELLM)/.made ## the real LiteLLM proxy between the gateway and the simulated upstream, without a network (740 MB, once)
	@$(BIN)/python -m tests.litellm --quiet

test-examples: $(VENV)/.dev $(NODE_MADE) ## the examples in all languages, Go and Java too (as root on Debian it installs what is missing)
	@missing=; \
	command -v go > /dev/null || missing=golang-go; \
	command -v javac > /dev/null || missing="$$missing default-jdk-headless"; \
	if [ -n "$$missing" ] && [ "$$(id -u)" = 0 ] && command -v apt-get > /dev/null; then \
		echo "installing $$missing"; \
		{ apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends $$missing; } > /dev/null; \
	fi
	@EXAMPLES="python node bash go java" $(BIN)/python -m pytest tests/e2e/examples --numprocesses 2 --quiet

lock: $(VENV)/.dev ## resolve the lock files anew from pyproject.toml (needs the package index; UPGRADE=--upgrade for newer)
	@$(COMPILE) $(UPGRADE) pyproject.toml --extra demo --group dev -o requirements/dev.lock
	@$(COMPILE) $(UPGRADE) pyproject.toml --extra demo --group build -c requirements/dev.lock -o requirements/demo.lock
	@$(COMPILE) $(UPGRADE) pyproject.toml -c requirements/dev.lock -o requirements/runtime.lock
	@$(COMPILE) $(UPGRADE) --group build -c requirements/dev.lock -o requirements/build.lock
	@PATH="$(abspath $(BIN)):$$PATH" npm install --prefix tests/e2e/sdk/node --package-lock-only --ignore-scripts --silent
	@echo 'litellm[proxy]==1.106.2' | $(COMPILE) $(UPGRADE) - -o tests/litellm/requirements.lock

clean: ## remove the environment and every cache
	@rm -rf $(VENV) $(LITELLM) $(NODE_PACKAGES:%=%/node_modules) .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache .schemathesis build dist
	@find gateway tests -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "$(PYTHON) is too old or missing: Python 3.11 or newer is needed (make PYTHON=python3.12 …)"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "no virtual environment: on Debian, apt install python3-venv"; exit 1; }

# Stamps: an environment is made once, and again when its lock or the project's own metadata changes.
$(VENV)/.demo: requirements/demo.lock pyproject.toml | $(BIN)/python
	@echo "installing what the demo needs into $(VENV) (once)"
	@$(INSTALL) --require-hashes --requirement requirements/demo.lock
	@$(INSTALL_PROJECT)
	@touch $@

$(VENV)/.dev: requirements/dev.lock pyproject.toml | $(BIN)/python
	@echo "installing what development needs into $(VENV) (once)"
	@$(INSTALL) --require-hashes --requirement requirements/dev.lock
	@$(INSTALL_PROJECT)
	@touch $@ $(VENV)/.demo

$(LITELLM)/.made: tests/litellm/requirements.lock | $(VENV)/.dev
	@echo "installing the LiteLLM proxy into $(LITELLM) (once)"
	@$(BIN)/python -m venv $(LITELLM)
	@$(BIN)/uv pip install --quiet --python $(LITELLM)/bin/python --no-deps --require-hashes --requirement $<
	@touch $@

# Node.js and npm are those of the dev lock: the official SDK asks for newer ones than distributions have.
%/node_modules/.made: %/package-lock.json | $(VENV)/.dev
	@echo "installing the packages of $* (once)"
	@PATH="$(abspath $(BIN)):$$PATH" npm ci --prefix $* --no-audit --no-fund --ignore-scripts --silent
	@touch $@
