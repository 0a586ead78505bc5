#!/usr/bin/env bash
# The nightly job of dpnp, Intel's array library: the tests of everything that runs on a back end,
# on dpnp's OpenCL device for CPUs, in a fresh virtual environment that is removed at the end. Works
# from any folder and reads no input. The packages are 2 GB, too large for every change.
#
#   PYTHON   interpreter, python3.11 unless given
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1

say() { printf '\n== %s (%d s)\n' "$*" "$SECONDS"; }

say "environment"
"${PYTHON:-python3.11}" -m venv "$scratch/venv"
. "$scratch/venv/bin/activate"
pip install --quiet ".[test-core]" "dpnp>=0.20"
# pip cannot register the OpenCL driver that it installs where OpenCL looks for drivers. Without
# this, dpnp has no device at all ("Default device is unavailable").
export OCL_ICD_FILENAMES=$VIRTUAL_ENV/lib/libintelocl.so
test -e "$OCL_ICD_FILENAMES"
xpnn info

say "all tests but those of the host"
host=(architecture augmentation benchmarks blocked_product cli cli_models cli_options cli_results)
host+=(cuda_fusion cuda_kernels cupy data data_files data_loading description documentation examples fusion fusion_images)
host+=(numba_kernels public_api text threads)
host=("${host[@]/#/--ignore=tests/test_}")
XPNN_TEST_BACKENDS=dpnp python -m pytest -q -p no:cacheprovider --durations=10 --ignore=tests/faults "${host[@]/%/.py}"

say "all passed"
