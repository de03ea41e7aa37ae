# What a developer and a curious operator need. `make` alone lists it.

PYTHON ?= $(shell for python in python3 python3.14 python3.13 python3.12 python3.11; do \
	"$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& command -v "$$python" && break; done)
BIN := .venv/bin

.PHONY: help venv compiled pure run test test-compiled check sim bench bench-peers bench-compiled \
	bench-backlog bench-scale fuzz crash soak attacks-time attacks-beside reference clean

help:
	@echo "make venv           the relay and its tools in .venv (the others do this by themselves)"
	@echo "make compiled       the way of a message compiled in place by mypyc (minutes; gcc)"
	@echo "make pure           remove what that made: Python again"
	@echo "make run            a relay on port 2525 and a sink behind it, to try things out"
	@echo "make test           all tests (make test TESTS=tests.smtp: some)"
	@echo "make test-compiled  those of the way of a message, on a compiled copy in var/compiled"
	@echo "make check          format, lint, types, imports"
	@echo "make sim            the whole relay in simulated worlds (SEEDS=1000; SEED=n: one, traced)"
	@echo "make bench          beside its peers on this machine (ARGS=--quick, ...)"
	@echo "make bench-peers    fetch peers other than Postfix into var/peers, nothing is installed"
	@echo "make bench-compiled compile a copy in var/compiled, which it measures too then"
	@echo "make bench-backlog  with 200,000 messages waiting"
	@echo "make bench-scale    how cost grows with ever more of everything (ARGS=--quick, ...)"
	@echo "make fuzz           any octets into every parser (SECONDS=60 TARGETS='server dsn')"
	@echo "make crash          kill -9 and other real faults under load (KILLS=20 SEED=1)"
	@echo "make soak           half rate for long, memory shown (MINUTES=30)"
	@echo "make attacks-beside what honest clients get done while others attack"
	@echo "make attacks-time   how the time for hostile addresses grows"
	@echo "make reference      etc/relay.toml and docs/configuration.rst from the schema"
	@echo "make clean          remove caches and what builds left (.venv and var/ stay)"

venv: .venv/installed

.venv/installed: setup.cfg pyproject.toml
	@test -n "$(PYTHON)" || { echo "No Python 3.11 or newer was found: install one," \
		"or name it: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@test -x $(BIN)/pip || "$(PYTHON)" -m venv .venv || { echo "If the venv module is missing:" \
		"apt-get install python3-venv" >&2; exit 1; }
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev]' \
		--config-settings editable_mode=compat
	@touch $@

compiled: venv pure
	RELAY_COMPILE=1 CFLAGS="-g0 $(CFLAGS)" $(BIN)/python setup.py --quiet build_ext --inplace

pure:
	rm -rf build
	rm -f *__mypyc*.so
	find relay -name '*.so' -exec rm -f {} +

run: venv
	@exec $(BIN)/python -m relay.testing.quickstart etc/quickstart.toml

TESTS ?= tests
test: venv
	$(BIN)/trial $(TESTS)

COPY := $(CURDIR)/var/compiled
COMPILED_TESTS ?= $(addprefix tests.,smtp mail inbound outbound queue contract observe service \
	net test_beat test_waits test_steady_clock process)
test-compiled: bench-compiled
	cd $(COPY) && PYTHONPATH=$(COPY) $(CURDIR)/$(BIN)/trial $(COMPILED_TESTS)

bench-compiled: venv
	rm -rf $(COPY)
	mkdir -p $(COPY)
	cp -R relay tests twisted benchmarks docs etc setup.py setup.cfg pyproject.toml $(COPY)
	find $(COPY)/relay -name '*.so' -exec rm -f {} +
	cd $(COPY) && RELAY_COMPILE=1 CFLAGS="-g0 $(CFLAGS)" $(CURDIR)/$(BIN)/python setup.py --quiet \
		build_ext --inplace

check: venv
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

SEEDS ?= 1000
sim: venv
	$(BIN)/python -m tests.sim.run $(if $(SEED),--seed $(SEED) --trace,--seeds $(SEEDS)) $(ARGS)

bench: venv
	$(BIN)/python -m benchmarks.bench $(ARGS)

bench-peers:
	benchmarks/fetch_peers var/peers

bench-backlog: venv
	$(BIN)/python -m benchmarks.backlog $(ARGS)

bench-scale: .venv/bench
	$(BIN)/python -m benchmarks.scale $(ARGS)

.venv/bench: .venv/installed
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev,bench]' \
		--config-settings editable_mode=compat
	@touch $@

SECONDS ?= 60
fuzz: .venv/fuzz
	$(BIN)/python -m tests.fuzz --seconds $(SECONDS) $(ARGS) $(TARGETS)

.venv/fuzz: .venv/installed
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev,fuzz]' \
		--config-settings editable_mode=compat \
		|| echo "atheris cannot be installed here: our own mutator takes its place"
	@touch $@

KILLS ?= 20
crash: venv
	$(BIN)/python -m tests.crash --kills $(KILLS) --seed $(or $(SEED),1) $(ARGS)

MINUTES ?= 30
soak: .venv/bench
	$(BIN)/python -m tests.crash.soak --minutes $(MINUTES) $(ARGS)

attacks-beside: venv
	$(BIN)/python -m tests.attacks.beside $(ARGS)

attacks-time: venv
	$(BIN)/python -m tests.attacks.growth

reference: venv
	$(BIN)/python -m relay.config.reference toml >etc/relay.toml.new
	mv etc/relay.toml.new etc/relay.toml
	$(BIN)/python -m relay.config.reference rst >docs/configuration.rst.new
	mv docs/configuration.rst.new docs/configuration.rst

clean: pure
	rm -rf build dist *.egg-info _trial_temp* .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find relay tests twisted benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
