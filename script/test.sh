#!/usr/bin/env bash
# Lint and all tests, after set-up; arguments go to pytest.
source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"
cd -- "$REPO"
"$PYTHON_BIN" -m ruff check .
"$PYTHON_BIN" -m ruff format --check .
"$PYTHON_BIN" -m pytest "$@"
