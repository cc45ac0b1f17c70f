#!/usr/bin/env bash
# Rules and layout of the code, by the project's own ruff; changes nothing.
source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"
cd -- "$REPO"
"$PYTHON_BIN" -m ruff check .
"$PYTHON_BIN" -m ruff format --check .
