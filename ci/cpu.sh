#!/usr/bin/env bash
# One row of the matrix on a CPU: the static checks and the README's commands, in fresh virtual
# environments that are removed at the end. Works from any folder and reads no input.
#
#   PYTHON               interpreter, python3.11 unless given
#   XPNN_TEST_BACKENDS   array libraries that must work; without it those that are there
#   XPNN_CI_MEANWHILE    a command to run beside the installation, before the tests
#   XPNN_CI_PINS         versions to hold packages to, such as "numpy==2.0.* array-api-compat==1.12.*"
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

python=${PYTHON:-python3.11}
scratch=$(mktemp -d)
trap 'wait; rm -rf "$scratch"' EXIT

say() { printf '\n== %s (%d s)\n' "$*" "$SECONDS"; }

say "data: Fashion-MNIST from Debian's package"
if [ -d /usr/share/datasets/fashion-mnist ]; then
  echo "there already"
elif [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
  export DEBIAN_FRONTEND=noninteractive
  { apt-get update -qq && apt-get install -qq -y --no-install-recommends dataset-fashion-mnist; } \
    </dev/null || echo "not to be had here: its tests are skipped"
else
  echo "not installed: its tests are skipped (apt-get install dataset-fashion-mnist)"
fi

say "strace: faults in system calls"
if command -v strace >/dev/null; then
  echo "there already"
elif [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
  export DEBIAN_FRONTEND=noninteractive
  { apt-get update -qq && apt-get install -qq -y --no-install-recommends strace; } </dev/null ||
    echo "not to be had here: its test is skipped"
else
  echo "not installed: its test is skipped (apt-get install strace)"
fi

if [ -n "${XPNN_CI_PINS:-}" ]; then
  tr ' ' '\n' <<<"$XPNN_CI_PINS" >"$scratch/constraints.txt"
  export PIP_CONSTRAINT=$scratch/constraints.txt
fi
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1 PIP_QUIET=1
# Python compiles a module for all processes when the first imports it; most are never imported.
export PIP_COMPILE=0
unset PYTHONDONTWRITEBYTECODE

# Prints the README's line that ends with the words.
line_of_the_readme() {
  grep -E "^pip install .* && $1\$" README.md || {
    echo "README.md has no line 'pip install ... && $1'" >&2
    return 1
  }
}

# Activates a fresh virtual environment and runs in it what that line installs: up to the "&&".
install_as_the_readme_says() {
  local line
  line=$(line_of_the_readme "$2")
  "$python" -m venv "$scratch/$1"
  . "$scratch/$1/bin/activate"
  echo "\$ ${line% && *}"
  bash -c "${line% && *}" </dev/null
}

# Runs the rest of the line in an environment so installed.
run_as_the_readme_says() {
  local line
  line=$(line_of_the_readme "$2")
  . "$scratch/$1/bin/activate"
  echo "\$ ${line##* && }"
  bash -c "${line##* && }" </dev/null
}

environments() {
  say "a newcomer's first command"
  install_as_the_readme_says user "xpnn train"
  run_as_the_readme_says user "xpnn train"
  xpnn info
  say "environment of the tests"
  install_as_the_readme_says test "python -m pytest"
  say "ruff, mypy, import-linter"
  ruff check --no-cache .
  ruff format --no-cache --check .
  mypy --cache-dir "$scratch/mypy"
  lint-imports --no-cache
  say "environments are ready"
}

# pip keeps one processor busy: something else may run beside it.
environments >"$scratch/environments.log" 2>&1 &
bash -c "${XPNN_CI_MEANWHILE:-true}"
wait $! || {
  cat "$scratch/environments.log"
  exit 1
}
cat "$scratch/environments.log"

say "the tests"
# Two processes; a file stays in one, since Numba and JAX load what they compiled once a process.
# In the order of tests/conftest.py: otherwise files with few tests, some of them long, come last.
export PYTEST_ADDOPTS="-p no:cacheprovider --durations=20 -n 2 --dist loadscope --no-loadscope-reorder"
run_as_the_readme_says test "python -m pytest"

say "all passed"
