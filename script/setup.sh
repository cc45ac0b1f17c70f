#!/usr/bin/env bash
# Finds or makes the project's Python environment and says which one it is. PYTHON= picks the interpreter for it.
NNODES=1
source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"
echo "environment: $PYTHON_BIN ($("$PYTHON_BIN" --version))"
