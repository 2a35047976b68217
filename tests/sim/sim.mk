# The simulation: engines without a GPU, arrivals of traces, and the pool driven by both. Included by the Makefile.

SIM          := $(BUILD)/tests/sim
SIM_PROGRAMS := $(SIM)/virtual $(SIM)/engine $(SIM)/replay
UNIT_TESTS   += $(SIM)/test_model
sim_objects   = $(patsubst %,$(SIM)/%.o,$(1))

$(SIM)/virtual: $(call sim_objects,virtual vpool baselines chooser_policy forecast model prefix trace random) $(BUILD)/tests/bench/samples.o \
  $(call linkorder,$(call closure,backends/pool))
$(SIM)/engine: $(call sim_objects,engine faults model prefix) $(call linkorder,lib/base lib/net)
$(SIM)/replay: $(call sim_objects,replay prompt trace) $(patsubst %,$(BUILD)/tests/bench/%.o,call reply samples) \
  $(call linkorder,lib/base lib/net)
$(SIM_PROGRAMS):
	$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS)

$(SIM)/test_model: $(call sim_objects,test_model forecast model prefix) $(call linkorder,lib/base)
	$(CC) $(LDFLAGS) -o $@ $^ -lcmocka $(LDLIBS)

SCENARIO ?=
REPEAT   ?= 5

sim: ## Scenarios of the pool with what their figures must be (SCENARIO=a,b REPEAT=5 PLOT=folder)
	@scripts/setup.sh test
	@$(MAKE) --no-print-directory --quiet $(PARALLEL) all sim-programs
	@exec .cache/test/bin/python tests/sim/sim.py --bin $(BIN) --programs $(SIM) --scenario "$(SCENARIO)" --repeat $(REPEAT) \
	  $(if $(PLOT),--plot $(PLOT))

soak: ## Ten minutes of faults that chance picks, on a real pool: one scenario of sim
	@$(MAKE) --no-print-directory sim SCENARIO=soak

sim-programs: $(SIM_PROGRAMS)

.PHONY: sim soak sim-programs
