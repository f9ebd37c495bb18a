#!/usr/bin/env bash
# run.sh encoders|vectors [--quick] [--resume] [...]: the worker's encoders or vector computation beside other engines on this machine, two threads
# each; `--help` lists the options. Writes Markdown, JSON and plots to target/peers. Needs what setup.sh needs, cargo, and TALLOW_TEST_DATA.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
what=${1:-}
[ "$what" = encoders ] || [ "$what" = vectors ] || { echo "usage: run.sh encoders|vectors [options]" >&2; exit 2; }
shift
: "${TALLOW_TEST_DATA:?names the folder with scifact, stsbenchmark, mnist-t10k and the books}"

venv=$root/target/peers-venv
models=$root/target/tools/models
out=$root/target/peers
"$here/setup.sh" "$venv"
"$root/scripts/fetch-minilm.sh" "$models"
mkdir -p "$out"
cc -O3 -pthread -o "$out/peak" "$here/peers/peak.c"
cargo build --release --locked --manifest-path "$root/Cargo.toml" --bin tallow --example peer_driver --example peer_vectors
built=${CARGO_TARGET_DIR:-$root/target}/release

# Models are read from folders; nothing is looked up on a hub.
export HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false PYTHONPATH=$here PYTHONDONTWRITEBYTECODE=1
PEERS_SOURCE=$(git -C "$root" describe --always --dirty 2> /dev/null || echo "an unknown commit")
PEERS_COMPILER=$(rustc --version)
export PEERS_SOURCE PEERS_COMPILER
exec "$venv/bin/python" -m "peers.$what" --data "$TALLOW_TEST_DATA" --minilm "$models/all-MiniLM-L6-v2" \
  --built "$built" --peak "$out/peak" --out "$out" "$@"
