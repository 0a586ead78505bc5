#!/usr/bin/env bash
# The job for a machine with a CUDA GPU: installs the CUDA extra that fits its driver, runs the
# whole suite on CuPy and the benchmarks, trains a network, and leaves the figures in a folder. A
# part that fails does not keep the others from running; the script fails at its end then.
# Works from any folder and reads no input. Needs an NVIDIA driver; CUDA itself comes with pip.
#
#   PYTHON       interpreter, python3.11 unless given
#   GPU_FIGURES  folder for the figures, ./gpu-figures unless given; made if it isn't there
set -euo pipefail
figures=${GPU_FIGURES:-$PWD/gpu-figures}
mkdir -p "$figures"
figures=$(cd "$figures" && pwd)
cd "$(dirname "${BASH_SOURCE[0]}")/.."

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1

say() { printf '\n== %s (%d s)\n' "$*" "$SECONDS"; }

failed=()

say "environment"
"${PYTHON:-python3.11}" -m venv "$scratch/venv"
. "$scratch/venv/bin/activate"
extra=$(python ci/cuda_extra.py)
echo "the driver fits the extra $extra"
if [ "$extra" = cuda13 ]; then
  pip install --quiet ".[test,cuda13]"
else
  # PyTorch's wheels bring CUDA 13 and cannot be installed beside CUDA 12. The comparisons with
  # PyTorch are skipped then; gradients are still checked against differences.
  pip install --quiet ".[test-core,cuda12]"
fi
{
  xpnn info
  python -c 'import cupy; cupy.show_config()'
  pip freeze
} | tee "$figures/environment.txt"

say "tests on CuPy"
# The compiler's results must not come from a cache that another version has filled.
export CUPY_CACHE_DIR=$scratch/kernels
XPNN_TEST_BACKENDS=cupy python -m pytest -p no:cacheprovider --durations=25 \
  --junit-xml="$figures/tests.xml" 2>&1 | tee "$figures/tests.txt" || failed+=(tests)

say "benchmarks"
python -m benchmarks --device cuda --markdown "$figures/benchmarks.md" || failed+=(benchmarks)

say "training on the GPU and on the CPU"
for device in cuda cpu; do
  (cd "$scratch" && xpnn train --device "$device" --seed 0 --out "$figures/train-$device") 2>&1 |
    tee "$figures/train-$device.txt" || failed+=("training on $device")
done

say "the figures are in $figures"
if [ ${#failed[@]} -gt 0 ]; then
  printf 'failed: %s\n' "${failed[@]}" >&2
  exit 1
fi
