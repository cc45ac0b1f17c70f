#!/usr/bin/env bash
# Curriculum GRPO -> runs/clst_15k, then inference and scores of the checkpoint that it chose. Trailing --key value pairs
# override the YAML; those after a lone -- go to the inference.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
split_at_dashes "$@"
OMNI_CLST_FINISHED_RUN=$(mktemp) # the training writes the run's folder here when it is finished
export OMNI_CLST_FINISHED_RUN
trap 'rm -f "$OMNI_CLST_FINISHED_RUN"' EXIT
launch grpo.py --config "$REPO/configs/clst_15k.yaml" ${BEFORE[@]+"${BEFORE[@]}"}
run_dir=$(<"$OMNI_CLST_FINISHED_RUN")
[[ -n $run_dir ]] || exit 0 # a dry run, or --help
launch infer.py "$run_dir" --config "$REPO/configs/infer.yaml" ${AFTER[@]+"${AFTER[@]}"}
