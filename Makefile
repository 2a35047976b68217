# Builds, tests and runs Cocoon's gateway, worker and tools. `make help` lists the targets.
#
# One static archive a folder (LAYERS); DEPS.<folder> says what a folder may include, and the same lists give the link order.
# VARIANT picks the flags: release (default), asan, tsan, fuzz, cover. Each has a folder of its own under build/.

VARIANT ?= release
BUILD   ?= build/$(VARIANT)
BIN     ?= $(if $(filter release,$(VARIANT)),bin,$(BUILD)/bin)

# ---- The map: folders and what each may include ---------------------------------------------------

LAYERS := lib/base lib/crypto lib/net lib/openai lib/ohttp lib/receipt lib/attest config auth backends/pool backends/engine

DEPS.lib/base        :=
DEPS.lib/crypto      := lib/base
DEPS.lib/net         := lib/base
DEPS.lib/openai      := lib/base
DEPS.lib/ohttp       := lib/base lib/crypto
DEPS.lib/receipt     := lib/base lib/crypto
DEPS.lib/attest      := lib/base lib/crypto
DEPS.config          := lib/base
DEPS.auth            := lib/base lib/crypto lib/net
DEPS.backends/pool   := lib/base lib/crypto lib/net lib/ohttp lib/attest lib/openai lib/receipt
DEPS.backends/engine := lib/base lib/net lib/openai

PROGRAMS := gateway worker tools
BINARY.gateway := cocoon-gateway
BINARY.worker  := cocoon-worker
BINARY.tools   := cocoonctl
# The measured worker is small: no auth, no Redis code of the gateway (ARCHITECTURE.md).
DEPS.gateway := $(LAYERS)
DEPS.worker  := lib/base lib/crypto lib/net lib/openai lib/ohttp lib/receipt lib/attest config backends/engine
DEPS.tools   := lib/base lib/crypto lib/net lib/openai lib/receipt lib/attest config auth

# ---- Flags ----------------------------------------------------------------------------------------

VERSION := 0.1.0
COMMIT  := $(shell git rev-parse --short=12 HEAD 2>/dev/null || echo unknown)

WARN := -Wall -Wextra -Wshadow -Wconversion -Wstrict-prototypes -Wmissing-prototypes -Wold-style-definition \
        -Wformat=2 -Wimplicit-fallthrough -Wundef -Wwrite-strings -Wcast-qual -Wpointer-arith -Wvla
ifeq ($(CI),true)
WARN += -Werror
endif
HARDEN := -D_FORTIFY_SOURCE=3 -fstack-protector-strong -fstack-clash-protection -fcf-protection=full

CFLAGS.release := -O2 -g $(HARDEN)
CFLAGS.asan    := -O1 -g -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer
CFLAGS.tsan    := -O1 -g -fsanitize=thread -fno-omit-frame-pointer
CFLAGS.fuzz    := -O1 -g -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer
CFLAGS.cover   := -O0 -g --coverage
LDFLAGS.release := -Wl,-z,relro,-z,now,-z,noexecstack
LDFLAGS.asan    := -fsanitize=address,undefined
LDFLAGS.tsan    := -fsanitize=thread
LDFLAGS.fuzz    := -fsanitize=fuzzer,address,undefined
LDFLAGS.cover   := --coverage
ifeq ($(VARIANT),fuzz)
CC := clang
endif

CPPFLAGS += -D_GNU_SOURCE -Ilib -I.
CFLAGS   += -std=gnu17 -fPIE -fno-common $(WARN) $(CFLAGS.$(VARIANT))
LDFLAGS  += -pie -Wl,--as-needed $(LDFLAGS.$(VARIANT))
LDLIBS   := -lmicrohttpd -lnghttp2 -lcurl -lhiredis -lssl -lcrypto -ljansson -lyaml -lpthread -lm

# ---- Rules ----------------------------------------------------------------------------------------

archive   = $(BUILD)/$(1).a
objects   = $(patsubst %.c,$(BUILD)/%.o,$(wildcard $(1)/*.c))
# Dependencies of a folder, itself first, in link order (LAYERS backwards).
linkorder = $(foreach l,$(shell echo $(LAYERS) | tr ' ' '\n' | tac),$(if $(filter $(l),$(1)),$(call archive,$(l))))
closure   = $(sort $(1) $(foreach d,$(DEPS.$(1)),$(d) $(DEPS.$(d))))

all: $(foreach p,$(PROGRAMS),$(if $(wildcard $(p)/*.c),$(BIN)/$(BINARY.$(p)))) ## Build every program into bin/

$(BUILD)/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) -MMD -MP -c -o $@ $<

$(BUILD)/lib/base/version.o: CPPFLAGS += -DCOCOON_VERSION='"$(VERSION)"' -DCOCOON_COMMIT='"$(COMMIT)"'

define layer_rules
$(call archive,$(1)): $(call objects,$(1))
	@mkdir -p $$(@D)
	@rm -f $$@
	$$(AR) rcs $$@ $$^
endef
$(foreach l,$(LAYERS),$(eval $(call layer_rules,$(l))))

define program_rules
$(BIN)/$(BINARY.$(1)): $(call objects,$(1)) $(call linkorder,$(DEPS.$(1)))
	@mkdir -p $$(@D)
	$$(CC) $$(LDFLAGS) -o $$@ $$^ $$(LDLIBS)
endef
$(foreach p,$(PROGRAMS),$(eval $(call program_rules,$(p))))

# A unit test of folder F is tests/unit/F/test_*.c and links F with what F may include; a fuzz target likewise.
define unit_rules
UNIT_TESTS += $(patsubst tests/unit/%.c,$(BUILD)/tests/unit/%,$(wildcard tests/unit/$(1)/test_*.c))
FUZZERS    += $(patsubst tests/fuzz/%.c,$(BUILD)/tests/fuzz/%,$(wildcard tests/fuzz/$(1)/fuzz_*.c))
$(BUILD)/tests/unit/$(1)/test_%: $(BUILD)/tests/unit/$(1)/test_%.o $(call linkorder,$(call closure,$(1)))
	$$(CC) $$(LDFLAGS) -o $$@ $$^ -lcmocka $$(LDLIBS)
$(BUILD)/tests/fuzz/$(1)/fuzz_%: $(BUILD)/tests/fuzz/$(1)/fuzz_%.o $(call linkorder,$(call closure,$(1)))
	$$(CC) $$(LDFLAGS) -o $$@ $$^ $$(LDLIBS)
endef
$(foreach l,$(LAYERS),$(eval $(call unit_rules,$(l))))

.SECONDARY:
-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
