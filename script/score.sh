#!/usr/bin/env bash
# score.sh --benchmark NAME --meta FILE --predictions FILE: scores a predictions file of any model by the official and the strict rule.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
NNODES=1 NPROC_PER_NODE=1 launch score.py "$@"
