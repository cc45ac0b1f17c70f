#!/usr/bin/env bash
# Lint and all tests, after set-up; arguments go to pytest.
source "$(dirname -- "${BASH_SOURCE[0]}")/lint.sh"
# one test per core, each on one thread; most of them wait for processes that they start
OMP_NUM_THREADS=1 "$PYTHON_BIN" -m pytest --numprocesses auto --maxprocesses 4 --dist worksteal "$@"
