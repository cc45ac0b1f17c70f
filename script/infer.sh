#!/usr/bin/env bash
# infer.sh CHECKPOINT [--key value ...]: answers and scores the benchmarks -> CHECKPOINT/infer/<benchmark>/; with
# infer.sh RUN --checkpoints all every checkpoint of a run, then RUN/report/ with a table and a curve.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
[[ $# -gt 0 && $1 != --* ]] || fail "no checkpoint given: infer.sh CHECKPOINT [--key value ...]"
options=(--config "$REPO/configs/infer.yaml" "${@:2}")
if [[ $(value_of checkpoints "$@") != all ]] || asks_for_help "$@"; then
    launch infer.py "$1" "${options[@]}"
    exit
fi
checkpoints=$(NNODES=1 NPROC_PER_NODE=1 launch infer.py "$1" "${options[@]}")
while read -r checkpoint; do
    echo "== $checkpoint"
    launch infer.py "$checkpoint" "${options[@]}" --checkpoints chosen </dev/null
done <<<"$checkpoints"
NNODES=1 NPROC_PER_NODE=1 launch report.py "$1"
