#!/usr/bin/env bash
# compare.sh A B [C ...]: compares every model's scored answers with those of the first: difference, interval, test, flips.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
NNODES=1 NPROC_PER_NODE=1 launch compare.py "$@"
