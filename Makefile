# musicfs: build, run, test. README.md says what each target is for.
#
# One build profile (--release) everywhere, clippy included: RocksDB compiles for about half an hour per profile.
# CARGO_TARGET_DIR is respected when it is set; otherwise cargo's own ./target is used.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help deps deps-test build run test test-ordinary test-long lint bench install

PREFIX ?= $(HOME)/.local
TARGET_DIR := $(or $(CARGO_TARGET_DIR),target)
MUSICFS := $(TARGET_DIR)/release/musicfs
BENCH_RUN = $(CURDIR)/benches/runs/$(shell date -u +%F)-$(shell nproc)core

# What building and running needs, and what the tests use besides. Programs first, then the package that has each.
BUILD_TOOLS := clang:clang pkg-config:pkg-config fusermount3:fuse3 cc:gcc c++:g++
RUN_TOOLS := ffmpeg:ffmpeg
TEST_TOOLS := ffmpeg:ffmpeg metaflac:flac id3v2:id3v2 mpd:mpd mpc:mpc fio:fio rsync:rsync beet:beets \
	setpriv:util-linux systemctl:systemd getfattr:attr python3:python3 find:findutils cmp:diffutils

help:
	@echo "make deps      install the missing Debian packages and check the Rust toolchain"
	@echo "make deps-test and what only the tests use (players, taggers)"
	@echo "make run       build, mount a demo library in ./run, show it (MUSIC=/path: your own folder)"
	@echo "make test      every test, as CI runs them"
	@echo "make test-long the same tests at full size; the last result is kept in tests/runs"
	@echo "make lint      formatting and clippy, warnings denied"
	@echo "make bench     the benchmarks (KEEP=1: keep the results; MUSICFS_BENCH_TRACKS=1000000: the large library)"
	@echo "make install   the binary, its manual and its completions into $(PREFIX)"

# $(1): pairs of program and package. $(2): packages without a program, each with a command that says whether it is there.
define install_missing
	missing=""; \
	for pair in $(1); do command -v "$${pair%%:*}" >/dev/null || missing="$$missing $${pair##*:}"; done; \
	$(2) \
	if [ -n "$$missing" ]; then \
	  line="apt-get install -y --no-install-recommends$$missing"; \
	  if ! command -v apt-get >/dev/null; then echo "please install:$$missing" >&2; exit 1; fi; \
	  if [ "$$(id -u)" = 0 ]; then sudo=""; \
	  elif command -v sudo >/dev/null; then sudo="sudo"; \
	  else echo "packages are missing and there is no sudo; as root run: $$line" >&2; exit 1; fi; \
	  echo "installing:$$missing"; \
	  export DEBIAN_FRONTEND=noninteractive; \
	  log=$$(mktemp); \
	  if ! { $$sudo apt-get update -q && $$sudo env DEBIAN_FRONTEND=noninteractive $$line -q; } >"$$log" 2>&1 </dev/null; then \
	    tail -n 20 "$$log" >&2; rm -f "$$log"; exit 1; \
	  fi; \
	  rm -f "$$log"; \
	fi
endef

# libclang has no program: bindgen loads the library.
LIBCLANG := ls /usr/lib/llvm-*/lib/libclang*.so* /usr/lib/*/libclang*.so* >/dev/null 2>&1 || missing="$$missing libclang-dev";
# The distribution's own python has the module, whatever other python comes first in PATH.
MUTAGEN := /usr/bin/python3 -c 'import mutagen' 2>/dev/null || missing="$$missing python3-mutagen";

deps:
	@$(call install_missing,$(BUILD_TOOLS) $(RUN_TOOLS),$(LIBCLANG))
	@if ! command -v cargo >/dev/null; then \
	  echo "cargo is missing; install Rust from https://rustup.rs and open a new shell" >&2; exit 1; fi
	@want=$$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml); \
	have=$$(cargo --version | cut -d' ' -f2); \
	if [ "$$(printf '%s\n%s\n' "$$want" "$$have" | sort -V | head -n1)" != "$$want" ]; then \
	  echo "cargo $$have is too old, $$want is needed; run: rustup update stable" >&2; exit 1; fi

deps-test: deps
	@$(call install_missing,$(TEST_TOOLS),$(MUTAGEN))

build: deps
	@if [ ! -d "$(TARGET_DIR)/release/build" ] || ! ls -d "$(TARGET_DIR)"/release/build/librocksdb-sys-* >/dev/null 2>&1; then \
	  echo "The first build takes about half an hour on two cores: RocksDB is compiled from source."; fi
	@cargo build --release --locked --bin musicfs

run: build
	@MUSIC="$(MUSIC)" tests/support/run-demo.sh "$(MUSICFS)"

# nextest where it is installed, else cargo test: the same tests. Run by root, a part of them is run once more as an ordinary
# user, for whom mounting goes another way; what is left out of that part needs two users, or is the same code whoever runs
# it, and takes long. What had to be left out is listed: after the runner's summary on a terminal, before it in a log, which
# then ends with the summary.
ORDINARY := cli integration semantics 'faults shutdown:: kill::'
CARGO_TEST := cargo test --release --locked --workspace

test: deps-test
	@work=$$(mktemp -d); trap 'rm -rf "$$work"' EXIT; \
	export MUSICFS_SKIP_LOG=$$work/left-out; \
	left_out() { if [ -s "$$MUSICFS_SKIP_LOG" ]; then echo "left out:"; sort -u "$$MUSICFS_SKIP_LOG" | sed 's/^/  /'; fi; }; \
	runner="$(CARGO_TEST) --no-fail-fast"; \
	if cargo nextest --version >/dev/null 2>&1; then runner="cargo nextest run --release --locked --workspace"; fi; \
	status=0; \
	if [ -t 1 ]; then $(MAKE) -s test-ordinary || status=$$?; $$runner || status=$$?; left_out; \
	else $(MAKE) -s test-ordinary >"$$work/ordinary" 2>&1 || status=$$?; \
	  if [ $$status -ne 0 ]; then cat "$$work/ordinary"; else grep -E '^(as an|test result)' "$$work/ordinary" || true; fi; \
	  $$runner >"$$work/out" 2>&1 || status=$$?; left_out; cat "$$work/out"; fi; \
	exit $$status

# Without root this is what `test` does anyway.
test-ordinary:
	@if [ "$$(id -u)" != 0 ]; then exit 0; fi; \
	built=$$($(CARGO_TEST) --no-run --message-format=json 2>/dev/null); \
	executable() { sed -n 's/.*"kind":\["'"$$1"'"\].*"name":"'"$$2"'".*"test":'"$$3"'}.*"executable":"\([^"]*\)".*/\1/p' <<<"$$built" | tail -n1; }; \
	suites=(); \
	for suite in $(ORDINARY); do name=$${suite%% *}; suites+=("$$(executable test "$$name" true)$${suite#"$$name"}"); done; \
	MUSICFS_KILLS=$${MUSICFS_KILLS_ORDINARY:-60} tests/support/as-ordinary-user.sh "$$(executable bin musicfs false)" "$${suites[@]}"

# The same tests at full size, with cargo test in any case: nextest's limit per test is made for the short form. Whatever
# has a long form takes its size from one of these variables.
test-long: deps-test
	@mkdir -p tests/runs; log=$$(mktemp); trap 'rm -f "$$log"' EXIT; \
	export MUSICFS_SCALE=$${MUSICFS_SCALE:-10} MUSICFS_OPS=$${MUSICFS_OPS:-10000} MUSICFS_KILLS=$${MUSICFS_KILLS:-1000}; \
	export PROPTEST_CASES=$${PROPTEST_CASES:-2560} MUSICFS_FUZZ=$${MUSICFS_FUZZ:-1000000} MUSICFS_PANICS=$${MUSICFS_PANICS:-200}; \
	status=0; started=$$SECONDS; \
	$(CARGO_TEST) --no-fail-fast -- --nocapture --test-threads=2 >"$$log" 2>&1 || status=$$?; \
	{ echo "$$(date -u +%FT%TZ), $$(git rev-parse --short HEAD), $$(uname -r), $$(nproc) processors, $$((SECONDS - started)) s"; \
	  grep -E '^(test |running |test result|.*MUSICFS_SEED|.* signatures$$|.*panicked|SKIPPED|     Running)' "$$log"; } \
	  | sed 's/ (.*\/deps\/.*)$$//' | tee tests/runs/long.txt; \
	exit $$status

lint: deps
	@cargo fmt --all --check
	@cargo clippy --release --locked --workspace --all-targets -- -D warnings

# KEEP=1 writes the results to benches/runs; benches/README.md names the other settings.
bench: deps
	@cargo build --release --locked --bin musicfs
	@export MUSICFS_BIN="$(abspath $(MUSICFS))" MUSICFS_BENCH_KEEP="$(if $(KEEP),$(BENCH_RUN))"; \
	cargo bench --locked -p musicfs-benches

install: build
	@install -D -m 0755 "$(MUSICFS)" "$(DESTDIR)$(PREFIX)/bin/musicfs"
	@install -D -m 0644 -t "$(DESTDIR)$(PREFIX)/share/man/man1" daemon/cli/man/*.1
	@complete() { mkdir -p "$$(dirname "$$2")" && "$(MUSICFS)" completions "$$1" >"$$2"; }; \
	share="$(DESTDIR)$(PREFIX)/share"; \
	complete bash "$$share/bash-completion/completions/musicfs"; \
	complete zsh "$$share/zsh/site-functions/_musicfs"; \
	complete fish "$$share/fish/vendor_completions.d/musicfs.fish"
	@echo "installed $(DESTDIR)$(PREFIX)/bin/musicfs, its manual and its completions"
