#!/usr/bin/env bash
# check-arm.sh: type-checks the kernels for 64-bit ARM, where their lanes are NEON, on a machine of another kind. With qemu-aarch64 and a cross linker
# at hand (Debian: qemu-user, gcc-aarch64-linux-gnu) `check-arm.sh test [FILTER]` also runs their tests.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
target=aarch64-unknown-linux-gnu
if ! rustup target list --installed 2>/dev/null | grep -qx "$target" && ! rustup target add "$target"; then
  echo "NOT CHECKED: the standard library of $target cannot be installed here" >&2
  exit 3
fi
command=check
if [ "${1:-}" = test ]; then
  shift
  command=test
  export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
  export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER="qemu-aarch64 -L /usr/aarch64-linux-gnu"
fi
exec cargo "$command" --locked --quiet --package tallow-kernels --lib --target "$target" --target-dir "${CARGO_TARGET_DIR:-target}/check-arm" "$@"
