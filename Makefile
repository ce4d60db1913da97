# Every task of the project. `make` alone explains them.

CARGO   ?= cargo
ROUNDS  ?=
NODES   ?= 3
DIR     ?= .cluster
NEXTEST := $(shell $(CARGO) nextest --version >/dev/null 2>&1 && echo yes)
DENY    := $(shell $(CARGO) deny --version >/dev/null 2>&1 && echo yes)
SHCHECK := $(shell command -v shellcheck 2>/dev/null)

.DEFAULT_GOAL := help
.PHONY: help deps build check fix test sim sweep mutants chaos torture contrast demo examples cluster clean-cluster powercut \
	million bench bench-etcd bench-check failover growth soak

help: ## Show the tasks
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

deps: ## Look for what the build needs; install it where that is possible
	@scripts/deps.sh

build: deps ## Build target/release/quorate
	$(CARGO) build --release --locked --bin quorate

check: deps ## What CI checks, read-only: format, clippy, documentation, shell scripts, dependencies
	$(CARGO) fmt --all -- --check
	$(CARGO) clippy --locked --all-targets -- -D warnings
	$(CARGO) clippy --locked --no-default-features --lib -- -D warnings
	$(CARGO) clippy --locked --lib --features mutants -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --no-deps --lib
ifdef SHCHECK
	shellcheck scripts/*.sh .ci/run
else
	@echo "note: shellcheck is not installed: shell scripts are not checked"
endif
ifdef DENY
	$(CARGO) deny --locked check
else
	@echo "note: cargo-deny is not installed: licences and advisories are not checked"
endif

fix: ## Format, and apply what clippy can fix by itself
	$(CARGO) clippy --locked --all-targets --fix --allow-dirty --allow-staged
	$(CARGO) fmt --all

test: deps ## Run all tests but the long ones; the runner's summary comes last
	scripts/sim.sh test
	$(CARGO) test --locked --doc
ifdef NEXTEST
	$(CARGO) nextest run --locked
else
	$(CARGO) test --locked --all-targets
endif

sim: deps ## Simulate a cluster from a seed: make sim SEED=7 [NODES=5] [TRACE=1] [ARGS='--mutant …']
	@scripts/sim.sh run --seed $(or $(SEED),1) $(if $(filter file,$(origin NODES)),,--nodes $(NODES)) $(if $(TRACE),--trace) $(ARGS)

sweep: deps ## Simulate many: make sweep SEEDS=10000 [FIRST=1]
	@scripts/sim.sh sweep --seeds $(or $(SEEDS),200) --first $(or $(FIRST),1) $(if $(ARGS),-- $(ARGS))

mutants: deps ## Put known bugs in, each until it is caught; then the same seeds without: docs/mutants.md
	@scripts/sim.sh mutants $(ARGS)

chaos: deps ## Kill nodes under load, release build: make chaos ROUNDS=200
	$(CARGO) build --release --locked --bin quorate
	QUORATE_TEST_BIN=$(CURDIR)/target/release/quorate QUORATE_CHAOS_ROUNDS=$(or $(ROUNDS),200) \
		$(CARGO) test --locked --test it -- --nocapture --test-threads=1 process_chaos

torture: build ## Real processes under faults: make torture MINUTES=10 [SEED=7] [NODES=5] [OUT=target/torture/…]
	target/release/quorate torture --duration $(or $(MINUTES),1)m $(if $(SEED),--seed $(SEED)) --nodes $(NODES) \
		--out $(or $(OUT),target/torture/$(shell date +%Y%m%d-%H%M%S)) $(ARGS)

contrast: build ## The levels side by side while the leader is cut off, paused, killed: a report to look at
	rm -rf target/contrast
	target/release/quorate torture --script contrast --workload register --duration 60s --seed 1 --out target/contrast
	@echo "open target/contrast/report.html"

demo: deps ## Three real nodes, every consistency level, a killed leader: the tour
	@scripts/demo.sh

examples: deps ## Locks and elections at work: the paused holder, a job on one of N machines, failover
	$(CARGO) run --release --locked --example paused_holder
	$(CARGO) run --release --locked --example cron
	$(CARGO) run --release --locked --example leader

cluster: build ## Start a local cluster: make cluster NODES=3 DIR=.cluster
	@scripts/cluster.sh start --nodes $(NODES) --dir $(DIR)

clean-cluster: ## Stop the local cluster and delete its data
	@scripts/cluster.sh stop --dir $(DIR)
	@scripts/cluster.sh clean --dir $(DIR)

powercut: build ## Simulated power cuts (root): make powercut ROUNDS=20
	$(CARGO) build --release --locked --example load
	@scripts/powercut.sh --rounds $(or $(ROUNDS),20)

million: build ## Load a million keys, restart a member, print times, memory and disk
	$(CARGO) build --release --locked --example bulk
	scripts/million.sh

bench: build ## Measure a local cluster of three, each workload briefly: make bench [ARGS='--clients 256']
	@scripts/bench.sh $(ARGS)

bench-check: build ## Processor time per operation, against a server that does nothing and what was recorded
	scripts/measure.py check

failover: build ## How long writes stop when the leader is killed, and when it is asked to end
	scripts/measure.py failover --signal KILL
	scripts/measure.py failover --signal TERM

growth: build ## Cost by keys, sizes, clients, watchers, leases, length of the log; puts beside snapshots, compaction, a catch-up; cold paths
	scripts/measure.py growth $(ARGS)
	scripts/measure.py beside
	scripts/measure.py cold

soak: build ## Full load with periodic compaction: make soak MINUTES=30
	scripts/measure.py soak --minutes $(or $(MINUTES),30)

bench-etcd: build ## The same load on etcd and Quorate, in turns, and their ratios: make bench-etcd [ARGS=--quick]
	@scripts/bench-etcd.sh $(ARGS)
