#!/usr/bin/env bash
# run.sh encoders [--quick] [...]: the worker's encoders beside other engines on this machine, two threads each; `--help` lists the options.
# Writes Markdown, JSON and plots to target/peers. Needs what setup.sh needs, cargo, and TALLOW_TEST_DATA with `scifact` and `stsbenchmark`.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
[ "${1:-}" = encoders ] || { echo "usage: run.sh encoders [options]" >&2; exit 2; }
shift
: "${TALLOW_TEST_DATA:?names the folder with scifact and stsbenchmark}"

venv=$root/target/peers-venv
models=$root/target/tools/models
"$here/setup.sh" "$venv"
"$root/scripts/fetch-minilm.sh" "$models"
cargo build --release --locked --manifest-path "$root/Cargo.toml" --example peer_driver

# Models are read from folders; nothing is looked up on a hub.
export HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false PYTHONPATH=$here PYTHONDONTWRITEBYTECODE=1
exec "$venv/bin/python" -m peers --data "$TALLOW_TEST_DATA" --minilm "$models/all-MiniLM-L6-v2" \
  --driver "${CARGO_TARGET_DIR:-$root/target}/release/examples/peer_driver" --out "$root/target/peers" "$@"
