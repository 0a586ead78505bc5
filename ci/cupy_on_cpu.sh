#!/usr/bin/env bash
# CuPy without a GPU: the tests of everything that runs on it, on a pretend GPU with two devices,
# which runs the real CuPy and executes its kernels on the CPU; and every kernel of ours compiled by
# NVRTC for every architecture. Works from any folder and reads no input.
#
# The pretend GPU is a tool of its own and no part of this repository. Where it is missing this
# script says so and succeeds; ci/gpu.sh is the job for real hardware.
#
#   CUPY_ON_CPU_HOME   folder of the tool, ../shared/cupy_on_cpu beside the repository unless given
#   CUPY_ON_CPU_CACHE  where it keeps a virtual environment and compiled kernels between runs,
#                      ~/.cache/cupy_on_cpu unless given: the first run takes some ten minutes more
#   PYTHON             interpreter of a new virtual environment, python3.11 unless given
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

rig=${CUPY_ON_CPU_HOME:-../shared/cupy_on_cpu}
if [ ! -x "$rig/run" ]; then
  echo "CuPy is NOT tested here: there is no pretend GPU in $rig (CUPY_ON_CPU_HOME names its folder)"
  exit 0
fi

say() { printf '\n== %s (%d s)\n' "$*" "$SECONDS"; }

export PYTHON=${PYTHON:-python3.11}
export CUPY_ON_CPU_CACHE=${CUPY_ON_CPU_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/cupy_on_cpu}
export VENV=$CUPY_ON_CPU_CACHE/xpnn
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1
export XPNN_TEST_BACKENDS=cupy
# A thread for each of the two processes below, and none beside it.
export OPENBLAS_NUM_THREADS=1 OMP_NUM_THREADS=1
# Both must collect the same tests, and some are named after sets.
export PYTHONHASHSEED=0

# A file stays in one of two processes, in the order of tests/conftest.py.
test_on_rig() {
  "$rig/run" python -m pytest -q -p no:cacheprovider -n 2 --dist loadscope --no-loadscope-reorder "$@"
}

say "environment in $VENV"
"$rig/setup"
"$VENV/bin/python" -m pip install --quiet -r ci/cupy_on_cpu.txt

say "all tests but those of the host"
host=(architecture augmentation benchmarks blocked_product cli cli_models cli_options cli_results)
host+=(data data_files data_loading description documentation examples fusion fusion_images)
host+=(fusion_own)
host+=(numba_kernels public_api replay text threads)
host=("${host[@]/#/test_}" faults/test_{damaged_files,kills,lost_terminal,system_calls})
host=("${host[@]/#/--ignore=tests/}")
test_on_rig "${host[@]/%/.py}"

say "files of one library read by another"
XPNN_TEST_BACKENDS=numpy,array_api_strict,cupy \
  test_on_rig -n 0 tests/faults/test_damaged_files.py -k written_by_one_library

# Both run every thread of every kernel one by one, which takes its time: the first device only,
# since the kernels of the second one are the same, and nothing is compiled for other processors.
careful=(-k "not cuda1 and not compiles_for_every")
careful+=(tests/test_cuda_{fusion,images,kernels,sequences}.py)
careful+=(tests/test_{layers,streaming}.py)
out=$(mktemp -d)
trap 'wait; rm -rf "$out"' EXIT
say "with guarded memory: no write out of bounds, nothing depends on fresh memory"
# A process for each: as many tests, so that neither waits for the other.
CUPY_ON_CPU_REVERSE=1 test_on_rig -n 0 "${careful[@]}" >"$out/reversed.log" 2>&1 &
reversed=$!
CUPY_ON_CPU_CHECK=1 test_on_rig -n 0 "${careful[@]}"
say "with threads in the other order: no result depends on it"
wait "$reversed" || {
  cat "$out/reversed.log"
  exit 1
}
cat "$out/reversed.log"

say "xpnn train on both devices"
train() { "$rig/run" python -m xpnn train --device "$1" --seed 0 --quiet --out "$out/$1"; }
train cuda:0 &
train cuda:1
wait $!
for device in cuda:0 cuda:1; do
  cut -d, -f1-5 "$out/$device/metrics.csv" | tee "$out/$device.csv" # without the seconds
done
cmp "$out/cuda:0.csv" "$out/cuda:1.csv"

say "all passed"
