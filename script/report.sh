#!/usr/bin/env bash
# report.sh FOLDER: the scores below a folder and how its GRPO runs went -> FOLDER/report/, also while a run is under way.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
NNODES=1 NPROC_PER_NODE=1 launch report.py "$@"
