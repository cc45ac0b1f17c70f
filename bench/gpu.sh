#!/usr/bin/env bash
# bench/gpu.sh: everything that only a GPU shows, in ten minutes, as one table in runs/gpu/; on a CPU its smallest size.
source "$(dirname -- "${BASH_SOURCE[0]}")/../script/common.sh"
run_forwarding "$PYTHON_BIN" "$REPO/bench/gpu.py" "$@"
