#!/usr/bin/env bash
# setup.sh VENV: makes the virtual environment of the comparison in VENV, or does nothing where it is complete and of these versions.
# Needs python3.11 with its headers and venv, a C and a C++ compiler, and PyPI.
set -euo pipefail
venv=${1:?usage: setup.sh VENV}
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
stamp=$venv/installed
inputs=("$here/requirements.txt" "$here/requirements-source.txt" "$here/setup.sh")
if cat "${inputs[@]}" | cmp --silent - "$stamp"; then exit 0; fi

rm -rf "$venv"
python3.11 -m venv "$venv"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --only-binary=:all: --requirement "$here/requirements.txt" >&2
# What PyPI has as source only is compiled for this machine, with the build tools pinned above. A peer that is not there is named in the record.
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --requirement "$here/requirements-source.txt" >&2 ||
  echo "setup: these could not be compiled, and the record will say so: $(grep -v '^#' "$here/requirements-source.txt")" >&2

# The wheel of torch is linked against 3 GB of CUDA libraries. A machine without a GPU never calls them, so for each of them a library of the same
# name with the symbols that torch names, and nothing behind them, satisfies the loader.
lib=$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])')/torch/lib
wanted=$(nm --dynamic --undefined-only "$lib"/*.so | awk '{ print $2 }' | sort --unique)
stand_in() { # NAME VERSION [PREFIX of symbols without a version]
  awk -F@ -v version="$2" -v prefix="${3:-@}" '$2 == version || (NF == 1 && index($1, prefix) == 1) { print "char " $1 "[64];" }' <<< "$wanted" |
    cc -shared -nostdlib -Wl,-soname,"$1" -Wl,--version-script=<(echo "$2 { *; };") -o "$lib/$1" -x c -
}
for name in libcublas.so.13 libcublasLt.so.13 libcudnn.so.9 libcufft.so.12 libcusparse.so.12 libnvrtc.so.13; do
  stand_in "$name" "$name"
done
stand_in libcufile.so.0 CUFILE cuFile
stand_in libcusparseLt.so.0 CUSPARSELT cusparseLt
stand_in libnccl.so.2 NCCL nccl
stand_in libnvshmem_host.so.3 NVSHMEM nvshmem
"$venv/bin/python" -c 'import torch; assert not torch.cuda.is_available()'
cat "${inputs[@]}" > "$stamp"
