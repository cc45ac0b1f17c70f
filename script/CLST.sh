#!/usr/bin/env bash
# Curriculum GRPO -> runs/clst_15k, then answers and scores of the checkpoint that it chose. Trailing --key value pairs
# win over the YAML; those behind a lone -- go to the inference.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
split_at_dashes "$@"
train=(grpo.py --config "$REPO/configs/clst_15k.yaml" ${BEFORE[@]+"${BEFORE[@]}"})
launch "${train[@]}"
run_dir=$(NNODES=1 NPROC_PER_NODE=1 launch "${train[@]}" --print_run_dir | tail -n 1)
[[ -d $run_dir ]] || exit 0 # a dry run, or --help
launch infer.py "$run_dir" --config "$REPO/configs/infer.yaml" ${BEHIND[@]+"${BEHIND[@]}"}
