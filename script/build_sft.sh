#!/usr/bin/env bash
# The base answers the source samples, then the thoughts of those answered right are dropped -> data/sft_guided_drop_thought/.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
dropout=(curriculum.py sft --config "$REPO/configs/build_sft.yaml" --also_for answer "$@")
asks_for_help "$@" || NNODES=1 NPROC_PER_NODE=1 launch "${dropout[@]}" --check_only
launch answer.py --config "$REPO/configs/build_sft.yaml" --also_for sft "$@"
NNODES=1 NPROC_PER_NODE=1 launch "${dropout[@]}"
