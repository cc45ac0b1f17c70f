#!/usr/bin/env bash
# Curriculum GRPO -> runs/clst_15k, then inference and scores of the checkpoint that it chose. Trailing --key value pairs
# override the YAML; those after a lone -- go to the inference, whose settings are checked before the training.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
split_at_dashes "$@"
training=(--config "$REPO/configs/clst_15k.yaml" ${BEFORE[@]+"${BEFORE[@]}"})
project=$(value_of project "$@")
inference=(--config "$REPO/configs/infer.yaml" ${project:+--project "$project"} ${AFTER[@]+"${AFTER[@]}"})
found=0
if ! asks_for_help "$@"; then
    NNODES=1 NPROC_PER_NODE=1 launch infer.py trained "${inference[@]}" --check_only || found=$?
    [[ $found == 0 || $found == 3 ]] || exit "$found" # 3: nothing to answer, which ends no training
fi
OMNI_CLST_FINISHED_RUN=$(mktemp) # the training writes the run's folder here when it is finished
export OMNI_CLST_FINISHED_RUN
trap 'rm -f "$OMNI_CLST_FINISHED_RUN"' EXIT
launch grpo.py "${training[@]}"
run_dir=$(<"$OMNI_CLST_FINISHED_RUN")
[[ -n $run_dir && $found == 0 ]] || exit 0 # a dry run, --help, or no benchmark
launch infer.py "$run_dir" "${inference[@]}"
