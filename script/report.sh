#!/usr/bin/env bash
# report.sh FOLDER: tables and pictures of the scores and GRPO runs below a folder -> FOLDER/report/, also during a run.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
NNODES=1 NPROC_PER_NODE=1 launch report.py "$@"
