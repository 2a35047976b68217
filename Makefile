# Builds, tests and runs Cocoon's gateway, worker and tools. `make help` lists the targets.
#
# One static archive a folder (LAYERS); DEPS.<folder> says what a folder may include, and the same lists give the link order.
# VARIANT picks the flags: release (default), asan, tsan, fuzz, cover, analyze. Each has a folder of its own under build/.

VARIANT ?= release
BUILD   ?= build/$(VARIANT)
BIN     ?= $(if $(filter release,$(VARIANT)),bin,$(BUILD)/bin)

# ---- The map: folders and what each may include ---------------------------------------------------

LAYERS := lib/base lib/crypto lib/net lib/openai lib/ohttp lib/receipt lib/attest lib/trust config auth billing \
          backends/pool backends/engine client/core ledger/books

DEPS.lib/base        :=
DEPS.lib/crypto      := lib/base
DEPS.lib/net         := lib/base
DEPS.lib/openai      := lib/base
DEPS.lib/ohttp       := lib/base lib/crypto
DEPS.lib/receipt     := lib/base lib/crypto
DEPS.lib/attest      := lib/base lib/crypto
DEPS.lib/trust       := lib/base lib/crypto lib/net lib/attest
DEPS.config          := lib/base
DEPS.auth            := lib/base lib/crypto lib/net
DEPS.billing         := lib/base lib/crypto lib/net lib/openai lib/receipt
DEPS.backends/pool   := lib/base lib/crypto lib/net lib/ohttp lib/attest lib/trust lib/openai lib/receipt
DEPS.backends/engine := lib/base lib/net lib/openai
DEPS.client/core     := lib/base lib/crypto lib/net lib/openai lib/ohttp lib/receipt lib/attest lib/trust billing
DEPS.ledger/books    := lib/base lib/crypto lib/net lib/openai lib/receipt lib/attest config auth billing

PROGRAMS := gateway worker tools devtee client ledger
BINARY.gateway := cocoon-gateway
BINARY.worker  := cocoon-worker
BINARY.tools   := cocoonctl
BINARY.devtee  := cocoon-devtee
BINARY.client  := cocoon-client
BINARY.ledger  := cocoon-ledger
# The measured worker is small: no auth, no Redis code of the gateway (ARCHITECTURE.md).
DEPS.gateway := $(filter-out client/core ledger/books,$(LAYERS))
DEPS.client  := $(DEPS.client/core) config client/core
DEPS.worker  := lib/base lib/crypto lib/net lib/openai lib/ohttp lib/receipt lib/attest config backends/engine
DEPS.ledger  := $(DEPS.ledger/books) ledger/books
DEPS.tools   := $(DEPS.client/core) config auth client/core ledger/books
# Issues dev evidence. Never installed; only tests link its archive (its objects without main).
DEPS.devtee  := lib/base lib/crypto lib/attest
INSTALLED    := $(filter-out devtee,$(PROGRAMS))
DEVTEE_TESTS := lib/attest lib/trust tools

# ---- Flags ----------------------------------------------------------------------------------------

VERSION := 0.1.0
COMMIT  := $(shell git rev-parse --short=12 HEAD 2>/dev/null || echo unknown)
VERSION_FLAGS := -DCOCOON_VERSION=\"$(VERSION)\" -DCOCOON_COMMIT=\"$(COMMIT)\"

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
CFLAGS.analyze := -O1 -fanalyzer
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
LDLIBS   := -lmicrohttpd -lnghttp2 -lcurl -lhiredis -lssl -lcrypto -ljansson -lyaml -lsqlite3 -lpq -lpthread -lm

# `make V=1` shows whole commands.
Q   := $(if $(V),,@)
say  = @$(if $(V),:,echo '  $(1)	$@')

# ---- Rules ----------------------------------------------------------------------------------------

archive   = $(BUILD)/$(1).a
objects   = $(patsubst %.c,$(BUILD)/%.o,$(wildcard $(1)/*.c))
# Dependencies of a folder, itself first, in link order (LAYERS backwards).
linkorder = $(foreach l,$(shell echo $(LAYERS) | tr ' ' '\n' | tac),$(if $(filter $(l),$(1)),$(call archive,$(l))))
closure   = $(sort $(1) $(foreach d,$(DEPS.$(1)),$(d) $(DEPS.$(d))))

all: $(foreach p,$(PROGRAMS),$(if $(wildcard $(p)/main.c),$(BIN)/$(BINARY.$(p)))) $(BIN)/libcocoon.a $(BIN)/example-chat ## Build every program into bin/

$(BUILD)/%.o: %.c
	@mkdir -p $(@D)
	$(call say,CC)
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) -MMD -MP -c -o $@ $<

# Rewritten only when the commit is another one; not by a rule, which would never leave everything up to date.
$(shell mkdir -p $(BUILD); echo '$(VERSION) $(COMMIT)' | cmp -s - $(BUILD)/commit || echo '$(VERSION) $(COMMIT)' > $(BUILD)/commit)
$(BUILD)/lib/base/version.o: $(BUILD)/commit
$(BUILD)/lib/base/version.o: CPPFLAGS += $(VERSION_FLAGS)

# Their texts are inside of it.
$(BUILD)/billing/scripts.o: $(wildcard billing/lua/*.lua)

define layer_rules
$(call archive,$(1)): $(call objects,$(1))
	@mkdir -p $$(@D)
	@rm -f $$@
	$(Q)$$(AR) rcs $$@ $$^
endef
$(foreach l,$(LAYERS),$(eval $(call layer_rules,$(l))))

define program_rules
$(BIN)/$(BINARY.$(1)): $(call objects,$(1)) $(call linkorder,$(DEPS.$(1)))
	@mkdir -p $$(@D)
	$$(call say,LINK)
	$(Q)$$(CC) $$(LDFLAGS) -o $$@ $$^ $$(LDLIBS)
endef
$(foreach p,$(PROGRAMS),$(eval $(call program_rules,$(p))))

# The C API of client/cocoon.h with all it needs of ours in one object, of which only cocoon_* is seen outside.
LIBCOCOON := $(BIN)/libcocoon.a
$(LIBCOCOON): $(BUILD)/client/cocoon.o $(call linkorder,$(DEPS.client/core) client/core)
	@mkdir -p $(@D)
	$(call say,AR)
	$(Q)$(LD) -r -o $(BUILD)/client/libcocoon.o --start-group $^ --end-group
	$(Q)$(OBJCOPY) --wildcard --keep-global-symbol='cocoon_*' $(BUILD)/client/libcocoon.o
	@rm -f $@
	$(Q)$(AR) rcs $@ $(BUILD)/client/libcocoon.o
OBJCOPY ?= objcopy

# As with an installed library, whose header has no folder.
$(BUILD)/docs/examples/chat.o: CPPFLAGS += -Iclient
$(BIN)/example-chat: $(BUILD)/docs/examples/chat.o $(LIBCOCOON)
	$(call say,LINK)
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ -lcurl -ljansson -lcrypto -lpthread

DEVTEE := $(call archive,devtee)
$(DEVTEE): $(filter-out %/main.o,$(call objects,devtee))
	@mkdir -p $(@D)
	@rm -f $@
	$(Q)$(AR) rcs $@ $^

# A unit test of folder F is tests/unit/F/test_*.c and links F with what F may include; a fuzz target likewise. A program is
# linked without its main.
define unit_rules
UNIT_TESTS += $(patsubst tests/unit/%.c,$(BUILD)/tests/unit/%,$(wildcard tests/unit/$(1)/test_*.c))
FUZZERS    += $(patsubst tests/fuzz/%.c,$(BUILD)/tests/fuzz/%,$(wildcard tests/fuzz/$(1)/fuzz_*.c))
$(BUILD)/tests/unit/$(1)/test_%: $(BUILD)/tests/unit/$(1)/test_%.o $(2)
	$(Q)$$(CC) $$(LDFLAGS) -o $$@ $$^ -lcmocka $$(LDLIBS)
$(BUILD)/tests/fuzz/$(1)/fuzz_%: $(BUILD)/tests/fuzz/$(1)/fuzz_%.o $(2)
	$(Q)$$(CC) $$(LDFLAGS) -o $$@ $$^ $$(LDLIBS)
endef
$(foreach l,$(LAYERS),$(eval $(call unit_rules,$(l),$(if $(filter $(l),$(DEVTEE_TESTS)),$(DEVTEE)) \
  $(call linkorder,$(call closure,$(l))))))
$(foreach p,$(PROGRAMS),$(eval $(call unit_rules,$(p),$(filter-out %/main.o,$(call objects,$(p))) \
  $(if $(filter $(p),$(DEVTEE_TESTS)),$(DEVTEE)) $(call linkorder,$(DEPS.$(p))))))

# NVIDIA's library as worker/gpu.c finds it: loaded, never linked.
FAKE_NVML := $(BUILD)/tests/unit/worker/fake_nvml.so
$(BUILD)/tests/unit/worker/test_gpu $(BUILD)/tests/unit/worker/test_evidence: | $(FAKE_NVML)
$(FAKE_NVML): tests/unit/worker/fake_nvml.c tests/unit/worker/fake_nvml.h
	@mkdir -p $(@D)
	$(call say,CC)
	$(Q)$(CC) $(CPPFLAGS) -std=gnu17 -O1 -fPIC $(WARN) -shared -o $@ $<

.SECONDARY:

-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)

# ---- What a developer runs ------------------------------------------------------------------------

-include tests/sim/sim.mk # before the targets that name its tests
-include scripts/targets.mk
-include tests/bench/bench.mk

SOURCES := $(shell git ls-files --cached --others --exclude-standard '*.c' '*.h' 2>/dev/null)
FUZZ_SECONDS ?= 20

unit: $(UNIT_TESTS) ## Build and run the unit tests
	@for t in $(UNIT_TESTS); do echo "== $$t"; $$t || exit 1; done

layers: ## Every include stays inside what DEPS allows, and every test belongs to a folder
	@fail=0; \
	$(foreach l,$(LAYERS),bad=$$(grep -nE '^#include "[a-z]' $(wildcard $(l)/*.[ch]) /dev/null | \
	  sed -E 's@"(base|crypto|net|openai|ohttp|receipt|attest|trust)/@"lib/\1/@' | \
	  grep -vE '"($(subst $() ,|,$(strip $(l) $(DEPS.$(l)))))/[^/"]+"' || true); \
	  [ -z "$$bad" ] || { echo "$(l) may not include:"; echo "$$bad"; fail=1; };) \
	bad=$$(grep -rnE '#include <(openssl)/' $(LAYERS) $(PROGRAMS) | grep -vE '^(lib/crypto|lib/net|devtee)/' || true); \
	bad="$$bad$$(grep -rnE '#include <(curl|hiredis|nghttp2|microhttpd)' $(LAYERS) $(PROGRAMS) | grep -vE '^lib/net/' || true)"; \
	bad="$$bad$$(grep -rnE '#include <(sqlite3|postgresql)' $(LAYERS) $(PROGRAMS) | grep -vE '^(ledger/books|billing)/' || true)"; \
	[ -z "$$bad" ] || { echo "only lib/net (for OpenSSL also lib/crypto, and devtee, whose keys follow from a seed; SQL: ledger/books, billing) may include:"; \
	  echo "$$bad"; fail=1; }; \
	bad=$$(grep -rn '#include "devtee/' $(LAYERS) $(INSTALLED) || true); \
	[ -z "$$bad" ] || { echo "no part of what is installed may issue dev evidence:"; echo "$$bad"; fail=1; }; \
	bad="$(filter-out $(patsubst $(BUILD)/%,%.c,$(UNIT_TESTS) $(FUZZERS)),$(shell find tests/unit tests/fuzz -name 'test_*.c' -o -name 'fuzz_*.c'))"; \
	[ -z "$$bad" ] || { echo "in no folder of the map, so never run: $$bad"; fail=1; }; \
	exit $$fail

fmt: ## Format every C file
	@scripts/setup.sh check
	@clang-format -i $(SOURCES)

fmt-check: ## Fail when a C file is not formatted
	@scripts/setup.sh check
	@clang-format --dry-run --Werror $(SOURCES)

CODE = $(filter %.c,$(filter-out tests/%,$(SOURCES)))
# cppcheck does not read jansson's header: its loops, in short.
JANSSON_LOOPS := '-Djson_array_foreach(array,i,item)=for(i=0;(item=json_array_get(array,i));i++)' \
                 '-Djson_object_foreach(object,name,item)=for(name=0;(item=json_object_get(object,name));)'
# -Iclient: the example includes the header as it is installed.
tidy: ## clang-tidy, cppcheck and gcc's analyzer
	@scripts/setup.sh check
	@printf '%s\n' $(CODE) | xargs -P $$(nproc) -n 8 sh -c \
	  'clang-tidy --quiet "$$@" -- $(CPPFLAGS) -Iclient $(VERSION_FLAGS) -std=gnu17 2>/dev/null' tidy
	@cppcheck --quiet --error-exitcode=1 --inline-suppr --std=c11 --enable=warning,portability \
	  --suppress=missingIncludeSystem $(JANSSON_LOOPS) $(CPPFLAGS) $(CODE)
	+@$(call variant,analyze) CI=true all

fuzz: ## Run every fuzz target for FUZZ_SECONDS
	@scripts/setup.sh check
	+@$(call variant,fuzz) fuzz-here
fuzz-here: $(FUZZERS)
	@scripts/fuzz.sh $(FUZZ_SECONDS) $(FUZZERS)

check: ## What a developer runs before landing
	@set -e; for step in fmt-check layers tidy test asan tsan fuzz; do \
	  echo "== $$step"; $(MAKE) --no-print-directory $$step; done

install: all ## Install programs, settings and units under $(DESTDIR)$(PREFIX)
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)/etc/cocoon $(DESTDIR)$(PREFIX)/lib/systemd/system $(DESTDIR)$(PREFIX)/include
	install -m 755 $(foreach p,$(INSTALLED),$(BIN)/$(BINARY.$(p))) $(DESTDIR)$(PREFIX)/bin
	install -m 644 $(LIBCOCOON) $(DESTDIR)$(PREFIX)/lib
	install -m 644 client/cocoon.h $(DESTDIR)$(PREFIX)/include
	install -m 640 config/*.example.yaml $(DESTDIR)/etc/cocoon
	install -m 644 config/systemd/* $(DESTDIR)$(PREFIX)/lib/systemd/system
	sed -i 's@=/usr/local/@=$(PREFIX)/@' $(DESTDIR)$(PREFIX)/lib/systemd/system/cocoon-*
PREFIX ?= /usr/local

clean: ## Remove what was built; downloads stay
	rm -rf build bin .run
distclean: clean ## Remove downloads too
	rm -rf .cache

help: ## This list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sort | sed -E 's/^([a-z-]+):.*## /  \1\t/' | expand -t 16

.DEFAULT_GOAL := all
.PHONY: all unit layers fmt fmt-check tidy fuzz fuzz-here check install clean distclean help
