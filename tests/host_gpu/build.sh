#!/usr/bin/env bash
# Builds the stand-ins of NVIDIA's libraries (see mod.rs) once and says in which folder they lie.
#
#   bash tests/host_gpu/build.sh FOLDER      # the folder FOLDER/<hash of the sources>
#
# Needs a C++17 compiler: `c++`, or what CXX names. Several at a time wait for one that builds.
set -euo pipefail
sources=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1"
folder=$(cd "$1" && pwd)
compiler=${CXX:-c++}
command -v "$compiler" >/dev/null || { echo "no C++ compiler: install g++ (or set CXX) to run the tests of the GPU engine" >&2; exit 1; }
hash=$({ cat "$sources"/*.cpp "$sources"/*.h "$0"; "$compiler" --version; uname -m; } | sha256sum | cut -c1-16)
finished="$folder/$hash"
exec 9>"$folder/.lock"
flock 9
if [ ! -d "$finished" ]; then
  unfinished=$(mktemp -d "$folder/building.XXXXXX")
  trap 'rm -rf "$unfinished"' EXIT
  make() { # NAME SOURCE..: a library that keeps to itself what it does not show
    local name=$1
    shift
    "$compiler" -std=gnu++17 "-DHOST_GPU_BUILD=0x${hash:0:8}u" -O2 -Wall -Wextra -ffp-contract=off -fPIC -shared -fvisibility=hidden -pthread -Wl,-Bsymbolic -o "$unfinished/$name" "$@" -ldl
  }
  cd "$sources"
  # Its signal handlers must not outlive it.
  make libcuda.so.1 -Wl,-z,nodelete libcuda.cpp stream.cpp strict.cpp record.cpp fibers.cpp memory.cpp settings.cpp &
  make libnvrtc.so.13 libnvrtc.cpp settings.cpp
  make libcublasLt.so.13 libcublaslt.cpp
  wait $!
  make libnvidia-ml.so.1 libnvidia_ml.cpp settings.cpp
  # NVRTC has its own beside it, and a program opens it first.
  make libnvrtc-builtins.so.13.0 -x c++ /dev/null
  cp cuda_on_host.h module.h "$unfinished"
  mkdir "$unfinished/compiled" "$unfinished/strict"
  # The same once more with a file of settings: two files are two libraries to a process that opens both.
  cp "$unfinished"/*.* "$unfinished/strict"
  ln -s ../compiled "$unfinished/strict/compiled"
  echo STRICT=1 >"$unfinished/strict/settings"
  trap - EXIT
  mv "$unfinished" "$finished"
fi
echo "$finished"
