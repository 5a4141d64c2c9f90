#!/usr/bin/env bash
# Type-checks the build with `--features cuda` (candle's operations on NVIDIA GPUs) where there is no CUDA toolkit.
#
#   bash scripts/check_candle_cuda.sh
#
# candle's build scripts ask `nvcc` for its version and have it compile kernels. Here a stand-in answers and leaves empty files:
# enough for Rust's compiler to see every line behind the feature, and for nothing that could run.
set -euo pipefail
cd "$(dirname "$0")/.."
stand_in=$(mktemp -d)
trap 'rm -rf "$stand_in"' EXIT
cat >"$stand_in/nvcc" <<'EOF'
#!/usr/bin/env bash
output='' folder=.
while [ $# -gt 0 ]; do
  case "$1" in
    --version)
      printf 'nvcc\n\n\nCuda compilation tools, release 13.0, V13.0.48\n'
      exit
      ;;
    -o) output=$2 && shift ;;
    --output-directory) folder=$2 && shift ;;
    *.cu) : >"$folder/$(basename "$1" .cu).ptx" ;;
  esac
  shift
done
[ -z "$output" ] || : >"$output"
EOF
chmod +x "$stand_in/nvcc"
PATH="$stand_in:$PATH" CUDA_COMPUTE_CAP=90 CUDA_HOME="$stand_in" cargo check --release --locked --lib --features cuda
