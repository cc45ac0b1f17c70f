#!/usr/bin/env bash
# Finds or makes the project's Python environment and prints which one it is. PYTHON= selects the interpreter.
NNODES=1
source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"
echo "environment: $PYTHON_BIN ($("$PYTHON_BIN" --version))"
