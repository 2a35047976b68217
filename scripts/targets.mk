# What runs and tests the programs; included by the Makefile. Each target first installs what it needs (scripts/setup.sh).
#
#   make run GATEWAYS=3 WORKERS=4
#   make test TESTS=tests/integration/test_smoke.py PYTEST_ARGS="-k stream -x"
#   make test TESTS=tests/integration/test_smoke.py PYTEST_ARGS="-n 0 -s"         in one process

# Debian's interpreter where there is one: it needs no environment of its own.
SYSTEM_PYTHON := $(firstword $(wildcard /usr/bin/python3) python3)
GATEWAYS      ?= 1
WORKERS       ?= 1
TESTS         ?= tests/integration tests/bench tests/sim
PYTEST_ARGS   ?=

# As many compilers as cores, unless the caller's make already says how many.
PARALLEL = $(if $(findstring -j,$(MAKEFLAGS)),,-j$(shell nproc))

# Makes something of another variant, in that variant's own folder whatever BUILD is here.
variant = $(MAKE) --no-print-directory --quiet $(PARALLEL) VARIANT=$(1) BUILD=build/$(1) BIN=build/$(1)/bin

run: ## Run a whole stack here: Redis, a real engine, workers, gateways and the client (GATEWAYS=1 WORKERS=1)
	@scripts/setup.sh build run
	@$(MAKE) --question all >/dev/null 2>&1 || echo "build     compiling …"
	@$(MAKE) --no-print-directory --quiet $(PARALLEL) all
	@exec $(SYSTEM_PYTHON) scripts/run.py --bin $(BIN) --gateways $(GATEWAYS) --workers $(WORKERS)

test: ## Run every test: unit, integration, short cases of the long suites
	@scripts/setup.sh test
	@$(MAKE) --no-print-directory --quiet $(PARALLEL) test-here

# With what is installed; used by other variants too.
test-here: all bench-programs sim-programs $(UNIT_TESTS)
	@exec $(SYSTEM_PYTHON) scripts/test.py --bin $(BIN) --build $(BUILD) --tests "$(TESTS)" --pytest "$(PYTEST_ARGS)" $(UNIT_TESTS)

unit-here: $(UNIT_TESTS)
	@exec $(SYSTEM_PYTHON) scripts/test.py --build $(BUILD) --tests "" $(UNIT_TESTS)

asan: ## Unit and integration tests with the address, undefined and leak sanitizers
	@scripts/setup.sh test
	+@$(call variant,asan) test-here

tsan: ## Unit tests with the thread sanitizer
	@scripts/setup.sh test
	+@$(call variant,tsan) unit-here

# `make test` runs a short case of each of these.
faults: ## Money while everything breaks: the long form (1,000 requests at three gateways, twenty times; every kill and loss)
	@scripts/setup.sh test
	@$(MAKE) --no-print-directory --quiet $(PARALLEL) all
	@BIN=$(abspath $(BIN)) FAULTS=1 .cache/test/bin/python -m pytest -q -n $$(nproc) tests/integration/test_money_faults.py tests/integration/test_ledger_faults.py \
	  tests/integration/test_money_scripts.py tests/integration/test_redis_forms.py $(PYTEST_ARGS)

cover: ## Run the tests and say which share of the lines they ran, a folder a line
	@scripts/setup.sh test
	@find build/cover -name '*.gcda' -delete 2>/dev/null || true
	+@$(call variant,cover) test-here
	@scripts/cover.sh build/cover

setup-build setup-run setup-test setup-check:
	@scripts/setup.sh $(@:setup-%=%)

setup: ## Install what building, running, testing and checking need
	@scripts/setup.sh build run test check

.PHONY: run test test-here unit-here asan tsan faults cover setup setup-build setup-run setup-test setup-check
