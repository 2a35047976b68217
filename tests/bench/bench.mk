# The bench: a fake engine, a load generator and timed primitives, run by bench.py. Included by the Makefile.
#
#   make bench            about four minutes
#   make bench QUICK=1    one short repetition

BENCH          := $(BUILD)/tests/bench
BENCH_PROGRAMS := $(BENCH)/engine $(BENCH)/load $(BENCH)/primitives $(BENCH)/money
bench_objects   = $(patsubst %,$(BENCH)/%.o,$(1))

$(BENCH)/engine: $(call bench_objects,engine) $(call linkorder,lib/base lib/net)
$(BENCH)/load: $(call bench_objects,load call reply samples watch) $(call linkorder,lib/base lib/net)
$(BENCH)/primitives: $(call bench_objects,primitives) $(DEVTEE) $(call linkorder,lib/base lib/crypto lib/attest)
$(BENCH)/money: $(call bench_objects,money) $(call linkorder,billing $(DEPS.billing))
$(BENCH_PROGRAMS):
	$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS)

bench: ## Measure the gateway beside nginx and beside no proxy at all (QUICK=1: a short case)
	@scripts/setup.sh bench
	@$(MAKE) --no-print-directory --quiet $(PARALLEL) all bench-programs
	@exec $(SYSTEM_PYTHON) tests/bench/bench.py --bin $(BIN) --programs $(BENCH) $(if $(QUICK),--quick)

bench-programs: $(BENCH_PROGRAMS)

.PHONY: bench bench-programs
