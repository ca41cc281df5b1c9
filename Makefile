# make run                     two Redis servers to try it on, and the proxy in front
# make run CONF=nutcracker.yml the proxy with your own file
# make test                    all tests; installs what they need
# make lint                    format, clippy, the house rules, and what is built in
# make audit                   known vulnerabilities of what is built in
# make fuzz T=600              each target of the fuzzer so many seconds; ONLY=config one of them
# make bench                   against Debian's nutcracker, in 25 minutes; bench-quick in two
# make bench-report JSON=file  the README's figures and plots, made of a run's results
# make profile ROW='64 KiB'    where the CPU goes under a row's load
# make sim N=100000            so many seeds of the simulation; SEED=7 replays one
# make test-tiny-ring          the program's tests, on rings of 8 entries and 4 buffers
# make test-long               test, every wrong request, and the simulation with many seeds
# make mutants ONLY=ring       plants known mistakes, and says which tests find each

SHELL := /bin/sh
PORT ?=
CONF ?=
N ?= 10000
T ?= 60
SEED ?=
RING ?= 8x4
MUTANT_SEEDS ?= 10000
ONLY ?=
ROW ?= GET 64 B, 50 clients, P=16
JSON ?= bench/results/latest.json

TEST_NEEDS := cc=build-essential git=git redis-server=redis-server redis-cli=redis-tools \
	nutcracker=nutcracker memcached=memcached memccapable=libmemcached-tools flock=util-linux
CLIENT_NEEDS := python3=python3 pip3=python3-pip php=php-cli php=php-redis
BENCH_NEEDS := $(TEST_NEEDS) redis-benchmark=redis-tools \
	setpriv=util-linux haproxy=haproxy

.PHONY: run test lint bench bench-quick bench-report profile sim test-tiny-ring test-long mutants \
	fuzz audit

run:
	@PORT='$(PORT)' conf/run.sh '$(CONF)'

test:
	@tests/tools/install.sh $(TEST_NEEDS) $(CLIENT_NEEDS)
	@tests/tools/servers.sh
	@tests/clients/install.sh || echo "The tests of these clients will fail."
	cargo test --locked --doc
	@if command -v cargo-nextest >/dev/null 2>&1; then \
		echo cargo nextest run --locked; cargo nextest run --locked; \
	else \
		echo cargo test --locked --lib --bins --tests; cargo test --locked --lib --bins --tests; \
	fi
	@$(MAKE) --no-print-directory test-tiny-ring

lint:
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings
	cargo test --locked --quiet --test tidy
	@tests/tools/deny.sh lint

audit:
	@tests/tools/deny.sh audit

fuzz:
	@tests/tools/fuzz.sh '$(T)' $(ONLY)

bench:
	@tests/tools/install.sh $(BENCH_NEEDS)
	@tests/tools/install.sh perf=linux-perf || echo "No perf: system calls are not counted."
	cargo bench --locked --bench compare -- --full

bench-quick:
	@tests/tools/install.sh $(BENCH_NEEDS)
	cargo bench --locked --bench compare -- --quick --name quick

bench-report:
	cargo bench --locked --bench compare -- --report '$(JSON)'

profile:
	@tests/tools/install.sh $(BENCH_NEEDS) perf=linux-perf
	RUSTFLAGS='-C force-frame-pointers=yes' \
		cargo build --locked --release --target-dir target/profile
	RINGCRACKER_BIN=target/profile/release/ringcracker \
		cargo bench --locked --bench compare -- --profile --row '$(ROW)' --seconds 5

sim:
	N='$(N)' $(if $(SEED),SEED='$(SEED)') \
		cargo test --locked --profile sim --test simulation every_seed -- --nocapture

test-tiny-ring:
	@tests/tools/install.sh $(TEST_NEEDS)
	@export RINGCRACKER_TEST_RING='$(RING)'; \
	if command -v cargo-nextest >/dev/null 2>&1; then \
		set -- nextest run --locked -E 'binary(/^proxy_/)'; \
	else \
		set -- test --locked --test 'proxy_*'; \
	fi; \
	echo RINGCRACKER_TEST_RING='$(RING)' cargo "$$@"; cargo "$$@"

test-long: test
	GOLDEN=all cargo test --locked --test golden
	$(MAKE) sim N=100000

mutants:
	@tests/tools/install.sh cc=build-essential git=git flock=util-linux
	@MUTANT_SEEDS='$(MUTANT_SEEDS)' ONLY='$(ONLY)' tests/tools/mutants.sh
