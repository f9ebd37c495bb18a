#!/usr/bin/env bash
# check-cuda.sh: type-checks the `cuda` feature on a machine without CUDA. An empty nvcc stands in for the real one: what it "compiles" is empty,
# so nothing built here may be linked or shipped, and all of it goes to a target folder of its own.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
target=${CARGO_TARGET_DIR:-target}/check-cuda
mkdir -p "$target/stand-in"
cat >"$target/stand-in/nvcc" <<'NVCC'
#!/bin/sh
# Writes an empty file of the kind that is asked for.
kind= out= folder=. last=
while [ $# -gt 0 ]; do
  case $1 in
    --version) echo 'Cuda compilation tools, release 13.0, V13.0.88'; exit 0 ;;
    --ptx | -ptx) kind=text ;;
    --fatbin | -fatbin | --cubin | -cubin) kind=text ;;
    --lib | -lib) kind=archive ;;
    -c) kind=object ;;
    -o) shift; out=$1 ;;
    --output-directory) shift; folder=$1 ;;
    *) last=$1 ;;
  esac
  shift
done
name=${last##*/}
case $kind in
  text) : >"${out:-$folder/${name%.cu}.ptx}" ;;
  object) : | cc -c -x c - -o "$out" ;;
  archive) rm -f "$out"; ar crs "$out" ;;
  *) echo "nvcc stand-in: unknown use" >&2; exit 1 ;;
esac
NVCC
chmod +x "$target/stand-in/nvcc"
unset CUDA_HOME CUDA_PATH
export NVCC=$PWD/$target/stand-in/nvcc CUDA_COMPUTE_CAP=90 CUDARC_CUDA_VERSION=13000 CUDAFORGE_HOME=$PWD/$target/stand-in
case $target in /*) export NVCC=$target/stand-in/nvcc CUDAFORGE_HOME=$target/stand-in ;; esac
exec cargo clippy --locked --quiet --target-dir "$target" --features cuda --lib --bins "$@" -- -D warnings
