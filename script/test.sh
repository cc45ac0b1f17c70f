#!/usr/bin/env bash
# Lint and all tests, after set-up; arguments go to pytest.
source "$(dirname -- "${BASH_SOURCE[0]}")/lint.sh"
# a test a core, each on one thread
OMP_NUM_THREADS=1 "$PYTHON_BIN" -m pytest --numprocesses auto --maxprocesses 4 --dist worksteal "$@"
