#!/usr/bin/env bash
# The SFT model answers the source samples too, then they are graded, drawn and ordered -> data/CLST_15k.jsonl.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
curriculum=(curriculum.py clst --config "$REPO/configs/build_clst.yaml" --also_for answer "$@")
asks_for_help "$@" || NNODES=1 NPROC_PER_NODE=1 launch "${curriculum[@]}" --check_only
launch answer.py --config "$REPO/configs/build_clst.yaml" --also_for clst "$@"
NNODES=1 NPROC_PER_NODE=1 launch "${curriculum[@]}"
