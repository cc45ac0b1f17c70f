#!/usr/bin/env bash
# Rules and layout of the code by ruff, types by ty, both of the project's environment; changes nothing.
source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"
cd -- "$REPO"
"$PYTHON_BIN" -m ruff check .
"$PYTHON_BIN" -m ruff format --check .
"$PYTHON_BIN" -m ty check --python "$PYTHON_BIN" src
