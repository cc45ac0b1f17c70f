#!/usr/bin/env bash
# score.sh --benchmark NAME --meta FILE --predictions FILE: scores the predictions of any model by three rules.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
NNODES=1 NPROC_PER_NODE=1 launch score.py "$@"
