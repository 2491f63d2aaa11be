# Two commands are enough: `make demo` verifies an applicant, `make test` runs every test.
.PHONY: help demo up test check soak packages models build schemas

export BTRUST_MODELS ?= $(CURDIR)/var/models
BIN := $(or $(CARGO_TARGET_DIR),target)/debug

help: ## Show this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

demo: packages build models ## Verify a made-up applicant through the public API
	@$(BIN)/btrust-demo --applicant genuine --models "$(BTRUST_MODELS)" --json

up: packages build models ## Start the whole platform on var/ and print its URLs and credentials
	@$(BIN)/btrust up --data var --models "$(BTRUST_MODELS)"

test: packages build models ## Install what the tests need and run all of them
	@scripts/run-tests

soak: build ## Millions of made-up inputs of the machine, 20,000 simulations of the engine, 300 crashes, 60 power cuts, a storm over 2,000 workflows (hours); see engine/machine/SOAK.md and engine/SIMULATION.md
	cargo run --release --package btrust-machine --example fuzz -- --inputs 1000000
	BTRUST_SIMULATION_SEEDS=20000 cargo test --release --package btrust-engine --lib -- --nocapture in_the_long_run
	BTRUST_SOAK=1 cargo test --package btrust-tests --test it -- --nocapture disk:: storm::

check: packages ## Format, lints, unused dependencies, spelling, documentation
	@scripts/install-tools
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --quiet -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --quiet
	var/tools/bin/cargo-machete
	var/tools/bin/typos

packages:
	@scripts/install-packages

build:
	@cargo build --workspace --bins

models: build ## Fetch and verify the models and the demo pictures (once)
	@$(BIN)/btrust models fetch --models "$(BTRUST_MODELS)" --group all

schemas: build ## Write schemas/json and schemas/openapi*.json from the code
	@$(BIN)/btrust schemas --write schemas
