# Short names for what is done often. Each recipe is one command; .ci/run does not need just.

default: check

# Type-check and lint everything.
check:
    cargo clippy --workspace --all-targets -- -D warnings

# The tests that need no data and no network.
test:
    cargo test

# The house rules alone: imports, sizes, words.
tidy:
    cargo test --test tidy

# Every test, with a real model fetched into target/tools/models.
test-models:
    scripts/fetch-minilm.sh target/tools/models
    TALLOW_TEST_MODELS="$PWD/target/tools/models" cargo test

# Fuzz every target for so many seconds each.
fuzz seconds="60":
    TALLOW_FUZZ_SECONDS={{seconds}} cargo test --test fuzz -- --nocapture

# Licences, sources and banned crates.
deny:
    "$(scripts/install-cargo-deny.sh target/tools)" check bans licenses sources

# The documentation, as CI builds it.
docs:
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps

# Type-check the cuda feature without CUDA.
check-cuda:
    scripts/check-cuda.sh

# Type-check the kernels for 64-bit ARM.
check-arm:
    scripts/check-arm.sh

# One benchmark door: manager, events, text, vector, embed or http.
bench door:
    cargo bench --bench {{door}}

# What continuous integration runs.
ci:
    bash .ci/run
